//! Owns what is known of the terminal: its size, colours and characters, whether it is still there; and asking
//! the person at it.

use crate::problem::Problem;
use crate::ui::text::Style;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

/// Columns where the output is no terminal: a log or another program reads it.
const PLAIN_COLUMNS: usize = 160;

/// What standard output can show. Colours only on a terminal, and never with `NO_COLOR` (no-color.org).
pub fn style() -> Style {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let terminal = std::io::stdout().is_terminal();
    let dumb = std::env::var("TERM").is_ok_and(|t| t == "dumb");
    let (width, height) = size();
    Style {
        width: if terminal { width } else { columns_wanted().unwrap_or(PLAIN_COLUMNS) },
        height: terminal.then_some(height),
        colour: terminal && !dumb && !set("NO_COLOR"),
        unicode: !terminal || speaks_utf8(),
    }
}

/// Columns and rows; 80 by 24 where the terminal does not tell.
pub fn size() -> (usize, usize) {
    match crossterm::terminal::size() {
        Ok((w, h)) if w > 0 && h > 0 => (usize::from(w), usize::from(h)),
        _ => (80, 24),
    }
}

/// Whether nobody reads standard output any more: the other end of the pipe is closed, or the terminal hung up.
///
/// Asked without writing: what only watches may have nothing to say for days.
pub fn reader_is_gone() -> bool {
    let out = std::io::stdout();
    let mut asked = [PollFd::new(out.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// `COLUMNS`, for outputs that are no terminal.
fn columns_wanted() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.parse().ok().filter(|c| (20..=1000).contains(c))
}

/// The locale's character set, by the variables that POSIX names, in their order.
fn speaks_utf8() -> bool {
    let first =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|v| std::env::var(v).ok().filter(|s| !s.is_empty()));
    first.is_some_and(|v| {
        let v = v.to_lowercase();
        v.contains("utf-8") || v.contains("utf8")
    })
}

/// Whether a person can be asked.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a word and returns what was typed.
pub fn ask(question: &str) -> Result<String, Problem> {
    let fail = |e: std::io::Error| Problem::environment(format!("cannot ask: {e}"));
    let mut err = std::io::stderr();
    write!(err, "{question} ").and_then(|()| err.flush()).map_err(fail)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(fail)?;
    Ok(line.trim().to_string())
}
