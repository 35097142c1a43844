//! `bootstead serve` as a process: killed at any moment it loses nothing that was answered; a second copy, a taken
//! port and a broken site file are one clear sentence each.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod serving;

use bootstead::base::Mac;
use serving::*;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const NODES: u8 = 40;
/// What an image of EL consists of.
const TINY: [(&str, &[u8]); 3] =
    [("linux", b"k"), ("initrd.gz", b"i"), ("os/repodata/repomd.xml", b"<repomd/>")];

fn mac(n: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, n])
}

/// A site in a folder, with an image on its shelf.
struct Place {
    dir: Scratch,
    http: SocketAddr,
    ports: [String; 4],
}

impl Place {
    fn new(nodes: usize) -> Place {
        let dir = Scratch::new();
        let state = dir.0.join(".bootstead");
        publish_image(&state.join("images"), "tiny", &TINY);
        let tree = dir.0.join("tree/images");
        std::fs::create_dir_all(&tree).unwrap();
        let image = "summary = \"a test's\"\nfamily = \"el9\"\nversion = \"9\"\narch = \"amd64\"\nkernel = \"linux\"\n\
                     initrd = [\"initrd.gz\"]\ntree = \"os\"\n";
        std::fs::write(tree.join("tiny.toml"), image).unwrap();
        let ports = [free_port(), free_port(), free_port(), free_port()];
        let place = Place {
            http: SocketAddr::from(([127, 0, 0, 1], ports[0])),
            ports: ports.map(|p| p.to_string()),
            dir,
        };
        place.write_site("");
        let rows: String =
            (1..=nodes).map(|n| format!("52:54:00:00:{:02x}:{:02x},compute\n", n >> 8, n & 255)).collect();
        std::fs::write(place.dir.0.join("nodes.csv"), format!("mac,role\n{rows}")).unwrap();
        place
    }

    fn write_site(&self, more: &str) {
        let text = format!(
            "[site]\nname = \"test\"\ndomain = \"test.example\"\n[server]\naddress = \"10.79.0.1\"\n\
             provisioning = \"provisioning\"\n[network.provisioning]\ncidr = \"10.79.0.0/16\"\n\
             [role.compute]\nprofile = \"compute\"\nimage = \"tiny\"\nname = \"compute-{{n:04}}\"\n\
             disk = {{ min_gib = 10 }}\naddresses.provisioning = \"10.79.16.1-10.79.47.254\"\n{more}"
        );
        std::fs::write(self.dir.0.join("site.toml"), text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstead"));
        command.current_dir(&self.dir.0).args(["--tree", "tree"]).args(words).env_remove("RUST_LOG");
        command
    }
    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
    fn serve(&self) -> Command {
        self.serve_on("127.0.0.1")
    }
    fn serve_on(&self, address: &str) -> Command {
        let [http, tftp, syslog, agents] = &self.ports;
        self.command(&[
            "serve",
            "--no-dhcp",
            "--listen",
            address,
            "--http-port",
            http,
            "--tftp-port",
            tftp,
            "--syslog-port",
            syslog,
            "--agent-port",
            agents,
        ])
    }
    fn socket(&self) -> PathBuf {
        self.dir.0.join(".bootstead/control.sock")
    }
    /// Starts the server and waits until it answers; how long that took.
    fn start(&self) -> (Served, Duration) {
        self.start_on("127.0.0.1")
    }
    fn start_on(&self, address: &str) -> (Served, Duration) {
        let began = Instant::now();
        let log = std::fs::File::create(self.dir.0.join("log")).unwrap();
        let child = self.serve_on(address).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let mut served = Served(child);
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = served.0.try_wait().unwrap() {
                panic!("serve ended: {status}\n{}", self.log());
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it does not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        (served, began.elapsed())
    }
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.0.join("log")).unwrap_or_default()
    }
    fn board(&self) -> serde_json::Value {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        ask(&mut stream, "GET", "/v1/board", &[], "").json()
    }
    fn operate(&self, path: &str) -> Got {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        ask(&mut stream, "POST", path, &[], "{}")
    }
    /// Describes an image by what is to be downloaded: files that a web server of this test hands out.
    fn describe_downloads(&self, name: &str, files: &[(&'static str, &'static [u8])]) {
        let mut text = format!(
            "summary = \"a test's\"\nfamily = \"el9\"\nversion = \"9\"\narch = \"amd64\"\nkernel = \"{}\"\n\
             initrd = [\"{}\"]\ntree = \"os\"\n",
            files[0].0, files[1].0
        );
        let web = web_server(files.to_vec());
        for (path, content) in files {
            let sha256 = bootstead::base::Sha256::of(content);
            text += &format!("[fetch.{path:?}]\nurl = \"http://{web}/{path}\"\nsha256 = \"{sha256}\"\n");
        }
        std::fs::write(self.dir.0.join(format!("tree/images/{name}.toml")), text).unwrap();
    }
    /// `image fetch`, past any proxy that this machine's apt may have.
    fn fetch(&self, name: &str) -> Output {
        let direct = self.dir.0.join("apt-direct");
        std::fs::write(&direct, "Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n").unwrap();
        self.command(&["image", "fetch", name]).env("APT_CONFIG", direct).output().unwrap()
    }
    fn token(&self, mac: Mac) -> String {
        let key = bootstead::secrets::load_or_make(&self.dir.0.join(".bootstead")).unwrap();
        key.token(mac, 1).reveal().to_string()
    }
}

/// A server that does not outlive its test.
struct Served(Child);

impl Served {
    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }
    fn wait(mut self) -> std::process::ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One request on a connection of its own; `None` where the server died in the middle.
fn try_get(http: SocketAddr, path: &str) -> Option<u16> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok()?;
    // Only a whole answer counts as answered.
    let text = String::from_utf8_lossy(&all);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let len: usize = head.lines().find_map(|l| l.strip_prefix("content-length: "))?.parse().ok()?;
    (body.len() >= len).then(|| head.split(' ').nth(1)?.parse().ok())?
}

#[test]
fn killed_at_any_moment_it_loses_nothing_that_was_answered() {
    let place = Place::new(usize::from(NODES));
    let (first, _) = place.start();
    for n in 1..=NODES {
        let got = place.operate(&format!("/v1/nodes/compute-{n:04}/arm"));
        assert_eq!(got.status, 200, "{}", got.text());
    }
    let mut server = first;
    let began: Arc<Mutex<BTreeSet<u8>>> = Arc::default();
    for round in 0..4u8 {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4u8)
            .map(|lane| {
                let (http, stop, began) = (place.http, stop.clone(), began.clone());
                let mine: Vec<(u8, String, String)> = (1..=NODES)
                    .filter(|n| n % 4 == lane && n % 5 <= round)
                    .map(|n| {
                        let hyphens = mac(n).hyphens();
                        let script = format!("/boot.ipxe?mac={hyphens}&platform=efi&arch=x86_64");
                        (n, script, format!("/a/{hyphens}/{}/ks.cfg", place.token(mac(n))))
                    })
                    .collect();
                std::thread::spawn(move || {
                    for (n, script, ks) in mine {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let _ = try_get(http, &script);
                        if try_get(http, &ks) == Some(200) {
                            began.lock().unwrap().insert(n);
                        }
                    }
                })
            })
            .collect();
        // In the middle of things: some have their answers, others are just getting them.
        let before = began.lock().unwrap().len();
        let since = Instant::now();
        while began.lock().unwrap().len() < before + 2 && since.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(u64::from(round) * 7));
        server.signal(nix::sys::signal::Signal::SIGKILL);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|c| c.join().unwrap());
        server.wait();
        let (next, _) = place.start();
        server = next;
        let board = place.board();
        for n in began.lock().unwrap().iter() {
            let phase = &board["nodes"][usize::from(*n) - 1]["phase"];
            assert_eq!(phase, "installing", "round {round}: node {n} had its answers");
        }
        // Whoever had not: still armed or booting, once; never twice.
        for row in board["nodes"].as_array().unwrap() {
            assert_eq!(row["arming"], 1, "{row}");
        }
    }
    let answered = began.lock().unwrap().len();
    assert!(
        (4..usize::from(NODES)).contains(&answered),
        "{answered} were answered before a kill: {}",
        place.log()
    );
    let board = place.board();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success(), "{}", place.log());
    assert!(!place.socket().exists());
    let (_again, _) = place.start();
    assert_eq!(place.board()["nodes"], board["nodes"]);
}

#[test]
fn a_second_copy_a_taken_port_and_a_broken_site_are_one_sentence_each() {
    let place = Place::new(3);
    let (server, _) = place.start();
    let second = place.serve().output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(3), "{said}");
    assert!(said.contains("another bootstead already works on the state folder"), "{said}");

    let other = place.serve().args(["--state", "other"]).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(3), "{said}");
    let holder = format!("process {} (bootstead) holds this port", server.0.id());
    for what in ["HTTP", "TFTP", "syslog"] {
        let line = said.lines().find(|l| l.contains(&format!("cannot serve {what}"))).unwrap_or_default();
        assert!(line.contains(&holder), "{what}: {said}");
    }

    // A broken site file does not stop what runs; a mended one is taken up.
    place.write_site("[role.compute.nonsense]\n");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for(|| place.log().contains("the old one goes on"));
    assert_eq!(try_get(place.http, "/autoexec.ipxe"), Some(200));
    place.write_site("[[node]]\nmac = \"52:54:00:99:00:01\"\nrole = \"compute\"\n");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    wait_for(|| place.log().contains("1 added"));
    assert_eq!(place.board()["nodes"].as_array().unwrap().len(), 4);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(server.wait().success());

    let missing = place.command(&["serve", "--no-dhcp"]).output().unwrap();
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(3), "{said}");
    // One sentence for all sockets, and a command that has the site's prefix length in it.
    assert_eq!(said.matches("no interface of this machine has the address 10.79.0.1").count(), 1, "{said}");
    assert!(!said.contains("cannot serve") && !said.contains("PREFIX"), "{said}");
    assert!(said.contains("sudo ip address add 10.79.0.1/16 dev "), "{said}");
    let elsewhere = place.command(&["serve", "--no-dhcp", "--listen", "192.0.2.1"]).output().unwrap();
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert_eq!(elsewhere.status.code(), Some(3), "{said}");
    assert_eq!(said.matches("has the address 192.0.2.1").count(), 1, "{said}");
    assert!(said.contains("--listen names it"), "{said}");
    let checked = place.run(&["check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn any_loopback_address_is_served_without_an_alarm() {
    let place = Place::new(1);
    let (_server, _) = place.start_on("127.9.0.1");
    let there = SocketAddr::from(([127, 9, 0, 1], place.http.port()));
    assert_eq!(try_get(there, "/autoexec.ipxe"), Some(200));
    // The look after the address comes with the first round of the housekeeping, at the start.
    std::thread::sleep(Duration::from_millis(300));
    let board = place.board();
    assert_eq!(board["serving"]["trouble"], serde_json::json!([]), "{board}");
    assert!(!place.log().contains("no longer has the address"), "{}", place.log());
}

#[test]
fn it_serves_512_nodes_soon_after_its_start() {
    let place = Place::new(512);
    let (_server, took) = place.start();
    assert_eq!(place.board()["nodes"].as_array().unwrap().len(), 512);
    // A release build on a quiet machine takes a few hundredths; this is a debug build beside other tests.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// On a terminal (util-linux's `script` gives one) the table stands beneath what is printed and is gone in the end; in a
/// pipe there is only what was printed.
#[test]
fn what_is_read_is_printed_above_the_live_table() {
    let place = Place::new(3);
    let (_server, _) = place.start();
    let watch = ["status", "--watch", "--with-input"];
    let feed = "echo first; sleep 1.5; printf last";
    let shell = |terminal: bool| {
        let program = place.command(&watch);
        let words = std::iter::once(program.get_program()).chain(program.get_args());
        let words: Vec<String> = words.map(|w| w.to_string_lossy().into_owned()).collect();
        let line = format!("({feed}) | {}", words.join(" "));
        let mut command = Command::new(if terminal { "script" } else { "sh" });
        match terminal {
            true => command.args(["-qec", &format!("stty cols 100 rows 30; {line}"), "/dev/null"]),
            false => command.args(["-c", &line]),
        };
        let out =
            command.current_dir(&place.dir.0).env("TERM", "xterm").env("LANG", "C.UTF-8").output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8_lossy(&out.stdout).replace("\r\n", "\n")
    };
    assert_eq!(shell(false), "first\nlast\n");
    let seen = shell(true);
    let (above, rest) = seen.split_once("compute-0001").unwrap_or_else(|| panic!("{seen}"));
    assert!(above.contains("first\n") && above.contains("NODE"), "{seen}");
    // Erased, the last line written, and the table drawn again below it; nothing of it stays.
    let (_, end) = rest.split_once("last\n").unwrap_or_else(|| panic!("{seen}"));
    assert!(end.contains("compute-0003"), "{seen}");
    let (_, left) = end.rsplit_once("\u{1b}[J").unwrap_or_else(|| panic!("{seen}"));
    assert!(!left.contains("compute"), "{seen}");
}

/// Hands out `files` on loopback until the test program ends.
fn web_server(files: Vec<(&'static str, &'static [u8])>) -> SocketAddr {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.by_ref().take_while(|l| !l.is_empty()).for_each(drop);
            let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, body) = match files.iter().find(|(p, _)| *p == path) {
                Some((_, content)) => ("200 OK", *content),
                None => ("404 Not Found", &b""[..]),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

/// An image that consists of downloads alone names no suite, and needs none of a distribution's archive.
#[test]
fn an_image_of_downloads_alone_is_fetched() {
    let place = Place::new(1);
    place.describe_downloads("plain", &[("boot/vmlinuz", b"a kernel"), ("boot/initrd", b"an initrd")]);
    let fetched = place.fetch("plain");
    let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
    assert!(fetched.status.success(), "{said}");
    let kernel = place.dir.0.join(".bootstead/images/plain/boot/vmlinuz");
    assert_eq!(std::fs::read(kernel).unwrap(), b"a kernel");
}

/// A server that runs knows of an image that came, or went, as soon as the command has done it.
#[test]
fn a_running_server_takes_changed_images_into_use() {
    let place = Place::new(1);
    place.describe_downloads("tiny", &TINY);
    let (_server, _) = place.start();
    assert_eq!(place.operate("/v1/nodes/compute-0001/arm").status, 200);
    let script = || {
        let mut stream = TcpStream::connect(place.http).unwrap();
        let path = format!("/boot.ipxe?mac={}&platform=efi&arch=x86_64", mac(1).hyphens());
        ask(&mut stream, "GET", &path, &[], "").text()
    };
    let said = |out: Output| {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{said}");
        said
    };
    assert!(script().contains("/images/tiny/linux"), "{}", script());
    let removed = said(place.run(&["image", "remove", "tiny"]));
    assert!(removed.contains("the running server serves it no more"), "{removed}");
    assert!(script().contains("image tiny is not here"), "{}", script());
    let fetched = said(place.fetch("tiny"));
    assert!(fetched.ends_with("the running server has taken it into use\n"), "{fetched}");
    assert!(script().contains("/images/tiny/linux"), "{}", script());
    // A server that cannot read its site file goes on with what it has: that is said, with what to type.
    place.write_site("[role.compute.nonsense]\n");
    let removed = said(place.run(&["image", "remove", "tiny"]));
    assert!(removed.contains("still uses its images as they were"), "{removed}");
    assert!(removed.contains("`bootstead node reload`"), "{removed}");
}

/// What `check` finds is not armed, either: the machine would stand at its console with a template's error.
#[test]
fn a_node_whose_files_do_not_render_is_not_armed() {
    let place = Place::new(2);
    let described = place.dir.0.join("tree/images/tiny.toml");
    let text = std::fs::read_to_string(&described).unwrap();
    std::fs::write(&described, text.replace("tree = \"os\"\n", "")).unwrap();
    assert_eq!(place.run(&["check"]).status.code(), Some(2));
    let armed = place.run(&["node", "arm", "--all", "--yes", "2"]);
    let said = String::from_utf8_lossy(&armed.stderr).into_owned();
    assert_eq!(armed.status.code(), Some(2), "{said}");
    let why = "compute-0001 and compute-0002 cannot be armed: what it would be given cannot be made: ";
    assert!(said.contains(why) && said.contains("kickstart/"), "{said}");
    std::fs::write(&described, text).unwrap();
    let armed = place.run(&["node", "arm", "--all", "--yes", "2"]);
    assert!(armed.status.success(), "{}", String::from_utf8_lossy(&armed.stderr));
}

/// What a machine reported is shown, with the disk that its rule picks, whether or not a server runs.
#[test]
fn a_hardware_report_is_shown_with_the_disk_that_the_rule_picks() {
    let place = Place::new(1);
    let shown = |words: &[&str]| {
        let out = place.run(words);
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    };
    assert!(shown(&["node", "show", "compute-0001"]).contains("hardware not known"));
    let (server, _) = place.start();
    assert_eq!(place.operate("/v1/nodes/compute-0001/arm").status, 200);
    let disk = |name: &str, gib: u64| {
        format!(
            r#"{{"name":"{name}","size":{},"model":"M","serial":"S-{name}","wwn":null,"by_path":null,"removable":false,"usb":false,"read_only":false,"rotational":false,"sector":512,"found":[],"unfinished":false}}"#,
            gib << 30
        )
    };
    let report = format!(
        r#"{{"firmware":"uefi","secure_boot":null,"vendor":"V","product":"P","serial":null,"uuid":null,"cpu_model":"C","cpus":2,"memory_mib":2000,"disks":[{},{}],"ports":[]}}"#,
        disk("sda", 4),
        disk("sdb", 40)
    );
    let body = serde_json::json!({"event": "hardware", "detail": report}).to_string();
    let mut stream = TcpStream::connect(place.http).unwrap();
    let bearer = format!("Bearer {}", place.token(mac(1)));
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let path = format!("/v1/nodes/{}/report", mac(1).hyphens());
    assert_eq!(ask(&mut stream, "POST", &path, &headers, &body).status, 200);
    let live = shown(&["node", "show", "compute-0001"]);
    assert!(live.contains("picks    sdb (40.0 GiB, M, serial S-sdb)") && live.contains("S-sda"), "{live}");
    drop(server);
    assert_eq!(shown(&["node", "show", "52:54:00:00:00:01"]), live);
    let json: serde_json::Value =
        serde_json::from_str(&shown(&["node", "show", "compute-0001", "--json"])).unwrap();
    assert_eq!((&json["hardware"]["cpus"], &json["rule"]["min_gib"]), (&2.into(), &10.into()));
    let armed = shown(&["node", "arm", "compute-0001", "--yes"]);
    assert!(armed.contains("of the disks it last reported: sdb (40.0 GiB, M, serial S-sdb)"), "{armed}");
    shown(&["node", "forget", "compute-0001"]);
    assert!(shown(&["node", "show", "compute-0001"]).contains("hardware not known"));
}

fn wait_for(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(10), "waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}
