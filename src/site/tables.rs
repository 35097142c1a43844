//! Owns node tables as grids of text, with the place of every cell; and CSV as spreadsheets write it. Workbooks are
//! `workbook`'s.

use super::columns;
use super::workbook::{self, letters};
use crate::problem::{Place, Problem};

/// Rows and columns beyond this are no node table.
pub(super) const MOST_ROWS: usize = 100_000;
pub(super) const MOST_COLUMNS: usize = 200;

/// What one file holds.
#[derive(Debug, Default)]
pub struct Tables {
    /// One of CSV; of a workbook one for each sheet of nodes.
    pub grids: Vec<Grid>,
    pub warnings: Vec<Problem>,
}

/// A table of texts, without its empty rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The file's name as the operator knows it.
    pub name: String,
    pub rows: Vec<Row>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub cells: Vec<String>,
    /// Spreadsheet: cells that are merged with others on their right; the first and the last column of each.
    pub wide: Vec<(usize, usize)>,
    /// CSV: where the record begins in the text, in bytes. Spreadsheet: the sheet's row number from 0.
    pub(super) start: usize,
}

impl Row {
    /// A row of these cells.
    pub fn of(cells: Vec<String>) -> Row {
        Row { cells, wide: Vec::new(), start: 0 }
    }
    /// Whether this row is one wide cell and nothing else: a title, no machine.
    pub fn is_title(&self) -> bool {
        !self.wide.is_empty() && self.cells.iter().filter(|c| !c.is_empty()).count() == 1
    }
    /// The cells of a row that groups columns: each text stands for all columns below it. In CSV, which does not know
    /// how far a cell reaches, that is up to the next text.
    pub fn spread(&self) -> Vec<String> {
        let mut out = self.cells.clone();
        for (i, j) in &self.wide {
            for cell in out.iter_mut().take(j + 1).skip(i + 1) {
                *cell = self.cells[*i].clone();
            }
        }
        for i in 1..out.len() {
            if self.wide.is_empty() && out[i].is_empty() {
                out[i] = out[i - 1].clone();
            }
        }
        out
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
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

/// Reads one file; the kind is told from its content, not its name.
pub fn read(name: &str, bytes: &[u8]) -> Result<Tables, Problem> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => workbook::read(name, bytes),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Err(Problem::input(format!(
            "{name} is a spreadsheet of the old format (.xls), or protected by a password"
        ))
        .help("save it as .xlsx without a password, or as CSV UTF-8")),
        _ => csv(name, bytes).map(|grid| Tables { grids: vec![grid], warnings: Vec::new() }),
    }
}

fn csv(name: &str, bytes: &[u8]) -> Result<Grid, Problem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| not_utf8(name, bytes, e.valid_up_to()))?;
    if text.contains('\0') {
        return Err(utf16(name));
    }
    let delimiter = delimiter(name, text);
    if let Some(at) = unclosed(text, delimiter) {
        return Err(Problem::input("a quotation mark opens here, and the cell has no end")
            .at(Place::of(name, text, at..at + 1))
            .why("all that follows would be one cell")
            .help("put a quotation mark at the end of this cell too, or take this one out"));
    }
    let rows = records(name, text, delimiter, MOST_ROWS + 1)?;
    if rows.len() > MOST_ROWS || rows.iter().any(|r| r.cells.len() > MOST_COLUMNS) {
        return Err(too_big(name));
    }
    Ok(Grid { name: name.to_string(), rows, kind: Kind::Csv { text: text.to_string(), delimiter } })
}

/// A text in an older character set: its first line that is none of ours, as far as it can be read.
fn not_utf8(name: &str, bytes: &[u8], at: usize) -> Problem {
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || bytes.iter().take(200).any(|b| *b == 0) {
        return utf16(name);
    }
    Problem::input(format!("{name} is not UTF-8 text"))
        .at(Place::of_bytes(name, bytes, at))
        .why(format!(
            "the byte {:02X} here belongs to an older character set (Windows-1252, Latin-1)",
            bytes[at]
        ))
        .help(SAVE)
}

fn utf16(name: &str) -> Problem {
    Problem::input(format!("{name} is UTF-16 text, not UTF-8"))
        .why("it begins with the mark of UTF-16 (FF FE or FE FF), or every other byte is zero: \"Unicode text\" in Excel")
        .help(SAVE)
}

const SAVE: &str = "save it as \"CSV UTF-8\", or as .xlsx";

/// What separates the cells: what makes most sense of the header.
fn delimiter(name: &str, text: &str) -> u8 {
    let sense = |delimiter: &u8| {
        let rows = records(name, text, *delimiter, 50).unwrap_or_default();
        columns::find(&rows).map_or(0, |i| columns::understood(&rows[i]))
    };
    // Spreadsheets write semicolons where the comma is the decimal sign, and tabs when asked for text. Of equals the
    // last one counts.
    let best = [b'\t', b';', b','].into_iter().max_by_key(sense).filter(|d| sense(d) > 0);
    best.unwrap_or_else(|| {
        let first = text.lines().find(|l| !l.trim().is_empty() && !l.starts_with('#')).unwrap_or_default();
        let count = |d: &u8| first.bytes().filter(|b| b == d).count();
        [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
    })
}

/// The first rows with any text.
fn records(name: &str, text: &str, delimiter: u8, most: usize) -> Result<Vec<Row>, Problem> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record
            .map_err(|e| Problem::input(format!("{name} cannot be read as a table: {e}")).help(SAVE))?;
        let start = skip(text, record.position().map_or(0, |p| p.byte() as usize));
        let cells: Vec<String> = record.iter().map(|c| c.trim().to_string()).collect();
        if cells.iter().any(|c| !c.is_empty()) {
            rows.push(Row { start, ..Row::of(cells) });
        }
        if rows.len() >= most {
            break;
        }
    }
    Ok(rows)
}

pub(super) fn too_big(name: &str) -> Problem {
    Problem::input(format!(
        "{name} has more than {MOST_ROWS} rows or {MOST_COLUMNS} columns, so it is no table of nodes"
    ))
    .help("keep the nodes in a table of their own")
}

impl Grid {
    /// The name of the workbook's sheet, if it is one.
    pub fn sheet(&self) -> Option<&str> {
        match &self.kind {
            Kind::Csv { .. } => None,
            Kind::Sheet { sheet, .. } => Some(sheet),
        }
    }
    /// The table's name in a sentence.
    pub fn title(&self) -> String {
        match self.sheet() {
            None => self.name.clone(),
            Some(sheet) => format!("the sheet {sheet:?} of {}", self.name),
        }
    }
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

/// Where the field that begins at `at` ends; and whether a quotation that it begins with is without its end.
fn field_end(bytes: &[u8], delimiter: u8, at: usize) -> (usize, bool) {
    let ends = |b: &u8| *b == delimiter || *b == b'\n';
    let mut end = at;
    let mut open = false;
    if bytes.get(at) == Some(&b'"') {
        end += 1;
        loop {
            let Some(n) = bytes[end..].iter().position(|b| *b == b'"') else { return (bytes.len(), true) };
            end += n + 1;
            // Two are one in a quotation.
            if bytes.get(end) != Some(&b'"') {
                break;
            }
            end += 1;
        }
        // Words after it, lines below: this is the first quotation mark of another cell.
        let next = bytes[end..].iter().find(|b| **b != b' ' && **b != b'\r');
        open = bytes[at..end].contains(&b'\n') && next.is_some_and(|b| !ends(b));
    }
    let rest = bytes[end..].iter().position(ends).unwrap_or(bytes.len() - end);
    (end + rest, open)
}

/// The place of a quotation mark that has no other.
fn unclosed(text: &str, delimiter: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = skip(text, 0);
    while at < bytes.len() {
        let (end, open) = field_end(bytes, delimiter, at);
        if open {
            return Some(at);
        }
        at = if bytes.get(end) == Some(&delimiter) { end + 1 } else { skip(text, end + 1) };
    }
    None
}

/// The bytes of field number `column` in the CSV record that begins at `start`.
fn field(text: &str, delimiter: u8, start: usize, column: usize) -> std::ops::Range<usize> {
    let bytes = text.as_bytes();
    let mut begin = start.min(bytes.len());
    let mut end = field_end(bytes, delimiter, begin).0;
    for _ in 0..column {
        if bytes.get(end) != Some(&delimiter) {
            break;
        }
        begin = end + 1;
        end = field_end(bytes, delimiter, begin).0;
    }
    let field = &bytes[begin..end];
    let blank = |b: &&u8| b.is_ascii_whitespace();
    let lead = field.iter().take_while(blank).count();
    let tail = field[lead..].iter().rev().take_while(blank).count();
    begin + lead..end - tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_csv_know_their_place() {
        let text = "\u{feff}MAC;Role\r\n# spare machines below\r\n\"aa;b\"; compute \r\n";
        let g = csv("n.csv", text.as_bytes()).unwrap();
        assert_eq!(g.rows[1].cells, ["aa;b", "compute"]);
        let p = g.place(1, 1).unwrap();
        assert_eq!((p.line, p.column, p.width), (3, 9, 7));
    }

    #[test]
    fn a_quotation_without_its_end_is_found_where_it_opens() {
        let line = |text: &str| csv("n.csv", text.as_bytes()).map_err(|p| p.at.unwrap().line).err();
        assert_eq!(line("mac,role\na,\"compute\nb,compute\n"), Some(2));
        // The next quotation mark of the file opens another cell.
        assert_eq!(line("mac,role\na,\"compute\nb,\"compute\"\n"), Some(2));
        for good in
            ["mac,note\n\"a\nb\" ,x\n", "mac,note\na,\"5\"\" disk\"\n", "mac,note\na,5\" disk\n# \"\n", ""]
        {
            assert_eq!(line(good), None, "{good:?}");
        }
    }

    #[test]
    fn a_file_of_another_character_set_says_which_and_where() {
        let problem = |bytes: &[u8]| csv("n.csv", bytes).unwrap_err();
        let p = problem(b"mac,note\na,B\xfcro\n");
        let at = p.at.clone().unwrap();
        assert_eq!((at.line, at.column, at.text.as_str()), (2, 4, "a,B\u{fffd}ro"));
        assert!(p.to_string().contains("FC") && p.help.is_some(), "{p}");
        for bytes in [&b"\xff\xfem\0a\0c\0\n\0"[..], b"\xfe\xff\0m\0a\0c", b"m\0a\0c\0\n\0"] {
            assert!(problem(bytes).what.contains("UTF-16"), "{bytes:?}");
        }
    }

    #[test]
    fn what_separates_cells_is_told_from_the_header_not_from_the_title() {
        let cells = |text: &str| csv("n.csv", text.as_bytes()).unwrap().rows.pop().unwrap().cells;
        assert_eq!(cells("Racks 1, 2, 3, 4\nMAC;Role\na;b\n"), ["a", "b"]);
        assert_eq!(cells("Racks 1; 2\nMAC,Role\na,b\n"), ["a", "b"]);
        assert_eq!(cells("Racks 1, 2\nMAC\tRole\na\tb\n"), ["a", "b"]);
        assert_eq!(cells("MAC\na\n"), ["a"]);
    }
}
