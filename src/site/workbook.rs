//! Owns workbooks (.xlsx) as grids of text: every visible sheet with a column of MAC addresses is a table of nodes.

use super::columns;
use super::tables::{Grid, Kind, MOST_COLUMNS, MOST_ROWS, Row, Tables, too_big};
use crate::problem::{Place, Problem};
use calamine::{Data, Reader as _, SheetType, SheetVisible};
use std::collections::BTreeMap;

type Book<'b> = calamine::Xlsx<std::io::Cursor<&'b [u8]>>;

/// The sheets of nodes. Where there is none: the first sheet with anything, whose problems tell what it lacks.
pub fn read(name: &str, bytes: &[u8]) -> Result<Tables, Problem> {
    let bad = |e: String| {
        Problem::input(format!("{name} cannot be read as a spreadsheet: {e}"))
            .help("open it and save it again as .xlsx, or as CSV UTF-8")
    };
    let mut book: Book = calamine::open_workbook_from_rs(std::io::Cursor::new(bytes))
        .map_err(|e: calamine::XlsxError| bad(e.to_string()))?;
    let sheets: Vec<calamine::Sheet> =
        book.sheets_metadata().iter().filter(|s| s.typ == SheetType::WorkSheet).cloned().collect();
    let (mut tables, mut hidden) = (Tables::default(), Vec::new());
    let (mut other, mut size): (Option<Grid>, Option<Problem>) = (None, None);
    for sheet in sheets {
        let seen = sheet.visible == SheetVisible::Visible;
        let (grid, too_big) = match sheet_grid(name, &mut book, &sheet.name, &bad) {
            Ok(read) => read,
            Err(_) if !seen => continue,
            Err(problem) => return Err(problem),
        };
        let lists_nodes = columns::find(&grid.rows).is_some() || columns::unnamed(&grid.rows).is_some();
        match (lists_nodes, too_big) {
            (true, _) if !seen => hidden.push(format!("{:?}", sheet.name)),
            (_, _) if !seen => {}
            (true, Some(problem)) => return Err(problem),
            (true, None) => tables.grids.push(grid),
            // Lists of something else may be as long as they like.
            (false, Some(problem)) => size = size.or(Some(problem)),
            (false, None) if other.as_ref().is_none_or(|o| o.rows.is_empty()) => other = Some(grid),
            (false, None) => {}
        }
    }
    if !hidden.is_empty() {
        let (word, it, its) = match hidden.len() {
            1 => ("sheet", "it", "its"),
            _ => ("sheets", "them", "their"),
        };
        let what = format!("the machines of the hidden {word} {} of {name} are not read", hidden.join(", "));
        tables.warnings.push(Problem::input(what).warning().why("nobody sees them in the spreadsheet").help(
            format!("unhide {it} if {its} machines are nodes; else delete {it}, and this is not said again"),
        ));
    }
    if tables.grids.is_empty() {
        match (other, size) {
            (Some(grid), _) if !grid.rows.is_empty() => tables.grids.push(grid),
            (_, Some(problem)) => return Err(problem),
            (Some(grid), None) => tables.grids.push(grid),
            (None, None) => return Err(bad("it has no visible sheet".to_string())),
        }
    }
    Ok(tables)
}

/// One sheet: the rows that have any text, and why it is too big for a table of nodes, if it is.
///
/// Reads cell by cell: a single stray cell far out must not cost the memory of all the empty ones before it.
fn sheet_grid(
    name: &str,
    book: &mut Book<'_>,
    sheet: &str,
    bad: &dyn Fn(String) -> Problem,
) -> Result<(Grid, Option<Problem>), Problem> {
    let mut found: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::new();
    let mut cells = book.worksheet_cells_reader(sheet).map_err(|e| bad(e.to_string()))?;
    while let Some(cell) = cells.next_cell().map_err(|e| bad(e.to_string()))? {
        let (row, column) = cell.get_position();
        let text = cell_text(&Data::from(cell.get_value().clone()));
        if !text.is_empty() {
            found.entry(row).or_default().insert(column, text);
        }
    }
    drop(cells);
    let merged = book.merge_cells_by_sheet_name(sheet).map_err(|e| bad(e.to_string()))?;
    let merged: Vec<_> = merged.iter().map(|m| (m.start, m.end)).collect();
    let mut size = (!fill_merged(&mut found, &merged) || found.len() > MOST_ROWS).then(|| too_big(name));
    let left = found.values().filter_map(|r| r.keys().next()).min().copied().unwrap_or(0);
    let mut right = found.values().filter_map(|r| r.keys().next_back()).max().copied().unwrap_or(0);
    if (right - left) as usize >= MOST_COLUMNS {
        size = size.or_else(|| too_wide(name, sheet, &found, right));
        right = left + MOST_COLUMNS as u32 - 1;
    }
    let mut wide: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
    for ((top, first), (_, last)) in
        merged.iter().filter(|((_, first), (_, last))| left <= *first && first < last)
    {
        wide.entry(*top).or_default().push(((first - left) as usize, (last - left) as usize));
    }
    let rows = found.into_iter().take(MOST_ROWS).map(|(row, mut cells)| Row {
        cells: (left..=right).map(|c| cells.remove(&c).unwrap_or_default()).collect(),
        wide: wide.remove(&row).unwrap_or_default(),
        start: row as usize,
    });
    let kind = Kind::Sheet { sheet: sheet.to_string(), column: left as usize };
    Ok((Grid { name: name.to_string(), rows: rows.collect(), kind }, size))
}

/// Names the cell that is furthest to the right: mostly a stray one.
fn too_wide(
    name: &str,
    sheet: &str,
    found: &BTreeMap<u32, BTreeMap<u32, String>>,
    right: u32,
) -> Option<Problem> {
    let (row, text) = found.iter().find_map(|(row, cells)| Some((*row as usize, cells.get(&right)?)))?;
    let text: String = text.chars().take(60).collect();
    let place = Place {
        file: name.to_string(),
        line: row + 1,
        column: 1,
        width: text.chars().count().max(1),
        text,
        cell: Some(format!("{sheet}!{}{}", letters(right as usize), row + 1)),
    };
    Some(
        Problem::input(format!("{name} has more than {MOST_COLUMNS} columns, so it is no table of nodes"))
            .at(place)
            .why("this is its last column")
            .help("delete this cell if it is a stray one; else keep the nodes in a sheet of their own"),
    )
}

/// Row and column, from 0.
type Corner = (u32, u32);

/// Merged cells hold their text in the first one only, and people mean it for every row: the role of a whole rack.
/// False where there are so many that it is no table of nodes.
fn fill_merged(found: &mut BTreeMap<u32, BTreeMap<u32, String>>, merged: &[(Corner, Corner)]) -> bool {
    let mut work = 0;
    for ((top, left), (bottom, _)) in merged.iter().filter(|((top, _), (bottom, _))| top < bottom) {
        let Some(text) = found.get(top).and_then(|row| row.get(left)).cloned() else { continue };
        for (_, row) in found.range_mut(top + 1..=*bottom) {
            row.entry(*left).or_insert_with(|| text.clone());
            work += 1;
        }
        if work > MOST_ROWS * MOST_COLUMNS {
            return false;
        }
    }
    true
}

/// A cell as a person would type it. Whole numbers lose the `.0` that spreadsheets keep.
fn cell_text(cell: &Data) -> String {
    match cell {
        Data::Float(f) if f.fract() == 0.0 && f.abs() < 1e15 => format!("{f:.0}"),
        other => other.to_string().trim().to_string(),
    }
}

/// A spreadsheet's name of a column: A … Z, AA …
pub(super) fn letters(column: usize) -> String {
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
    fn columns_are_named_as_spreadsheets_do() {
        assert_eq!([0, 25, 27, 16383].map(letters), ["A", "Z", "AB", "XFD"]);
    }

    #[test]
    fn merged_cells_are_filled_down_into_rows_that_exist() {
        let row = |cells: &[(u32, &str)]| cells.iter().map(|(i, t)| (*i, t.to_string())).collect();
        let mut found: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::from([
            (0, row(&[(0, "compute"), (1, "a")])),
            (1, row(&[(1, "b")])),
            (3, row(&[(0, "x")])),
        ]);
        let all = u32::MAX;
        assert!(fill_merged(&mut found, &[((0, 0), (all, 0)), ((5, 5), (2, 2)), ((0, 1), (0, 4))]));
        assert_eq!(found[&1], row(&[(0, "compute"), (1, "b")]));
        assert_eq!((found.len(), found[&3][&0].as_str()), (3, "x"));
        // A machine's file may say what it likes: it must not cost hours.
        let mut many: BTreeMap<u32, BTreeMap<u32, String>> =
            (0..1000).map(|i| (i, row(&[(0, "x")]))).collect();
        assert!(!fill_merged(&mut many, &vec![((0, 0), (all, 0)); 30_000]));
    }
}
