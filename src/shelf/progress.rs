//! Owns the progress display of long work: one line that rewrites itself on a terminal, else a plain line now and then.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Seconds between two plain lines.
const PLAIN_SECS: u64 = 10;

/// Progress of one piece of work, in bytes. Goes to standard error.
pub struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// `what` is shown before the numbers; `total` in bytes, 0 if unknown.
    pub fn new(what: &str, total: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{msg:24!} {bar:24} {binary_bytes:>10}/{binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4}",
            );
            let bar = ProgressBar::new(total);
            bar.set_message(what.to_string());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        Progress { what: what.to_string(), bar, total, done: 0, started: now, said: now }
    }
    pub fn add(&mut self, bytes: u64) {
        self.set(self.done + bytes);
    }
    /// The bytes done in all.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.said.elapsed() >= Duration::from_secs(PLAIN_SECS) => {
                self.said = Instant::now();
                self.line(false);
            }
            None => {}
        }
    }
    /// Ends the display with a summary.
    pub fn finish(mut self) {
        self.total = self.total.max(self.done);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.line(true);
    }
    fn line(&self, end: bool) {
        let secs = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = self.done as f64 / secs;
        let rest = match () {
            () if end => format!("{secs:.0} s"),
            () if self.total > self.done && rate > 0.0 => {
                format!("about {:.0} s to go", (self.total - self.done) as f64 / rate)
            }
            () => String::new(),
        };
        let of = if end || self.total == 0 { String::new() } else { format!(" of {}", binary(self.total)) };
        note(&format!("{}: {}{of}, {}/s, {rest}", self.what, binary(self.done), binary(rate as u64)));
    }
}

/// One plain line on standard error about what is being done.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A size in binary units: `1.5 MiB`.
pub fn binary(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
