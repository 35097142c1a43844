//! Owns `Problem`: what went wrong, where, why, what to do; and the one renderer of it.
//!
//! Every error that a person can see is a `Problem`. Checks collect all of them and report them together.

use std::fmt::{self, Write as _};

/// Exit codes of the program, by who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The operator's input (a file, an argument) has to change.
    Input = 2,
    /// The environment (a taken port, a missing right, a full disk) has to change.
    Environment = 3,
    /// A fault of ours.
    Fault = 70,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    Error,
}

/// A place in a file that the operator wrote. Lines and columns count from 1, in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Place {
    /// File name as the operator knows it.
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// How many characters to underline (at least 1).
    pub width: usize,
    /// The text of the line itself.
    pub text: String,
    /// The cell of a spreadsheet (`Sheet1!C7`): people know that, not a line and column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
}

impl Place {
    /// The place of the byte range `span` in `source`. A span past the end points at the end.
    pub fn of(file: &str, source: &str, span: std::ops::Range<usize>) -> Place {
        let mut start = span.start.min(source.len());
        while !source.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = source[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |i| start + i);
        let mut end = span.end.clamp(start, line_end);
        while !source.is_char_boundary(end) {
            end -= 1;
        }
        Place {
            file: file.to_string(),
            line: source[..line_start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            width: source[start..end].chars().count().max(1),
            text: source[line_start..line_end].trim_end_matches('\r').to_string(),
            cell: None,
        }
    }
    /// The place of the byte `at` in a file that is no UTF-8 text; the line as far as it can be read.
    pub fn of_bytes(file: &str, bytes: &[u8], at: usize) -> Place {
        let at = at.min(bytes.len());
        let start = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let end = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |i| at + i);
        let readable = |part: &[u8]| -> String {
            let text = String::from_utf8_lossy(part).into_owned();
            text.trim_end_matches('\r').chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        };
        Place {
            file: file.to_string(),
            line: bytes[..start].iter().filter(|b| **b == b'\n').count() + 1,
            column: readable(&bytes[start..at]).chars().count() + 1,
            width: 1,
            text: readable(&bytes[start..end.min(start + 400)]),
            cell: None,
        }
    }
}

/// One problem, for a person.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    pub severity: Severity,
    pub exit: Exit,
    /// What is wrong: one sentence, lower case, no full stop.
    pub what: String,
    pub at: Option<Place>,
    /// Why it is wrong, where the sentence alone does not tell.
    pub why: Option<String>,
    /// What to do next.
    pub help: Option<String>,
}

impl Problem {
    /// The operator's input has to change.
    pub fn input(what: impl Into<String>) -> Problem {
        Problem::new(Exit::Input, what)
    }
    /// The environment has to change.
    pub fn environment(what: impl Into<String>) -> Problem {
        Problem::new(Exit::Environment, what)
    }
    /// A fault of ours.
    pub fn fault(what: impl Into<String>) -> Problem {
        Problem::new(Exit::Fault, what)
    }
    fn new(exit: Exit, what: impl Into<String>) -> Problem {
        Problem { severity: Severity::Error, exit, what: what.into(), at: None, why: None, help: None }
    }
    pub fn warning(mut self) -> Problem {
        self.severity = Severity::Warning;
        self
    }
    pub fn at(mut self, place: Place) -> Problem {
        self.at = Some(place);
        self
    }
    pub fn why(mut self, why: impl Into<String>) -> Problem {
        self.why = Some(why.into());
        self
    }
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
    /// A problem with a file or folder: names the path and the system's reason.
    pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Problem {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path; nothing exists there",
            std::io::ErrorKind::PermissionDenied => {
                "run as a user who may, or change the owner or mode of the path"
            }
            std::io::ErrorKind::StorageFull => "free some space on that file system, then try again",
            std::io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or name another folder",
            _ => "the system gave this reason; look at the disk and its mount",
        };
        Problem::environment(format!("cannot {doing} {}: {}", path.display(), reason(error))).help(help)
    }
}

/// The system's words for an I/O error, without the "(os error N)" tail.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(i) => text[..i].to_lowercase(),
        None => text,
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}: {}", self.what)?;
        if let Some(p) = &self.at {
            let gutter = p.line.to_string().len();
            let pad = " ".repeat(gutter);
            match &p.cell {
                Some(cell) => write!(f, "\n{pad}--> {} {cell}", p.file)?,
                None => write!(f, "\n{pad}--> {}:{}:{}", p.file, p.line, p.column)?,
            }
            write!(f, "\n{pad} |\n{} | {}", p.line, p.text.replace('\t', " "))?;
            write!(f, "\n{pad} | {}{}", " ".repeat(p.column.saturating_sub(1)), "^".repeat(p.width))?;
        }
        if let Some(why) = &self.why {
            write!(f, "\n  = why: {why}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// All problems that were found, in the order they should be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|p| p.severity == Severity::Error).count()
    }
    pub fn warnings(&self) -> usize {
        self.0.len() - self.errors()
    }
    /// The worst exit code among the errors; `Exit::Ok` if there are only warnings.
    pub fn exit(&self) -> Exit {
        self.0.iter().filter(|p| p.severity == Severity::Error).map(|p| p.exit).max().unwrap_or(Exit::Ok)
    }
    /// Sorted by file and position, those without a place last.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|p| match &p.at {
            Some(at) => (0, at.file.clone(), at.line, at.column),
            None => (1, String::new(), 0, 0),
        });
    }
    /// "2 errors, 1 warning".
    pub fn summary(&self) -> String {
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut out = plural(self.errors(), "error");
        if self.warnings() > 0 {
            let _ = write!(out, ", {}", plural(self.warnings(), "warning"));
        }
        out
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in &self.0 {
            writeln!(f, "{p}\n")?;
        }
        write!(f, "{}", self.summary())
    }
}

impl From<Problem> for Problems {
    fn from(p: Problem) -> Problems {
        Problems(vec![p])
    }
}

/// The candidate nearest to `word`, if one is near enough to be a typing error (at most a third of it wrong).
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .filter(|(d, c)| *d <= (word.chars().count().max(c.chars().count())).div_ceil(3))
        .min()
        .map(|(_, c)| c)
}

/// Optimal string alignment distance: insertions, deletions, substitutions, swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_points_at_its_place() {
        let src = "[[node]]\nrole = \"computr\"\n";
        let start = src.find("\"computr").unwrap();
        let p = Problem::input("no role named \"computr\"")
            .at(Place::of("site.toml", src, start..start + 9))
            .help("did you mean \"compute\"?");
        assert_eq!(
            p.to_string(),
            "error: no role named \"computr\"\n --> site.toml:2:8\n  |\n2 | role = \"computr\"\n  |        ^^^^^^^^^\n  = help: did you mean \"compute\"?"
        );
    }

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        assert_eq!(did_you_mean("gatway", ["gateway", "cidr"]), Some("gateway"));
        assert_eq!(did_you_mean("zzz", ["gateway", "cidr"]), None);
    }

    #[test]
    fn places_survive_any_span() {
        for (s, e) in [(0, 0), (5, 2), (100, 200), (3, 4)] {
            let _ = Place::of("f", "aé\nü", s..e);
        }
    }
}
