//! Owns node tables as grids of text: CSV as spreadsheets write it, and .xlsx; with the place of every cell.

use super::report::Table;
use crate::problem::{Place, Problem};
use calamine::{Data, Reader as _};
use std::collections::BTreeMap;

/// Rows and columns beyond this are no node table.
const MOST_ROWS: usize = 100_000;
const MOST_COLUMNS: usize = 200;

/// A table of texts. Row 0 is the first row that is not empty: the header.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The file's name as the operator knows it.
    pub name: String,
    pub rows: Vec<Row>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub cells: Vec<String>,
    /// CSV: where the record begins in the text, in bytes. Spreadsheet: the sheet's row number from 0.
    start: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Csv {
        text: String,
        delimiter: u8,
    },
    /// The sheet's name and its first used column.
    Sheet {
        sheet: String,
        column: usize,
    },
}

/// Reads one table; the kind is told from its content, not its name.
pub fn read(table: &Table, bytes: &[u8]) -> Result<Grid, Problem> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => sheet(&table.name, bytes),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Err(Problem::input(format!(
            "{} is a spreadsheet of the old format (.xls), or protected by a password",
            table.name
        ))
        .help("save it as .xlsx without a password, or as CSV UTF-8")),
        _ => csv(&table.name, bytes),
    }
}

fn csv(name: &str, bytes: &[u8]) -> Result<Grid, Problem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Problem::input(format!("{name} is not UTF-8 text (line {line})"))
            .help("save it as \"CSV UTF-8\", or as .xlsx")
    })?;
    let header = text.lines().find(|l| !l.trim().is_empty() && !l.starts_with('#')).unwrap_or_default();
    // Spreadsheets write semicolons where the comma is the decimal sign, and tabs when asked for text.
    let count = |d: char| header.matches(d).count();
    let delimiter = match (count(','), count(';'), count('\t')) {
        (c, s, t) if t > c && t > s => b'\t',
        (c, s, _) if s > c => b';',
        _ => b',',
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| Problem::input(format!("{name} cannot be read as a table: {e}")))?;
        let start = skip(text, record.position().map_or(0, |p| p.byte() as usize));
        let cells: Vec<String> = record.iter().map(|c| c.trim().to_string()).collect();
        if cells.iter().any(|c| !c.is_empty()) {
            rows.push(Row { cells, start });
        }
    }
    limit(name, &rows)?;
    Ok(Grid { name: name.to_string(), rows, kind: Kind::Csv { text: text.to_string(), delimiter } })
}

fn sheet(name: &str, bytes: &[u8]) -> Result<Grid, Problem> {
    let bad = |e: String| {
        Problem::input(format!("{name} cannot be read as a spreadsheet: {e}"))
            .help("open it and save it again as .xlsx, or as CSV UTF-8")
    };
    let mut book: calamine::Xlsx<_> = calamine::open_workbook_from_rs(std::io::Cursor::new(bytes))
        .map_err(|e: calamine::XlsxError| bad(e.to_string()))?;
    let mut best: Option<Grid> = None;
    for sheet in book.sheet_names() {
        let (rows, left) = sheet_rows(name, &mut book, &sheet, &bad)?;
        let grid = Grid { name: name.to_string(), rows, kind: Kind::Sheet { sheet, column: left } };
        // The sheet of nodes is the first one with a column of MAC addresses; else the first with anything.
        if super::rows::has_macs(&grid) {
            return Ok(grid);
        }
        if best.as_ref().is_none_or(|b| b.rows.is_empty()) {
            best = Some(grid);
        }
    }
    best.ok_or_else(|| bad("it has no sheet".to_string()))
}

/// The rows of one sheet that have any text, and the sheet's first used column.
///
/// Reads cell by cell: a single stray cell far out must not cost the memory of all the empty ones before it.
fn sheet_rows(
    name: &str,
    book: &mut calamine::Xlsx<std::io::Cursor<&[u8]>>,
    sheet: &str,
    bad: &dyn Fn(String) -> Problem,
) -> Result<(Vec<Row>, usize), Problem> {
    let mut found: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::new();
    let mut cells = book.worksheet_cells_reader(sheet).map_err(|e| bad(e.to_string()))?;
    while let Some(cell) = cells.next_cell().map_err(|e| bad(e.to_string()))? {
        let (row, column) = cell.get_position();
        let text = cell_text(&Data::from(cell.get_value().clone()));
        if !text.is_empty() {
            found.entry(row).or_default().insert(column, text);
        }
    }
    let left = found.values().filter_map(|r| r.keys().next()).min().copied().unwrap_or(0);
    let right = found.values().filter_map(|r| r.keys().next_back()).max().copied().unwrap_or(0);
    if found.len() > MOST_ROWS || (right - left) as usize >= MOST_COLUMNS {
        return Err(too_big(name));
    }
    let rows = found.into_iter().map(|(row, mut cells)| Row {
        cells: (left..=right).map(|c| cells.remove(&c).unwrap_or_default()).collect(),
        start: row as usize,
    });
    Ok((rows.collect(), left as usize))
}

fn limit(name: &str, rows: &[Row]) -> Result<(), Problem> {
    if rows.len() > MOST_ROWS || rows.iter().any(|r| r.cells.len() > MOST_COLUMNS) {
        return Err(too_big(name));
    }
    Ok(())
}

fn too_big(name: &str) -> Problem {
    Problem::input(format!(
        "{name} has more than {MOST_ROWS} rows or {MOST_COLUMNS} columns, so it is no table of nodes"
    ))
    .help("keep the nodes in a table of their own")
}

/// A cell as a person would type it. Whole numbers lose the `.0` that spreadsheets keep.
fn cell_text(cell: &Data) -> String {
    match cell {
        Data::Float(f) if f.fract() == 0.0 && f.abs() < 1e15 => format!("{f:.0}"),
        other => other.to_string().trim().to_string(),
    }
}

impl Grid {
    /// The place of a cell; a column past the row's end points at the row's end.
    pub fn place(&self, row: usize, column: usize) -> Option<Place> {
        let r = self.rows.get(row)?;
        match &self.kind {
            Kind::Csv { text, delimiter } => {
                Some(Place::of(&self.name, text, field(text, *delimiter, r.start, column)))
            }
            Kind::Sheet { sheet, column: left } => {
                let before: String = r.cells.iter().take(column).map(|c| format!("{c} | ")).collect();
                Some(Place {
                    file: self.name.clone(),
                    line: r.start + 1,
                    column: before.chars().count() + 1,
                    width: r.cells.get(column).map_or(1, |c| c.chars().count().max(1)),
                    text: r.cells.join(" | "),
                    cell: Some(format!("{sheet}!{}{}", letters(left + column), r.start + 1)),
                })
            }
        }
    }
}

/// Where the record itself begins: the reader counts comments and empty lines before it to it.
fn skip(text: &str, mut start: usize) -> usize {
    while let Some(line) = text.get(start..).and_then(|rest| rest.split_inclusive('\n').next())
        && (line.starts_with('#') || line.trim_end_matches(['\r', '\n']).is_empty())
    {
        start += line.len();
    }
    start
}

/// The bytes of field number `column` in the CSV record that begins at `start`.
fn field(text: &str, delimiter: u8, start: usize, column: usize) -> std::ops::Range<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut seen, mut quoted, mut begin) =
        (start.min(bytes.len()), 0, false, start.min(bytes.len()));
    while at < bytes.len() {
        match bytes[at] {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            b if b == delimiter && !quoted => {
                if seen == column {
                    break;
                }
                seen += 1;
                begin = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let field = &bytes[begin..at];
    let blank = |b: &&u8| b.is_ascii_whitespace();
    let lead = field.iter().take_while(blank).count();
    let tail = field[lead..].iter().rev().take_while(blank).count();
    begin + lead..at - tail
}

/// A spreadsheet's name of a column: A … Z, AA …
fn letters(column: usize) -> String {
    let mut out = String::new();
    let mut n = column + 1;
    while n > 0 {
        out.insert(0, char::from(b'A' + ((n - 1) % 26) as u8));
        n = (n - 1) / 26;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_csv_know_their_place() {
        let text = "\u{feff}MAC;Role\r\n# spare machines below\r\n\"aa;b\"; compute \r\n";
        let table = Table { name: "n.csv".into(), bytes: None };
        let g = read(&table, text.as_bytes()).unwrap();
        assert_eq!(g.rows[1].cells, ["aa;b", "compute"]);
        let p = g.place(1, 1).unwrap();
        assert_eq!((p.line, p.column, p.width), (3, 9, 7));
        assert_eq!(letters(0), "A");
        assert_eq!(letters(27), "AB");
    }
}
