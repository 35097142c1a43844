//! `bootstead secrets` as people run it: what each secret's part says about a new value is kept to and told.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::path::{Path, PathBuf};
use std::process::Command;

struct State(PathBuf);

impl State {
    fn new(name: &str) -> State {
        let dir = std::env::temp_dir().join(format!("bootstead-rotate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        State(dir)
    }
    /// Exit code, and everything that was printed.
    fn secrets(&self, words: &[&str]) -> (i32, String) {
        let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/cluster.site.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootstead"));
        command.arg("--site").arg(site).arg("--state").arg(&self.0).arg("secrets").args(words);
        let out = command.output().unwrap();
        (out.status.code().unwrap(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
    }
    fn rotated(&self) -> String {
        std::fs::read_to_string(self.0.join("rotated.toml")).unwrap_or_default()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_rotation_is_refused_or_says_what_it_costs() {
    let state = State::new("ways");
    // Nothing was ever served from here: nothing to make anew, and said what comes first.
    let (code, said) = state.secrets(&["rotate", "glance-database"]);
    assert!(code != 0 && said.contains("no part of this site has a secret"), "{said}");
    let (code, said) = state.secrets(&["rotate", "nova-database"]);
    assert!(code != 0 && said.contains("begin with `bootstead serve`"), "{said}");
    assert!(!state.0.exists());

    let key = bootstead::secrets::load_or_make(&state.0).unwrap();
    for name in ["keystone-fernet-0", "keystone-credential-1"] {
        let (code, said) = state.secrets(&["rotate", name]);
        assert!(code != 0 && said.contains("is never rotated") && said.contains("why: "), "{said}");
        let (code, _) = state.secrets(&["rotate", name, "--by-hand"]);
        assert!(code != 0, "{name}: never is never");
    }
    let (code, said) = state.secrets(&["rotate", "rabbitmq-cookie"]);
    assert!(code != 0 && said.contains("stop rabbitmq-server on every member"), "{said}");
    assert!(said.contains("rotate rabbitmq-cookie --by-hand"), "{said}");
    assert_eq!(state.rotated(), "", "what was refused changed nothing");

    let (code, said) = state.secrets(&["rotate", "rabbitmq-cookie", "--by-hand"]);
    assert!(code == 0 && said.contains("at version 2"), "{said}");
    let (code, said) = state.secrets(&["rotate", "vip-vrrp"]);
    assert!(code == 0 && said.contains("all restart keepalived at once"), "{said}");
    let (code, said) = state.secrets(&["rotate", "nova-database"]);
    assert!(code == 0 && said.contains("some requests fail for about a minute"), "{said}");
    for line in ["nova-database = 2", "rabbitmq-cookie = 2", "vip-vrrp = 2"] {
        assert!(state.rotated().contains(line), "{}", state.rotated());
    }
    let (code, list) = state.secrets(&["list"]);
    assert_eq!(code, 0);
    let of = |name: &str| list.lines().find(|l| l.starts_with(name)).unwrap().to_string();
    assert!(of("vip-vrrp").ends_with("changes on all nodes at the same time"), "{list}");
    assert!(of("vip-vrrp").contains("version 2") && of("galera-sst").contains("version 1"), "{list}");
    assert!(of("keystone-fernet-0").ends_with("is never rotated"), "{list}");
    let kind = bootstead::profiles::secret::SecretKind::Password;
    let value = bootstead::secrets::value(&key, kind, "vip-vrrp", 2);
    assert!(!list.contains(&value[..8]), "a list names, and shows no value");
}
