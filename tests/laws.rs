//! The invariants of ARCHITECTURE.md as property tests: random lives of machines, and what must never happen in them.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use bootstead::base::{ClientArch, Mac, Sha256, Timestamp};
use bootstead::boot::address::Offers;
use bootstead::boot::{Act, Ask, Orders, Stage, decide};
use bootstead::lifecycle::{Event, Lane, Ledger, State, What, Wire};
use bootstead::store::Store;
use bootstead::store::memory::Memory;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use support::{START, Supply, mac, site};

const STAGES: [Stage; 5] = [Stage::Pxe, Stage::HttpBoot, Stage::Ipxe, Stage::Installer, Stage::Other];

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "\\PC{0,6}", Just("\u{0}\n\u{1b}[2J".to_string())]
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0i64..4_000_000_000).prop_map(|ms| Timestamp(START.0 + ms))
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    (1u8..6).prop_map(|n| Ipv4Addr::new(10, 77, 250, n))
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Installer), Just(Lane::Fast)]
}

fn run() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), Just(Some("run-a".to_string())), Just(Some("run-b".to_string()))]
}

/// Every kind of fact, with arming numbers that are often stale or not yet given.
fn what() -> impl Strategy<Value = What> {
    let wire = prop_oneof![Just(Wire::Dhcp), Just(Wire::Tftp), Just(Wire::Http)];
    let server = prop_oneof![
        text().prop_map(|version| What::Started { version }),
        (0usize..600).prop_map(|nodes| What::SiteLoaded { digest: Sha256::of(b"s"), nodes }),
        (text(), address(), text()).prop_map(|(interface, server, offer)| What::RivalHeard {
            interface,
            server,
            offer
        }),
    ];
    let person = prop_oneof![
        4 => (0u32..5, text(), prop::collection::vec(text(), 0..2)).prop_map(|(arming, by, erase)| What::Armed {
            arming, by, image: "debian12".into(), role: "compute".into(), erase, bound: None
        }),
        1 => (text(), text()).prop_map(|(why, by)| What::Held { why, by }),
        1 => text().prop_map(|by| What::Released { by }),
        1 => text().prop_map(|by| What::Forgotten { by }),
    ];
    let heard = prop_oneof![
        (wire, any::<bool>(), text(), text()).prop_map(|(wire, boot, asked, answered)| What::Asked {
            wire,
            boot,
            asked,
            answered
        }),
        (any::<Option<u16>>(), any::<Option<bool>>()).prop_map(|(arch, uuid)| What::Identified {
            arch: arch.map(ClientArch),
            uuid: uuid.map(|b| b.to_string()),
            vendor: None
        }),
        (address(), time()).prop_map(|(address, until)| What::Leased { address, until }),
        address().prop_map(|address| What::LeaseReleased { address }),
        (address(), any::<bool>(), time()).prop_map(|(address, by, until)| What::AddressInUse {
            address,
            by: by.then(|| mac(7)),
            until
        }),
        text().prop_map(|how| What::SentToDisk { how }),
        (text(), text()).prop_map(|(what_asked, why)| What::Refused { what_asked, why }),
    ];
    let told = prop_oneof![
        4 => (0u32..5, lane(), text(), run())
            .prop_map(|(arming, lane, file, run)| What::AnswersServed { arming, lane, file, run }),
        2 => (0u32..5, text(), any::<Option<u8>>(), any::<Option<u64>>())
            .prop_map(|(arming, step, percent, bytes)| What::Progressed { arming, step, percent, bytes }),
        3 => (0u32..5, any::<bool>(), text())
            .prop_map(|(arming, ok, detail)| What::InstallReported { arming, ok, detail }),
        3 => (0u32..5, text()).prop_map(|(arming, detail)| What::FirstBooted { arming, detail }),
        1 => text().prop_map(|report| What::Hardware { report }),
        1 => text().prop_map(|line| What::Log { line }),
    ];
    prop_oneof![1 => server, 4 => person, 4 => heard, 8 => told]
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let event = (what(), 0usize..3, 0u64..900_000);
    prop::collection::vec(event, 0..most).prop_map(|list| {
        let mut at = START;
        let mut out = Vec::new();
        for (what, who, later) in list {
            at = Timestamp(at.0 + later as i64);
            let server =
                matches!(what, What::Started { .. } | What::SiteLoaded { .. } | What::RivalHeard { .. });
            out.push(if server { Event::server(at, what) } else { Event::new(at, mac(who), what) });
        }
        out
    })
}

fn ask(mac: Mac, stage: Stage, arch: Option<u16>) -> Ask {
    Ask { mac, stage, arch: arch.map(ClientArch), uuid: None, vendor: None }
}

/// What a machine at the wire does, as the servers see it. `arming` of answers and reports: as given, or guessed.
#[derive(Debug, Clone)]
enum Move {
    Boots(Stage),
    TakesAnswers { guess: Option<u32>, run: Option<String> },
    Reports { guess: Option<u32>, ok: bool },
    CallsHome { guess: Option<u32> },
    PersonArms,
    PersonHolds,
    PersonReleases,
    PersonForgets,
    ServerRestarts,
    TimePasses(u64),
}

fn moves() -> impl Strategy<Value = Vec<(usize, Move)>> {
    let guess = || prop::option::weighted(0.4, 0u32..6);
    let one = prop_oneof![
        6 => prop::sample::select(STAGES.to_vec()).prop_map(Move::Boots),
        6 => (guess(), run()).prop_map(|(guess, run)| Move::TakesAnswers { guess, run }),
        3 => (guess(), any::<bool>()).prop_map(|(guess, ok)| Move::Reports { guess, ok }),
        3 => guess().prop_map(|guess| Move::CallsHome { guess }),
        2 => Just(Move::PersonArms),
        1 => Just(Move::PersonHolds),
        1 => Just(Move::PersonReleases),
        1 => Just(Move::PersonForgets),
        1 => Just(Move::ServerRestarts),
        1 => (0u64..10_000).prop_map(Move::TimePasses),
    ];
    prop::collection::vec((0usize..3, one), 0..60)
}

/// A server without sockets: the store, the ledger, and what it would answer.
struct World {
    site: bootstead::site::Site,
    supply: Supply,
    store: Memory,
    ledger: Ledger,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        World {
            site: site(1, 2),
            supply: Supply::full(),
            store: Memory::default(),
            ledger: Ledger::default(),
            now: START,
        }
    }
    fn orders(&self, m: Mac) -> Orders {
        decide(self.supply.known(&self.site, &self.ledger), &ask(m, Stage::Ipxe, Some(7)), self.now).orders
    }
    /// Stores a fact and takes it in; `false` if the life-cycle refuses it.
    fn fact(&mut self, m: Mac, what: What) -> bool {
        let event = Event::new(self.now, m, what);
        let mut next = self.ledger.clone();
        if next.apply(&event).is_err() {
            return false;
        }
        self.store.append(std::slice::from_ref(&event)).unwrap();
        self.ledger = next;
        true
    }
    fn restart(&mut self) {
        let stored = self.store.read(0, usize::MAX).unwrap();
        let replayed = Ledger::replay(stored.iter().map(|e| &e.event));
        assert_eq!(replayed, self.ledger, "replay equals live");
        self.ledger = replayed;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Invariant 1. An installation begins only under an arming that a person made and that began none before; no
    /// loss, repetition or forgery of reports, no restart and no clock changes that.
    #[test]
    fn install_latch(moves in moves()) {
        let mut w = World::new();
        let mut armed: BTreeMap<Mac, u32> = BTreeMap::new();
        let mut used: BTreeMap<Mac, BTreeSet<(u32, Option<String>)>> = BTreeMap::new();
        for (who, what) in moves {
            let m = mac(who);
            let current = armed.get(&m).copied().unwrap_or(0);
            let lane = w.site.role(w.site.node_by_mac(m).unwrap()).lane;
            match what {
                Move::Boots(stage) => {
                    let asked = What::Asked {
                        wire: Wire::Dhcp, boot: stage.boots(), asked: String::new(), answered: String::new(),
                    };
                    w.fact(m, asked);
                }
                Move::TakesAnswers { guess, run } => {
                    let arming = guess.unwrap_or(current);
                    let run = if lane == Lane::Fast { run.or(Some("run-c".into())) } else { None };
                    let may = matches!(w.orders(m), Orders::Install { arming: a, .. } if a == arming);
                    let served = What::AnswersServed { arming, lane, file: String::new(), run: run.clone() };
                    let took = w.fact(m, served);
                    let seen = used.entry(m).or_default();
                    // Taken by the life-cycle only where the boot decision said so, or again by the same run.
                    prop_assert!(!took || may || seen.contains(&(arming, run.clone())), "answers without orders");
                    if took {
                        prop_assert_eq!(arming, current, "an arming that no person made");
                        seen.insert((arming, run));
                        let runs = seen.iter().filter(|(a, _)| *a == arming).count();
                        prop_assert_eq!(runs, 1, "one arming began two installations");
                        let again = matches!(w.orders(m), Orders::Install { .. });
                        prop_assert!(!again, "install orders after the arming was used");
                    }
                }
                Move::Reports { guess, ok } => {
                    let what =
                        What::InstallReported { arming: guess.unwrap_or(current), ok, detail: String::new() };
                    w.fact(m, what);
                }
                Move::CallsHome { guess } => {
                    w.fact(m, What::FirstBooted { arming: guess.unwrap_or(current), detail: String::new() });
                }
                Move::PersonArms => {
                    let arming = w.ledger.next_arming(m);
                    prop_assert!(arming > current, "an arming number was used twice");
                    let what = What::Armed { arming, by: "p".into(), image: "i".into(), role: "r".into(), erase: vec![], bound: None };
                    if w.fact(m, what) {
                        armed.insert(m, arming);
                    }
                }
                Move::PersonHolds => { w.fact(m, What::Held { why: "w".into(), by: "p".into() }); }
                Move::PersonReleases => { w.fact(m, What::Released { by: "p".into() }); }
                Move::PersonForgets => { w.fact(m, What::Forgotten { by: "p".into() }); }
                Move::ServerRestarts => w.restart(),
                Move::TimePasses(secs) => w.now = w.now.plus_secs(secs),
            }
            for n in 0..3 {
                let m = mac(n);
                let current = armed.get(&m).copied().unwrap_or(0);
                if let Orders::Install { arming, .. } = w.orders(m) {
                    prop_assert_eq!(arming, current, "install orders that no person gave");
                    let began = used.get(&m).is_some_and(|u| u.iter().any(|(a, _)| *a == arming));
                    prop_assert!(!began, "install orders under a used arming");
                }
                if matches!(w.ledger.state(m), State::Installed { .. } | State::Installing { .. }) {
                    prop_assert_eq!(w.orders(m), Orders::LocalDisk);
                }
            }
        }
        w.restart();
    }

    /// Invariant 2. Whatever is in the journal, a machine that is not in the site gets no installer; without
    /// discovery it gets nothing at all.
    #[test]
    fn strangers_are_untouched(
        events in events(40), who in 3usize..9, stage in prop::sample::select(STAGES.to_vec()),
        arch in any::<Option<u16>>(), discover in any::<bool>(),
    ) {
        let (mut s, supply) = (site(1, 2), Supply::full());
        s.server.discover = discover;
        let moved: Vec<Event> =
            events.into_iter().map(|e| Event { mac: e.mac.map(|_| mac(who)), ..e }).collect();
        let ledger = Ledger::replay(&moved);
        let d = decide(supply.known(&s, &ledger), &ask(mac(who), stage, arch), START);
        prop_assert!(matches!(d.orders, Orders::None | Orders::Wait { .. }), "{:?}", d);
        if !discover || !stage.boots() {
            prop_assert_eq!(d.act, Act::Silence);
            prop_assert_eq!(d.orders, Orders::None);
        }
    }

    /// Invariant 4. Orders and reason are those of the machine, not of the program that asks for it; and asking
    /// twice gives the same.
    #[test]
    fn same_ask_same_answer(events in events(40), who in 0usize..3, arch in prop::sample::select(vec![0u16, 7, 9, 11, 16])) {
        let (s, supply) = (site(1, 2), Supply::full());
        let ledger = Ledger::replay(&events);
        let known = supply.known(&s, &ledger);
        let first = decide(known, &ask(mac(who), Stage::Ipxe, Some(arch)), START);
        for stage in STAGES {
            for arch in [Some(arch), None] {
                let d = decide(known, &ask(mac(who), stage, arch), START);
                prop_assert_eq!(&d, &decide(known, &ask(mac(who), stage, arch), START));
                prop_assert_eq!(&d.orders, &first.orders);
                prop_assert_eq!(&d.why, &first.why);
            }
        }
    }

    /// Invariant 6, the store's half: what is written is read back as the same facts, and the fold over them is
    /// the same ledger; also when the fold stops anywhere in between.
    #[test]
    fn replay_equals_live(events in events(60), cut in 0usize..60) {
        let mut live = Ledger::default();
        let mut store = Memory::default();
        for e in &events {
            if live.apply(e).is_ok() {
                store.append(std::slice::from_ref(e)).unwrap();
            }
        }
        let stored = store.read(0, usize::MAX).unwrap();
        let written: Vec<String> = stored.iter().map(|e| serde_json::to_string(e).unwrap()).collect();
        let read: Vec<Event> = written
            .iter()
            .map(|t| serde_json::from_str::<bootstead::store::Entry>(t).unwrap().event)
            .collect();
        prop_assert_eq!(&read, &stored.iter().map(|e| e.event.clone()).collect::<Vec<_>>());
        prop_assert_eq!(&Ledger::replay(&read), &live);
        let cut = cut.min(read.len());
        let mut resumed = Ledger::replay(&read[..cut]);
        for e in &read[cut..] {
            prop_assert!(resumed.apply(e).is_ok(), "an accepted fact is refused after a restart");
        }
        prop_assert_eq!(resumed, live);
    }

    /// No address is held by two machines, and none is offered that another one holds, whatever expires, is given
    /// back or declined in between.
    #[test]
    fn an_address_has_one_holder(
        moves in prop::collection::vec((3usize..8, 0u8..5, 0u64..4000), 0..80),
    ) {
        let mut s = site(1, 1);
        let network = s.networks.get_mut("prov").unwrap();
        network.pool = Some(bootstead::base::IpRange::parse("10.77.250.1-10.77.250.4").unwrap());
        let (mut ledger, mut offers, mut now) = (Ledger::default(), Offers::default(), START);
        for (who, what, secs) in moves {
            let m = mac(who);
            let lease = ledger.lease(m).map(|l| l.address);
            let fact = match (what, lease) {
                (0 | 1, _) => match offers.choose(&s, &ledger, m, None, now) {
                    None => continue,
                    Some(address) => {
                        prop_assert!(ledger.holder(address, now).is_none_or(|h| h == m), "{address} is held");
                        prop_assert!(!ledger.is_set_aside(address, now));
                        What::Leased { address, until: now.plus_secs(1800) }
                    }
                },
                (2, Some(address)) => What::LeaseReleased { address },
                (3, Some(address)) => What::AddressInUse { address, by: None, until: now.plus_secs(600) },
                _ => {
                    now = now.plus_secs(secs);
                    continue;
                }
            };
            ledger.apply(&Event::new(now, m, fact)).unwrap();
            let mut holders: BTreeMap<Ipv4Addr, Mac> = BTreeMap::new();
            for (m, lease) in ledger.leases().filter(|(_, l)| l.until > now) {
                prop_assert!(holders.insert(lease.address, m).is_none(), "{} has two holders", lease.address);
                prop_assert_eq!(ledger.holder(lease.address, now), Some(m), "a holder was forgotten");
            }
        }
    }

    /// Invariant 5 for facts: no fact, in any order, makes the fold, the decision or the board panic.
    #[test]
    fn no_fact_panics(events in events(80)) {
        let (s, supply) = (site(1, 2), Supply::full());
        let mut ledger = Ledger::default();
        let mut timeline = bootstead::ui::timeline::Timeline::new(bootstead::ui::text::Style::plain(80), None);
        for e in &events {
            let _ = ledger.apply(e);
            let _ = e.what.sentence();
            for line in timeline.push(e) {
                prop_assert!(!line.contains('\x1b'));
            }
            for who in 0..4 {
                let _ = decide(supply.known(&s, &ledger), &ask(mac(who), Stage::Pxe, Some(7)), e.at);
            }
        }
        let board = bootstead::ui::board(&s, &ledger, &Default::default(), START, None);
        let style = bootstead::ui::text::Style { height: Some(24), ..bootstead::ui::text::Style::plain(80) };
        prop_assert!(bootstead::ui::table::table(&board, &style, 0).len() <= 24);
        let json = serde_json::to_string(&board).unwrap();
        prop_assert_eq!(serde_json::from_str::<bootstead::ui::Board>(&json).unwrap(), board);
    }
}

/// The states that the random lives above must reach, or their laws prove nothing.
#[test]
fn the_random_lives_reach_every_state() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..400 {
        let events = events(60).new_tree(&mut runner).unwrap().current();
        let mut ledger = Ledger::default();
        for e in &events {
            let _ = ledger.apply(e);
            seen.extend(e.mac.map(|m| ledger.state(m).name()));
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}
