//! Rules for kickstarts: sections, commands, options, what an unattended run needs.

use super::dialects::{self, Standing};
use super::words::{self, Words};
use super::{Found, network, script, storage, zones};
use std::collections::{BTreeMap, BTreeSet};

/// One command line, wherever it stands: in the file, or written by `%pre`.
#[derive(Debug, Clone)]
pub struct Command {
    pub line: usize,
    pub name: String,
    /// Options as `--name=value`, `--name` or plain words.
    pub words: Vec<String>,
}

impl Command {
    /// The value of an option: `--name=value`, or `--name value`.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.words.iter().enumerate().find_map(|(i, w)| {
            let rest = w.strip_prefix(name)?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() => self.words.get(i + 1).map(String::as_str),
                None => None,
            }
        })
    }
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|w| w.split('=').next() == Some(name))
    }
    /// Words that are no options.
    pub fn plain(&self) -> Vec<&str> {
        self.words.iter().filter(|w| !w.starts_with("--")).map(String::as_str).collect()
    }
}

/// A `%section` with its lines.
struct Section<'a> {
    name: &'a str,
    lines: Vec<(usize, &'a str)>,
}

/// Checks a kickstart of `dialect`.
pub fn check(dialect: &str, content: &str, found: &mut Found) {
    let (lines, sections) = cut(content, found);
    let mut commands: Vec<Command> = lines.iter().filter_map(|(n, l)| command(*n, l, found)).collect();
    includes(&lines, &sections, found);
    for s in sections.iter().filter(|s| s.name == "%pre") {
        commands.extend(written(&s.lines, found));
    }
    for s in sections.iter().filter(|s| matches!(s.name, "%pre" | "%post" | "%onerror")) {
        let text: Vec<&str> = s.lines.iter().map(|(_, l)| *l).collect();
        let mut inner = Found::default();
        script::here_documents(&text.join("\n"), &mut inner);
        let first = s.lines.first().map_or(0, |(n, _)| *n);
        for (line, rule, what) in inner.0 {
            found.add(first + line - 1, rule, what);
        }
    }
    for c in &commands {
        standing(dialect, c, found);
        values(c, found);
    }
    required(&commands, found);
    storage::check(&commands, found);
    network::check(&commands, found);
}

/// Cuts the file into command lines and sections.
fn cut<'a>(content: &'a str, found: &mut Found) -> (Vec<(usize, &'a str)>, Vec<Section<'a>>) {
    let (mut lines, mut sections) = (Vec::new(), Vec::new());
    let mut open: Option<(usize, Section<'a>)> = None;
    for (i, line) in content.lines().enumerate() {
        let (n, first) = (i + 1, line.split_whitespace().next().unwrap_or_default());
        match (&mut open, first) {
            (Some(_), "%end") => sections.extend(open.take().map(|(_, s)| s)),
            (Some((_, s)), _) => s.lines.push((n, line)),
            (None, "%end") => found.add(
                n,
                "end",
                "%end without a section: a line that begins with %end inside a text closes its section early",
            ),
            (None, "%include") => lines.push((n, line)),
            (None, name) if name.starts_with('%') => {
                open = Some((n, Section { name, lines: Vec::new() }));
            }
            _ => lines.push((n, line)),
        }
    }
    if let Some((n, s)) = open {
        found.add(n, "end", format!("{} has no %end", s.name));
    }
    (lines, sections)
}

fn command(line: usize, text: &str, found: &mut Found) -> Option<Command> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') || text.starts_with('%') {
        return None;
    }
    let Words { words, cut, open } = words::kickstart(text);
    if cut {
        found.add(line, "hash", "an unquoted # cuts this line; quote the value");
    }
    if open {
        found.add(line, "quote", "a quotation on this line has no end");
    }
    let mut words = words.into_iter();
    Some(Command { line, name: words.next()?, words: words.collect() })
}

/// The command lines that a `%pre` script writes with `echo`.
fn written(lines: &[(usize, &str)], found: &mut Found) -> Vec<Command> {
    let mut known = BTreeMap::new();
    let mut out = Vec::new();
    for (n, line) in lines {
        let line = line.trim();
        if let Some((name, value)) = words::assignment(line) {
            let value = words::shell_word(value, &known);
            known.insert(name.to_string(), value);
        } else if let Some(text) = line.strip_prefix("echo ") {
            let text = words::shell_word(text, &known);
            if text.split(' ').next().is_some_and(dialects::is_command) {
                out.extend(command(*n, &text, found));
            }
        }
    }
    out
}

/// Every included file is written by a `%pre`.
fn includes(lines: &[(usize, &str)], sections: &[Section<'_>], found: &mut Found) {
    let written: BTreeSet<&str> = sections
        .iter()
        .filter(|s| s.name == "%pre")
        .flat_map(|s| &s.lines)
        .filter_map(|(_, l)| l.rsplit_once("> ").map(|(_, file)| file.trim()))
        .collect();
    for (n, line) in lines {
        let Some(file) = line.trim().strip_prefix("%include").map(str::trim) else { continue };
        if file.starts_with('/') && !written.contains(file) {
            found.add(*n, "include", format!("no %pre writes {file}"));
        }
    }
}

fn standing(dialect: &str, c: &Command, found: &mut Found) {
    match dialects::standing(dialect, &c.name, "-") {
        Standing::Known => (),
        Standing::Deprecated => {
            found.add(c.line, "command", format!("{} is deprecated in {dialect}", c.name))
        }
        Standing::Unknown => {
            found.add(c.line, "command", format!("{dialect} has no command {:?}", c.name));
            return;
        }
    }
    for option in c.words.iter().filter(|w| w.starts_with("--")) {
        let name = option.split('=').next().unwrap_or_default();
        match dialects::standing(dialect, &c.name, name) {
            Standing::Known => (),
            Standing::Deprecated => {
                found.add(c.line, "option", format!("{} {name} is deprecated in {dialect}", c.name));
            }
            Standing::Unknown => {
                found.add(c.line, "option", format!("{} has no option {name} in {dialect}", c.name));
            }
        }
    }
}

/// Values that no validator looks at.
fn values(c: &Command, found: &mut Found) {
    match c.name.as_str() {
        "selinux" => {
            let modes = ["--enforcing", "--permissive", "--disabled"];
            if modes.iter().filter(|m| c.has(m)).count() != 1 {
                found.add(c.line, "selinux", "selinux needs exactly one mode");
            }
        }
        "firewall" => {
            for port in c.words.iter().filter_map(|w| w.strip_prefix("--port=")).flat_map(|p| p.split(',')) {
                let good = port.split_once(':').is_some_and(|(number, protocol)| {
                    number.split('-').all(|n| n.parse::<u16>().is_ok_and(|n| n > 0))
                        && ["tcp", "udp", "sctp", "dccp"].contains(&protocol)
                });
                if !good {
                    found.add(c.line, "port", format!("{port:?} is no port; write 22:tcp"));
                }
            }
        }
        "timezone" => {
            let zone = c.plain().first().copied().unwrap_or_default();
            if !zones::known(zone) {
                found.add(c.line, "timezone", zones::finding(zone));
            }
        }
        "rootpw" | "user" => {
            if c.has("--plaintext") {
                found.add(c.line, "plaintext", "a plain password stands in this file; give a hash");
            }
            let hash = if c.name == "user" { c.option("--password") } else { c.plain().first().copied() };
            if c.has("--iscrypted")
                && !hash.is_some_and(|h| h.starts_with('$') && h.matches('$').count() >= 3)
            {
                found.add(c.line, "hash-form", "the password hash is not in crypt form ($6$salt$hash)");
            }
        }
        "bootloader" | "network" | "clearpart" | "ignoredisk" => {
            if let Some(word) = c.plain().first() {
                found.add(
                    c.line,
                    "stray-word",
                    format!("{} takes no word {word:?}; quote the option's value", c.name),
                );
            }
        }
        _ => (),
    }
}

/// What stops an unattended run when it is missing.
fn required(commands: &[Command], found: &mut Found) {
    let has = |names: &[&str]| commands.iter().any(|c| names.contains(&c.name.as_str()));
    for (names, why) in [
        (&["url", "nfs", "harddrive", "cdrom", "liveimg", "ostreesetup"][..], "a source of packages"),
        (&["bootloader"], "bootloader"),
        (&["lang"], "lang"),
        (&["keyboard"], "keyboard"),
        (&["timezone"], "timezone"),
        (&["rootpw", "user"], "rootpw or user"),
        (&["reboot", "poweroff", "shutdown", "halt"], "reboot"),
        (&["text", "cmdline"], "text or cmdline"),
    ] {
        if !has(names) {
            found.add(0, "required", format!("{why} is missing: the installer would wait for a person"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::plant;
    use super::*;

    pub const GOOD: &str = r#"text --non-interactive
url --url="http://10.0.0.1/tree"
lang "en_US.UTF-8"
keyboard --vckeymap="us"
timezone "Europe/Berlin" --utc
rootpw --iscrypted "$6$abc$def"
selinux --enforcing
firewall --enabled --service=ssh --port=80:tcp
%include /tmp/net.ks
%include /tmp/disk.ks
reboot
%packages
@^minimal-environment
%end
%pre
PORT=$(nic '52:54:00:00:00:01')
LINK="--device=$PORT"
{
  echo "network $LINK --bootproto=static --ip=10.0.0.2 --netmask=255.255.255.0 --activate"
} > /tmp/net.ks
{
  echo "ignoredisk --only-use=$OS"
  echo "clearpart --all --initlabel --drives=$OS"
  echo "bootloader --boot-drive=$OS --append="'"a b"'""
  echo "part pv.01 --fstype=lvmpv --size=1 --grow --ondisk=$OS"
  echo "volgroup vg pv.01"
  echo "logvol / --vgname=vg --name=root --fstype=xfs --size=4096"
} > /tmp/disk.ks
cat > /tmp/note <<'END'
a note
END
%end
"#;

    fn rhel9(content: &str, found: &mut Found) {
        check("RHEL9", content, found);
    }

    #[test]
    fn each_rule_finds_its_mistake() {
        for (from, to, rule) in [
            ("\"us\"\n", "us # layout\n", "hash"),
            ("\"us\"\n", "\"us\n", "quote"),
            ("a note", "%end", "end"),
            ("@^minimal-environment\n%end\n", "@^minimal-environment\n", "include"),
            ("\nEND\n%end\n", "\nEND\n", "end"),
            ("} > /tmp/net.ks", "} > /tmp/nett.ks", "include"),
            ("reboot\n", "install\nreboot\n", "command"),
            ("reboot\n", "autostep\nreboot\n", "command"),
            ("--activate", "--prefix=24", "option"),
            ("--utc", "--isUtc --utcc", "option"),
            ("--enforcing", "--enforcing --permissive", "selinux"),
            ("80:tcp", "80/tcp", "port"),
            ("80:tcp", "0:tcp", "port"),
            ("Europe/Berlin", "Europe/Berln", "timezone"),
            ("--iscrypted", "--plaintext", "plaintext"),
            ("$6$abc$def", "secret", "hash-form"),
            ("--append=\"'\"a b\"'\"\"", "--append=a b\"", "stray-word"),
            ("lang \"en_US.UTF-8\"\n", "", "required"),
            ("reboot\n", "", "required"),
            ("rootpw --iscrypted \"$6$abc$def\"\n", "", "required"),
            ("text --non-interactive\n", "", "required"),
            ("url --url=\"http://10.0.0.1/tree\"\n", "", "required"),
            ("\nEND\n", "\n END\n", "here-document"),
        ] {
            plant(rhel9, GOOD, from, to, rule);
        }
        plant(
            |c, f| check("RHEL10", c, f),
            &GOOD.replace("autostep", ""),
            "--utc",
            "--utc --nontp",
            "option",
        );
    }

    #[test]
    fn no_text_panics() {
        for text in
            ["", "%", "%end", "%pre", "%pre\n%end", "\"", "%include", "part", "network --ip", "%pre\necho \""]
        {
            rhel9(text, &mut Found::default());
        }
    }
}
