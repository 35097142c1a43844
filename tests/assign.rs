//! `bootstead node assign`: the new node is the next one of its role, and every other one stays what it is.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has found something, and says what it skips"
)]

mod ran;

use ran::{Ran, bootstead, scratch};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A site in a folder of its own: its file, and what it holds.
fn site_with(name: &str, tables: &[(&str, &str)], tail: &str) -> (PathBuf, PathBuf) {
    let dir = PathBuf::from(scratch(name));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("site.toml");
    let text = format!(
        "[site]\nname = \"t\"\ndomain = \"t.example\"\n[server]\naddress = \"10.9.0.1\"\n\
         [network.provisioning]\ncidr = \"10.9.0.0/24\"\n\
         [role.base]\nimage = \"debian12\"\nname = \"n{{n}}\"\ndisk = {{ min_gib = 10 }}\n\
         addresses.provisioning = \"10.9.0.10-10.9.0.29\"\n{tail}"
    );
    std::fs::write(&path, text).unwrap();
    for (table, text) in tables {
        std::fs::write(dir.join(table), text).unwrap();
    }
    (dir, path)
}

/// Assigns a new machine on a site without a server.
fn assign(dir: &Path, more: &[&str]) -> Ran {
    let (site, state) = (dir.join("site.toml"), dir.join("state"));
    let mut args = vec!["--site", site.to_str().unwrap(), "--state", state.to_str().unwrap()];
    args.extend(["node", "assign", "52:54:00:ff:ff:01"]);
    args.extend(more);
    bootstead(&args)
}

#[test]
fn a_new_node_gets_the_next_number_and_no_other_node_changes() {
    let macs = "52:54:00:00:00:01,base\n52:54:00:00:00:02,base\n52:54:00:00:00:03,base\n";
    // Below a title nothing is written into the table: the new node stands in the site file, which is read first.
    let titled = format!("Machines of the north hall,\nmac,role\n{macs}");
    let (dir, path) = site_with("assign-title", &[("nodes.csv", &titled)], "");
    let ran = assign(&dir, &["base"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("is n4 (base) now"), "{}", ran.out);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("[[node]]\nmac = \"52:54:00:ff:ff:01\"\nrole = \"base\"\nnumber = 4\n"), "{text}");
    std::fs::remove_dir_all(&dir).unwrap();

    // Names of another kind than the role's rule: numbers follow the order, and the new one comes last.
    let named = "mac,role,name\n525400000001,base,web-a\n525400000002,base,web-b\n525400000003,base,web-c\n";
    let (dir, _) = site_with("assign-named", &[("nodes.csv", named)], "");
    let ran = assign(&dir, &["base"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let table = std::fs::read_to_string(dir.join("nodes.csv")).unwrap();
    assert!(table.ends_with("52:54:00:ff:ff:01,base,n4\n"), "{table}");
    std::fs::remove_dir_all(&dir).unwrap();

    // A name that holds the number of a node that was only counted: that one and those after it would move.
    let (dir, path) = site_with("assign-moves", &[("nodes.csv", &titled)], "");
    let before = std::fs::read_to_string(&path).unwrap();
    let ran = assign(&dir, &["base", "--name", "n2"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    for says in [
        "would change 2 other nodes; nothing was written",
        "n2 would be named n3, have the number 3 in place of 2, have 10.9.0.12 on provisioning in place of 10.9.0.11",
        "n3 would be named n4",
    ] {
        assert!(ran.err.contains(says), "{says}: {}", ran.err);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    // A range without room for one more is the site file's problem, and the file stays as it was.
    let short = before.replace("10.9.0.29", "10.9.0.12");
    std::fs::write(&path, &short).unwrap();
    let ran = assign(&dir, &["base"]);
    assert!(ran.code == 2 && ran.err.contains("is too short for its nodes"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), short);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn assign_writes_nothing_where_the_running_server_is_not_for_this_user() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let (dir, path) = site_with("assign-socket", &[], "");
    let state = dir.join("state");
    std::fs::create_dir_all(&state).unwrap();
    let socket = state.join("control.sock");
    let _server = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&socket, 0o600);
    mode(&dir, 0o777);
    mode(&path, 0o666);
    // The superuser may always talk to it: the program runs as nobody.
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootstead"));
    if std::os::unix::net::UnixStream::connect(&socket).is_ok() && nix::unistd::getuid().is_root() {
        command.uid(65534).gid(65534);
    } else {
        mode(&socket, 0o000);
    }
    let before = std::fs::read_to_string(&path).unwrap();
    command.args(["--site", path.to_str().unwrap(), "--state", state.to_str().unwrap()]);
    match command.args(["node", "assign", "52:54:00:ff:ff:01", "base"]).output() {
        Err(e) => println!("skipped: nobody cannot run the program here ({e})"),
        Ok(ran) => {
            let err = String::from_utf8(ran.stderr).unwrap();
            assert!(ran.status.code() == Some(3) && err.contains("is not for this user"), "{err}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
