//! Owns what other DHCP servers say: the probe that makes them speak, and reading their replies.

use super::options::{Options, Out, code, printable};
use crate::base::Mac;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType};
use dhcproto::{Encodable as _, Encoder};
use serde::Serialize;
use std::net::Ipv4Addr;

/// A reply of some server, as far as it tells what that server does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spoken {
    /// Option 54, or where it is missing the IP source (the caller's to fill), else 0.0.0.0.
    pub server: Ipv4Addr,
    pub xid: u32,
    /// The client that it spoke to.
    pub client: Mac,
    /// The address that it gave; 0.0.0.0 from a proxyDHCP server.
    pub gave: Ipv4Addr,
    /// siaddr, where it is set.
    pub next_server: Option<Ipv4Addr>,
    /// Option 60.
    pub vendor_class: Option<String>,
    /// Option 66.
    pub tftp_server: Option<String>,
    /// Option 67, or the header's `file`.
    pub boot_file: Option<String>,
    /// Whether option 43 is there.
    pub vendor_options: bool,
    /// Option 3.
    pub router: Option<Ipv4Addr>,
}

impl Spoken {
    /// Whether it gives boot information only, and no addresses (PXE specification 2.1, proxyDHCP).
    pub fn is_proxy(&self) -> bool {
        self.gave.is_unspecified()
    }
    /// One sentence's end for a person: what it offers.
    pub fn sentence(&self) -> String {
        let mut parts = vec![if self.is_proxy() {
            "boot information only (proxyDHCP)".to_string()
        } else {
            format!("address {}", self.gave)
        }];
        if let Some(r) = self.router {
            parts.push(format!("router {r}"));
        }
        if let Some(n) = self.next_server {
            parts.push(format!("next server {n}"));
        }
        let texts = [(60, &self.vendor_class), (66, &self.tftp_server), (67, &self.boot_file)];
        for (number, text) in texts {
            if let Some(t) = text {
                parts.push(format!("option {number} {t:?}"));
            }
        }
        if self.vendor_options {
            parts.push("option 43".to_string());
        }
        parts.join(", ")
    }
    /// The same without what differs from client to client: tells whether a server changed.
    pub fn kind(&self) -> String {
        Spoken { gave: if self.is_proxy() { self.gave } else { Ipv4Addr::BROADCAST }, ..self.clone() }
            .sentence()
    }
}

/// Reads an OFFER, ACK or NAK of any server.
pub fn read(bytes: &[u8]) -> Option<Spoken> {
    if bytes.get(236..240)? != dhcproto::v4::MAGIC || bytes[..3] != [2, 1, 6] {
        return None;
    }
    let options = Options::read(bytes);
    let kind = *options.get(code::MESSAGE_TYPE)?.first()?;
    if !matches!(kind, 2 | 5 | 6) {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
    let some = |a: Ipv4Addr| (!a.is_unspecified()).then_some(a);
    let header_file = bytes[108..236].split(|b| *b == 0).next().map(printable).filter(|f| !f.is_empty());
    Some(Spoken {
        server: options.address(code::SERVER_ID).unwrap_or(Ipv4Addr::UNSPECIFIED),
        xid: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        client: Mac([bytes[28], bytes[29], bytes[30], bytes[31], bytes[32], bytes[33]]),
        gave: address(16),
        next_server: some(address(20)),
        vendor_class: options.text(code::VENDOR_CLASS),
        tftp_server: options.text(code::TFTP_SERVER),
        boot_file: options.text(code::BOOT_FILE).or(header_file),
        vendor_options: options.get(code::VENDOR).is_some(),
        router: options.address(code::ROUTER),
    })
}

/// A DISCOVER that asks every server on the segment to speak. Nothing it is offered is ever taken.
///
/// `pxe` makes it a PXE client's, because some servers (and all proxyDHCP servers) answer no others. The broadcast
/// bit is set, so that the offers can be heard. `secs` above 0 also reaches servers that wait their turn.
pub fn probe(xid: u32, mac: Mac, pxe: bool, secs: u16) -> Vec<u8> {
    let zero = Ipv4Addr::UNSPECIFIED;
    let mut m = Message::new_with_id(xid, zero, zero, zero, zero, &mac.0);
    m.set_flags(Flags::default().set_broadcast()).set_secs(secs);
    let mut bytes = Vec::with_capacity(400);
    // Cannot fail on a growing buffer; an empty probe would only go unanswered.
    let _ = m.encode(&mut Encoder::new(&mut bytes));
    let mut out = Out::default();
    out.typed(&DhcpOption::MessageType(MessageType::Discover));
    out.raw(code::PARAMETERS, &[1, 3, 6, 15, 43, 51, 54, 60, 66, 67]);
    out.typed(&DhcpOption::MaxMessageSize(1472));
    if pxe {
        out.raw(code::VENDOR_CLASS, b"PXEClient:Arch:00007:UNDI:003000");
        out.raw(code::ARCH, &[0, 7]);
        out.raw(94, &[1, 3, 0]);
        let mut machine = [0; 17];
        machine[11..].copy_from_slice(&mac.0);
        out.raw(code::MACHINE_ID, &machine);
    }
    bytes.extend_from_slice(&out.encoded());
    bytes.push(255);
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Stage;

    #[test]
    fn a_probe_is_a_clients_message_that_any_server_understands() {
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        let heard = crate::dhcp::packet::read(&probe(9, mac, true, 4)).unwrap();
        assert_eq!((heard.ask.mac, heard.xid, heard.secs, heard.broadcast()), (mac, 9, 4, true));
        assert_eq!(heard.ask.stage, Stage::Pxe);
        let plain = crate::dhcp::packet::read(&probe(9, mac, false, 0)).unwrap();
        assert_eq!(plain.ask.stage, Stage::Other);
        assert_eq!(read(&probe(9, mac, true, 0)), None, "a client's message is nobody's offer");
    }
}
