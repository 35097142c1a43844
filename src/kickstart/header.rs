//! Owns a family's header: the TOML inside the first comment of its template.
//!
//! ```text
//! {#- bootstead
//! summary = "Enterprise Linux 9"
//! …
//! -#}
//! ```

use crate::problem::{Place, Problem};
use crate::profiles::Var;
use crate::tree::{File, Origin};
use serde::Deserialize;
use std::collections::BTreeMap;

const OPEN: &str = "{#- bootstead\n";
const CLOSE: &str = "-#}";

/// Which installer program reads the answer file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Installer {
    /// Anaconda: kickstart.
    Anaconda,
    /// The Debian installer: preseed.
    Preseed,
    /// Ubuntu's subiquity: autoinstall user-data.
    Autoinstall,
    /// Flatcar and Fedora CoreOS: Ignition.
    Ignition,
}

/// Which package manager's list of a profile is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    Dnf,
    Apt,
}

impl Manager {
    /// The key in a profile's `packages`.
    pub fn key(self) -> &'static str {
        match self {
            Manager::Dnf => "dnf",
            Manager::Apt => "apt",
        }
    }
}

/// A further file that the installer asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Also {
    /// Name below `/a/MAC/TOKEN/`.
    pub file: String,
    /// Suffix under which `render --all` writes it.
    pub suffix: String,
    /// Its template, a path in the tree (`kickstart/parts/late.sh.j2`).
    pub template: String,
}

/// What the header of a family's template says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub summary: String,
    pub installer: Installer,
    /// pykickstart's name of the kickstart version (`RHEL9`, `F36`); only for Anaconda.
    #[serde(default)]
    pub dialect: Option<String>,
    /// The name that the installer asks for below `/a/MAC/TOKEN/`.
    pub file: String,
    /// The suffix under which `render --all` writes it.
    pub suffix: String,
    /// None: the system has no package manager (Ignition families).
    #[serde(default)]
    pub packages: Option<Manager>,
    /// Directories below \\EFI that the installed system's boot loader may lie in.
    #[serde(default)]
    pub efi: Vec<String>,
    /// The installer's kernel command line, a template; line breaks become blanks.
    pub cmdline: String,
    #[serde(default)]
    pub also: Vec<Also>,
    /// Variables that the template uses.
    #[serde(default)]
    pub vars: BTreeMap<String, Var>,
}

/// Reads the header of the template at `path` in the tree.
pub fn read(path: &str, file: &File) -> Result<Header, Problem> {
    let shown = match &file.origin {
        Origin::Embedded => path,
        Origin::Disk(p) => p,
    };
    let text = file.text().map_err(|e| Problem::input(format!("template {shown}: {e}")))?;
    let Some(rest) = text.strip_prefix(OPEN) else {
        return Err(Problem::input(format!("{shown} has no header"))
            .at(Place::of(shown, text, 0..text.find('\n').unwrap_or(text.len())))
            .help("begin the template with \"{#- bootstead\", then TOML, then \"-#}\""));
    };
    let Some(end) = rest.find(CLOSE) else {
        return Err(Problem::input(format!("the header of {shown} has no end"))
            .at(Place::of(shown, text, 0..OPEN.len() - 1))
            .help("close the header with \"-#}\""));
    };
    let header: Header = toml::from_str(&rest[..end]).map_err(|e| {
        let problem = Problem::input(format!("header: {}", e.message()));
        match e.span() {
            Some(s) => problem.at(Place::of(shown, text, s.start + OPEN.len()..s.end + OPEN.len())),
            None => problem.why(format!("in {shown}")),
        }
    })?;
    sound(&header).map_err(|what| {
        Problem::input(format!("header: {what}")).at(Place::of(shown, text, 0..OPEN.len() - 1))
    })?;
    Ok(header)
}

/// What TOML's types cannot say.
fn sound(header: &Header) -> Result<(), String> {
    if (header.installer == Installer::Anaconda) != header.dialect.is_some() {
        return Err("`dialect` belongs to installer = \"anaconda\", and only there".into());
    }
    if let Some(dialect) = header.dialect.as_deref().filter(|d| !super::lint::dialects::known(d)) {
        return Err(format!("no kickstart dialect is called {dialect:?}"));
    }
    // There the firmware's loader for whatever has no entry lies, be it of an installer stick that was left in the machine.
    if header.efi.iter().any(|e| e.eq_ignore_ascii_case("boot")) {
        return Err("`efi` names the systems' own directories; \\EFI\\BOOT may be a stick's".into());
    }
    let names = std::iter::once(&header.file).chain(header.also.iter().map(|a| &a.file));
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(format!("{name:?} cannot be a file name here: letters, digits, \"-\", \"_\", \".\""));
        }
        if !seen.insert(name) {
            return Err(format!("two files are called {name:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File { bytes: text.as_bytes().to_vec().into(), origin: Origin::Disk("x.ks.j2".into()) }
    }

    const GOOD: &str = "{#- bootstead\nsummary = \"s\"\ninstaller = \"preseed\"\nfile = \"f\"\nsuffix = \".p\"\n\
                        cmdline = \"auto=true url={{ report.answers }}/f\"\n-#}\nbody\n";

    #[test]
    fn a_header_is_read() {
        let h = read("kickstart/x.p.j2", &file(GOOD)).unwrap();
        assert_eq!((h.installer, h.file.as_str()), (Installer::Preseed, "f"));
    }

    #[test]
    fn every_mistake_in_a_header_says_where() {
        let e = |text: &str| read("kickstart/x.p.j2", &file(text)).unwrap_err().to_string();
        assert!(e("body\n").contains("has no header"));
        assert!(e("{#- bootstead\nsummary = 1\n").contains("has no end"));
        assert!(e(&GOOD.replace("suffix", "sufix")).contains("x.ks.j2:5:1"));
        assert!(e(&GOOD.replace("\"f\"", "\"../f\"")).contains("file name"));
        assert!(e(&GOOD.replace("file =", "dialect = \"RHEL9\"\nfile =")).contains("dialect"));
        for boot in ["boot", "BOOT", "Boot"] {
            let why = e(&GOOD.replace("file =", &format!("efi = [\"debian\", \"{boot}\"]\nfile =")));
            assert!(why.contains("may be a stick's"), "{why}");
        }
        assert!(
            e(&GOOD.replace("preseed", "anaconda").replace("file =", "dialect = \"RHEL99\"\nfile ="))
                .contains("RHEL99")
        );
    }

    #[test]
    fn no_bytes_panic() {
        for text in ["", "{#-", "{#- bootstead\n", "{#- bootstead\n-#}", "{#- bootstead\n\u{e9} = -#}"] {
            assert!(read("x", &file(text)).is_err());
        }
    }
}
