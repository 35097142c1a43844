//! kickstart/*.j2 → [`Family`]: how an operating system installs itself.
//!
//! This module does not know sites: it is handed a [`Context`].

pub mod context;

pub use context::Context;

use crate::problem::Problem;
use crate::tree::Tree;
use crate::tree::template::Templates;
use std::collections::BTreeMap;

/// How one family installs: what its template's header says.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The template's file name without `.j2` and what is before it (`el9` of `kickstart/el9.ks.j2`).
    pub name: String,
    pub summary: String,
    /// Directories below \\EFI that the installed system's boot loader may lie in (`debian`; `rocky`, `almalinux`).
    pub efi: Vec<String>,
}

/// One finished answer file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The name that the installer asks for below `/a/MAC/TOKEN/` (`ks.cfg`, `user-data`).
    pub file: String,
    /// The suffix under which `render --all` writes it (`.ks`, `.autoinstall.yaml`).
    pub suffix: String,
    pub content: String,
}

/// Reads the families' headers; what cannot be read is left out and reported.
pub fn read(_tree: &Tree) -> (BTreeMap<String, Family>, Vec<Problem>) {
    (BTreeMap::new(), Vec::new())
}

/// Every answer file of a node whose installer is of this family.
pub fn answers(_templates: &Templates, _family: &Family, _context: &Context) -> Result<Vec<Answer>, Problem> {
    Err(Problem::fault("families are not built yet"))
}

/// The installer's kernel command line.
pub fn cmdline(_templates: &Templates, _family: &Family, _context: &Context) -> Result<String, Problem> {
    Err(Problem::fault("families are not built yet"))
}
