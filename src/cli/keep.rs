//! `bootstead backup`, `restore`: what this appliance and its cluster must not lose, and how it is brought back.

use super::site_files;
use super::station::Station;
use super::steps::numbered;
use super::{Globals, say, say_json};
use crate::api::{LookKind, LookWish};
use crate::disk;
use crate::problem::{Exit, Problem, Problems};
use crate::secrets;
use crate::serve::collected;
use crate::store::sqlite::Sqlite;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// A folder that does not exist yet
    folder: PathBuf,
    /// Also what the cluster itself must not lose: its databases and queues' definitions, from its nodes
    #[arg(long)]
    cluster: bool,
    /// How long the nodes may take, in seconds
    #[arg(long, default_value_t = 3600)]
    wait: u64,
}

#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// A folder that `bootstead backup` made
    pub folder: PathBuf,
    /// The parts to bring back, for example galera; none named: all that the backup has
    #[arg(requires = "cluster", value_name = "PART")]
    pub parts: Vec<String>,
    /// Brings back what `backup --cluster` took, to the nodes: it overwrites what they have
    #[arg(long)]
    pub cluster: bool,
    /// Do not ask
    #[arg(long, requires = "cluster")]
    pub yes: bool,
    /// How long a part may take, in seconds
    #[arg(long, default_value_t = 3600, requires = "cluster")]
    pub wait: u64,
}

/// What is copied beside the journal; the images can be fetched again.
const FILES: [&str; 3] = [secrets::FILE, secrets::ROTATED, "tls.json"];
const JOURNAL: &str = "journal.sqlite";
/// What nodes brought.
pub const CLUSTER: &str = "cluster";
/// Behind the folder's name until all is in it: a folder with the name that was given is a whole backup.
const UNFINISHED: &str = ".unfinished";

/// Works beside a running server: the journal is copied as of one moment.
pub fn backup(g: &Globals, args: &BackupArgs) -> Result<Exit, Problems> {
    let (state, to) = (g.state_dir(), &args.folder);
    if to.exists() {
        return Err(Problem::input(format!("{} exists already", to.display()))
            .why("a backup never overwrites another one")
            .help("name a new folder, for example with the date in it")
            .into());
    }
    let Some(journal) = Sqlite::read_only(&state)? else {
        return Err(Problem::input(format!("there is nothing to back up in {}", state.display()))
            .help("name the state folder with --state, or the site file with --site")
            .into());
    };
    let making = unfinished(to)?;
    let count = fill(g, args, &journal, &making).map_err(|mut problems| {
        if making.exists() {
            problems.push(
                Problem::environment(format!(
                    "the backup is not whole; what there is of it lies in {}",
                    making.display()
                ))
                .help("give the command again when the cause is gone: it begins anew"),
            );
        }
        problems
    })?;
    std::fs::rename(&making, to).map_err(|e| Problem::io("rename", &making, &e))?;
    let site = to.join(site_files::SITE).exists();
    if g.json {
        let folder = to.display().to_string();
        return say_json(&serde_json::json!({ "folder": folder, "files": count, "site": site }));
    }
    say(&format!(
        "{count} files in {}: the journal, the secrets, the plans{}. It opens every node: keep it as safe as the appliance\n",
        to.display(),
        if site { ", the site" } else { "" },
    ))
}

/// The folder that a backup is made in; what an earlier one left there is removed.
fn unfinished(to: &Path) -> Result<PathBuf, Problems> {
    let Some(name) = to.file_name() else {
        return Err(Problem::input(format!("{} is no name of a new folder", to.display())).into());
    };
    let mut name = name.to_os_string();
    name.push(UNFINISHED);
    let making = to.with_file_name(name);
    // An empty one is of a backup, too: of one that could not write its first file.
    if making.exists() && std::fs::remove_dir(&making).is_err() {
        if !making.join(JOURNAL).exists() {
            return Err(Problem::input(format!(
                "{} exists already, and no backup left it",
                making.display()
            ))
            .help("move it away, or name another folder")
            .into());
        }
        std::fs::remove_dir_all(&making).map_err(|e| Problem::io("remove", &making, &e))?;
    }
    Ok(making)
}

/// Puts everything into `to`, the journal first; how many files, without the cluster's.
fn fill(g: &Globals, args: &BackupArgs, journal: &Sqlite, to: &Path) -> Result<usize, Problems> {
    let state = g.state_dir();
    disk::make_folder(to, 0o700)?;
    journal.copy_to(&to.join(JOURNAL))?;
    let mut count = 1;
    for name in FILES {
        count += usize::from(copy(&state.join(name), &to.join(name))?);
    }
    if let Ok(entries) = std::fs::read_dir(state.join("plans")) {
        disk::make_folder(&to.join("plans"), 0o700)?;
        for entry in entries.flatten() {
            count += usize::from(copy(&entry.path(), &to.join("plans").join(entry.file_name()))?);
        }
    }
    let site = site_files::keep(g, to)?;
    if args.cluster {
        cluster(g, args, &to.join(CLUSTER))?;
    }
    Ok(count + site)
}

/// What the nodes bring, into `to`.
fn cluster(g: &Globals, args: &BackupArgs, to: &Path) -> Result<(), Problems> {
    let station = Station::find(g)?;
    let wish = LookWish { kind: LookKind::Backup, part: None, phase: None, node: None, beside: false };
    let (number, seen) = numbered(&station, &wish, args.wait)?;
    let mut problems = Problems::default();
    disk::make_folder(to, 0o700)?;
    for s in &seen {
        let why = match &s.found {
            None => Some("it did not answer in time".to_string()),
            Some(f) => f.failed.as_ref().map(|why| format!("{why}\n{}", f.output.trim())),
        };
        if let Some(why) = why {
            problems.push(Problem::environment(format!("{} on {}: {why}", s.title, s.node)));
            continue;
        }
        let from = collected::path(&g.state_dir(), number, &s.node, &s.id);
        let name = from.file_name().map(PathBuf::from).unwrap_or_default();
        std::fs::copy(&from, to.join(&name)).map_err(|e| Problem::io("copy", &from, &e))?;
        let shown = args.folder.join(CLUSTER).join(name);
        if !g.json {
            say(&format!("{} from {}: {}\n", s.title, s.node, shown.display()))?;
        }
    }
    let _ = std::fs::remove_dir_all(collected::folder(&g.state_dir(), number));
    if problems.errors() > 0 { Err(problems) } else { Ok(()) }
}

fn copy(from: &Path, to: &Path) -> Result<bool, Problem> {
    if !from.exists() {
        return Ok(false);
    }
    disk::write(to, &disk::read(from)?, 0o600)?;
    Ok(true)
}

/// Only into a state folder that has no journal: nothing is overwritten.
pub fn restore(g: &Globals, args: &RestoreArgs) -> Result<Exit, Problems> {
    if args.cluster {
        return super::bring_back::run(g, args);
    }
    let (state, from) = (g.state_dir(), &args.folder);
    let journal = from.join(JOURNAL);
    if !journal.exists() {
        return Err(Problem::input(format!("{} is no backup: it has no {JOURNAL}", from.display())).into());
    }
    if Sqlite::read_only(&state)?.is_some() || state.join(secrets::FILE).exists() {
        return Err(Problem::input(format!("{} holds a site's state already", state.display()))
            .why("a restore never overwrites a journal or secrets")
            .help("restore into an empty folder (--state DIR), or move the old one away first")
            .into());
    }
    disk::make_folder(&state, 0o700)?;
    say(&site_files::put_back(g, from)?)?;
    for name in FILES {
        copy(&from.join(name), &state.join(name))?;
    }
    if let Ok(entries) = std::fs::read_dir(from.join("plans")) {
        disk::make_folder(&state.join("plans"), 0o700)?;
        for entry in entries.flatten() {
            copy(&entry.path(), &state.join("plans").join(entry.file_name()))?;
        }
    }
    // The journal comes last: a restore that was cut short is none.
    Sqlite::restore(&journal, &state)?;
    say(&format!("restored into {}; `bootstead serve` goes on from there\n", state.display()))
}
