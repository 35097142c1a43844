//! Owns where things were written (`Where`) and the collecting of problems about them.

use super::tables::Grid;
use crate::problem::{Place, Problem, Problems};
use std::ops::Range;

/// What a site is made from: the site file and its node tables, as bytes. No file is touched here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The site file's name as the operator knows it.
    pub name: String,
    pub text: String,
    pub tables: Vec<Table>,
}

/// One node table beside the site file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    /// None: the site file names it, and it is not there.
    pub bytes: Option<Vec<u8>>,
}

impl Files {
    /// A site file without node tables.
    pub fn only(name: &str, text: &str) -> Files {
        Files { name: name.to_string(), text: text.to_string(), tables: Vec::new() }
    }
    /// A table's name as the operator knows it: with the folder that the site file was named with.
    pub fn beside(&self, table: &str) -> String {
        match self.name.rsplit_once('/') {
            Some((folder, _)) if !table.starts_with('/') => format!("{folder}/{table}"),
            _ => table.to_string(),
        }
    }
}

/// Where a value was written. Cheap to copy around; made into a `Place` only for a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// Bytes of the site file.
    Toml(Range<usize>),
    /// A cell of a node table: index of the grid, row and column in it, from 0.
    Cell { grid: usize, row: usize, column: usize },
}

impl<T> From<&super::wire::At<T>> for Where {
    fn from(at: &super::wire::At<T>) -> Where {
        Where::Toml(at.span())
    }
}

/// Collects problems about the files.
pub struct Report<'a> {
    files: &'a Files,
    pub grids: Vec<Grid>,
    pub problems: Problems,
    /// What was reported and cut out of the site file: what it lacks now is no problem of its own.
    pub cut: Vec<Cut>,
}

/// A key of the site file that was written and is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// `role.compute.disk`; entries of lists by number: `node[2].mac`.
    pub path: String,
    /// The key's bytes.
    pub span: Range<usize>,
}

impl<'a> Report<'a> {
    pub fn new(files: &'a Files) -> Report<'a> {
        Report { files, grids: Vec::new(), problems: Problems::default(), cut: Vec::new() }
    }
    pub fn place(&self, at: &Where) -> Option<Place> {
        match at {
            Where::Toml(span) => Some(discreet(Place::of(&self.files.name, &self.files.text, span.clone()))),
            Where::Cell { grid, row, column } => self.grids.get(*grid)?.place(*row, *column),
        }
    }
    /// The operator's mistake at `at`.
    pub fn error(&mut self, at: impl Into<Where>, what: impl Into<String>) -> &mut Problem {
        let mut problem = Problem::input(what);
        problem.at = self.place(&at.into());
        self.push(problem)
    }
    /// Something that is allowed and probably not meant.
    pub fn warning(&mut self, at: impl Into<Where>, what: impl Into<String>) -> &mut Problem {
        let mut problem = Problem::input(what).warning();
        problem.at = self.place(&at.into());
        self.push(problem)
    }
    /// The same as `error`; the value itself is kept off the screen.
    pub fn secret_error(&mut self, at: impl Into<Where>, what: impl Into<String>) -> &mut Problem {
        let problem = self.error(at, what);
        if let Some(place) = &mut problem.at {
            let before: String = place.text.chars().take(place.column - 1).collect();
            place.text = format!("{before}{NOT_SHOWN}");
            place.width = NOT_SHOWN.len();
        }
        problem
    }
    /// Whether the site file says this, wrongly: it was reported, and that it is not there now is no problem of its own.
    pub fn was_cut(&self, path: &str) -> bool {
        self.cut.iter().any(|c| c.path == path)
    }
    /// A problem of a file as a whole.
    pub fn push(&mut self, problem: Problem) -> &mut Problem {
        self.problems.push(problem);
        let last = self.problems.0.len() - 1;
        &mut self.problems.0[last]
    }
    /// "file:line" of `at`, to point from one problem to another place.
    pub fn line(&self, at: &Where) -> String {
        match self.place(at) {
            Some(Place { file, cell: Some(cell), .. }) => format!("{file} {cell}"),
            Some(p) => format!("{}:{}", p.file, p.line),
            None => self.files.name.clone(),
        }
    }
}

/// A place whose line does not show a secret, whatever the problem with that line is: a password under a wrong key,
/// a hash without its quotes.
fn discreet(mut place: Place) -> Place {
    let lower = place.text.to_lowercase();
    if let Some(word) = ["passw", "secret"].iter().filter_map(|w| lower.find(w)).min()
        && !lower.trim_start().starts_with('#')
        && let Some(value) = lower[word..].find('=').map(|i| word + i + 1)
        // Lower case keeps the length of ASCII; anything else is cut at the word.
        && let Some(before) = place.text.get(..value)
    {
        let kept = before.chars().count();
        if place.column > kept {
            (place.column, place.width) = (kept + 2, NOT_SHOWN.len());
        }
        place.text = format!("{before} {NOT_SHOWN}");
    }
    place
}

const NOT_SHOWN: &str = "[not shown]";

/// Lets a problem in a list be told more.
pub trait Tell {
    fn because(&mut self, why: impl Into<String>) -> &mut Self;
    fn so(&mut self, help: impl Into<String>) -> &mut Self;
    /// "did you mean …", or the list of what there is.
    fn meant<'a>(&mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> &mut Self;
}

impl Tell for Problem {
    fn because(&mut self, why: impl Into<String>) -> &mut Problem {
        self.why = Some(why.into());
        self
    }
    fn so(&mut self, help: impl Into<String>) -> &mut Problem {
        self.help = Some(help.into());
        self
    }
    fn meant<'a>(&mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> &mut Problem {
        let known: Vec<&str> = known.into_iter().collect();
        self.help = match crate::problem::did_you_mean(word, known.iter().copied()) {
            Some(near) => Some(format!("did you mean {near:?}?")),
            None if known.is_empty() => Some("there is none here; add it, or take this out".to_string()),
            None if known.len() <= 12 => Some(format!("there is {}", known.join(", "))),
            None => Some(format!("there is {}, and {} more", known[..12].join(", "), known.len() - 12)),
        };
        self
    }
}
