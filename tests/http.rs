//! The HTTP server as machines, installers and the operator meet it, over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod serving;

use serving::*;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn script_path(mac: bootstead::base::Mac, more: &str) -> String {
    format!("/boot.ipxe?mac={}&platform=efi&arch=x86_64{more}", mac.hyphens())
}

#[test]
fn an_installation_from_the_first_script_to_the_second_proof() {
    let lab = Lab::new();
    let waiting = lab.get(&script_path(A, "")).text();
    assert!(waiting.contains("not armed") && waiting.contains("bootstead node arm base-1"), "{waiting}");
    assert!(waiting.contains("&try=1"), "{waiting}");

    lab.arm("base-1");
    let script = lab.get(&script_path(A, "")).text();
    let t = token(A, 1);
    assert!(script.contains(&t), "{script}");
    assert_eq!(lab.state(A), "booting");

    let ks = format!("/a/{}/{t}/ks.cfg", A.hyphens());
    let head = lab.ask("HEAD", &ks, &[], "");
    assert_eq!((head.status, lab.state(A).as_str()), (200, "booting"), "HEAD consumes nothing");
    let first = lab.get(&ks);
    assert_eq!(head.header("content-length"), first.header("content-length"));
    assert_eq!(lab.state(A), "installing");
    assert_eq!(lab.get(&ks).body, first.body, "a retry gets identical bytes");
    assert_eq!(lab.get(&format!("/a/{}/{t}/extra.cfg", A.hyphens())).text(), "# extra, erase []\n");
    assert_eq!(lab.get(&format!("/a/{}/{t}/updates.img", A.hyphens())).status, 404);

    // It reboots in the middle of it all: never a second installation.
    let again = lab.get(&script_path(A, "")).text();
    assert!(!again.contains(&t) && again.contains("exit"), "{again}");

    let report = |query: &str| lab.get(&format!("/v1/nodes/{}/report?token={t}&{query}", A.hyphens()));
    assert_eq!(report("event=progress&step=partitioning&percent=12").status, 200);
    assert_eq!(report("event=installed").status, 200);
    assert_eq!(report("event=installed").status, 200, "a repeated report is no new fact");
    assert_eq!(lab.state(A), "installed");
    let body = format!(r#"{{"event":"first-boot","token":"{t}"}}"#);
    let path = format!("/v1/nodes/{}/report", A.hyphens());
    assert_eq!(lab.ask("POST", &path, &[("Content-Type", "application/json")], &body).status, 200);
    // Its token is worth nothing for answers any more.
    assert_eq!(lab.get(&ks).status, 403);

    let told = lab.timeline(A).join("\n");
    assert_eq!(told.matches("the installation has begun").count(), 1, "{told}");
    assert_eq!(told.matches("reported its installation done").count(), 1, "{told}");
    assert!(told.contains("called home") && told.contains("sent to its own disk"), "{told}");
    assert!(!told.contains(&t), "no token on the timeline");
}

#[test]
fn answers_are_for_the_one_machine_that_holds_the_token() {
    let lab = Lab::new();
    lab.arm("base-1");
    lab.arm("base-2");
    let path = |mac: bootstead::base::Mac, token: &str| format!("/a/{}/{token}/ks.cfg", mac.hyphens());
    for (path, headers) in [
        (path(A, &token(A, 2)), vec![]),
        (path(A, &token(B, 1)), vec![]),
        (path(A, "x"), vec![]),
        // The right URL in the wrong machine (field-pain #72).
        (path(A, &token(A, 1)), vec![("X-RHN-Provisioning-MAC-0", "eno1 52:54:00:aa:00:02")]),
    ] {
        let got = lab.ask("GET", &path, &headers, "");
        assert_eq!(got.status, 403, "{path}: {}", got.text());
    }
    assert_eq!(lab.state(A), "armed");
    let told = lab.timeline(A).join("\n");
    assert!(
        told.contains("refused the answer file ks.cfg") && told.contains("none of which belongs"),
        "{told}"
    );
    // Any port of the machine may be the node's.
    let macs = [
        ("X-RHN-Provisioning-MAC-0", "eno1 52:54:00:99:00:99"),
        ("X-RHN-Provisioning-MAC-1", "eno2 52:54:00:AA:00:01"),
    ];
    assert_eq!(lab.ask("GET", &path(A, &token(A, 1)), &macs, "").status, 200);
    assert_eq!(lab.get("/a/52-54-00-bb-00-01/x/ks.cfg").status, 404);
}

#[test]
fn a_stranger_is_told_why_and_gets_its_own_disk_in_the_end() {
    let lab = Lab::new();
    let first = lab.get(&script_path(STRANGER, "")).text();
    assert!(first.contains("not in the site file"), "{first}");
    let last = lab.get(&script_path(STRANGER, "&try=6")).text();
    assert!(last.contains("exit 1") && !last.contains("chain"), "{last}");
    let bios = lab.get(&format!("/boot.ipxe?mac={STRANGER}&platform=pcbios&arch=i386&try=99")).text();
    assert!(bios.contains("sanboot --no-describe --drive 0x80"), "{bios}");
    assert!(lab.get("/boot.ipxe").text().contains("names no machine"));
    assert!(lab.get("/autoexec.ipxe").text().starts_with("#!ipxe"));
    assert_eq!(lab.get("/loaders/x/autoexec.ipxe").body, lab.get("/autoexec.ipxe").body);
}

#[test]
fn media_with_ranges_tags_and_exact_lengths() {
    let lab = Lab::new();
    let big = big();
    let path = "/images/tiny/initrd.gz";
    let whole = lab.get(path);
    assert_eq!(whole.status, 200);
    assert!(whole.body == big, "all bytes, in order");
    let tag = whole.header("etag").unwrap().to_string();
    assert_eq!(tag, format!("\"{}\"", bootstead::base::Sha256::of(&big)));
    let head = lab.ask("HEAD", path, &[], "");
    assert_eq!(head.header("content-length"), Some(big.len().to_string().as_str()));
    assert_eq!(head.header("etag"), Some(tag.as_str()));

    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, big.len()),
        ("bytes=-7", big.len() - 7, big.len()),
        ("bytes=8388600-8388700", 8_388_600, 8_388_701),
        ("bytes=1000000-20000000", 1_000_000, 20_000_001),
    ] {
        let got = lab.ask("GET", path, &[("Range", range)], "");
        assert_eq!(got.status, 206, "{range}");
        assert!(got.body == big[from..to], "{range}");
        let said = format!("bytes {from}-{}/{}", to - 1, big.len());
        assert_eq!(got.header("content-range"), Some(said.as_str()));
    }
    assert_eq!(lab.ask("GET", path, &[("Range", "bytes=21000003-")], "").status, 416);
    assert_eq!(lab.ask("GET", path, &[("Range", "bytes=0-1"), ("If-Range", "\"old\"")], "").status, 200);
    assert_eq!(lab.ask("GET", path, &[("Range", "bytes=0-1"), ("If-Range", &tag)], "").status, 206);
    assert_eq!(lab.ask("GET", path, &[("If-None-Match", &tag)], "").status, 304);
    assert_eq!(lab.get("/images/tiny/empty").body, b"");

    for same in [
        "/images/tiny/Packages/libstdc++-11~rc^1.rpm",
        "//images//tiny/Packages/libstdc%2B%2B-11%7Erc%5E1.rpm",
    ] {
        assert_eq!(lab.get(same).text(), "an rpm", "{same}");
    }
    for missing in [
        "/images/tiny/manifest.json",
        "/images/tiny/../../lock",
        "/images/tiny/%2e%2e/system/linux",
        "/images/nope/linux",
        "/images/tiny",
        "/nope",
    ] {
        assert_eq!(lab.get(missing).status, 404, "{missing}");
    }
    assert_eq!(lab.get("//snponly.efi").body, bytes(200_000, 3), "shim asks with two slashes");
    assert_eq!(lab.get("/loaders/snponly.efi").header("content-type"), Some("application/efi"));
    assert_eq!(lab.ask("DELETE", path, &[], "").status, 405);
}

#[test]
fn many_files_on_one_connection_and_many_connections_at_once() {
    let lab = Lab::new();
    let want = Arc::new((big(), bytes(300_000, 1)));
    let threads: Vec<_> = (0..6)
        .map(|i| {
            let (http, want) = (lab.http(), want.clone());
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(http).unwrap();
                for round in 0..3 {
                    let big = ask(&mut stream, "GET", "/images/tiny/initrd.gz", &[], "");
                    assert!(big.body == want.0, "client {i} round {round}");
                    let small = ask(&mut stream, "GET", "/images/tiny/linux", &[("Range", "bytes=100-")], "");
                    assert!(small.body == want.1[100..], "client {i} round {round}");
                    assert_eq!(ask(&mut stream, "GET", "/autoexec.ipxe", &[], "").status, 200);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    // Two requests in one packet: answers in order, none mixed up.
    let mut stream = TcpStream::connect(lab.http()).unwrap();
    let get = "GET /images/tiny/linux HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(format!("{get}{get}").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let needle = &want.1[..64];
    assert_eq!(all.windows(64).filter(|w| *w == needle).count(), 2);
}

#[test]
fn the_fast_lane_is_granted_once() {
    let lab = Lab::new();
    lab.arm("quick-1");
    let t = token(FAST, 1);
    assert!(lab.get(&script_path(FAST, "")).text().contains(&t));
    let bearer = format!("Bearer {t}");
    let path = format!("/v1/nodes/{}/orders", FAST.hyphens());
    assert_eq!(lab.get(&path).status, 403);
    let orders = lab.ask("GET", &path, &[("Authorization", &bearer)], "");
    assert_eq!(orders.json()["node"], "quick-1");
    let report = |query: &str| lab.get(&format!("/v1/nodes/{}/report?token={t}&{query}", FAST.hyphens()));
    assert_eq!(report("event=hardware&detail=%7B%22cpus%22%3A2%7D").status, 200);
    assert_eq!(report("event=begin").status, 400, "a grant is for one run");
    assert_eq!(report("event=begin&run=r1").text(), "granted\n");
    assert_eq!(report("event=begin&run=r1").status, 200);
    let refused = report("event=begin&run=r2");
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("earlier boot"), "{}", refused.text());
    assert_eq!(report("event=failed&detail=disk+full").status, 200);
    assert_eq!(lab.state(FAST), "failed");
    assert_eq!(report("event=nonsense").status, 400);
}

#[test]
fn a_disk_is_approved_for_one_installation() {
    let lab = Lab::new();
    let erase = r#"{"by":"ann","erase":["S1"]}"#;
    assert_eq!(lab.operate("POST", "/v1/nodes/quick-1/arm", erase).status, 200);
    let orders = |arming: u32| {
        let bearer = format!("Bearer {}", token(FAST, arming));
        lab.ask("GET", &format!("/v1/nodes/{}/orders", FAST.hyphens()), &[("Authorization", &bearer)], "")
            .json()
    };
    assert_eq!(orders(1)["erase"], serde_json::json!(["S1"]));
    let report = |query: &str| {
        lab.get(&format!("/v1/nodes/{}/report?token={}&{query}", FAST.hyphens(), token(FAST, 1))).status
    };
    assert_eq!(report("event=failed&detail=another+disk"), 200);
    lab.arm("quick-1");
    assert_eq!(orders(2)["erase"], serde_json::json!([]), "an approval ends with its arming");

    let answers = |arming: u32| lab.get(&format!("/a/{}/{}/extra.cfg", A.hyphens(), token(A, arming))).text();
    assert_eq!(lab.operate("POST", "/v1/nodes/base-1/arm", erase).status, 200);
    assert_eq!(answers(1), "# extra, erase [\"S1\"]\n");
    assert_eq!(lab.operate("POST", "/v1/nodes/base-1/forget", "{}").status, 200);
    lab.arm("base-1");
    assert_eq!(answers(2), "# extra, erase []\n");
}

#[test]
fn the_operator_sees_and_decides_through_the_socket_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new();
    let mode = std::fs::metadata(&lab.running().addresses.control).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(lab.get("/v1/board").status, 404);
    assert_eq!(lab.ask("POST", "/v1/nodes/base-1/arm", &[], "{}").status, 404);

    assert_eq!(lab.operate("GET", "/v1/board", "").json()["nodes"][0]["name"], "base-1");
    lab.arm("base-1");
    let again = lab.operate("POST", "/v1/nodes/base-1/arm", "{}");
    assert_eq!(again.status, 409);
    assert!(again.json()["error"].as_str().unwrap().contains("armed already"));
    let near = lab.operate("POST", "/v1/nodes/bas-1/arm", "{}");
    assert_eq!((near.status, near.json()["help"].as_str()), (404, Some("did you mean \"base-1\"?")));
    assert_eq!(lab.operate("POST", "/v1/nodes/base-1/hold", "{}").status, 400);
    assert_eq!(lab.operate("POST", "/v1/nodes/base-1/hold", r#"{"why":"new cable","by":"eve"}"#).status, 200);
    let script = lab.get(&script_path(A, "")).text();
    assert!(script.contains("new cable") && script.contains("release base-1"), "{script}");
    assert_eq!(lab.operate("POST", &format!("/v1/nodes/{}/release", A.hyphens()), "").status, 200);
    assert_eq!(lab.operate("POST", "/v1/nodes/base-1/forget", "").status, 200);
    assert_eq!(lab.state(A), "expected");
    assert_eq!(lab.operate("POST", "/v1/reload", "").json()["changed"], "the same nodes");

    let all = lab.operate("GET", "/v1/events?node=base-1", "").json();
    let last = all.as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap();
    let began = Instant::now();
    let shared = lab.running().shared.clone();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        let now = shared.clock.now();
        shared.hub.arm(now, A, "test", "tiny", "base").unwrap();
    });
    let news = lab.operate("GET", &format!("/v1/events?after={}&wait=1&node=base-1", last + 10), "");
    assert!(news.json().as_array().unwrap().is_empty() || began.elapsed() < Duration::from_secs(3));
    later.join().unwrap();
    let news = lab.operate("GET", &format!("/v1/events?after={last}&wait=10&node=base-1"), "").json();
    assert!(news.as_array().unwrap().iter().any(|e| e["what"] == "armed"), "{news}");
}

/// A journal whose disk is full.
struct Full(bootstead::store::sqlite::Sqlite, Arc<std::sync::atomic::AtomicBool>);

impl bootstead::store::Store for Full {
    fn append(&mut self, events: &[bootstead::lifecycle::Event]) -> Result<u64, bootstead::problem::Problem> {
        if self.1.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(bootstead::problem::Problem::environment("the disk is full"));
        }
        self.0.append(events)
    }
    fn read(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<bootstead::store::Entry>, bootstead::problem::Problem> {
        self.0.read(after, limit)
    }
    fn read_for(
        &self,
        mac: Option<bootstead::base::Mac>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<bootstead::store::Entry>, bootstead::problem::Problem> {
        self.0.read_for(mac, after, limit)
    }
}

#[test]
fn a_full_disk_answers_nothing_and_goes_on_when_there_is_room() {
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut lab = Lab { dir: Scratch::new(), running: None };
    publish_image(&lab.dir.0.join("images"), "tiny", &[("linux", b"k"), ("initrd.gz", b"i")]);
    let store = bootstead::store::sqlite::Sqlite::open(&lab.dir.0).unwrap();
    let store = Box::new(Full(store, full.clone()));
    lab.start_with(site(), bootstead::serve::clock::Clock::system(), store).unwrap_or_else(|p| panic!("{p}"));
    lab.arm("base-1");
    full.store(true, std::sync::atomic::Ordering::Relaxed);
    let ks = format!("/a/{}/{}/ks.cfg", A.hyphens(), token(A, 1));
    let later = lab.get(&ks);
    assert_eq!((later.status, later.header("retry-after")), (503, Some("10")));
    assert!(later.text().contains("the disk is full"), "{}", later.text());
    assert_eq!(lab.operate("POST", "/v1/nodes/base-2/arm", "{}").status, 503);
    assert_eq!(lab.state(A), "armed", "nothing was answered, so nothing was used up");
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(lab.get(&ks).status, 200);
    assert_eq!(lab.state(A), "installing");
}

#[test]
fn after_a_restart_every_node_is_where_it_was() {
    let mut lab = Lab::new();
    lab.arm("base-1");
    lab.arm("base-2");
    lab.get(&script_path(A, ""));
    lab.get(&format!("/a/{}/{}/ks.cfg", A.hyphens(), token(A, 1)));
    let before = lab.running().shared.hub.ledger().clone();
    if let Some(running) = lab.running.take() {
        running.stop();
    }
    lab.start(site(), bootstead::serve::clock::Clock::system());
    assert_eq!(*lab.running().shared.hub.ledger(), before);
    assert_eq!((lab.state(A), lab.state(B)), ("installing".to_string(), "armed".to_string()));
    assert_eq!(lab.get(&format!("/a/{}/{}/ks.cfg", A.hyphens(), token(A, 1))).status, 200);
}

#[test]
fn installers_logs_come_by_udp_and_tcp() {
    // The log's sender is known by its address: here a node whose address is this loopback's.
    let mut site = site();
    site.nodes[0].addresses.insert("prov".into(), std::net::Ipv4Addr::LOCALHOST);
    let lab = Lab::with(site.indexed());
    lab.arm("base-1");
    lab.get(&script_path(A, ""));
    assert_eq!(lab.get(&format!("/a/{}/{}/ks.cfg", A.hyphens(), token(A, 1))).status, 200);
    let to = lab.running().addresses.syslog_udp;
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"<30>Nov 20 08:00:01 main-menu[287]: INFO: Menu item 'partman-base' selected", to).unwrap();
    lab.timeline_when(A, |told| told.iter().any(|t| t.contains("partitioning")));
    udp.send_to(b"<12>Nov 20 08:00:01 main-menu[287]: WARNING **: Menu item 'anna' failed.", to).unwrap();
    lab.timeline_when(A, |told| told.iter().any(|t| t.starts_with("the installer's step anna failed")));
    let mut tcp = TcpStream::connect(lab.running().addresses.syslog_tcp).unwrap();
    tcp.write_all(b"<13>Nov 20 08:00:02 host anaconda: hello\n<13>Nov 20 08:00:02 host x: Queue started: Install (3/4)\n").unwrap();
    for i in 0..1000 {
        tcp.write_all(format!("noise {i}\n").as_bytes()).unwrap();
    }
    drop(tcp);
    // The next line after the flood says how much of it was dropped.
    let told = lab.timeline_when(A, |told| {
        udp.send_to(b"after", to).unwrap();
        told.iter().any(|t| t.contains("lines dropped"))
    });
    let has = |s: &str| told.iter().any(|t| t.contains(s));
    assert!(has("Menu item 'partman-base'") && has("anaconda: hello"), "{told:?}");
    assert!(has("partitioning 14%") && has("Install 50%"), "{told:?}");
    assert!(has("lines dropped"), "a flood is bounded: {}", told.len());
    assert!(told.len() < 600);
}

#[test]
fn downloads_are_told_in_few_lines() {
    let mut site = site();
    site.nodes[0].addresses.insert("prov".into(), std::net::Ipv4Addr::LOCALHOST);
    let lab = Lab::with(site.indexed());
    lab.get("/images/tiny/linux");
    for _ in 0..50 {
        lab.get("/images/tiny/Packages/libstdc++-11~rc^1.rpm");
    }
    let told = lab.timeline_when(A, |told| told.iter().any(|t| t.contains("packages")));
    assert!(told.iter().any(|t| t.starts_with("fetched linux of tiny → 293.0 KiB in ")), "{told:?}");
    assert_eq!(told.iter().filter(|t| t.contains("packages")).count(), 1, "{told:?}");
    assert!(told.iter().any(|t| t.contains(" files, ") && t.contains("so far")), "{told:?}");
}

#[test]
fn slow_and_broken_clients_do_not_stop_the_others() {
    let lab = Lab::new();
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(lab.http()).unwrap();
        stream.write_all(b"GET /images/tiny/initrd.gz HTTP/1.1\r\n").unwrap();
        idle.push(stream);
    }
    // A reader that stops in the middle.
    let mut stuck = TcpStream::connect(lab.http()).unwrap();
    stuck.write_all(b"GET /images/tiny/initrd.gz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let began = Instant::now();
    assert_eq!(lab.get("/autoexec.ipxe").status, 200);
    assert!(began.elapsed() < Duration::from_secs(1));
    let path = format!("/v1/nodes/{}/report", A.hyphens());
    assert_eq!(lab.ask("POST", &path, &[], &"x".repeat(500)).status, 403, "short, and without a token");
    // Longer than any report: refused before it is all there, so no more of it is sent than is refused.
    let mut stream = TcpStream::connect(lab.http()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n").unwrap();
    stream.write_all(&vec![b'x'; 512 * 1024 + 1]).unwrap();
    let mut got = [0; 12];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"HTTP/1.1 413");
    // Whoever sends bodies that never end holds up no installation's report for long, and no script at all.
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(lab.http()).unwrap();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx").unwrap();
        slow.push(stream);
    }
    let began = Instant::now();
    assert_eq!(lab.get("/autoexec.ipxe").status, 200);
    assert!(began.elapsed() < Duration::from_secs(1));
}
