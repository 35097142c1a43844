//! Owns IPv4 networks and ranges: containment, overlap, position.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network: its first address and its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

impl Cidr {
    /// Reads `10.77.0.0/24`. Host bits must be zero; the error says what was probably meant.
    pub fn parse(text: &str) -> Result<Cidr, String> {
        let (addr, prefix) = text
            .split_once('/')
            .ok_or_else(|| format!("a network is written ADDRESS/PREFIX, for example {text}/24"))?;
        let addr: Ipv4Addr = addr.parse().map_err(|_| format!("{addr:?} is not an IPv4 address"))?;
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|p| *p <= 32)
            .ok_or_else(|| format!("{prefix:?} is not a prefix length from 0 to 32"))?;
        let made = Cidr::containing(addr, prefix);
        if made.first() != addr {
            return Err(format!("{addr} is a host inside the network; write {made}"));
        }
        Ok(made)
    }
    /// The network of that size which contains `addr`. `prefix` above 32 counts as 32.
    pub fn containing(addr: Ipv4Addr, prefix: u8) -> Cidr {
        let prefix = prefix.min(32);
        Cidr { base: u32::from(addr) & mask(prefix), prefix }
    }
    /// The network address itself.
    pub fn first(&self) -> Ipv4Addr {
        self.base.into()
    }
    /// The broadcast address.
    pub fn last(&self) -> Ipv4Addr {
        (self.base | !mask(self.prefix)).into()
    }
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
    pub fn netmask(&self) -> Ipv4Addr {
        mask(self.prefix).into()
    }
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        u32::from(addr) & mask(self.prefix) == self.base
    }
    /// Whether a host may have `addr`: inside, and neither the network nor the broadcast address.
    pub fn is_host(&self, addr: Ipv4Addr) -> bool {
        self.contains(addr) && (self.prefix >= 31 || (addr != self.first() && addr != self.last()))
    }
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }
}

fn mask(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

/// An inclusive range of addresses, written `10.77.0.10-10.77.0.20`; one address alone is a range too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

impl IpRange {
    pub fn parse(text: &str) -> Result<IpRange, String> {
        let (a, b) = text.split_once('-').unwrap_or((text, text));
        let read = |s: &str| {
            let s = s.trim();
            s.parse::<Ipv4Addr>().map_err(|_| format!("{s:?} is not an IPv4 address"))
        };
        let (first, last) = (read(a)?, read(b)?);
        if first > last {
            return Err(format!("the range ends before it begins; write {last}-{first}"));
        }
        Ok(IpRange { first, last })
    }
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        self.first <= addr && addr <= self.last
    }
    pub fn overlaps(&self, other: &IpRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
    /// How many addresses.
    pub fn len(&self) -> u64 {
        u64::from(u32::from(self.last) - u32::from(self.first)) + 1
    }
    pub fn is_empty(&self) -> bool {
        false
    }
    /// The address at position `n`, counted from 0.
    pub fn nth(&self, n: u64) -> Option<Ipv4Addr> {
        (n < self.len()).then(|| Ipv4Addr::from(u32::from(self.first) + n as u32))
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

macro_rules! as_text {
    ($t:ty) => {
        impl FromStr for $t {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                <$t>::parse(s)
            }
        }
        impl Serialize for $t {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                <$t>::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(Cidr);
as_text!(IpRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_overlap_and_know_their_ends() {
        let n = Cidr::parse("10.77.0.0/24").unwrap();
        assert_eq!(n.last(), Ipv4Addr::new(10, 77, 0, 255));
        assert_eq!(n.netmask(), Ipv4Addr::new(255, 255, 255, 0));
        assert!(n.is_host("10.77.0.1".parse().unwrap()));
        assert!(!n.is_host("10.77.0.255".parse().unwrap()));
        assert!(n.overlaps(&Cidr::parse("10.0.0.0/8").unwrap()));
        assert!(!n.overlaps(&Cidr::parse("10.78.0.0/24").unwrap()));
        assert_eq!(Cidr::parse("0.0.0.0/0").unwrap().last(), Ipv4Addr::BROADCAST);
        assert!(Cidr::parse("10.77.0.5/24").unwrap_err().contains("write 10.77.0.0/24"));
    }

    #[test]
    fn ranges_count_from_zero() {
        let r = IpRange::parse("10.0.0.10 - 10.0.0.12").unwrap();
        assert_eq!(r.len(), 3);
        assert_eq!(r.nth(2), Some(Ipv4Addr::new(10, 0, 0, 12)));
        assert_eq!(r.nth(3), None);
        assert!(IpRange::parse("10.0.0.9-10.0.0.1").is_err());
    }
}
