//! `bootstead node assign`: a discovered machine becomes a node; the site file keeps its comments.

use super::load::load;
use super::station::Station;
use super::status::unknown;
use super::{Globals, say, say_json};
use crate::base::Mac;
use crate::problem::{Exit, Problem, Problems};
use crate::site::Site;
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
    Add { role: &'a str, name: Option<&'a str> },
    /// Another machine in the place of a node: from this MAC address.
    Replace { old: Mac },
}

pub fn run(g: &Globals, args: &AssignArgs) -> Result<Exit, Problems> {
    let mac = Mac::parse(&args.mac)
        .map_err(|e| Problem::input(format!("{:?} is no MAC address: {e}", args.mac)))?;
    let before = load(g)?.site;
    let change = what(&before, mac, args)?;
    let edit = place(&g.site, &before, &change, mac)?;
    let old = read(&edit.file)?;
    save(&edit.file, &edit.text)?;
    // The site with the new line must be as sound as before; if it is not, the file goes back as it was.
    let after = match load(g) {
        Ok(loaded) => loaded.site,
        Err(problems) => {
            save(&edit.file, &old)?;
            return Err(problems);
        }
    };
    let Some(node) = after.node_by_mac(mac) else {
        save(&edit.file, &old)?;
        return Err(Problem::fault(format!(
            "{} was written, and {mac} is no node after it",
            edit.file.display()
        ))
        .into());
    };
    let reloaded = Station::find(g)?.reload(None)?.is_some();
    if g.json {
        let file = edit.file.display().to_string();
        return say_json(&serde_json::json!({
            "mac": mac, "node": node.name, "role": node.role, "file": file, "reloaded": reloaded,
        }));
    }
    let mut text = format!("{mac} is {} ({}) now: {}\n", node.name, node.role, edit.file.display());
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
        return Ok(Change::Add { role: &role.name, name: args.name.as_deref() });
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
    file: PathBuf,
    text: String,
}

/// Where the change goes: into the site file, or into nodes.csv if the nodes are listed there.
fn place(site_file: &Path, site: &Site, change: &Change<'_>, mac: Mac) -> Result<Edit, Problem> {
    let text = read(site_file)?;
    let mut doc: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| {
        Problem::input(format!("{} cannot be changed: {}", site_file.display(), e.message()))
            .help("run `bootstead check` for all its problems")
    })?;
    let listed = doc.get("node").and_then(Item::as_array_of_tables).map_or(0, ArrayOfTables::len);
    let in_toml = match change {
        Change::Add { .. } => listed > 0 || site.nodes.is_empty(),
        Change::Replace { old } => replace_in_toml(&mut doc, *old, mac),
    };
    if in_toml {
        if let Change::Add { role, name } = change {
            add_to_toml(&mut doc, mac, role, *name)?;
        }
        return Ok(Edit { file: site_file.to_path_buf(), text: doc.to_string() });
    }
    for file in csv_files(site_file, &doc) {
        let Ok(table) = std::fs::read_to_string(&file) else { continue };
        if let Some(text) = in_csv(&table, change, mac) {
            return Ok(Edit { file, text });
        }
    }
    match change {
        // A spreadsheet is the customer's: new machines go into the site file beside it.
        Change::Add { role, name } => {
            add_to_toml(&mut doc, mac, role, *name)?;
            Ok(Edit { file: site_file.to_path_buf(), text: doc.to_string() })
        }
        Change::Replace { old } => Err(Problem::input(format!(
            "{old} stands in no file that can be changed here"
        ))
        .help(format!("write {mac} in its place in the spreadsheet yourself, then `bootstead node reload`"))),
    }
}

fn add_to_toml(doc: &mut DocumentMut, mac: Mac, role: &str, name: Option<&str>) -> Result<(), Problem> {
    let mut table = Table::new();
    table.insert("mac", value(mac.to_string()));
    table.insert("role", value(role));
    if let Some(name) = name {
        table.insert("name", value(name));
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

/// CSV tables of nodes that the site uses.
fn csv_files(site_file: &Path, doc: &DocumentMut) -> Vec<PathBuf> {
    let folder = site_file.parent().unwrap_or(Path::new(""));
    let named = doc.get("site").and_then(|s| s.get("nodes")).and_then(Item::as_array);
    let names: Vec<String> = match named {
        Some(list) => list.iter().filter_map(|v| v.as_str()).map(str::to_string).collect(),
        None => vec!["nodes.csv".to_string()],
    };
    names.iter().filter(|n| n.to_lowercase().ends_with(".csv")).map(|n| folder.join(n)).collect()
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
        Change::Add { role, name } => {
            let plain = |h: &str| -> String {
                h.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
            };
            let mut cells = Vec::new();
            let (mut has_mac, mut has_role, mut has_name) = (false, false, false);
            for title in header.trim_start_matches('\u{feff}').trim_end().split(by) {
                cells.push(match plain(title).as_str() {
                    "mac" | "macaddress" | "mac1" if !has_mac => {
                        has_mac = true;
                        mac.to_string()
                    }
                    "role" if !has_role => {
                        has_role = true;
                        role.to_string()
                    }
                    "name" | "hostname" if !has_name => {
                        has_name = true;
                        name.unwrap_or_default().to_string()
                    }
                    _ => String::new(),
                });
            }
            if !has_mac || !has_role || (name.is_some() && !has_name) {
                return None;
            }
            let end = if table.contains("\r\n") { "\r\n" } else { "\n" };
            let gap = if table.ends_with('\n') { "" } else { end };
            Some(format!("{table}{gap}{}{end}", cells.join(&by.to_string())))
        }
    }
}

fn read(file: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(file).map_err(|e| Problem::io("read", file, &e))
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

    #[test]
    fn a_new_node_keeps_the_comments_of_the_site_file() {
        let text = "# our site\n[site] # here\nname = \"lab\"\n\n[[node]] # the first\nmac = \"52:54:00:00:00:01\"\nrole = \"compute\"\n";
        let mut doc: DocumentMut = text.parse().unwrap();
        add_to_toml(&mut doc, NEW, "compute", Some("c9")).unwrap();
        let want =
            format!("{text}\n[[node]]\nmac = \"52:54:00:00:00:09\"\nrole = \"compute\"\nname = \"c9\"\n");
        assert_eq!(doc.to_string(), want);
        assert!(replace_in_toml(&mut doc, OLD, Mac([0x52, 0x54, 0, 0, 0, 7])));
        assert_eq!(doc.to_string(), want.replace("00:01", "00:07"));
        assert!(!replace_in_toml(&mut doc, OLD, NEW));
    }

    #[test]
    fn a_table_keeps_every_other_byte() {
        let table = "Host;MAC-Address;Role;Rack\r\nc1;5254.0000.0001;compute;R1\r\n";
        let add = Change::Add { role: "compute", name: None };
        assert_eq!(in_csv(table, &add, NEW).unwrap(), format!("{table};52:54:00:00:00:09;compute;\r\n"));
        let replace = Change::Replace { old: OLD };
        assert_eq!(
            in_csv(table, &replace, NEW).unwrap(),
            table.replace("5254.0000.0001", "52:54:00:00:00:09")
        );
        assert_eq!(in_csv("name,rack\nx,1\n", &add, NEW), None);
    }
}
