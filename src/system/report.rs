//! Owns talking to the server: patient requests, reports, and the progress that is told every second.

use super::client::{Client, Reply};
use super::host::say;
use crate::api::{ReportKind, Reported, report_path};
use crate::base::Mac;
use crate::problem::reason;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may be away before the installation is given up.
pub const PATIENCE: Duration = Duration::from_secs(12 * 3600);

/// Repeats `ask` until it has an answer that is final, with growing pauses. Says so on the console, not too often.
///
/// Answers 408, 429 and 5xx are not final: the server is busy, full or starting.
pub fn patiently(what: &str, mut ask: impl FnMut() -> io::Result<Reply>) -> Result<Reply, String> {
    let begin = Instant::now();
    let (mut pause, mut last_said): (u64, Option<Instant>) = (1, None);
    loop {
        let why = match ask() {
            Ok(r) if r.status == 408 || r.status == 429 || r.status >= 500 => {
                let status = r.status;
                format!("it answers {status}{}", said(&r.bytes().unwrap_or_default()))
            }
            Ok(r) => return Ok(r),
            Err(e) => reason(&e),
        };
        if begin.elapsed() > PATIENCE {
            return Err(format!("cannot {what}: {why} (tried for 12 hours)"));
        }
        if last_said.is_none_or(|t| t.elapsed() > Duration::from_secs(60)) {
            last_said = Some(Instant::now());
            say(&format!("cannot {what} yet: {why}; trying again"));
        }
        sleep(Duration::from_secs(pause));
        pause = (pause * 2).min(15);
    }
}

/// The body of a reply with status 200, or a sentence.
pub fn body(what: &str, reply: Reply) -> Result<Vec<u8>, String> {
    let status = reply.status;
    let bytes = reply.bytes().map_err(|e| format!("cannot {what}: {}", reason(&e)))?;
    if status == 200 {
        return Ok(bytes);
    }
    Err(format!("cannot {what}: the server answers {status}{}", said(&bytes)))
}

/// The first line of what the server said, for a sentence.
pub fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
    match text.lines().next().map(str::trim).filter(|l| !l.is_empty()) {
        Some(line) => format!(" ({line})"),
        None => String::new(),
    }
}

/// Who reports.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub client: Client,
    pub mac: Mac,
    /// This boot's own random number.
    pub run: String,
}

impl Reporter {
    /// Sends a report and waits for the answer, however long the server is away.
    pub fn send(&self, event: ReportKind, step: &str, detail: &str) -> Result<Reply, String> {
        patiently("report to the server", || self.post(event, step, None, None, detail))
    }

    fn post(
        &self,
        event: ReportKind,
        step: &str,
        percent: Option<u8>,
        bytes: Option<u64>,
        detail: &str,
    ) -> io::Result<Reply> {
        let report = Reported {
            event,
            step: step.to_string(),
            percent,
            bytes,
            detail: detail.to_string(),
            run: Some(self.run.clone()),
        };
        let json = serde_json::to_vec(&report).map_err(io::Error::other)?;
        self.client.post(&report_path(self.mac), &json)
    }

    /// Begins to tell, every second, how far `progress` is. Lost reports are not repeated: the next one says more.
    pub fn follow(&self, progress: &Arc<Progress>) -> std::thread::JoinHandle<()> {
        let (reporter, progress) = (self.clone(), progress.clone());
        std::thread::spawn(move || {
            let mut told = (String::new(), u64::MAX);
            while !progress.ended.load(Ordering::Relaxed) {
                let now = progress.now();
                if now != told {
                    let total = progress.total.load(Ordering::Relaxed).max(1);
                    let percent = (now.1.saturating_mul(100) / total).min(100) as u8;
                    let _ = reporter.post(ReportKind::Progress, &now.0, Some(percent), Some(now.1), "");
                    told = now;
                }
                sleep(Duration::from_secs(1));
            }
        })
    }
}

/// How far the work is.
#[derive(Debug, Default)]
pub struct Progress {
    step: Mutex<String>,
    /// Bytes done and to do in this step.
    done: AtomicU64,
    total: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    /// A new step of `total` bytes begins.
    pub fn step(&self, name: &str, total: u64) {
        *self.step.lock().unwrap_or_else(|e| e.into_inner()) = name.to_string();
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        say(name);
    }
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
    fn now(&self) -> (String, u64) {
        let step = self.step.lock().unwrap_or_else(|e| e.into_inner()).clone();
        (step, self.done.load(Ordering::Relaxed))
    }
}
