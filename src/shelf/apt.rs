//! Owns apt in a root of its own: another suite or architecture than this machine's, with this machine's proxies.
//!
//! Nothing of the machine's own package state is read or changed.

use super::tools;
use crate::base::Arch;
use crate::images::deb822::{Package, packages};
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What signs Debian's archive.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Without a slash at its end.
    pub url: String,
    /// As nodes ask for it: `trixie`.
    pub suite: String,
    /// As the archive is asked for it: mostly the same; `stable` while a mirror's `trixie` is not in step.
    pub asked: String,
}

impl Source {
    pub fn new(url: impl Into<String>, suite: impl Into<String>) -> Source {
        let suite = suite.into();
        Source { url: url.into(), asked: suite.clone(), suite }
    }
    /// The address of a file in the suite's folder.
    pub fn file(&self, path: &str) -> String {
        format!("{}/dists/{}/{path}", self.url, self.asked)
    }
}

/// A private apt.
#[derive(Debug)]
pub struct Apt {
    root: PathBuf,
    /// The archive of its first source; empty where it has none.
    pub url: String,
    /// The suite itself, then its updates if they are wanted.
    pub sources: Vec<Source>,
}

/// The Debian archive that this machine's apt uses.
pub fn machine_mirror() -> Result<String, Problem> {
    machine_site("Debian Debian")?.ok_or_else(|| {
        Problem::environment("this machine's apt knows no Debian mirror (or never updated its lists)").help(
            "run `apt-get update`, or name the mirror: `--mirror URL`, or `url` in the image's [mirror]",
        )
    })
}

/// Where this machine's apt has security updates from; where it has none, Debian's own address.
pub fn machine_security() -> Result<String, Problem> {
    const DEBIAN: &str = "http://security.debian.org/debian-security";
    Ok(machine_site("Debian Debian-Security")?.unwrap_or_else(|| DEBIAN.to_string()))
}

/// The archive with this origin and label.
fn machine_site(origin: &str) -> Result<Option<String>, Problem> {
    let mut command = tools::command("apt-get")?;
    command.args(["indextargets", "--format", "$(SITE) $(ORIGIN) $(LABEL)", "Created-By: Packages"]);
    let text = tools::output(command, "ask apt which mirror it uses")?;
    let text = String::from_utf8_lossy(&text);
    let site = text.lines().find_map(|l| l.strip_suffix(origin)?.strip_suffix(' '));
    Ok(site.map(|s| s.trim_end_matches('/').to_string()))
}

impl Apt {
    /// Makes the private root in `dir` and gets the signed indexes of `sources` (one at least).
    pub fn new(dir: &Path, sources: Vec<Source>, components: &[String], arch: Arch) -> Result<Apt, Problem> {
        if !Path::new(KEYRING).is_file() {
            return Err(Problem::environment(format!(
                "{KEYRING} is missing; nothing from Debian can be verified"
            ))
            .help("on Debian: apt-get install debian-archive-keyring"));
        }
        let mut apt = Apt::without_archive(dir, arch)?;
        apt.url = sources.first().map(|s| s.url.clone()).unwrap_or_default();
        apt.sources = sources;
        let components = components.join(" ");
        let line = |s: &Source| format!("deb [signed-by={KEYRING}] {} {} {components}\n", s.url, s.asked);
        apt.put("sources.list", &apt.sources.iter().map(line).collect::<String>())?;
        let mut command = apt.command("apt-get")?;
        command.args(["update", "-qq", "-o", "APT::Update::Error-Mode=any"]);
        let names: Vec<String> = apt.sources.iter().map(|s| format!("{} from {}", s.asked, s.url)).collect();
        tools::output(command, &format!("get the package indexes of {}", names.join(", ")))?;
        Ok(apt)
    }

    /// The private root alone, which knows no archive: for downloads whose digests are known beforehand.
    pub fn without_archive(dir: &Path, arch: Arch) -> Result<Apt, Problem> {
        let root = std::path::absolute(dir).map_err(|e| Problem::io("find", dir, &e))?;
        for folder in ["lists/partial", "cache/archives/partial", "empty"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|e| Problem::io("make the folder", &path, &e))?;
        }
        let apt = Apt { root, url: String::new(), sources: Vec::new() };
        apt.put("status", "")?;
        apt.put("sources.list", "")?;
        let machine = tools::output(
            {
                let mut command = tools::command("apt-config")?;
                command.arg("dump");
                command
            },
            "read this machine's apt configuration",
        )?;
        apt.put("apt.conf", &configuration(&String::from_utf8_lossy(&machine), &apt.root, arch))?;
        Ok(apt)
    }

    fn put(&self, name: &str, text: &str) -> Result<(), Problem> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.root.join(name);
        // A proxy's password may be in it.
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
            .map_err(|e| Problem::io("write", &path, &e))
    }

    /// A tool of apt's that works in this root.
    pub fn command(&self, tool: &str) -> Result<Command, Problem> {
        let mut command = tools::command(tool)?;
        command.env("APT_CONFIG", self.root.join("apt.conf")).current_dir(&self.root);
        Ok(command)
    }

    /// The packages that apt would install for `wanted` on an empty system, by file name in the pool.
    ///
    /// The error is apt's own reason (an unknown package, a conflict).
    pub fn closure(&self, wanted: &[String], recommends: bool) -> Result<Vec<Named>, String> {
        let mut command = self.command("apt-get").map_err(|p| p.what)?;
        command.args(["install", "--print-uris", "-qq", "-y"]);
        if !recommends {
            command.arg("--no-install-recommends");
        }
        command.arg("--").args(wanted);
        let output = command.output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            return Err(tools::last_words(&words));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let of_source = |line| self.sources.iter().find_map(|s| named(line, &s.url));
        Ok(text.lines().filter_map(of_source).collect())
    }

    /// All packages of the suite, as the verified lists say (the newest of each name).
    pub fn packages(&self) -> Result<BTreeMap<String, Package>, Problem> {
        let mut command = self.command("apt-cache")?;
        command.args(["dumpavail"]);
        let text = tools::output(command, "read the package indexes")?;
        let all = packages(&String::from_utf8_lossy(&text));
        Ok(all.into_iter().map(|p| (p.name.clone(), p)).collect())
    }
}

/// A line of `apt-get --print-uris`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The archive's root.
    pub url: String,
    /// Path below the archive's root.
    pub filename: String,
    pub size: u64,
}

/// `'http://host/debian/pool/main/a/a_1%2b2_amd64.deb' a_1+2_amd64.deb 1234 SHA256:…`
fn named(line: &str, url: &str) -> Option<Named> {
    let rest = line.strip_prefix('\'')?;
    let (uri, rest) = rest.split_once('\'')?;
    let filename = decode(uri.strip_prefix(url)?.strip_prefix('/')?);
    Some(Named { url: url.to_string(), filename, size: rest.split_whitespace().nth(1)?.parse().ok()? })
}

/// Undoes percent encoding.
pub fn decode(text: &str) -> String {
    let (mut out, bytes) = (Vec::new(), text.as_bytes());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                out.push(byte);
                i += 3;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The private root's configuration: how this machine reaches the network, and nothing else of it.
fn configuration(machine: &str, root: &Path, arch: Arch) -> String {
    const NETWORK: [&str; 6] = [
        "Acquire::http",
        "Acquire::ftp",
        "Acquire::Retries",
        "Acquire::Queue",
        "Acquire::Check-",
        "Acquire::ForceIP",
    ];
    let mut out: String = machine
        .lines()
        .filter(|l| NETWORK.iter().any(|n| l.to_lowercase().starts_with(&n.to_lowercase())))
        .map(|l| format!("{l}\n"))
        .collect();
    let root = root.display();
    let arch = arch.debian();
    out.push_str(&format!(
        "Dir \"{root}/empty\";\nDir::State \"{root}\";\nDir::State::lists \"{root}/lists\";\n\
         Dir::State::status \"{root}/status\";\nDir::Cache \"{root}/cache\";\n\
         Dir::Etc \"{root}/empty\";\nDir::Etc::sourcelist \"{root}/sources.list\";\n\
         Dir::Etc::netrc \"/etc/apt/auth.conf\";\nDir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n\
         Dir::Log \"{root}/empty\";\nAPT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n\
         APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n"
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_print_uris_name_the_pool_file() {
        let line = "'http://d/debian/pool/main/g/g/g_1%2bb2_amd64.deb' g_1+b2_amd64.deb 12 SHA256:aa";
        let url = "http://d/debian".to_string();
        let expected = Named { url, filename: "pool/main/g/g/g_1+b2_amd64.deb".to_string(), size: 12 };
        assert_eq!(named(line, "http://d/debian"), Some(expected));
        // One archive's address may be the beginning of another's.
        assert_eq!(named(&line.replace("/debian/", "/debian-security/"), "http://d/debian"), None);
        assert_eq!(named("E: nothing", "http://d/debian"), None);
        assert_eq!(decode("a%2"), "a%2");
    }

    #[test]
    fn only_the_way_to_the_network_is_taken_from_the_machine() {
        let machine = "Acquire::http::Proxy \"http://p:1\";\nDir \"/\";\nDPkg::Post-Invoke:: \"x\";\n";
        let text = configuration(machine, Path::new("/r"), Arch::Arm64);
        assert!(text.contains("http://p:1") && !text.contains("Post-Invoke") && !text.contains("Dir \"/\""));
        assert!(text.contains("APT::Architecture \"arm64\""));
    }
}
