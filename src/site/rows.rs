//! Owns nodes as they are written, wherever: a row of a table or a `[[node]]` becomes one `RawNode`.

use super::model::DiskRule;
use super::report::{Report, Tell as _, Where};
use super::tables::Grid;
use super::wire::{NodeTable, SiteFile};
use std::collections::BTreeMap;

/// A text and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub text: String,
    pub at: Where,
}

impl From<&super::wire::Text> for Cell {
    fn from(t: &super::wire::Text) -> Cell {
        Cell { text: t.to_string(), at: t.into() }
    }
}

/// A node before anything about it was judged.
#[derive(Debug, Clone, PartialEq)]
pub struct RawNode {
    pub at: Where,
    /// May hold several addresses in one cell.
    pub macs: Vec<Cell>,
    pub role: Option<Cell>,
    pub name: Option<Cell>,
    pub number: Option<(u32, Where)>,
    /// Network → address.
    pub addresses: Vec<(Cell, Cell)>,
    pub disk: Option<(DiskRule, Where)>,
    pub erase: Vec<String>,
    pub vars: BTreeMap<String, Cell>,
}

/// Every `[[node]]` of the site file.
pub fn from_file(file: &SiteFile) -> Vec<RawNode> {
    file.node.iter().map(|n| from_table(n, n.into())).collect()
}

fn from_table(n: &NodeTable, at: Where) -> RawNode {
    RawNode {
        at,
        macs: n.mac.iter().chain(&n.macs).map(Cell::from).collect(),
        role: n.role.as_ref().map(Cell::from),
        name: n.name.as_ref().map(Cell::from),
        number: n.number.as_ref().map(|v| (**v, v.into())),
        addresses: n.addresses.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        disk: n.disk.as_ref().map(|d| ((**d).clone(), d.into())),
        erase: n.erase.iter().map(|t| t.to_string()).collect(),
        vars: n.vars.iter().map(|(k, v)| (k.to_string(), Cell { text: v.0.clone(), at: k.into() })).collect(),
    }
}

/// What a column of a table means.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    Mac,
    Role,
    Name,
    Number,
    /// Address on this network.
    Address(String),
    DiskSerial,
    DiskModel,
    DiskWwn,
    DiskPath,
    Erase,
    Var(String),
    /// For people only.
    Note,
    Unknown,
}

/// Letters and digits of a header, in lower case: `MAC-Address ` and `mac_address` are the same.
fn plain(header: &str) -> String {
    header.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

const NOTES: &[&str] = &[
    "serial",
    "serialnumber",
    "sn",
    "seriennummer",
    "servicetag",
    "asset",
    "assettag",
    "rack",
    "unit",
    "u",
    "he",
    "position",
    "slot",
    "location",
    "room",
    "row",
    "comment",
    "comments",
    "note",
    "notes",
    "remark",
    "remarks",
    "bemerkung",
    "description",
    "vendor",
    "manufacturer",
    "hersteller",
    "model",
    "modell",
    "cpu",
    "memory",
    "ram",
    "bmc",
    "bmcip",
    "bmcmac",
    "ipmi",
    "ipmiip",
    "ipmimac",
    "ilo",
    "idrac",
    "switch",
    "switchport",
    "port",
    "uuid",
    "state",
    "status",
    "owner",
];
const NAMES: &[&str] =
    &["name", "hostname", "host", "node", "nodename", "server", "servername", "fqdn", "rechnername"];
const ROLES: &[&str] = &["role", "rolle", "function", "funktion", "purpose", "type", "nodetype", "group"];
const ADDRESSES: &[&str] =
    &["ip", "ipaddress", "address", "ipv4", "ipv4address", "ipadresse", "adresse", "pxeip", "bootip"];
const MACS: &[&str] = &[
    "mac",
    "macs",
    "macaddress",
    "macaddresses",
    "macadresse",
    "pxemac",
    "bootmac",
    "nic",
    "nicmac",
    "hwaddr",
    "hardwareaddress",
    "ethernet",
    "ethernetaddress",
    "physicaladdress",
];

fn column(header: &str, networks: &[&str], provisioning: &str) -> Column {
    let raw = header.trim();
    if let Some((first, rest)) = raw.split_once('.')
        && matches!(plain(first).as_str(), "var" | "vars")
    {
        return Column::Var(rest.trim().to_string());
    }
    let word = plain(raw);
    for network in networks {
        let n = plain(network);
        let same =
            [n.clone(), format!("{n}ip"), format!("{n}address"), format!("{n}ipaddress"), format!("ip{n}")];
        if same.contains(&word) {
            return Column::Address(network.to_string());
        }
    }
    let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
    match word.as_str() {
        w if NOTES.contains(&w) => Column::Note,
        _ if MACS.contains(&stem) => Column::Mac,
        w if ROLES.contains(&w) => Column::Role,
        w if NAMES.contains(&w) => Column::Name,
        w if ADDRESSES.contains(&w) => Column::Address(provisioning.to_string()),
        "number" | "no" | "nr" | "num" | "index" | "n" | "nummer" => Column::Number,
        "" if raw == "#" => Column::Number,
        "" if raw.is_empty() => Column::Note,
        "diskserial" | "osdiskserial" | "systemdiskserial" | "diskserialnumber" => Column::DiskSerial,
        "diskmodel" | "osdiskmodel" => Column::DiskModel,
        "diskwwn" | "wwn" => Column::DiskWwn,
        "diskpath" | "diskbypath" | "bypath" => Column::DiskPath,
        "erase" | "wipe" | "eraseserial" | "eraseserials" => Column::Erase,
        _ => Column::Unknown,
    }
}

/// Whether the first row has a column of MAC addresses.
pub fn has_macs(grid: &Grid) -> bool {
    grid.rows.first().is_some_and(|h| h.cells.iter().any(|c| column(c, &[], "") == Column::Mac))
}

/// The nodes of grid number `index` of the report.
pub fn from_grid(report: &mut Report, index: usize, networks: &[&str], provisioning: &str) -> Vec<RawNode> {
    let Some(grid) = report.grids.get(index).cloned() else { return Vec::new() };
    let Some(header) = grid.rows.first() else { return Vec::new() };
    let cell_at = |row, column| Where::Cell { grid: index, row, column };
    let columns: Vec<Column> = header.cells.iter().map(|c| column(c, networks, provisioning)).collect();
    if !columns.contains(&Column::Mac) {
        report
            .error(cell_at(0, 0), format!("{} has no column of MAC addresses", grid.name))
            .because("the first row must name the columns")
            .so("write a first row such as: mac,role,name");
        return Vec::new();
    }
    for (i, c) in columns.iter().enumerate() {
        if *c == Column::Unknown {
            let mut known = vec!["mac", "role", "name", "number", "ip", "disk serial", "erase", "note"];
            known.extend(networks);
            report
                .warning(cell_at(0, i), format!("the column {:?} is not used", header.cells[i]))
                .meant(&header.cells[i], known);
        }
    }
    let mut nodes = Vec::with_capacity(grid.rows.len());
    for (row, r) in grid.rows.iter().enumerate().skip(1) {
        let mut node = RawNode {
            at: cell_at(row, 0),
            macs: Vec::new(),
            role: None,
            name: None,
            number: None,
            addresses: Vec::new(),
            disk: None,
            erase: Vec::new(),
            vars: BTreeMap::new(),
        };
        for (i, (kind, text)) in columns.iter().zip(&r.cells).enumerate() {
            if !text.is_empty() {
                let header = Cell { text: header.cells[i].clone(), at: cell_at(0, i) };
                fill(report, &mut node, kind, header, Cell { text: text.clone(), at: cell_at(row, i) });
            }
        }
        nodes.push(node);
    }
    nodes
}

fn fill(report: &mut Report, node: &mut RawNode, kind: &Column, header: Cell, cell: Cell) {
    let disk = |node: &mut RawNode, set: &dyn Fn(&mut DiskRule)| {
        set(&mut node.disk.get_or_insert_with(|| (DiskRule::default(), cell.at.clone())).0);
    };
    match kind {
        Column::Mac => node.macs.push(cell),
        Column::Role => node.role = Some(cell),
        Column::Name => node.name = Some(cell),
        Column::Number => match cell.text.parse() {
            Ok(n) => node.number = Some((n, cell.at)),
            Err(_) => {
                report
                    .error(cell.at, format!("{:?} is not the number of a node", cell.text))
                    .so("write a whole number from 1, or leave the cell empty");
            }
        },
        Column::Address(network) => {
            node.addresses.push((Cell { text: network.clone(), at: header.at }, cell));
        }
        Column::DiskSerial => disk(node, &|d| d.serial = Some(cell.text.clone())),
        Column::DiskModel => disk(node, &|d| d.model = Some(cell.text.clone())),
        Column::DiskWwn => disk(node, &|d| d.wwn = Some(cell.text.clone())),
        Column::DiskPath => disk(node, &|d| d.by_path = Some(cell.text.clone())),
        Column::Erase => {
            let parts = cell.text.split([',', ';', ' ']).map(str::trim).filter(|s| !s.is_empty());
            node.erase.extend(parts.map(str::to_string));
        }
        Column::Var(name) => {
            node.vars.insert(name.clone(), cell);
        }
        Column::Note | Column::Unknown => {}
    }
}

/// The texts of a cell that each are one MAC address: `a; b`, `a b`, `a,b`, and addresses with blanks in them.
pub fn split_macs(text: &str) -> Vec<&str> {
    let one = |t: &str| crate::base::Mac::parse(t).is_ok();
    if one(text) {
        return vec![text.trim()];
    }
    let parts = text.split([';', ',', '/', '|', '\n']).map(str::trim).filter(|p| !p.is_empty());
    parts
        .flat_map(|p| {
            let words: Vec<&str> = p.split_whitespace().collect();
            // Twelve two-digit words are two addresses in the spelling with blanks.
            let pairs = words.iter().all(|w| w.len() <= 2);
            if one(p) || words.len() < 2 || pairs { vec![p] } else { words }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_customers_are_understood() {
        let nets = ["provisioning", "storage"];
        let c = |h| column(h, &nets, "provisioning");
        for h in ["MAC", "mac address", "MAC-Adresse", "mac2", "NIC 1 ", "Mac_Address_1"] {
            assert_eq!(c(h), Column::Mac, "{h}");
        }
        assert_eq!(c("Storage IP"), Column::Address("storage".into()));
        assert_eq!(c("IP Address"), Column::Address("provisioning".into()));
        assert_eq!(c("Host Name"), Column::Name);
        assert_eq!(c("BMC MAC"), Column::Note);
        assert_eq!(c("Serial Number"), Column::Note);
        assert_eq!(c("var.zone"), Column::Var("zone".into()));
        assert_eq!(c("colour"), Column::Unknown);
    }

    #[test]
    fn several_addresses_in_one_cell() {
        assert_eq!(split_macs("52 54 00 aa 00 01"), ["52 54 00 aa 00 01"]);
        assert_eq!(
            split_macs("52:54:00:aa:00:01 52-54-00-aa-00-02; 525400aa0003,"),
            ["52:54:00:aa:00:01", "52-54-00-aa-00-02", "525400aa0003"]
        );
    }
}
