//! Owns reading a client's message: bytes → [`Heard`], or why they are none.

use super::options::{Options, code, printable, user_class_is, uuid};
use crate::base::{ClientArch, Mac};
use crate::boot::{Ask, Stage};
use dhcproto::v4::borrowed::Message;
use std::fmt;
use std::net::Ipv4Addr;

/// A client's message, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub kind: Kind,
    pub xid: u32,
    /// Seconds since the client began, by its own count; iPXE starts at 4.
    pub secs: u16,
    /// The flags field as it came; the top bit asks for a broadcast reply.
    pub flags: u16,
    pub hops: u8,
    /// The address that the client already uses; 0.0.0.0 if none.
    pub ciaddr: Ipv4Addr,
    /// The relay that passed it on; 0.0.0.0 if none.
    pub giaddr: Ipv4Addr,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: the server that the client chose.
    pub server: Option<Ipv4Addr>,
    /// Option 55.
    pub wants: Vec<u8>,
    /// Option 57: the largest message that it takes, IP header included.
    pub max_size: Option<u16>,
    /// Option 61: recorded and echoed (RFC 6842), never an identity (field-pain #15).
    pub client_id: Option<Vec<u8>>,
    /// Option 77 as it came.
    pub user_class: Option<Vec<u8>>,
    /// Option 82 as the relay sent it, to be echoed byte for byte.
    pub relay: Option<Vec<u8>>,
    /// Option 97 as it came, to be echoed.
    pub machine_id: Option<Vec<u8>>,
    /// Option 97's bytes as text without turning the first fields: what some stickers and tools show.
    pub uuid_as_sent: Option<String>,
    /// Option 12.
    pub host_name: Option<String>,
    pub ask: Ask,
}

impl Heard {
    /// Whether the client asked for a broadcast reply (RFC 2131 §2).
    pub fn broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }
    /// Whether a relay passed it on.
    pub fn relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }
    /// An address of the network that a relayed client is on: what the relay says in option 82 (RFC 3527 link
    /// selection), else the relay's own (RFC 2131 §4.3.1). None for clients on our own segment.
    pub fn link(&self) -> Option<Ipv4Addr> {
        const LINK_SELECTION: u8 = 5;
        let mut rest = self.relay.as_deref().unwrap_or_default();
        while let [code, length, tail @ ..] = rest {
            let Some((value, after)) = tail.split_at_checked(usize::from(*length)) else { break };
            if *code == LINK_SELECTION
                && let Ok(address) = <[u8; 4]>::try_from(value)
            {
                return Some(address.into());
            }
            rest = after;
        }
        self.relayed().then_some(self.giaddr)
    }
    /// The address that it wants: option 50, or the one that it renews.
    pub fn wanted(&self) -> Option<Ipv4Addr> {
        self.requested.or((!self.ciaddr.is_unspecified()).then_some(self.ciaddr))
    }
    /// "DISCOVER by firmware (PXE), x64 UEFI", for people.
    pub fn sentence(&self) -> String {
        let mut out = format!("{} by {}", self.kind, self.ask.stage.name());
        if let Some(a) = self.ask.arch {
            out.push_str(&format!(", {}", a.name()));
        }
        if self.relayed() {
            out.push_str(&format!(", through relay {}", self.giaddr));
        }
        out
    }
}

/// What a client's message is (option 53, RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Discover,
    Request,
    Decline,
    Release,
    Inform,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Discover => "DISCOVER",
            Kind::Request => "REQUEST",
            Kind::Decline => "DECLINE",
            Kind::Release => "RELEASE",
            Kind::Inform => "INFORM",
        })
    }
}

/// Why bytes are not a message that a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejected {
    #[error("shorter than a DHCP message (240 bytes)")]
    Short,
    #[error("not DHCP: the magic cookie is missing (plain BOOTP)")]
    Cookie,
    #[error("a server's message, not a client's")]
    Reply,
    #[error("not Ethernet: only hardware type 1 with 6 bytes of address is served")]
    Hardware,
    #[error("its hardware address is zero or a group address")]
    Address,
    #[error("no message type that a client sends (option 53)")]
    Type,
}

/// Reads what arrived on the server's port. Total: any bytes give an answer, never a panic.
///
/// The fixed header is judged before dhcproto sees it, because dhcproto 0.15 trusts `hlen`.
pub fn read(bytes: &[u8]) -> Result<Heard, Rejected> {
    let cookie = bytes.get(236..240).ok_or(Rejected::Short)?;
    if cookie != dhcproto::v4::MAGIC {
        return Err(Rejected::Cookie);
    }
    match (bytes[0], bytes[1], bytes[2]) {
        (1, 1, 6) => {}
        (1, _, _) => return Err(Rejected::Hardware),
        _ => return Err(Rejected::Reply),
    }
    let message = Message::new(bytes).map_err(|_| Rejected::Short)?;
    let mac: [u8; 6] = message.chaddr().try_into().map_err(|_| Rejected::Hardware)?;
    if mac == [0; 6] || mac[0] & 1 == 1 {
        return Err(Rejected::Address);
    }
    let options = Options::read(bytes);
    let kind = match options.get(code::MESSAGE_TYPE).and_then(|d| d.first()) {
        Some(1) => Kind::Discover,
        Some(3) => Kind::Request,
        Some(4) => Kind::Decline,
        Some(7) => Kind::Release,
        Some(8) => Kind::Inform,
        _ => return Err(Rejected::Type),
    };
    let given = |a: Option<Ipv4Addr>| a.filter(|a| !a.is_unspecified());
    let owned = |c: u8| options.get(c).map(<[u8]>::to_vec);
    let ids = options.get(code::MACHINE_ID).and_then(uuid);
    Ok(Heard {
        kind,
        xid: message.xid(),
        secs: message.secs(),
        flags: message.flags().into(),
        hops: message.hops(),
        ciaddr: message.ciaddr(),
        giaddr: message.giaddr(),
        requested: given(options.address(code::REQUESTED)),
        server: given(options.address(code::SERVER_ID)),
        wants: owned(code::PARAMETERS).unwrap_or_default(),
        max_size: options.number(code::MAX_SIZE),
        client_id: owned(code::CLIENT_ID),
        user_class: owned(code::USER_CLASS),
        relay: owned(code::RELAY),
        machine_id: owned(code::MACHINE_ID),
        uuid_as_sent: ids.as_ref().map(|(_, raw)| raw.clone()),
        host_name: options.text(code::HOST_NAME).filter(|t| !t.is_empty()),
        ask: Ask {
            mac: Mac(mac),
            stage: stage(&options),
            arch: options.number(code::ARCH).map(ClientArch),
            uuid: ids.map(|(dmidecode, _)| dmidecode),
            vendor: options.get(code::VENDOR_CLASS).map(printable).filter(|t| !t.is_empty()),
        },
    })
}

/// Which program asks. iPXE keeps the firmware's option 60, so 77 and 175 are looked at first (field-pain #7).
fn stage(options: &Options) -> Stage {
    let ipxe = options.get(code::USER_CLASS).is_some_and(|d| user_class_is(d, b"iPXE"));
    if ipxe || options.get(code::IPXE).is_some() {
        return Stage::Ipxe;
    }
    let class = options.get(code::VENDOR_CLASS).unwrap_or_default();
    let starts = |with: &str| class.starts_with(with.as_bytes());
    if starts("HTTPClient") {
        Stage::HttpBoot
    } else if starts("PXEClient") {
        Stage::Pxe
    } else if INSTALLERS.iter().any(|i| starts(i)) {
        Stage::Installer
    } else {
        Stage::Other
    }
}

/// Vendor classes of installers: Debian's, Anaconda's (dracut's is `dracut`), our own system.
const INSTALLERS: [&str; 4] = ["d-i", "anaconda", "dracut", "bootstead"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A DISCOVER with these options.
    pub fn discover(options: &[u8]) -> Vec<u8> {
        let mut m = vec![0u8; 240];
        m[..3].copy_from_slice(&[1, 1, 6]);
        m[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, 0, 1]);
        m[236..240].copy_from_slice(&dhcproto::v4::MAGIC);
        m.extend_from_slice(&[53, 1, 1]);
        m.extend_from_slice(options);
        m.push(255);
        m
    }

    #[test]
    fn stages_are_told_apart_by_what_each_client_really_sends() {
        let stage = |o: &[u8]| read(&discover(o)).unwrap().ask.stage;
        assert_eq!(stage(b"\x3c\x09PXEClient"), Stage::Pxe);
        assert_eq!(stage(b"\x3c\x14HTTPClient:Arch:00016"), Stage::HttpBoot);
        assert_eq!(stage(b"\x3c\x09PXEClient\x4d\x04iPXE"), Stage::Ipxe);
        assert_eq!(stage(b"\x3c\x09PXEClient\x4d\x05\x04iPXE"), Stage::Ipxe);
        assert_eq!(stage(b"\x3c\x09PXEClient\xaf\x01\x00"), Stage::Ipxe);
        assert_eq!(stage(b"\x3c\x03d-i"), Stage::Installer);
        assert_eq!(stage(b"\x3c\x08anaconda"), Stage::Installer);
        assert_eq!(stage(b"\x3c\x04udhc"), Stage::Other);
        assert_eq!(stage(b""), Stage::Other);
    }

    #[test]
    fn what_is_no_clients_message_is_rejected_with_its_reason() {
        assert_eq!(read(&[]), Err(Rejected::Short));
        let good = discover(&[]);
        assert_eq!(read(&good[..239]), Err(Rejected::Short));
        let with = |at: usize, value: u8| {
            let mut m = good.clone();
            m[at] = value;
            read(&m)
        };
        assert_eq!(with(0, 2), Err(Rejected::Reply));
        assert_eq!(with(1, 32), Err(Rejected::Hardware));
        for hlen in [0, 5, 7, 16, 17, 255] {
            assert_eq!(with(2, hlen), Err(Rejected::Hardware), "{hlen}");
        }
        assert_eq!(with(28, 0x53), Err(Rejected::Address));
        assert_eq!(with(238, 0), Err(Rejected::Cookie));
        assert_eq!(with(242, 2), Err(Rejected::Type));
    }

    proptest! {
        #[test]
        fn nothing_on_the_wire_panics(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            super::super::whatever_arrives(&bytes);
        }

        #[test]
        fn no_options_whatever_panic(
            options in proptest::collection::vec(any::<u8>(), 0..400),
            kind in 0u8..10,
            file in any::<[u8; 32]>(),
        ) {
            let mut m = discover(&options);
            m[242] = kind;
            m[108..140].copy_from_slice(&file);
            super::super::whatever_arrives(&m);
        }
    }
}
