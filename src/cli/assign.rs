//! `bootstead node assign`: a discovered machine becomes a node; the site file keeps its comments, and every other node
//! its name, number and addresses.

use super::load::{Loaded, load};
use super::station::Station;
use super::status::unknown;
use super::{Globals, say, say_json};
use crate::base::Mac;
use crate::problem::{Exit, Problem, Problems};
use crate::site::{Files, Naming, Node, Site};
use std::path::{Path, PathBuf};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

#[derive(Debug, clap::Args)]
pub struct AssignArgs {
    /// The machine's MAC address, in any usual spelling
    mac: String,
    /// A role: the machine becomes its next node. A node: the machine takes its place
    role_or_node: String,
    /// Host name of the new node [default: by the role's naming rule]
    #[arg(long)]
    name: Option<String>,
}

/// What is to be changed.
#[derive(Debug, PartialEq)]
enum Change<'a> {
    /// One more node of a role.
    Add(New<'a>),
    /// Another machine in the place of a node: from this MAC address.
    Replace { old: Mac },
}

/// A node that is to be.
#[derive(Debug, PartialEq)]
struct New<'a> {
    role: &'a str,
    /// The name that the operator asked for.
    name: Option<&'a str>,
    /// The number after the role's highest one. None: the name that was asked for has a number in it.
    number: Option<u32>,
    /// The name that the number gives; none where the role's names have no number.
    by_rule: Option<String>,
}

pub fn run(g: &Globals, args: &AssignArgs) -> Result<Exit, Problems> {
    let mac = Mac::parse(&args.mac)
        .map_err(|e| Problem::input(format!("{:?} is no MAC address: {e}", args.mac)))?;
    let before = load(g)?;
    let change = what(&before.site, mac, args)?;
    // A server that may not be talked to is found before anything is written.
    let station = Station::find(g)?;
    let edits = edits(&before.files, &before.site, &change, mac)?;
    let (edit, node) = first_that_fits(&before, edits, &change, mac)?;
    let file = edit.path(&g.site);
    save(&file, &edit.text)?;
    let reloaded = station.reload(None)?.is_some();
    if g.json {
        let file = file.display().to_string();
        return say_json(&serde_json::json!({
            "mac": mac, "node": node.name, "role": node.role, "file": file, "reloaded": reloaded,
        }));
    }
    let mut text = format!("{mac} is {} ({}) now: {}\n", node.name, node.role, file.display());
    if reloaded {
        text.push_str("the running server uses it\n");
    }
    text.push_str(&format!("install it with `bootstead node arm {}`\n", node.name));
    say(&text)
}

fn what<'a>(site: &'a Site, mac: Mac, args: &'a AssignArgs) -> Result<Change<'a>, Problem> {
    if let Some(node) = site.node_by_mac(mac) {
        return Err(Problem::input(format!("{mac} is {} already", node.name)).help(
            "to give it another role, change its line in the site file, then `bootstead node reload`",
        ));
    }
    let word = &args.role_or_node;
    if let Some(role) = site.roles.get(word) {
        let name = args.name.as_deref();
        let naming = Naming::parse(&role.naming).ok();
        let in_name = name.and_then(|name| naming.as_ref()?.number(name));
        let of_role = site.nodes.iter().filter(|n| n.role == role.name);
        // A number that is left out would be the first free one in reading order, and move those who are read later.
        let next = of_role.map(|n| n.number).max().unwrap_or(0) + 1;
        return Ok(Change::Add(New {
            role: &role.name,
            name,
            number: in_name.is_none().then_some(next),
            by_rule: naming.filter(Naming::numbered).map(|n| n.name(next)),
        }));
    }
    if let Some(node) = site.node_by_name(word) {
        if args.name.is_some() {
            return Err(Problem::input("--name is for a new node").help(format!("{word} keeps its name")));
        }
        return Ok(Change::Replace { old: node.mac() });
    }
    let names = site.roles.keys().map(String::as_str).chain(site.nodes.iter().map(|n| n.name.as_str()));
    Err(unknown("role or node", word, names))
}

/// A file and its new text.
#[derive(Debug)]
struct Edit {
    /// The node table that changes; none: the site file.
    table: Option<String>,
    text: String,
}

impl Edit {
    fn path(&self, site_file: &Path) -> PathBuf {
        match &self.table {
            Some(name) => site_file.parent().unwrap_or(Path::new("")).join(name),
            None => site_file.to_path_buf(),
        }
    }
    /// The site's files after it.
    fn on(&self, files: &Files) -> Files {
        let mut files = files.clone();
        match &self.table {
            Some(name) => {
                for table in files.tables.iter_mut().filter(|t| t.name == *name) {
                    table.bytes = Some(self.text.clone().into_bytes());
                }
            }
            None => files.text = self.text.clone(),
        }
        files
    }
}

/// The first edit after which the site is as sound as before and no other node has changed; and the machine's node.
fn first_that_fits(
    before: &Loaded,
    edits: Vec<Edit>,
    change: &Change<'_>,
    mac: Mac,
) -> Result<(Edit, Node), Problems> {
    let mut all_moved = Vec::new();
    for edit in edits {
        let (after, problems) = crate::site::check(&edit.on(&before.files), &before.catalog);
        let Some(after) = after else { return Err(problems) };
        let Some(node) = after.node_by_mac(mac) else {
            return Err(Problem::fault(format!("{mac} would be written, and be no node after it")).into());
        };
        let moved = moved(&before.site, &after, change, mac);
        if moved.is_empty() {
            let node = node.clone();
            return Ok((edit, node));
        }
        all_moved = moved;
    }
    Err(refusal(mac, &all_moved).into())
}

/// What changes for nodes that stay, a line for each.
fn moved(before: &Site, after: &Site, change: &Change<'_>, mac: Mac) -> Vec<String> {
    let one = |was: &Node| -> Option<String> {
        let now = match change {
            Change::Replace { old } if was.mac() == *old => mac,
            _ => was.mac(),
        };
        let Some(is) = after.node_by_mac(now) else { return Some(format!("{} would be gone", was.name)) };
        let mut parts = Vec::new();
        if is.name != was.name {
            parts.push(format!("be named {}", is.name));
        }
        if is.number != was.number {
            parts.push(format!("have the number {} in place of {}", is.number, was.number));
        }
        for network in
            was.addresses.keys().chain(is.addresses.keys().filter(|n| !was.addresses.contains_key(*n)))
        {
            let shown =
                |node: &Node| node.addresses.get(network).map_or("none".to_string(), |a| a.to_string());
            if was.addresses.get(network) != is.addresses.get(network) {
                parts.push(format!("have {} on {network} in place of {}", shown(is), shown(was)));
            }
        }
        (!parts.is_empty()).then(|| format!("{} would {}", was.name, parts.join(", ")))
    };
    before.nodes.iter().filter_map(one).collect()
}

/// How many nodes are listed one by one.
const LISTED: usize = 10;

fn refusal(mac: Mac, moved: &[String]) -> Problem {
    let count = match moved.len() {
        1 => "1 other node".to_string(),
        n => format!("{n} other nodes"),
    };
    let mut list = moved.iter().take(LISTED).cloned().collect::<Vec<_>>().join("\n         ");
    if moved.len() > LISTED {
        list.push_str(&format!("\n         and {} more", moved.len() - LISTED));
    }
    Problem::input(format!("taking {mac} in would change {count}; nothing was written")).why(list).help(
        "nodes without a name and number are counted in the order in which they are read: give them their `number` \
         or `name` first, or take a name for the new one that none of them has",
    )
}

/// Where the change may go, best first: into the site file, or into a CSV table if the nodes are listed there.
fn edits(files: &Files, site: &Site, change: &Change<'_>, mac: Mac) -> Result<Vec<Edit>, Problem> {
    let mut doc: DocumentMut = files.text.parse().map_err(|e: toml_edit::TomlError| {
        Problem::input(format!("{} cannot be changed: {}", files.name, e.message()))
            .help("run `bootstead check` for all its problems")
    })?;
    let listed = doc.get("node").and_then(Item::as_array_of_tables).map_or(0, ArrayOfTables::len);
    let in_toml = match change {
        Change::Add(_) => listed > 0 || site.nodes.is_empty(),
        Change::Replace { old } => replace_in_toml(&mut doc, *old, mac),
    };
    let mut edits = Vec::new();
    for table in files.tables.iter().filter(|t| !in_toml && t.name.to_lowercase().ends_with(".csv")) {
        let text = table.bytes.as_deref().and_then(|b| std::str::from_utf8(b).ok());
        if let Some(text) = text.and_then(|text| in_csv(text, change, mac)) {
            edits.push(Edit { table: Some(table.name.clone()), text });
        }
    }
    match change {
        // A spreadsheet is the customer's: new machines go into the site file beside it.
        Change::Add(new) => match add_to_toml(&mut doc, mac, new) {
            Err(problem) if edits.is_empty() => return Err(problem),
            Err(_) => {}
            Ok(()) => edits.push(Edit { table: None, text: doc.to_string() }),
        },
        Change::Replace { .. } if in_toml => edits.push(Edit { table: None, text: doc.to_string() }),
        Change::Replace { old } if edits.is_empty() => {
            return Err(Problem::input(format!("{old} stands in no file that can be changed here")).help(
                format!("write {mac} in its place in the spreadsheet yourself, then `bootstead node reload`"),
            ));
        }
        Change::Replace { .. } => {}
    }
    Ok(edits)
}

fn add_to_toml(doc: &mut DocumentMut, mac: Mac, new: &New<'_>) -> Result<(), Problem> {
    let mut table = Table::new();
    table.insert("mac", value(mac.to_string()));
    table.insert("role", value(new.role));
    if let Some(name) = new.name {
        table.insert("name", value(name));
    }
    if let Some(number) = new.number {
        table.insert("number", value(i64::from(number)));
    }
    table.decor_mut().set_prefix("\n");
    let nodes = doc.entry("node").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    match nodes.as_array_of_tables_mut() {
        Some(nodes) => {
            nodes.push(table);
            Ok(())
        }
        None => Err(Problem::input(
            "the site file lists its nodes as `node = [ … ]`, which cannot be changed here",
        )
        .help("write each node as [[node]], or add this one yourself")),
    }
}

/// Whether a `[[node]]` had `old` and has `new` now.
fn replace_in_toml(doc: &mut DocumentMut, old: Mac, new: Mac) -> bool {
    let Some(nodes) = doc.get_mut("node").and_then(Item::as_array_of_tables_mut) else { return false };
    let is_old = |item: &Item| item.as_str().is_some_and(|s| Mac::parse(s) == Ok(old));
    for node in nodes.iter_mut() {
        if node.get("mac").is_some_and(is_old) {
            node["mac"] = value(new.to_string());
            return true;
        }
        let Some(macs) = node.get_mut("macs").and_then(Item::as_array_mut) else { continue };
        let at = macs.iter().position(|m| m.as_str().is_some_and(|s| Mac::parse(s) == Ok(old)));
        if let Some(i) = at {
            macs.replace(i, new.to_string());
            return true;
        }
    }
    false
}

/// The table with the change; every other byte stays. `None`: it is not this table's to change.
fn in_csv(table: &str, change: &Change<'_>, mac: Mac) -> Option<String> {
    let header = table.lines().find(|l| !l.trim().is_empty() && !l.starts_with('#'))?;
    let by = [',', ';', '\t'].into_iter().max_by_key(|d| header.matches(*d).count())?;
    match change {
        Change::Replace { old } => {
            // The cell, in whatever spelling: the longest run of the line that reads as that address.
            let cell = table
                .split(['\n', '\r'])
                .flat_map(|line| line.split(by))
                .find(|c| Mac::parse(c.trim().trim_matches('"')) == Ok(*old))?;
            let at = cell.as_ptr() as usize - table.as_ptr() as usize;
            let (head, tail) = (&table[..at], &table[at + cell.len()..]);
            Some(format!("{head}{mac}{tail}"))
        }
        Change::Add(new) => {
            let plain = |h: &str| -> String {
                h.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
            };
            let mut cells = Vec::new();
            let (mut has_mac, mut has_role, mut has_name, mut has_number) = (false, false, false, false);
            let titles: Vec<String> =
                header.trim_start_matches('\u{feff}').trim_end().split(by).map(plain).collect();
            let numbered = titles.iter().any(|t| t == "number");
            // Without a column for the number, the name that the rule makes of it holds it.
            let by_rule = new.by_rule.as_deref().filter(|_| !numbered);
            for title in &titles {
                cells.push(match title.as_str() {
                    "mac" | "macaddress" | "mac1" if !has_mac => {
                        has_mac = true;
                        mac.to_string()
                    }
                    "role" if !has_role => {
                        has_role = true;
                        new.role.to_string()
                    }
                    "name" | "hostname" | "host" if !has_name => {
                        has_name = true;
                        new.name.or(by_rule).unwrap_or_default().to_string()
                    }
                    "number" if !has_number => {
                        has_number = true;
                        new.number.map(|n| n.to_string()).unwrap_or_default()
                    }
                    _ => String::new(),
                });
            }
            if !has_mac || !has_role || (new.name.is_some() && !has_name) {
                return None;
            }
            let end = if table.contains("\r\n") { "\r\n" } else { "\n" };
            let gap = if table.ends_with('\n') { "" } else { end };
            Some(format!("{table}{gap}{}{end}", cells.join(&by.to_string())))
        }
    }
}

/// Writes the file as a whole or not at all; it keeps its mode.
fn save(file: &Path, text: &str) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).map_err(|e| Problem::io("look at", file, &e))?.permissions().mode();
    crate::disk::write(file, text.as_bytes(), mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Mac = Mac([0x52, 0x54, 0, 0, 0, 9]);
    const OLD: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

    fn new(name: Option<&'static str>) -> New<'static> {
        New { role: "compute", name, number: Some(9), by_rule: Some("compute-09".to_string()) }
    }

    #[test]
    fn a_new_node_keeps_the_comments_of_the_site_file() {
        let text = "# our site\n[site] # here\nname = \"lab\"\n\n[[node]] # the first\nmac = \"52:54:00:00:00:01\"\nrole = \"compute\"\n";
        let mut doc: DocumentMut = text.parse().unwrap();
        add_to_toml(&mut doc, NEW, &new(Some("c9"))).unwrap();
        let want = format!(
            "{text}\n[[node]]\nmac = \"52:54:00:00:00:09\"\nrole = \"compute\"\nname = \"c9\"\nnumber = 9\n"
        );
        assert_eq!(doc.to_string(), want);
        assert!(replace_in_toml(&mut doc, OLD, Mac([0x52, 0x54, 0, 0, 0, 7])));
        assert_eq!(doc.to_string(), want.replace("00:01", "00:07"));
        assert!(!replace_in_toml(&mut doc, OLD, NEW));
    }

    #[test]
    fn a_table_keeps_every_other_byte() {
        let table = "Host;MAC-Address;Role;Rack\r\nc1;5254.0000.0001;compute;R1\r\n";
        let add = Change::Add(new(None));
        let row = "compute-09;52:54:00:00:00:09;compute;";
        assert_eq!(in_csv(table, &add, NEW).unwrap(), format!("{table}{row}\r\n"));
        let numbered = "mac,role,name,number\n";
        assert_eq!(in_csv(numbered, &add, NEW).unwrap(), format!("{numbered}52:54:00:00:00:09,compute,,9\n"));
        let replace = Change::Replace { old: OLD };
        assert_eq!(
            in_csv(table, &replace, NEW).unwrap(),
            table.replace("5254.0000.0001", "52:54:00:00:00:09")
        );
        assert_eq!(in_csv("name,rack\nx,1\n", &add, NEW), None);
    }
}
