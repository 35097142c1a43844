//! `bootstead restore FOLDER --cluster`: what a backup took from the nodes goes back to them, part by part, after a
//! person has read what it overwrites.

use super::keep::{CLUSTER, RestoreArgs};
use super::load::load;
use super::station::Station;
use super::steps::numbered;
use super::{Globals, say, terminal};
use crate::api::{LookKind, LookWish};
use crate::cluster::restores;
use crate::problem::{Exit, Problem, Problems, did_you_mean};
use crate::profiles::part::On;
use crate::serve::collected;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One part: the archives, and the node that each goes to.
struct Wanted {
    part: String,
    files: Vec<(PathBuf, String)>,
}

pub fn run(g: &Globals, args: &RestoreArgs) -> Result<Exit, Problems> {
    let loaded = load(g)?;
    let station = Station::find(g)?;
    if !station.is_live() {
        return Err(Problem::environment("no server runs here, and the nodes' agents talk to it only")
            .help("start `bootstead serve`, wait until `bootstead status` shows the nodes, then try again")
            .into());
    }
    let ledger = station.ledger()?;
    let folder = args.folder.join(CLUSTER);
    let archives = archives(&folder, loaded.catalog.parts.keys().map(String::as_str));
    if archives.is_empty() {
        return Err(Problem::input(format!("{} has nothing of a cluster", folder.display()))
            .help("`bootstead backup FOLDER --cluster` takes it from the nodes")
            .into());
    }
    let names: Vec<&String> = match args.parts.is_empty() {
        true => archives.keys().collect(),
        false => args.parts.iter().collect(),
    };
    let mut wanted = Vec::new();
    for part in names {
        let Some(found) = archives.get(part) else {
            let problem = Problem::input(format!("{} has nothing of the part {part:?}", folder.display()));
            return Err(match did_you_mean(part, archives.keys().map(String::as_str)) {
                Some(near) => problem.help(format!("did you mean {near:?}?")),
                None => problem
                    .help(format!("it has: {}", archives.keys().cloned().collect::<Vec<_>>().join(", "))),
            }
            .into());
        };
        let backup = loaded.catalog.parts.get(part).and_then(|p| p.backup.as_ref());
        let by_itself = backup.is_some_and(|b| b.bring_back.is_some());
        if !by_itself && args.parts.is_empty() {
            let how = backup.map(|b| b.restore.as_str()).unwrap_or_default();
            say(&format!("{part} is not brought back by a command: {how}\n"))?;
            continue;
        }
        let nodes = restores(&loaded.site, &loaded.catalog, ledger.work(), part)?;
        let on = backup.map_or(On::First, |b| b.on);
        let files: Vec<(PathBuf, String)> = match (on, found.as_slice(), nodes.as_slice()) {
            (On::First | On::Once, [(_, file)], [first]) => vec![(file.clone(), first.node.clone())],
            (On::First | On::Once, ..) => {
                return Err(Problem::input(format!("{} has several archives of {part}", folder.display()))
                    .help("leave the one in it that is to be brought back")
                    .into());
            }
            _ => {
                let known = |node: &String| nodes.iter().any(|n| n.node == *node);
                let own = found.iter().filter(|(node, _)| known(node));
                own.map(|(node, file)| (file.clone(), node.clone())).collect()
            }
        };
        for (file, node) in &files {
            let what = backup.and_then(|b| b.overwrites.as_deref()).unwrap_or_default();
            say(&format!("{part}: {} goes to {node} and overwrites {what}\n", file.display()))?;
        }
        if !files.is_empty() {
            wanted.push(Wanted { part: part.clone(), files });
        }
    }
    if wanted.is_empty() {
        return Err(Problem::input("there is nothing to bring back by a command; nothing was done").into());
    }
    if !args.yes {
        if !terminal::can_ask() {
            return Err(Problem::input("there is no terminal to ask at; nothing was done")
                .help("add --yes")
                .into());
        }
        if terminal::ask(&format!("Type {} to go on:", loaded.site.name))? != loaded.site.name {
            return Err(Problem::input("nothing was done").into());
        }
    }
    let _cleared = Cleared(collected::back_folder(&g.state_dir()));
    for w in &wanted {
        one(g, &station, w, args.wait)?;
    }
    say("look at it with `bootstead verify`\n")
}

/// Lays the archives where the server finds them, and has the nodes fetch them.
fn one(g: &Globals, station: &Station, wanted: &Wanted, wait: u64) -> Result<(), Problems> {
    for (file, node) in &wanted.files {
        collected::lay(file, &collected::back(&g.state_dir(), node, &wanted.part))?;
    }
    let part = Some(wanted.part.clone());
    let wish = LookWish { kind: LookKind::Restore, part, phase: None, node: None, beside: false };
    let (_, seen) = numbered(station, &wish, wait)?;
    let mut problems = Problems::default();
    for s in seen {
        let why = match s.found {
            None => "it did not answer in time".to_string(),
            Some(f) => match f.failed {
                None => {
                    say(&format!("{} is back on {}\n", wanted.part, s.node))?;
                    continue;
                }
                Some(why) => format!("{why}\n{}", f.output.trim()),
            },
        };
        problems
            .push(Problem::environment(format!("{} on {} failed: {why}", s.title, s.node)).help(
                "look at the node; the command may be given again: it brings back the whole once more",
            ));
    }
    if problems.errors() > 0 { Err(problems) } else { Ok(()) }
}

/// Node and archive of each part, `NODE-PART.tar.gz`; both names may have hyphens, so the longest part's name counts.
fn archives<'a>(
    folder: &Path,
    parts: impl Iterator<Item = &'a str> + Clone,
) -> BTreeMap<String, Vec<(String, PathBuf)>> {
    let mut out: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    for path in files {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".tar.gz") else { continue };
        let split = |part: &'a str| Some((stem.strip_suffix(part)?.strip_suffix('-')?, part));
        let longest = parts.clone().filter_map(split).max_by_key(|(_, part)| part.len());
        if let Some((node, part)) = longest {
            out.entry(part.to_string()).or_default().push((node.to_string(), path.clone()));
        }
    }
    out
}

/// A folder that is gone when the command ends, however it ends: dumps do not stay behind.
struct Cleared(PathBuf);

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_belongs_to_the_part_with_the_longest_name() {
        let dir = std::env::temp_dir().join(format!("bs-bring-back-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for name in
            ["ctl-1-ceph-mon.tar.gz", "ctl-1-mon.tar.gz", "ctl-1-x.tar.gz", "ctl-2-mon.tar.gz", "notes"]
        {
            std::fs::write(dir.join(name), "").unwrap();
        }
        let found = archives(&dir, ["mon", "ceph-mon", "galera"].into_iter());
        let nodes = |part: &str| found[part].iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>();
        assert_eq!((nodes("ceph-mon"), nodes("mon")), (vec!["ctl-1"], vec!["ctl-1", "ctl-2"]));
        assert_eq!(found.len(), 2);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
