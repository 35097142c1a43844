//! The program as people run it: exit codes, help, JSON, files written. No root, no network.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod ran;

use ran::{Ran, bootstead, fixtures, scratch};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// With a fixture site and the tests' own images.
fn on(site: &str, args: &[&str]) -> Ran {
    let site = fixtures().join("sites").join(site);
    let tree = fixtures().join("tree");
    let state = scratch("no-state");
    let mut all = vec!["--site", site.to_str().unwrap(), "--tree", tree.to_str().unwrap(), "--state", &state];
    all.extend(args);
    bootstead(&all)
}

const SITES: [&str; 3] = ["one-node.toml", "three-roles/site.toml", "ha-cluster/site.toml"];

#[test]
fn every_commands_help_fits_in_80_columns() {
    let mut pending = vec![vec![]];
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        let mut args: Vec<&str> = path.clone();
        args.push("--help");
        let help = bootstead(&args);
        assert_eq!(help.code, 0, "{args:?}: {}", help.err);
        seen += 1;
        for line in help.out.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
        let commands = help.out.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        for line in commands.lines().take_while(|l| !l.is_empty()) {
            // A continued description is indented further.
            let Some(name) = line.strip_prefix("  ").filter(|l| !l.starts_with(' ')) else { continue };
            let name = name.split_whitespace().next().unwrap();
            if name != "help" {
                let mut deeper = path.clone();
                deeper.push(Box::leak(name.to_string().into_boxed_str()));
                pending.push(deeper);
            }
        }
    }
    assert!(seen > 15, "only {seen} commands were found");
}

#[test]
fn init_writes_a_site_that_passes_check_and_never_overwrites() {
    let dir = scratch("init");
    let made = bootstead(&["init", &dir]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let site = format!("{dir}/site.toml");
    let tree = fixtures().join("tree");
    let checked = bootstead(&["--site", &site, "--tree", tree.to_str().unwrap(), "check"]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(checked.out.contains("compute-0001") && checked.out.contains("2 nodes"), "{}", checked.out);
    // What the documents fetch is what the new site's roles install.
    for (file, text) in [
        ("README.md", include_str!("../README.md")),
        ("first-site.md", include_str!("../docs/first-site.md")),
    ] {
        let written = std::fs::read_to_string(&site).unwrap();
        for line in written.lines().filter(|l| l.starts_with("image = ")) {
            let image = line.split('"').nth(1).unwrap();
            assert!(
                text.contains(&format!("bootstead image fetch {image} ")),
                "{file} does not fetch {image}"
            );
        }
    }
    let again = bootstead(&["init", &dir]);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("is there already"), "{}", again.err);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn exit_codes_say_who_has_to_act() {
    let broken = fixtures().join("broken/keys.toml");
    assert_eq!(bootstead(&["--site", broken.to_str().unwrap(), "check"]).code, 2);
    assert_eq!(bootstead(&["--site", "/nonexistent/site.toml", "check"]).code, 3);
    assert_eq!(bootstead(&["chekc"]).code, 2);
    assert_eq!(on(SITES[0], &["render", "nobody"]).code, 2);
    assert_eq!(on(SITES[0], &["diff"]).code, 2);
    assert_eq!(bootstead(&["--version"]).code, 0);
}

#[test]
fn check_passes_on_every_fixture_and_prints_every_problem_of_a_broken_one() {
    for site in SITES {
        let ran = on(site, &["check"]);
        assert_eq!(ran.code, 0, "{site}: {}", ran.err);
        assert!(ran.out.contains("every file of every node renders; 0 errors"), "{}", ran.out);
    }
    let broken = fixtures().join("broken/nodes.toml");
    let tree = fixtures().join("tree");
    let args = ["--site", broken.to_str().unwrap(), "--tree", tree.to_str().unwrap(), "--json", "check"];
    let ran = bootstead(&args);
    assert_eq!(ran.code, 2);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(json["errors"].as_u64().unwrap() > 10 && json["ok"] == false, "{json}");
    assert!(json["problems"][0]["at"]["line"].is_u64(), "{json}");
}

#[test]
fn check_says_what_a_part_refuses_before_any_node_is_installed() {
    let dir = PathBuf::from(scratch("refused"));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("site.toml");
    let write = |vars: &str| {
        let text = format!(
            "[site]\nname = \"t\"\ndomain = \"t.example\"\n[server]\naddress = \"10.9.0.1\"\n\
             [network.provisioning]\ncidr = \"10.9.0.0/24\"\n[cluster]\n\
             [vip.one]\nnetwork = \"provisioning\"\naddress = \"10.9.0.2\"\n\
             [role.base]\nimage = \"debian12\"\nname = \"n{{n}}\"\ndisk = {{ min_gib = 10 }}\n\
             parts = [\"repository\", \"hosts\", \"vrrp\"]\naddresses.provisioning = \"10.9.0.10-10.9.0.20\"\n{vars}\
             [[node]]\nmac = \"52:54:00:00:00:01\"\nrole = \"base\"\n\
             [[node]]\nmac = \"52:54:00:00:00:02\"\nrole = \"base\"\n"
        );
        std::fs::write(&path, text).unwrap();
        bootstead(&["--site", path.to_str().unwrap(), "check"])
    };
    let refused = write("");
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("vrrp_addresses names no virtual address"), "{}", refused.err);
    let passes = write("vars.vrrp_addresses = \"one\"\n");
    assert_eq!(passes.code, 0, "{}", passes.err);
    assert!(passes.out.contains(" steps make the cluster"), "{}", passes.out);
    let time = "no network of n1 has `ntp`: nothing tells this cluster's nodes the time";
    assert!(passes.out.contains(time) && passes.out.contains("0 errors, 2 warnings"), "{}", passes.out);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[cluster]", "ntp = [\"10.9.0.254\"]\n[cluster]")).unwrap();
    let told = bootstead(&["--site", path.to_str().unwrap(), "check"]);
    assert!(told.code == 0 && !told.out.contains("`ntp`"), "{}", told.out);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn render_lists_prints_and_writes_every_file_without_a_real_token() {
    let list = on(SITES[1], &["render", "cs-compute-0001"]);
    assert!(list.out.contains("boot.ipxe") && list.out.contains("/etc/hostname"), "{}{}", list.out, list.err);
    let bond = on(SITES[1], &["render", "cs-compute-0001", "/etc/systemd/network/10-bond0.netdev"]);
    assert!(bond.out.contains("Mode=802.3ad") && bond.out.contains("52:54:00:aa:02:02"), "{}", bond.out);
    let script = on(SITES[1], &["render", "52-54-00-aa-01-01", "boot.ipxe"]);
    assert!(
        script.out.starts_with("#!ipxe") && script.out.contains("http://10.77.0.1:8080/"),
        "{}",
        script.out
    );
    assert!(script.out.contains("TOKEN-OF-THE-INSTALLATION"), "{}", script.out);
    let wrong = on(SITES[1], &["render", "cs-compute-0001", "boot.ipex"]);
    assert!(wrong.code == 2 && wrong.err.contains("did you mean boot.ipxe?"), "{}", wrong.err);

    let out = scratch("render");
    let all = on(SITES[2], &["render", "--all", "--out", &out]);
    assert_eq!(all.code, 0, "{}", all.err);
    let base = Path::new(&out);
    for file in [
        "controller-01/controller-01.ks",
        "storage-01/storage-01.preseed",
        "storage-01/storage-01.ipxe",
        "monitor-01/grub.cfg",
        "cs-compute-0003/cs-compute-0003.ks",
    ] {
        let text = std::fs::read_to_string(base.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(!text.is_empty(), "{file}");
    }
    std::fs::remove_dir_all(&out).unwrap();
    let written = |args: &[&str]| {
        let mut all = vec!["render", "--out", &out];
        all.extend(args);
        let ran = on(SITES[2], &all);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let names = |dir: &Path| -> Vec<_> {
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        };
        assert_eq!(names(base), ["monitor-01"], "only the node that was named");
        let files = names(&base.join("monitor-01"));
        std::fs::remove_dir_all(&out).unwrap();
        files
    };
    assert!(written(&["monitor-01"]).len() > 2);
    assert_eq!(written(&["monitor-01", "grub.cfg"]), ["grub.cfg"]);
}

#[test]
fn a_name_where_a_number_stands_is_told_where_to_put_it() {
    let ran = on(SITES[0], &["node", "arm", "--yes", "base-01"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("`bootstead node arm base-01 --yes`"), "{}", ran.err);
    assert!(!ran.err.contains("invalid digit"), "{}", ran.err);
}

#[test]
fn explain_says_who_what_and_why_for_known_and_unknown_machines() {
    let known = on(SITES[1], &["explain", "52:54:00:AA:02:03"]);
    assert!(known.out.contains("is cs-compute-0001 (its port nic3)"), "{}{}", known.out, known.err);
    assert!(known.out.contains("bootstead node arm cs-compute-0001"), "{}", known.out);
    let stranger = on(SITES[0], &["explain", "52:54:00:ff:ff:ff", "--as", "pxe"]);
    assert!(stranger.out.contains("nothing: no reply at all"), "{}", stranger.out);
    assert!(stranger.out.contains("bootstead node assign 52:54:00:ff:ff:ff ROLE"), "{}", stranger.out);
    let json = on(SITES[1], &["explain", "cs-controller-01", "--arch", "11", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["address"], "10.77.0.11");
    assert!(json["asks"][0]["gets"].as_str().unwrap().contains("arm64"), "{json}");
    assert_eq!(on(SITES[0], &["explain", "not-a-node"]).code, 2);
    let near = on(SITES[1], &["explain", "cs-compute-01"]);
    assert!(near.err.contains("did you mean cs-compute-0001?"), "{}", near.err);
    assert!(!near.err.contains("hexadecimal"), "{}", near.err);
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn every_error_is_one_object_for_programs() {
    for (args, what, help) in [
        (&["render", "nobody"][..], "the site has no node", true),
        (&["node", "hold", "base-01"], "a hold needs a reason", true),
        (&["status", "--phase", "asleep"], "is no state of a node", true),
        (&["image", "remove", "nothing"], "image nothing is not here", true),
        (&["steps"], "no server runs", true),
        (&["node", "reload"], "no server runs", true),
        (&["stats"], "unrecognized subcommand", true),
        (&["node", "arm", "--yes", "base-01"], "it says how many nodes", true),
    ] {
        let plain = on(SITES[0], args);
        let ran = on(SITES[0], &[args, &["--json"]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (plain.code, ""), "{args:?}");
        let json = parsed(&ran.err);
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(what) && !error.starts_with("error"), "{args:?}: {json}");
        assert_eq!(
            (json["help"].is_string(), json["problems"][0]["what"].as_str()),
            (help, Some(error)),
            "{json}"
        );
    }
}

#[test]
fn what_is_done_is_told_to_programs_too() {
    let dir = PathBuf::from(scratch("told"));
    let folder = dir.display().to_string();
    let made = parsed(&bootstead(&["--json", "init", &folder]).out);
    assert_eq!(made["wrote"].as_array().unwrap().len(), 2, "{made}");
    let (site, tree) = (dir.join("site.toml"), fixtures().join("tree"));
    let does = |args: &[&str]| {
        let mut all = vec!["--json", "--site", site.to_str().unwrap(), "--tree", tree.to_str().unwrap()];
        all.extend(args);
        let ran = bootstead(&all);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        parsed(&ran.out)
    };
    let node = does(&["node", "assign", "52:54:00:00:00:77", "compute"]);
    assert_eq!((&node["node"], &node["reloaded"]), (&"compute-0002".into(), &false.into()), "{node}");
    assert_eq!(does(&["node", "hold", "compute-0002", "--why", "x"])["compute-0002"]["state"], "held");
    let backup = dir.join("backup");
    assert_eq!(does(&["backup", backup.to_str().unwrap()])["site"], true);
    assert!(does(&["secrets", "list"]).is_array());
    assert_eq!(does(&["image", "verify"]), serde_json::json!([]));
    let none = bootstead(&["--site", site.to_str().unwrap(), "image", "verify"]);
    assert!(none.code == 0 && none.out.contains("bootstead image fetch NAME"), "{}{}", none.out, none.err);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_hold_without_its_reason_is_told_what_to_type() {
    for args in [&["node", "hold", "box-7"][..], &["node", "hold", "box-7", "--why", " "]] {
        let ran = on(SITES[0], args);
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains("a hold needs a reason"), "{}", ran.err);
        assert!(
            ran.err.contains("bootstead node hold box-7 --why \"disk is being replaced\""),
            "{}",
            ran.err
        );
    }
}

#[test]
fn diff_shows_per_node_what_a_changed_site_changes() {
    let old = fixtures().join("sites/one-node.toml");
    let dir = scratch("diff");
    std::fs::create_dir_all(&dir).unwrap();
    let new = format!("{dir}/new.toml");
    let text = std::fs::read_to_string(&old).unwrap();
    std::fs::write(&new, text.replace("10.77.0.11-10.77.0.11", "10.77.0.12-10.77.0.12")).unwrap();
    let tree = fixtures().join("tree");
    let mut args = vec!["--site", &new, "--tree", tree.to_str().unwrap(), "diff", old.to_str().unwrap()];
    let ran = bootstead(&args);
    assert!(ran.out.contains("address on provisioning: 10.77.0.11 → 10.77.0.12"), "{}{}", ran.out, ran.err);
    assert!(
        ran.out.lines().any(|l| l.trim_start().starts_with('+') && l.contains("10.77.0.12")),
        "{}",
        ran.out
    );
    args.push("--json");
    let json: serde_json::Value = serde_json::from_str(&bootstead(&args).out).unwrap();
    assert_eq!(json["changes"][0]["nodes"][0], "base-01");
    let same = bootstead(&["--site", &new, "--tree", tree.to_str().unwrap(), "diff", &new]);
    assert_eq!(same.out, "Nothing changes for any node.\n");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn tree_lists_differs_and_exports() {
    let list = on(SITES[0], &["tree"]);
    assert!(list.out.contains("kickstart/") && list.out.contains("added"), "{}", list.out);
    let json: serde_json::Value = serde_json::from_str(&on(SITES[0], &["tree", "--json"]).out).unwrap();
    assert!(json.as_array().unwrap().iter().any(|f| f["path"] == "profiles/compute/role.toml"));
    assert!(on(SITES[0], &["tree", "diff"]).out.contains("+++ "));
    let dir = scratch("export");
    let ran = bootstead(&["tree", "export", &dir, "profiles/compute"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(Path::new(&dir).join("profiles/compute/role.toml").exists());
    assert!(!Path::new(&dir).join("kickstart").exists());
    assert_eq!(bootstead(&["tree", "export", &dir, "profiles/compute"]).code, 2);
    let same = bootstead(&["--tree", &dir, "tree", "diff"]);
    assert_eq!(same.out, "Every file is the built-in one.\n");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_schema_is_json_and_refuses_unknown_keys() {
    let schema: serde_json::Value = serde_json::from_str(&bootstead(&["schema"]).out).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let required = &schema["$defs"]["RoleTable"]["required"];
    assert!(required.as_array().unwrap().contains(&"image".into()), "{required}");
    assert!(!schema.to_string().contains("\"null\""));
}

#[test]
fn the_inventory_is_what_ansible_asks_for() {
    let list = on(SITES[1], &["inventory", "--ansible", "--list"]);
    assert_eq!(list.code, 0, "{}", list.err);
    let json: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(json["role_compute"]["hosts"][0], "cs-compute-0001", "{json}");
    let vars = &json["_meta"]["hostvars"]["cs-controller-01"];
    assert_eq!(
        (&vars["ansible_host"], &vars["bootstead_role"]),
        (&"10.77.0.11".into(), &"controller".into())
    );
    let host = on(SITES[1], &["inventory", "--ansible", "--host", "cs-controller-01"]);
    assert_eq!(&serde_json::from_str::<serde_json::Value>(&host.out).unwrap(), vars);
    let near = on(SITES[1], &["inventory", "--ansible", "--host", "cs-controler-01"]);
    assert!(near.code == 2 && near.err.contains("cs-controller-01"), "{}", near.err);
    assert!(on(SITES[1], &["inventory"]).err.contains("say which form: --ansible"));
}

#[test]
fn a_further_address_of_the_server_is_nobody_else_s() {
    let dir = PathBuf::from(scratch("also"));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("site.toml");
    let check = |also: &str| {
        let text = std::fs::read_to_string(fixtures().join("sites/one-node.toml")).unwrap();
        let text = text.replacen("[server]\n", &format!("[server]\nalso = {also}\n"), 1);
        std::fs::write(&path, text).unwrap();
        let tree = fixtures().join("tree");
        bootstead(&["--site", path.to_str().unwrap(), "--tree", tree.to_str().unwrap(), "check"])
    };
    assert_eq!(check("[\"10.77.0.9\", \"192.0.2.9\"]").code, 0, "{}", check("[\"10.77.0.9\"]").err);
    for (also, why) in [
        ("[\"10.77.0.1\"]", "10.77.0.1 is Bootstead's address already"),
        ("[\"10.77.0.9\", \"10.77.0.9\"]", "10.77.0.9 is Bootstead's address already"),
        ("[\"10.77.0.11\"]", "10.77.0.11"),
        ("[\"over there\"]", "is not an IPv4 address"),
    ] {
        let ran = check(also);
        assert!(ran.code == 2 && ran.err.contains(why), "{also}: {}{}", ran.out, ran.err);
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_only_watches_ends_when_nobody_reads_it() {
    let site = fixtures().join("sites/one-node.toml");
    let tree = fixtures().join("tree");
    // The first prints a board and then has nothing new to say; the others have nothing to say at all.
    for (lines, args) in
        [(1, &["status", "--watch", "--json"][..]), (0, &["status", "--watch"]), (0, &["events", "--follow"])]
    {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bootstead"))
            .args(["--site", site.to_str().unwrap(), "--tree", tree.to_str().unwrap()])
            .args(["--state", &scratch("unread")])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..lines {
            assert!(out.read_line(&mut String::new()).unwrap() > 0, "{args:?}");
        }
        drop(out);
        let until = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => {
                    child.kill().unwrap();
                    panic!("{args:?} goes on although nobody reads it");
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let err = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!((status.code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}
