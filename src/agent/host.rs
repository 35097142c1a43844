//! Owns what the agent asks of its node: paths below a root, accounts by name, the interface of an address.

use super::apply::Failed;
use super::memory::Memory;
use crate::base::Sha256;
use crate::problem::reason;
use crate::steps::{INTERFACE, fill};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The node.
#[derive(Clone)]
pub struct Host {
    /// `/`; a folder in tests.
    root: PathBuf,
    pub memory: Arc<Memory>,
    /// Package managers take one at a time.
    packages: Arc<Mutex<()>>,
    /// Packages that steps wait for.
    wanted: Arc<Mutex<Vec<String>>>,
    /// Of whose scripts the files are named, so that a later agent knows them.
    step: Arc<str>,
}

static SCRATCH: AtomicU64 = AtomicU64::new(0);

impl Host {
    pub fn new(root: &Path, memory: Arc<Memory>) -> Host {
        let (packages, wanted) = (Arc::default(), Arc::default());
        Host { root: root.to_path_buf(), memory, packages, wanted, step: Arc::from("look") }
    }

    /// The same node, for this step: its scripts carry a name of their own, made of agent and step.
    pub fn for_step(&self, id: &str) -> Host {
        let folder = self.memory.folder().as_os_str().as_encoded_bytes();
        let name = Sha256::of(&[folder, b"\0", id.as_bytes()].concat()).short();
        Host { step: Arc::from(name), ..self.clone() }
    }

    /// The beginning of the names of this step's scripts.
    pub fn scripts(&self) -> String {
        format!(".bootstead-{}-", self.step)
    }

    /// An absolute path of the node.
    pub fn path(&self, path: &str) -> Result<PathBuf, Failed> {
        let inside = Path::new(path).components().all(|c| !matches!(c, std::path::Component::ParentDir));
        match path.strip_prefix('/') {
            Some(below) if inside => Ok(self.root.join(below)),
            _ => Err(Failed::new(format!("{path:?} is no absolute path without `..`"))),
        }
    }

    pub fn packages(&self) -> MutexGuard<'_, ()> {
        self.packages.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A step waits for these packages.
    pub fn wants(&self, names: &[String]) {
        self.wanted.lock().unwrap_or_else(|e| e.into_inner()).extend_from_slice(names);
    }
    /// All that steps wait for, taken.
    pub fn wanted(&self) -> Vec<String> {
        let mut all = std::mem::take(&mut *self.wanted.lock().unwrap_or_else(|e| e.into_inner()));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The numbers of an account and a group, by the node's own files.
    pub fn owner(&self, user: &str, group: &str) -> Result<(u32, u32), Failed> {
        Ok((self.number("/etc/passwd", user, "account")?, self.number("/etc/group", group, "group")?))
    }

    fn number(&self, file: &str, name: &str, what: &str) -> Result<u32, Failed> {
        let path = self.path(file)?;
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Failed::new(format!("{file} cannot be read: {}", reason(&e))))?;
        let row = text.lines().find(|l| l.split(':').next() == Some(name));
        row.and_then(|l| l.split(':').nth(2)?.parse().ok())
            .ok_or_else(|| Failed::new(format!("there is no {what} {name:?} on this node")))
    }

    /// Puts the name of the interface in that has the address.
    pub fn interfaces(&self, text: &str) -> Result<String, Failed> {
        fill(text, INTERFACE, |address| {
            let wanted: Ipv4Addr = address.parse().map_err(|_| format!("{address:?} is no IPv4 address"))?;
            interface_of(wanted).ok_or_else(|| {
                format!("no interface of this node has {wanted}, so what needs it cannot be written")
            })
        })
        .map_err(Failed::new)
    }

    /// A script in a file that only its account can read; it is gone with the value.
    pub fn scratch(&self, text: &str, user: Option<&str>) -> Result<Scratch, Failed> {
        let number = SCRATCH.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}.sh", self.scripts(), std::process::id());
        let path = std::env::temp_dir().join(name);
        let failed = |e: std::io::Error| Failed::new(format!("cannot write a script: {}", reason(&e)));
        let _ = std::fs::remove_file(&path);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.map_err(failed)?;
        let scratch = Scratch(path);
        file.write_all(text.as_bytes()).map_err(failed)?;
        if let Some(user) = user {
            let uid = self.number("/etc/passwd", user, "account")?;
            chown(&scratch.0, Some(uid), None).map_err(failed)?;
        }
        Ok(scratch)
    }
}

/// A file that goes with the value.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn interface_of(wanted: Ipv4Addr) -> Option<String> {
    let found = nix::ifaddrs::getifaddrs()
        .ok()?
        .find(|i| i.address.and_then(|a| a.as_sockaddr_in().map(|s| s.ip() == wanted)).unwrap_or(false));
    found.map(|i| i.interface_name)
}
