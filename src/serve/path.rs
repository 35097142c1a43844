//! Owns request paths and parameters: decoded once, normalised, never outside the tree. Pure.

/// The path of a request target, decoded and cut into its parts.
///
/// Doubled slashes count as one (shim asks for `//grubx64.efi`), `.` is dropped. `None` where it could name
/// something outside (`..`, NUL, a backslash), or is no valid UTF-8 once decoded. A `+` is a plus: RPM names
/// have it, and installers send it bare as well as `%2B`.
pub fn parts(raw: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for part in raw.split('/') {
        let part = String::from_utf8(decode(part)).ok()?;
        // A %2F inside a part is a slash that would hide from the split: refuse it like the rest.
        if part.chars().any(|c| c.is_control() || c == '/' || c == '\\') {
            return None;
        }
        match part.as_str() {
            "" | "." => {}
            ".." => return None,
            _ => out.push(part),
        }
    }
    Some(out)
}

/// Turns `%XX` into bytes; what is no valid escape stays as it is.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                i += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    out
}

/// Parameters of a query or an `application/x-www-form-urlencoded` body. The first of a name counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `a=b&c=d`; at most 64 pairs. Bytes that are no UTF-8 become U+FFFD.
    pub fn read(text: &str) -> Parameters {
        let clean = |s: &str| String::from_utf8_lossy(&decode(&s.replace('+', " "))).into_owned();
        let pairs = text.split('&').filter(|p| !p.is_empty()).take(64).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (clean(name), clean(value))
        });
        Parameters(pairs.collect())
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_firmware_and_installers_send() {
        let p = |s: &str| parts(s).map(|v| v.join("/"));
        assert_eq!(p("//grubx64.efi").as_deref(), Some("grubx64.efi"));
        assert_eq!(p("/images/el9//Packages/./g/").as_deref(), Some("images/el9/Packages/g"));
        assert_eq!(p("/images/x/libstdc%2B%2B-11.rpm"), p("/images/x/libstdc++-11.rpm"));
        assert_eq!(p("/a%7eb^c").as_deref(), Some("a~b^c"));
        for bad in ["/../etc/passwd", "/a/%2e%2e/b", "/a/%2fb", "/a%00", "/a\\..\\b", "/%ff", "/a/..%5cb"] {
            assert_eq!(p(bad), None, "{bad}");
        }
        let q = Parameters::read("mac=52-54-00&step=a+b%26c&mac=x&flag");
        assert_eq!((q.get("mac"), q.get("step"), q.get("flag")), (Some("52-54-00"), Some("a b&c"), Some("")));
    }

    proptest! {
        /// Whatever is asked, no part can leave the folder that it is looked up in, and asking twice is the same.
        #[test]
        fn no_path_leaves_its_tree(raw in "(/|\\.|%2e|%2E|%2f|%5c|\\\\|a|%|%00|é|\\+|\\?){0,24}") {
            if let Some(parts) = parts(&raw) {
                for part in &parts {
                    prop_assert!(!part.is_empty() && part != "." && part != "..");
                    prop_assert!(!part.contains(['/', '\\', '\0']));
                }
                let joined: std::path::PathBuf = parts.iter().collect();
                prop_assert!(joined.is_relative());
                prop_assert!(joined.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            }
            let _ = Parameters::read(&raw);
        }
    }
}
