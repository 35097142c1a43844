//! Owns the GRUB configuration of the Secure Boot chain: what GRUB, loaded by a signed shim, starts for one node.
//!
//! Paths have no device: GRUB takes them from where it came from itself, TFTP or HTTP. (Debian 12's signed GRUB 2.06
//! has no HTTP module; 2.12 has.)

use super::script::Kernel;
use std::fmt::Write as _;

/// The whole file. `title` is one line for the screen; URLs of `k` become paths on the same server.
pub fn install(title: &str, k: &Kernel) -> String {
    let mut out = format!("# {}\nset timeout=0\nset default=0\n", plain(title));
    let _ = writeln!(out, "menuentry {} {{", quote(title));
    let words: Vec<String> = k.cmdline.split_whitespace().map(quote).collect();
    let _ = writeln!(out, "  linux {} {}", path(&k.kernel), words.join(" "));
    let initrds: Vec<&str> = k.initrds.iter().map(|u| path(u)).collect();
    let _ = writeln!(out, "  initrd {}", initrds.join(" "));
    out.push_str("}\n");
    out
}

/// `http://10.0.0.1:8080/images/x` → `/images/x`
fn path(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    rest.find('/').map_or(rest, |i| &rest[i..])
}

/// One word of GRUB's shell. Without quotes `$`, `;`, `&` and `{` are its own.
fn quote(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c)) {
        return word.to_string();
    }
    format!("'{}'", plain(word).replace('\'', "'\\''"))
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_and_paths_have_no_device() {
        let k = Kernel {
            kernel: "http://10.0.0.1:8080/images/d/linux".into(),
            initrds: vec!["http://10.0.0.1:8080/images/d/a".into(), "http://10.0.0.1:8080/images/d/b".into()],
            cmdline: "url=http://10.0.0.1/a;b $x".into(),
        };
        let text = install("it's node 1", &k);
        assert!(text.contains("linux /images/d/linux 'url=http://10.0.0.1/a;b' '$x'"), "{text}");
        assert!(text.contains("initrd /images/d/a /images/d/b\n"), "{text}");
        assert!(text.contains(r"menuentry 'it'\''s node 1' {"), "{text}");
    }
}
