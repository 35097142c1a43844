//! Owns where a reply goes (RFC 2131 §4.1), as a value, and the IPv4 and UDP headers of those that go past the kernel.

use super::packet::Heard;
use super::{CLIENT_PORT, SERVER_PORT};
use crate::base::Mac;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where one reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To the relay's server port.
    Relay(Ipv4Addr),
    /// To a client that has this address and answers ARP.
    Unicast(Ipv4Addr),
    /// To everybody on the receiving interface.
    Broadcast,
    /// To a client that has no address yet: a frame straight to its hardware address.
    Frame { mac: Mac, address: Ipv4Addr },
}

impl Route {
    /// Where the OFFER or ACK of `yiaddr` to `heard` goes.
    pub fn of(heard: &Heard, yiaddr: Ipv4Addr) -> Route {
        if heard.relayed() {
            Route::Relay(heard.giaddr)
        } else if !heard.ciaddr.is_unspecified() {
            Route::Unicast(heard.ciaddr)
        } else if heard.broadcast() {
            Route::Broadcast
        } else {
            Route::Frame { mac: heard.ask.mac, address: yiaddr }
        }
    }
    /// Where a NAK goes: the client's address is in doubt, so never to that.
    pub fn of_nak(heard: &Heard) -> Route {
        if heard.relayed() { Route::Relay(heard.giaddr) } else { Route::Broadcast }
    }
    /// The IP destination.
    pub fn to(&self) -> SocketAddrV4 {
        match self {
            Route::Relay(a) => SocketAddrV4::new(*a, SERVER_PORT),
            Route::Unicast(a) | Route::Frame { address: a, .. } => SocketAddrV4::new(*a, CLIENT_PORT),
            Route::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT),
        }
    }
    /// The Ethernet destination where the reply is a frame of our own making; none where the kernel finds it.
    pub fn frame_to(&self) -> Option<Mac> {
        match self {
            Route::Relay(_) | Route::Unicast(_) => None,
            Route::Broadcast => Some(Mac([0xff; 6])),
            Route::Frame { mac, .. } => Some(*mac),
        }
    }
}

/// An IPv4 packet with `payload` in UDP. The checksum is always there: zero is legal, but some ROMs are fussy.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = (28 + payload.len()).min(usize::from(u16::MAX)) as u16;
    let mut p = Vec::with_capacity(28 + payload.len());
    p.extend_from_slice(&[0x45, 0]);
    p.extend_from_slice(&length.to_be_bytes());
    // No identification, may not be fragmented (RFC 6864), 64 hops, UDP.
    p.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
    p.extend_from_slice(&from.ip().octets());
    p.extend_from_slice(&to.ip().octets());
    let header = checksum(sum(&p));
    p[10..12].copy_from_slice(&header.to_be_bytes());
    let udp_length = length - 20;
    p.extend_from_slice(&from.port().to_be_bytes());
    p.extend_from_slice(&to.port().to_be_bytes());
    p.extend_from_slice(&udp_length.to_be_bytes());
    p.extend_from_slice(&[0, 0]);
    p.extend_from_slice(payload);
    // Pseudo header: both addresses, protocol, length (RFC 768).
    let pseudo = sum(&p[12..20]) + 17 + u32::from(udp_length);
    let check = match checksum(pseudo + sum(&p[20..])) {
        0 => 0xffff,
        c => c,
    };
    p[26..28].copy_from_slice(&check.to_be_bytes());
    p
}

/// The IPv4 source and the payload of a whole, unfragmented UDP packet; none where it is anything else.
///
/// The checksum is left alone: on a virtual link it may not be filled in yet.
pub fn read_udp(packet: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 || *packet.get(9)? != 17 {
        return None;
    }
    // More fragments, or not the first one.
    if u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff != 0 {
        return None;
    }
    let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let udp = packet.get(header..)?;
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    Some((from.into(), udp.get(8..length)?))
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b))).sum()
}

fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_of_ours_sums_to_nothing_and_reads_back() {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 67);
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 130), 68);
        for payload in [&b"odd"[..], b"even", b""] {
            let p = udp(from, to, payload);
            assert_eq!(checksum(sum(&p[..20])), 0);
            let pseudo = sum(&p[12..20]) + 17 + (p.len() as u32 - 20);
            assert_eq!(checksum(pseudo + sum(&p[20..])), 0);
            assert_eq!(read_udp(&p), Some((*from.ip(), payload)));
        }
    }
}
