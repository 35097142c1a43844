//! Server and agents as processes, over real TLS on loopback: joining, doing steps, dying in between, being lied to.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

mod serving;
use serving::bytes;
use serving::place::{Place, Process, SECRET_PART, mac, read, soon};

#[test]
fn installed_nodes_do_their_steps_once_and_mend_what_was_changed() {
    let place = Place::new(SECRET_PART);
    let _server = place.serve();
    let tokens: Vec<String> = (1..=3).map(|n| place.install(n)).collect();
    let _agents: Vec<Process> = (1..=3).map(|n| place.agent(n)).collect();
    soon("all join", || place.events().matches("agent-joined").count() == 3);

    // A dry run: what the plan would change, by the nodes' own answers, and nothing is changed.
    let dry = place.well(&["plan", "--dry-run"]);
    assert!(dry.contains("~ n2  alpha.folder") && dry.contains("~ n3  alpha.file"), "{dry}");
    assert!(dry.contains("/srv/alpha/conf is not there"), "{dry}");
    assert!(dry.contains("6 things would be changed") && dry.contains("nothing was changed"), "{dry}");
    assert!(!place.root(2).join("srv").exists());
    assert!(place.well(&["plan", "--dry-run", "--node", "n1"]).contains("2 things would be changed"));

    let shown = place.well(&["plan"]);
    // folder, file and whole on three nodes, first on one, rest on two
    assert!(shown.contains("12 steps on 3 nodes, 12 to do"), "{shown}");
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
    let dry = place.well(&["plan", "--dry-run"]);
    assert!(dry.contains("-hello from n1") && dry.contains("+good night from n1"), "{dry}");
    assert!(!dry.contains(&word), "{dry}");
    let changed = place.apply(&[]);
    assert!(changed.contains("3 changed something"), "{changed}");

    // A new password: what stood there before is as secret as what stands there now.
    let said = place.well(&["secrets", "rotate", "word"]);
    assert!(said.contains("word is at version 2"), "{said}");
    place.apply(&[]);
    let conf = read(&place.root(2).join("srv/alpha/conf"));
    let new = conf.lines().nth(1).unwrap().strip_prefix("word ").unwrap().to_string();
    assert!(new.len() == 32 && new != word);
    std::fs::write(place.root(3).join("srv/alpha/conf"), format!("word {word}\n")).unwrap();
    let drift = place.well(&["drift"]);
    assert!(drift.contains("-word [secret word]"), "{drift}");
    let kept = place.events() + &place.well(&["steps", "--all"]) + &read(&place.path("log")) + &drift;
    assert!(kept.contains("-word [secret word]"), "the difference of the file is kept");
    assert!(!kept.contains(&word) && !kept.contains(&new));
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
    let json = |words: &[&str]| -> serde_json::Value { serde_json::from_str(&place.well(words)).unwrap() };
    assert_eq!(json(&["apply", "--yes", "--json"])["steps"], 12);
    let mut agents = agents.into_iter();
    // Between two steps, or within one: it does the step again and finds what is done.
    soon("something is done", || place.events().contains("step-done"));
    agents.next().unwrap().kill();
    let first = place.agent(1);
    soon("more is done", || place.events().matches("step-done").count() > 4);
    server.kill();
    let _server = place.serve();
    assert_eq!(json(&["steps", "--watch", "--json"])["steps"].as_array().unwrap().len(), 12);
    soon("all is done", || place.well(&["steps"]).contains("12 of 12 steps done"));
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
    assert!(steps.contains("alpha.rest on n2 failed"), "{steps}");
    assert!(steps.contains("printed:") && steps.contains("not today"), "{steps}");
    assert!(!place.root(3).join("srv/alpha/rest").exists(), "n3's turn comes after n2's");
    std::fs::remove_file(place.root(2).join("no")).unwrap();
    place.well(&["steps", "--retry"]);
    soon("all is done", || place.well(&["steps"]).contains("0 failed, 0 waiting"));
    assert!(place.root(3).join("srv/alpha/rest").exists());

    // It fails again, and a person says that it may count as done; that needs a reason, and is on the timeline.
    std::fs::write(place.root(2).join("no"), "").unwrap();
    assert!(!place.run(&["apply", "--yes", "--again", "--wait", "60"]).status.success());
    std::fs::remove_file(place.root(3).join("srv/alpha/rest")).unwrap();
    let skip = ["steps", "--skip", "--node", "n2", "--step", "alpha.rest"];
    assert!(!place.run(&skip).status.success(), "a skip needs its reason");
    assert!(!place.events().contains("\"what\":\"step-skipped\""));
    place.well(&[&skip[..], &["--why", "made by hand"]].concat());
    soon("all is done", || place.well(&["steps"]).contains("0 failed, 0 waiting"));
    assert!(place.root(3).join("srv/alpha/rest").exists(), "what waited for it went on");
    let events = place.events();
    assert!(events.contains("\"what\":\"step-skipped\"") && events.contains("made by hand"), "{events}");
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

#[test]
fn a_backup_of_the_cluster_brings_each_part_s_files_whole() {
    let backup = "\n[backup]\non = \"all\"\nrestore = \"by hand\"\nrun = '''\n\
                  head -c 3000000 /dev/urandom >\"$DIR/random\"\ncp \"$DIR/random\" {{ vars.root }}/same\n'''\n";
    let place = Place::new(&format!("{SECRET_PART}{backup}"));
    let _server = place.serve();
    (1..=3).for_each(|n| drop(place.install(n)));
    let mut agents: Vec<Process> = (1..=3).map(|n| place.agent(n)).collect();
    soon("all join", || place.events().matches("agent-joined").count() == 3);
    let said = place.well(&["backup", "copy", "--cluster"]);
    assert!(said.contains("backup of alpha from n3"), "{said}");
    for n in 1..=3 {
        let archive = place.path(&format!("copy/cluster/n{n}-alpha.tar.gz"));
        let mode = std::fs::metadata(&archive).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let out =
            std::process::Command::new("tar").arg("-xzOf").arg(&archive).arg("./random").output().unwrap();
        assert!(out.stdout == std::fs::read(place.root(n).join("same")).unwrap(), "n{n}'s file came whole");
        let left: Vec<_> = std::fs::read_dir(place.path(&format!("node{n}/state"))).unwrap().collect();
        assert!(left.iter().all(|f| !f.as_ref().unwrap().file_name().to_string_lossy().contains("collect")));
    }
    assert!(!place.path(".bootstead/collected/1").exists(), "nothing stays behind");
    // There and not back: this part has no script for it.
    let out = place.run(&["restore", "copy", "--cluster", "alpha", "--yes"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("not brought back by a command"), "{said}");
    assert!(said.contains("by hand"), "{said}");
    // A node that is away: said, and what came is kept, but not by the name of a whole backup. The next try begins anew.
    agents.remove(2).kill();
    for _ in 0..2 {
        let out = place.run(&["backup", "second", "--cluster", "--wait", "5"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !out.status.success() && said.contains("backup of alpha on n3: it did not answer in time"),
            "{said}"
        );
        assert!(said.contains("the backup is not whole"), "{said}");
        assert!(place.path("second.unfinished/cluster/n1-alpha.tar.gz").exists());
        assert!(!place.path("second").exists());
    }
    std::fs::create_dir(place.path("third.unfinished")).unwrap();
    std::fs::write(place.path("third.unfinished/mine"), "").unwrap();
    let out = place.run(&["backup", "third"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("no backup left it"));
    assert!(place.path("third.unfinished/mine").exists());
    std::fs::create_dir(place.path("fourth.unfinished")).unwrap();
    place.well(&["backup", "fourth"]);
    assert!(place.path("fourth").exists() && !place.path("fourth.unfinished").exists());
}

const BACK: &str = r#"
[backup]
on = "all"
restore = "It is a test's."
overwrites = "the file data"
env = { WORD = "{{ secret('word') }}" }
run = 'cp {{ vars.root }}/data "$DIR/data"'
bring_back = '''
test "$(stat -c %a "$DIR")" = 700
test "$(sed -n 's/^word //p' {{ vars.root }}/srv/alpha/conf)" = "$WORD"
echo "with $WORD"
cat "$DIR/data" >{{ vars.root }}/data
'''
"#;

#[test]
fn a_backup_of_the_cluster_comes_back_whole_after_a_person_was_asked_and_never_beside_a_plan_at_work() {
    let part = SECRET_PART.replace("sleep 0.2", "while [ -e \"$ROOT/../../busy\" ]; do sleep 0.1; done");
    let place = Place::new(&format!("{part}{BACK}"));
    let _server = place.serve();
    (1..=3).for_each(|n| drop(place.install(n)));
    let _agents: Vec<Process> = (1..=3).map(|n| place.agent(n)).collect();
    soon("all join", || place.events().matches("agent-joined").count() == 3);
    // More than one piece, different on each node.
    let data = |n: usize| bytes(2_500_000 + n, n as u64);
    (1..=3).for_each(|n| std::fs::write(place.root(n).join("data"), data(n)).unwrap());
    place.well(&["backup", "copy", "--cluster"]);
    (1..=3).for_each(|n| std::fs::write(place.root(n).join("data"), "lost").unwrap());
    let lost = |n: usize| std::fs::read(place.root(n).join("data")).unwrap() == b"lost";
    let refused = |words: &[&str], why: &str| {
        let out = place.run(words);
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(!out.status.success() && said.contains(why), "{words:?}: {said}");
        assert!((1..=3).all(lost), "{words:?}: nothing was overwritten");
        said
    };

    // What is overwritten is said, and nobody is there to agree.
    let said = refused(&["restore", "copy", "--cluster"], "add --yes");
    assert!(said.contains("n2-alpha.tar.gz goes to n2 and overwrites the file data"), "{said}");
    refused(&["restore", "copy", "--cluster", "alpa", "--yes"], "did you mean \"alpha\"");
    // A plan at work: the step of n2 goes on as long as `busy` is there.
    std::fs::write(place.path("busy"), "").unwrap();
    place.well(&["apply", "--yes"]);
    soon("a step is at it", || !read(&place.path("node2/turns")).is_empty());
    refused(&["restore", "copy", "--cluster", "--yes"], "the plan is at work: alpha.rest on n2");
    std::fs::remove_file(place.path("busy")).unwrap();
    soon("all is done", || place.well(&["steps"]).contains("0 failed, 0 waiting"));
    // The secret is the present one, not the one of the time of the backup.
    place.well(&["secrets", "rotate", "word"]);
    place.apply(&[]);

    let said = place.well(&["restore", "copy", "--cluster", "--yes"]);
    assert!(said.contains("alpha is back on n3") && said.contains("bootstead verify"), "{said}");
    for n in 1..=3 {
        assert!(std::fs::read(place.root(n).join("data")).unwrap() == data(n), "n{n} has its own file back");
        let left: Vec<_> = std::fs::read_dir(place.path(&format!("node{n}/state"))).unwrap().collect();
        let names: Vec<_> = left.iter().map(|f| f.as_ref().unwrap().file_name()).collect();
        assert!(names.iter().all(|f| !f.to_string_lossy().contains("bring-back")), "{names:?}");
    }
    assert!(!place.path(".bootstead/bring-back").exists(), "nothing stays behind");
    let events = place.events();
    assert_eq!(events.matches("restore of alpha: what is here is overwritten").count(), 3);
    let conf = read(&place.root(1).join("srv/alpha/conf"));
    let word = conf.lines().nth(1).unwrap().strip_prefix("word ").unwrap();
    assert!(!(events + &said + &read(&place.path("log"))).contains(word));

    // An archive that was damaged on its way is not unpacked.
    std::fs::write(place.root(2).join("data"), "lost").unwrap();
    std::fs::write(place.path("copy/cluster/n2-alpha.tar.gz"), "no archive").unwrap();
    let out = place.run(&["restore", "copy", "--cluster", "--yes"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("bringing back alpha on n2 failed"), "{said}");
    assert!(lost(2));
}

#[test]
fn a_backup_alone_makes_another_machine_the_appliance() {
    let place = Place::new(SECRET_PART);
    std::fs::write(place.path("nodes.csv"), "mac,role\n52:54:00:00:00:04,base\n").unwrap();
    let server = place.serve();
    place.install(1);
    place.well(&["backup", "copy"]);
    server.kill();
    let other = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bootstead"));
        let at = ["--site", "other/site.toml", "--tree", "other/own"];
        command.current_dir(&place.dir.0).args(at).args(words).output().unwrap()
    };
    let out = other(&["restore", "copy"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("give `--tree other/own` with every command"), "{said}");
    for (here, there) in [
        ("site.toml", "other/site.toml"),
        ("nodes.csv", "other/nodes.csv"),
        ("tree/profiles/parts/alpha/part.toml", "other/own/profiles/parts/alpha/part.toml"),
        ("tree/images/tiny.toml", "other/own/images/tiny.toml"),
        (".bootstead/secrets.toml", "other/.bootstead/secrets.toml"),
        (".bootstead/tls.json", "other/.bootstead/tls.json"),
    ] {
        assert_eq!(read(&place.path(there)), read(&place.path(here)), "{there}");
        assert!(!read(&place.path(there)).is_empty(), "{there}");
    }
    assert!(!place.path("other/own/kickstart").exists(), "what is built in is in no backup");
    let mode = std::fs::metadata(place.path("other/site.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it may hold a password's hash");
    let out = other(&["status"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("n1") && said.contains("n4"), "{said}");

    // What a person has there already is worth more than a copy: it stays, and that is said.
    std::fs::rename(place.path("other/.bootstead"), place.path("away")).unwrap();
    std::fs::write(place.path("other/nodes.csv"), "mac,role\n").unwrap();
    let out = other(&["restore", "copy"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success() && said.contains("other/nodes.csv is here already and was left as it is"),
        "{said}"
    );
    assert_eq!(read(&place.path("other/nodes.csv")), "mac,role\n");
}

#[test]
fn an_agent_finds_the_appliance_at_its_second_address() {
    let place = Place::new(SECRET_PART);
    let site = |place: &Place, address: &str, also: &str| {
        place.write_site("");
        let text = read(&place.path("site.toml"));
        let text =
            text.replace("address = \"127.0.0.1\"", &format!("address = \"{address}\"\nalso = [\"{also}\"]"));
        std::fs::write(place.path("site.toml"), text).unwrap();
    };
    site(&place, "127.0.0.1", "127.0.0.2");
    let server = place.serve();
    place.install(1);
    let conf = read(&place.path("node1/agent.toml"));
    let doors = |a: &str, b: &str| format!("servers = [\"{a}:{0}\", \"{b}:{0}\"]", place.agents);
    assert!(conf.contains(&doors("127.0.0.1", "127.0.0.2")), "{conf}");
    let agent = place.agent(1);
    soon("it joins", || place.events().contains("agent-joined"));
    // The appliance is gone; another machine with its state answers at the other address.
    server.kill();
    site(&place, "127.0.0.2", "127.0.0.1");
    let _other = place.serve();
    place.well(&["apply", "--yes"]);
    soon("its steps are done", || place.root(1).join("srv/alpha/conf").exists());
    let conf = place.path("node1/agent.toml");
    soon("it remembers the new one as the first", || read(&conf).contains(&doors("127.0.0.2", "127.0.0.1")));
    drop(agent);
}
