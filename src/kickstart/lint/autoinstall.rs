//! Rules for autoinstall: its schema lets unknown keys and everything below `storage` pass.
//!
//! Our user-data is JSON after the `#cloud-config` line, which is YAML too.

use super::Found;
use super::zones;
use serde_json::Value;
use std::collections::BTreeSet;

/// The top-level keys of autoinstall that the reference lists.
const KEYS: [&str; 31] = [
    "active-directory",
    "apt",
    "codecs",
    "debconf-selections",
    "drivers",
    "early-commands",
    "error-commands",
    "identity",
    "interactive-sections",
    "kernel",
    "kernel-crash-dumps",
    "keyboard",
    "late-commands",
    "locale",
    "network",
    "oem",
    "packages",
    "proxy",
    "refresh-installer",
    "reporting",
    "shutdown",
    "snaps",
    "source",
    "ssh",
    "storage",
    "timezone",
    "ubuntu-pro",
    "updates",
    "user-data",
    "version",
    "zdevs",
];

/// Checks a user-data.
pub fn check(content: &str, found: &mut Found) {
    let Some(body) = content.strip_prefix("#cloud-config\n") else {
        found.add(1, "cloud-config", "the first line must be #cloud-config, or cloud-init ignores the file");
        return;
    };
    let document: Value = match serde_json::from_str(body) {
        Ok(document) => document,
        Err(e) => {
            found.add(e.line() + 1, "syntax", format!("the document cannot be read: {e}"));
            return;
        }
    };
    let Some(settings) = document.get("autoinstall").and_then(Value::as_object) else {
        found.add(0, "autoinstall", "there is no `autoinstall`: the installer would ask everything");
        return;
    };
    for key in document.as_object().into_iter().flat_map(|d| d.keys()).filter(|k| *k != "autoinstall") {
        found.add(
            0,
            "key",
            format!("{key:?} beside autoinstall is for the live system, not for the new one"),
        );
    }
    for key in settings.keys().filter(|k| !KEYS.contains(&k.as_str())) {
        found.add(0, "key", format!("autoinstall has no key {key:?}"));
    }
    for key in ["version", "identity", "storage", "network", "late-commands", "error-commands"] {
        if !settings.contains_key(key) {
            found.add(0, "needed", format!("autoinstall.{key} is missing"));
        }
    }
    if settings.get("version") != Some(&Value::from(1)) {
        found.add(0, "version", "autoinstall.version must be the number 1");
    }
    if settings.contains_key("interactive-sections") {
        found.add(0, "needed", "interactive-sections make the installer wait for a person");
    }
    let zone = settings.get("timezone").and_then(Value::as_str).unwrap_or_default();
    if !zones::known(zone) {
        found.add(0, "timezone", zones::finding(zone));
    }
    if let Some(identity) = settings.get("identity") {
        account(identity, found);
    }
    storage(settings.get("storage").and_then(|s| s.get("config")), found);
}

fn account(identity: &Value, found: &mut Found) {
    let text = |key: &str| identity.get(key).and_then(Value::as_str).unwrap_or_default();
    let password = text("password");
    if !(password == "!" || password.starts_with('$') && password.matches('$').count() >= 3) {
        found.add(0, "hash-form", "the password is neither locked (!) nor in crypt form ($6$salt$hash)");
    }
    if text("username").is_empty() || text("username") == "root" {
        found.add(0, "account", "identity needs a user name, and root is none that Ubuntu accepts");
    }
}

/// curtin's storage actions: each names only what stands before it.
fn storage(config: Option<&Value>, found: &mut Found) {
    let Some(actions) = config.and_then(Value::as_array) else {
        found.add(0, "storage", "storage.config is no list of actions");
        return;
    };
    let mut ids = BTreeSet::new();
    let (mut mounts, mut disks) = (BTreeSet::new(), 0);
    for action in actions {
        let text = |key: &str| action.get(key).and_then(Value::as_str);
        let id = text("id").unwrap_or_default();
        for key in ["device", "volume", "volgroup"] {
            if let Some(name) = text(key).filter(|n| !ids.contains(*n)) {
                found.add(0, "storage", format!("{id} names {name:?}, which no action before it makes"));
            }
        }
        for name in action.get("devices").and_then(Value::as_array).into_iter().flatten() {
            if !name.as_str().is_some_and(|n| ids.contains(n)) {
                found.add(0, "storage", format!("{id} names {name}, which no action before it makes"));
            }
        }
        if id.is_empty() || !ids.insert(id) {
            found.add(0, "storage", format!("the id {id:?} is empty or used twice"));
        }
        match text("type") {
            Some("disk") => disks += 1,
            Some("mount") => {
                let path = text("path").unwrap_or_default();
                if !mounts.insert(path) {
                    found.add(0, "mount", format!("{path} is mounted twice"));
                }
            }
            Some("partition" | "format" | "lvm_volgroup" | "lvm_partition") => (),
            other => {
                found.add(0, "storage", format!("{id} has the type {other:?}, which curtin does not know"))
            }
        }
    }
    if !mounts.contains("/") {
        found.add(0, "mount", "nothing is mounted at /");
    }
    if disks != 1 {
        found.add(0, "guard", format!("{disks} disks are named; the installer may write exactly one"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::plant;
    use super::*;

    const GOOD: &str = r##"#cloud-config
{"autoinstall": {"version": 1, "timezone": "Etc/UTC", "network": {},
"identity": {"hostname": "a", "username": "ops", "password": "$6$abc$def"},
"storage": {"config": [
{"id": "os", "type": "disk", "path": "/dev/x"},
{"id": "pv", "type": "partition", "device": "os", "size": -1},
{"id": "vg", "type": "lvm_volgroup", "name": "vg", "devices": ["pv"]},
{"id": "root", "type": "lvm_partition", "volgroup": "vg", "name": "root", "size": "1G"},
{"id": "fs", "type": "format", "volume": "root", "fstype": "ext4"},
{"id": "mnt", "type": "mount", "device": "fs", "path": "/"}]},
"late-commands": [], "error-commands": []}}
"##;

    #[test]
    fn each_rule_finds_its_mistake() {
        for (from, to, rule) in [
            ("#cloud-config", "# cloud-config", "cloud-config"),
            ("\"version\": 1,", "\"version\": 1", "syntax"),
            ("\"autoinstall\"", "\"autoinstal\"", "autoinstall"),
            ("\"network\": {}", "\"network\": {}, \"pakages\": []", "key"),
            ("{\"autoinstall\"", "{\"users\": [], \"autoinstall\"", "key"),
            ("\"network\": {},", "", "needed"),
            ("\"network\": {}", "\"network\": {}, \"interactive-sections\": []", "needed"),
            ("\"version\": 1", "\"version\": 2", "version"),
            ("Etc/UTC", "Utc", "timezone"),
            ("$6$abc$def", "secret", "hash-form"),
            ("\"ops\"", "\"root\"", "account"),
            ("\"volume\": \"root\"", "\"volume\": \"rot\"", "storage"),
            ("[\"pv\"]", "[\"pw\"]", "storage"),
            ("\"id\": \"fs\"", "\"id\": \"root\"", "storage"),
            ("\"format\"", "\"fromat\"", "storage"),
            ("\"path\": \"/\"", "\"path\": \"/srv\"", "mount"),
            ("{\"id\": \"pv\"", "{\"id\": \"b\", \"type\": \"disk\"},\n{\"id\": \"pv\"", "guard"),
        ] {
            plant(check, GOOD, from, to, rule);
        }
    }
}
