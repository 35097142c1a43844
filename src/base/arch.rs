//! Owns processor architectures, firmware kinds and DHCP option 93's numbers.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A processor architecture, in the spelling of Debian.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// The Linux and RPM spelling: `x86_64`, `aarch64`.
    pub fn linux(self) -> &'static str {
        match self {
            Arch::Amd64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }
    /// `amd64`, `arm64`.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.debian())
    }
}

/// What starts the machine.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    Bios,
    Uefi,
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        })
    }
}

/// DHCP option 93, Client System Architecture Type (RFC 4578 §2.1, numbers kept by IANA).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientArch(pub u16);

impl ClientArch {
    /// What this number means for booting; `None` for numbers that we have no loader for.
    ///
    /// 7 and 9 both mean x64 UEFI in the field (field-pain #18); 15 to 18 and 19 ask for HTTP boot.
    pub fn machine(self) -> Option<Machine> {
        let (arch, firmware, http) = match self.0 {
            0 => (Arch::Amd64, Firmware::Bios, false),
            7 | 9 => (Arch::Amd64, Firmware::Uefi, false),
            11 => (Arch::Arm64, Firmware::Uefi, false),
            16 | 17 => (Arch::Amd64, Firmware::Uefi, true),
            19 => (Arch::Arm64, Firmware::Uefi, true),
            20 => (Arch::Amd64, Firmware::Bios, true),
            _ => return None,
        };
        Some(Machine { arch, firmware, http })
    }

    /// IANA's name for the number, for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "x86 BIOS",
            1 => "NEC/PC98",
            2 => "Itanium",
            6 => "x86 UEFI",
            7 => "x64 UEFI",
            9 => "EBC",
            10 => "ARM 32-bit UEFI",
            11 => "ARM 64-bit UEFI",
            15 => "x86 UEFI boot from HTTP",
            16 => "x64 UEFI boot from HTTP",
            17 => "EBC boot from HTTP",
            18 => "ARM UEFI 32 boot from HTTP",
            19 => "ARM UEFI 64 boot from HTTP",
            20 => "x86 BIOS boot from HTTP",
            27 => "RISC-V 64-bit UEFI",
            28 => "RISC-V 64-bit UEFI boot from HTTP",
            _ => "unknown architecture",
        }
    }
}

/// An architecture number, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Machine {
    pub arch: Arch,
    pub firmware: Firmware,
    /// The firmware wants a URL and option 60 `HTTPClient` (UEFI 2.5 HTTP Boot).
    pub http: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_and_nine_are_both_x64_uefi_and_unknown_is_never_bios() {
        assert_eq!(ClientArch(7).machine(), ClientArch(9).machine());
        for n in 0..=u16::MAX {
            if let Some(m) = ClientArch(n).machine() {
                assert!(m.firmware == Firmware::Uefi || n == 0 || n == 20, "{n}");
            }
        }
        assert_eq!(ClientArch(6).machine(), None);
    }
}
