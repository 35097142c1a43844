//! Invariant 6, the disk's half: killing the writer, or cutting its log at any byte, loses nothing that was
//! answered.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use bootstead::base::Timestamp;
use bootstead::lifecycle::{Event, What};
use bootstead::store::Store;
use bootstead::store::sqlite::Sqlite;
use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::mac;

const FOLDER: &str = "BOOTSTEAD_TEST_JOURNAL";

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("bootstead-laws-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn burst(n: u64) -> Vec<Event> {
    let size = 1 + n % 7;
    let line = |i: u64| What::Log { line: format!("{n}.{i} {}", "x".repeat((n * 37 % 900) as usize)) };
    (0..size).map(|i| Event::new(Timestamp(n as i64), mac((n % 5) as usize), line(i))).collect()
}

/// Not a test of its own: the writer that the next test starts and kills.
#[test]
fn child_writer() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let mut store = Sqlite::open(Path::new(&dir)).unwrap();
    let mut out = std::io::stdout();
    for n in 0.. {
        let events = burst(n);
        let seq = store.append(&events).unwrap() + events.len() as u64 - 1;
        // From here on a machine may have its answer.
        writeln!(out, "acked {seq}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_answered() {
    let dir = folder("kill");
    let mut before = 0;
    for round in 0..8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_writer", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let mut last = 0;
            for line in lines.map_while(Result::ok) {
                let acked = line.split_once("acked ").and_then(|(_, n)| n.trim().parse().ok());
                if let Some(n) = acked {
                    last = n;
                    let _ = tell.send(());
                }
            }
            last
        });
        told.recv_timeout(Duration::from_secs(60)).unwrap();
        std::thread::sleep(Duration::from_millis(3 + round * 11));
        child.kill().unwrap();
        child.wait().unwrap();
        let acked: u64 = reader.join().unwrap();
        let store = Sqlite::open(&dir).unwrap();
        let found = store.read(0, usize::MAX).unwrap();
        let seqs: Vec<u64> = found.iter().map(|e| e.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "gaps");
        assert!(seqs.len() as u64 >= acked && acked > before, "acked {acked}, found {}", seqs.len());
        before = acked;
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// A journal whose newest facts are still in SQLite's write-ahead log.
fn with_log(name: &str) -> (PathBuf, Vec<Event>) {
    let dir = folder(name);
    let mut store = Sqlite::open(&dir).unwrap();
    let mut all = Vec::new();
    for n in 0..12 {
        store.append(&burst(n)).unwrap();
        all.extend(burst(n));
    }
    // Leaked on purpose: closing would move the log into the database. The copy below is what a power cut leaves.
    let copy = folder(&format!("{name}-copy"));
    std::fs::create_dir_all(&copy).unwrap();
    for file in ["journal.sqlite", "journal.sqlite-wal"] {
        std::fs::copy(dir.join(file), copy.join(file)).unwrap();
    }
    drop(store);
    std::fs::remove_dir_all(&dir).unwrap();
    (copy, all)
}

#[test]
fn a_torn_log_leaves_a_prefix_and_whole_bursts() {
    let (copy, all) = with_log("torn");
    let log = std::fs::read(copy.join("journal.sqlite-wal")).unwrap();
    let base = std::fs::read(copy.join("journal.sqlite")).unwrap();
    assert!(log.len() > 20_000, "the log must hold the facts: {} bytes", log.len());
    let ends: BTreeSet<usize> = (0..12)
        .scan(0, |sum, n| {
            *sum += burst(n).len();
            Some(*sum)
        })
        .chain([0])
        .collect();
    let mut lengths = BTreeSet::new();
    let (dir, step) = (folder("torn-one"), (log.len() / 60).max(1));
    for i in 0..120 {
        let cut = (i / 2 * step + i % 2 * 17).min(log.len());
        let mut torn = log[..cut].to_vec();
        if i % 2 == 1 && cut > 0 {
            // A sector that was only half written.
            let at = cut - 1 - (i % cut.min(400));
            torn[at] ^= 0x55;
        }
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("journal.sqlite"), &base).unwrap();
        std::fs::write(dir.join("journal.sqlite-wal"), &torn).unwrap();
        let mut store = Sqlite::open(&dir).unwrap();
        let found: Vec<Event> = store.read(0, usize::MAX).unwrap().into_iter().map(|e| e.event).collect();
        assert_eq!(found, all[..found.len()], "not a prefix after {cut} bytes");
        assert!(ends.contains(&found.len()), "half a burst ({}) after {cut} bytes", found.len());
        lengths.insert(found.len());
        // And it goes on from there.
        assert_eq!(store.append(&burst(1)).unwrap(), found.len() as u64 + 1);
        drop(store);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    assert!(lengths.len() > 8, "the cuts must hit different bursts: {lengths:?}");
    std::fs::remove_dir_all(&copy).unwrap();
}
