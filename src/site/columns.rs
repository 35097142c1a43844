//! Owns what the columns of a node table mean, and which of its rows names them: customers' sheets have titles above
//! the header, and headers of two rows.

use super::rows::split_macs;
use super::tables::Row;
use crate::base::Mac;
use std::net::Ipv4Addr;

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
    KernelArgs,
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
/// Columns of these names hold addresses in one sheet and names of ports in the next: the cells decide.
const PORTS: &[&str] = &["nic", "ethernet"];
/// Addresses of ports, in other words.
const HARDWARE: &[&str] = &["hwaddr", "hwadr", "hardwareaddr", "hardwareadr", "physicaladdr", "ethernetaddr"];
/// A longer text is a sentence and no heading.
const MOST_WORDS: usize = 6;

/// The words of a heading in lower case, without numbers: `NIC1 MAC` is nic and mac.
fn words(heading: &str) -> Vec<String> {
    let words = heading.split(|c: char| !c.is_alphabetic()).filter(|w| !w.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Whether a heading speaks of MAC addresses: `eth0 MAC`, `Adresse MAC`, `HW Address`. "Machine" does not.
fn says_mac(words: &[String], word: &str) -> bool {
    let tail = ["", "s", "id", "ids", "addr", "addrs", "address", "addresses", "adr", "adresse", "adressen"];
    let head = ["pxe", "boot", "nic", "lan", "eth", "ethernet", "net", "host", "server", "node"];
    let mac = |w: &str| {
        w.strip_prefix("mac").is_some_and(|rest| tail.contains(&rest))
            || w.strip_suffix("mac").is_some_and(|rest| head.contains(&rest))
    };
    words.len() <= MOST_WORDS && (words.iter().any(|w| mac(w)) || HARDWARE.iter().any(|h| word.contains(h)))
}

/// Whether a heading speaks of roles: `Node Role`, `Serverrolle`.
fn says_role(words: &[String]) -> bool {
    let role = |w: &str| {
        matches!(w, "roles" | "rollen")
            || w.ends_with("role")
            || w.ends_with("rolle") && !w.ends_with("kontrolle")
    };
    words.len() <= MOST_WORDS && words.iter().any(|w| role(w))
}

/// Whether a heading speaks of a machine's management controller or of a switch: their addresses are not the machine's.
fn of_another(words: &[String]) -> bool {
    let starts = ["bmc", "ipmi", "idrac", "irmc", "oob", "switch"];
    words.iter().any(|w| CONTROLLERS.contains(&w.as_str()) || starts.iter().any(|s| w.starts_with(s)))
}

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
    let words = words(raw);
    match word.as_str() {
        w if NOTES.contains(&w) => Column::Note,
        w if says_mac(&words, w) => {
            if of_another(&words) {
                Column::Note
            } else {
                Column::Mac
            }
        }
        _ if PORTS.contains(&stem) => Column::Mac,
        w if ROLES.contains(&w) || says_role(&words) => Column::Role,
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
        "kernelargs" | "kernelarguments" | "kernelparameters" | "kernelwords" => Column::KernelArgs,
        _ => Column::Unknown,
    }
}

/// Titles above the header: so many rows are looked at.
const TITLES: usize = 20;

/// What stands above the columns of a machine's management controller: its addresses are not the machine's own.
const CONTROLLERS: &[&str] = &["bmc", "ipmi", "ilo", "ilom", "idrac", "irmc", "imm", "xcc", "cimc", "oob"];

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
    let mut columns: Vec<Heading> = columns.collect();
    judge_by_cells(&mut columns, &rows[lower + 1..]);
    one_role(&mut columns);
    columns.iter().any(|c| c.kind == Column::Mac).then_some(Header { first: lower + 1, columns })
}

/// A column is one of MAC addresses only if its cells do not all say otherwise: `NIC` may hold "nic1" and "eth0".
fn judge_by_cells(columns: &mut [Heading], below: &[Row]) {
    let cells = |i: usize| below.iter().filter_map(move |r| r.cells.get(i)).filter(|c| !c.is_empty());
    let holds = |i: usize| cells(i).any(|c| split_macs(c).iter().any(|t| Mac::parse(t).is_ok()));
    let macs: Vec<usize> = (0..columns.len()).filter(|i| columns[*i].kind == Column::Mac).collect();
    for &i in &macs {
        let word = plain(&columns[i].text);
        let port = PORTS.contains(&word.trim_end_matches(|c: char| c.is_ascii_digit()));
        // Addresses that a spreadsheet has spoiled are to be told, not passed over.
        let digits = |c: &String| c.chars().filter(char::is_ascii_hexdigit).count();
        let far = cells(i).all(|c| digits(c) < 6) && macs.iter().any(|other| *other != i && holds(*other));
        if cells(i).next().is_some() && !holds(i) && (port || far) {
            columns[i].kind = Column::Note;
        }
    }
}

/// Of several columns that may be the role's, the one that says so best.
fn one_role(columns: &mut [Heading]) {
    let rank = |h: &Heading| match plain(&h.text).as_str() {
        "role" | "rolle" => 2,
        _ => usize::from(says_role(&words(&h.text))),
    };
    let roles = (0..columns.len()).filter(|i| columns[*i].kind == Column::Role);
    let Some(best) = roles.max_by_key(|i| rank(&columns[*i])) else { return };
    for (i, heading) in columns.iter_mut().enumerate() {
        if heading.kind == Column::Role && i != best {
            heading.kind = Column::Note;
        }
    }
}

/// Where MAC addresses begin that no heading speaks of: row and column of the first one.
pub fn unnamed(rows: &[Row]) -> Option<(usize, usize)> {
    // Numbers of twelve digits and IPv4 addresses read as one, too.
    let is_mac = |text: &str| {
        let spelled = text.contains([':', '-']) || text.chars().any(|c| c.is_ascii_alphabetic());
        (spelled || text.split('.').count() == 3)
            && text.parse::<Ipv4Addr>().is_err()
            && Mac::parse(text).is_ok()
    };
    let width = rows.iter().map(|r| r.cells.len()).max().unwrap_or(0);
    let cell = |row: usize, column: usize| rows[row].cells.get(column).map_or("", String::as_str);
    let found = (0..width).filter_map(|column| {
        let first = (0..rows.len()).find(|row| is_mac(cell(*row, column)))?;
        if (0..first).any(|row| of_another(&words(cell(row, column)))) {
            return None;
        }
        let macs = (first..rows.len()).filter(|row| is_mac(cell(*row, column))).count();
        let filled = (first..rows.len()).filter(|row| !cell(*row, column).is_empty()).count();
        (macs * 2 > filled).then_some((macs, std::cmp::Reverse(column), first))
    });
    found.max().map(|(_, column, first)| (first, column.0))
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
        for h in
            ["MAC PXE", "NIC1 MAC", "eth0 MAC", "MAC addr", "mac_addr", "LAN MAC", "HW Address", "hwaddr"]
        {
            assert_eq!(c(h), Column::Mac, "{h}");
        }
        for h in ["Hardware-Adresse", "MAC Address (PXE)", "Adresse MAC", "BootMac", "Storage MAC 2"] {
            assert_eq!(c(h), Column::Mac, "{h}");
        }
        for h in ["iLO MAC", "iDRAC MAC Address", "OOB mac", "MAC (BMC)", "Switch MAC"] {
            assert_eq!(c(h), Column::Note, "{h}");
        }
        for h in ["Machine", "Maschine", "Kontrolle", "Controller", "Macro"] {
            assert_eq!(c(h), Column::Unknown, "{h}");
        }
        for h in ["Node Role", "Server Role", "Server-Rolle", "Serverrolle", "Role (cloud)", "Roles"] {
            assert_eq!(c(h), Column::Role, "{h}");
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
    fn cells_decide_where_the_heading_leaves_it_open() {
        use Column::{Mac, Note, Role};
        let rows = ["NIC,MAC,Type,Role", "nic1,525400aa0001,R640,compute"];
        assert_eq!(read(&rows), Some((vec![Note, Mac, Note, Role], 1)));
        assert_eq!(read(&["NIC,Role", "52-54-00-aa-00-01,compute"]), Some((vec![Mac, Role], 1)));
        assert_eq!(read(&["NIC,Role", "eth0,compute"]), None);
        // A spreadsheet made numbers of the second ports' addresses: that is to be told.
        assert_eq!(read(&["MAC,MAC2", "525400aa0001,5.25E+11"]), Some((vec![Mac, Mac], 1)));
        let rows = |rows: &[&str]| -> Vec<Row> {
            rows.iter().map(|r| Row::of(r.split(',').map(str::to_string).collect())).collect()
        };
        let list = rows(&["Name,BMC,LAN,Asset", "a,5254001122aa,52:54:00:aa:00:01,123456789012"]);
        assert_eq!(unnamed(&list), Some((1, 2)));
        assert_eq!(unnamed(&rows(&["Name,IP", "a,100.100.100.100", "b,100.100.100.101"])), None);
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
