//! Owns `Ask`: the facts about a machine that asks, whatever channel it used.

use crate::base::{ClientArch, Mac};

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// chaddr: the only identity there is (field-pain #15, #16).
    pub mac: Mac,
    pub stage: Stage,
    /// Option 93, where it was sent.
    pub arch: Option<ClientArch>,
    /// Option 97 as text; recorded, never an identity. None where it is missing, zero or a known dummy.
    pub uuid: Option<String>,
    /// Option 60.
    pub vendor: Option<String>,
}

/// Which of the programs on its way to an installed system is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A PXE ROM or UEFI that wants a loader by TFTP.
    Pxe,
    /// UEFI HTTP Boot: wants a loader by URL.
    HttpBoot,
    /// iPXE: wants a script.
    Ipxe,
    /// An installer (d-i, anaconda, our own system): wants an address.
    Installer,
    /// Anything else: an operating system, a printer, a phone.
    Other,
}

impl Stage {
    /// Whether the machine is on its way through a network boot.
    pub fn boots(self) -> bool {
        matches!(self, Stage::Pxe | Stage::HttpBoot | Stage::Ipxe)
    }
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Pxe => "firmware (PXE)",
            Stage::HttpBoot => "firmware (HTTP boot)",
            Stage::Ipxe => "iPXE",
            Stage::Installer => "installer",
            Stage::Other => "system",
        }
    }
}
