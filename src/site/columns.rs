//! Owns what the columns of a node table mean, and which of its rows names them: customers' sheets have titles above
//! the header, and headers of two rows.

use super::tables::Row;

/// What a column of a table means.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
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

/// Titles above the header: so many rows are looked at.
const TITLES: usize = 20;

/// What stands above the columns of a machine's management controller: its addresses are not the machine's own.
const CONTROLLERS: &[&str] = &["bmc", "ipmi", "ilo", "idrac"];

/// The row that names the columns: the first one with a column of MAC addresses.
pub fn find(rows: &[Row]) -> Option<usize> {
    let top = &rows[..rows.len().min(TITLES)];
    let macs = |r: &Row| r.cells.iter().any(|c| column(c, &[], "") == Column::Mac);
    // A title above the header may be "MAC addresses", and is alone.
    top.iter().position(|r| macs(r) && understood(r) > 1).or_else(|| top.iter().position(macs))
}

/// How many cells of a header are understood.
pub fn understood(row: &Row) -> usize {
    row.cells.iter().filter(|c| !matches!(column(c, &[], ""), Column::Unknown | Column::Note)).count()
}

/// A table's header, read.
pub struct Header {
    /// The first row below it.
    pub first: usize,
    pub columns: Vec<Heading>,
}

/// One column: what it means, and what says so.
pub struct Heading {
    pub kind: Column,
    pub text: String,
    pub row: usize,
}

/// Reads the header of a table; none where no row has a column of MAC addresses.
pub fn header(rows: &[Row], networks: &[&str], provisioning: &str) -> Option<Header> {
    let kind = |text: &str| column(text, networks, provisioning);
    let at = find(rows)?;
    let lower =
        if rows.get(at + 1).is_some_and(|next| continues(&rows[at], next, &kind)) { at + 1 } else { at };
    let upper = lower.checked_sub(1).map(|i| &rows[i]).filter(|r| lower > at || groups(r));
    let groups = upper.map(|r| r.spread()).unwrap_or_default();
    let cell = |row: &Row, i: usize| row.cells.get(i).cloned().unwrap_or_default();
    let width = rows[lower].cells.len().max(upper.map_or(0, |r| r.cells.len()));
    let columns = (0..width).map(|i| {
        let own = cell(&rows[lower], i);
        let above = upper.map(|r| cell(r, i)).unwrap_or_default();
        let group = groups.get(i).cloned().unwrap_or_default();
        // "Storage" above "IP" is one name; "Addresses" above "Storage" says nothing more than the lower cell.
        let joined = kind(&format!("{group} {own}"));
        match (own.is_empty(), kind(&above)) {
            _ if CONTROLLERS.contains(&plain(&group).as_str()) => {
                Heading { kind: Column::Note, text: own, row: lower }
            }
            (true, Column::Unknown) if lower == at => Heading { kind: Column::Note, text: own, row: lower },
            (true, above_kind) if lower > 0 => Heading { kind: above_kind, text: above, row: lower - 1 },
            _ if group.is_empty() || joined == Column::Unknown => {
                Heading { kind: kind(&own), text: own, row: lower }
            }
            _ => Heading { kind: joined, text: format!("{group} {own}"), row: lower },
        }
    });
    Some(Header { first: lower + 1, columns: columns.collect() })
}

/// Whether a row above the header groups its columns, and is no title in the first cell.
fn groups(row: &Row) -> bool {
    row.cells.iter().skip(1).any(|c| !c.is_empty()) || !row.wide.is_empty()
}

/// Whether `lower` is the second row of a header: names of columns below names that leave something open.
fn continues(upper: &Row, lower: &Row, kind: &dyn Fn(&str) -> Column) -> bool {
    let mut more = false;
    for (i, text) in lower.cells.iter().enumerate().filter(|(_, t)| !t.is_empty()) {
        let above = upper.cells.get(i).map(String::as_str).unwrap_or_default();
        let (over, under) = (kind(above), kind(text));
        let open = matches!(over, Column::Note | Column::Unknown | Column::Address(_));
        if under == Column::Unknown || under != over && !open {
            return false;
        }
        more |= text != above;
    }
    more
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

    /// The kinds of the columns, and the first row of nodes.
    fn read(rows: &[&str]) -> Option<(Vec<Column>, usize)> {
        let rows: Vec<Row> =
            rows.iter().map(|r| Row::of(r.split(',').map(str::to_string).collect())).collect();
        let h = header(&rows, &["provisioning", "storage"], "provisioning")?;
        Some((h.columns.into_iter().map(|c| c.kind).collect(), h.first))
    }

    #[test]
    fn titles_above_the_header_are_passed_over() {
        use Column::{Mac, Note, Role};
        let machine = "52:54:00:aa:00:01,compute,x";
        for (above, first) in [(&["MAC addresses,,"][..], 2), (&["Site north", "as of,May,"], 3), (&[], 1)] {
            let rows: Vec<&str> = above.iter().copied().chain(["MAC,Role,Note", machine]).collect();
            assert_eq!(read(&rows), Some((vec![Mac, Role, Note], first)), "{above:?}");
        }
        assert_eq!(read(&["Role,Name", "compute,x"]), None);
        let titles = ["a title"; TITLES];
        assert_eq!(read(&[titles.as_slice(), &["MAC,Role"]].concat()), None);
    }

    #[test]
    fn a_header_of_two_rows_is_read_as_one() {
        use Column::{Address, DiskSerial, Mac, Name, Note, Role};
        let storage = || Address("storage".into());
        let boot = || Address("provisioning".into());
        let machine = "52:54:00:aa:00:01,compute,x,y,z";
        // Cells that are merged in the sheet are empty but for the first in CSV.
        let rows = ["MAC,Role,Addresses,,Disk", ",,Provisioning,Storage,Serial", machine];
        assert_eq!(read(&rows), Some((vec![Mac, Role, boot(), storage(), DiskSerial], 2)));
        let rows = ["Machine,,BMC,,Storage", "MAC,Role,MAC,IP,IP", machine];
        assert_eq!(read(&rows), Some((vec![Mac, Role, Note, Note, storage()], 2)));
        let rows = ["Name,,PXE,,", ",Role,MAC,IP,Remarks", machine];
        assert_eq!(read(&rows), Some((vec![Name, Role, Mac, boot(), Note], 2)));
        // A machine without an address is no header, whatever its words.
        let rows = ["MAC,Role,Name", ",storage,host", ",compute,"];
        assert_eq!(read(&rows), Some((vec![Mac, Role, Name], 1)));
    }
}
