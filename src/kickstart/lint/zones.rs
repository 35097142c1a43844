//! Owns the names of time zones: an installer takes a name that is none and sets UTC, or stops and asks.

use crate::problem::did_you_mean;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static NAMES: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| include_str!("zones.txt").lines().filter(|l| !l.starts_with('#')).collect());

/// Whether the tz database has a zone or a link of this name.
pub fn known(name: &str) -> bool {
    NAMES.contains(name)
}

/// The name that was probably meant: one typing error away, or the zone of the city alone.
pub fn near(name: &str) -> Option<&'static str> {
    let city = |zone: &&str| zone.rsplit('/').next().is_some_and(|c| c.eq_ignore_ascii_case(name));
    NAMES.iter().copied().find(city).or_else(|| did_you_mean(name, NAMES.iter().copied()))
}

/// The finding about a name that is none.
pub fn finding(name: &str) -> String {
    let meant = near(name).unwrap_or("Europe/Berlin");
    format!("{name:?} is no time zone of the tz database; write for example {meant}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_and_near_ones_are_offered() {
        for name in ["UTC", "Etc/UTC", "Etc/GMT+5", "Europe/Berlin", "Asia/Calcutta", "America/Indiana/Knox"]
        {
            assert!(known(name), "{name}");
        }
        for name in ["", "Europe/Berln", "europe/berlin", "Berlin", "Mars", "# Names"] {
            assert!(!known(name), "{name}");
        }
        assert_eq!(near("Europe/Berln"), Some("Europe/Berlin"));
        assert_eq!(near("shanghai"), Some("Asia/Shanghai"));
        assert_eq!(near("Mars"), None);
        assert!(NAMES.len() > 400, "the list is cut");
    }
}
