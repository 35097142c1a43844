//! The command line as people see it: docs/commands.md is made from it; every command and argument has its help.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::cli::Arguments;
use clap::{Command, CommandFactory as _};
use std::path::Path;

/// Every command with its path (`bootstead node arm`), parents first.
fn commands(command: &Command, path: &str, out: &mut Vec<(String, Command)>) {
    let path = format!("{path}{}", command.get_name());
    out.push((path.clone(), command.clone()));
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        commands(sub, &format!("{path} "), out);
    }
}

fn all() -> Vec<(String, Command)> {
    let mut command = Arguments::command();
    command.build();
    let mut out = Vec::new();
    commands(&command, "", &mut out);
    out
}

fn help(command: &Command) -> String {
    command.clone().term_width(80).render_long_help().to_string()
}

#[test]
fn every_command_and_argument_says_what_it_is() {
    for (path, command) in all() {
        assert!(command.get_about().is_some(), "{path} does not say what it does");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some() || argument.is_hide_set(), "{path}: {}", argument.get_id());
        }
    }
}

#[test]
fn docs_commands_is_what_help_says() {
    let mut text = String::from(
        "# Commands\n\n<!-- Made from the program's own help by tests/commands.rs; do not change by hand. -->\n\n\
         Exit codes: 0 done, 2 your input has to change, 3 the environment has to change (a taken port, a missing\n\
         right, a full disk), 70 a fault of ours.\n",
    );
    for (path, command) in all() {
        let body: Vec<String> = help(&command).lines().map(|l| l.trim_end().to_string()).collect();
        text.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", body.join("\n").trim_end()));
    }
    made("docs/commands.md", &text);
}

#[test]
fn docs_roles_is_what_the_data_says() {
    let tree = bootstead::tree::Tree::embedded();
    let (roles, _) = bootstead::profiles::read(&tree);
    let (parts, problems) = bootstead::profiles::part::read(&tree);
    assert!(problems.is_empty(), "{problems:?}");
    let mut text = String::from(
        "# Roles and parts\n\n<!-- Made from profiles/ by tests/commands.rs; do not change by hand. -->\n\n\
         A role is what a machine becomes: its installation, and the parts that its agent makes of it afterwards.\n\
         The same pages of your own `--tree`: `bootstead tree page [NAME]`.\n",
    );
    for role in roles.values() {
        text.push_str(&format!("\n{}", bootstead::profiles::page::role(role, &parts)));
    }
    for part in parts.values() {
        text.push_str(&format!("\n{}", bootstead::profiles::page::part(part)));
    }
    made("docs/roles.md", &text);
}

/// Compares a page that is made with the one that is committed.
fn made(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    if have != text {
        if std::env::var_os("BOOTSTEAD_GOLDEN").is_some_and(|v| v == "write") {
            std::fs::write(&path, text).unwrap();
        }
        let line = have.lines().zip(text.lines()).position(|(a, b)| a != b).map(|l| l + 1);
        panic!("{page} is old from line {line:?} on; BOOTSTEAD_GOLDEN=write cargo test --test commands");
    }
}
