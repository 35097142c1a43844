//! A site of three nodes with one part, its server and its agents as processes, over real TLS on loopback.

use super::{Scratch, ask, free_port, publish_image};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const SECRET_PART: &str = r#"
# A part of a test: every kind of step that needs no root.
summary = "alpha"

[secrets]
word = "password"

[vars.greeting]
help = "what is written"
default = "hello"

[[step]]
id = "folder"
directory = "/srv/alpha"

[[step]]
id = "file"
after = ["folder"]
file = "/srv/alpha/conf"
mode = "0640"
content = "{{ vars.greeting }} from {{ node.name }} to {{ peers|map(attribute='name')|join(' ') }}\nword {{ secret('word') }}\n"

[[step]]
id = "first"
on = "once"
after = ["file"]
run = 'test -n "$WORD"; echo once >> "$ROOT/srv/alpha/once"; echo "made with $WORD"'
env = { WORD = "{{ secret('word') }}", ROOT = "{{ vars.root }}" }
creates = "/srv/alpha/once"

[[step]]
id = "rest"
on = "rest"
serial = "always"
after_all = ["first"]
run = 'date +%s%N >> "$ROOT/../turns"; sleep 0.2; date +%s%N >> "$ROOT/../turns"; touch "$ROOT/srv/alpha/rest"'
env = { ROOT = "{{ vars.root }}" }
creates = "/srv/alpha/rest"

[[step]]
id = "whole"
after_all = ["rest", "first"]
wait = { file = "/srv/alpha/conf", timeout = 5 }

[vars.root]
help = "the test's folder"

[[verify]]
id = "look"
title = "what is written"
run = "cat {{ vars.root }}/srv/alpha/conf"
"#;

/// A site of three nodes with one part, its server, and the agents' folders.
pub struct Place {
    pub dir: Scratch,
    pub http: u16,
    pub agents: u16,
    ports: [u16; 2],
}

pub fn mac(n: usize) -> String {
    format!("52:54:00:00:00:{n:02x}")
}

impl Place {
    pub fn new(part: &str) -> Place {
        let dir = Scratch::new();
        let place = Place { http: free_port(), agents: free_port(), ports: [free_port(), free_port()], dir };
        let files: [(&str, &[u8]); 3] =
            [("linux", b"k"), ("initrd.gz", b"i"), ("os/dists/bookworm/Release", b"r")];
        publish_image(&place.path(".bootstead/images"), "tiny", &files);
        for (path, text) in [
            (
                "tree/images/tiny.toml",
                "summary = \"a test's\"\nfamily = \"debian12\"\nversion = \"12\"\narch = \"amd64\"\n\
                 kernel = \"linux\"\ninitrd = [\"initrd.gz\"]\ntree = \"os\"\nsuite = \"bookworm\"\n",
            ),
            ("tree/profiles/parts/alpha/part.toml", part),
        ] {
            std::fs::create_dir_all(place.path(path).parent().unwrap()).unwrap();
            std::fs::write(place.path(path), text).unwrap();
        }
        for n in 1..=3 {
            let root = place.root(n);
            std::fs::create_dir_all(root.join("etc")).unwrap();
            let id = |flag: &str| {
                let out = Command::new("id").arg(flag).output().unwrap();
                String::from_utf8(out.stdout).unwrap().trim().to_string()
            };
            let (uid, gid) = (id("-u"), id("-g"));
            std::fs::write(root.join("etc/passwd"), format!("root:x:{uid}:{gid}::/:/bin/sh\n")).unwrap();
            std::fs::write(root.join("etc/group"), format!("root:x:{gid}:\n")).unwrap();
        }
        place.write_site("");
        place
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.0.join(below)
    }
    /// The root folder of node `n`.
    pub fn root(&self, n: usize) -> PathBuf {
        self.path(&format!("node{n}/root"))
    }

    pub fn write_site(&self, more: &str) {
        let nodes: String = (1..=3)
            .map(|n| {
                let root = self.root(n).display().to_string();
                format!("[[node]]\nmac = \"{}\"\nrole = \"base\"\nvars.root = \"{root}\"\n", mac(n))
            })
            .collect();
        let text = format!(
            "[site]\nname = \"test\"\ndomain = \"test.example\"\n[server]\naddress = \"127.0.0.1\"\n\
             http_port = {}\nagent_port = {}\n[network.provisioning]\ncidr = \"127.0.0.0/8\"\n[cluster]\n\
             [role.base]\nimage = \"tiny\"\nparts = [\"alpha\"]\nname = \"n{{n}}\"\ndisk = {{ min_gib = 1 }}\n\
             addresses.provisioning = \"127.0.1.1-127.0.1.9\"\n{more}\n{nodes}",
            self.http, self.agents
        );
        std::fs::write(self.path("site.toml"), text).unwrap();
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstead"));
        command.current_dir(&self.dir.0).args(["--tree", "tree"]).args(words).env_remove("RUST_LOG");
        command
    }
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
    /// The command's output; it must end well.
    pub fn well(&self, words: &[&str]) -> String {
        let out = self.run(words);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
        text
    }

    pub fn serve(&self) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let ports = self.ports.map(|p| p.to_string());
        let words = ["serve", "--no-dhcp", "--tftp-port", &ports[0], "--syslog-port", &ports[1]];
        let child = self.command(&words).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let mut served = Process(child);
        let socket = self.path(".bootstead/control.sock");
        soon("the server answers", || {
            let ended = served.0.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {}", read(&self.path("log")));
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        served
    }

    /// Arms node `n` and says what its installation would say; returns the token.
    pub fn install(&self, n: usize) -> String {
        let told = self.well(&["node", "arm", &format!("n{n}"), "--yes", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["plan"][0]["node"], format!("n{n}"), "{told:?}");
        assert_eq!(told["done"][format!("n{n}")]["state"], "armed", "{told:?}");
        let armings = self.well(&["events", "--node", &format!("n{n}"), "--json"]);
        let arming = armings.matches("\"what\":\"armed\"").count();
        let key = bootstead::secrets::load_or_make(&self.path(".bootstead")).unwrap();
        let token = key.token(mac(n).parse().unwrap(), arming as u32).reveal().to_string();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], self.http));
        let get = |path: &str| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            ask(&mut stream, "GET", path, &[], "")
        };
        let hyphens = mac(n).replace(':', "-");
        assert_eq!(get(&format!("/a/{hyphens}/{token}/preseed.cfg")).status, 200);
        for event in ["installed", "first-boot"] {
            let path = format!("/v1/nodes/{hyphens}/report?token={token}&event={event}");
            assert_eq!(get(&path).status, 200, "{event}");
        }
        let script = get(&format!("/v1/nodes/{hyphens}/agent.sh?token={token}"));
        assert_eq!(script.status, 200);
        let text = script.text();
        let start = text.find("mac = ").unwrap();
        let conf = &text[start..start + text[start..].find("\nEND").unwrap() + 1];
        let folder = self.path(&format!("node{n}"));
        std::fs::write(folder.join("agent.toml"), conf).unwrap();
        token
    }

    pub fn agent(&self, n: usize) -> Process {
        self.agent_in(n, &format!("node{n}"))
    }
    /// An agent of node `n` whose own folder is `folder`.
    pub fn agent_in(&self, n: usize, folder: &str) -> Process {
        let path = self.path(&format!("agent{n}.log"));
        let log = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let root = self.root(n);
        let words = [
            "agent",
            "--config",
            &format!("{folder}/agent.toml"),
            "--agent-state",
            &format!("{folder}/state"),
            "--root",
            root.to_str().unwrap(),
        ];
        Process(self.command(&words).stderr(log).stdout(Stdio::null()).spawn().unwrap())
    }

    pub fn events(&self) -> String {
        self.well(&["events", "--json"])
    }
    pub fn apply(&self, more: &[&str]) -> String {
        self.well(&[&["apply", "--yes", "--wait", "60"], more].concat())
    }
}

/// A process that does not outlive its test.
pub struct Process(pub Child);

impl Process {
    /// As a power cut would.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn soon(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < until, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(30));
    }
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
