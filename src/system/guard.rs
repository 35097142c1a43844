//! Owns the disk guard (invariant 8): a rule names exactly one disk, or nothing is written. Pure.

use super::facts::Disk;
use crate::base::{DiskRule, Pick};

/// Why no disk is written, and what to do: sentences for the console and the report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {help}")]
pub struct Refusal {
    pub what: String,
    pub help: String,
}

const GIB: u64 = 1 << 30;

/// The one disk that `rule` names.
///
/// Removable, USB, read-only and empty devices never count. A disk that is seen more than once (multipath: same
/// WWN, or same serial number, model and size) is refused, whatever the rule: one of its paths is not the disk.
/// Equal sizes are no choice (field-pain #78).
pub fn choose<'a>(disks: &'a [Disk], rule: &DiskRule) -> Result<&'a Disk, Refusal> {
    if *rule == DiskRule::default() {
        return refuse("the disk rule is empty", "say in the site file which disk, by serial, size or model");
    }
    let fit: Vec<&Disk> = disks.iter().filter(|d| usable(d).is_ok() && matches(d, rule)).collect();
    let chosen = match (fit.as_slice(), rule.pick) {
        ([], _) => return Err(none(disks, rule)),
        ([one], _) => *one,
        (many, None) => return Err(several(many, "")),
        (many, Some(pick)) => {
            let best = match pick {
                Pick::Smallest => many.iter().map(|d| d.size).min(),
                Pick::Largest => many.iter().map(|d| d.size).max(),
            };
            let equal: Vec<&Disk> = many.iter().copied().filter(|d| Some(d.size) == best).collect();
            match equal.as_slice() {
                [one] => *one,
                equal => return Err(several(equal, " of equal size")),
            }
        }
    };
    let twins: Vec<&Disk> = disks.iter().filter(|d| d.name != chosen.name && same_disk(d, chosen)).collect();
    if !twins.is_empty() {
        let names = list(twins.iter().copied().chain([chosen]));
        return refuse(
            format!("one disk is seen over several paths (multipath): {names}"),
            "leave one path connected for the installation, or choose a local disk",
        );
    }
    Ok(chosen)
}

/// Whether a device may ever hold an operating system; the error says why not.
pub fn usable(disk: &Disk) -> Result<(), &'static str> {
    match disk {
        Disk { usb: true, .. } => Err("it is a USB device"),
        Disk { removable: true, .. } => Err("it is removable"),
        Disk { read_only: true, .. } => Err("it is read-only"),
        Disk { size: 0, .. } => Err("it has no medium"),
        _ => Ok(()),
    }
}

/// Whether all that the rule says holds.
fn matches(disk: &Disk, rule: &DiskRule) -> bool {
    let equal = |want: &Option<String>, have: &Option<String>| match want {
        None => true,
        Some(w) => have.as_ref().is_some_and(|h| h.trim().eq_ignore_ascii_case(w.trim())),
    };
    equal(&rule.serial, &disk.serial)
        && equal(&rule.wwn, &disk.wwn)
        && equal(&rule.by_path, &disk.by_path)
        && rule.model.as_ref().is_none_or(|want| {
            disk.model.as_ref().is_some_and(|m| m.to_lowercase().contains(&want.trim().to_lowercase()))
        })
        && rule.min_gib.is_none_or(|g| disk.size >= g.saturating_mul(GIB))
        && rule.max_gib.is_none_or(|g| disk.size <= g.saturating_mul(GIB))
}

/// Whether two devices are the same disk, seen twice.
fn same_disk(a: &Disk, b: &Disk) -> bool {
    let same = |x: &Option<String>, y: &Option<String>| x.is_some() && x == y;
    same(&a.wwn, &b.wwn) || (same(&a.serial, &b.serial) && a.model == b.model && a.size == b.size)
}

/// Whether the disk's present content may be erased: its serial number is on the node's list.
pub fn approved(disk: &Disk, erase: &[String]) -> bool {
    let ours = |id: &Option<String>| {
        id.as_ref().is_some_and(|id| {
            !id.trim().is_empty() && erase.iter().any(|e| e.trim().eq_ignore_ascii_case(id.trim()))
        })
    };
    ours(&disk.serial) || ours(&disk.wwn)
}

/// Refuses a disk with somebody's data on it, unless a person approved.
pub fn unclaimed(disk: &Disk, erase: &[String]) -> Result<(), Refusal> {
    if disk.found.is_empty() || disk.unfinished || approved(disk, erase) {
        return Ok(());
    }
    let found = disk.found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let help = match disk.serial.as_ref().or(disk.wwn.as_ref()) {
        Some(id) => format!(
            "if all of that may be erased, put erase = [\"{id}\"] into the node's entry of the site file and arm it again"
        ),
        None => {
            "it has no serial number that could be named in erase; wipe it by hand, then arm the node again"
                .to_string()
        }
    };
    refuse(format!("disk {} is not blank: {found}", disk.describe()), help)
}

fn none(disks: &[Disk], rule: &DiskRule) -> Refusal {
    let seen = if disks.is_empty() {
        "this machine has no disks (is the controller's driver known?)".to_string()
    } else {
        let each: Vec<String> = disks
            .iter()
            .map(|d| match usable(d) {
                Ok(()) => d.describe(),
                Err(why) => format!("{} ({why})", d.describe()),
            })
            .collect();
        format!("it has {}", each.join(", "))
    };
    Refusal {
        what: format!("no disk matches the rule {}: {seen}", rule_text(rule)),
        help: "correct the disk rule of the role or the node, or the machine".to_string(),
    }
}

fn several(disks: &[&Disk], how: &str) -> Refusal {
    Refusal {
        what: format!(
            "the rule matches {} disks{how}, and exactly one may be written: {}",
            disks.len(),
            list(disks.iter().copied())
        ),
        help: "name one in the node's entry of the site file, for example by serial".to_string(),
    }
}

fn list<'a>(disks: impl Iterator<Item = &'a Disk>) -> String {
    disks.map(Disk::describe).collect::<Vec<_>>().join(", ")
}

/// The rule as it would be typed.
fn rule_text(rule: &DiskRule) -> String {
    toml::to_string(rule).map(|t| format!("{{ {} }}", t.trim().replace('\n', ", "))).unwrap_or_default()
}

fn refuse<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { what: what.into(), help: help.into() })
}

#[cfg(test)]
mod tests {
    use super::super::signs::Found;
    use super::*;
    use proptest::prelude::*;

    fn disk(name: &str, gib: u64) -> Disk {
        Disk { name: name.into(), size: gib * GIB, serial: Some(format!("S-{name}")), ..Disk::default() }
    }
    fn by_size(min: u64, max: u64, pick: Option<Pick>) -> DiskRule {
        DiskRule { min_gib: Some(min), max_gib: Some(max), pick, ..DiskRule::default() }
    }

    #[test]
    fn two_equal_disks_stop_and_a_serial_decides() {
        let disks = [disk("sda", 100), disk("sdb", 100), disk("sdc", 900)];
        assert!(choose(&disks, &by_size(50, 200, None)).unwrap_err().what.contains("matches 2 disks"));
        let e = choose(&disks, &by_size(50, 1000, Some(Pick::Smallest))).unwrap_err();
        assert!(e.what.contains("of equal size"), "{e}");
        assert_eq!(choose(&disks, &by_size(50, 1000, Some(Pick::Largest))).unwrap().name, "sdc");
        let rule = DiskRule { serial: Some("s-sdb ".into()), ..DiskRule::default() };
        assert_eq!(choose(&disks, &rule).unwrap().name, "sdb");
    }

    #[test]
    fn usb_removable_read_only_and_multipath_never_count() {
        for broken in [
            Disk { usb: true, ..disk("a", 100) },
            Disk { removable: true, ..disk("a", 100) },
            Disk { read_only: true, ..disk("a", 100) },
        ] {
            let e = choose(std::slice::from_ref(&broken), &by_size(1, 200, None)).unwrap_err();
            assert!(e.what.contains("no disk matches"), "{e}");
        }
        let path = |n: &str| Disk { wwn: Some("0x5000".into()), ..disk(n, 100) };
        let rule = DiskRule { serial: Some("S-a".into()), ..DiskRule::default() };
        assert!(choose(&[path("a"), path("b")], &rule).unwrap_err().what.contains("multipath"));
        assert!(choose(&[disk("a", 1)], &DiskRule::default()).is_err(), "an empty rule names nothing");
    }

    #[test]
    fn a_claimed_disk_needs_its_serial_approved() {
        let found = vec![Found { what: "LVM physical volume".into(), place: "partition 2".into() }];
        let d = Disk { found, ..disk("sda", 10) };
        let e = unclaimed(&d, &["other".into()]).unwrap_err();
        assert!(
            e.what.contains("LVM physical volume on partition 2") && e.help.contains("erase = [\"S-sda\"]")
        );
        unclaimed(&d, &["s-SDA".into()]).unwrap();
        let nameless = Disk { serial: None, ..d.clone() };
        assert!(unclaimed(&nameless, &[String::new()]).is_err());
        unclaimed(&Disk { unfinished: true, ..d }, &[]).unwrap();
    }

    fn any_disk() -> impl Strategy<Value = Disk> {
        (0u64..4, 0u8..4, 0u8..3, 0u8..8).prop_map(|(gib, serial, wwn, flags)| Disk {
            size: gib * GIB,
            serial: (serial > 0).then(|| format!("S{serial}")),
            wwn: (wwn > 0).then(|| format!("0x{wwn}")),
            usb: flags & 1 != 0,
            removable: flags & 2 != 0,
            read_only: flags & 4 != 0,
            ..Disk::default()
        })
    }

    proptest! {
        #[test]
        fn whatever_is_chosen_is_usable_matches_and_is_the_only_one(
            mut disks in proptest::collection::vec(any_disk(), 0..6),
            serial in proptest::option::of(0u8..4), min in proptest::option::of(0u64..4),
            pick in prop_oneof![Just(None), Just(Some(Pick::Smallest)), Just(Some(Pick::Largest))],
        ) {
            for (i, d) in disks.iter_mut().enumerate() { d.name = format!("d{i}"); }
            let rule = DiskRule {
                serial: serial.map(|s| format!("S{s}")), min_gib: min, pick, ..DiskRule::default()
            };
            if let Ok(d) = choose(&disks, &rule) {
                prop_assert!(usable(d).is_ok() && matches(d, &rule));
                let rivals = disks.iter().filter(|o| usable(o).is_ok() && matches(o, &rule) && o.name != d.name);
                for o in rivals {
                    match pick {
                        None => prop_assert!(false, "two disks matched"),
                        Some(Pick::Smallest) => prop_assert!(d.size < o.size),
                        Some(Pick::Largest) => prop_assert!(d.size > o.size),
                    }
                }
                // The order in which the kernel found the disks changes nothing.
                let mut turned = disks.clone();
                turned.reverse();
                prop_assert_eq!(&choose(&turned, &rule).unwrap().name, &d.name);
            }
        }
    }
}
