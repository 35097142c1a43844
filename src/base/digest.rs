//! Owns digests: SHA-256 for all that is ours, MD5 and SHA-512 for checksums that media bring along.
//!
//! The only user of the `sha2` and `md-5` crates.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use std::fmt;

/// A SHA-256 digest; prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    pub fn of(bytes: &[u8]) -> Sha256 {
        let mut h = Hasher::new();
        h.update(bytes);
        h.finish()
    }
    pub fn parse(text: &str) -> Result<Sha256, String> {
        let text = text.trim();
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("a sha256 is 64 hexadecimal digits".to_string());
        }
        let mut out = [0u8; 32];
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|e| e.to_string())?;
        }
        Ok(Sha256(out))
    }
    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_string()
    }
    /// HMAC-SHA-256 (RFC 2104) of `message` under `key`.
    pub fn hmac(key: &[u8], message: &[u8]) -> Sha256 {
        let mut block = [0u8; 64];
        if key.len() > 64 {
            block[..32].copy_from_slice(&Sha256::of(key).0);
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let pad = |with: u8| block.map(|b| b ^ with);
        let mut inner = Hasher::new();
        inner.update(&pad(0x36));
        inner.update(message);
        let mut outer = Hasher::new();
        outer.update(&pad(0x5c));
        outer.update(&inner.finish().0);
        outer.finish()
    }
}

/// Streaming SHA-256.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    pub fn new() -> Hasher {
        Hasher::default()
    }
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// A checksum as a medium states it. MD5 shows damage; it is no proof of where something comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    Md5(String),
    Sha256(String),
    Sha512(String),
}

impl Checksum {
    /// `kind` is `md5`, `sha256` or `sha512` in any case; none for other kinds and for what is not hexadecimal.
    pub fn parse(kind: &str, hex: &str) -> Option<Checksum> {
        let hex = hex.trim().to_ascii_lowercase();
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match (kind.trim().to_ascii_lowercase().as_str(), hex.len()) {
            ("md5", 32) => Some(Checksum::Md5(hex)),
            ("sha256", 64) => Some(Checksum::Sha256(hex)),
            ("sha512", 128) => Some(Checksum::Sha512(hex)),
            _ => None,
        }
    }
    /// Begins to check content against it.
    pub fn checker(&self) -> Checker {
        match self {
            Checksum::Md5(hex) => Checker(hex.clone(), AnyHasher::Md5(md5::Md5::default())),
            Checksum::Sha256(hex) => Checker(hex.clone(), AnyHasher::Sha256(sha2::Sha256::default())),
            Checksum::Sha512(hex) => Checker(hex.clone(), AnyHasher::Sha512(Box::default())),
        }
    }
}

/// Content on its way to be compared with a [`Checksum`].
pub struct Checker(String, AnyHasher);

enum AnyHasher {
    Md5(md5::Md5),
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Checker {
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.1 {
            AnyHasher::Md5(h) => h.update(bytes),
            AnyHasher::Sha256(h) => h.update(bytes),
            AnyHasher::Sha512(h) => h.update(bytes),
        }
    }
    /// Whether the content was the right one.
    pub fn holds(self) -> bool {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        self.0
            == match self.1 {
                AnyHasher::Md5(h) => hex(&h.finalize()),
                AnyHasher::Sha256(h) => hex(&h.finalize()),
                AnyHasher::Sha512(h) => hex(&h.finalize()),
            }
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |b: &u8| [b >> 4, b & 15].map(|half| char::from(DIGITS[usize::from(half)]));
        // At once: it stands in the head of every file that is served.
        f.write_str(&self.0.iter().flat_map(digits).collect::<String>())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Sha256, D::Error> {
        let text = String::deserialize(d)?;
        Sha256::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(
            Sha256::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        // RFC 4231 test case 2
        assert_eq!(
            Sha256::hmac(b"Jefe", b"what do ya want for nothing?").to_string(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(Sha256::parse("xyz").is_err());
        let md5 = Checksum::parse("MD5", "900150983cd24fb0d6963f7d28e17f72").unwrap();
        for (content, right) in [(b"abc", true), (b"abd", false)] {
            let mut checker = md5.checker();
            checker.update(content);
            assert_eq!(checker.holds(), right);
        }
        assert_eq!(Checksum::parse("sha256", "abcd"), None);
    }
}
