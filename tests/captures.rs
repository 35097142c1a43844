//! Every capture of real firmware and installers, replayed: what we would answer to each message, as a transcript.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use bootstead::base::{IpRange, Mac};
use bootstead::boot::Known;
use bootstead::dhcp::{Desk, Me, Route, options::printable, packet, rival, route};
use bootstead::images::Stock;
use bootstead::lifecycle::Ledger;
use bootstead::site::Site;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The Ethernet frames of a classic pcap file, with microseconds since the first.
fn frames(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    assert_eq!(bytes[..4], [0xd4, 0xc3, 0xb2, 0xa1], "little-endian pcap");
    assert_eq!(bytes[20], 1, "Ethernet");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut out, mut first) = (24, Vec::new(), None);
    while at + 16 <= bytes.len() {
        let time = word(at) as u64 * 1_000_000 + word(at + 4) as u64;
        let length = word(at + 8);
        // Two taps of one bridge may write a little out of order.
        let start = *first.get_or_insert(time);
        out.push((time.saturating_sub(start), bytes[at + 16..at + 16 + length].to_vec()));
        at += 16 + length;
    }
    out
}

/// Clients' messages to port 67, with milliseconds since the capture began.
fn messages(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut out = Vec::new();
    for (micros, frame) in frames(bytes) {
        if frame.get(12..14) != Some(&[8, 0]) {
            continue;
        }
        let header = usize::from(frame[14] & 15) * 4;
        let port = frame.get(14 + header + 2..14 + header + 4);
        if let Some((_, payload)) = route::read_udp(&frame[14..])
            && port == Some(&[0, 67])
        {
            out.push((micros / 1000, payload.to_vec()));
        }
    }
    out
}

/// The lab of the captures: 10.77.0.0/24, one node, the other machine's MAC a discovered one.
fn lab() -> Site {
    let mut site = support::site(1, 0);
    let network = site.networks.get_mut("prov").unwrap();
    network.cidr = "10.77.0.0/24".parse().unwrap();
    network.gateway = Some([10, 77, 0, 1].into());
    network.dns = vec![[10, 77, 0, 1].into()];
    network.ntp = vec!["10.77.0.1".into()];
    network.pool = Some(IpRange::parse("10.77.0.130-10.77.0.180").unwrap());
    site.nodes[0].macs = vec![Mac([0x52, 0x54, 0, 0x77, 0, 1])];
    site.nodes[0].addresses.insert("prov".into(), [10, 77, 0, 21].into());
    site.indexed()
}

/// The reply's options in order, in the field's words.
fn spelled(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let mut at = 240;
    while bytes[at] != 255 {
        if bytes[at] == 0 {
            out.push("PAD".to_string());
            at += 1;
            continue;
        }
        let data = &bytes[at + 2..at + 2 + usize::from(bytes[at + 1])];
        out.push(match bytes[at] {
            c @ (12 | 15 | 56 | 60 | 66 | 67) => format!("{c}={:?}", printable(data)),
            c @ (1 | 3 | 6 | 28 | 42 | 54) => {
                format!("{c}={}.{}.{}.{}", data[0], data[1], data[2], data[3])
            }
            c @ (51 | 58 | 59) => format!("{c}={}", u32::from_be_bytes(data.try_into().unwrap())),
            c => format!("{c}={}", data.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        });
        at += 2 + data.len();
    }
    assert!(bytes[at + 1..].iter().all(|b| *b == 0), "only zeros after the end");
    out.join(" ")
}

fn transcript(bytes: &[u8]) -> String {
    let site = lab();
    let (images, stock) = (BTreeMap::new(), Stock::default());
    let mut ledger = Ledger::default();
    let mut desk = Desk::default();
    let mut offered = BTreeMap::new();
    let url = site.url();
    let me = Me {
        server: site.server.address,
        url: &url,
        network: site.provisioning(),
        domain: &site.domain,
        lease_secs: site.server.lease_secs,
        alone: true,
    };
    let mut out = String::new();
    for (millis, message) in messages(bytes) {
        let now = bootstead::base::Timestamp(support::START.0 + millis as i64);
        let _ = write!(out, "{:>6}.{:03} ", millis / 1000, millis % 1000);
        let mut heard = match packet::read(&message) {
            Ok(h) => h,
            Err(why) => {
                let _ = writeln!(out, "rejected: {why}");
                continue;
            }
        };
        // The capture's server gave other addresses: a client that takes an offer takes ours.
        if heard.server == Some(me.server) && heard.requested.is_some() {
            heard.requested = offered.get(&heard.ask.mac).copied().or(heard.requested);
        }
        let _ = writeln!(out, "{} {}", heard.ask.mac, heard.sentence());
        let turn = desk.turn(
            Known { site: &site, images: &images, stock: &stock, ledger: &ledger },
            &me,
            &heard,
            now,
        );
        match &turn.reply {
            None if turn.ignored => out.push_str("           silence: none of our business\n"),
            None => {
                let _ = writeln!(out, "           silence: not our turn (server {:?})", heard.server);
            }
            Some(reply) => {
                let b = &reply.bytes;
                assert!(b.len() >= 300, "BOOTP's minimum");
                offered.insert(heard.ask.mac, reply.address);
                assert_eq!(b[4..8], message[4..8], "xid");
                assert_eq!(b[10..12], message[10..12], "flags");
                assert_eq!(rival::read(b).unwrap().client, heard.ask.mac);
                let to = match reply.route {
                    Route::Broadcast => "broadcast".to_string(),
                    Route::Frame { mac, address } => format!("frame to {mac} for {address}"),
                    other => format!("{other:?}"),
                };
                let file = printable(b[108..236].split(|x| *x == 0).next().unwrap());
                let _ = writeln!(
                    out,
                    "           {:?} {} by {to}, {} bytes, siaddr {}.{}.{}.{}, file {file:?}\n           {}",
                    reply.verdict,
                    reply.address,
                    b.len(),
                    b[20],
                    b[21],
                    b[22],
                    b[23],
                    spelled(b)
                );
            }
        }
        for event in &turn.events {
            ledger.apply(event).unwrap();
            let _ = writeln!(out, "           + {}", event.what.sentence());
        }
    }
    out
}

#[test]
fn every_capture_gets_the_answers_of_its_transcript() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "pcap"))
        .collect();
    names.sort();
    assert!(names.len() >= 18, "the captures are there");
    let mut out = String::new();
    for path in names {
        let text = transcript(&std::fs::read(&path).unwrap());
        assert!(text.contains("DISCOVER"), "{} holds a DISCOVER", path.display());
        let _ = writeln!(out, "== {}\n{text}", path.file_stem().unwrap().to_string_lossy());
    }
    support::golden("captures.txt", &out);
}
