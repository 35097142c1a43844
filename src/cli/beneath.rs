//! Owns the live table beneath what a command prints: text goes above it and stays in the terminal's history, the table is
//! drawn again once a second. Only on a terminal; elsewhere what is printed is all there is.

use super::station::Station;
use super::{Globals, terminal};
use crate::ui::Board;
use crate::ui::table::table;
use crate::ui::text::{Paint, Style};
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use crossterm::{cursor, queue};
use std::io::{IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Whether the work is done is looked at so often ...
const LOOK: Duration = Duration::from_millis(50);
/// ... and the board is asked for after so many looks.
const LOOKS: u32 = 20;
/// Rows that the text above keeps.
const ABOVE: usize = 8;

/// What stands beneath now. One for the process, as standard output is.
static DRAWN: Mutex<Drawn> = Mutex::new(Drawn { lines: Vec::new(), columns: 0, on_screen: 0 });

struct Drawn {
    lines: Vec<String>,
    /// Of the terminal, when they were drawn.
    columns: usize,
    /// How many of the lines are on the screen.
    on_screen: usize,
}

impl Drawn {
    /// Takes the lines off the screen. In a terminal that became narrower they take more rows than they were: they stay.
    fn erase(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        if self.on_screen > 0 && terminal::size().0 >= self.columns {
            queue!(out, cursor::MoveToPreviousLine(self.on_screen as u16), Clear(ClearType::FromCursorDown))?;
        }
        self.on_screen = 0;
        Ok(())
    }

    fn draw(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        (self.on_screen, self.columns) = (self.lines.len(), terminal::size().0);
        Ok(())
    }
}

/// Writes `text` to standard output, above the table if there is one. Text beneath which a table may stand is whole lines.
pub fn print(text: &[u8]) -> std::io::Result<()> {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = std::io::stdout().lock();
    if drawn.on_screen > 0 {
        queue!(out, BeginSynchronizedUpdate)?;
        drawn.erase(&mut out)?;
        out.write_all(text)?;
        drawn.draw(&mut out)?;
        queue!(out, EndSynchronizedUpdate)?;
    } else {
        out.write_all(text)?;
    }
    out.flush()
}

fn put(lines: Vec<String>) {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = std::io::stdout().lock();
    drawn.lines = lines;
    // A terminal that is gone is noticed by whoever prints text.
    let _ = queue!(out, BeginSynchronizedUpdate);
    let _ = drawn.erase(&mut out).and_then(|()| drawn.draw(&mut out));
    let _ = queue!(out, EndSynchronizedUpdate);
    let _ = out.flush();
}

/// Whether there is a terminal that can show it.
fn can_show(g: &Globals) -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|t| t == "dumb" || t.is_empty());
    !g.json && !dumb && std::io::stdout().is_terminal()
}

/// Does `work` with the live table beneath what it prints, for as long as it takes.
pub fn with<T>(g: &Globals, work: impl FnOnce() -> T) -> T {
    if !can_show(g) {
        return work();
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let drawing = scope.spawn(|| {
            let mut board: Option<Board> = None;
            while !ended.load(Ordering::Relaxed) {
                let old = match Station::find(g).ok().filter(Station::is_live).map(|s| s.board()) {
                    Some(Ok(now)) => {
                        board = Some(now);
                        false
                    }
                    _ => true,
                };
                if let Some(board) = board.as_ref().filter(|_| !ended.load(Ordering::Relaxed)) {
                    put(lines(board, old));
                }
                let mut looks = 0;
                while looks < LOOKS && !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                    looks += 1;
                }
            }
        });
        // Also where `work` panics: a scope waits for its threads.
        let _ended = Raise(&ended);
        let made = work();
        ended.store(true, Ordering::Relaxed);
        let _ = drawing.join();
        put(Vec::new());
        made
    })
}

struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A rule, and the table in what rows the text leaves to it.
fn lines(board: &Board, old: bool) -> Vec<String> {
    let style = terminal::style();
    let height = style.height.unwrap_or(24);
    let room = height.saturating_sub(ABOVE).max(height / 2);
    let late = if old { ", and since then the server does not answer" } else { "" };
    let dash = style.either("─", "-");
    let rule = format!("{dash}{dash} {} UTC{late} {}", board.now.clock(), dash.repeat(style.width));
    let rule = rule.chars().take(style.width).collect::<String>();
    let mut lines = vec![style.paint(if old { Paint::Late } else { Paint::Quiet }, &rule)];
    lines.extend(table(board, &Style { height: Some(room.saturating_sub(1)), ..style }, 0));
    lines
}
