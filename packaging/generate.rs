//! Writes the manual pages and shell completions of both programs, from the definitions of their command lines:
//! `cargo run --example generate -- FOLDER`.
//!
//! It is an example, so that neither program carries the generators and an ordinary build doesn't compile them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::builder::{Resettable, StyledStr};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::roff::{bold, roman, Roff};
use clap_mangen::Man;
use scx_vnuma::daemon::{Cli, EXIT_CODES};
use scx_vnuma::sim::cli;

/// Files that the daemon reads or writes.
const FILES: &[(&str, &str)] = &[
    ("/etc/scx_vnuma/config.toml", "options; scx_vnuma config check checks it"),
    ("/var/lib/scx_vnuma/drained", "which nodes are drained"),
    ("/run/scx_vnuma/saved.json", "affinities to restore after a kill"),
    ("/run/scx_vnuma.lock", "held while scx_vnuma starts, runs or restores"),
    ("/sys/fs/bpf/scx_vnuma", "pinned maps, with what is in force"),
];

/// One program.
struct Program {
    command: Command,
    /// Section of the manual.
    section: &'static str,
    exit_codes: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
    see_also: &'static str,
}

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: generate FOLDER")?;
    write_all(Path::new(&folder))
}

/// The command without the end of its help, which has the exit codes: the page has a section for them.
fn without_end(command: Command) -> Command {
    command.after_long_help(Resettable::<StyledStr>::Reset)
}

/// Write everything into a folder.
pub fn write_all(folder: &Path) -> Result<()> {
    let programs = [
        Program {
            command: without_end(Cli::command()),
            section: "8",
            exit_codes: EXIT_CODES,
            files: FILES,
            see_also: "vnuma-sim(1), sched_ext in the kernel's documentation, /usr/share/doc/scx-vnuma",
        },
        Program {
            command: without_end(cli::command()),
            section: "1",
            exit_codes: cli::EXIT_CODES,
            files: &[],
            see_also: "scx_vnuma(8)",
        },
    ];
    for program in &programs {
        write_man_pages(program, &folder.join("man"))?;
        write_completions(&program.command, &folder.join("completions"))?;
    }
    Ok(())
}

/// Write a page for the program, and one for each of its subcommands.
fn write_man_pages(program: &Program, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut command = program.command.clone().disable_help_subcommand(true);
    // So that subcommands know the name that they are called by.
    command.build();
    write_page(&command, command.get_name(), program, folder)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let name = format!("{}-{}", command.get_name(), subcommand.get_name());
        write_page(subcommand, &name, program, folder)?;
    }
    Ok(())
}

fn write_page(command: &Command, name: &str, program: &Program, folder: &Path) -> Result<()> {
    let is_subcommand = command.get_name() != name;
    // The exit codes have a section of their own.
    // The library wants a name that lives for ever, and this program ends at once.
    let name: &'static str = name.to_string().leak();
    let command = command.clone().name(name).after_help("").after_long_help("");
    let man = Man::new(command).section(program.section).manual("scx_vnuma").date("");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut more = Roff::default();
    add_table(&mut more, "EXIT STATUS", program.exit_codes);
    if !is_subcommand {
        add_table(&mut more, "FILES", program.files);
    }
    more.control("SH", ["SEE ALSO"]);
    let parent = format!("{}({})", program.command.get_name(), program.section);
    let see_also = if is_subcommand { parent } else { program.see_also.to_string() };
    more.text([roman(see_also)]);
    more.to_writer(&mut page)?;
    let file = folder.join(format!("{name}.{}", program.section));
    fs::write(&file, page).with_context(|| format!("writing {}", file.display()))
}

/// Add a section of terms and what they mean, if there are any.
fn add_table(page: &mut Roff, heading: &str, table: &[(&str, &str)]) {
    if table.is_empty() {
        return;
    }
    page.control("SH", [heading]);
    for (term, meaning) in table {
        page.control("TP", []);
        page.text([bold(*term)]);
        page.text([roman(*meaning)]);
    }
}

/// Write the completions for bash, zsh and fish.
fn write_completions(command: &Command, folder: &Path) -> Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let folder = folder.join(shell.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let name = command.get_name().to_string();
        clap_complete::generate_to(shell, &mut command.clone(), name, &folder)
            .with_context(|| format!("writing to {}", folder.display()))?;
    }
    Ok(())
}
