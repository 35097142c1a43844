//! What an arming is good for, as machines meet it: for what was shown, and for nobody else; a changed site moves nobody.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

mod serving;

use serving::*;

fn script_path(mac: bootstead::base::Mac, more: &str) -> String {
    format!("/boot.ipxe?mac={}&platform=efi&arch=x86_64{more}", mac.hyphens())
}

/// What was shown when it was armed is installed, or nothing.
#[test]
fn an_arming_is_for_what_the_site_said_then_and_for_nothing_else() {
    let lab = Lab::new();
    lab.arm("base-1");
    assert!(lab.get(&script_path(A, "")).text().contains("kernel "));
    let shared = &lab.running().shared;
    let before = (*shared.hub.world()).clone();
    let mut other = before.clone();
    other.site.nodes[0].name = "base-9".to_string();
    shared.hub.swap(other);
    let script = lab.get(&script_path(A, "")).text();
    assert!(!script.contains("kernel ") && script.contains("node disarm base-9"), "{script}");
    let answers = || lab.get(&format!("/a/{}/{}/ks.cfg", A.hyphens(), token(A, 1)));
    assert_eq!(answers().status, 403, "also for whoever has the script already");
    assert_eq!(lab.state(A), "booting", "and nothing is used up");
    // The site as it was: it goes on. Once it has its answers, it is not held up in the middle.
    shared.hub.swap(before.clone());
    assert_eq!(answers().status, 200);
    let mut other = before;
    other.site.nodes[0].name = "base-9".to_string();
    shared.hub.swap(other);
    assert_eq!(answers().status, 200);
    assert_eq!(lab.operate("POST", "/v1/nodes/base-9/forget", "").status, 200);
    lab.arm("base-9");
    assert!(lab.get(&script_path(A, "")).text().contains("kernel "));
}

/// A row taken out of a table renames all below it; who is installed keeps name and address, or a person says so.
#[test]
fn a_reload_renames_nobody_who_is_installed() {
    use bootstead::serve::difference::{agreed, surprises};
    let lab = Lab::new();
    lab.arm("base-1");
    assert_eq!(lab.get(&format!("/a/{}/{}/ks.cfg", A.hyphens(), token(A, 1))).status, 200);
    let shared = &lab.running().shared;
    let old = shared.hub.world().site.clone();
    let ledger = shared.hub.ledger();
    let mut new = old.clone();
    assert!(agreed(&old, &new, &ledger, None).is_ok());
    new.nodes[1].name = "base-7".to_string();
    assert!(agreed(&old, &new, &ledger, None).is_ok(), "nothing has happened to that one");
    new.nodes[0].name = "base-9".to_string();
    let refused = agreed(&old, &new, &ledger, None).unwrap_err().to_string();
    assert!(
        refused.contains("base-1") && refused.contains("→ base-9") && refused.contains("--yes 1"),
        "{refused}"
    );
    assert!(agreed(&old, &new, &ledger, Some(2)).is_err());
    assert!(agreed(&old, &new, &ledger, Some(1)).is_ok());
    // The first MAC address is what a machine is known by.
    let mut new = old.clone();
    new.nodes[0].macs = vec![bootstead::base::Mac([2, 0, 0, 0, 7, 7]), A];
    let said = surprises(&old, &new.indexed(), &ledger).join("; ");
    assert!(said.contains("base-1 is installing under its first MAC address"), "{said}");
}

/// Installers log the commands that they run, with all that is in them; people send timelines to each other.
#[test]
fn no_token_gets_into_the_timeline() {
    let lab = Lab::new();
    lab.arm("base-1");
    let secret = token(A, 1);
    assert_eq!(lab.get(&format!("/a/{}/{secret}/ks.cfg", A.hyphens())).status, 200);
    let path = format!("/v1/nodes/{}/report?token={secret}", A.hyphens());
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let detail = format!("event=failed&detail=wget+http://x/a/{}/{secret}/late.sh+failed", A.hyphens());
    assert_eq!(lab.ask("POST", &path, &form, &detail).status, 200);
    let shared = &lab.running().shared;
    assert_eq!(shared.scrub(A, format!("late_command: wget {secret}")), "late_command: wget (token)");
    let entries = lab.operate("GET", "/v1/events?node=base-1", "").text();
    assert!(entries.contains("(token)") && !entries.contains(&secret), "{entries}");
}
