//! Rules for Ignition configurations: ignition-validate takes unknown keys as a warning and does not open contents.

use super::Found;
use serde_json::Value;
use std::collections::BTreeSet;

/// The spec version that Debian's ignition-validate, Flatcar of 2022 and Fedora CoreOS all know.
const VERSION: &str = "3.3.0";

/// Keys per object of the specification that we use.
const KEYS: [(&str, &[&str]); 8] = [
    ("", &["ignition", "passwd", "storage", "systemd", "kernelArguments"]),
    ("passwd", &["users", "groups"]),
    ("storage", &["directories", "disks", "files", "filesystems", "links", "luks", "raid"]),
    ("systemd", &["units"]),
    ("users", &["name", "passwordHash", "sshAuthorizedKeys", "groups", "uid", "homeDir", "shell", "system"]),
    ("files", &["path", "mode", "overwrite", "contents", "append", "user", "group"]),
    ("units", &["name", "enabled", "mask", "contents", "dropins"]),
    ("links", &["path", "target", "hard", "overwrite", "user", "group"]),
];

/// Checks an Ignition configuration.
pub fn check(content: &str, found: &mut Found) {
    let config: Value = match serde_json::from_str(content) {
        Ok(config) => config,
        Err(e) => {
            found.add(e.line(), "syntax", format!("the document cannot be read: {e}"));
            return;
        }
    };
    if config.pointer("/ignition/version").and_then(Value::as_str) != Some(VERSION) {
        found.add(0, "version", format!("ignition.version must be {VERSION}"));
    }
    keys(&config, "", found);
    for part in ["passwd", "storage", "systemd"] {
        if let Some(value) = config.get(part) {
            keys(value, part, found);
        }
    }
    list(&config, "/passwd/users", "users", "name", found);
    for (at, kind) in
        [("/storage/files", "files"), ("/storage/links", "links"), ("/storage/directories", "directories")]
    {
        for path in list(&config, at, kind, "path", found) {
            if !path.starts_with('/') || path.split('/').any(|p| p == "..") || path.ends_with('/') {
                found.add(0, "path", format!("{path:?} is no absolute path of a file"));
            }
        }
    }
    for unit in list(&config, "/systemd/units", "units", "name", found) {
        if !["service", "mount", "socket", "timer", "target", "path"]
            .iter()
            .any(|s| unit.ends_with(&format!(".{s}")))
        {
            found.add(0, "unit", format!("{unit:?} is no name of a unit"));
        }
    }
    for user in array(&config, "/passwd/users") {
        let hash = user.get("passwordHash").and_then(Value::as_str);
        if hash.is_some_and(|h| !(h.starts_with('$') && h.matches('$').count() >= 3)) {
            found.add(0, "hash-form", "a password hash is not in crypt form ($6$salt$hash)");
        }
    }
    for file in array(&config, "/storage/files") {
        contents(file, found);
    }
    units(&config, found);
}

fn array<'a>(config: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> {
    config.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

fn keys(value: &Value, kind: &str, found: &mut Found) {
    let Some((_, known)) = KEYS.iter().find(|(k, _)| *k == kind) else { return };
    for key in value.as_object().into_iter().flat_map(|o| o.keys()).filter(|k| !known.contains(&k.as_str())) {
        found.add(0, "key", format!("Ignition has no key {key:?} in {kind:?}"));
    }
}

/// The names in a list of objects, each once.
fn list<'a>(config: &'a Value, at: &str, kind: &str, name: &str, found: &mut Found) -> Vec<&'a str> {
    let mut names = Vec::new();
    for item in array(config, at) {
        keys(item, kind, found);
        match item.get(name).and_then(Value::as_str) {
            Some(n) if names.contains(&n) => found.add(0, "twice", format!("{n} stands twice in {kind}")),
            Some(n) => names.push(n),
            None => found.add(0, "key", format!("an entry of {kind} has no {name}")),
        }
    }
    names
}

/// A file's content is a data URL that Ignition's reader takes; secrets are for root only.
fn contents(file: &Value, found: &mut Found) {
    let path = file.get("path").and_then(Value::as_str).unwrap_or_default();
    let source = file.pointer("/contents/source").and_then(Value::as_str).unwrap_or_default();
    let mode = file.get("mode").and_then(Value::as_u64);
    let Some(data) = source.strip_prefix("data:,") else {
        found.add(0, "contents", format!("the content of {path} is no data: URL"));
        return;
    };
    // vincent-petithory/dataurl, which Ignition uses, refuses all other characters.
    let mut bytes = data.bytes();
    while let Some(b) = bytes.next() {
        let good = match b {
            b'%' => {
                let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            b => b.is_ascii_alphanumeric() || b";/?:@&=+$,-_.!~*'()".contains(&b),
        };
        if !good {
            found.add(0, "contents", format!("the content of {path} has {:?} unescaped", char::from(b)));
            return;
        }
    }
    match mode {
        None => found.add(0, "mode", format!("{path} has no mode")),
        Some(mode) if mode > 0o7777 => {
            found.add(0, "mode", format!("the mode {mode} of {path} is no decimal form of an octal mode"));
        }
        Some(mode) if has_token(data) && mode & 0o077 != 0 => {
            found.add(0, "secret", format!("{path} holds a token and others may read it"));
        }
        Some(_) => (),
    }
}

/// Whether a text has an installation's token: 32 hexadecimal digits in a row.
fn has_token(data: &str) -> bool {
    data.split(|c: char| !c.is_ascii_hexdigit()).any(|run| run.len() >= 32)
}

/// A mount unit's name follows from its mount point; every enabled unit says when it starts.
fn units(config: &Value, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for unit in array(config, "/systemd/units") {
        let name = unit.get("name").and_then(Value::as_str).unwrap_or_default();
        let text = unit.get("contents").and_then(Value::as_str).unwrap_or_default();
        seen.insert(name);
        if unit.get("enabled") == Some(&Value::Bool(true)) && !text.is_empty() && !text.contains("[Install]")
        {
            found.add(0, "unit", format!("{name} is enabled but has no [Install]"));
        }
        let place = text.lines().find_map(|l| l.strip_prefix("Where="));
        if let Some(place) = place.filter(|_| name.ends_with(".mount")) {
            let want = place.trim_matches('/').replace('-', "\\x2d").replace('/', "-");
            if name != format!("{want}.mount") {
                found.add(0, "unit", format!("the mount unit of {place} must be called {want}.mount"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::plant;
    use super::*;

    const GOOD: &str = r#"{"ignition": {"version": "3.3.0"},
"passwd": {"users": [{"name": "core", "passwordHash": "$6$abc$def"}]},
"storage": {"files": [
{"path": "/etc/a", "mode": 420, "contents": {"source": "data:,a%20b"}},
{"path": "/etc/report", "mode": 384, "contents": {"source": "data:,0123456789abcdef0123456789abcdef"}}]},
"systemd": {"units": [{"name": "srv-a.mount", "enabled": true, "contents": "[Mount]\nWhere=/srv/a\n[Install]\n"}]}}
"#;

    #[test]
    fn each_rule_finds_its_mistake() {
        for (from, to, rule) in [
            ("{\"ignition\"", "\"ignition\"", "syntax"),
            ("3.3.0", "3.4.0", "version"),
            ("\"mode\": 420", "\"mod\": 420", "key"),
            ("\"units\"", "\"unit\"", "key"),
            ("/etc/report", "/etc/a", "twice"),
            ("\"/etc/a\"", "\"etc/a\"", "path"),
            ("\"/etc/a\"", "\"/etc/../a\"", "path"),
            ("srv-a.mount\"", "srv-a\"", "unit"),
            ("srv-a.mount\"", "srv-b.mount\"", "unit"),
            ("[Install]", "", "unit"),
            ("$6$abc$def", "secret", "hash-form"),
            ("data:,a%20b", "http://x/", "contents"),
            ("a%20b", "a b", "contents"),
            ("a%20b", "a%2", "contents"),
            ("a%20b", "{", "contents"),
            ("\"mode\": 420", "\"mode\": 644000", "mode"),
            ("\"mode\": 420, ", "", "mode"),
            ("\"mode\": 384", "\"mode\": 420", "secret"),
        ] {
            plant(check, GOOD, from, to, rule);
        }
    }
}
