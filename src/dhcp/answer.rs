//! Owns the answer to a client's message: which kind, which options, which bytes. Pure: same input, same bytes.

use super::options::{Out, code};
use super::packet::{Heard, Kind};
use super::route::Route;
use crate::boot::quirks::{self, By};
use crate::boot::{Act, Decision, Stage};
use crate::site::Network;
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode};
use dhcproto::{Encodable as _, Encoder};
use std::net::Ipv4Addr;

/// What this server says of itself and its network, on the interface that the message came in on.
#[derive(Debug, Clone, Copy)]
pub struct Me<'a> {
    /// Our address: server identifier, next server.
    pub server: Ipv4Addr,
    /// `http://ADDRESS:PORT`, no slash at the end.
    pub url: &'a str,
    pub network: &'a Network,
    pub domain: &'a str,
    /// Lease time in seconds.
    pub lease_secs: u32,
    /// Whether no other DHCP server may answer here (none is tolerated by the site).
    pub alone: bool,
}

/// The address that a machine may have, chosen by [`crate::boot::address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant<'a> {
    pub address: Ipv4Addr,
    pub host: Option<&'a str>,
    /// Whether it is a node of the site (its address is reserved), not a discovered machine.
    pub known: bool,
}

/// What kind of reply it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Offer,
    /// The client now has the address: this must be on disk before it leaves.
    Ack,
    /// Options only, to a client that has an address by other means.
    Inform,
    Nak,
}

/// A reply, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub verdict: Verdict,
    /// yiaddr; 0.0.0.0 in a NAK and in the answer to INFORM.
    pub address: Ipv4Addr,
    pub bytes: Vec<u8>,
    pub route: Route,
    /// What it is told to load, for people: a file name or URL.
    pub boot: Option<String>,
}

/// What `heard` is answered; `None` is silence.
///
/// Silence is the rule where it is not our turn: NAK is said only to a client that chose this server, or that is a
/// node of the site and wakes with a wrong address (field-pain #9, #11).
pub fn verdict(heard: &Heard, decision: &Decision, grant: Option<Grant<'_>>, me: &Me<'_>) -> Option<Verdict> {
    if decision.act == Act::Silence {
        return None;
    }
    match heard.kind {
        Kind::Discover => grant.map(|_| Verdict::Offer),
        Kind::Inform => (!heard.ciaddr.is_unspecified()).then_some(Verdict::Inform),
        Kind::Release | Kind::Decline => None,
        Kind::Request => request(heard, grant, me),
    }
}

/// RFC 2131 §4.3.2: the four states that a REQUEST can come from.
fn request(heard: &Heard, grant: Option<Grant<'_>>, me: &Me<'_>) -> Option<Verdict> {
    let wanted = heard.wanted();
    let fits = wanted.is_some() && wanted == grant.map(|g| g.address);
    match heard.server {
        // SELECTING: it took our offer, or another's.
        Some(server) if server == me.server => Some(if fits { Verdict::Ack } else { Verdict::Nak }),
        Some(_) => None,
        None if fits => Some(Verdict::Ack),
        // INIT-REBOOT with a wrong address. Off our network, somebody else may know better, unless we are alone.
        None if heard.ciaddr.is_unspecified() => {
            let ours = wanted.is_some_and(|w| me.alone || me.network.cidr.contains(w));
            (ours && grant.is_some_and(|g| g.known)).then_some(Verdict::Nak)
        }
        // RENEWING or REBINDING with an address that we do not know it by: not ours to take away.
        None => None,
    }
}

/// The reply to `heard`; `None` is silence. `grant` is the address that the machine may have, if there is one.
pub fn answer(heard: &Heard, decision: &Decision, grant: Option<Grant<'_>>, me: &Me<'_>) -> Option<Reply> {
    let verdict = verdict(heard, decision, grant, me)?;
    let given = match (verdict, grant) {
        (Verdict::Offer | Verdict::Ack, Some(g)) => g.address,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let route = match verdict {
        Verdict::Nak => Route::of_nak(heard),
        // RFC 2131 §4.3.5: straight to the client's own address, not through the relay.
        Verdict::Inform => Route::Unicast(heard.ciaddr),
        Verdict::Offer | Verdict::Ack => Route::of(heard, given),
    };
    let boot = match verdict {
        Verdict::Nak => None,
        _ => boot(heard, decision, me),
    };
    let mut out = Out::default();
    match verdict {
        Verdict::Nak => nak_options(&mut out, me),
        _ => options(&mut out, heard, verdict, grant, boot.as_ref(), me),
    }
    echoes(&mut out, heard);
    let mut bytes = header(heard, verdict, given, boot.as_ref(), me);
    fit(&mut out, heard);
    bytes.extend_from_slice(&out.encoded());
    bytes.push(255);
    // BOOTP's minimum, which some relays insist on: the end marker first, zeros after it (field-pain #21).
    bytes.resize(bytes.len().max(dhcproto::v4::MIN_PACKET_SIZE), 0);
    Some(Reply { verdict, address: given, bytes, route, boot: boot.map(|b| b.file) })
}

/// What the client is told to load.
struct Boot {
    file: String,
    /// The TFTP server's name, where it is loaded by TFTP.
    tftp: bool,
    stage: Stage,
}

fn boot(heard: &Heard, decision: &Decision, me: &Me<'_>) -> Option<Boot> {
    let stage = heard.ask.stage;
    match decision.act {
        Act::Silence | Act::Address => None,
        Act::Script => {
            let mut file = format!("{}{}?mac={}", me.url, crate::api::BOOT_SCRIPT, heard.ask.mac.hyphens());
            if let Some(platform) = quirks::platform(heard.ask.arch) {
                file.push('&');
                file.push_str(platform);
            }
            Some(Boot { file, tftp: false, stage })
        }
        Act::Loader => {
            let loader = quirks::loader(heard.ask.arch, stage)?;
            let (file, tftp) = match loader.by {
                By::Tftp => (loader.file.to_string(), true),
                By::Http => (format!("{}/loaders/{}", me.url, loader.file), false),
            };
            Some(Boot { file, tftp, stage })
        }
    }
}

fn header(heard: &Heard, verdict: Verdict, given: Ipv4Addr, boot: Option<&Boot>, me: &Me<'_>) -> Vec<u8> {
    let zero = Ipv4Addr::UNSPECIFIED;
    let next = boot.map_or(zero, |_| me.server);
    let ciaddr = match verdict {
        Verdict::Ack | Verdict::Inform => heard.ciaddr,
        Verdict::Offer | Verdict::Nak => zero,
    };
    let mut m = Message::new_with_id(heard.xid, ciaddr, given, next, heard.giaddr, &heard.ask.mac.0);
    m.set_opcode(Opcode::BootReply);
    // RFC 2131 §4.3.2: a relay must broadcast a NAK, because the client's address is in doubt.
    let broadcast = if verdict == Verdict::Nak && heard.relayed() { 0x8000 } else { 0 };
    m.set_flags(Flags::new(heard.flags | broadcast));
    if let Some(boot) = boot {
        // Both forms, because some clients read only the header and some only the options (field-pain #20).
        m.set_sname_str(me.server.to_string());
        if boot.file.len() < 128 {
            m.set_fname_str(&boot.file);
        }
    }
    let mut bytes = Vec::with_capacity(512);
    // Cannot fail on a growing buffer: every field has its size already.
    let _ = m.encode(&mut Encoder::new(&mut bytes));
    bytes
}

fn nak_options(out: &mut Out, me: &Me<'_>) {
    out.typed(&DhcpOption::MessageType(MessageType::Nak));
    out.typed(&DhcpOption::ServerIdentifier(me.server));
    out.raw(code::MESSAGE, b"this address is not yours here; ask for a new one");
}

fn options(
    out: &mut Out,
    heard: &Heard,
    verdict: Verdict,
    grant: Option<Grant<'_>>,
    boot: Option<&Boot>,
    me: &Me<'_>,
) {
    let kind = if verdict == Verdict::Offer { MessageType::Offer } else { MessageType::Ack };
    out.typed(&DhcpOption::MessageType(kind));
    out.typed(&DhcpOption::ServerIdentifier(me.server));
    if verdict != Verdict::Inform {
        let t = me.lease_secs;
        out.typed(&DhcpOption::AddressLeaseTime(t));
        out.typed(&DhcpOption::Renewal(t / 2));
        out.typed(&DhcpOption::Rebinding(t - t / 8));
    }
    let network = me.network;
    out.typed(&DhcpOption::SubnetMask(network.cidr.netmask()));
    out.typed(&DhcpOption::BroadcastAddr(network.cidr.last()));
    if let Some(gateway) = network.gateway {
        out.typed(&DhcpOption::Router(vec![gateway]));
    }
    out.raw(code::DNS, &addresses(&network.dns));
    let ntp: Vec<Ipv4Addr> = network.ntp.iter().filter_map(|n| n.parse().ok()).collect();
    out.raw(code::NTP, &addresses(&ntp));
    if let Some(host) = grant.and_then(|g| g.host) {
        out.raw(code::HOST_NAME, host.as_bytes());
    }
    out.raw(code::DOMAIN, me.domain.as_bytes());
    if let Some(mtu) = network.mtu {
        out.typed(&DhcpOption::InterfaceMtu(mtu));
    }
    if let Some(boot) = boot {
        if boot.tftp {
            out.raw(code::TFTP_SERVER, me.server.to_string().as_bytes());
        }
        out.raw(code::BOOT_FILE, boot.file.as_bytes());
    }
    if let Some(class) = quirks::vendor_class(heard.ask.stage) {
        out.raw(code::VENDOR_CLASS, class);
    }
    // Only in this mode, where no proxyDHCP server has anything to add: saves 2 to 4 s per boot.
    if heard.ask.stage == Stage::Ipxe && boot.is_some_and(|b| b.stage == Stage::Ipxe) {
        out.raw(code::IPXE, quirks::IPXE_NO_PROXY);
    }
}

/// What goes back as it came: client identifier (RFC 6842), machine identifier, the relay's information (RFC 3046).
fn echoes(out: &mut Out, heard: &Heard) {
    let echo = [
        (code::CLIENT_ID, &heard.client_id),
        (code::MACHINE_ID, &heard.machine_id),
        (code::RELAY, &heard.relay),
    ];
    for (code, data) in echo {
        if let Some(data) = data {
            out.raw(code, data);
        }
    }
}

/// Leaves out what a client can do without, until the message fits what it takes (option 57; at least 576 with the
/// IP and UDP headers, RFC 2131 §2).
fn fit(out: &mut Out, heard: &Heard) {
    let limit = usize::from(heard.max_size.unwrap_or(576).clamp(576, 1500)) - 28;
    for spare in [code::NTP, code::DOMAIN, code::HOST_NAME, code::CLIENT_ID, code::DNS] {
        if 240 + out.size() < limit {
            break;
        }
        out.remove(spare);
    }
}

fn addresses(list: &[Ipv4Addr]) -> Vec<u8> {
    list.iter().take(4).flat_map(|a| a.octets()).collect()
}
