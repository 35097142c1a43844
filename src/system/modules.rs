//! Owns kernel modules: which ones a device asks for, in which order they are loaded, and loading them.
//!
//! The initrd carries each module compressed by itself, so that only the few that a machine needs are unpacked:
//! `/modules/NAME.ko.gz`, `/modules/alias` (`PATTERN NAME`) and `/modules/deps` (`NAME: DEPENDENCY…`, first one
//! first). `build::system` writes these files. There is no modprobe: the kernel's own requests are answered here.

use super::facts::names;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io::{self, Read as _};

/// Folder of the modules in the initrd.
pub const FOLDER: &str = "/modules";

/// What can be loaded, for what, after what.
#[derive(Debug, Default)]
pub struct Index {
    /// Pattern and module. Patterns are grouped by the bus before the first colon.
    aliases: BTreeMap<String, Vec<(String, String)>>,
    /// Every module with what it needs, first one first.
    deps: BTreeMap<String, Vec<String>>,
}

impl Index {
    pub fn parse(alias: &str, deps: &str) -> Index {
        let mut index = Index::default();
        for (pattern, module) in alias.lines().filter_map(|l| l.rsplit_once(' ')) {
            let entry = (pattern.to_string(), module.to_string());
            index.aliases.entry(bus(pattern).to_string()).or_default().push(entry);
        }
        for (module, needs) in deps.lines().filter_map(|l| l.split_once(':')) {
            let needs = needs.split_ascii_whitespace().map(str::to_string).collect();
            index.deps.insert(module.to_string(), needs);
        }
        index
    }

    /// The modules for a device's modalias, or for a plain alias or name.
    pub fn wanted<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> {
        let by_alias = self.aliases.get(bus(modalias)).into_iter().flatten();
        let by_alias = by_alias.filter(move |(p, _)| glob(p.as_bytes(), modalias.as_bytes()));
        let by_name = self.deps.get_key_value(modalias).map(|(n, _)| n.as_str());
        by_name.into_iter().chain(by_alias.map(|(_, m)| m.as_str()))
    }

    /// `module` and all that it needs, in the order of loading; empty where it is not in the initrd.
    pub fn order<'a>(&'a self, module: &'a str) -> Vec<&'a str> {
        match self.deps.get(module) {
            None => Vec::new(),
            Some(needs) => needs.iter().map(String::as_str).chain([module]).collect(),
        }
    }
}

fn bus(alias: &str) -> &str {
    alias.split_once(':').map_or("", |(b, _)| b)
}

/// Shell patterns as kmod uses them: `*`, `?`, `[…]`. Iterative: a pattern cannot make it slow.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(&pattern[p..], text[t]),
            Some(c) if *c == text[t] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(n), _) => (p, t) = (p + n, t + 1),
            (None, Some((sp, st))) => {
                star = Some((sp, st + 1));
                (p, t) = (sp + 1, st + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// `[a-f0]`: the length of the class if `c` is in it.
fn class(pattern: &[u8], c: u8) -> Option<usize> {
    let end = pattern.iter().position(|b| *b == b']')?;
    let inner = &pattern[1..end];
    let mut i = 0;
    while i < inner.len() {
        let (low, high, n) = match inner.get(i + 1..i + 3) {
            Some([b'-', high]) => (inner[i], *high, 3),
            _ => (inner[i], inner[i], 1),
        };
        if (low..=high).contains(&c) {
            return Some(end + 1);
        }
        i += n;
    }
    None
}

/// Loads modules into the running kernel, each once.
#[derive(Debug, Default)]
pub struct Loader {
    index: Index,
    done: BTreeSet<String>,
}

impl Loader {
    /// Reads the initrd's index.
    pub fn open() -> io::Result<Loader> {
        let read = |name: &str| std::fs::read_to_string(format!("{FOLDER}/{name}"));
        Ok(Loader { index: Index::parse(&read("alias")?, &read("deps")?), done: BTreeSet::new() })
    }

    /// Loads what `alias` (or a module's name) asks for; returns the sentences of what failed.
    pub fn load(&mut self, alias: &str) -> Vec<String> {
        let order: Vec<String> = {
            let wanted = self.index.wanted(alias);
            wanted.flat_map(|m| self.index.order(m)).map(str::to_string).collect()
        };
        let mut failed = Vec::new();
        for module in order {
            if !self.done.insert(module.clone()) {
                continue;
            }
            match insert(&module) {
                Ok(()) => {}
                // Not for this machine (no such hardware after all), or a part of it is there already.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EEXIST | libc::ENODEV)) => {}
                Err(e) => failed.push(format!("module {module}: {}", crate::problem::reason(&e))),
            }
        }
        failed
    }

    /// Loads what the devices that are visible now ask for. Returns how many modules were new, and what failed.
    pub fn load_for_devices(&mut self) -> (usize, Vec<String>) {
        let (before, mut failed) = (self.done.len(), Vec::new());
        for bus in names("/sys/bus") {
            for device in names(&format!("/sys/bus/{bus}/devices")) {
                if let Some(alias) = super::facts::text(&format!("/sys/bus/{bus}/devices/{device}/modalias"))
                {
                    failed.extend(self.load(&alias));
                }
            }
        }
        (self.done.len() - before, failed)
    }
}

/// Unpacks one module and hands it to the kernel.
fn insert(module: &str) -> io::Result<()> {
    let packed = std::fs::read(format!("{FOLDER}/{module}.ko.gz"))?;
    let mut image = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut image)?;
    // Disks must not appear one by one behind our back: the choice of a disk looks at all of them.
    let parameters = CString::new(if module == "scsi_mod" { "scan=sync" } else { "" })?;
    // SAFETY: the image and the parameters live until the call returns; the kernel checks both.
    let result =
        unsafe { libc::syscall(libc::SYS_init_module, image.as_ptr(), image.len(), parameters.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn devices_find_their_modules_in_order() {
        let alias = "virtio:d00000001v* virtio_net\npci:v00008086d*sv*sd*bc01sc0[6-8]i* ahci\ncrc32c crc32c_generic\n";
        let deps = "virtio_net: failover net_failover\nahci: libata libahci\ncrc32c_generic:\nfailover:\n";
        let index = Index::parse(alias, deps);
        let wanted: Vec<_> = index.wanted("virtio:d00000001v00001AF4").collect();
        assert_eq!(wanted, ["virtio_net"]);
        assert_eq!(index.order("virtio_net"), ["failover", "net_failover", "virtio_net"]);
        assert_eq!(index.wanted("pci:v00008086d00002922sv0sd0bc01sc06i01").count(), 1);
        assert_eq!(index.wanted("pci:v00008086d00002922sv0sd0bc01sc09i01").count(), 0);
        assert_eq!(index.wanted("crc32c").collect::<Vec<_>>(), ["crc32c_generic"]);
        assert_eq!(index.wanted("failover").collect::<Vec<_>>(), ["failover"]);
        assert!(index.order("nothing").is_empty());
    }

    proptest! {
        #[test]
        fn globs_end_and_match_themselves(p in "[a-c*?]{0,12}", t in "[a-c]{0,12}") {
            let _ = glob(p.as_bytes(), t.as_bytes());
            prop_assert!(glob(t.as_bytes(), t.as_bytes()));
            prop_assert!(glob(b"*", t.as_bytes()));
            let with = format!("*{t}*");
            let around = format!("x{t}y");
            prop_assert!(glob(with.as_bytes(), around.as_bytes()));
        }

        #[test]
        fn no_pattern_panics(p in proptest::collection::vec(any::<u8>(), 0..20), t in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = glob(&p, &t);
        }
    }
}
