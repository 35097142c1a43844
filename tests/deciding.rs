//! `bootstead node arm|disarm|forget` as people type them, on a journal without a server.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod ran;

use bootstead::base::{Mac, Timestamp};
use bootstead::lifecycle::{Event, Lane, What};
use bootstead::store::Store as _;
use bootstead::store::sqlite::Sqlite;
use ran::{Ran, bootstead, scratch};
use std::path::PathBuf;

/// Three nodes of a role, and the first of them installed.
struct Site(PathBuf);

impl Site {
    fn new(name: &str) -> Site {
        let dir = PathBuf::from(scratch(name));
        std::fs::create_dir_all(dir.join("tree")).unwrap();
        std::fs::write(
            dir.join("site.toml"),
            "[site]\nname = \"t\"\ndomain = \"t.example\"\n[server]\naddress = \"10.9.0.1\"\n\
             [network.provisioning]\ncidr = \"10.9.0.0/24\"\n[role.base]\nimage = \"debian12\"\nlane = \"fast\"\n\
             name = \"n{n}\"\ndisk = { min_gib = 10 }\naddresses.provisioning = \"10.9.0.10-10.9.0.29\"\n\
             [[node]]\nmac = \"52:54:00:00:00:01\"\nrole = \"base\"\n\
             [[node]]\nmac = \"52:54:00:00:00:02\"\nrole = \"base\"\n\
             [[node]]\nmac = \"52:54:00:00:00:03\"\nrole = \"base\"\n",
        )
        .unwrap();
        let site = Site(dir);
        let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
        let armed = What::Armed {
            arming: 1,
            by: "ann".into(),
            image: "tiny".into(),
            role: "base".into(),
            erase: vec![],
            bound: None,
        };
        let served =
            What::AnswersServed { arming: 1, lane: Lane::Fast, file: "orders".into(), run: Some("r".into()) };
        let events: Vec<Event> = [
            armed,
            served,
            What::InstallReported { arming: 1, ok: true, detail: String::new() },
            What::FirstBooted { arming: 1, detail: String::new() },
        ]
        .into_iter()
        .map(|what| Event::new(Timestamp(1), mac, what))
        .collect();
        Sqlite::open(&site.0.join("state")).unwrap().append(&events).unwrap();
        site
    }

    fn run(&self, args: &[&str]) -> Ran {
        let at = |name: &str| self.0.join(name).display().to_string();
        let (site, tree, state) = (at("site.toml"), at("tree"), at("state"));
        let mut all = vec!["--site", &site, "--tree", &tree, "--state", &state];
        all.extend(args);
        bootstead(&all)
    }

    fn states(&self) -> String {
        let ran = self.run(&["status", "--json"]);
        let board: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let nodes = board["nodes"].as_array().unwrap();
        nodes.iter().map(|n| n["phase"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// "Arm the rest" must not erase what was installed a moment ago (field-pain #81).
#[test]
fn a_whole_role_is_armed_but_for_what_is_installed() {
    let site = Site::new("spare");
    let ran = site.run(&["node", "arm", "--role", "base", "--yes", "3"]);
    assert!(ran.err.contains("left alone: n1 is installed"), "{}", ran.err);
    assert!(!ran.out.contains("n1 "), "{}", ran.out);
    let ran = site.run(&["node", "arm", "--role", "base", "--again", "--yes", "3"]);
    assert!(!ran.err.contains("left alone") && ran.out.contains("3 nodes"), "{} {}", ran.out, ran.err);
    assert_eq!(site.states(), "installed expected expected");
}

#[test]
fn forgetting_what_is_installed_wants_its_number() {
    let site = Site::new("forget");
    let ran = site.run(&["node", "forget", "n1"]);
    assert!(ran.code != 0 && ran.err.contains("nothing was forgotten"), "{}", ran.err);
    let ran = site.run(&["node", "forget", "--all", "--yes", "2"]);
    assert!(ran.code != 0 && ran.err.contains("this is 3"), "{}", ran.err);
    assert_eq!(site.states(), "installed expected expected");
    assert_eq!(site.run(&["node", "forget", "n2"]).code, 0, "nothing is lost by that");
    assert_eq!(site.run(&["node", "forget", "--all", "--yes", "3"]).code, 0);
    assert_eq!(site.states(), "expected expected expected");
}

/// The way back from a slip, without losing what is known.
#[test]
fn disarming_is_what_it_was_before() {
    let site = Site::new("disarm");
    let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    let armed = |arming| What::Armed {
        arming,
        by: "ann".into(),
        image: "tiny".into(),
        role: "base".into(),
        erase: vec![],
        bound: None,
    };
    let arm = |arming, mac| {
        let event = Event::new(Timestamp(2), mac, armed(arming));
        Sqlite::open(&site.0.join("state")).unwrap().append(&[event]).unwrap();
    };
    arm(2, mac);
    arm(1, Mac([0x52, 0x54, 0, 0, 0, 2]));
    assert_eq!(site.states(), "armed armed expected");
    assert_eq!(site.run(&["node", "disarm", "n1", "n2"]).code, 0);
    assert_eq!(site.states(), "installed expected expected");
    let ran = site.run(&["node", "disarm", "n1"]);
    assert!(ran.code != 0 && ran.err.contains("it is not armed, it is installed"), "{}", ran.err);
    // Its number is used up all the same.
    arm(3, mac);
    assert_eq!(site.states(), "armed expected expected");
}
