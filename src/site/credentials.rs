//! Owns the shape of password hashes and public SSH keys. No message ever contains the value.

/// Families whose crypt(3) does not know yescrypt (`$y$`): libxcrypt before 4.3, or glibc's own.
const NO_YESCRYPT: &[&str] = &["el7", "el8", "kylin"];

/// Why `text` is no password hash that all of `families` understand, if it is none.
pub fn password_hash(text: &str, families: &[&str]) -> Result<(), String> {
    let b64 = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || "./".contains(c));
    let parts: Vec<&str> = text.split('$').collect();
    match parts.as_slice() {
        ["", "6", salt, hash] | ["", "6", _, salt, hash] => {
            if parts.len() == 5 && parts[2].strip_prefix("rounds=").is_none_or(|r| r.parse::<u32>().is_err())
            {
                return Err("the part after $6$ is neither a salt nor rounds=N".to_string());
            }
            if !b64(salt) || salt.len() > 16 || !b64(hash) || hash.len() != 86 {
                return Err("it begins like a SHA-512 crypt hash, but is cut off or changed".to_string());
            }
            Ok(())
        }
        ["", "y", rest @ ..] => {
            if let Some(old) = families.iter().find(|f| NO_YESCRYPT.contains(f)) {
                return Err(format!("it is a yescrypt hash ($y$), which {old} does not understand"));
            }
            match rest {
                [params, salt, hash] if b64(params) && b64(salt) && b64(hash) && hash.len() == 43 => Ok(()),
                _ => Err("it begins like a yescrypt hash, but is cut off or changed".to_string()),
            }
        }
        ["", "1" | "2a" | "2b" | "2y" | "5" | "apr1" | "md5", ..] => {
            Err("it is a hash of another kind; installers take SHA-512 crypt ($6$)".to_string())
        }
        _ => Err("it is not a crypt(3) hash; a plain password must never be in this file".to_string()),
    }
}

const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Why `text` is no line of authorized_keys (sshd(8)), if it is none.
pub fn ssh_key(text: &str) -> Result<(), String> {
    if text.contains("PRIVATE KEY") {
        return Err("this is a private key; only the public one (the .pub file) belongs here".to_string());
    }
    if text.chars().any(char::is_control) {
        return Err("it has a line break or control character; one key is one line".to_string());
    }
    let mut words = text.split_whitespace().skip_while(|w| !KEY_TYPES.contains(w));
    let (Some(kind), Some(body)) = (words.next(), words.next()) else {
        if text.contains("ssh-dss") {
            return Err("DSA keys are refused by today's sshd".to_string());
        }
        return Err(format!("it has no key type ({}, …) followed by the key", KEY_TYPES[..2].join(", ")));
    };
    let bytes = decode(body).ok_or("the key after its type is not base64; it may be cut off")?;
    // RFC 4253 §6.6: the blob begins with its own type as a string.
    let named = bytes.get(..4).map(|l| u32::from_be_bytes([l[0], l[1], l[2], l[3]]) as usize);
    match named.and_then(|n| bytes.get(4..4usize.checked_add(n)?)) {
        Some(name) if name == kind.as_bytes() => {}
        _ => return Err(format!("the key does not begin with its type {kind}; it is damaged")),
    }
    if kind == "ssh-ed25519" && bytes.len() != 51 {
        return Err("an ed25519 key has 51 bytes; this one is cut off or longer".to_string());
    }
    Ok(())
}

/// Base64 (RFC 4648 §4), padding optional.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut buffer, mut bits) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let v = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(v)) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_hashes_pass() {
        let good = format!("$6$saltsalt${}", "a".repeat(86));
        assert!(password_hash(&good, &["el7"]).is_ok());
        assert!(password_hash(&format!("$6$rounds=5000$s${}", "b".repeat(86)), &[]).is_ok());
        let y = format!("$y$j9T$saltsalt${}", "a".repeat(43));
        assert!(password_hash(&y, &["debian12"]).is_ok());
        assert!(password_hash(&y, &["el8"]).is_err());
        for bad in ["secret", "$6$salt$short", "$1$a$b", "", "$6$", "*"] {
            assert!(password_hash(bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_whole_public_keys_pass() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfkNV4OS33ImTXvorZr72q4v5XhVEQKfvqsxOEJ/XaR lab@site";
        assert_eq!(ssh_key(key), Ok(()));
        assert_eq!(ssh_key(&format!("from=\"10.0.0.0/8\" {key}")), Ok(()));
        for bad in [&key[..60], "ssh-ed25519", "lab@site", "-----BEGIN OPENSSH PRIVATE KEY-----", ""] {
            assert!(ssh_key(bad).is_err(), "{bad}");
        }
    }
}
