//! Owns the site's secrets: `secrets.toml` in the state folder, made once, readable by its owner only; and what is
//! derived from it: every password of the cluster. Nothing else is stored, so that one file is the whole backup.

use crate::base::Secret;
use crate::base::secret::SiteKey;
use crate::disk;
use crate::problem::Problem;
use crate::profiles::Part;
use crate::profiles::secret::{Declared, SecretKind};
use crate::steps::{SECRET, Step, fill, placeholders, secret_name};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The file's name in the state folder.
pub const FILE: &str = "secrets.toml";

/// The site's key: read from the state folder, or made there once.
///
/// Losing the file makes tokens of armed nodes invalid and nothing else: they are armed again.
pub fn load_or_make(state_dir: &Path) -> Result<SiteKey, Problem> {
    let path = state_dir.join(FILE);
    match std::fs::metadata(&path) {
        Ok(found) => {
            only_ours(&path, &found)?;
            read(&path)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            disk::make_folder(state_dir, 0o700)?;
            let key = random();
            let text = format!(
                "# Bootstead's secrets of this site. Keep the file to yourself and back it up with the journal.\n\
                 site_key = \"{key}\"\n"
            );
            disk::write(&path, text.as_bytes(), 0o600)?;
            Ok(SiteKey::new(Secret::new(key)))
        }
        Err(e) => Err(Problem::io("read", &path, &e)),
    }
}

fn only_ours(path: &Path, found: &std::fs::Metadata) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Problem::environment(format!(
            "{} can be read by others (mode {mode:04o})",
            path.display()
        ))
        .why("whoever has the site's key can fetch every node's answers and report in its name")
        .help(format!(
            "run `chmod 600 {}`; if others had it, remove it and arm the nodes again",
            path.display()
        )));
    }
    Ok(())
}

/// The file's one key; unknown keys are kept for newer versions and ignored here.
#[derive(serde::Deserialize)]
struct Wire {
    site_key: String,
}

fn read(path: &Path) -> Result<SiteKey, Problem> {
    let text = disk::read_text(path)?;
    // toml's own error shows the line, and with it the key.
    let wire: Option<Wire> = toml::from_str(&text).ok();
    match wire.filter(|w| w.site_key.len() >= 32) {
        Some(w) => Ok(SiteKey::new(Secret::new(w.site_key))),
        None => Err(Problem::environment(format!("{} is damaged: it has no site_key", path.display()))
            .help("restore it from a backup; or remove it (a new one is made) and arm the nodes again")),
    }
}

/// 256 bits from the system's generator, as hexadecimal digits.
fn random() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The file that says which secrets were rotated.
pub const ROTATED: &str = "rotated.toml";

/// The version of each rotated secret: 2 after the first rotation.
pub fn versions(state_dir: &Path) -> Result<BTreeMap<String, u32>, Problem> {
    let path = state_dir.join(ROTATED);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    toml::from_str(&disk::read_text(&path)?).map_err(|e| {
        Problem::environment(format!("{} is damaged: {}", path.display(), e.message()))
            .help("its lines look like `galera-sst = 2`")
    })
}

/// Notes one more version of a secret; returns its number. The next plan uses it.
pub fn rotate(state_dir: &Path, name: &str) -> Result<u32, Problem> {
    if !state_dir.join(FILE).exists() {
        return Err(Problem::input(format!(
            "no secret of this site was ever made: {} has no {FILE}",
            state_dir.display()
        ))
        .why("the first `bootstead serve` makes it, and every secret of the cluster comes from it")
        .help("begin with `bootstead serve`; or name the folder that the server uses with --state"));
    }
    let mut all = versions(state_dir)?;
    let version = all.entry(name.to_string()).or_insert(1);
    *version += 1;
    let version = *version;
    let text = toml::to_string(&all).map_err(|e| Problem::fault(e.to_string()))?;
    let text = format!("# How often each secret was made anew; the values come from {FILE}.\n{text}");
    disk::write(&state_dir.join(ROTATED), text.as_bytes(), 0o600)?;
    Ok(version)
}

/// A secret's value: the same for the same site key, name and version.
pub fn value(key: &SiteKey, kind: SecretKind, name: &str, version: u32) -> String {
    let label = match version {
        0 | 1 => format!("secret {name}"),
        v => format!("secret {name} {v}"),
    };
    let bytes = key.derive(&label);
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match kind {
        SecretKind::Password => hex(&bytes[..16]),
        SecretKind::Fernet => base64_url(&bytes),
        SecretKind::Cookie => bytes[..20].iter().map(|b| char::from(b'A' + b % 26)).collect(),
        SecretKind::Uuid => {
            let mut b = [0u8; 16];
            b.copy_from_slice(&bytes[..16]);
            b[6] = b[6] & 0x0f | 0x80;
            b[8] = b[8] & 0x3f | 0x80;
            let h = hex(&b);
            format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
        }
    }
}

/// URL-safe base64 with padding (RFC 4648, section 5).
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            match i <= chunk.len() {
                true => out.push(char::from(DIGITS[(n >> (18 - 6 * i)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

/// Puts the values in place of the placeholders.
pub fn reveal(step: &Step, parts: &BTreeMap<String, Part>, key: &SiteKey) -> Result<Step, Problem> {
    let mut step = step.clone();
    for text in step.texts_mut() {
        let filled = fill(text, SECRET, |inner| {
            let (name, version, length) = secret_name(inner);
            let kind = kind(parts, name);
            let kind = kind.ok_or_else(|| format!("the secret {name:?} is declared by no part any more"))?;
            Ok(shortened(value(key, kind, name, version), length))
        });
        *text = filled.map_err(|why| Problem::input(why).help("make a new plan: `bootstead plan`"))?;
    }
    Ok(step)
}

/// Every value that a node may show: of all secrets, in all versions that there ever were, and as `step` shortens them.
/// What a node had before a rotation stands in the difference of its file.
pub fn known(
    step: Option<&Step>,
    parts: &BTreeMap<String, Part>,
    key: &SiteKey,
    versions: &BTreeMap<String, u32>,
) -> Vec<(String, String)> {
    let mut forms: BTreeSet<(String, u32, Option<usize>)> = BTreeSet::new();
    let names = parts.values().flat_map(|p| p.secrets.keys());
    forms.extend(names.map(|n| (n.clone(), versions.get(n).copied().unwrap_or(1), None)));
    for text in step.map(Step::texts).unwrap_or_default() {
        forms.extend(placeholders(&text, SECRET).map(|inner| {
            let (name, version, length) = secret_name(inner);
            (name.to_string(), version, length)
        }));
    }
    let mut all = Vec::new();
    for (name, newest, length) in forms {
        let Some(kind) = kind(parts, &name) else { continue };
        let each = (1..=newest.max(1)).map(|v| shortened(value(key, kind, &name, v), length));
        all.extend(each.map(|v| (name.clone(), v)));
    }
    // The longest first: a shortened one must not leave the rest of a long one behind.
    all.sort_by_key(|(_, v)| std::cmp::Reverse(v.len()));
    all.dedup();
    all
}

fn kind(parts: &BTreeMap<String, Part>, name: &str) -> Option<SecretKind> {
    parts.values().find_map(|p| p.secrets.get(name)).map(Declared::kind)
}

fn shortened(value: String, length: Option<usize>) -> String {
    match length {
        Some(n) => value.chars().take(n).collect(),
        None => value,
    }
}

/// Takes the values out of a text that is kept.
pub fn redact(text: &str, known: &[(String, String)]) -> String {
    known.iter().fold(text.to_string(), |text, (name, value)| match value.is_empty() {
        true => text,
        false => text.replace(value.as_str(), &format!("[secret {name}]")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mac;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_kept_from_others() {
        let dir = std::env::temp_dir().join(format!("bootstead-secrets-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let first = load_or_make(&dir).unwrap().token(mac, 1);
        assert_eq!(load_or_make(&dir).unwrap().token(mac, 1), first);
        let path = dir.join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let e = load_or_make(&dir).err().unwrap();
        assert!(e.what.contains("can be read by others") && e.to_string().contains("chmod 600"), "{e}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "site_key = \"oops").unwrap();
        let e = load_or_make(&dir).err().unwrap().to_string();
        assert!(!e.contains("oops") && e.contains("damaged"), "{e}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn values_are_stable_differ_and_can_be_taken_out_again() {
        let key = SiteKey::new(Secret::new("k".repeat(64)));
        let v = |kind, name, version| value(&key, kind, name, version);
        let password = v(SecretKind::Password, "db", 1);
        assert_eq!(password, v(SecretKind::Password, "db", 1));
        assert_ne!(password, v(SecretKind::Password, "db", 2));
        assert_ne!(password, v(SecretKind::Password, "mq", 1));
        assert_eq!(v(SecretKind::Fernet, "f", 1).len(), 44);
        assert!(v(SecretKind::Cookie, "c", 1).chars().all(|c| c.is_ascii_uppercase()));
        assert_eq!(v(SecretKind::Uuid, "u", 1).as_bytes()[14], b'8');
        assert_eq!(base64_url(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
        let used = [("db".to_string(), password.clone())];
        assert_eq!(redact(&format!("a {password} b"), &used), "a [secret db] b");
    }
}
