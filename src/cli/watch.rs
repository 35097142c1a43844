//! Owns the live table: drawn in place on a terminal, as a line per change elsewhere.

use super::station::Station;
use super::status::Filter;
use super::{Globals, beneath, say, terminal};
use crate::problem::{Exit, Problem, Problems};
use crate::ui::Board;
use crate::ui::board::Phase;
use crate::ui::table::{changes, last_page, table};
use crate::ui::text::{Paint, Style};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, queue};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the board is asked for.
const EVERY: Duration = Duration::from_millis(1000);

/// Shows the board until the person has enough, or, with `until_done`, until nothing moves any more.
pub fn run(g: &Globals, filter: &Filter, until_done: bool) -> Result<Exit, Problems> {
    // The first board is asked for before the screen is taken: a wrong name must be readable.
    let first = look(g, filter)?;
    if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !g.json {
        live(g, filter, until_done, first)
    } else {
        lines(g, filter, until_done, first)
    }
}

fn look(g: &Globals, filter: &Filter) -> Result<Board, Problems> {
    Ok(filter.apply(Station::find(g)?.board()?)?)
}

fn end(board: &Board) -> Exit {
    if board.count(Phase::Failed) > 0 { Exit::Environment } else { Exit::Ok }
}

/// Prints the lines of standard input, the table beneath them, until the input ends: an interrupt is for who writes it.
pub fn with_input(g: &Globals) -> Result<Exit, Problems> {
    hold_interrupts();
    beneath::with(g, || {
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            let fail = |e: std::io::Error| Problem::environment(format!("cannot read standard input: {e}"));
            if input.read_until(b'\n', &mut line).map_err(fail)? == 0 {
                return Ok(Exit::Ok);
            }
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            say(&String::from_utf8_lossy(&line))?;
        }
    })
}

/// A line per change; with `--json` a board per line. Ends when nobody reads them any more.
fn lines(g: &Globals, filter: &Filter, until_done: bool, first: Board) -> Result<Exit, Problems> {
    let style = terminal::style();
    let mut shown: Option<Board> = None;
    let mut now: Result<Board, Problems> = Ok(first);
    let mut told = String::new();
    loop {
        match now {
            Ok(board) => {
                told.clear();
                let mut text = String::new();
                if g.json {
                    if shown.as_ref().is_none_or(|b| b.nodes != board.nodes) {
                        text =
                            serde_json::to_string(&board).map_err(|e| Problem::fault(e.to_string()))? + "\n";
                    }
                } else {
                    text.extend(changes(shown.as_ref(), &board, &style).into_iter().map(|l| l + "\n"));
                }
                if !text.is_empty() {
                    say(&text)?;
                }
                if until_done && board.is_settled() {
                    return Ok(end(&board));
                }
                shown = Some(board);
            }
            Err(problems) => {
                let text = problems.to_string();
                if text != told {
                    let _ = writeln!(std::io::stderr(), "{text}");
                    told = text;
                }
            }
        }
        std::thread::sleep(EVERY);
        if terminal::reader_is_gone() {
            return Ok(Exit::Ok);
        }
        now = look(g, filter);
    }
}

/// Has the terminal while it lives; gives it back as it was, whatever happens.
struct Screen;

impl Screen {
    fn take() -> std::io::Result<Screen> {
        crossterm::terminal::enable_raw_mode()?;
        let screen = Screen;
        let mut out = std::io::stdout();
        queue!(out, EnterAlternateScreen, cursor::Hide)?;
        out.flush()?;
        Ok(screen)
    }

    /// Draws `lines` in one go, over what was there; the terminal shows it when it is whole.
    fn draw(&self, lines: &[String]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        queue!(out, crossterm::terminal::BeginSynchronizedUpdate, cursor::MoveTo(0, 0))?;
        for (i, line) in lines.iter().enumerate() {
            if i > 0 {
                out.write_all(b"\r\n")?;
            }
            out.write_all(line.as_bytes())?;
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown), crossterm::terminal::EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = std::io::stdout();
        let _ = queue!(out, cursor::Show, LeaveAlternateScreen);
        let _ = out.flush();
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

fn live(g: &Globals, filter: &Filter, until_done: bool, first: Board) -> Result<Exit, Problems> {
    let fail = |e: std::io::Error| Problem::environment(format!("cannot use the terminal: {e}"));
    let stop = stop_on_signals();
    let mut board = first;
    let mut trouble: Option<String> = None;
    let mut skip = 0;
    let screen = Screen::take().map_err(fail)?;
    loop {
        let style = terminal::style();
        let last = last_page(&board, &body(&style));
        skip = skip.min(last);
        let page = style.height.unwrap_or(24).saturating_sub(6).clamp(1, 20);
        screen.draw(&frame(&board, trouble.as_deref(), &style, skip)).map_err(fail)?;
        let until = Instant::now() + EVERY;
        // Keys and resizes are served at once, the board once a second.
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
            if stop.load(Ordering::Relaxed) {
                return Ok(Exit::Ok);
            }
            if !crossterm::event::poll(left.min(Duration::from_millis(200))).map_err(fail)? {
                continue;
            }
            match crossterm::event::read().map_err(fail)? {
                Event::Key(key) if ends(&key) => return Ok(Exit::Ok),
                Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
                    KeyCode::Up | KeyCode::Char('k') => skip = skip.saturating_sub(1),
                    KeyCode::Down | KeyCode::Char('j') => skip = (skip + 1).min(last),
                    KeyCode::PageUp => skip = skip.saturating_sub(page),
                    KeyCode::PageDown | KeyCode::Char(' ') => skip = (skip + page).min(last),
                    KeyCode::Home => skip = 0,
                    KeyCode::End => skip = last,
                    _ => continue,
                },
                Event::Resize(..) => {}
                _ => continue,
            }
            break;
        }
        match look(g, filter) {
            Ok(b) => (board, trouble) = (b, None),
            Err(p) => trouble = p.0.first().map(|p| p.what.clone()),
        }
        if until_done && trouble.is_none() && board.is_settled() {
            drop(screen);
            say(&(table(&board, &Style { height: None, ..terminal::style() }, 0).join("\n") + "\n"))?;
            return Ok(end(&board));
        }
    }
}

/// What the table has of the screen: all but the foot.
fn body(style: &Style) -> Style {
    Style { height: Some(style.height.unwrap_or(24).saturating_sub(1)), ..*style }
}

fn frame(board: &Board, trouble: Option<&str>, style: &Style, skip: usize) -> Vec<String> {
    let height = style.height.unwrap_or(24);
    let mut lines = table(board, &body(style), skip);
    lines.resize(height.saturating_sub(1), String::new());
    let foot = match trouble {
        Some(text) => style.paint(Paint::Bad, &style.fit(&format!("this is old: {text}"), style.width)),
        None => {
            let keys = style.either("q ends · ↑ ↓ scroll", "q ends - up, down scroll");
            style.paint(Paint::Quiet, &style.fit(&format!("{} UTC  {keys}", board.now.clock()), style.width))
        }
    };
    lines.push(foot);
    lines
}

fn ends(key: &KeyEvent) -> bool {
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
        || (key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd')))
}

/// From now on SIGINT does nothing.
fn hold_interrupts() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut interrupts) = signal(SignalKind::interrupt()) else { return };
            while interrupts.recv().await.is_some() {}
        });
    });
}

/// A flag that SIGTERM and SIGHUP raise, so that the terminal is given back before the process ends.
fn stop_on_signals() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raise = flag.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut term), Ok(mut hup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return;
            };
            tokio::select! { _ = term.recv() => {}, _ = hup.recv() => {} }
            raise.store(true, Ordering::Relaxed);
        });
    });
    flag
}
