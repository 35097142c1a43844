//! Server and agents as processes, over real TLS on loopback: joining, doing steps, dying in between, being lied to.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

mod serving;
use serving::{Scratch, ask, free_port, publish_image};

const SECRET_PART: &str = r#"
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
struct Place {
    dir: Scratch,
    http: u16,
    agents: u16,
    ports: [u16; 2],
}

fn mac(n: usize) -> String {
    format!("52:54:00:00:00:{n:02x}")
}

impl Place {
    fn new(part: &str) -> Place {
        let dir = Scratch::new();
        let place = Place { http: free_port(), agents: free_port(), ports: [free_port(), free_port()], dir };
        publish_image(&place.path(".bootstead/images"), "tiny", &[("linux", b"k"), ("initrd.gz", b"i")]);
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

    fn path(&self, below: &str) -> PathBuf {
        self.dir.0.join(below)
    }
    /// The root folder of node `n`.
    fn root(&self, n: usize) -> PathBuf {
        self.path(&format!("node{n}/root"))
    }

    fn write_site(&self, more: &str) {
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

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstead"));
        command.current_dir(&self.dir.0).args(["--tree", "tree"]).args(words).env_remove("RUST_LOG");
        command
    }
    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
    /// The command's output; it must end well.
    fn well(&self, words: &[&str]) -> String {
        let out = self.run(words);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
        text
    }

    fn serve(&self) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let ports = self.ports.map(|p| p.to_string());
        let words = ["serve", "--no-dhcp", "--tftp-port", &ports[0], "--syslog-port", &ports[1]];
        let child = self.command(&words).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let served = Process(child);
        let socket = self.path(".bootstead/control.sock");
        soon("the server answers", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        served
    }

    /// Arms node `n` and says what its installation would say; returns the token.
    fn install(&self, n: usize) -> String {
        self.well(&["node", "arm", &format!("n{n}"), "--yes"]);
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

    fn agent(&self, n: usize) -> Process {
        self.agent_in(n, &format!("node{n}"))
    }
    /// An agent of node `n` whose own folder is `folder`.
    fn agent_in(&self, n: usize, folder: &str) -> Process {
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

    fn events(&self) -> String {
        self.well(&["events", "--json"])
    }
    fn apply(&self, more: &[&str]) -> String {
        self.well(&[&["apply", "--yes", "--wait", "60"], more].concat())
    }
}

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    /// As a power cut would.
    fn kill(mut self) {
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

fn soon(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(40);
    while !check() {
        assert!(Instant::now() < until, "{what}: not within 40 s");
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn installed_nodes_do_their_steps_once_and_mend_what_was_changed() {
    let place = Place::new(SECRET_PART);
    let _server = place.serve();
    let tokens: Vec<String> = (1..=3).map(|n| place.install(n)).collect();
    let _agents: Vec<Process> = (1..=3).map(|n| place.agent(n)).collect();
    soon("all join", || place.events().matches("agent-joined").count() == 3);

    let shown = place.well(&["plan"]);
    assert!(shown.contains("13 steps on 3 nodes, 13 to do") || shown.contains("steps on 3 nodes"), "{shown}");
    let done = place.apply(&[]);
    assert!(done.contains("changed something"), "{done}");
    let conf = read(&place.root(2).join("srv/alpha/conf"));
    assert!(conf.starts_with("hello from n2 to n1 n3\nword "), "{conf}");
    let word = conf.lines().nth(1).unwrap().strip_prefix("word ").unwrap().to_string();
    assert_eq!(word.len(), 32);
    let mode = std::fs::metadata(place.root(2).join("srv/alpha/conf")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(read(&place.root(1).join("srv/alpha/once")), "once\n");
    assert!(!place.root(2).join("srv/alpha/once").exists(), "once is on one node");
    // They took turns: the times are in order, begin and end by turns.
    let turns = read(&place.path("node2/turns")) + &read(&place.path("node3/turns"));
    let turns: Vec<u64> = turns.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(turns.len(), 4);
    assert!(turns[1] <= turns[2] || turns[3] <= turns[0], "{turns:?}");

    let again = place.apply(&["--again"]);
    assert!(again.contains("; 0 changed something"), "{again}");
    assert!(place.well(&["verify"]).contains("3 checks passed"));

    // No secret and no token anywhere that is kept or shown.
    let kept = place.events() + &place.well(&["plan", "--json"]) + &read(&place.path("log"));
    let plans = std::fs::read_dir(place.path(".bootstead/plans")).unwrap();
    let plans: String = plans.map(|p| read(&p.unwrap().path())).collect();
    for secret in tokens.iter().chain([&word]) {
        assert!(!kept.contains(secret.as_str()) && !plans.contains(secret.as_str()));
    }
    assert!(kept.contains("[secret word]"), "what the step printed is redacted");

    // A file changed by hand: looking changes nothing, applying mends it.
    std::fs::write(place.root(3).join("srv/alpha/conf"), "mine\n").unwrap();
    let drift = place.well(&["drift"]);
    assert!(drift.contains("n3  alpha.file") && drift.contains("-mine"), "{drift}");
    assert!(!drift.contains(&word), "{drift}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(read(&place.root(3).join("srv/alpha/conf")), "mine\n");
    let mended = place.apply(&[]);
    assert!(mended.contains("1 steps to do"), "{mended}");
    assert!(read(&place.root(3).join("srv/alpha/conf")).starts_with("hello from n3"));

    // A changed site changes exactly what it says.
    place.write_site("[vars]\ngreeting = \"good night\"\n");
    place.well(&["node", "reload"]);
    let diff = place.well(&["plan", "--diff"]);
    assert_eq!(diff.matches("~ n").count(), 3, "{diff}");
    assert!(diff.contains("+good night from n1") && diff.contains("@@secret:word@@"), "{diff}");
    let changed = place.apply(&[]);
    assert!(changed.contains("3 changed something"), "{changed}");
}

#[test]
fn an_agent_that_is_killed_and_a_server_that_is_restarted_go_on() {
    let slow = SECRET_PART.replace("sleep 0.2", "sleep 1");
    let place = Place::new(&slow);
    let server = place.serve();
    for n in 1..=3 {
        place.install(n);
    }
    let agents: Vec<Process> = (1..=3).map(|n| place.agent(n)).collect();
    soon("all join", || place.events().matches("agent-joined").count() == 3);
    place.well(&["apply", "--yes"]);
    let mut agents = agents.into_iter();
    // Between two steps, or within one: it does the step again and finds what is done.
    soon("something is done", || place.events().contains("step-done"));
    agents.next().unwrap().kill();
    let first = place.agent(1);
    soon("more is done", || place.events().matches("step-done").count() > 4);
    server.kill();
    let _server = place.serve();
    soon("all is done", || {
        place.well(&["steps"]).contains("12 of 12 steps done")
            || place.well(&["steps"]).contains("0 failed, 0 waiting")
    });
    assert_eq!(read(&place.root(1).join("srv/alpha/once")), "once\n", "once, although its agent was killed");
    drop(first);
}

#[test]
fn a_failed_step_stops_only_what_needs_it_and_can_be_tried_again_or_skipped() {
    let part = SECRET_PART
        .replace(
            "touch \"$ROOT/srv/alpha/rest\"",
            "touch \"$ROOT/srv/alpha/rest\"; test ! -e \"$ROOT/no\" || { echo not today; exit 3; }",
        )
        .replace("creates = \"/srv/alpha/rest\"\n", "");
    let place = Place::new(&part);
    let _server = place.serve();
    std::fs::write(place.root(2).join("no"), "").unwrap();
    for n in 1..=3 {
        place.install(n);
    }
    let _agents: Vec<Process> = (1..=3).map(|n| place.agent(n)).collect();
    soon("all join", || place.events().matches("agent-joined").count() == 3);
    let out = place.run(&["apply", "--yes", "--wait", "60"]);
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("alpha.rest on n2: the script ended with 3: not today"), "{said}");
    let steps = place.well(&["steps"]);
    assert!(steps.contains("n3    alpha.rest") || steps.contains("alpha.rest on n2 failed"), "{steps}");
    assert!(steps.contains("printed:") && steps.contains("not today"), "{steps}");
    std::fs::remove_file(place.root(2).join("no")).unwrap();
    place.well(&["steps", "--retry"]);
    soon("all is done", || place.well(&["steps"]).contains("0 failed, 0 waiting"));
}

#[test]
fn a_token_is_good_once_and_only_for_its_own_machine() {
    let place = Place::new(SECRET_PART);
    let _server = place.serve();
    place.install(1);
    place.install(2);
    let _first = place.agent(1);
    soon("it joins", || place.events().matches("agent-joined").count() == 1);
    // Somebody who read the first node's file: another key, the same token.
    std::fs::create_dir_all(place.path("thief")).unwrap();
    std::fs::copy(place.path("node1/agent.toml"), place.path("thief/agent.toml")).unwrap();
    let thief = place.agent_in(1, "thief");
    let log = place.path("agent1.log");
    soon("it is refused", || read(&log).contains("another agent joined with this installation's token"));
    drop(thief);
    // A node that says that it is another one.
    let conf = read(&place.path("node2/agent.toml")).replace(&mac(2), &mac(3));
    std::fs::write(place.path("node2/agent.toml"), conf).unwrap();
    let _liar = place.agent(2);
    let log = place.path("agent2.log");
    soon("it is refused", || read(&log).contains("this token is not for the current installation of n3"));
    assert_eq!(place.events().matches("agent-joined").count(), 1);
    assert!(place.events().contains("\"what\":\"refused\""), "it is on the timeline");
}

#[test]
fn a_server_with_another_certificate_gets_nothing() {
    let place = Place::new(SECRET_PART);
    let server = place.serve();
    let token = place.install(1);
    server.kill();
    std::fs::remove_file(place.path(".bootstead/tls.json")).unwrap();
    let _other = place.serve();
    let _agent = place.agent(1);
    let log = place.path("agent1.log");
    soon("it is refused", || read(&log).contains("not the server that installed this node"));
    assert!(!place.events().contains("agent-joined"));
    assert!(!read(&log).contains(&token));
}

/// What users see is a file that all nodes have in common; it comes back by itself.
const DRILLS: &str = r#"
[[verify]]
id = "up"
title = "it is up"
run = "test -e {{ vars.root }}/../../up"

[[probe]]
id = "up"
title = "the file that users see"
check = { run = "test -e {{ vars.root }}/../../up" }

[[drill]]
id = "gone"
title = "the file goes away"
find = "[ {{ node.name }} = n2 ]"
run = '''
cd {{ vars.root }}/../..
mv up down
setsid sh -c 'sleep 3; mv down up' >/dev/null 2>&1 &
'''
outage = 10

[[drill]]
id = "power"
title = "a machine loses its power"
power = true
outage = 10
"#;

#[test]
fn a_drill_breaks_measures_waits_and_reports_and_breaks_nothing_that_is_broken() {
    let place = Place::new(&format!("{SECRET_PART}{DRILLS}"));
    let _server = place.serve();
    (1..=3).for_each(|n| drop(place.install(n)));
    let _agents: Vec<Process> = (1..=3).map(|n| place.agent(n)).collect();
    soon("all join", || place.events().matches("agent-joined").count() == 3);
    place.apply(&[]);
    let failed = |words: &[&str]| {
        let out = place.run(words);
        assert!(!out.status.success(), "{words:?}");
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };

    let ill = failed(&["drill", "alpha.gone", "--yes"]);
    assert!(ill.contains("nothing was broken on purpose"), "{ill}");
    assert!(!place.events().contains("broken here on purpose"));
    std::fs::write(place.path("up"), "").unwrap();
    assert!(failed(&["drill", "alpha.gone"]).contains("add --yes"));
    assert!(failed(&["drill", "alpha.gome", "--yes"]).contains("did you mean \"alpha.gone\""));

    let said = place.well(&["drill", "alpha.gone", "--yes", "--out", "report"]);
    assert!(said.contains("n2 it is; measured from n1") && said.contains("1 drills passed"), "{said}");
    let report: serde_json::Value = serde_json::from_str(&read(&place.path("report/report.json"))).unwrap();
    let trial = &report["trials"][0];
    assert_eq!(
        (trial["node"].as_str(), trial["wrong"].as_array().unwrap().len()),
        (Some("n2"), 0),
        "{trial}"
    );
    let probe = &trial["probes"][0];
    let longest = probe["longest"].as_u64().unwrap();
    assert!((2000..9000).contains(&longest), "out for 3 s: {probe}");
    let from = probe["outages"][0][0].as_i64().unwrap();
    assert!((-2500..2500).contains(&from), "it began when it was broken: {probe}");
    assert!(trial["whole"].as_u64().unwrap() >= longest - 1500, "{trial}");
    assert!(read(&place.path("report/report.html")).contains("the file that users see"));
    assert!(place.events().contains("drill alpha.gone: broken here on purpose"));

    // Power that cannot be cut: said, counted as not run, and in the report.
    let said = failed(&["drill", "alpha.power", "--yes", "--power", "false", "--out", "report"]);
    assert!(said.contains("`false cut n1` ended with"), "{said}");
    let report: serde_json::Value = serde_json::from_str(&read(&place.path("report/report.json"))).unwrap();
    assert_eq!(report["not_run"][0], "alpha.power");
}
