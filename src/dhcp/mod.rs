//! DHCP in bytes (RFC 2131, 2132, 3396, 4578): packet → [`crate::boot::Ask`], decision → packet. No socket, no clock.

pub mod answer;
pub mod arp;
pub mod options;
pub mod packet;
pub mod rival;
pub mod route;
pub mod turn;

pub use answer::{Grant, Me, Reply, answer};
pub use packet::{Heard, Kind, Rejected};
pub use route::Route;
pub use turn::{Desk, Turn};

/// The server's port (RFC 2131 §4.1).
pub const SERVER_PORT: u16 = 67;
/// The client's port.
pub const CLIENT_PORT: u16 = 68;

/// For fuzzers: reads `bytes` as everything that can arrive on our sockets, and answers what can be answered.
///
/// Whatever the bytes are, this returns; what it returns is the number of answers made.
pub fn whatever_arrives(bytes: &[u8]) -> usize {
    use crate::boot::{Act, Decision, Orders, Why};
    let _ = arp::read(bytes);
    let _ = rival::read(bytes);
    if let Some((_, payload)) = route::read_udp(bytes) {
        let _ = rival::read(payload);
    }
    let Ok(heard) = packet::read(bytes) else { return 0 };
    let network = crate::site::Network {
        name: "provisioning".into(),
        cidr: crate::base::Cidr::containing(std::net::Ipv4Addr::new(10, 77, 0, 0), 24),
        vlan: None,
        mtu: Some(9000),
        gateway: Some([10, 77, 0, 1].into()),
        dns: vec![[10, 77, 0, 1].into()],
        ntp: vec!["10.77.0.1".into(), "ntp.example".into()],
        pool: None,
    };
    let me = Me {
        server: [10, 77, 0, 1].into(),
        url: "http://10.77.0.1",
        network: &network,
        domain: "site.example",
        lease_secs: 3600,
        alone: true,
    };
    let acts = [Act::Silence, Act::Address, Act::Loader, Act::Script];
    let grants = [None, Some(Grant { address: [10, 77, 0, 20].into(), host: Some("cs-01"), known: true })];
    let mut made = 0;
    for act in acts {
        for grant in grants {
            let decision = Decision { act, orders: Orders::None, why: Why::NotArmed };
            made += usize::from(answer(&heard, &decision, grant, &me).is_some());
        }
    }
    made
}
