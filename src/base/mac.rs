//! Owns `Mac`: an Ethernet address; every spelling that customers use goes in, one comes out.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address. Prints as `52:54:00:aa:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Why a text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    #[error("a MAC address has 12 hexadecimal digits, this has {0}")]
    Length(usize),
    #[error("{0:?} is not a hexadecimal digit")]
    Digit(char),
    #[error("this is the all-zero address, which no machine has")]
    Zero,
    #[error("this is a group (multicast) address; a machine's own address has an even first byte")]
    Group,
}

impl Mac {
    /// How many of the twelve digits differ.
    pub fn distance(self, other: Mac) -> u32 {
        let differ = |a: u8, b: u8| u32::from(a >> 4 != b >> 4) + u32::from(a & 15 != b & 15);
        self.0.iter().zip(other.0).map(|(a, b)| differ(*a, b)).sum()
    }
    /// Reads `aa:bb:cc:dd:ee:ff`, `AA-BB-…`, `aabb.ccdd.eeff`, `aabbccddeeff`, and pxelinux's `01-aa-bb-…`.
    ///
    /// Blanks around it are ignored. Group addresses and zero are refused: no machine boots from one.
    pub fn parse(text: &str) -> Result<Mac, MacError> {
        let text = text.trim();
        let mut digits = Vec::with_capacity(14);
        for c in text.chars() {
            match c {
                ':' | '-' | '.' | ' ' => {}
                c => digits.push(c.to_digit(16).ok_or(MacError::Digit(c))? as u8),
            }
        }
        // pxelinux and BOOTIF put the hardware type (01 = Ethernet) before the address.
        if digits.len() == 14 && digits[..2] == [0, 1] {
            digits.drain(..2);
        }
        if digits.len() != 12 {
            return Err(MacError::Length(digits.len()));
        }
        let mut out = [0u8; 6];
        for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        if out == [0; 6] {
            return Err(MacError::Zero);
        }
        if out[0] & 1 == 1 {
            return Err(MacError::Group);
        }
        Ok(Mac(out))
    }

    /// `52-54-00-aa-00-01`, for paths and BOOTIF.
    pub fn hyphens(&self) -> String {
        self.joined("-")
    }

    fn joined(&self, by: &str) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(by)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(s: &str) -> Result<Mac, MacError> {
        Mac::parse(s)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Mac, D::Error> {
        let text = String::deserialize(d)?;
        Mac::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_one_address() {
        let want = Mac([0x52, 0x54, 0, 0xaa, 0, 1]);
        for s in [
            "52:54:00:aa:00:01",
            "52-54-00-AA-00-01",
            "5254.00aa.0001",
            "525400aa0001",
            "01-52-54-00-aa-00-01",
            "  52:54:00:AA:00:01 ",
            "52 54 00 aa 00 01",
        ] {
            assert_eq!(Mac::parse(s), Ok(want), "{s}");
        }
        assert_eq!(want.to_string(), "52:54:00:aa:00:01");
        assert_eq!(want.hyphens(), "52-54-00-aa-00-01");
    }

    #[test]
    fn what_is_no_machine_address_is_refused_with_its_reason() {
        assert_eq!(Mac::parse("52:54:00:aa:00"), Err(MacError::Length(10)));
        assert_eq!(Mac::parse("52:54:00:aa:00:0g"), Err(MacError::Digit('g')));
        assert_eq!(Mac::parse("00:00:00:00:00:00"), Err(MacError::Zero));
        assert_eq!(Mac::parse("01:00:5e:00:00:01"), Err(MacError::Group));
        assert_eq!(Mac::parse(""), Err(MacError::Length(0)));
    }
}
