//! Owns the table of kickstart commands and options by dialect (`dialects.tsv`, made by tests/validate/dialects.py).

use std::collections::BTreeMap;
use std::sync::LazyLock;

static TEXT: &str = include_str!("dialects.tsv");

type Table = BTreeMap<&'static str, BTreeMap<&'static str, &'static str>>;
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    for line in TEXT.lines().filter(|l| !l.starts_with('#')) {
        let mut columns = line.split('\t');
        if let (Some(command), Some(option), Some(dialects)) =
            (columns.next(), columns.next(), columns.next())
        {
            table.entry(command).or_default().insert(option, dialects);
        }
    }
    table
});

/// What a dialect says to a command or option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Known,
    Deprecated,
    Unknown,
}

/// Whether pykickstart has this dialect and the table covers it.
pub fn known(dialect: &str) -> bool {
    let list = TEXT.lines().find_map(|l| l.strip_prefix("# dialects: ")).unwrap_or_default();
    list.split(' ').any(|d| d == dialect)
}

/// Whether any dialect has a command of this name.
pub fn is_command(name: &str) -> bool {
    TABLE.contains_key(name)
}

/// What `dialect` says to `command` (option `-`) or to one of its options.
pub fn standing(dialect: &str, command: &str, option: &str) -> Standing {
    let Some(dialects) = TABLE.get(command).and_then(|c| c.get(option)) else { return Standing::Unknown };
    if *dialects == "all" {
        return Standing::Known;
    }
    for d in dialects.split(' ') {
        match d.strip_suffix('~') {
            Some(d) if d == dialect => return Standing::Deprecated,
            None if d == dialect => return Standing::Known,
            _ => (),
        }
    }
    Standing::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_what_changed_between_versions() {
        assert!(known("RHEL9") && known("F36") && !known("RHEL99"));
        assert_eq!(standing("RHEL7", "install", "-"), Standing::Known);
        assert_eq!(standing("RHEL8", "install", "-"), Standing::Deprecated);
        assert_eq!(standing("RHEL9", "install", "-"), Standing::Unknown);
        assert_eq!(standing("RHEL10", "timezone", "--ntpservers"), Standing::Unknown);
        assert_eq!(standing("RHEL9", "network", "--prefix"), Standing::Unknown);
        assert_eq!(standing("F29", "network", "--vlanid"), Standing::Known);
    }
}
