//! Owns one turn: a message was heard; what is answered, what is recorded, what is looked into. Pure but for its memory.

use super::answer::{Grant, Me, Reply, Verdict, answer};
use super::packet::{Heard, Kind};
use crate::base::{Mac, Timestamp};
use crate::boot::address::Offers;
use crate::boot::decide::identity;
use crate::boot::{Act, Decision, Known, Why, decide};
use crate::lifecycle::{Event, What, Wire};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// How long a declined or doubly used address is not given out, in seconds.
pub const QUARANTINE_SECS: u64 = 3600;
/// The same refusal of the same machine is recorded once in so many seconds.
const REPEAT_SECS: u64 = 60;
/// An unknown machine that wants to boot is recorded once in so many seconds.
const UNHEARD_SECS: u64 = 600;
/// A client whose first message says that it has been trying for longer sat behind a closed switch port.
const LATE_SECS: u16 = 20;
/// Machines remembered here; a crowd beyond that starts over.
const REMEMBERED: usize = 16_384;

/// What the server remembers between turns. Not stored: losing it costs a repeated sentence.
#[derive(Debug, Default)]
pub struct Desk {
    pub offers: Offers,
    /// Another DHCP server that the site does not tolerate answers here: no pool addresses until it is gone.
    pub rival_here: bool,
    /// Interfaces whose cable was plugged in just now: who else answers there is not known yet.
    pub unsure: BTreeSet<String>,
    trying: BTreeMap<Mac, Trying>,
    refused: BTreeMap<Mac, (Timestamp, String)>,
    unheard: BTreeMap<Mac, Timestamp>,
    twins: BTreeSet<(Mac, Mac)>,
    declined: BTreeMap<Mac, u32>,
    probed: BTreeSet<Mac>,
}

/// A machine that asks and does not take what it is offered.
#[derive(Debug, Clone, Copy)]
struct Trying {
    discovers: u32,
    first_secs: u16,
}

/// What comes of one message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    pub reply: Option<Reply>,
    /// Facts to make durable; before an ACK leaves, without delay for anything else.
    pub events: Vec<Event>,
    /// The machine is none of our business: counted, not recorded.
    pub ignored: bool,
    /// An address to probe in the background.
    pub probe: Option<Ipv4Addr>,
    /// Another server that this client, on our own segment, has chosen.
    pub rival: Option<Ipv4Addr>,
}

impl Desk {
    /// Takes one message. `me` describes the interface that it came in on.
    pub fn turn(&mut self, known: Known<'_>, me: &Me<'_>, heard: &Heard, now: Timestamp) -> Turn {
        let mac = heard.ask.mac;
        let elsewhere = heard.server.filter(|s| *s != me.server);
        if let Some(server) = elsewhere {
            self.offers.drop_offer(mac);
            self.trying.remove(&mac);
            // Behind a relay it may be another network's server, which is nobody's rival.
            let rival = (heard.kind == Kind::Request && !heard.relayed()).then_some(server);
            return Turn { rival, ..Turn::default() };
        }
        match heard.kind {
            Kind::Release => self.release(known, heard, now),
            Kind::Decline => self.decline(known, heard, now),
            Kind::Discover | Kind::Request | Kind::Inform => {
                let decision = decide(known, &heard.ask, now);
                let stranger = known.site.node_by_mac(mac).is_none();
                if let Some(link) = heard.link().filter(|link| !me.network.cidr.contains(*link)) {
                    return self.elsewhere(known, heard, link, stranger, now);
                }
                if decision.act == Act::Silence && stranger && heard.ask.stage.boots() {
                    return Turn { ignored: true, events: self.unheard(heard, now), ..Turn::default() };
                }
                if decision.act == Act::Silence || (stranger && (self.rival_here || !self.unsure.is_empty()))
                {
                    return Turn { ignored: true, ..Turn::default() };
                }
                self.serve(known, me, heard, &decision, now)
            }
        }
    }

    /// A relay passed on what a machine of another network asked: our addresses are of no use there (RFC 2131 §4.3.1),
    /// and that network may have a server of its own (field-pain #9, #23).
    fn elsewhere(
        &mut self,
        known: Known<'_>,
        heard: &Heard,
        link: Ipv4Addr,
        stranger: bool,
        now: Timestamp,
    ) -> Turn {
        if stranger {
            return Turn { ignored: true, ..Turn::default() };
        }
        let network = known.site.provisioning();
        let why = format!(
            "a relay passed it on from the network of {link}, which is not the provisioning network ({}): it gets no \
             address there; is it plugged into the right port and VLAN?",
            network.cidr
        );
        let events = self.refuse(known, heard, why, now).into_iter().collect();
        Turn { events, ..Turn::default() }
    }

    /// A machine that nobody expects wants to boot. It gets nothing (field-pain #10), and is listed: it may be a node
    /// whose address has a slip in the site file, and silence alone would be all that anybody saw of it.
    fn unheard(&mut self, heard: &Heard, now: Timestamp) -> Vec<Event> {
        let mac = heard.ask.mac;
        let before = self.unheard.get(&mac);
        if before.is_some_and(|at| now.since(*at) < UNHEARD_SECS * 1000) || heard.kind != Kind::Discover {
            return Vec::new();
        }
        if self.unheard.len() >= REMEMBERED {
            self.unheard.clear();
        }
        self.unheard.insert(mac, now);
        vec![asked(heard, mac, "nothing: it is not in the site file".to_string(), now)]
    }

    fn serve(
        &mut self,
        known: Known<'_>,
        me: &Me<'_>,
        heard: &Heard,
        decision: &Decision,
        now: Timestamp,
    ) -> Turn {
        let Known { site, ledger, .. } = known;
        let (mac, wanted) = (heard.ask.mac, heard.wanted());
        let late = match heard.kind {
            Kind::Request => self.trying.remove(&mac).map_or(0, |t| t.first_secs),
            _ => 0,
        };
        let address = match heard.kind {
            Kind::Discover => self.offers.choose(site, ledger, mac, wanted, now),
            Kind::Request => self.offers.confirm(site, ledger, mac, wanted, heard.server.is_some(), now),
            // INFORM: it has an address by other means.
            _ => None,
        };
        let node = site.node_by_mac(mac);
        let host = node.map(|n| n.name.as_str());
        let grant = address.map(|address| Grant { address, host, known: node.is_some() });
        let mut turn = Turn { reply: answer(heard, decision, grant, me), ..Turn::default() };
        match (&turn.reply, heard.kind) {
            (Some(reply), Kind::Request) if reply.verdict == Verdict::Ack => {
                turn.events = self.taken(known, heard, decision, reply, late, now);
            }
            (Some(reply), _) if reply.verdict == Verdict::Nak => {
                let wanted = wanted.map_or("an address".to_string(), |a| a.to_string());
                let why = match address {
                    Some(a) => format!("{wanted} is not its address; it has {a}"),
                    None => format!("{wanted} is not free"),
                };
                turn.events.extend(self.refuse(known, heard, why, now));
            }
            (Some(reply), Kind::Discover) => {
                if node.is_some() && self.probed.len() < REMEMBERED && self.probed.insert(mac) {
                    turn.probe = Some(reply.address);
                }
                turn.events.extend(self.tried(known, heard, reply, now));
                // Firmware that is offered nothing to load may never ask for the address (field-pain #18).
                if matches!(decision.why, Why::NoLoader { .. }) {
                    turn.events.extend(self.refuse(known, heard, decision.why.to_string(), now));
                }
            }
            (None, Kind::Discover) if address.is_none() => {
                let network = &site.server.provisioning;
                let why = match node {
                    Some(n) => format!("node {} has no address on network {network}", n.name),
                    None => format!("no address of the pool of network {network} is free"),
                };
                turn.events.extend(self.refuse(known, heard, why, now));
            }
            _ => {}
        }
        turn
    }

    /// The facts of an ACK.
    fn taken(
        &mut self,
        known: Known<'_>,
        heard: &Heard,
        decision: &Decision,
        reply: &Reply,
        late: u16,
        now: Timestamp,
    ) -> Vec<Event> {
        let mac = identity(known.site, heard.ask.mac);
        let until = now.plus_secs(u64::from(known.site.server.lease_secs));
        let mut events = vec![Event::new(now, mac, What::Leased { address: reply.address, until })];
        // A renewal says nothing new.
        if heard.ciaddr.is_unspecified() {
            events.extend(self.identify(known, heard, mac, now));
            let mut answered = format!("{}", reply.address);
            if let Some(file) = &reply.boot {
                answered.push_str(&format!(", load {file}"));
            }
            answered.push_str(&format!(": {}", decision.why));
            if late > LATE_SECS {
                answered.push_str(&format!(
                    "; it had been asking for {late} s before it was heard: make its switch port an edge port (portfast)"
                ));
            }
            events.push(asked(heard, mac, answered, now));
        }
        events
    }

    /// Facts of the firmware that are new, and a warning where another machine has the same UUID (field-pain #16).
    fn identify(&mut self, known: Known<'_>, heard: &Heard, mac: Mac, now: Timestamp) -> Vec<Event> {
        let ask = &heard.ask;
        let before = known.ledger.record(mac);
        // iPXE and installers have vendor classes of their own; the firmware's is the one worth keeping.
        let firmware = matches!(ask.stage, crate::boot::Stage::Pxe | crate::boot::Stage::HttpBoot);
        let vendor = ask.vendor.clone().filter(|_| firmware || before.is_none_or(|r| r.vendor.is_none()));
        let mut events = Vec::new();
        let new = |given: bool, same: bool| given && !same;
        let changed = new(ask.arch.is_some(), before.is_some_and(|r| r.arch == ask.arch))
            || new(ask.uuid.is_some(), before.is_some_and(|r| r.uuid == ask.uuid))
            || new(vendor.is_some(), before.is_some_and(|r| r.vendor == vendor));
        if !changed {
            return events;
        }
        let what = What::Identified { arch: ask.arch, uuid: ask.uuid.clone(), vendor };
        events.push(Event::new(now, mac, what));
        let Some(uuid) = &ask.uuid else { return events };
        let twin = known.ledger.records().find(|(other, r)| {
            *other != mac
                && (r.uuid.as_ref() == Some(uuid) || (r.uuid.is_some() && r.uuid == heard.uuid_as_sent))
        });
        if let Some((other, _)) = twin
            && self.twins.insert((mac.min(other), mac.max(other)))
        {
            let name = |m: Mac| known.site.node_by_mac(m).map_or("not in the site file", |n| n.name.as_str());
            let line = format!(
                "warning: its UUID {uuid} is also that of {other} ({}): one machine with two ports, or two machines \
                 with one UUID; they are told apart by their MAC addresses only",
                name(other)
            );
            events.push(Event::new(now, mac, What::Log { line }));
        }
        events
    }

    /// A DISCOVER that was answered. Recorded only where it goes on and on: then the offers are not taken.
    fn tried(&mut self, known: Known<'_>, heard: &Heard, reply: &Reply, now: Timestamp) -> Option<Event> {
        if self.trying.len() >= REMEMBERED {
            self.trying.clear();
        }
        let begun = Trying { discovers: 0, first_secs: heard.secs };
        let trying = self.trying.entry(heard.ask.mac).or_insert(begun);
        trying.discovers += 1;
        if trying.discovers != 4 && !trying.discovers.is_multiple_of(32) {
            return None;
        }
        let answered = format!(
            "offered {} {} times, and it never took it: the offers do not reach it, or it chose another server",
            reply.address, trying.discovers
        );
        Some(asked(heard, identity(known.site, heard.ask.mac), answered, now))
    }

    fn refuse(&mut self, known: Known<'_>, heard: &Heard, why: String, now: Timestamp) -> Option<Event> {
        let mac = heard.ask.mac;
        if let Some((at, before)) = self.refused.get(&mac)
            && *before == why
            && now.since(*at) < REPEAT_SECS * 1000
        {
            return None;
        }
        if self.refused.len() >= REMEMBERED {
            self.refused.clear();
        }
        self.refused.insert(mac, (now, why.clone()));
        let what = What::Refused { what_asked: heard.sentence(), why };
        Some(Event::new(now, identity(known.site, mac), what))
    }

    fn release(&mut self, known: Known<'_>, heard: &Heard, now: Timestamp) -> Turn {
        let mac = identity(known.site, heard.ask.mac);
        self.offers.drop_offer(heard.ask.mac);
        let lease = known.ledger.lease(mac).filter(|l| l.address == heard.ciaddr && l.until > now);
        let events = lease.map(|l| Event::new(now, mac, What::LeaseReleased { address: l.address }));
        Turn { events: events.into_iter().collect(), ..Turn::default() }
    }

    /// RFC 2131 §4.3.3: the client found its address in use. Believed only for an address that it got from us, and
    /// eight times per machine, so that a broken client cannot take the pool away.
    fn decline(&mut self, known: Known<'_>, heard: &Heard, now: Timestamp) -> Turn {
        let mac = identity(known.site, heard.ask.mac);
        let node = known.site.node_by_mac(heard.ask.mac);
        let Some(address) = heard.requested.filter(|a| {
            self.offers.offered(heard.ask.mac) == Some(*a)
                || known.ledger.lease(mac).is_some_and(|l| l.address == *a)
                || node.is_some_and(|n| known.site.boot_address(n) == Some(*a))
        }) else {
            return Turn::default();
        };
        self.offers.drop_offer(heard.ask.mac);
        self.offers.mark_used(address);
        if self.declined.len() >= REMEMBERED {
            self.declined.clear();
        }
        let times = self.declined.entry(heard.ask.mac).or_default();
        *times += 1;
        if *times > 8 {
            return Turn { ignored: true, ..Turn::default() };
        }
        let what = What::AddressInUse { address, by: None, until: now.plus_secs(QUARANTINE_SECS) };
        Turn { events: vec![Event::new(now, mac, what)], probe: Some(address), ..Turn::default() }
    }
}

fn asked(heard: &Heard, mac: Mac, answered: String, now: Timestamp) -> Event {
    let boot = heard.ask.stage.boots();
    Event::new(now, mac, What::Asked { wire: Wire::Dhcp, boot, asked: heard.sentence(), answered })
}
