//! Bad days of nodes and servers, as processes over real TLS: each ends in a clear sentence, and nothing is half made.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::agent::client::{Client, Lost};
use bootstead::api::{self, Join, Work, WorkAsked};
use bootstead::base::Sha256;
use bootstead::tls::Identity;
use std::process::{Command, Stdio};
use std::time::Duration;

mod serving;
use serving::place::{Place, Process, SECRET_PART, mac, read, soon};

/// The way of an agent of node `n` to the server.
fn client(place: &Place, n: usize) -> Client {
    let conf = read(&place.path(&format!("node{n}/agent.toml")));
    let pin = conf.lines().find_map(|l| l.strip_prefix("pin = ")).unwrap().trim_matches('"').to_string();
    let identity = Identity::load_or_make(&place.path("own-key.json"), &mac(n)).unwrap();
    let server = format!("127.0.0.1:{}", place.agents);
    Client::new(&identity, Sha256::parse(&pin).unwrap(), vec![server]).unwrap()
}

/// What an agent of node `n` says first, with a clock that is `ahead` milliseconds ahead.
async fn speak(place: &Place, n: usize, token: &str, ahead: i64) -> Result<Option<Work>, Lost> {
    let mut client = client(place, n);
    let version = "0".to_string();
    let join = Join { mac: mac(n).parse().unwrap(), token: token.to_string(), version: version.clone() };
    client.post::<_, ()>(api::JOIN, &join).await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let clock = now.as_millis() as i64 + ahead;
    client.post(api::WORK, &WorkAsked { clock, generation: 0, running: Vec::new(), version }).await
}

#[test]
fn a_node_whose_clock_is_wrong_gets_no_work_and_the_server_says_why() {
    let place = Place::new(SECRET_PART);
    let _server = place.serve();
    let token = place.install(1);
    place.well(&["apply", "--yes"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wrong =
        async { tokio::time::timeout(Duration::from_secs(4), speak(&place, 1, &token, 3_680_000)).await };
    assert!(runtime.block_on(wrong).is_err(), "it waits for work and gets none");
    let steps = place.well(&["steps", "--node", "n1"]);
    assert!(steps.contains("the clock of n1, which is 36") && steps.contains(" s ahead"), "{steps}");
    let right = runtime.block_on(speak(&place, 1, &token, 0)).unwrap().unwrap();
    assert!(!right.tasks.is_empty(), "with the right time there is work");
}

#[test]
fn a_full_disk_is_one_sentence_and_leaves_what_was_there() {
    if !nix::unistd::getuid().is_root() || std::env::var("BOOTSTEAD_ROOT_TESTS").as_deref() != Ok("1") {
        eprintln!(
            "skip - it mounts a small disk in a namespace of its own: it needs root and BOOTSTEAD_ROOT_TESTS=1"
        );
        return;
    }
    let big = SECRET_PART
        .replace("word {{ secret('word') }}", "{{ 'x' * (vars.size|int) }} word {{ secret('word') }}");
    let place = Place::new(&(big + "\n[vars.size]\nhelp = \"how large the file is\"\ndefault = \"10\"\n"));
    let _server = place.serve();
    place.install(1);
    // The node's disk holds 64 KiB. What its agent must not forget lies on another one, as /var may.
    let root = place.root(1);
    let script = "mount -t tmpfs -o size=64k none \"$1\" && mkdir \"$1/etc\" && cp \"$2\"/passwd \"$2\"/group \"$1/etc\" \
                  && shift 2 && exec \"$@\"";
    let etc = place.path("etc");
    std::fs::create_dir_all(&etc).unwrap();
    for file in ["passwd", "group"] {
        std::fs::copy(root.join("etc").join(file), etc.join(file)).unwrap();
    }
    let log = std::fs::File::create(place.path("agent1.log")).unwrap();
    let agent = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "-"])
        .args([&root, &etc])
        .arg(env!("CARGO_BIN_EXE_bootstead"))
        .args(["agent", "--config", "node1/agent.toml", "--agent-state", "node1/state", "--root"])
        .arg(&root)
        .current_dir(&place.dir.0)
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let agent = Process(agent);
    soon("it joins", || place.events().contains("agent-joined"));
    place.well(&["apply", "--yes"]);
    let inside = |words: &str| {
        let pid = agent.0.id().to_string();
        let out = Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-c", words]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let conf = format!("{}/srv/alpha/conf", root.display());
    let digest = || inside(&format!("wc -c <{conf}; ls -A {}/srv/alpha | grep -v before", root.display()));
    soon("the small file is there", || digest().contains("once"));
    let before = digest();
    place.write_site("[vars]\nsize = \"200000\"\n");
    place.well(&["node", "reload"]);
    place.well(&["apply", "--yes"]);
    soon("it fails", || place.well(&["steps"]).contains("1 failed"));
    let said = place.well(&["steps"]);
    assert!(said.contains("no space left on device"), "{said}");
    assert!(said.contains("srv/alpha/conf"), "it names the file: {said}");
    assert_eq!(digest(), before, "the old file is there, whole, and nothing beside it");
    // Room is made, and it goes on.
    place.write_site("[vars]\nsize = \"20\"\n");
    place.well(&["node", "reload"]);
    place.well(&["apply", "--yes"]);
    soon("it is written", || place.well(&["steps", "--node", "n1", "--all"]).contains("✓ n1  alpha.file"));
}

#[test]
fn a_second_server_of_the_site_with_an_older_plan_is_not_obeyed() {
    let place = Place::new(SECRET_PART);
    let server = place.serve();
    place.install(1);
    let agent = place.agent(1);
    soon("it joins", || place.events().contains("agent-joined"));
    place.well(&["apply", "--yes"]);
    place.well(&["backup", "copy"]);
    place.write_site("[vars]\ngreeting = \"good night\"\n");
    place.well(&["node", "reload"]);
    place.well(&["apply", "--yes"]);
    let conf = place.root(1).join("srv/alpha/conf");
    soon("the newer plan is done", || read(&conf).starts_with("good night"));
    agent.kill();
    server.kill();
    // Somebody brings the copy up, made before the newer plan: same site, same keys, older plan.
    std::fs::rename(place.path(".bootstead"), place.path("newer")).unwrap();
    place.well(&["restore", "copy"]);
    publish(&place);
    place.write_site("");
    let _old = place.serve();
    let _agent = place.agent(1);
    let log = place.path("agent1.log");
    soon("it is refused", || read(&log).contains("this node has seen plan 2"));
    assert!(read(&conf).starts_with("good night"), "nothing was undone");
}

/// The images are in no backup.
fn publish(place: &Place) {
    std::fs::rename(place.path("newer/images"), place.path(".bootstead/images")).unwrap();
}

#[test]
fn a_step_that_outlives_its_agent_is_not_run_beside_itself() {
    let slow = format!(
        "{SECRET_PART}\n[[step]]\nid = \"slow\"\nafter = [\"folder\"]\ncreates = \"/srv/alpha/slow\"\n\
         run = 'echo begin >> \"$ROOT/../runs\"; sleep 4; echo end >> \"$ROOT/../runs\"; touch \"$ROOT/srv/alpha/slow\"'\n\
         env = {{ ROOT = \"{{{{ vars.root }}}}\" }}\n"
    );
    let place = Place::new(&slow);
    let _server = place.serve();
    place.install(1);
    let agent = place.agent(1);
    soon("it joins", || place.events().contains("agent-joined"));
    place.well(&["apply", "--yes"]);
    let runs = place.path("node1/runs");
    soon("the step is at work", || runs.exists());
    agent.kill();
    let _second = place.agent(1);
    soon("it is done", || place.well(&["steps", "--node", "n1", "--all"]).contains("n1  alpha.slow"));
    soon("it is reported", || place.events().contains("\"step\":\"alpha.slow\""));
    assert_eq!(read(&runs), "begin\nend\n", "one run, begun by the first agent and waited for by the second");
    assert!(read(&place.path("agent1.log")).contains("an earlier run of this step is still at work"));
}

#[test]
fn a_report_of_a_step_whose_turn_has_not_come_counts_for_nothing() {
    let place = Place::new(SECRET_PART);
    let _server = place.serve();
    let token = place.install(1);
    place.well(&["apply", "--yes"]);
    let plan: serde_json::Value = serde_json::from_str(&place.well(&["plan", "--json"])).unwrap();
    let step = |id: &str| {
        let steps = plan["steps"].as_array().unwrap();
        let step = steps.iter().find(|s| s["node"] == "n1" && s["id"] == id).unwrap();
        Sha256::parse(step["digest"].as_str().unwrap()).unwrap()
    };
    let said = |id: &str| api::Finished {
        generation: 1,
        id: id.to_string(),
        digest: step(id),
        mode: api::Mode::Apply,
        look: 0,
        failed: None,
        changed: true,
        millis: 1,
        output: String::new(),
        versions: Default::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let work = speak(&place, 1, &token, 0).await.unwrap().unwrap();
        let given: Vec<&str> = work.tasks.iter().map(|t| t.id.as_str()).collect();
        assert_eq!(given, ["alpha.folder"]);
        let mut client = client(&place, 1);
        let refused = client.post::<_, ()>(api::REPORT, &said("alpha.whole")).await;
        let Err(Lost::Refused(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("alpha.whole: it was not given to this node"), "{why}");
        client.post::<_, ()>(api::REPORT, &said("alpha.folder")).await.unwrap();
        // Its answer was lost and it is said again: known, and recorded once.
        client.post::<_, ()>(api::REPORT, &said("alpha.folder")).await.unwrap();
    });
    let events = place.events();
    assert_eq!(events.matches("\"what\":\"step-done\"").count(), 1, "{events}");
    assert!(events.contains("the report of alpha.whole"), "it is on the node's timeline");
}
