//! `bootstead node show`: what the fast lane's system reported of a machine, and which of its disks the node's rule
//! picks, found by the code that the fast lane itself uses.

use super::load::load;
use super::render;
use super::station::Station;
use super::{Globals, say, terminal};
use crate::base::time::size;
use crate::base::{DiskRule, Firmware};
use crate::lifecycle::{Ledger, Record};
use crate::problem::{Exit, Problem, Problems};
use crate::site::{Node, Site};
use crate::system::facts::{Disk, Machine};
use crate::system::guard::{self, Refusal};
use crate::ui::arming;
use crate::ui::text::{Paint, Style, width};
use std::fmt::Write as _;

pub fn show(g: &Globals, name: &str) -> Result<Exit, Problems> {
    let loaded = load(g)?;
    let node = render::node(&loaded, name)?;
    let ledger = Station::find(g)?.ledger()?;
    if g.json {
        return say(&format!("{:#}\n", json(&loaded.site, &ledger, node)));
    }
    let machine = match reported(&ledger, node) {
        Some(report) => Some(read(report).map_err(|why| unreadable(&node.name, &why))?),
        None => None,
    };
    say(&text(&loaded.site, &ledger, node, machine.as_ref(), &terminal::style()))
}

/// The last hardware report of the node's machine, as it came.
fn reported<'a>(ledger: &'a Ledger, node: &Node) -> Option<&'a str> {
    ledger.record(node.mac())?.hardware.as_deref()
}

fn read(report: &str) -> Result<Machine, String> {
    serde_json::from_str(report).map_err(|e| e.to_string())
}

fn unreadable(name: &str, why: &str) -> Problem {
    Problem::input(format!("the hardware report of {name} cannot be read: {why}"))
        .why("the fast lane's system that made it is of another version than this command")
        .help(format!(
            "`bootstead node show {name} --json` prints it as it came; after `bootstead image build system` the next \
             start of the machine makes a new one"
        ))
}

/// What the node's disk rule picks among the disks that its machine reported; `None` without a report or a rule.
pub fn picked(site: &Site, ledger: &Ledger, node: &Node) -> Option<Result<String, String>> {
    let machine = read(reported(ledger, node)?).ok()?;
    let rule = site.disk_rule(node)?;
    Some(pick(&machine, rule).map(Disk::describe).map_err(|refusal| refusal.what))
}

fn pick<'a>(machine: &'a Machine, rule: &DiskRule) -> Result<&'a Disk, Refusal> {
    guard::choose(&machine.disks, rule)
}

/// Serial numbers of disks whose content may be erased: by the site file, and by the arming that counts now.
fn erasable(node: &Node, record: Option<&Record>) -> Vec<String> {
    node.erase.iter().chain(record.into_iter().flat_map(|r| &r.approved)).cloned().collect()
}

fn json(site: &Site, ledger: &Ledger, node: &Node) -> serde_json::Value {
    let report = reported(ledger, node);
    // As it came, also where this version does not understand it.
    let raw = report.map(|r| serde_json::from_str(r).unwrap_or_else(|_| serde_json::Value::from(r)));
    let picked = picked(site, ledger, node);
    serde_json::json!({
        "node": node.name,
        "mac": node.mac(),
        "role": node.role,
        "state": ledger.state(node.mac()).name(),
        "rule": site.disk_rule(node),
        "picks": picked.as_ref().and_then(|p| p.as_ref().ok()),
        "picks_nothing": picked.as_ref().and_then(|p| p.as_ref().err()),
        "hardware": raw,
    })
}

fn text(site: &Site, ledger: &Ledger, node: &Node, machine: Option<&Machine>, style: &Style) -> String {
    let record = ledger.record(node.mac());
    let mut out = String::new();
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(out, "{what:9}{}", style.clean(value));
    };
    line(
        "node",
        &format!("{} ({}), role {}, image {}", node.name, node.mac(), node.role, site.role(node).image),
    );
    line("state", ledger.state(node.mac()).name());
    let Some(machine) = machine else {
        line(
            "hardware",
            "not known: the fast lane's system reports it when it starts, and no other installer does",
        );
        if let Some(rule) = site.disk_rule(node) {
            line("rule", &arming::rule(rule));
        }
        return out;
    };
    let known = |parts: &[&Option<String>]| {
        let words: Vec<&str> = parts.iter().filter_map(|p| p.as_deref()).collect();
        if words.is_empty() { "not known".to_string() } else { words.join(" ") }
    };
    let serial = machine.serial.as_ref().map(|s| format!(", serial {s}")).unwrap_or_default();
    line("machine", &(known(&[&machine.vendor, &machine.product]) + &serial));
    line(
        "firmware",
        &match (machine.firmware, machine.secure_boot) {
            (Firmware::Bios, _) => "BIOS".to_string(),
            (Firmware::Uefi, Some(true)) => "UEFI, Secure Boot on".to_string(),
            (Firmware::Uefi, Some(false)) => "UEFI, Secure Boot off".to_string(),
            (Firmware::Uefi, None) => "UEFI".to_string(),
        },
    );
    let s = if machine.cpus == 1 { "" } else { "s" };
    line("CPU", &format!("{}, {} logical processor{s}", machine.cpu_model, machine.cpus));
    line("memory", &size(machine.memory_mib << 20));
    out.push('\n');
    out.push_str(&ports(machine, style));
    out.push('\n');
    out.push_str(&disks(machine, style));
    if let Some(rule) = site.disk_rule(node) {
        let _ = writeln!(out, "\nrule     {}", style.clean(&arming::rule(rule)));
        let (paint, verdict) = match pick(machine, rule) {
            Err(refusal) => (Paint::Bad, format!("none    {refusal}")),
            Ok(disk) => match guard::unclaimed(disk, &erasable(node, record)) {
                Err(refusal) => (Paint::Late, format!("picks    {}; {}", disk.describe(), refusal.help)),
                Ok(()) => (Paint::Good, format!("picks    {}", disk.describe())),
            },
        };
        let _ = writeln!(out, "{}", style.paint(paint, &style.clean(&verdict)));
    }
    out
}

fn ports(machine: &Machine, style: &Style) -> String {
    let rows = machine.ports.iter().map(|p| {
        let link = match (p.link, p.speed) {
            (false, _) => "no link".to_string(),
            (true, Some(speed)) => format!("{speed} Mbit/s"),
            (true, None) => "link".to_string(),
        };
        vec![p.name.clone(), p.mac.clone(), link, p.driver.clone().unwrap_or_default()]
    });
    columns(&["PORT", "MAC", "LINK", "DRIVER"], rows.collect(), style)
}

fn disks(machine: &Machine, style: &Style) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_string());
    let rows = machine.disks.iter().map(|d| {
        let holds = match (guard::usable(d), d.unfinished) {
            (Err(why), _) => format!("never used: {why}"),
            (Ok(()), true) => "an installation by Bootstead that was cut off".to_string(),
            (Ok(()), false) if d.found.is_empty() => "nothing".to_string(),
            (Ok(()), false) => d.found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let serial = d.serial.clone().or_else(|| d.wwn.as_ref().map(|w| format!("WWN {w}")));
        vec![d.name.clone(), size(d.size), or_none(&d.model), or_none(&serial), or_none(&d.by_path), holds]
    });
    columns(&["DISK", "SIZE", "MODEL", "SERIAL", "BY-PATH", "HOLDS"], rows.collect(), style)
}

/// Columns as wide as they need to be; the last one is free.
fn columns(head: &[&str], rows: Vec<Vec<String>>, style: &Style) -> String {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let widest = |i: usize| rows.iter().chain([&head]).map(|r| width(&style.clean(&r[i]))).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(widest).collect();
    let row = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, w)| style.pad(cell, *w));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let mut out = style.paint(Paint::Quiet, &row(&head)) + "\n";
    for cells in &rows {
        let _ = writeln!(out, "{}", row(cells));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::facts::Port;
    use crate::system::signs::Found;

    fn machine() -> Machine {
        let disk = |name: &str, gib: u64, serial: &str| Disk {
            name: name.into(),
            size: gib << 30,
            model: Some("MODEL".into()),
            serial: Some(serial.into()),
            by_path: Some(format!("pci-0000:00:1f.2-{name}")),
            ..Disk::default()
        };
        let found = vec![Found { what: "LVM physical volume".into(), place: "partition 3".into() }];
        Machine {
            firmware: Firmware::Uefi,
            secure_boot: Some(false),
            vendor: Some("Maker".into()),
            product: Some("Box".into()),
            serial: None,
            uuid: None,
            cpu_model: "Some CPU".into(),
            cpus: 8,
            memory_mib: 16_000,
            disks: vec![
                Disk { found, ..disk("sda", 100, "S1") },
                disk("sdb", 900, "S\u{1b}[2J2"),
                Disk { usb: true, ..disk("sdc", 8, "S3") },
            ],
            ports: vec![
                Port {
                    name: "eno1".into(),
                    mac: "52:54:00:00:00:01".into(),
                    driver: Some("ixgbe".into()),
                    speed: Some(10_000),
                    link: true,
                },
                Port {
                    name: "eno2".into(),
                    mac: "52:54:00:00:00:02".into(),
                    driver: None,
                    speed: None,
                    link: false,
                },
            ],
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_sent() {
        let sent = serde_json::to_string(&machine()).unwrap();
        let read = read(&sent).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), sent);
        let rule = |text: &str| toml::from_str::<DiskRule>(text).unwrap();
        assert_eq!(pick(&read, &rule("min_gib = 50\nmax_gib = 200")).unwrap().name, "sda");
        assert!(pick(&read, &rule("min_gib = 50")).unwrap_err().what.contains("matches 2 disks"));
    }

    #[test]
    fn tables_are_aligned_and_steer_no_terminal() {
        let style = Style::plain(200);
        assert_eq!(
            ports(&machine(), &style),
            "PORT  MAC                LINK          DRIVER\n\
             eno1  52:54:00:00:00:01  10000 Mbit/s  ixgbe\n\
             eno2  52:54:00:00:00:02  no link\n"
        );
        let disks = disks(&machine(), &style);
        let [_, a, b, c] = disks.lines().collect::<Vec<_>>()[..] else { panic!("{disks}") };
        assert!(
            a.starts_with("sda   100.0 GiB  MODEL  S1") && a.ends_with("LVM physical volume on partition 3"),
            "{a}"
        );
        assert!(b.contains("S?[2J2") && b.ends_with("nothing"), "{b}");
        assert!(c.ends_with("never used: it is a USB device"), "{c}");
    }
}
