//! Owns which installer parts (udebs) a partial mirror needs, and what it means when the archive lacks some.

use super::cpio::Members;
use super::deb822::{Package, relation_names, stanzas};
use std::collections::{BTreeMap, BTreeSet};

/// What the installer loads on demand for the disks and file systems that our preseeds use, beside everything of
/// priority standard and higher, which it always loads.
const ON_DEMAND: [&str; 8] = [
    "partman-auto-lvm",
    "partman-lvm",
    "lvm2-udeb",
    "dosfstools-udeb",
    "e2fsprogs-udeb",
    "debootstrap-udeb",
    "bootstrap-base",
    "apt-mirror-setup",
];

/// Parts of the graphical, speaking and Debian Edu installers: never needed for an unattended installation.
const NEVER: &[&str] = &[
    "gtk",
    "xserver",
    "x11-",
    "libx11",
    "libxau",
    "libxcb",
    "libxcursor",
    "libxcvt",
    "libxdmcp",
    "libxext",
    "libxfixes",
    "libxfont",
    "libxft",
    "libxi6",
    "libxinerama",
    "libxkb",
    "libxrandr",
    "libxrender",
    "libxshm",
    "libxtst",
    "xkb-data",
    "libatk",
    "libatspi",
    "at-spi2",
    "cairo",
    "pango",
    "harfbuzz",
    "freetype",
    "fontconfig",
    "fonts-",
    "fontenc",
    "pixbuf",
    "pixman",
    "epoxy",
    "espeak",
    "speakup",
    "sound-modules",
    "alsa",
    "asound",
    "matchbox",
    "libvte",
    "libinput",
    "debian-edu",
    "thai",
];

/// What an installer's initrd brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initrd {
    /// Its kernel's release, `6.12.107+deb13-amd64`.
    pub kernel: String,
    /// Udebs in it, by name, and what they provide.
    pub installed: BTreeSet<String>,
}

/// Looks into the installer's initrd. `None`: it is not a Debian installer's.
pub fn look(members: &Members) -> Option<Initrd> {
    let folder = |path: &str| {
        let rest = path.strip_prefix("usr/lib/modules/").or_else(|| path.strip_prefix("lib/modules/"))?;
        rest.split('/').next().map(str::to_string)
    };
    let kernel = members.keys().find_map(|p| folder(p))?;
    let status = members.get("var/lib/dpkg/status")?;
    let status = String::from_utf8_lossy(&status.data);
    let mut installed = BTreeSet::new();
    for stanza in stanzas(&status) {
        installed.extend(stanza.get("Package").map(str::to_string));
        installed.extend(relation_names(stanza.get("Provides").unwrap_or_default()).map(str::to_string));
    }
    Some(Initrd { kernel, installed })
}

/// The udebs worth mirroring: for this kernel, and not of the graphical installer.
pub fn wanted<'a>(all: &'a [Package], initrd: &Initrd) -> Vec<&'a Package> {
    let ours = |p: &&Package| match &p.kernel {
        Some(kernel) => *kernel == initrd.kernel,
        None => true,
    };
    all.iter().filter(ours).filter(|p| !NEVER.iter().any(|n| p.name.contains(n))).collect()
}

/// Those of `wanted` without which an installation stops: what the installer always loads, what our preseeds make
/// it load, and what those depend on. What the initrd has already is not among them.
pub fn needed(wanted: &[&Package], initrd: &Initrd) -> BTreeSet<String> {
    let mut providers: BTreeMap<&str, &Package> = BTreeMap::new();
    for package in wanted.iter().rev() {
        for name in relation_names(&package.provides) {
            providers.insert(name, package);
        }
    }
    for package in wanted {
        providers.insert(&package.name, package);
    }
    let always = |p: &&&Package| matches!(p.priority.as_str(), "standard" | "important" | "required");
    let mut open: Vec<&Package> = wanted.iter().filter(always).copied().collect();
    open.extend(ON_DEMAND.iter().filter_map(|n| providers.get(n)));
    let mut needed = BTreeSet::new();
    while let Some(package) = open.pop() {
        if initrd.installed.contains(&package.name) || !needed.insert(package.name.clone()) {
            continue;
        }
        for name in relation_names(&package.depends) {
            if !initrd.installed.contains(name)
                && let Some(provider) = providers.get(name)
            {
                open.push(provider);
            }
        }
    }
    needed
}

/// Contents-udeb-ARCH: udeb → the files in it. Licences and lint notes are left out.
pub fn contents(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let Some((path, owners)) = line.rsplit_once(char::is_whitespace) else { continue };
        let path = path.trim();
        if path == "EMPTY_PACKAGE"
            || ["usr/share/lintian/", "usr/share/doc/"].iter().any(|p| path.starts_with(p))
        {
            continue;
        }
        for owner in owners.split(',') {
            let name = owner.rsplit('/').next().unwrap_or(owner);
            out.entry(name.to_string()).or_default().push(path.to_string());
        }
    }
    out
}

/// The names under which a file may lie in an ordinary package: with and without the merged /usr.
pub fn spellings(path: &str) -> [String; 2] {
    match path.strip_prefix("usr/") {
        Some(rest) => [path.to_string(), rest.to_string()],
        None => [path.to_string(), format!("usr/{path}")],
    }
}

/// The stanza that marks a udeb as unpacked in the installer's dpkg status, so that it is not asked for.
///
/// Its menu entry is left out: that belongs to maintainer scripts, which a replaced udeb does not have.
pub fn status_stanza(udeb: &Package) -> String {
    let mut out = format!("Package: {}\nStatus: install ok unpacked\nVersion: {}\n", udeb.name, udeb.version);
    for (field, value) in [("Provides", &udeb.provides), ("Depends", &udeb.depends)] {
        if !value.is_empty() {
            out.push_str(&format!("{field}: {value}\n"));
        }
    }
    out + "Description: content of the ordinary package, put into the initrd by Bootstead\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Sha256;
    use crate::images::cpio::Member;

    fn udeb(name: &str, priority: &str, depends: &str, provides: &str, kernel: Option<&str>) -> Package {
        Package {
            name: name.into(),
            version: "1".into(),
            source: name.into(),
            priority: priority.into(),
            filename: format!("pool/{name}.udeb"),
            size: 1,
            sha256: Sha256::of(b""),
            depends: depends.into(),
            provides: provides.into(),
            kernel: kernel.map(str::to_string),
            essential: false,
        }
    }

    #[test]
    fn other_kernels_and_graphics_are_left_out_and_dependencies_are_followed() {
        let status = "Package: libc6-udeb\nProvides: libc-udeb\nStatus: install ok unpacked\n\n";
        let members: Members = [
            ("usr/lib/modules/6.1-amd64/modules.dep".to_string(), Member::file(vec![], false)),
            ("var/lib/dpkg/status".to_string(), Member::file(status.into(), false)),
        ]
        .into();
        let initrd = look(&members).unwrap();
        assert_eq!(initrd.kernel, "6.1-amd64");
        let all = [
            udeb("partman-ext3", "standard", "ext4-modules, e2fsprogs-udeb, libc-udeb", "", None),
            udeb("ext4-modules-6.1-amd64-di", "optional", "", "ext4-modules", Some("6.1-amd64")),
            udeb("ext4-modules-6.0-amd64-di", "optional", "", "ext4-modules", Some("6.0-amd64")),
            udeb("e2fsprogs-udeb", "optional", "", "", None),
            udeb("libgtk-udeb", "standard", "", "", None),
            udeb("libc6-udeb", "standard", "", "libc-udeb", None),
            udeb("ppp-udeb", "optional", "", "", None),
        ];
        let wanted = wanted(&all, &initrd);
        assert_eq!(wanted.len(), 5);
        let needed: Vec<_> = needed(&wanted, &initrd).into_iter().collect();
        assert_eq!(needed, ["e2fsprogs-udeb", "ext4-modules-6.1-amd64-di", "partman-ext3"]);
    }

    #[test]
    fn contents_name_the_files_of_each_udeb() {
        let text = "bin/ptom   debian-installer/netcfg,debian-installer/netcfg-static\n\
                    EMPTY_PACKAGE  debian-installer/x\nusr/share/doc/a b  debian-installer/netcfg\n";
        let map = contents(text);
        assert_eq!(map["netcfg"], ["bin/ptom"]);
        assert_eq!(map.len(), 2);
        assert_eq!(spellings("bin/ptom")[1], "usr/bin/ptom");
        assert_eq!(spellings("usr/sbin/x")[1], "sbin/x");
    }
}
