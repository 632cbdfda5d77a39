//! Checks that the documentation generated from the command lines' definitions is current.
//! `UPDATE_DOCS=1 cargo test --test docs` writes it.
#![cfg(all(feature = "daemon", feature = "sim"))]

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use scx_vnuma::daemon::Cli;

#[allow(dead_code, reason = "its main function is for the example")]
#[path = "../packaging/generate.rs"]
mod generate;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compare a file with its expected content, or write it if UPDATE_DOCS is set.
fn check(path: &str, expected: &str) {
    let file = project(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, expected).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is out of date: run UPDATE_DOCS=1 cargo test --test docs and commit the result");
}

fn reference(command: &clap::Command) -> String {
    let options = clap_markdown::MarkdownOptions::new().show_footer(false).show_table_of_contents(false);
    let text = clap_markdown::help_markdown_command_custom(command, &options);
    // Empty help lines leave trailing blanks.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("<!-- Generated from the command line's definition by tests/docs.rs. -->\n\n{}\n", lines.join("\n").trim())
}

/// The page with a table of options a and b between `<!-- options: a b -->` and `<!-- end of options -->`.
fn with_option_table(page: &str, command: &clap::Command) -> String {
    const START: &str = "<!-- options: ";
    const END: &str = "<!-- end of options -->";
    let start = page.find(START).expect("the page has no start of an option table");
    let names_end = start + page[start..].find(" -->").expect("the comment has no end");
    let end = page.find(END).expect("the option table has no end");
    let row = |name: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
        let arg = arg.unwrap_or_else(|| panic!("there is no option --{name}"));
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if default.is_empty() { String::new() } else { format!("`{}`", default.join(" ")) };
        let help = arg.get_help().expect("an option has no help").to_string();
        format!("| `--{name}` | {default} | {help} |\n")
    };
    let rows: String = page[start + START.len()..names_end].split_whitespace().map(row).collect();
    let head = "\n\n| option | default | |\n| --- | --- | --- |\n";
    format!("{}{head}{rows}\n{}", &page[..names_end + " -->".len()], &page[end..])
}

#[test]
fn the_daemons_option_reference_is_current() {
    check("docs/options.md", &reference(&Cli::command()));
}

#[test]
fn the_simulators_option_reference_is_current() {
    check("docs/simulator-options.md", &reference(&scx_vnuma::sim::cli::command()));
}

#[test]
fn the_readmes_option_table_is_current() {
    let readme = std::fs::read_to_string(project("README.md")).unwrap();
    check("README.md", &with_option_table(&readme, &Cli::command()));
}

/// What `packaging/generate.rs` writes, as text by path.
fn generated() -> std::collections::BTreeMap<PathBuf, String> {
    let folder = tempfile::tempdir().expect("a folder for what is generated");
    generate::write_all(folder.path()).expect("it can be written");
    let mut texts = std::collections::BTreeMap::new();
    let mut folders = vec![folder.path().to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("the folder is there") {
            let path = entry.expect("it is read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("the file is text");
            texts.insert(path.strip_prefix(folder.path()).expect("it is below").to_path_buf(), text);
        }
    }
    texts
}

#[test]
fn every_option_and_exit_code_is_in_the_manual_and_every_option_is_completed() {
    let generated = generated();
    let text = |path: &str| &generated[Path::new(path)];
    for (command, program, page) in [
        (Cli::command(), "scx_vnuma", "man/scx_vnuma.8"),
        (scx_vnuma::sim::cli::command(), "vnuma-sim", "man/vnuma-sim.1"),
    ] {
        let completions = ["bash/P.bash", "zsh/_P", "fish/P.fish"];
        let completions = completions.map(|path| text(&format!("completions/{}", path.replace('P', program))));
        for name in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(text(page).contains(&format!("\\-\\-{}", name.replace('-', "\\-"))), "--{name} is not in {page}");
            assert!(completions.iter().all(|script| script.contains(name)), "--{name} is not completed");
        }
        for name in command.get_subcommands().map(clap::Command::get_name) {
            assert!(generated.contains_key(Path::new(&page.replace('.', &format!("-{name}.")))), "{name} has no page");
            assert!(completions.iter().all(|script| script.contains(name)), "{name} is not completed");
        }
        assert!(text(page).contains("EXIT STATUS"), "{page}");
    }
    for (code, meaning) in scx_vnuma::daemon::EXIT_CODES {
        assert!(text("man/scx_vnuma-status.8").contains(&meaning.replace('-', "\\-")), "{code}: {meaning}");
    }
}

/// The text of all Rust sources below a folder.
fn sources(folder: &Path) -> String {
    let entries =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it is read").path());
    let text = |path: PathBuf| match path.extension().is_some_and(|extension| extension == "rs") {
        true => std::fs::read_to_string(&path).expect("the source is there"),
        false if path.is_dir() => sources(&path),
        false => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn the_tests_that_the_page_on_faults_names_exist() {
    let page = std::fs::read_to_string(project("docs/reliability.md")).expect("the page is there");
    let folders = ["src", "tests", "vmtests/scenarios", "vmtests/tests"];
    let sources: String = folders.map(|folder| sources(&project(folder))).concat();
    let in_last_column = |line: &str| line.trim_end_matches([' ', '|']).rsplit(" | ").next().map(String::from);
    let named: Vec<String> = page.lines().filter(|line| line.starts_with("| ")).filter_map(in_last_column).collect();
    let named = named.join(" ");
    // Scenarios' groups and commands have no underscore, or blanks.
    let words = named.split('`').flat_map(str::split_whitespace).filter(|word| word.matches('_').count() > 1);
    let words: Vec<&str> = words.collect();
    assert!(words.len() > 50, "only {words:?}");
    let missing: Vec<&&str> = words.iter().filter(|word| !sources.contains(&format!("fn {word}("))).collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
}
