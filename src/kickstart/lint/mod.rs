//! What the installers' own validators do not see: checks on finished answer files.
//!
//! Each rule has a name and a test with a planted mistake. The list of blind spots was found by running the
//! validators (pykickstart 3.78, debconf-set-selections, autoinstall's schema, ignition-validate) on mistakes.

pub mod autoinstall;
pub mod dialects;
pub mod ignition;
pub mod kickstart;
pub mod network;
pub mod preseed;
pub mod script;
pub mod storage;
pub mod words;
pub mod zones;

use super::{Answer, Family, Installer};
use std::fmt;

/// One mistake in an answer file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The answer file's name, for example `ks.cfg`.
    pub file: String,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// One sentence: what is wrong and what it would do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {} [{}]", self.file, self.what, self.rule),
            n => write!(f, "{}:{n}: {} [{}]", self.file, self.what, self.rule),
        }
    }
}

/// Findings on the way, for one file.
#[derive(Default)]
pub struct Found(Vec<(usize, &'static str, String)>);

impl Found {
    pub fn add(&mut self, line: usize, rule: &'static str, what: impl Into<String>) {
        self.0.push((line, rule, what.into()));
    }
}

/// Every mistake in the answer files of one node.
pub fn check(family: &Family, answers: &[Answer]) -> Vec<Finding> {
    let mut out = Vec::new();
    for answer in answers {
        let mut found = Found::default();
        text(&answer.content, &mut found);
        if answer.file.ends_with(".sh") {
            script::check(&answer.content, &mut found);
        } else if answer.file == family.file || answer.file.ends_with(".ign") {
            match family.installer {
                Installer::Anaconda => kickstart::check(
                    family.dialect.as_deref().unwrap_or_default(),
                    &answer.content,
                    &mut found,
                ),
                Installer::Preseed => preseed::check(&answer.content, &mut found),
                Installer::Autoinstall => autoinstall::check(&answer.content, &mut found),
                Installer::Ignition => ignition::check(&answer.content, &mut found),
            }
        }
        found.0.sort_by_key(|(line, ..)| *line);
        out.extend(found.0.into_iter().map(|(line, rule, what)| Finding {
            file: answer.file.clone(),
            line,
            rule,
            what,
        }));
    }
    out
}

/// Rules for every kind of file.
fn text(content: &str, found: &mut Found) {
    for (i, line) in content.split('\n').enumerate() {
        if line.contains('\r') {
            found.add(
                i + 1,
                "crlf",
                "a carriage return ends this line: installers take it for a part of the value",
            );
        } else if line.chars().any(|c| c.is_control() && c != '\t') {
            found.add(i + 1, "control", "this line has a control character");
        }
    }
    if !content.is_empty() && !content.ends_with('\n') {
        found.add(0, "last-line", "the last line has no line break: some installers lose it");
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// The rules that `check` finds broken in `content`.
    pub fn rules(check: impl Fn(&str, &mut Found), content: &str) -> Vec<&'static str> {
        let mut found = Found::default();
        text(content, &mut found);
        check(content, &mut found);
        let mut rules: Vec<_> = found.0.iter().map(|f| f.1).collect();
        rules.dedup();
        rules
    }

    /// Kickstart commands, one per line.
    pub fn commands(content: &str) -> Vec<kickstart::Command> {
        let command = |(i, line): (usize, &str)| {
            let mut words = line.split_whitespace().map(str::to_string);
            Some(kickstart::Command { line: i + 1, name: words.next()?, words: words.collect() })
        };
        content.lines().enumerate().filter_map(command).collect()
    }

    /// A good file has no findings; with `from` replaced by `to` exactly `rule` is among them.
    pub fn plant(check: impl Fn(&str, &mut Found), good: &str, from: &str, to: &str, rule: &str) {
        assert_eq!(rules(&check, good), Vec::<&str>::new(), "the good file");
        assert!(good.contains(from), "{from:?} is not in the good file");
        let found = rules(&check, &good.replacen(from, to, 1));
        assert!(found.contains(&rule), "{from:?} -> {to:?} should break {rule}, got {found:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_control_characters_are_found() {
        assert_eq!(testing::rules(|_, _| (), "a\r\nb"), ["crlf", "last-line"]);
        assert_eq!(testing::rules(|_, _| (), "a\u{7}\n"), ["control"]);
    }
}
