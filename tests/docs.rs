//! The documentation that is generated from the command lines' definitions is current. `UPDATE_DOCS=1 cargo test --test docs`
//! writes it.
#![cfg(all(feature = "daemon", feature = "sim"))]

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use scx_vnuma::daemon::Cli;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a file with what it should be, or writes it.
fn check(path: &str, expected: &str) {
    let file = project(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, expected).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is not current: run UPDATE_DOCS=1 cargo test --test docs, and commit it");
}

fn reference(command: &clap::Command) -> String {
    let options = clap_markdown::MarkdownOptions::new().show_footer(false).show_table_of_contents(false);
    let text = clap_markdown::help_markdown_command_custom(command, &options);
    // Trailing blanks come from empty help lines.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("<!-- Generated from the command line's definition by tests/docs.rs. -->\n\n{}\n", lines.join("\n").trim())
}

/// A table of the options between `<!-- options: a b -->` and `<!-- end of options -->`.
fn with_option_table(page: &str, command: &clap::Command) -> String {
    const START: &str = "<!-- options: ";
    const END: &str = "<!-- end of options -->";
    let start = page.find(START).expect("the page names the options that it lists");
    let names_end = start + page[start..].find(" -->").expect("the comment ends");
    let end = page.find(END).expect("the table has an end");
    let row = |name: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
        let arg = arg.unwrap_or_else(|| panic!("there is no option --{name}"));
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if default.is_empty() { String::new() } else { format!("`{}`", default.join(" ")) };
        let help = arg.get_help().expect("every option has help").to_string();
        format!("| `--{name}` | {default} | {help} |\n")
    };
    let rows: String = page[start + START.len()..names_end].split_whitespace().map(row).collect();
    let head = "\n\n| option | default | |\n| --- | --- | --- |\n";
    format!("{}{head}{rows}\n{}", &page[..names_end + " -->".len()], &page[end..])
}

#[test]
fn the_daemons_options_are_documented_as_they_are() {
    check("docs/options.md", &reference(&Cli::command()));
}

#[test]
fn the_simulators_options_are_documented_as_they_are() {
    check("docs/simulator-options.md", &reference(&scx_vnuma::sim::cli::command()));
}

#[test]
fn the_readmes_options_are_those_that_there_are() {
    let readme = std::fs::read_to_string(project("README.md")).unwrap();
    check("README.md", &with_option_table(&readme, &Cli::command()));
}
