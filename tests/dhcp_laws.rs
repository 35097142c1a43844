//! The laws of the DHCP server, on any sequence of messages: one address for one machine, no NAK in another server's
//! name, silence for strangers, 300 bytes, the order of options.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use bootstead::base::{IpRange, Mac, Timestamp};
use bootstead::boot::{Known, Stage};
use bootstead::dhcp::{Desk, Kind, Me, answer::Verdict, packet};
use bootstead::images::Stock;
use bootstead::lifecycle::{Event, Ledger, What};
use bootstead::site::Site;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const US: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// One step of a story.
#[derive(Debug, Clone)]
struct Step {
    who: u8,
    kind: u8,
    /// 0 none, 1 us, 2 another server.
    server: u8,
    /// 0 none, 1 what it was last offered, else the n-th address of the pool.
    wants: u8,
    renews: bool,
    class: u8,
    relayed: bool,
    broadcast: bool,
    seconds_later: u16,
}

fn step() -> impl Strategy<Value = Step> {
    let server = prop_oneof![1 => Just(0u8), 6 => Just(1), 1 => Just(2)];
    let wants = prop_oneof![1 => Just(0u8), 8 => Just(1), 2 => 2u8..8];
    (
        (0u8..12, prop::sample::select(vec![1u8, 1, 1, 3, 3, 3, 3, 3, 4, 7, 8]), server, wants),
        (
            prop::bool::weighted(0.2),
            prop::sample::select(vec![0u8, 1, 1, 1, 1, 2, 2, 3]),
            prop::bool::weighted(0.2),
            any::<bool>(),
            0u16..90,
        ),
    )
        .prop_map(|((who, kind, server, wants), (renews, class, relayed, broadcast, seconds_later))| {
            Step { who, kind, server, wants, renews, class, relayed, broadcast, seconds_later }
        })
}

fn small_site() -> Site {
    let mut site = support::site(2, 2);
    site.networks.get_mut("prov").unwrap().pool = Some(IpRange::parse("10.77.250.1-10.77.250.6").unwrap());
    site.server.lease_secs = 300;
    site
}

/// Machines 0 to 3 are the site's nodes, the others strangers.
fn who(n: u8) -> Mac {
    if n < 4 { support::mac(usize::from(n)) } else { Mac([2, 0, 0, 0, 0, n]) }
}

fn message(step: &Step, last: Option<Ipv4Addr>) -> Vec<u8> {
    let mut m = vec![0u8; 240];
    m[..3].copy_from_slice(&[1, 1, 6]);
    m[28..34].copy_from_slice(&who(step.who).0);
    m[236..240].copy_from_slice(&[99, 130, 83, 99]);
    if step.broadcast {
        m[10] = 0x80;
    }
    if step.relayed {
        m[24..28].copy_from_slice(&[10, 77, 0, 9]);
    }
    let wanted = match step.wants {
        0 => None,
        1 => last,
        n => Some(Ipv4Addr::new(10, 77, 250, n - 1)),
    };
    let mut option = |code: u8, data: &[u8]| {
        m.push(code);
        m.push(data.len() as u8);
        m.extend_from_slice(data);
    };
    option(53, &[step.kind]);
    match step.server {
        1 => option(54, &US.octets()),
        2 => option(54, &OTHER.octets()),
        _ => {}
    }
    match step.class {
        0 => {}
        1 => option(60, b"PXEClient:Arch:00000"),
        2 => {
            option(60, b"PXEClient:Arch:00007");
            option(77, b"iPXE");
        }
        _ => option(60, b"MSFT 5.0"),
    }
    if step.relayed {
        option(82, &[1, 2, 0xaa, 0xbb]);
    }
    if let Some(w) = wanted {
        if step.renews {
            m[12..16].copy_from_slice(&w.octets());
        } else {
            option_into(&mut m, 50, &w.octets());
        }
    }
    m.push(255);
    m
}

fn option_into(m: &mut Vec<u8>, code: u8, data: &[u8]) {
    m.push(code);
    m.push(data.len() as u8);
    m.extend_from_slice(data);
}

/// The codes of a reply's options, PADs left out.
fn codes(bytes: &[u8]) -> Vec<u8> {
    let (mut at, mut out) = (240, Vec::new());
    while bytes[at] != 255 {
        if bytes[at] == 0 {
            at += 1;
            continue;
        }
        out.push(bytes[at]);
        at += 2 + usize::from(bytes[at + 1]);
    }
    out
}

fn well_formed(bytes: &[u8]) {
    assert!(bytes.len() >= 300, "BOOTP's minimum");
    let codes = codes(bytes);
    assert_eq!(codes[..2], [53, 54]);
    let rest: Vec<u8> = codes.iter().copied().filter(|c| ![53, 54, 51, 82].contains(c)).collect();
    assert!(rest.is_sorted(), "{codes:?}");
    if let Some(at) = codes.iter().position(|c| *c == 51) {
        assert_eq!(at, 2);
    }
    if let Some(at) = codes.iter().position(|c| *c == 82) {
        assert_eq!(at, codes.len() - 1, "the relay's own is last");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn one_address_is_never_two_machines(steps in proptest::collection::vec(step(), 1..200)) {
        let site = small_site();
        let (images, stock) = (BTreeMap::new(), Stock::default());
        let url = site.url();
        let me = Me {
            server: US, url: &url, network: site.provisioning(), domain: "x", lease_secs: 300, alone: false,
        };
        let (mut desk, mut ledger) = (Desk::default(), Ledger::default());
        let mut journal: Vec<Event> = Vec::new();
        let mut last: BTreeMap<Mac, Ipv4Addr> = BTreeMap::new();
        // The reference that the server is held against: whose an address is by offer and by lease, until when.
        let mut offers: BTreeMap<Ipv4Addr, (Mac, Timestamp)> = BTreeMap::new();
        let mut leases = offers.clone();
        let mut now = support::START;
        for s in &steps {
            now = now.plus_secs(u64::from(s.seconds_later));
            let mac = who(s.who);
            let bytes = message(s, last.get(&mac).copied());
            let heard = packet::read(&bytes).unwrap();
            let known = Known { site: &site, images: &images, stock: &stock, ledger: &ledger };
            let turn = desk.turn(known, &me, &heard, now);
            for e in &turn.events {
                // What the client gave back or found in use is not its own any more, by its own word.
                if let What::LeaseReleased { address } | What::AddressInUse { address, .. } = e.what {
                    leases.remove(&address);
                }
            }
            if matches!(heard.kind, Kind::Release | Kind::Decline) || s.server == 2 {
                offers.retain(|_, (m, _)| *m != mac);
            }
            if let Some(reply) = &turn.reply {
                well_formed(&reply.bytes);
                prop_assert!(s.server != 2, "never an answer in another server's turn");
                let stranger = site.node_by_mac(mac).is_none();
                let boots = matches!(heard.ask.stage, Stage::Pxe | Stage::Ipxe | Stage::HttpBoot);
                prop_assert!(!stranger || boots, "a stranger that does not boot gets silence");
                match reply.verdict {
                    Verdict::Offer | Verdict::Ack => {
                        for promises in [&offers, &leases] {
                            if let Some((owner, until)) = promises.get(&reply.address) && *until > now {
                                prop_assert_eq!(*owner, mac, "{} was promised to another", reply.address);
                            }
                        }
                        // A machine has one offer and one lease: the newer ends the older.
                        offers.retain(|_, (m, _)| *m != mac);
                        offers.insert(reply.address, (mac, now.plus_secs(120)));
                        if reply.verdict == Verdict::Ack {
                            leases.retain(|_, (m, _)| *m != mac);
                            leases.insert(reply.address, (mac, now.plus_secs(300)));
                        }
                        last.insert(mac, reply.address);
                    }
                    Verdict::Nak => prop_assert!(s.server == 1 || (!stranger && s.server == 0)),
                    Verdict::Inform => prop_assert!(reply.address.is_unspecified()),
                }
                if reply.verdict == Verdict::Ack {
                    let leased = turn.events.iter().any(|e| {
                        matches!(e.what, What::Leased { address, .. } if address == reply.address)
                    });
                    prop_assert!(leased, "an ACK is a fact to record first");
                }
            }
            for e in turn.events {
                ledger.apply(&e).unwrap();
                journal.push(e);
            }
        }
        prop_assert_eq!(Ledger::replay(&journal), ledger);
    }
}

fn ask(kind: u8, mac: Mac, options: &[(u8, &[u8])]) -> packet::Heard {
    let mut m = vec![0u8; 240];
    m[..3].copy_from_slice(&[1, 1, 6]);
    m[28..34].copy_from_slice(&mac.0);
    m[236..240].copy_from_slice(&[99, 130, 83, 99]);
    option_into(&mut m, 53, &[kind]);
    for (code, data) in options {
        option_into(&mut m, *code, data);
    }
    m.push(255);
    packet::read(&m).unwrap()
}

struct Scene {
    site: Site,
    desk: Desk,
    ledger: Ledger,
}

impl Scene {
    fn new(site: Site) -> Scene {
        Scene { site, desk: Desk::default(), ledger: Ledger::default() }
    }
    fn hear(&mut self, heard: &packet::Heard, at: u64) -> bootstead::dhcp::Turn {
        let url = self.site.url();
        let me = Me {
            server: US,
            url: &url,
            network: self.site.provisioning(),
            domain: "x",
            lease_secs: 3600,
            alone: self.site.server.tolerate.is_empty(),
        };
        let (images, stock) = (BTreeMap::new(), Stock::default());
        let known = Known { site: &self.site, images: &images, stock: &stock, ledger: &self.ledger };
        let turn = self.desk.turn(known, &me, heard, support::START.plus_secs(at));
        for e in &turn.events {
            self.ledger.apply(e).unwrap();
        }
        turn
    }
}

#[test]
fn one_mac_keeps_one_address_whatever_its_client_identifiers_are() {
    let mut scene = Scene::new(support::site(1, 0));
    let stranger = Mac([2, 0, 0, 0, 0, 77]);
    for mac in [support::mac(0), stranger] {
        let pxe: (u8, &[u8]) = (60, b"PXEClient");
        let stages: [&[(u8, &[u8])]; 4] = [
            &[pxe],
            &[pxe, (77, b"iPXE"), (61, b"\x01\x52\x54\x00\xaa\x00\x00")],
            &[pxe, (61, b"\xff\x00\x00\x00\x01machine-id")],
            &[pxe, (61, b"\x00uuid"), (97, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])],
        ];
        let got: Vec<_> =
            stages.iter().map(|o| scene.hear(&ask(1, mac, o), 0).reply.unwrap().address).collect();
        assert!(got.windows(2).all(|w| w[0] == w[1]), "{got:?}");
    }
}

#[test]
fn two_machines_with_one_uuid_stay_two_and_are_pointed_out_once() {
    let mut scene = Scene::new(support::site(2, 0));
    let uuid: [u8; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let mut warnings = 0;
    let mut addresses = Vec::new();
    for round in 0..2 {
        for n in 0..2 {
            let o: [(u8, &[u8]); 2] = [(60, b"PXEClient"), (97, &uuid)];
            let offered = scene.hear(&ask(1, support::mac(n), &o), round).reply.unwrap().address;
            let o: [(u8, &[u8]); 4] =
                [(60, b"PXEClient"), (97, &uuid), (50, &offered.octets()), (54, &US.octets())];
            let turn = scene.hear(&ask(3, support::mac(n), &o), round);
            addresses.push(turn.reply.unwrap().address);
            warnings += turn.events.iter().filter(|e| matches!(e.what, What::Log { .. })).count();
        }
    }
    assert_ne!(addresses[0], addresses[1]);
    assert_eq!(addresses[..2], addresses[2..]);
    assert_eq!(warnings, 1);
}

#[test]
fn another_server_s_client_is_never_refused_and_an_own_one_with_a_wrong_address_is() {
    let mut scene = Scene::new(support::site(1, 0));
    let mac = support::mac(0);
    let wrong = [192, 168, 7, 7];
    let foreign = ask(3, mac, &[(50, &wrong), (54, &OTHER.octets())]);
    let turn = scene.hear(&foreign, 0);
    assert_eq!((turn.reply, turn.rival), (None, Some(OTHER)));
    let init_reboot = ask(3, mac, &[(50, &wrong)]);
    assert_eq!(scene.hear(&init_reboot, 1).reply.unwrap().verdict, Verdict::Nak);
    scene.site.server.tolerate = vec![OTHER];
    assert_eq!(
        scene.hear(&init_reboot, 2).reply,
        None,
        "with a tolerated server that address may be its own"
    );
    let stranger = ask(3, Mac([2, 0, 0, 0, 0, 9]), &[(60, b"PXEClient"), (50, &wrong)]);
    assert_eq!(scene.hear(&stranger, 3).reply, None);
}

#[test]
fn a_declined_address_is_set_aside_and_another_one_offered() {
    let mut scene = Scene::new(small_site());
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    let pxe: (u8, &[u8]) = (60, b"PXEClient");
    let first = scene.hear(&ask(1, mac, &[pxe]), 0).reply.unwrap().address;
    let turn = scene.hear(&ask(4, mac, &[pxe, (50, &first.octets()), (54, &US.octets())]), 1);
    assert_eq!(turn.probe, Some(first), "to find who has it");
    assert!(scene.ledger.is_set_aside(first, support::START.plus_secs(2)));
    let second = scene.hear(&ask(1, mac, &[pxe]), 2).reply.unwrap().address;
    assert_ne!(first, second);
    // What it was never given it cannot take out of the pool.
    let turn = scene.hear(&ask(4, mac, &[pxe, (50, &[10, 77, 250, 6]), (54, &US.octets())]), 3);
    assert_eq!(turn.events, vec![]);
}

#[test]
fn while_a_rival_is_here_only_the_site_s_own_nodes_are_served() {
    let mut scene = Scene::new(support::site(1, 0));
    let pxe: (u8, &[u8]) = (60, b"PXEClient");
    let expect = |scene: &mut Scene, strangers: bool| {
        assert_eq!(scene.hear(&ask(1, Mac([2, 0, 0, 0, 0, 9]), &[pxe]), 0).reply.is_some(), strangers);
        assert!(scene.hear(&ask(1, support::mac(0), &[pxe]), 0).reply.is_some());
    };
    expect(&mut scene, true);
    scene.desk.rival_here = true;
    expect(&mut scene, false);
    scene.desk.rival_here = false;
    // A cable that was plugged in just now may lead to one.
    scene.desk.unsure.insert("eth1".to_string());
    expect(&mut scene, false);
    scene.desk.unsure.clear();
    expect(&mut scene, true);
}

#[test]
fn addresses_that_nobody_answered_for_are_given_first_and_a_crowd_never_waits() {
    let mut scene = Scene::new(small_site());
    let clear = Ipv4Addr::new(10, 77, 250, 4);
    scene.desk.offers.mark_clear(clear, support::START);
    let pxe: (u8, &[u8]) = (60, b"PXEClient");
    let mut got = Vec::new();
    for n in 0..7 {
        let turn = scene.hear(&ask(1, Mac([2, 0, 0, 0, 1, n]), &[pxe]), 0);
        got.extend(turn.reply.map(|r| r.address));
    }
    assert_eq!(got[0], clear);
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 6, "six addresses, each once; the seventh machine gets none");
}

#[test]
fn a_relay_s_information_returns_byte_for_byte_and_last() {
    let mut scene = Scene::new(support::site(1, 0));
    let raw = [2, 3, 9, 9, 9, 1, 2, 7, 7, 2, 1, 5];
    let mut heard = ask(1, support::mac(0), &[(60, b"PXEClient"), (82, &raw)]);
    heard.giaddr = Ipv4Addr::new(10, 77, 0, 9);
    let reply = scene.hear(&heard, 0).reply.unwrap();
    let at = reply.bytes.windows(raw.len()).position(|w| w == raw).unwrap();
    assert_eq!(reply.bytes[at - 2..at], [82, raw.len() as u8]);
    assert_eq!(reply.bytes[at + raw.len()], 255);
    assert_eq!(reply.route, bootstead::dhcp::Route::Relay(heard.giaddr));
}

/// RFC 2131 §4.3.1, RFC 3527 (field-pain #9, #23).
#[test]
fn what_a_relay_brings_from_another_network_gets_no_address() {
    let mut scene = Scene::new(support::site(1, 0));
    let pxe: (u8, &[u8]) = (60, b"PXEClient");
    let elsewhere = |mac: Mac, options: &[(u8, &[u8])]| {
        let mut heard = ask(1, mac, options);
        heard.giaddr = Ipv4Addr::new(192, 168, 5, 1);
        heard
    };
    let turn = scene.hear(&elsewhere(Mac([2, 0, 0, 0, 0, 9]), &[pxe]), 0);
    assert_eq!((turn.reply, turn.events.len(), turn.ignored), (None, 0, true), "a stranger: silence");
    let turn = scene.hear(&elsewhere(support::mac(0), &[pxe]), 1);
    assert_eq!(turn.reply, None);
    let [Event { what: What::Refused { why, .. }, .. }] = turn.events.as_slice() else {
        panic!("{:?}", turn.events)
    };
    assert!(why.contains("the network of 192.168.5.1"), "{why}");
    // The relay's own address is elsewhere, the client's link is ours.
    let turn = scene.hear(&elsewhere(support::mac(0), &[pxe, (82, &[1, 1, 7, 5, 4, 10, 77, 0, 9])]), 2);
    assert!(turn.reply.is_some());
    // And the other way round: a relay of ours with a link of another network. Broken options say nothing.
    let mut heard = elsewhere(support::mac(0), &[pxe, (82, &[5, 4, 192, 168, 6, 1])]);
    heard.giaddr = Ipv4Addr::new(10, 77, 0, 9);
    assert_eq!(scene.hear(&heard, 3).reply, None);
    let mut heard = elsewhere(support::mac(0), &[pxe, (82, &[5, 9, 192])]);
    heard.giaddr = Ipv4Addr::new(10, 77, 0, 9);
    assert!(scene.hear(&heard, 4).reply.is_some());
}

/// Silence, and a line: a node whose address has a slip in the site file is such a machine (field-pain #10).
#[test]
fn an_unknown_machine_that_wants_to_boot_is_listed_though_it_gets_nothing() {
    let mut site = support::site(1, 0);
    site.server.discover = false;
    let mut scene = Scene::new(site);
    let Mac(mut slip) = support::mac(0);
    slip[5] ^= 0x10;
    let pxe: (u8, &[u8]) = (60, b"PXEClient");
    let turn = scene.hear(&ask(1, Mac(slip), &[pxe]), 0);
    assert_eq!((turn.reply, turn.ignored, turn.events.len()), (None, true, 1));
    let later = scene.hear(&ask(1, Mac(slip), &[pxe]), 30);
    assert_eq!(
        (later.reply, later.events.len()),
        (None, 0),
        "it asks for ever: once in ten minutes is enough"
    );
    assert_eq!(scene.hear(&ask(1, Mac(slip), &[pxe]), 700).events.len(), 1);
    let quiet = scene.hear(&ask(1, Mac([2, 0, 0, 0, 0, 9]), &[(60, b"MSFT 5.0")]), 700);
    assert_eq!((quiet.reply, quiet.events.len()), (None, 0), "somebody's laptop is not listed");
    let now = support::START.plus_secs(701);
    let board = bootstead::ui::board(&scene.site, &scene.ledger, &BTreeMap::new(), now, None);
    let [found] = board.discovered.as_slice() else { panic!("{:?}", board.discovered) };
    assert_eq!((found.mac, found.like.as_deref()), (Mac(slip), Some(scene.site.nodes[0].name.as_str())));
    // Its own machine was heard: then the other one is somebody else.
    scene.hear(&ask(1, support::mac(0), &[pxe]), 702);
    for _ in 0..4 {
        scene.hear(&ask(1, support::mac(0), &[pxe]), 703);
    }
    let board = bootstead::ui::board(&scene.site, &scene.ledger, &BTreeMap::new(), now, None);
    assert_eq!(board.discovered[0].like, None);
}

/// Firmware that is offered nothing to load may never ask for the address: the offer itself says why (field-pain #18).
#[test]
fn a_machine_that_no_loader_is_for_is_told_of_before_it_takes_its_address() {
    let mut scene = Scene::new(support::site(1, 0));
    let turn = scene.hear(&ask(1, support::mac(0), &[(60, b"PXEClient"), (93, &[0, 27])]), 0);
    assert!(turn.reply.is_some());
    assert!(
        turn.events
            .iter()
            .any(|e| matches!(&e.what, What::Refused { why, .. } if why.contains("architecture 27"))),
        "{:?}",
        turn.events
    );
}

#[test]
fn no_reply_is_longer_than_the_client_takes() {
    let mut site = support::site(1, 0);
    site.domain = "a".repeat(200);
    let network = site.networks.get_mut("prov").unwrap();
    network.dns = (0..9).map(|n| [10, 77, 9, n].into()).collect();
    let mut scene = Scene::new(site);
    let id = vec![7u8; 200];
    let heard = ask(1, support::mac(0), &[(60, b"PXEClient"), (61, &id)]);
    let reply = scene.hear(&heard, 0).reply.unwrap();
    assert!(reply.bytes.len() <= 576 - 28, "{}", reply.bytes.len());
    assert!(codes(&reply.bytes).contains(&67), "what it boots from stays");
}
