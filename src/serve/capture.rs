//! Owns `serve --pcap FOLDER`: what each machine and this server said to each other while it booted, one capture per
//! MAC address, for Wireshark: DHCP whole, and of TFTP what begins and ends a transfer. It answers "why does this one
//! hang" where the timeline shows only what arrived here in good order.

use super::netlink::{self, Hears, Interface, Packets};
use crate::base::Mac;
use crate::problem::{Problem, reason};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// A machine's capture begins anew at this size; the one before is kept beside it.
const LARGEST: u64 = 1 << 20;
/// Machines that are captured at most: MAC addresses cost an attacker nothing.
const MACHINES: usize = 8192;
/// How often the interface itself is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Of the classic format: magic, version 2.4, largest packet, Ethernet.
const HEADER: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 2048, 1];

/// The captures of one interface.
pub struct Capture {
    folder: PathBuf,
    link: Interface,
    ear: Packets,
    sizes: BTreeMap<Mac, u64>,
    failing: bool,
}

impl Capture {
    /// Makes the folder and listens on `link`, or says why not.
    pub fn open(folder: &Path, link: &Interface) -> Result<Capture, Problem> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| Problem::io("make the folder", folder, &e))?;
        let ear = Packets::open(link.index, Hears::Boot).map_err(|e| {
            Problem::environment(format!("cannot listen for frames on {}: {}", link.name, reason(&e)))
                .help("run it as root, or leave --pcap out")
        })?;
        let (folder, link) = (folder.to_path_buf(), link.clone());
        Ok(Capture { folder, link, ear, sizes: BTreeMap::new(), failing: false })
    }

    /// Writes down what is heard until `stop` says so. Blocks.
    pub fn run(mut self, stop: &watch::Receiver<bool>) {
        let mut buffer = [0u8; 2048];
        let mut looked = Instant::now();
        while !*stop.borrow() {
            {
                let mut fds = [PollFd::new(self.ear.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::from(200u8));
            }
            while let Ok(Some(length)) = self.ear.frame(&mut buffer) {
                self.take(&buffer[..length.min(buffer.len())]);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
        }
    }

    /// An interface that was plugged in again has another number.
    fn look(&mut self) {
        if let Ok(Some(link)) = netlink::interface(&self.link.name)
            && link.index != self.link.index
            && let Ok(ear) = Packets::open(link.index, Hears::Boot)
        {
            (self.link, self.ear) = (link, ear);
        }
    }

    fn take(&mut self, frame: &[u8]) {
        let Some(mac) = whose(frame, self.link.mac) else { return };
        if !self.sizes.contains_key(&mac) && self.sizes.len() >= MACHINES {
            return;
        }
        match self.write(mac, frame) {
            Ok(size) => {
                self.sizes.insert(mac, size);
                self.failing = false;
            }
            Err(e) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let folder = self.folder.display();
                    tracing::warn!("captures cannot be written to {folder}: {}", reason(&e));
                }
            }
        }
    }

    /// Appends a frame; the capture's size after that.
    fn write(&self, mac: Mac, frame: &[u8]) -> io::Result<u64> {
        let path = self.folder.join(format!("{}.pcap", mac.hyphens()));
        let mut file = append(&path)?;
        let mut size = file.metadata()?.len();
        if size + frame.len() as u64 > LARGEST {
            fs::rename(&path, path.with_extension("before.pcap"))?;
            file = append(&path)?;
            size = 0;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = frame.len() as u32;
        let mut bytes = Vec::with_capacity(frame.len() + 40);
        if size == 0 {
            bytes.extend(HEADER.iter().flat_map(|w| w.to_le_bytes()));
        }
        bytes.extend(
            [now.as_secs() as u32, now.subsec_micros(), length, length].iter().flat_map(|w| w.to_le_bytes()),
        );
        bytes.extend(frame);
        file.write_all(&bytes)?;
        Ok(size + bytes.len() as u64)
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Whose boot an Ethernet frame belongs to: DHCP says it, also behind a relay; of TFTP it is whoever is not `us`.
fn whose(frame: &[u8], us: Option<Mac>) -> Option<Mac> {
    let mac = |at: usize| Some(Mac(frame.get(at..at + 6)?.try_into().ok()?));
    let udp = 14 + usize::from(frame.get(14)? & 15) * 4;
    let port = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    if matches!(port(udp)?, 67 | 68) || matches!(port(udp + 2)?, 67 | 68) {
        return mac(udp + 8 + 28);
    }
    let (to, from) = (mac(0)?, mac(6)?);
    Some(if Some(from) == us { to } else { from })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, from: u8, source: u16, port: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = [[2, 0, 0, 0, 0, to], [2, 0, 0, 0, 0, from]].concat();
        out.extend([8, 0, 0x45]);
        out.extend([0; 19]);
        out.extend(source.to_be_bytes());
        out.extend(port.to_be_bytes());
        out.extend([0; 4]);
        out.extend(payload);
        out
    }

    #[test]
    fn dhcp_belongs_to_its_client_and_tftp_to_the_other_end() {
        let us = Some(Mac([2, 0, 0, 0, 0, 1]));
        let mut dhcp = vec![0; 240];
        dhcp[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        let nine = Some(Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!(whose(&frame(255, 7, 68, 67, &dhcp), us), nine, "also through a relay");
        assert_eq!(whose(&frame(7, 1, 67, 67, &dhcp), us), nine);
        assert_eq!(whose(&frame(1, 9, 2070, 69, b"\0\x01x\0octet\0"), us), nine);
        assert_eq!(whose(&frame(9, 1, 40000, 2070, b"\0\x06blksize\x001468\0"), us), nine);
        for cut in 0..60 {
            let _ = whose(&frame(1, 9, 68, 67, &dhcp)[..cut], us);
        }
    }

    #[test]
    fn a_capture_has_one_header_and_begins_anew_when_it_is_large() {
        let folder = std::env::temp_dir().join(format!("bootstead-pcap-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        // No socket is needed to write: the loopback's stands in for it.
        let link = netlink::interface("lo").unwrap().unwrap();
        let Ok(mut capture) = Capture::open(&folder, &link) else { return };
        let one = frame(1, 9, 2070, 69, &[0; 900]);
        for _ in 0..3 {
            capture.take(&one);
        }
        let path = folder.join("02-00-00-00-00-09.pcap");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 24 + 3 * (16 + one.len()));
        assert_eq!(bytes[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!(bytes[4..8], [2, 0, 4, 0]);
        for _ in 0..LARGEST as usize / one.len() {
            capture.take(&one);
        }
        assert!(fs::metadata(&path).unwrap().len() < LARGEST / 2);
        assert!(fs::metadata(folder.join("02-00-00-00-00-09.before.pcap")).unwrap().len() <= LARGEST);
        fs::remove_dir_all(&folder).unwrap();
    }
}
