//! Owns ARP packets (RFC 826): the probe that asks whether an address is in use (RFC 5227), and reading answers.

use crate::base::Mac;
use std::net::Ipv4Addr;

/// What an ARP packet says about its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub mac: Mac,
    /// 0.0.0.0 in a probe.
    pub address: Ipv4Addr,
    pub asks_for: Ipv4Addr,
}

/// "Who has `address`?", with the sender's own address zero, so that nobody's cache changes (RFC 5227 §1.1).
pub fn probe(from: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut p = vec![0, 1, 8, 0, 6, 4, 0, 1];
    p.extend_from_slice(&from.0);
    p.extend_from_slice(&[0; 10]);
    p.extend_from_slice(&address.octets());
    p
}

/// Reads an ARP packet for IPv4 over Ethernet.
pub fn read(bytes: &[u8]) -> Option<Said> {
    let p: &[u8; 28] = bytes.get(..28)?.try_into().ok()?;
    if p[..6] != [0, 1, 8, 0, 6, 4] || p[6] != 0 || !matches!(p[7], 1 | 2) {
        return None;
    }
    let mac = Mac([p[8], p[9], p[10], p[11], p[12], p[13]]);
    let address = |at: usize| Ipv4Addr::new(p[at], p[at + 1], p[at + 2], p[at + 3]);
    Some(Said { mac, address: address(14), asks_for: address(24) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_names_nobody_as_owner() {
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let want = Ipv4Addr::new(10, 77, 0, 150);
        let said = read(&probe(mac, want)).unwrap();
        assert_eq!(said, Said { mac, address: Ipv4Addr::UNSPECIFIED, asks_for: want });
        assert_eq!(read(&[0; 28]), None);
        assert_eq!(read(&probe(mac, want)[..27]), None);
    }
}
