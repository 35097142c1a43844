//! The board and its renderings: goldens for three nodes and for five hundred, at several widths.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod support;

use bootstead::base::{ClientArch, Mac, Timestamp};
use bootstead::cluster::Standing;
use bootstead::lifecycle::{Event, Lane, Ledger, What, Wire};
use bootstead::ui::text::{Style, width};
use bootstead::ui::timeline::Timeline;
use bootstead::ui::{Board, Counters, Serving, board, table};
use support::{START, golden, mac, site};

fn at(secs: u64) -> Timestamp {
    START.plus_secs(secs)
}

fn take(ledger: &mut Ledger, secs: u64, mac: Mac, what: What) {
    ledger.apply(&Event::new(at(secs), mac, what)).unwrap();
}

fn arm(ledger: &mut Ledger, secs: u64, m: Mac) {
    let arming = ledger.next_arming(m);
    let what = What::Armed {
        arming,
        by: "ann".into(),
        image: "debian12".into(),
        role: "compute".into(),
        erase: vec![],
        bound: None,
    };
    take(ledger, secs, m, what);
}

fn ask(ledger: &mut Ledger, secs: u64, m: Mac, wire: Wire, text: &str) {
    take(ledger, secs, m, What::Asked { wire, boot: true, asked: text.into(), answered: "x".into() });
}

fn install(ledger: &mut Ledger, secs: u64, m: Mac) {
    let file = "preseed.cfg".to_string();
    take(ledger, secs, m, What::AnswersServed { arming: 1, lane: Lane::Installer, file, run: None });
}

fn progress(ledger: &mut Ledger, secs: u64, m: Mac, step: &str, percent: u8, bytes: Option<u64>) {
    take(ledger, secs, m, What::Progressed { arming: 1, step: step.into(), percent: Some(percent), bytes });
}

fn report(ledger: &mut Ledger, secs: u64, m: Mac, ok: bool, detail: &str) {
    take(ledger, secs, m, What::InstallReported { arming: 1, ok, detail: detail.into() });
}

fn serving() -> Serving {
    Serving {
        version: "0.1.0".into(),
        pid: 4711,
        since: START,
        interfaces: vec!["enp3s0".into()],
        url: "http://10.77.0.1".into(),
        dhcp: "full".into(),
        trouble: vec![],
        counters: Counters {
            dhcp_heard: 90,
            dhcp_answered: 31,
            dhcp_ignored: 59,
            tftp_transfers: 6,
            http_requests: 120,
            http_active: 2,
            bytes_sent: 3_456_789_012,
        },
    }
}

/// Three nodes, each somewhere else in its life, a stranger and a rival.
fn three() -> Board {
    let (s, mut l) = (site(1, 2), Ledger::default());
    for n in 0..3 {
        arm(&mut l, 0, mac(n));
    }
    ask(&mut l, 60, mac(0), Wire::Http, "boot script");
    install(&mut l, 70, mac(0));
    progress(&mut l, 300, mac(0), "installing packages", 45, Some(812_345_678));
    ask(&mut l, 61, mac(1), Wire::Dhcp, "discover");
    install(&mut l, 71, mac(1));
    report(
        &mut l,
        90,
        mac(1),
        false,
        "the disk rule min_gib=1 matches two disks: sda (QM00001), sdb (QM00002)",
    );
    let stranger = Mac([0x3c, 0xec, 0xef, 0, 0, 9]);
    let arch = Some(ClientArch(7));
    take(&mut l, 200, stranger, What::Identified { arch, uuid: None, vendor: Some("PXEClient".into()) });
    ask(&mut l, 200, stranger, Wire::Dhcp, "discover\x1b[2J");
    let rival = What::RivalHeard {
        interface: "enp3s0".into(),
        server: [10, 77, 0, 99].into(),
        offer: "10.77.0.150, router 10.77.0.99".into(),
    };
    l.apply(&Event::server(at(250), rival)).unwrap();
    board(&s, &l, &Default::default(), at(310), Some(serving()))
}

/// Five hundred nodes in the middle of a boot storm.
fn many() -> Board {
    let (s, mut l) = (site(3, 497), Ledger::default());
    for n in 0..480 {
        arm(&mut l, 0, mac(n));
    }
    for n in 0..470 {
        ask(&mut l, 30, mac(n), Wire::Http, "boot script");
        install(&mut l, 40, mac(n));
    }
    for n in 0..400 {
        report(&mut l, 1200, mac(n), true, "");
    }
    for n in 0..390 {
        take(&mut l, 1300, mac(n), What::FirstBooted { arming: 1, detail: String::new() });
    }
    for n in 405..470 {
        progress(&mut l, 1900, mac(n), "configuring packages", (n % 100) as u8, None);
    }
    report(&mut l, 1950, mac(469), false, "grub-install: cannot find EFI directory");
    board(&s, &l, &Default::default(), at(2000), Some(serving()))
}

/// Installed nodes that become a cluster: one is ready, one at work, one stopped at a step, one has no steps yet.
fn making() -> Board {
    let (s, mut l) = (site(1, 3), Ledger::default());
    for n in 0..4 {
        arm(&mut l, 0, mac(n));
        install(&mut l, 40, mac(n));
        report(&mut l, 600, mac(n), true, "");
        take(&mut l, 700, mac(n), What::FirstBooted { arming: 1, detail: String::new() });
        let key = bootstead::base::Sha256::of(&[n as u8]);
        take(&mut l, 710, mac(n), What::AgentJoined { arming: 1, key, version: "0.1.0".into() });
    }
    let standing = |done, failed: Option<&str>, doing: Option<&str>| Standing {
        steps: 109,
        done,
        failed: failed.map(str::to_string),
        doing: doing.map(str::to_string),
        last: Some(at(900)),
    };
    let places = [
        (mac(0), standing(109, None, None)),
        (mac(1), standing(52, None, Some("nova.sync waits for keystone.endpoints on cs-controller-01"))),
        (mac(2), standing(17, Some("time.synced: waited 60 s for a time source"), None)),
    ];
    board(&s, &l, &places.into(), at(910), Some(serving()))
}

#[test]
fn a_cluster_in_the_making_shows_steps_and_what_stands_still() {
    let shown = making();
    golden("board/making-120.txt", &text(&shown, Style::plain(120)));
    let mut others = making();
    assert!(!others.is_settled(), "one node is at work");
    others.nodes.retain(|n| n.mac != mac(1));
    assert!(others.is_settled(), "a step that failed needs a person");
}

fn text(board: &Board, style: Style) -> String {
    let lines = table::table(board, &style, 0);
    for line in &lines {
        assert!(style.colour || width(line) <= style.width, "{} > {}: {line}", width(line), style.width);
    }
    if let Some(height) = style.height {
        assert!(lines.len() <= height, "{} lines for {height} rows", lines.len());
    }
    lines.join("\n") + "\n"
}

#[test]
fn three_nodes_fit_every_width() {
    for columns in [80, 120, 160, 200] {
        golden(&format!("board/three-{columns}.txt"), &text(&three(), Style::plain(columns)));
    }
}

#[test]
fn five_hundred_nodes_fit_one_screen_with_trouble_first() {
    for (columns, rows) in [(80, 24), (132, 43), (200, 60)] {
        let style = Style { height: Some(rows), ..Style::plain(columns) };
        golden(&format!("board/many-{columns}x{rows}.txt"), &text(&many(), style));
    }
    let all = text(&many(), Style::plain(120));
    assert_eq!(all.lines().filter(|l| l.starts_with("cs-")).count(), 500);
}

/// A server with more to say than a small screen has rows.
fn troubled() -> Board {
    let mut shown = three();
    let serving = shown.serving.as_mut().unwrap();
    serving.trouble = vec![
        "enp3s0 no longer has the address 10.77.0.1: nothing is answered there until it has it again".into(),
        "the disk under /var/lib/bootstead is full: nothing is granted".into(),
        "TFTP on port 69 ended: address in use".into(),
    ];
    shown
}

#[test]
fn a_small_screen_shows_the_headline_an_alarm_and_nodes() {
    for (columns, rows) in [(40, 12), (60, 10), (25, 8)] {
        let style = Style { height: Some(rows), ..Style::plain(columns) };
        golden(&format!("board/troubled-{columns}x{rows}.txt"), &text(&troubled(), style));
        golden(&format!("board/many-{columns}x{rows}.txt"), &text(&many(), style));
    }
    golden("board/three-40.txt", &text(&three(), Style::plain(40)));
    for columns in 20..80 {
        for rows in [7, 10, 24] {
            let style = Style { height: Some(rows), ..Style::plain(columns) };
            let shown = text(&troubled(), style);
            let has = |start: &str| shown.lines().filter(|l| l.starts_with(start)).count();
            assert!(has("lab") == 1 && has("! ") > 0 && has("cs-") >= 2, "{columns}x{rows}:\n{shown}");
            assert!(text(&many(), style).contains("cs-"), "{columns}x{rows}");
        }
        text(&making(), Style::plain(columns));
    }
}

#[test]
fn the_last_page_is_full_and_ends_with_the_last_node() {
    for (columns, rows) in [(40, 12), (80, 24), (200, 60)] {
        let style = Style { height: Some(rows), ..Style::plain(columns) };
        let (board, skip) = (many(), table::last_page(&many(), &style));
        let lines = table::table(&board, &style, skip);
        let last = &board.by_interest().last().unwrap().name;
        assert_eq!(lines.len(), rows);
        assert!(lines.last().unwrap().starts_with(last), "{lines:?}");
        let above = table::table(&board, &style, skip - 1);
        assert!(above.last().unwrap().contains("and 2 more"), "{above:?}");
    }
    let style = Style { height: Some(24), ..Style::plain(80) };
    assert_eq!(table::last_page(&three(), &style), 0);
}

#[test]
fn ascii_terminals_get_ascii_and_no_width_breaks_it() {
    for columns in (20..220).step_by(9) {
        for rows in [1, 5, 24] {
            let style = Style { width: columns, height: Some(rows), colour: false, unicode: false };
            assert!(table::table(&three(), &style, 1).iter().all(|l| l.is_ascii()));
            assert!(table::table(&many(), &style, 490).len() <= rows);
        }
    }
}

#[test]
fn a_machine_cannot_write_escape_sequences_to_the_screen() {
    let shown = text(&three(), Style::plain(200));
    assert!(shown.contains("discover?[2J") && !shown.contains('\x1b'));
}

#[test]
fn the_board_survives_json() {
    for b in [three(), many()] {
        let json = serde_json::to_string(&b).unwrap();
        assert_eq!(serde_json::from_str::<Board>(&json).unwrap(), b);
    }
}

#[test]
fn logs_get_only_what_changed() {
    let (s, mut l) = (site(1, 1), Ledger::default());
    let style = Style::plain(120);
    let first = board(&s, &l, &Default::default(), at(0), None);
    assert!(table::changes(None, &first, &style).is_empty());
    arm(&mut l, 1, mac(0));
    let second = board(&s, &l, &Default::default(), at(1), None);
    assert_eq!(
        table::changes(Some(&first), &second, &style),
        ["08:00:01  cs-controller-01  armed             waits for its power button"]
    );
    assert!(
        table::changes(Some(&second), &board(&s, &l, &Default::default(), at(9), None), &style).is_empty()
    );
}

#[test]
fn a_timeline_has_deltas_and_folds_what_repeats() {
    let mut lines = Vec::new();
    let mut t = Timeline::new(Style::plain(100), None);
    let asked = |text: &str| What::Asked {
        wire: Wire::Dhcp,
        boot: true,
        asked: text.into(),
        answered: "offer 10.77.3.232, loader snponly.efi".into(),
    };
    let story = [
        (0, What::Armed { arming: 1, by: "ann".into(), image: "debian12".into(), role: "compute".into(), erase: vec![], bound: None }),
        (60, asked("discover from x64 UEFI")),
        (64, asked("discover from x64 UEFI")),
        (72, asked("discover from x64 UEFI")),
        (73, What::Leased { address: [10, 77, 3, 232].into(), until: at(3673) }),
        (
            80,
            What::AnswersServed { arming: 1, lane: Lane::Installer, file: "preseed.cfg".into(), run: None },
        ),
        (95, What::Log { line: "anna: a very long line of the installer's own log that does not fit the width of this screen".into() }),
        (1200, What::InstallReported { arming: 1, ok: true, detail: String::new() }),
    ];
    for (secs, what) in story {
        lines.extend(t.push(&Event::new(at(secs), mac(0), what)));
    }
    lines.extend(t.flush());
    golden("board/timeline.txt", &(lines.join("\n") + "\n"));
}
