//! A whole server on loopback with a small site, made by hand; and a plain HTTP client that shows what went over
//! the wire.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

pub mod place;

use bootstead::base::secret::SiteKey;
use bootstead::base::{Arch, Cidr, IpRange, Mac, Secret, Sha256};
use bootstead::images::manifest::FORMAT;
use bootstead::images::{Held, Image, Manifest};
use bootstead::kickstart::Answer;
use bootstead::lifecycle::Lane;
use bootstead::problem::{Problem, Problems};
use bootstead::serve::clock::Clock;
use bootstead::serve::hub::World;
use bootstead::serve::shared::Renders;
use bootstead::serve::{Materials, Options, Running, start};
use bootstead::shelf::{LOADERS, Shelf, publish};
use bootstead::site::*;
use bootstead::store::{Store, sqlite::Sqlite};
use bootstead::tls::Identity;
use bootstead::tree::Tree;
use bootstead::tree::template::Templates;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub const A: Mac = Mac([0x52, 0x54, 0, 0xaa, 0, 1]);
pub const B: Mac = Mac([0x52, 0x54, 0, 0xaa, 0, 2]);
pub const FAST: Mac = Mac([0x52, 0x54, 0, 0xaa, 0, 3]);
pub const STRANGER: Mac = Mac([0x52, 0x54, 0, 0xbb, 0, 1]);

/// A folder of its own, removed at its end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("bs-serve-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn role(name: &str, lane: Lane) -> Role {
    Role {
        name: name.into(),
        profile: "base".into(),
        parts: Vec::new(),
        image: "tiny".into(),
        lane,
        naming: format!("{name}-{{n}}"),
        ranges: BTreeMap::new(),
        links: Vec::new(),
        disk: None,
        data_disks: Vec::new(),
        packages: Vec::new(),
        kernel_args: String::new(),
        vars: BTreeMap::new(),
    }
}

fn node(name: &str, number: u32, role: &str, mac: Mac, address: [u8; 4]) -> Node {
    Node {
        name: name.into(),
        number,
        role: role.into(),
        macs: vec![mac],
        addresses: [("prov".to_string(), Ipv4Addr::from(address))].into(),
        disk: None,
        erase: Vec::new(),
        kernel_args: String::new(),
        vars: BTreeMap::new(),
    }
}

/// Three nodes (the last one by the fast lane) and room for strangers.
pub fn site() -> Site {
    let prov = Network {
        name: "prov".into(),
        cidr: Cidr::parse("10.77.0.0/24").unwrap(),
        vlan: None,
        mtu: None,
        gateway: None,
        dns: Vec::new(),
        ntp: Vec::new(),
        pool: Some(IpRange::parse("10.77.0.200-10.77.0.220").unwrap()),
    };
    Site {
        name: "test".into(),
        domain: "site.example".into(),
        timezone: "Etc/UTC".into(),
        language: "en_US.UTF-8".into(),
        keyboard: "us".into(),
        server: Server {
            interfaces: Vec::new(),
            address: Ipv4Addr::LOCALHOST,
            http_port: 80,
            also: Vec::new(),
            agent_port: 8443,
            provisioning: "prov".into(),
            dhcp: DhcpMode::Off,
            discover: true,
            tolerate: Vec::new(),
            lease_secs: 3600,
        },
        access: Access { user: None, password_hash: None, ssh_keys: Vec::new() },
        networks: [("prov".to_string(), prov)].into(),
        roles: [
            ("base".to_string(), role("base", Lane::Installer)),
            ("quick".to_string(), role("quick", Lane::Fast)),
        ]
        .into(),
        vips: BTreeMap::new(),
        cluster: None,
        nodes: vec![
            node("base-1", 1, "base", A, [10, 77, 0, 11]),
            node("base-2", 2, "base", B, [10, 77, 0, 12]),
            node("quick-1", 1, "quick", FAST, [10, 77, 0, 13]),
        ],
        vars: BTreeMap::new(),
        digest: Sha256::of(b"test"),
        by_mac: BTreeMap::new(),
    }
    .indexed()
}

fn image() -> Image {
    Image {
        name: "tiny".into(),
        summary: "a test's image".into(),
        family: "none".into(),
        version: "1".into(),
        arch: Arch::Amd64,
        pool: false,
        kernel: "linux".into(),
        initrd: vec!["initrd.gz".into()],
        tree: None,
        repos: BTreeMap::new(),
        suite: String::new(),
        components: Vec::new(),
        args: String::new(),
        min_memory_mib: 0,
        fetch: BTreeMap::new(),
        packages: Vec::new(),
        mirror: None,
        root: None,
    }
}

pub fn catalog() -> Catalog {
    let mut system = image();
    system.name = "system".into();
    Catalog {
        families: BTreeMap::new(),
        profiles: BTreeMap::new(),
        images: [("tiny".to_string(), image()), ("system".to_string(), system)].into(),
        templates: Templates::compile(&Tree::embedded(), "kickstart").unwrap_or_else(|_| panic!()),
        parts: BTreeMap::new(),
        part_templates: Templates::compile(&Tree::empty(), "profiles/parts").unwrap_or_else(|_| panic!()),
    }
}

/// Bytes that differ everywhere, so that a shifted or missing part shows.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

/// Publishes `files` as an image's folder.
pub fn publish_image(images: &Path, name: &str, files: &[(&str, &[u8])]) {
    let stage = publish::work_dir(images, name).unwrap().join("stage");
    let mut manifest = Manifest { format: FORMAT, ..Manifest::default() };
    for (i, (path, content)) in files.iter().enumerate() {
        let at = format!("f{i}");
        std::fs::create_dir_all(&stage).unwrap();
        std::fs::write(stage.join(&at), content).unwrap();
        manifest.stored.insert(at.clone(), publish::stored(&stage.join(&at), &mut |_| ()).unwrap());
        let held = Held { size: content.len() as u64, sha256: Sha256::of(content), at, extents: Vec::new() };
        manifest.files.insert((*path).to_string(), held);
    }
    publish::publish(images, name, &stage, &manifest).unwrap();
}

/// Stands in for what is rendered from templates.
pub struct Fixed(pub AtomicUsize);

impl Renders for Fixed {
    fn script(&self, world: &World, node: &Node, arming: u32, token: &Secret) -> Result<String, Problem> {
        let url = world.site.url();
        Ok(format!(
            "#!ipxe\nkernel {url}/images/tiny/linux ks={url}/a/{}/{}/ks.cfg\nboot\n# arming {arming}\n",
            node.mac().hyphens(),
            token.reveal()
        ))
    }
    fn answers(&self, _: &World, node: &Node, arming: u32, _: &Secret) -> Result<Vec<Answer>, Problem> {
        // Differs at every rendering: a retry that gets the same bytes got them from the cache.
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let answer =
            |file: &str, content: String| Answer { file: file.into(), suffix: ".ks".into(), content };
        Ok(vec![
            answer("ks.cfg", format!("# {} arming {arming} rendering {n}\n", node.name)),
            answer("extra.cfg", format!("# extra, erase {:?}\n", node.erase)),
        ])
    }
    fn orders(
        &self,
        world: &World,
        node: &Node,
        arming: u32,
        _: &Secret,
    ) -> Result<bootstead::api::Orders, Problem> {
        Ok(bootstead::api::Orders {
            node: node.name.clone(),
            role: node.role.clone(),
            arming,
            disk: DiskRule::default(),
            erase: node.erase.clone(),
            root: format!("{}/images/tiny/root.json", world.site.url()),
            root_sha256: Sha256::of(b"root.json"),
            files: Vec::new(),
        })
    }
}

pub fn key() -> SiteKey {
    SiteKey::new(Secret::new("test key"))
}

/// The server's certificate: made once per test program, as a restarted server keeps its own.
pub fn identity() -> Identity {
    static ONCE: std::sync::OnceLock<Identity> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| Identity::make("test").unwrap()).clone()
}

pub fn token(mac: Mac, arming: u32) -> String {
    key().token(mac, arming).reveal().to_string()
}

/// A server on loopback.
pub struct Lab {
    pub dir: Scratch,
    pub running: Option<Running>,
}

pub fn big() -> Vec<u8> {
    bytes(21_000_003, 7)
}

impl Lab {
    pub fn new() -> Lab {
        Lab::with(site())
    }

    pub fn with(site: Site) -> Lab {
        let mut lab = Lab::stopped();
        lab.start(site, Clock::system());
        lab
    }

    /// Everything is there; nothing serves yet.
    pub fn stopped() -> Lab {
        let dir = Scratch::new();
        let images = dir.0.join("images");
        publish_image(
            &images,
            "tiny",
            &[
                ("linux", &bytes(300_000, 1)),
                ("initrd.gz", &big()),
                ("empty", b""),
                ("root.json", b"{}"),
                ("Packages/libstdc++-11~rc^1.rpm", b"an rpm"),
            ],
        );
        publish_image(&images, "system", &[("linux", b"k"), ("initrd.gz", b"i")]);
        publish_image(&images, LOADERS, &[("snponly.efi", &bytes(200_000, 3)), ("undionly.kpxe", b"u")]);
        Lab { dir, running: None }
    }

    pub fn start(&mut self, site: Site, clock: Clock) {
        let store = Box::new(Sqlite::open(&self.dir.0).unwrap());
        self.start_with(site, clock, store).unwrap_or_else(|p| panic!("{p}"));
    }

    pub fn start_with(&mut self, site: Site, clock: Clock, store: Box<dyn Store>) -> Result<(), Problems> {
        let images = self.dir.0.join("images");
        let catalog = Arc::new(catalog());
        let load = Arc::new(move || {
            let (shelf, stock, problems) = Shelf::open(&images);
            assert_eq!(problems, vec![]);
            Ok((World { site: site.clone(), catalog: catalog.clone(), stock }, shelf))
        });
        let options = Options {
            state: self.dir.0.clone(),
            listen: Some(Ipv4Addr::LOCALHOST),
            http_port: Some(0),
            agent_port: Some(0),
            tftp_port: Some(0),
            syslog_port: Some(free_port()),
            no_dhcp: true,
            pcap: None,
        };
        let renders = Arc::new(Fixed(AtomicUsize::new(0)));
        self.running = Some(start(
            &options,
            Materials { load, store, key: key(), identity: identity(), renders, clock },
        )?);
        Ok(())
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
    pub fn http(&self) -> SocketAddr {
        self.running().addresses.http
    }
    pub fn get(&self, path: &str) -> Got {
        self.ask("GET", path, &[], "")
    }
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut stream = TcpStream::connect(self.http()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        ask(&mut stream, method, path, headers, body)
    }
    /// Through the operator's door.
    pub fn operate(&self, method: &str, path: &str, body: &str) -> Got {
        let mut stream = UnixStream::connect(&self.running().addresses.control).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        ask(&mut stream, method, path, &[], body)
    }
    pub fn arm(&self, name: &str) {
        let got = self.operate("POST", &format!("/v1/nodes/{name}/arm"), r#"{"by":"test"}"#);
        assert_eq!(got.status, 200, "{}", got.text());
    }
    pub fn state(&self, mac: Mac) -> String {
        self.running().shared.hub.ledger().state(mac).name().to_string()
    }
    /// Sentences of a machine's timeline, once the notes under way are taken.
    pub fn timeline(&self, mac: Mac) -> Vec<String> {
        // A fact recorded now comes after every note that is under way.
        let now = self.running().shared.clock.now();
        let mark = bootstead::lifecycle::What::Log { line: "(mark)".into() };
        let event = bootstead::lifecycle::Event::new(now, mac, mark);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.running().shared.to.record(event)).unwrap();
        let entries = self.running().shared.hub.events(0, 10_000, Some(mac)).unwrap();
        entries.iter().map(|e| e.event.what.sentence()).filter(|s| s != "(mark)").collect()
    }
    /// The same, as soon as it is as wanted; after 15 seconds, as it is.
    pub fn timeline_when(&self, mac: Mac, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let began = std::time::Instant::now();
        loop {
            let told = self.timeline(mac);
            if wanted(&told) || began.elapsed() > Duration::from_secs(15) {
                return told;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// A port that nobody had a moment ago, over UDP and TCP. Below the system's own choices (32768 and up): those of the
/// other servers of this test, and of its clients, would come upon it; another number each time, so that labs that start
/// at once do not come upon each other.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + (n % 12_000) as u16;
        let at = (Ipv4Addr::LOCALHOST, port);
        if std::net::TcpListener::bind(at).is_ok() && std::net::UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
}

/// A response as it came.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// One request on an open connection; reads exactly the announced body.
pub fn ask<S: Read + Write>(
    stream: &mut S,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Got {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&seen)));
        seen.push(byte[0]);
    }
    let head = String::from_utf8(seen).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(": ").map(|(n, v)| (n.to_string(), v.to_string()))).collect();
    let mut got = Got { status, headers, body: Vec::new() };
    let len = got.header("content-length").map_or(0, |l| l.parse().unwrap());
    if method != "HEAD" && status != 304 {
        got.body = vec![0; len];
        stream.read_exact(&mut got.body).unwrap();
    }
    got
}
