//! Owns nodes as they are written, wherever: a row of a table or a `[[node]]` becomes one `RawNode`.

use super::columns::{self, Column};
use super::model::DiskRule;
use super::report::{Cut, Report, Tell as _, Where};
use super::tables::Grid;
use super::wire::{NodeTable, SiteFile};
use crate::base::Mac;
use crate::base::mac::MacError;
use crate::problem::Place;
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
    pub kernel_args: Option<Cell>,
    pub vars: BTreeMap<String, Cell>,
    /// Keys that were written for it and are wrong: `disk`, `addresses.storage`.
    pub cut: Vec<String>,
}

impl RawNode {
    /// Whether `key` was written and is wrong: that is reported already.
    pub fn has_cut(&self, key: &str) -> bool {
        self.cut.iter().any(|c| c == key)
    }
}

/// Every `[[node]]` of the site file; `cut` is what was wrong in it.
pub fn from_file(file: &SiteFile, cut: &[Cut]) -> Vec<RawNode> {
    let starts: Vec<usize> = file.node.iter().map(|n| n.span().start).chain([usize::MAX]).collect();
    let nodes = file.node.iter().zip(starts.windows(2));
    nodes
        .map(|(n, ends)| {
            let keys = cut.iter().filter(|c| (ends[0]..ends[1]).contains(&c.span.start));
            let keys =
                keys.filter_map(|c| c.path.strip_prefix("node[")?.split_once("].").map(|(_, key)| key));
            from_table(n, n.into(), keys.map(str::to_string).collect())
        })
        .collect()
}

fn from_table(n: &NodeTable, at: Where, cut: Vec<String>) -> RawNode {
    RawNode {
        cut,
        at,
        macs: n.mac.iter().chain(&n.macs).map(Cell::from).collect(),
        role: n.role.as_ref().map(Cell::from),
        name: n.name.as_ref().map(Cell::from),
        number: n.number.as_ref().map(|v| (**v, v.into())),
        addresses: n.addresses.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        disk: n.disk.as_ref().map(|d| ((**d).clone(), d.into())),
        erase: n.erase.iter().map(|t| t.to_string()).collect(),
        kernel_args: n.kernel_args.as_ref().map(Cell::from),
        vars: n.vars.iter().map(|(k, v)| (k.to_string(), Cell { text: v.0.clone(), at: k.into() })).collect(),
    }
}

/// Names of the site that columns and cells are compared with.
pub struct Known<'a> {
    pub networks: Vec<&'a str>,
    pub roles: Vec<&'a str>,
    /// The provisioning network; empty where there is none.
    pub provisioning: &'a str,
}

/// The nodes of grid number `index` of the report.
pub fn from_grid(report: &mut Report, index: usize, known: &Known<'_>) -> Vec<RawNode> {
    let Some(grid) = report.grids.get(index).cloned() else { return Vec::new() };
    if grid.rows.is_empty() {
        return Vec::new();
    }
    let cell_at = |row, column| Where::Cell { grid: index, row, column };
    let Some(header) = columns::header(&grid.rows, &known.networks, known.provisioning) else {
        no_header(report, &grid, index);
        return Vec::new();
    };
    for (i, heading) in header.columns.iter().enumerate() {
        if heading.kind == Column::Unknown {
            let mut names =
                vec!["mac", "role", "name", "number", "ip", "disk serial", "erase", "kernel args", "note"];
            names.extend(&known.networks);
            report
                .warning(cell_at(heading.row, i), format!("the column {:?} is not used", heading.text))
                .meant(&heading.text, names);
        }
    }
    let mut capitals: Option<(Where, &str)> = None;
    let mut outside: Vec<(Where, &str)> = Vec::new();
    let mut nodes = Vec::with_capacity(grid.rows.len());
    for (row, r) in grid.rows.iter().enumerate().skip(header.first).filter(|(_, r)| !r.is_title()) {
        let mut node = RawNode {
            at: cell_at(row, 0),
            macs: Vec::new(),
            role: None,
            name: None,
            number: None,
            addresses: Vec::new(),
            disk: None,
            erase: Vec::new(),
            kernel_args: None,
            vars: BTreeMap::new(),
            cut: Vec::new(),
        };
        for (i, (heading, text)) in header.columns.iter().zip(&r.cells).enumerate() {
            if text.is_empty() {
                continue;
            }
            let at = cell_at(row, i);
            if heading.kind == Column::Name && text.chars().any(char::is_uppercase) {
                capitals.get_or_insert((at.clone(), text));
            }
            let above = cell_at(heading.row, i);
            fill(report, &mut node, &heading.kind, above, Cell { text: text.clone(), at });
        }
        let more = r.cells.iter().enumerate().skip(header.columns.len());
        outside.extend(more.map(|(i, t)| (cell_at(row, i), t.as_str())).find(|(_, t)| !t.is_empty()));
        nodes.push(node);
    }
    if let Some((at, name)) = capitals {
        report
            .warning(at, format!("the host name {name:?} is taken as {:?}", name.to_lowercase()))
            .because("host names are in lower case here, and so are all others of this table")
            .so("nothing, if that is meant; else write them in lower case");
    }
    // In a sheet such a cell is somebody's remark; in CSV all cells after a missing quote stand one column too far right.
    if let (Some((at, text)), None) = (outside.first(), grid.sheet()) {
        let others = match outside.len() - 1 {
            0 => String::new(),
            n => format!(", and so in {n} more rows"),
        };
        report
            .error(at.clone(), format!("{text:?} stands under no heading{others}"))
            .because("a cell that has a separator in it needs double quotes, or those after it are read as other columns")
            .so("put the cell into quotes, \"a,b\"; or give the column a heading, such as `note`");
    }
    whole_columns(report, &grid, &header, index, known, &mut nodes);
    nodes
}

/// A table without a column of MAC addresses: where they are, if they are there.
fn no_header(report: &mut Report, grid: &Grid, index: usize) {
    let cell_at = |row, column| Where::Cell { grid: index, row, column };
    let Some((row, column)) = columns::unnamed(&grid.rows) else {
        report
            .error(cell_at(0, 0), format!("{} has no column of MAC addresses", grid.title()))
            .because("one of its first rows must name the columns")
            .so("write a first row such as: mac,role,name");
        return;
    };
    let spot = |row| match report.place(&cell_at(row, column)) {
        Some(Place { cell: Some(cell), .. }) => cell,
        Some(p) => format!("line {}, column {},", p.line, column + 1),
        None => grid.name.clone(),
    };
    let what = format!("{} and below hold MAC addresses, and no heading says so", spot(row));
    let help = match row.checked_sub(1).map(|above| (above, &grid.rows[above])) {
        None => "write a first row that names the columns, such as: mac,role,name".to_string(),
        Some((above, r)) => match r.cells.get(column).filter(|c| !c.is_empty()) {
            Some(text) => format!("name that column `mac`, in place of {text:?}"),
            None => format!("name that column: write `mac` into {}", spot(above).trim_end_matches(',')),
        },
    };
    let hide = if grid.sheet().is_some() { "; if these are no nodes, hide the sheet" } else { "" };
    report.error(cell_at(row, column), what).so(format!("{help}{hide}"));
}

/// A column that is missing or holds nothing that can be used is one problem, not one of each row.
fn whole_columns(
    report: &mut Report,
    grid: &Grid,
    header: &columns::Header,
    index: usize,
    known: &Known<'_>,
    nodes: &mut [RawNode],
) {
    let cell_at = |row, column| Where::Cell { grid: index, row, column };
    let heading = |kind: Column| header.columns.iter().enumerate().find(|(_, h)| h.kind == kind);
    if nodes.len() > 1 && nodes.iter().all(|n| n.role.is_none()) {
        let hide = if grid.sheet().is_some() { "; if these are no nodes, hide the sheet" } else { "" };
        let (at, what) = match heading(Column::Role) {
            Some((i, h)) => (cell_at(h.row, i), format!("the column {:?} is empty", h.text)),
            None => (cell_at(header.first - 1, 0), format!("{} has no column of roles", grid.title())),
        };
        report.error(at, what).because("a machine is installed by its role").so(format!(
            "write into a column `role` for each machine one of {}{hide}",
            known.roles.join(", ")
        ));
        nodes.iter_mut().for_each(|n| n.cut.push("role".to_string()));
    }
    let Some((i, h)) = heading(Column::Mac) else { return };
    let written: Vec<&Cell> = nodes.iter().flat_map(|n| &n.macs).collect();
    let bad = |cell: &&Cell| {
        split_macs(&cell.text).into_iter().find_map(|t| Some((t.to_string(), Mac::parse(t).err()?)))
    };
    let what = match written.first() {
        None if nodes.len() > 1 => {
            report
                .error(cell_at(h.row, i), format!("the column {:?} is empty", h.text))
                .because("a machine is known by the address of the port that it boots from")
                .so("look at the machines' labels or their BMCs, or let them boot once: they are listed as discovered");
            true
        }
        Some(first)
            if written.len() > FEW
                && written.iter().all(|c| split_macs(&c.text).iter().all(|t| Mac::parse(t).is_err())) =>
        {
            let Some((text, why)) = bad(first) else { return };
            let help = mac_help(first, &text, &why);
            let at = first.at.clone();
            report
                .error(at, format!("{text:?} is not a MAC address, and none of the column {:?} is", h.text))
                .because(why.to_string())
                .so(help);
            true
        }
        _ => false,
    };
    if what {
        for node in nodes.iter_mut() {
            node.macs.clear();
            node.cut.push("mac".to_string());
        }
    }
}

/// Up to so many wrong cells of one column are told one by one.
const FEW: usize = 3;

/// What to do about a text that is no MAC address.
pub fn mac_help(cell: &Cell, text: &str, why: &MacError) -> String {
    if let MacError::Digit(c) = why
        && !c.is_ascii()
    {
        return foreign(*c);
    }
    let digits_only = text.len() < 12 && text.chars().all(|ch| ch.is_ascii_digit());
    match (&cell.at, why) {
        (Where::Cell { .. }, _) if digits_only || text.contains('E') => {
            "a spreadsheet takes such an address for a number and loses digits; format the column as text and type it again"
        }
        (_, MacError::Zero | MacError::Group) => {
            "take the address of the port that the machine boots from: it is on the machine's label and in its BMC"
        }
        _ => "write six pairs of the digits 0 to 9 and a to f: 52:54:00:aa:00:01",
    }
    .to_string()
}

fn fill(report: &mut Report, node: &mut RawNode, kind: &Column, header: Where, cell: Cell) {
    let disk = |node: &mut RawNode, set: &dyn Fn(&mut DiskRule)| {
        set(&mut node.disk.get_or_insert_with(|| (DiskRule::default(), cell.at.clone())).0);
    };
    match kind {
        Column::Mac => node.macs.push(cell),
        Column::Role => node.role = Some(cell),
        Column::Name => node.name = Some(Cell { text: cell.text.to_lowercase(), at: cell.at }),
        Column::Number => match cell.text.parse() {
            Ok(n) => node.number = Some((n, cell.at)),
            Err(_) => {
                report
                    .error(cell.at, format!("{:?} is not the number of a node", cell.text))
                    .so("write a whole number from 1, or leave the cell empty");
            }
        },
        Column::Address(network) => {
            node.addresses.push((Cell { text: network.clone(), at: header }, cell));
        }
        Column::DiskSerial => disk(node, &|d| d.serial = Some(cell.text.clone())),
        Column::DiskModel => disk(node, &|d| d.model = Some(cell.text.clone())),
        Column::DiskWwn => disk(node, &|d| d.wwn = Some(cell.text.clone())),
        Column::DiskPath => disk(node, &|d| d.by_path = Some(cell.text.clone())),
        Column::Erase => {
            let parts = cell.text.split([',', ';', ' ']).map(str::trim).filter(|s| !s.is_empty());
            node.erase.extend(parts.map(str::to_string));
        }
        Column::KernelArgs => node.kernel_args = Some(cell),
        Column::Var(name) => {
            node.vars.insert(name.clone(), cell);
        }
        Column::Note | Column::Unknown => {}
    }
}

/// The texts of a cell that each are one MAC address: `a; b`, `a b`, `a,b`, and addresses with blanks in them.
pub fn split_macs(text: &str) -> Vec<&str> {
    let one = |t: &str| Mac::parse(t).is_ok();
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

/// What to do about a character that looks like a hyphen or like nothing at all, and is neither.
fn foreign(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => {
            format!("{c:?} is a dash ({code}), no hyphen: write - or : in its place")
        }
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{feff}' => {
            format!("delete the character {code}, which is not visible; it was copied with the address")
        }
        c => format!("delete the character {c:?} ({code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_nobody_sees_are_named() {
        let cell = |text: &str| Cell { text: text.to_string(), at: Where::Toml(0..0) };
        let help = |text: &str| mac_help(&cell(text), text, &Mac::parse(text).unwrap_err());
        assert!(help("52\u{2013}54\u{2013}00\u{2013}aa\u{2013}00\u{2013}01").contains("(U+2013), no hyphen"));
        assert!(
            help("52:54:00:aa:00:01\u{200b}")
                .starts_with("delete the character U+200B, which is not visible")
        );
        assert!(help("52:54:00:aa:00:0g").starts_with("write six pairs"));
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
