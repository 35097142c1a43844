//! Owns where a site's nodes are listed, for people: which file and which of its sheets has how many.

use super::model::Site;
use super::report::Files;
use super::rows::split_macs;
use super::tables;
use crate::base::Mac;
use std::collections::BTreeSet;
use std::fmt;

/// One file that lists nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    /// Of a workbook: its sheets that list nodes.
    pub sheets: Vec<String>,
    pub nodes: usize,
}

/// The files that list the nodes of `site`, which was made from `files`.
pub fn sources(files: &Files, site: &Site) -> Vec<Source> {
    let mut left: BTreeSet<usize> = (0..site.nodes.len()).collect();
    let mut sources = Vec::new();
    for table in &files.tables {
        let file = files.beside(&table.name);
        let Some(Ok(read)) = table.bytes.as_deref().map(|b| tables::read(&file, b)) else { continue };
        let (mut sheets, before) = (Vec::new(), left.len());
        for grid in &read.grids {
            let cells = grid.rows.iter().flat_map(|r| &r.cells);
            let macs = cells.flat_map(|c| split_macs(c)).filter_map(|t| Mac::parse(t).ok());
            let mut any = false;
            for i in macs.filter_map(|mac| site.by_mac.get(&mac)) {
                any |= left.remove(i);
            }
            sheets.extend(grid.sheet().filter(|_| any).map(str::to_string));
        }
        if left.len() < before {
            sources.push(Source { file, sheets, nodes: before - left.len() });
        }
    }
    if !left.is_empty() {
        sources.insert(0, Source { file: files.name.clone(), sheets: Vec::new(), nodes: left.len() });
    }
    sources
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        write!(f, "{} node{} from {}", self.nodes, plural(self.nodes), self.file)?;
        if !self.sheets.is_empty() {
            let names: Vec<String> = self.sheets.iter().map(|s| format!("{s:?}")).collect();
            write!(f, ", sheet{} {}", plural(names.len()), names.join(", "))?;
        }
        Ok(())
    }
}
