//! Owns the snapshot of a site's files as one text: what `serve` keeps, so that `diff` knows what was in use.

use super::report::{Files, Table};
use serde::{Deserialize, Serialize};

/// The snapshot's name in the state folder.
pub const FILE: &str = "site.last.json";

#[derive(Serialize, Deserialize)]
struct Wire {
    name: String,
    text: String,
    tables: Vec<WireTable>,
}

/// A table: CSV as text, a spreadsheet as hexadecimal digits.
#[derive(Serialize, Deserialize)]
struct WireTable {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// All files as one text.
pub fn write(files: &Files) -> String {
    let table = |t: &Table| {
        let bytes = t.bytes.as_deref().unwrap_or_default();
        let text = std::str::from_utf8(bytes).ok().map(str::to_string);
        let hex = text.is_none().then(|| bytes.iter().map(|b| format!("{b:02x}")).collect());
        WireTable { name: t.name.clone(), text, hex }
    };
    let wire = Wire {
        name: files.name.clone(),
        text: files.text.clone(),
        tables: files.tables.iter().map(table).collect(),
    };
    serde_json::to_string_pretty(&wire).unwrap_or_default()
}

/// The files of a snapshot; `None` if the text is none.
pub fn read(text: &str) -> Option<Files> {
    let wire: Wire = serde_json::from_str(text).ok()?;
    let mut tables = Vec::new();
    for t in wire.tables {
        let bytes = match (t.text, t.hex) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(hex)) => unhex(&hex)?,
            (None, None) => return None,
        };
        tables.push(Table { name: t.name, bytes: Some(bytes) });
    }
    Some(Files { name: wire.name, text: wire.text, tables })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok();
    text.len().is_multiple_of(2).then_some(())?;
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_back() {
        let mut files = Files::only("site.toml", "a = \"ü\"\n");
        files.tables.push(Table { name: "n.csv".into(), bytes: Some(b"mac,role\n".to_vec()) });
        files.tables.push(Table { name: "n.xlsx".into(), bytes: Some(vec![0x50, 0xff, 0]) });
        assert_eq!(read(&write(&files)), Some(files));
        assert_eq!(read("{"), None);
    }
}
