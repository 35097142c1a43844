//! The three folders of data (profiles, kickstart, images) as one tree in memory.
//!
//! The embedded copy is the default; a file on disk replaces the embedded one as a whole, path by path. No deep
//! merge: what you read is what runs.

pub mod template;

use crate::base::Sha256;
use crate::problem::{Place, Problem};
use std::borrow::Cow;
use std::collections::BTreeMap;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// Where a file of the tree came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Compiled into the program.
    Embedded,
    /// A file on disk, by its path.
    Disk(String),
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub bytes: Cow<'static, [u8]>,
    pub origin: Origin,
}

impl File {
    /// The content as text; the error names the origin.
    pub fn text(&self) -> Result<&str, String> {
        std::str::from_utf8(&self.bytes).map_err(|e| format!("not UTF-8 text at byte {}", e.valid_up_to()))
    }
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.bytes)
    }
}

/// All files by path (`profiles/compute/role.toml`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    files: BTreeMap<String, File>,
}

impl Tree {
    /// What is compiled in.
    pub fn embedded() -> Tree {
        let files = embedded::FILES
            .iter()
            .map(|(p, b)| (p.to_string(), File { bytes: Cow::Borrowed(*b), origin: Origin::Embedded }))
            .collect();
        Tree { files }
    }
    /// No file at all: a start for trees of tests.
    pub fn empty() -> Tree {
        Tree { files: BTreeMap::new() }
    }
    /// Puts one file on top: it replaces the file of that path, or adds one.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>, origin: Origin) {
        self.files.insert(path.to_string(), File { bytes: Cow::Owned(bytes), origin });
    }
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }
    /// Every file, in order of path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(p, f)| (p.as_str(), f))
    }
    /// The files below `folder` (no slash at its end), with their paths below it.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a File)> {
        self.iter().filter_map(move |(p, f)| Some((p.strip_prefix(folder)?.strip_prefix('/')?, f)))
    }
}

/// Reads a TOML file of the tree into `T`; the error says where.
pub fn toml_file<T: serde::de::DeserializeOwned>(path: &str, file: &File) -> Result<T, Problem> {
    let shown = match &file.origin {
        Origin::Embedded => path,
        Origin::Disk(p) => p,
    };
    let text = file.text().map_err(|e| Problem::input(format!("{shown}: {e}")))?;
    toml::from_str(text).map_err(|e| {
        let problem = Problem::input(e.message().to_string());
        match e.span() {
            Some(span) => problem.at(Place::of(shown, text, span)),
            None => problem.why(format!("in {shown}")),
        }
    })
}
