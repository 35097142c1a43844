//! Owns the reference of the site file for people, made from the schema: `docs/site-file.md`.

use super::schema::{choices, resolve, schema};
use serde_json::Value;
use std::fmt::Write as _;

const HEAD: &str = "\
# The site file

`site.toml` says everything about one place. `bootstead init DIR` writes one to start from; `bootstead check` says all
that is wrong with it at once; `bootstead schema` prints the JSON Schema for editors.

This page is made from the program (`BOOTSTEAD_GOLDEN=write cargo test --test problems`). **Bold** keys must be there.
";

const TAIL: &str = "\
## Tables of nodes

`nodes.csv` and `nodes.xlsx` beside the site file are read where they exist; `nodes = [\"…\"]` in `[site]` names others.
The first row with a column of MAC addresses names the columns; up to 20 rows of titles may stand above it, and a header
may have two rows (`Storage` above `IP`). Case, blanks and order do not matter, and several names mean the same:

| column | also | meaning |
|---|---|---|
| `mac` | any name with the word MAC, hardware address; `nic2` where its cells are addresses | the port's address in any usual spelling; several columns, or several addresses in one cell |
| `role` | any name with the word role or Rolle; `function`, `type` | a role of the site file |
| `name` | `hostname`, `host`, `server` | host name, with or without the domain; empty: by the naming rule |
| `number` | `nr`, `no`, `#` | number within the role; empty: from the name, else the next free one |
| `ip` | `ip address`, `address` | address on the provisioning network |
| a network's name | `storage ip`, `storage address` | address on that network |
| `disk serial` | `disk model`, `disk wwn`, `disk path` | the node's own disk rule |
| `erase` | `wipe` | serial numbers of disks whose present content may be erased |
| `kernel args` | `kernel arguments`, `kernel parameters` | kernel words of this machine, after the role's |
| `var.NAME` | | a template variable |
| `serial`, `rack`, `note`, … | | for people; not used |

CSV may use commas, semicolons or tabs; a cell with one of those in it stands in double quotes, and a row with more cells
than headings is a mistake. Lines that begin with `#` are comments. Of a workbook, every visible sheet
with a column of MAC addresses is read, and `check` names them; cells that are merged over several rows count for each of
them, and a row that is one wide cell is a title. Host names are read in lower case. A cell that looks like a number loses
digits in spreadsheets: format the column as text.
";

/// The tables in reading order: heading; name of the type in the schema, or a path in it (empty: the top).
const TABLES: &[(&str, &str)] = &[
    ("The file's tables", ""),
    ("`[site]`", "/properties/site"),
    ("`[server]`", "/properties/server"),
    ("`[access]`", "AccessTable"),
    ("`[network.NAME]`", "NetworkTable"),
    ("`[role.NAME]`", "RoleTable"),
    ("A disk rule: `disk = { … }`", "DiskRule"),
    ("An entry of `data = [{ … }]`", "DataTable"),
    ("`[[role.NAME.link]]`", "LinkTable"),
    ("A bond: `bond = { … }`", "BondTable"),
    ("`[vip.NAME]`", "VipTable"),
    ("`[[node]]`", "NodeTable"),
];

/// The whole page.
pub fn reference() -> String {
    let mut out = HEAD.to_string();
    for (heading, name) in TABLES {
        let table = match *name {
            "" => Some(schema()),
            name if name.starts_with('/') => schema().pointer(name).map(resolve),
            name => schema().pointer(&format!("/$defs/{name}")),
        };
        let Some(table) = table else { continue };
        let _ = writeln!(out, "\n## {heading}\n\n| key | value | meaning |\n|---|---|---|");
        let required: Vec<&str> = strings(table.get("required"));
        for (key, value) in table.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let shown = match required.contains(&key.as_str()) {
                true => format!("**`{key}`**"),
                false => format!("`{key}`"),
            };
            let _ = writeln!(out, "| {shown} | {} | {} |", kind(value), about(value));
        }
    }
    let _ = write!(out, "\n{TAIL}");
    out
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn kind(value: &'static Value) -> String {
    let value = resolve(value);
    let names = choices(value);
    if !names.is_empty() {
        return names.iter().map(|(n, _)| format!("`{n}`")).collect::<Vec<_>>().join(" or ");
    }
    match value.get("type").and_then(Value::as_str) {
        Some("string") => "text".to_string(),
        Some("integer") => "number".to_string(),
        Some("boolean") => "`true` or `false`".to_string(),
        Some("array") => match value.get("items").map(kind) {
            Some(item) if item.starts_with("table") => "list of tables".to_string(),
            Some(item) => format!("list of {item}"),
            None => "list".to_string(),
        },
        Some("object") => match value.get("additionalProperties") {
            Some(rest) if rest.is_object() => format!("NAME = {}", kind(rest)),
            _ => "table".to_string(),
        },
        _ => "text, number, `true` or `false`".to_string(),
    }
}

fn about(value: &'static Value) -> String {
    let own = value.get("description").or_else(|| resolve(value).get("description"));
    let mut text = own.and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
    for (name, means) in choices(resolve(value)) {
        if !means.is_empty() {
            let _ = write!(text, " `{name}`: {}", means.replace('\n', " "));
        }
    }
    text.replace('|', "\\|")
}
