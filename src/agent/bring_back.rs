//! Owns bringing back: an archive comes from the server in pieces, is used only if it is the one that the step names,
//! and a script gets its files. Nothing of it stays on the node.

use super::apply::{Done, Failed};
use super::client::{Client, Lost};
use super::collect::{BRING_BACK, Folder};
use super::host::Host;
use super::shell::{run as run_command, script};
use crate::api;
use crate::base::digest::Hasher;
use crate::problem::reason;
use crate::steps::BringBack;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How often a piece is asked for again when the server is lost.
const TRIES: u32 = 20;

/// Fetches the archive into a folder of its own.
pub async fn fetch(
    client: &mut Client,
    state: &Path,
    step: &BringBack,
    look: u64,
    id: &str,
) -> Result<Folder, String> {
    let folder = Folder::make(state, BRING_BACK).map_err(|f| f.why)?;
    let path = folder.0.join("archive.tar.gz");
    let here = |e: std::io::Error| format!("cannot write {}: {}", path.display(), reason(&e));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&path).map_err(here)?;
    let (mut hasher, mut at, mut lost) = (Hasher::new(), 0, 0);
    while at < step.bytes {
        let piece = match client.send(&format!("{}?look={look}&id={id}&at={at}", api::TAKE), Vec::new()).await
        {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => piece,
            Err(Lost::Away(..) | Lost::Later(_)) if lost < TRIES => {
                lost += 1;
                client.next();
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(e) => return Err(e.to_string()),
        };
        file.write_all(&piece).map_err(here)?;
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    match at == step.bytes && hasher.finish() == step.sha256 {
        true => Ok(folder),
        false => Err("what arrived is not the archive that the server named; nothing was done".to_string()),
    }
}

/// Unpacks what was fetched and runs the script with `$DIR`.
pub fn bring_back(host: &Host, step: &BringBack, folder: &Folder, limit: Duration) -> Result<Done, Failed> {
    let (archive, files) = (folder.0.join("archive.tar.gz"), folder.0.join("files"));
    crate::disk::make_folder(&files, 0o700)?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("--no-same-owner").arg("-C").arg(&files);
    run_command(tar, "tar", limit)?.well("tar")?;
    let mut env = step.run.env.clone();
    env.insert("DIR".to_string(), files.display().to_string());
    let output = script(host, &step.run.script, &env, None, limit)?.well("the script")?;
    Ok(Done { changed: true, output, ..Done::default() })
}
