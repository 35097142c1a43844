//! Owns `Secret`: a text that never prints; and the one-installation token made from it.

use super::{Mac, Sha256};
use std::fmt;

/// A secret text. `Debug` and `Display` print `[redacted]`; it has no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }
    /// The secret itself: call it only where the value leaves for its one destination.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The site's own key, from which installation tokens are derived; so no token is ever stored.
#[derive(Clone)]
pub struct SiteKey(Secret);

impl SiteKey {
    pub fn new(key: Secret) -> SiteKey {
        SiteKey(key)
    }
    /// The token of one installation of one node: 32 hexadecimal digits (128 bits).
    ///
    /// It is good for as long as the ledger says that `arming` is that node's current one.
    pub fn token(&self, mac: Mac, arming: u32) -> Secret {
        let text = Sha256::hmac(self.0.reveal().as_bytes(), format!("install {mac} {arming}").as_bytes());
        Secret::new(&text.to_string()[..32])
    }
    /// 32 bytes for one purpose; another label gives other bytes, and none tells anything about the key.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        Sha256::hmac(self.0.reveal().as_bytes(), format!("cluster {label}").as_bytes()).0
    }
    /// Whether `offered` is that token. Digests are compared in constant time.
    pub fn accepts(&self, mac: Mac, arming: u32, offered: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        let want = Sha256::of(self.token(mac, arming).reveal().as_bytes());
        want.0.ct_eq(&Sha256::of(offered.as_bytes()).0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_and_a_token_is_for_one_installation() {
        let key = SiteKey::new(Secret::new("k"));
        let (a, b) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let t = key.token(a, 1);
        assert_eq!(format!("{t} {t:?}"), "[redacted] [redacted]");
        assert!(key.accepts(a, 1, t.reveal()));
        assert!(!key.accepts(a, 2, t.reveal()));
        assert!(!key.accepts(b, 1, t.reveal()));
        assert!(!key.accepts(a, 1, ""));
    }
}
