//! Rules for preseeds: debconf-set-selections only counts fields; names, types and values are checked here.

use super::{Found, zones};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Questions by name and type: read out of the udebs' templates, and out of the installation guide's example.
static QUESTIONS: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    include_str!("preseed.tsv")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| {
            let mut columns = l.split('\t');
            Some((columns.next()?, columns.next()?))
        })
        .collect()
});

/// Confirmations that a run without a person needs, with the answer; the second list only with LVM.
const CONFIRMED: [(&str, &str); 6] = [
    ("partman-partitioning/confirm_write_new_label", "true"),
    ("partman/choose_partition", "finish"),
    ("partman/confirm", "true"),
    ("partman/confirm_nooverwrite", "true"),
    ("partman-efi/non_efi_system", "true"),
    ("pkgsel/run_tasksel", "false"),
];
const CONFIRMED_LVM: [(&str, &str); 4] = [
    ("partman-lvm/confirm", "true"),
    ("partman-lvm/confirm_nooverwrite", "true"),
    ("partman-lvm/device_remove_lvm", "true"),
    ("partman-auto-lvm/guided_size", "max"),
];

/// What an unattended run must be told.
const NEEDED: [&str; 11] = [
    "debian-installer/locale",
    "keyboard-configuration/xkb-keymap",
    "mirror/http/hostname",
    "mirror/http/directory",
    "mirror/http/proxy",
    "apt-setup/services-select",
    "time/zone",
    "partman-auto/method",
    "partman/early_command",
    "preseed/late_command",
    "finish-install/reboot_in_progress",
];

/// Checks a preseed.
pub fn check(content: &str, found: &mut Found) {
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    for (i, line) in content.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.splitn(4, ' ');
        let (Some(_), Some(question), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            found.add(i + 1, "fields", "owner, question, type and value are separated by one blank each");
            continue;
        };
        let value = fields.next().unwrap_or_default();
        match QUESTIONS.get(question) {
            None => found.add(i + 1, "question", format!("the installer has no question {question:?}")),
            Some(t) if *t != kind => {
                found.add(i + 1, "type", format!("{question} has the type {t}, not {kind:?}"));
            }
            Some(_) => (),
        }
        if value.starts_with(' ') || value.ends_with([' ', '\t']) {
            found.add(i + 1, "blank", "a blank at the edge of the value becomes a part of it");
        }
        if value.ends_with('\\') {
            found.add(i + 1, "continued", "a backslash at the end joins the next line to this value");
        }
        if question == "time/zone" && !zones::known(value) {
            found.add(i + 1, "timezone", zones::finding(value));
        }
        if kind == "boolean" && !["true", "false"].contains(&value) {
            found.add(i + 1, "boolean", format!("{question} is true or false, not {value:?}"));
        }
        // Locked is "*": user-setup of Debian 13 takes "!" for no answer and asks (seen with its real installer).
        if kind == "password" && !(value == "*" || value.starts_with('$') && value.matches('$').count() >= 3)
        {
            found.add(
                i + 1,
                "hash-form",
                "the password is neither locked (*) nor in crypt form ($6$salt$hash)",
            );
        }
        if given.insert(question, value).is_some() {
            found.add(i + 1, "twice", format!("{question} is answered twice"));
        }
    }
    for question in NEEDED.iter().filter(|q| !given.contains_key(*q)) {
        found.add(0, "needed", format!("{question} has no answer: the installer would wait for a person"));
    }
    let lvm = given.get("partman-auto/method") == Some(&"lvm");
    for (question, answer) in CONFIRMED.iter().chain(CONFIRMED_LVM.iter().filter(|_| lvm)) {
        if given.get(question) != Some(answer) {
            found.add(
                0,
                "confirm",
                format!("{question} must be {answer}: the installer would wait for a person"),
            );
        }
    }
    if given.contains_key("partman-auto/disk") {
        found.add(
            0,
            "guard",
            "partman-auto/disk is set for good; the disk is chosen by rule in early_command",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{plant, rules};
    use super::*;

    const GOOD: &str = "# a preseed
d-i debian-installer/locale select en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i mirror/http/hostname string 10.0.0.1
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
d-i apt-setup/services-select multiselect
d-i passwd/root-password-crypted password $6$abc$def
d-i time/zone string UTC
d-i partman/early_command string sh /tmp/x
d-i partman-auto/method string lvm
d-i partman-auto-lvm/guided_size string max
d-i partman-lvm/device_remove_lvm boolean true
d-i partman-lvm/confirm boolean true
d-i partman-lvm/confirm_nooverwrite boolean true
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman-efi/non_efi_system boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i pkgsel/run_tasksel boolean false
d-i preseed/late_command string sh /tmp/y
d-i finish-install/reboot_in_progress note
";

    #[test]
    fn each_rule_finds_its_mistake() {
        for (from, to, rule) in [
            ("d-i time/zone string UTC", "d-i time/zone", "fields"),
            ("time/zone", "time/zoone", "question"),
            ("time/zone string", "time/zone select", "type"),
            ("string UTC", "string Europe/Berln", "timezone"),
            ("string UTC", "string  UTC", "blank"),
            ("string UTC", "string UTC ", "blank"),
            ("string UTC", "string UTC\\", "continued"),
            ("confirm boolean true", "confirm boolean yes", "boolean"),
            ("$6$abc$def", "secret", "hash-form"),
            ("$6$abc$def", "!", "hash-form"),
            ("d-i time/zone string UTC\n", "d-i time/zone string UTC\nd-i time/zone string UTC\n", "twice"),
            ("d-i time/zone string UTC\n", "", "needed"),
            ("d-i partman/confirm boolean true\n", "", "confirm"),
            ("d-i partman-lvm/confirm boolean true\n", "", "confirm"),
            ("run_tasksel boolean false", "run_tasksel boolean true", "confirm"),
            (
                "d-i partman-auto/method",
                "d-i partman-auto/disk string /dev/sda\nd-i partman-auto/method",
                "guard",
            ),
        ] {
            plant(check, GOOD, from, to, rule);
        }
    }

    #[test]
    fn without_lvm_its_confirmations_are_not_asked_for() {
        let plain: String = GOOD
            .lines()
            .filter(|l| !l.contains("-lvm/"))
            .map(|l| format!("{}\n", l.replace("string lvm", "string regular")))
            .collect();
        assert_eq!(rules(check, &plain), Vec::<&str>::new());
    }
}
