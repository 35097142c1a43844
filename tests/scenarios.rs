//! Whole stories of machines, as text: `tests/scenarios/*.txt`. Each line that begins with `$` is done, what follows it
//! is what must come of it. The clock is wound by hand; the server is the real one, on loopback.
//!
//! `BOOTSTEAD_GOLDEN=write cargo test --test scenarios` writes what came of it, and fails, so that a person looks.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod serving;

use bootstead::base::{Mac, Timestamp};
use bootstead::dhcp::answer::{Me, Verdict};
use bootstead::dhcp::packet;
use bootstead::dhcp::turn::Desk;
use bootstead::serve::clock::Clock;
use bootstead::ui::text::Style;
use bootstead::ui::timeline::Timeline;
use bootstead::ui::{Board, board};
use serving::{Lab, STRANGER, site, token};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// 2026-11-20T08:00:00Z
const START: Timestamp = Timestamp(1_795_161_600_000);

struct World {
    lab: Lab,
    clock: Clock,
    hand: Arc<AtomicI64>,
    desk: Desk,
}

impl World {
    fn new() -> World {
        let (clock, hand) = Clock::by_hand(START);
        let mut lab = Lab::stopped();
        lab.start(site(), clock.clone());
        World { lab, clock, hand, desk: Desk::default() }
    }

    fn mac(&self, name: &str) -> Mac {
        match name {
            "stranger" => STRANGER,
            name => site().find(name).unwrap_or_else(|| panic!("no machine {name:?}")).mac(),
        }
    }

    /// The arming that the machine believes in: the last one it was given.
    fn arming(&self, mac: Mac) -> u32 {
        self.lab.running().shared.hub.ledger().record(mac).map_or(0, |r| r.armings)
    }

    fn board(&self) -> Board {
        let shared = &self.lab.running().shared;
        board(&shared.hub.world().site, &shared.hub.ledger(), &Default::default(), self.clock.now(), None)
    }

    /// Does one line; what came of it, a line each.
    fn play(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = |n: usize| words.get(n..).unwrap_or_default().join(" ");
        match words.as_slice() {
            ["arm" | "release" | "forget", name] => vec![self.person(words[0], name, "")],
            ["hold", name, ..] => vec![self.person("hold", name, &rest(2))],
            ["dhcp", name, firmware] => self.dhcp(name, firmware),
            ["ipxe", name] => self.script(name, ""),
            ["ipxe", name, "try", n] => self.script(name, &format!("&try={n}")),
            ["answers", name] => self.answers(name, self.arming(self.mac(name))),
            ["answers", name, "arming", n] => self.answers(name, n.parse().unwrap()),
            ["report", name, ..] => self.report(name, &words[2..]),
            ["clock", by] => {
                let secs = seconds(by.trim_start_matches('+'));
                self.hand.fetch_add(secs * 1000, Ordering::Relaxed);
                vec![self.clock.now().clock()]
            }
            ["status"] => self.status(),
            ["restart"] => {
                let before = self.board();
                self.lab.running.take().unwrap().stop();
                self.desk = Desk::default();
                self.lab.start(site(), self.clock.clone());
                assert_eq!(self.board(), before, "a restart changed something");
                vec!["serves again; the board is the same".to_string()]
            }
            ["events", name] => self.events(name),
            _ => panic!("this line means nothing: {line:?}"),
        }
    }

    fn person(&self, verb: &str, name: &str, why: &str) -> String {
        let body = format!("{{\"by\":\"ann\",\"why\":{why:?}}}");
        let who = self.mac(name).hyphens();
        let got = self.lab.operate("POST", &format!("/v1/nodes/{who}/{verb}"), &body);
        let json = got.json();
        match got.status {
            200 => format!("{name} is {}", json["state"].as_str().unwrap()),
            n => format!("{n}: {}", json["error"].as_str().unwrap()),
        }
    }

    /// A whole exchange, as that firmware sends it.
    fn dhcp(&mut self, name: &str, firmware: &str) -> Vec<String> {
        let mac = self.mac(name);
        let options: &[u8] = match firmware {
            "uefi" => b"\x3c\x20PXEClient:Arch:00007:UNDI:003016\x5d\x02\x00\x07",
            "bios" => b"\x3c\x20PXEClient:Arch:00000:UNDI:002001\x5d\x02\x00\x00",
            "arm" => b"\x3c\x20PXEClient:Arch:00011:UNDI:003016\x5d\x02\x00\x0b",
            "ipxe" => b"\x3c\x20PXEClient:Arch:00007:UNDI:003010\x5d\x02\x00\x07\x4d\x04iPXE",
            "installer" => b"\x3c\x03d-i",
            "system" => b"\x0c\x04host",
            other => panic!("no firmware {other:?}"),
        };
        let mut out = Vec::new();
        let Some(address) = self.message(mac, &[&[53, 1, 1], options].concat(), &mut out) else { return out };
        let choice = [&[53, 1, 3, 50, 4], &address.octets()[..], &[54, 4, 10, 77, 0, 1], options].concat();
        self.message(mac, &choice, &mut out);
        out
    }

    fn message(&mut self, mac: Mac, options: &[u8], out: &mut Vec<String>) -> Option<Ipv4Addr> {
        let mut bytes = vec![0u8; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[28..34].copy_from_slice(&mac.0);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend_from_slice(options);
        bytes.push(255);
        let heard = packet::read(&bytes).unwrap();
        let shared = &self.lab.running().shared;
        let world = shared.hub.world();
        let url = world.site.url();
        let me = Me {
            server: Ipv4Addr::new(10, 77, 0, 1),
            url: &url,
            network: world.site.provisioning(),
            domain: &world.site.domain,
            lease_secs: world.site.server.lease_secs,
            alone: true,
        };
        let turn = {
            let ledger = shared.hub.ledger();
            self.desk.turn(world.known(&ledger), &me, &heard, self.clock.now())
        };
        for taken in shared.hub.record(turn.events).unwrap() {
            if let Err(refused) = taken {
                out.push(format!("not recorded: {refused}"));
            }
        }
        let Some(reply) = turn.reply else {
            out.push(format!("{}: silence", heard.sentence()));
            return None;
        };
        let boot = reply.boot.map(|b| format!(", boot {b}")).unwrap_or_default();
        out.push(format!("{}: {:?} {}{boot}", heard.sentence(), reply.verdict, reply.address));
        matches!(reply.verdict, Verdict::Offer).then_some(reply.address)
    }

    fn script(&self, name: &str, query: &str) -> Vec<String> {
        let mac = self.mac(name);
        let got = self.lab.get(&format!("/boot.ipxe?mac={}&platform=efi&arch=x86_64{query}", mac.hyphens()));
        let text = got.text().replace(&token(mac, self.arming(mac)), "TOKEN");
        let wanted = ["echo ", "kernel ", "sanboot ", "chain ", "exit"];
        let mut lines: Vec<String> =
            text.lines().filter(|l| wanted.iter().any(|w| l.starts_with(w))).map(str::to_string).collect();
        if got.status != 200 {
            lines.insert(0, got.status.to_string());
        }
        lines
    }

    fn answers(&self, name: &str, arming: u32) -> Vec<String> {
        let mac = self.mac(name);
        let got = self.lab.get(&format!("/a/{}/{}/ks.cfg", mac.hyphens(), token(mac, arming)));
        vec![format!("{}: {}", got.status, got.text().trim())]
    }

    /// `installed`, `failed TEXT`, `first-boot`, `progress STEP PERCENT`, `begin RUN`; `arming N` before it lies.
    fn report(&self, name: &str, words: &[&str]) -> Vec<String> {
        let mac = self.mac(name);
        let (arming, words) = match words {
            ["arming", n, rest @ ..] => (n.parse().unwrap(), rest),
            rest => (self.arming(mac), rest),
        };
        let body = match words {
            ["installed"] => "event=installed".to_string(),
            ["failed", why @ ..] => format!("event=failed&detail={}", why.join("+")),
            ["first-boot"] => "event=first-boot".to_string(),
            ["progress", step, percent] => format!("event=progress&step={step}&percent={percent}"),
            ["begin", run] => format!("event=begin&run={run}"),
            other => panic!("no report {other:?}"),
        };
        let path = format!("/v1/nodes/{}/report?token={}", mac.hyphens(), token(mac, arming));
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let got = self.lab.ask("POST", &path, &form, &body);
        vec![format!("{}: {}", got.status, got.text().trim())]
    }

    fn status(&self) -> Vec<String> {
        let board = self.board();
        let mut out: Vec<String> = board
            .nodes
            .iter()
            .map(|n| {
                format!("{:<8} {:<10} {}", n.name, n.phase.name(), n.note(board.now)).trim_end().to_string()
            })
            .collect();
        out.extend(board.discovered.iter().map(|d| format!("{} discovered", d.mac)));
        out
    }

    fn events(&self, name: &str) -> Vec<String> {
        // Notes are written a moment after their answer.
        std::thread::sleep(std::time::Duration::from_millis(200));
        let entries = self.lab.running().shared.hub.events(0, 10_000, Some(self.mac(name))).unwrap();
        let mut timeline = Timeline::new(Style::plain(160), None);
        let mut lines: Vec<String> = entries.iter().flat_map(|e| timeline.push(&e.event)).collect();
        lines.extend(timeline.flush());
        lines
    }
}

/// `90s`, `25m`, `3h`.
fn seconds(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => panic!("no unit {other:?}"),
    };
    number.parse::<i64>().unwrap() * factor
}

/// The story with what came of each of its lines.
fn tell(story: &str) -> String {
    let mut world = World::new();
    let mut out = String::new();
    for line in story.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            out.push_str(&format!("{line}\n"));
        } else if let Some(command) = line.strip_prefix("$ ") {
            out.push_str(&format!("{line}\n"));
            for l in world.play(command) {
                out.push_str(&format!("    {}\n", l.trim_end()));
            }
        }
    }
    out
}

#[test]
fn every_story_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let play = |file: &std::path::PathBuf| {
        let want = std::fs::read_to_string(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let told = tell(&want);
        if told == want {
            return None;
        }
        if std::env::var_os("BOOTSTEAD_GOLDEN").is_some_and(|v| v == "write") {
            std::fs::write(file, &told).unwrap();
        }
        let line = want.lines().zip(told.lines()).position(|(a, b)| a != b);
        Some(format!("{name} differs from line {:?} on; it is now:\n{told}", line.map(|l| l + 1)))
    };
    let wrong: Vec<String> = std::thread::scope(|s| {
        let started: Vec<_> = files.iter().map(|f| s.spawn(move || play(f))).collect();
        started.into_iter().filter_map(|t| t.join().unwrap()).collect()
    });
    assert!(files.len() >= 7, "the stories are gone");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
