//! Owns `/boot.ipxe`: who asks, what the boot decision says, which script that is; and what the journal keeps of it.

use super::hub::{NotTaken, World};
use super::reply::Reply;
use super::routes::Asked;
use super::shared::Shared;
use crate::base::time::span;
use crate::base::{Arch, ClientArch, Firmware, Mac};
use crate::boot::answers::refusal;
use crate::boot::decide::identity;
use crate::boot::{Ask, Decision, Orders, Stage, decide, script};
use crate::lifecycle::{Event, WAITS, What, Wire};
use crate::problem::Problem;
use crate::site::Node;
use hyper::StatusCode;
use std::sync::Arc;

/// After this many tries, a waiting machine is told of on the timeline only now and then.
const TOLD: u32 = 3;
const THEN_EVERY: u32 = 15;

/// The script that finds a machine's own script.
pub fn autoexec(shared: &Shared) -> Reply {
    Reply::ok(script::autoexec(&shared.hub.world().site.url()))
}

/// A machine's own script.
pub async fn boot(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    let Some(mac) = asked.query.get("mac").and_then(|m| Mac::parse(m).ok()) else {
        return Reply::text(
            StatusCode::BAD_REQUEST,
            "#!ipxe\necho Bootstead: this request names no machine; it needs ?mac=\nsleep 10\nexit 1\n",
        );
    };
    let world = shared.hub.world();
    let identity = identity(&world.site, mac);
    let ask = Ask { mac, stage: Stage::Ipxe, arch: arch(shared, asked, identity), uuid: None, vendor: None };
    let now = shared.clock.now();
    let decision = decide(world.known(&shared.hub.ledger()), &ask, now);
    let tried: u32 = asked.query.number("try").unwrap_or(0);
    let script = match script_for(shared, asked, &world, &ask, &decision, tried) {
        Ok(script) => script,
        // Nothing was consumed: the machine says what is wrong on its screen and asks again.
        Err(problem) => {
            tracing::error!(mac = %identity, "{problem}");
            shared.refuse(identity, "its boot script", &problem.what);
            let lines = vec!["Bootstead: cannot make this machine's script".to_string(), problem.what];
            Script::new("told why not", script::wait(&lines, &world.site.url(), tried + 1))
        }
    };
    match record(shared, &ask, identity, &decision, &script, tried).await {
        Ok(()) | Err(NotTaken::Refused(_)) => Reply::ok(script.text),
        Err(NotTaken::Store(problem)) => Reply::later(&problem),
    }
}

/// A script and what it is, for people.
struct Script {
    what: String,
    text: String,
    to_disk: bool,
}

impl Script {
    fn new(what: impl Into<String>, text: String) -> Script {
        Script { what: what.into(), text, to_disk: false }
    }
}

fn script_for(
    shared: &Shared,
    asked: &Asked,
    world: &World,
    ask: &Ask,
    decision: &Decision,
    tried: u32,
) -> Result<Script, Problem> {
    let node = world.site.node_by_mac(ask.mac);
    match (&decision.orders, node) {
        (Orders::Install { arming, .. }, Some(node)) => {
            // The script carries the installation's token (field-pain #72).
            if let Some(other) = shared.other_holder(asked.from, node) {
                return Err(Problem::input(format!(
                    "this request came from the address of {other}, not of {}",
                    node.name
                )));
            }
            if let Some(from) =
                asked.from.filter(|from| shared.gives_addresses() && shared.who(*from).is_none())
            {
                return Err(Problem::input(format!(
                    "this request came from {from}, an address that {} does not have from this server",
                    node.name
                )));
            }
            let token = shared.key.token(node.mac(), *arming);
            let text = shared.renders.script(world, node, *arming, &token)?;
            shared.tally.restart(node.mac());
            Ok(Script::new(format!("script: install ({})", decision.why), text))
        }
        (Orders::Wait { tries }, _) if tried < *tries => {
            let text = script::wait(
                &refusal(&world.site, node, ask.mac, &decision.why),
                &world.site.url(),
                tried + 1,
            );
            Ok(Script::new(format!("{WAITS}({})", decision.why), text))
        }
        (Orders::LocalDisk | Orders::Wait { .. } | Orders::None | Orders::Install { .. }, _) => {
            let title = format!("Bootstead: {}; going on to its own disk", decision.why);
            let (firmware, arch) = machine(ask.arch);
            let text = script::local_disk(&title, firmware, arch, &vendors(world, node));
            Ok(Script { what: format!("script: own disk ({})", decision.why), text, to_disk: true })
        }
    }
}

/// Which machine asks: as iPXE says, else as its firmware said by DHCP.
///
/// iPXE for BIOS calls itself i386 on 64-bit machines too.
fn arch(shared: &Shared, asked: &Asked, identity: Mac) -> Option<ClientArch> {
    match (asked.query.get("platform"), asked.query.get("arch")) {
        (Some("pcbios"), _) => Some(ClientArch(0)),
        (Some("efi"), Some("x86_64")) => Some(ClientArch(7)),
        (Some("efi"), Some("arm64")) => Some(ClientArch(11)),
        (Some("efi"), Some("i386")) => Some(ClientArch(6)),
        _ => shared.hub.ledger().record(identity).and_then(|r| r.arch),
    }
}

fn machine(arch: Option<ClientArch>) -> (Firmware, Arch) {
    match arch.and_then(ClientArch::machine) {
        Some(m) => (m.firmware, m.arch),
        None => (Firmware::Bios, Arch::Amd64),
    }
}

/// Directories below \EFI that the node's installed system has its loader in.
fn vendors(world: &World, node: Option<&Node>) -> Vec<String> {
    let family = node
        .and_then(|n| world.catalog.images.get(&world.site.role(n).image))
        .and_then(|image| world.catalog.families.get(&image.family));
    family.map(|f| f.efi.clone()).unwrap_or_default()
}

/// Keeps what is worth keeping; strangers only where the site wants them discovered.
async fn record(
    shared: &Shared,
    ask: &Ask,
    identity: Mac,
    decision: &Decision,
    script: &Script,
    tried: u32,
) -> Result<(), NotTaken> {
    let known = shared.hub.world().site.node_by_mac(ask.mac).is_some();
    let wanted = known || matches!(decision.orders, Orders::Wait { .. });
    // A machine that waits for hours asks every 20 seconds.
    if !wanted || (tried >= TOLD && !tried.is_multiple_of(THEN_EVERY) && !script.to_disk) {
        return Ok(());
    }
    let asked = match tried {
        0 => "iPXE asked for its script".to_string(),
        n => format!("iPXE asked again (after {})", span(u64::from(n) * u64::from(script::WAIT_SECS) * 1000)),
    };
    let now = shared.clock.now();
    let what = What::Asked { wire: Wire::Http, boot: true, asked, answered: script.what.clone() };
    shared.to.record(Event::new(now, identity, what)).await?;
    if script.to_disk {
        let how = match machine(ask.arch).0 {
            Firmware::Bios => "BIOS: first disk",
            Firmware::Uefi => "UEFI: its own loader, then the next boot entry",
        };
        shared.to.record(Event::new(now, identity, What::SentToDisk { how: how.to_string() })).await?;
    }
    Ok(())
}
