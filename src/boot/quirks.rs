//! Owns what firmware needs beyond its standard: which loader by architecture, which option to mirror. A row each.

use super::ask::Stage;
use crate::base::arch::Machine;
use crate::base::{Arch, ClientArch, Firmware};

/// A loader's file name and how the firmware fetches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loader {
    /// As in `images/loaders.toml`.
    pub file: &'static str,
    pub by: By,
}

/// How a loader is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Tftp,
    /// UEFI HTTP Boot: option 67 is an absolute URL.
    Http,
}

/// Which iPXE for which machine. The variants that use the firmware's own network driver: the link is not dropped
/// when they start, so a switch does not begin its spanning tree again (field-pain #27).
const LOADERS: [(Arch, Firmware, &str); 3] = [
    (Arch::Amd64, Firmware::Bios, "undionly.kpxe"),
    (Arch::Amd64, Firmware::Uefi, "snponly.efi"),
    (Arch::Arm64, Firmware::Uefi, "ipxe-arm64.efi"),
];

/// The loader for firmware that says `arch` (option 93); none for numbers that there is no loader for.
///
/// No option 93 at all means a BIOS of before 2006 (RFC 4578 is of that year).
pub fn loader(arch: Option<ClientArch>, stage: Stage) -> Option<Loader> {
    let machine = machine(arch)?;
    let (_, _, file) = LOADERS.iter().find(|(a, f, _)| *a == machine.arch && *f == machine.firmware)?;
    let by = if stage == Stage::HttpBoot { By::Http } else { By::Tftp };
    Some(Loader { file, by })
}

fn machine(arch: Option<ClientArch>) -> Option<Machine> {
    match arch {
        None => Some(Machine { arch: Arch::Amd64, firmware: Firmware::Bios, http: false }),
        Some(a) => a.machine(),
    }
}

/// iPXE's own words for the machine, as the boot script's query has them: `platform=efi&arch=x86_64`; none where the
/// architecture is unknown. An iPXE on a BIOS is built for `i386` whatever the processor is.
pub fn platform(arch: Option<ClientArch>) -> Option<&'static str> {
    machine(arch).map(|m| match (m.firmware, m.arch) {
        (Firmware::Uefi, Arch::Arm64) => "platform=efi&arch=arm64",
        (Firmware::Uefi, Arch::Amd64) => "platform=efi&arch=x86_64",
        (Firmware::Bios, _) => "platform=pcbios&arch=i386",
    })
}

/// Option 60 of the reply.
///
/// UEFI HTTP Boot ignores an offer without `HTTPClient` (capture `uefi-httpboot-no-option60-ignored`). For PXE it is
/// left out: EDK2 takes an offer with `PXEClient` and no option 43 for a boot server's and asks again on port 4011
/// (field-pain #2); captures `uefi-pxe-*` and `bios-*` show that nobody misses it.
pub fn vendor_class(stage: Stage) -> Option<&'static [u8]> {
    match stage {
        Stage::HttpBoot => Some(b"HTTPClient"),
        Stage::Pxe | Stage::Ipxe | Stage::Installer | Stage::Other => None,
    }
}

/// Option 175 for iPXE: suboption 176 (`no-pxedhcp`) = 1, do not wait for proxyDHCP offers
/// (capture `bios-vendorlike-undionly2025-nopxedhcp`).
pub const IPXE_NO_PROXY: &[u8] = &[0xb0, 1, 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_that_is_understood_has_a_loader_and_no_other_has() {
        for n in 0..64 {
            let arch = Some(ClientArch(n));
            let known = ClientArch(n).machine().is_some();
            assert_eq!(loader(arch, Stage::Pxe).is_some(), known, "{n}");
        }
        assert_eq!(loader(None, Stage::Pxe).map(|l| l.file), Some("undionly.kpxe"));
        assert_eq!(loader(Some(ClientArch(16)), Stage::HttpBoot).map(|l| l.by), Some(By::Http));
    }
}
