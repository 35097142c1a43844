//! `bootstead explain`: what a machine would get now, and why. Asks the same function that serving asks.

use super::Globals;
use super::load::{self, Loaded};
use super::station::{Station, now};
use crate::base::{ClientArch, Mac};
use crate::boot::decide::{self, identity};
use crate::boot::{Act, Ask, Decision, Known, Orders, Stage, answers, quirks};
use crate::lifecycle::{Lane, Ledger};
use crate::problem::{Exit, Problem, Problems};
use crate::shelf::Shelf;
use crate::site::{Node, Site};
use crate::ui::arming;
use std::fmt::Write as _;

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// A MAC address in any usual spelling, or a node's name
    machine: String,
    /// Only as this program of the machine asks [default: each in its turn]
    #[arg(long = "as", value_enum, value_name = "WHO")]
    who: Option<Who>,
    /// DHCP option 93 of the firmware: 0 BIOS, 7 x64 UEFI, 11 ARM64 UEFI [default: as it last said, else 7]
    #[arg(long, value_name = "N")]
    arch: Option<u16>,
}

/// Which program asks.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Who {
    /// Firmware that boots by TFTP
    Pxe,
    /// UEFI HTTP Boot
    Http,
    Ipxe,
    /// An installer, or Bootstead's own system
    Installer,
}

impl Who {
    fn stage(self) -> Stage {
        match self {
            Who::Pxe => Stage::Pxe,
            Who::Http => Stage::HttpBoot,
            Who::Ipxe => Stage::Ipxe,
            Who::Installer => Stage::Installer,
        }
    }
}

/// One program's ask and what it gets.
struct Turn {
    stage: Stage,
    decision: Decision,
    gets: String,
}

pub fn run(g: &Globals, args: ExplainArgs) -> Result<Exit, Problems> {
    let loaded = load::load(g)?;
    let mac = machine(&loaded.site, &args.machine)?;
    let ledger = Station::find(g)?.ledger()?;
    let (_, stock, _) = Shelf::open(&g.images_dir());
    let site = &loaded.site;
    let known = Known { site, images: &loaded.catalog.images, stock: &stock, ledger: &ledger };
    let said = ledger.record(identity(site, mac)).and_then(|r| r.arch);
    let arch = args.arch.map(ClientArch).or(said).unwrap_or(ClientArch(7));
    let stages = match args.who {
        Some(who) => vec![who.stage()],
        None => vec![Stage::Pxe, Stage::Ipxe, Stage::Installer],
    };
    let turns: Vec<Turn> = stages
        .into_iter()
        .map(|stage| {
            let ask = Ask { mac, stage, arch: Some(arch), uuid: None, vendor: None };
            let decision = decide::decide(known, &ask, now());
            Turn { stage, gets: gets(site, mac, arch, stage, &decision), decision }
        })
        .collect();
    if g.json {
        return super::say(&format!("{:#}\n", json(site, &ledger, mac, arch, &turns)));
    }
    super::say(&text(&loaded, &ledger, mac, arch, &turns)?)
}

fn machine(site: &Site, text: &str) -> Result<Mac, Problem> {
    if let Some(node) = site.node_by_name(text) {
        return Ok(node.mac());
    }
    Mac::parse(text).map_err(|why| {
        Problem::input(format!("{text:?} is neither a node of the site nor a MAC address"))
            .why(why.to_string())
            .help("`bootstead status` lists all machines")
    })
}

/// What the reply to one ask contains, in words.
fn gets(site: &Site, mac: Mac, arch: ClientArch, stage: Stage, decision: &Decision) -> String {
    let address = match site.node_by_mac(mac).and_then(|n| site.boot_address(n)) {
        Some(a) => format!("the address {a}"),
        None => "an address of the pool".to_string(),
    };
    match decision.act {
        Act::Silence => "nothing: no reply at all".to_string(),
        Act::Address => format!("{address}, nothing to boot"),
        Act::Script => format!("{address} and the script {}{}", site.url(), crate::api::BOOT_SCRIPT),
        Act::Loader => match quirks::loader(Some(arch), stage) {
            Some(l) if l.by == quirks::By::Http => format!("{address} and the loader {} by HTTP", l.file),
            Some(l) => format!("{address} and the loader {} by TFTP", l.file),
            None => format!("{address}; there is no loader for it"),
        },
    }
}

fn then(orders: &Orders) -> String {
    match orders {
        Orders::Install { arming, lane: Lane::Installer } => {
            format!("its script starts the installer (arming {arming})")
        }
        Orders::Install { arming, lane: Lane::Fast } => {
            format!("its script starts the fast lane (arming {arming})")
        }
        Orders::LocalDisk => "its script sends it to its own disk".to_string(),
        Orders::Wait { .. } => "its script says why on the screen, and asks again".to_string(),
        Orders::None => "there is no script for it".to_string(),
    }
}

fn text(
    loaded: &Loaded,
    ledger: &Ledger,
    mac: Mac,
    arch: ClientArch,
    turns: &[Turn],
) -> Result<String, Problem> {
    let site = &loaded.site;
    let node = site.node_by_mac(mac);
    let mut out = match node {
        Some(n) => about(site, ledger, mac, n),
        None => format!("{mac} is no node of the site {}.\n", site.name),
    };
    let _ = writeln!(out, "\nIt asks as {} (architecture {}):", arch.name(), arch.0);
    for turn in turns {
        let _ = writeln!(out, "  {:22}{}", turn.stage.name(), turn.gets);
    }
    let Some(last) = turns.iter().find(|t| t.stage.boots()).or(turns.first()) else { return Ok(out) };
    let _ = writeln!(out, "\nWhy:  {}", last.decision.why);
    let _ = writeln!(out, "Then: {}", then(&last.decision.orders));
    if let Some(short) = node.and_then(|n| short_of_memory(loaded, ledger, n)) {
        let _ = writeln!(out, "But:  {short}");
    }
    match (&last.decision.orders, node) {
        (Orders::Wait { .. }, _) => {
            out.push_str("\nIts screen says:\n");
            for line in answers::refusal(site, node, mac, &last.decision.why) {
                let _ = writeln!(out, "  {line}");
            }
            if node.is_none() {
                out.push_str(&adopt(mac));
            }
        }
        (Orders::None, None) => out.push_str(&adopt(mac)),
        (Orders::Install { lane, .. }, Some(node)) => {
            let kernel = answers::kernel(site, &loaded.catalog, node, &load::placeholder(), *lane)?;
            let _ = writeln!(out, "\nkernel  {}", kernel.kernel);
            for initrd in &kernel.initrds {
                let _ = writeln!(out, "initrd  {initrd}");
            }
            let _ = writeln!(out, "words   {}", kernel.cmdline);
            let _ = writeln!(out, "\nIts files: bootstead render {}", node.name);
        }
        (Orders::LocalDisk, Some(node))
            if matches!(last.decision.why, decide::Why::AlreadyInstalling { .. }) =>
        {
            let name = &node.name;
            let _ = writeln!(
                out,
                "\nIf it was cut off in the middle: bootstead node forget {name}, then bootstead node arm {name}"
            );
        }
        _ => {}
    }
    Ok(out)
}

/// Whether the node's installer would not fit into the memory that its machine reported.
fn short_of_memory(loaded: &Loaded, ledger: &Ledger, node: &Node) -> Option<String> {
    let role = loaded.site.role(node);
    let report = ledger.record(node.mac())?.hardware.as_deref()?;
    arming::short_of_memory(loaded.catalog.images.get(&role.image)?, role.lane, report)
}

/// What to type for a machine that is in no site file.
fn adopt(mac: Mac) -> String {
    format!("\nTo make it a node of the site: bootstead node assign {mac} ROLE\n")
}

fn about(site: &Site, ledger: &Ledger, mac: Mac, node: &Node) -> String {
    let role = site.role(node);
    let lane = match role.lane {
        Lane::Installer => "by its own installer",
        Lane::Fast => "by the fast lane",
    };
    let port = match node.macs.iter().position(|m| *m == mac) {
        Some(i) if node.macs.len() > 1 => format!(" (its port nic{})", i + 1),
        _ => String::new(),
    };
    let state = ledger.state(node.mac());
    let arming = state.arming().map_or(String::new(), |a| format!(", arming {a}"));
    format!(
        "{mac} is {}{port}: role {}, image {} {lane}.\nState: {}{arming}.\n",
        node.name,
        role.name,
        role.image,
        state.name()
    )
}

fn json(site: &Site, ledger: &Ledger, mac: Mac, arch: ClientArch, turns: &[Turn]) -> serde_json::Value {
    let node = site.node_by_mac(mac);
    let asks: Vec<_> = turns
        .iter()
        .map(|t| {
            serde_json::json!({
                "as": t.stage.name(),
                "gets": t.gets,
                "then": then(&t.decision.orders),
                "why": t.decision.why.to_string(),
                "screen": match t.decision.orders {
                    Orders::Wait { .. } => answers::refusal(site, node, mac, &t.decision.why),
                    _ => Vec::new(),
                },
            })
        })
        .collect();
    serde_json::json!({
        "mac": mac,
        "arch": arch.0,
        "node": node.map(|n| &n.name),
        "role": node.map(|n| &n.role),
        "image": node.map(|n| &site.role(n).image),
        "address": node.and_then(|n| site.boot_address(n)),
        "state": ledger.state(identity(site, mac)).name(),
        "asks": asks,
    })
}
