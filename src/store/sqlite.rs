//! Owns the journal on disk: one SQLite file, full sync, one transaction for a burst. The only user of rusqlite.

use super::{Entry, Store};
use crate::base::Mac;
use crate::lifecycle::Event;
use crate::problem::Problem;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the table's layout, kept in SQLite's `user_version`.
const LAYOUT: i64 = 1;

/// How often the lock is tried, 5 ms apart: half a second. Another writer that is about to end is waited for so long; a
/// server does not end, and is named then.
const TRIES: u32 = 100;

/// Takes the lock. Commands that write without a server hold it for some milliseconds, and a child that is just being
/// started has it for as long as it takes to become its program; neither is a second server.
fn locked(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            taken => return taken,
        }
    }
    lock.try_lock()
}

/// The journal of one state folder.
pub struct Sqlite {
    db: Connection,
    path: PathBuf,
    /// Held while this process may write; the system lets go of it when the process ends, however it ends.
    _lock: Option<File>,
}

impl Sqlite {
    /// Opens (or makes) the journal in `folder` for writing. One process at a time: a second one is refused.
    pub fn open(folder: &Path) -> Result<Sqlite, Problem> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| Problem::io("make the state folder", folder, &e))?;
        let lock_path = folder.join("lock");
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| Problem::io("write in the state folder", &lock_path, &e))?;
        locked(&lock).map_err(|_| {
            Problem::environment(format!(
                "another bootstead already works on the state folder {}",
                folder.display()
            ))
            .why("two servers on one journal would arm and install independently of each other")
            .help("stop the other one, or give this one its own folder with --state")
        })?;
        let path = folder.join("journal.sqlite");
        // Made before SQLite does, which gives the files beside it (log, shared memory) the rights of this one.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Problem::io("write in the state folder", &path, &e))?;
        let db = Connection::open(&path).map_err(|e| explain("open", &path, &e))?;
        let version: i64 =
            db.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(|e| explain("read", &path, &e))?;
        if version > LAYOUT {
            return Err(Problem::environment(format!(
                "the journal {} was written by a newer bootstead (layout {version}, this one knows {LAYOUT})",
                path.display()
            ))
            .help("use that version, or start with an empty --state folder"));
        }
        // WAL: a burst is one sequential write and one fsync. synchronous=FULL syncs the log at every commit, so
        // a power cut loses nothing that was answered.
        db.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA cache_size = -2048;
             CREATE TABLE IF NOT EXISTS event (
                 seq INTEGER PRIMARY KEY,
                 at INTEGER NOT NULL,
                 mac TEXT,
                 what TEXT NOT NULL
             ) STRICT;
             CREATE INDEX IF NOT EXISTS event_mac ON event (mac, seq);
             PRAGMA user_version = {LAYOUT};"
        ))
        .map_err(|e| explain("prepare", &path, &e))?;
        restrict(&path)?;
        Ok(Sqlite { db, path, _lock: Some(lock) })
    }

    /// Opens the journal for reading only, also while a server writes it. `None` if there is none yet, or only the empty
    /// file of a server that could not start: the layout's version is written last, and no event before it.
    pub fn read_only(folder: &Path) -> Result<Option<Sqlite>, Problem> {
        let path = folder.join("journal.sqlite");
        if !path.exists() {
            return Ok(None);
        }
        let fail = |e: rusqlite::Error| explain("open", &path, &e);
        let mut db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(fail)?;
        // Also a reader needs a file beside the journal, which a read-only folder does not let it make. Where no log of
        // a writer lies there, nobody writes, and the one file is all there is.
        let looked = db.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0));
        if matches!(looked, Ok(0)) {
            return Ok(None);
        }
        if looked.is_err_and(|e| e.sqlite_error_code() == Some(ErrorCode::CannotOpen))
            && !path.with_file_name("journal.sqlite-wal").exists()
        {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            db = Connection::open_with_flags(as_it_lies(&path), flags).map_err(fail)?;
        }
        Ok(Some(Sqlite { db, path, _lock: None }))
    }

    /// A copy as of one moment, also while a server writes.
    pub fn copy_to(&self, to: &Path) -> Result<(), Problem> {
        let name = to.to_string_lossy().into_owned();
        self.db.execute("VACUUM INTO ?1", params![name]).map_err(|e| explain("copy", &self.path, &e))?;
        restrict(to)
    }

    /// Puts a copy into a state folder that has no journal.
    pub fn restore(from: &Path, folder: &Path) -> Result<(), Problem> {
        let to = folder.join("journal.sqlite");
        crate::disk::write(&to, &crate::disk::read(from)?, 0o600)?;
        // Whether it is a journal shows now, not at the next start.
        match Sqlite::read_only(folder)?.map(|j| j.query("WHERE seq > ?1 ORDER BY seq LIMIT ?2", 0, 1, None))
        {
            Some(Ok(_)) => Ok(()),
            Some(Err(p)) => {
                let _ = std::fs::remove_file(&to);
                Err(p)
            }
            None => {
                let _ = std::fs::remove_file(&to);
                Err(Problem::input(format!("{} is an empty journal", from.display()))
                    .help("restore another backup, or begin with an empty state folder"))
            }
        }
    }

    fn query(&self, tail: &str, after: u64, limit: usize, mac: Option<Mac>) -> Result<Vec<Entry>, Problem> {
        let fail = |e: rusqlite::Error| explain("read", &self.path, &e);
        let mut statement =
            self.db.prepare_cached(&format!("SELECT seq, what FROM event {tail}")).map_err(fail)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = match mac {
            Some(m) => statement.query_map(params![after as i64, limit, m.to_string()], read),
            None => statement.query_map(params![after as i64, limit], read),
        }
        .map_err(fail)?;
        let mut out = Vec::new();
        for row in rows {
            let (seq, text) = row.map_err(fail)?;
            let event = serde_json::from_str(&text).map_err(|e| {
                Problem::environment(format!(
                    "entry {seq} of the journal {} cannot be read: {e}",
                    self.path.display()
                ))
                .help("the file was changed by hand or by a newer version; restore it from a backup")
            })?;
            out.push(Entry { seq: seq as u64, event });
        }
        Ok(out)
    }
}

impl Store for Sqlite {
    fn append(&mut self, events: &[Event]) -> Result<u64, Problem> {
        let path = self.path.clone();
        let fail = |e: rusqlite::Error| explain("write", &path, &e);
        let tx = self.db.transaction().map_err(fail)?;
        let first: i64 =
            tx.query_row("SELECT coalesce(max(seq), 0) + 1 FROM event", [], |r| r.get(0)).map_err(fail)?;
        {
            let mut insert = tx
                .prepare_cached("INSERT INTO event (seq, at, mac, what) VALUES (?1, ?2, ?3, ?4)")
                .map_err(fail)?;
            for (i, event) in events.iter().enumerate() {
                let text = serde_json::to_string(event)
                    .map_err(|e| Problem::fault(format!("an event cannot be written as JSON: {e}")))?;
                insert
                    .execute(params![first + i as i64, event.at.0, event.mac.map(|m| m.to_string()), text])
                    .map_err(fail)?;
            }
        }
        tx.commit().map_err(fail)?;
        Ok(first as u64)
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, Problem> {
        self.read_for(None, after, limit)
    }

    fn read_for(&self, mac: Option<Mac>, after: u64, limit: usize) -> Result<Vec<Entry>, Problem> {
        let tail = match mac {
            Some(_) => "WHERE mac = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2",
            None => "WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        };
        self.query(tail, after, limit, mac)
    }
}

/// SQLite's name for a file that nobody changes (sqlite.org/uri.html).
fn as_it_lies(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    let mut uri = String::from("file:");
    for b in path.as_os_str().as_bytes() {
        if plain(*b) { uri.push(*b as char) } else { uri.push_str(&format!("%{b:02X}")) }
    }
    uri + "?immutable=1"
}

/// The journal says who was where and when: only its owner reads it.
fn restrict(path: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| Problem::io("set the mode of", path, &e))
}

fn explain(doing: &str, path: &Path, error: &rusqlite::Error) -> Problem {
    let shown = path.display();
    let problem = Problem::environment(format!("cannot {doing} the journal {shown}: {error}"));
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Problem::environment(format!("the disk is full: cannot {doing} the journal {shown}"))
                .why("nothing is answered that is not on disk first, so nothing was lost")
                .help("free some space on that file system; serving goes on by itself")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            problem.help("the state folder must be writable by this user; name another with --state")
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            problem.help("this file is damaged; keep it, and start with another --state folder or a backup")
        }
        _ => problem.help("look at the disk and at who else uses the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::lifecycle::What;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bootstead-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_journal_is_read_as_it_lies_whatever_its_folder_is_called() {
        let dir = folder("journal ä?#%");
        let event = Event::server(Timestamp(1), What::Started { version: "x".into() });
        Sqlite::open(&dir).unwrap().append(std::slice::from_ref(&event)).unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let path = dir.join("journal.sqlite");
        let db = Connection::open_with_flags(as_it_lies(&path), flags).unwrap();
        let s = Sqlite { db, path, _lock: None };
        assert_eq!(s.read(0, 10).unwrap()[0].event, event);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_journal_without_its_table_is_one_in_which_nothing_happened() {
        let dir = folder("tableless");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("journal.sqlite"), b"").unwrap();
        assert!(Sqlite::read_only(&dir).unwrap().is_none());
        // WAL mode alone writes the file's first page.
        Connection::open(dir.join("journal.sqlite"))
            .unwrap()
            .execute_batch("PRAGMA journal_mode = WAL;")
            .unwrap();
        assert!(Sqlite::read_only(&dir).unwrap().is_none());
        drop(Sqlite::open(&dir).unwrap());
        assert!(Sqlite::read_only(&dir).unwrap().unwrap().read(0, 1).unwrap().is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_was_appended_is_read_back_and_a_second_writer_is_refused() {
        let dir = folder("journal");
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let events = [
            Event::server(Timestamp(1), What::Started { version: "x".into() }),
            Event::new(Timestamp(2), mac, What::Log { line: "hello".into() }),
        ];
        {
            let mut s = Sqlite::open(&dir).unwrap();
            assert_eq!(s.append(&events).unwrap(), 1);
            assert_eq!(s.append(&events[1..]).unwrap(), 3);
            let e = Sqlite::open(&dir).err().unwrap();
            assert!(e.what.contains("another bootstead"), "{e}");
        }
        let s = Sqlite::open(&dir).unwrap();
        let all = s.read(0, 10).unwrap();
        assert_eq!(all.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(all[1].event, events[1]);
        assert_eq!(s.read_for(Some(mac), 2, 10).unwrap().len(), 1);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Commands in a row without a server, `xargs -P`, a child that has the lock until it has become its program.
    #[test]
    fn a_writer_that_is_about_to_end_is_waited_for() {
        let dir = folder("shortly");
        let first = Sqlite::open(&dir).unwrap();
        std::thread::scope(|s| {
            let second = s.spawn(|| Sqlite::open(&dir).map(drop));
            std::thread::sleep(Duration::from_millis(60));
            drop(first);
            assert!(second.join().unwrap().is_ok());
        });
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
