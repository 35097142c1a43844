//! Owns what arming would do to each node: what is installed, which disk is erased, and why it cannot be done yet.

use crate::base::Secret;
use crate::boot::bound::unchanged;
use crate::boot::decide::ready;
use crate::boot::{Known, answers, orders};
use crate::images::Image;
use crate::lifecycle::{Lane, State};
use crate::site::{Catalog, DataDisk, DiskRule, Node, Pick};
use serde::Serialize;

/// What one installation would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arming {
    pub node: String,
    pub role: String,
    pub image: String,
    pub lane: Lane,
    /// The rule that decides which disk is erased, in words.
    pub erases: String,
    /// The disk that the rule picks among those that the machine last reported; whoever knows the reports fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picks: Option<String>,
    /// Why it picks none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picks_nothing: Option<String>,
    /// Serial numbers of disks whose content the disk guard refused to erase: approved by this arming if it says so.
    pub refused: Vec<String>,
    /// The same for each data disk that is formatted.
    pub formats: Vec<String>,
    /// Where the node is now, in words.
    pub now: String,
    /// Why it cannot be armed; a sentence with the command to run.
    pub cannot: Option<String>,
}

/// What arming `node` would do.
pub fn arming(known: Known<'_>, catalog: &Catalog, node: &Node) -> Arming {
    let role = known.site.role(node);
    let state = known.ledger.state(node.mac());
    let record = known.ledger.record(node.mac());
    let lacks = match known.images.get(&role.image) {
        None => Some(format!("there is no image named {}", role.image)),
        Some(image) => ready(known.stock, image, role.lane)
            .err()
            .or_else(|| short_of_memory(image, role.lane, record?.hardware.as_deref()?)),
    };
    Arming {
        node: node.name.clone(),
        role: role.name.clone(),
        image: role.image.clone(),
        lane: role.lane,
        erases: known.site.disk_rule(node).map_or_else(|| "no disk: it has no rule".to_string(), rule),
        picks: None,
        picks_nothing: None,
        refused: record.map(|r| refused(&r.state, &r.approved)).unwrap_or_default(),
        formats: role.data_disks.iter().filter(|d| !d.keep).map(data).collect(),
        now: now(state),
        cannot: unchanged(known.site, known.ledger, node)
            .err()
            .or_else(|| not_from(state, &node.name))
            .or(lacks)
            .or_else(|| unmade(known, catalog, node)),
    }
}

/// Why the installer of `image` would not run in the memory that the machine reported; a sentence.
///
/// The fast lane has no installer: whoever reported had memory enough for its system.
pub fn short_of_memory(image: &Image, lane: Lane, report: &str) -> Option<String> {
    let report: serde_json::Value = serde_json::from_str(report).ok()?;
    let has = report.get("memory_mib")?.as_u64()?;
    let needs = u64::from(image.min_memory_mib);
    // The kernel counts what firmware and it itself have not taken: of a machine of 1 GiB about 960 MiB.
    let least = needs - needs / 8;
    (lane == Lane::Installer && has < least).then(|| {
        format!(
            "the machine reported {has} MiB of memory, and the installer of {} needs {needs} MiB; put more in, or give \
             its role the fast lane or another image",
            image.name
        )
    })
}

/// Why what the node would be given cannot be made: a template that refuses would leave the machine waiting at its own
/// console, when it is switched on.
fn unmade(known: Known<'_>, catalog: &Catalog, node: &Node) -> Option<String> {
    // Nobody sees what is made here.
    let token = Secret::new("TOKEN-OF-THE-INSTALLATION");
    let made = match known.site.role(node).lane {
        Lane::Installer => answers::answers(known.site, catalog, node, &token).map(drop),
        Lane::Fast => orders::orders(known.site, catalog, known.stock, node, &token, 0).map(drop),
    };
    let made = made.and_then(|()| answers::install_script(known.site, catalog, node, &token).map(drop));
    let problem = made.err()?;
    let place = problem.at.map(|at| format!("{}:{}: ", at.file, at.line)).unwrap_or_default();
    Some(format!(
        "what it would be given cannot be made: {place}{}; `bootstead check` shows the place, mend it there",
        problem.what
    ))
}

/// What begins the serial number in a refusal of the disk guard, of either lane: `system::guard`, `disk.sh.j2`.
const NAMED: &str = "put erase = [\"";

/// The disk that the disk guard refused to erase, and those that were approved for the arming that it ended: they are
/// as they were.
fn refused(state: &State, approved: &[String]) -> Vec<String> {
    let State::Failed { why, .. } = state else { return Vec::new() };
    let named = why.split_once(NAMED).and_then(|(_, rest)| rest.split_once("\"]"));
    let Some((serial, _)) = named else { return Vec::new() };
    let mut all = approved.to_vec();
    if !all.iter().any(|s| s == serial) {
        all.push(serial.to_string());
    }
    all
}

fn data(d: &DataDisk) -> String {
    format!("{} ({}): {}", d.name, d.mount, rule(&d.rule))
}

fn now(state: &State) -> String {
    match state {
        State::Expected => "never installed".to_string(),
        State::Installed { .. } => "installed: everything on that disk is lost".to_string(),
        State::Failed { why, .. } => format!("failed: {why}"),
        State::Held { why, .. } => format!("held: {why}"),
        other => other.name().to_string(),
    }
}

/// Why a node in this state cannot be armed: the same rules as `lifecycle::step`, with what to type.
fn not_from(state: &State, name: &str) -> Option<String> {
    match state {
        State::Expected | State::Installed { .. } | State::Failed { .. } => None,
        State::Armed { .. } | State::Booting { .. } => Some("it is armed already".to_string()),
        State::Installing { .. } => Some(format!(
            "it is installing now; wait for its report, or give it up with `bootstead node forget {name}`"
        )),
        State::Held { why, .. } => {
            Some(format!("it is held ({why}); run `bootstead node release {name}` first"))
        }
    }
}

/// A disk rule in words: `the one disk with serial QM00001`.
pub fn rule(rule: &DiskRule) -> String {
    let mut conditions = Vec::new();
    let exact = [("serial", &rule.serial), ("WWN", &rule.wwn), ("path", &rule.by_path)];
    conditions.extend(exact.iter().filter_map(|(what, v)| v.as_ref().map(|v| format!("{what} {v}"))));
    conditions.extend(rule.model.as_ref().map(|m| format!("model containing {m:?}")));
    let size = match (rule.min_gib, rule.max_gib) {
        (Some(a), Some(b)) => format!(" of {a} to {b} GiB"),
        (Some(a), None) => format!(" of at least {a} GiB"),
        (None, Some(b)) => format!(" of at most {b} GiB"),
        (None, None) => String::new(),
    };
    let which = match rule.pick {
        Some(Pick::Smallest) => "the smallest disk",
        Some(Pick::Largest) => "the largest disk",
        None => "the one disk",
    };
    match (conditions.is_empty(), size.is_empty(), rule.pick) {
        (true, true, None) => "the only disk".to_string(),
        (true, ..) => format!("{which}{size}"),
        (false, ..) => format!("{which}{size} with {}", conditions.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    #[test]
    fn a_refusal_names_its_disk() {
        let failed = |why: &str| State::Failed { since: Timestamp(0), arming: 1, why: why.to_string() };
        let why = "checking the disk: the system disk is sda (20 GiB, serial S1), which holds a partition table (gpt) \
                   with 2 partitions; nothing was written; if all of that may be erased, put erase = [\"S1\"] into the \
                   node's entry of the site file and arm it again";
        assert_eq!(refused(&failed(why), &[]), ["S1"]);
        assert_eq!(refused(&failed(why), &["D2".into()]), ["D2", "S1"]);
        assert_eq!(refused(&failed(why), &["S1".into()]), ["S1"]);
        // what was written to afterwards is not what was approved
        assert_eq!(refused(&failed("pkgsel failed"), &["S1".into()]), Vec::<String>::new());
        assert_eq!(refused(&State::Expected, &["S1".into()]), Vec::<String>::new());
        // The two that write it, with a variable in the place of the serial number.
        for (writer, named) in [
            (include_str!("../../kickstart/parts/disk.sh.j2"), r#"put erase = [\"$named\"]"#),
            (include_str!("../system/guard.rs"), r#"put erase = [\"{id}\"]"#),
        ] {
            assert!(writer.contains(named), "{named}");
        }
    }

    #[test]
    fn an_installer_that_does_not_fit_into_the_memory_is_said_before() {
        let image: Image = serde_json::from_value(serde_json::json!({
            "summary": "", "family": "el9", "version": "9", "arch": "amd64", "min_memory_mib": 1024,
        }))
        .unwrap();
        let short = |mib: u64, lane| short_of_memory(&image, lane, &format!("{{\"memory_mib\": {mib}}}"));
        assert!(short(760, Lane::Installer).unwrap().contains("760 MiB of memory"));
        assert_eq!(short(960, Lane::Installer), None, "a machine of 1 GiB");
        assert_eq!(short(760, Lane::Fast), None);
        assert_eq!(short_of_memory(&image, Lane::Installer, "not JSON"), None);
    }

    #[test]
    fn a_disk_rule_reads_as_a_sentence() {
        let r = DiskRule { serial: Some("QM1".into()), min_gib: Some(100), ..DiskRule::default() };
        assert_eq!(rule(&r), "the one disk of at least 100 GiB with serial QM1");
        let r = DiskRule { pick: Some(Pick::Smallest), max_gib: Some(500), ..DiskRule::default() };
        assert_eq!(rule(&r), "the smallest disk of at most 500 GiB");
        assert_eq!(rule(&DiskRule::default()), "the only disk");
    }
}
