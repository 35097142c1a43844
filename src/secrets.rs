//! Owns the site's secrets on disk: `secrets.toml` in the state folder, made once, readable by its owner only.

use crate::base::Secret;
use crate::base::secret::SiteKey;
use crate::disk;
use crate::problem::Problem;
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
}
