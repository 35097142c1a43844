//! Owns the boot decision: what a machine gets, and the sentence that says why.
//!
//! `orders` depend only on the site, the stock and the ledger; `act` also on which program asks. So DHCP, TFTP,
//! the script and the answer file name the same image, role and reason for one machine at one time.

use super::ask::{Ask, Stage};
use super::bound::changed;
use crate::base::{Mac, Timestamp};
use crate::images::{Image, Stock};
use crate::lifecycle::{Lane, Ledger, State};
use crate::site::{Node, Site};
use std::collections::BTreeMap;
use std::fmt;

/// What everybody who decides may look at.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub site: &'a Site,
    pub images: &'a BTreeMap<String, Image>,
    pub stock: &'a Stock,
    pub ledger: &'a Ledger,
}

/// What a machine gets, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub act: Act,
    pub orders: Orders,
    pub why: Why,
}

/// What is sent to this ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing: this machine is none of our business.
    Silence,
    /// An address and nothing to boot.
    Address,
    /// An address and the loader for its firmware.
    Loader,
    /// An address and the URL of its script.
    Script,
}

/// What the machine is to do once it can read a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Orders {
    /// Install, by this lane, under this arming.
    Install { arming: u32, lane: Lane },
    /// Boot the own disk.
    LocalDisk,
    /// Say why on the screen and ask again later; after so many tries go on to the own disk, because a machine
    /// that is none of ours must come up with what it has.
    Wait { tries: u32 },
    /// Nothing at all.
    None,
}

/// The reason, as data; `Display` is the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    Stranger,
    StrangerDiscovered,
    NotArmed,
    Armed {
        arming: u32,
        image: String,
        role: String,
        lane: Lane,
    },
    /// Armed, but something that the installation needs is not here.
    Lacks {
        what: String,
    },
    /// Armed for something else than the site file says now.
    Changed {
        node: String,
    },
    /// Answers were taken, and now it network-boots again (field-pain #81, #82): never a second installation.
    AlreadyInstalling {
        arming: u32,
    },
    Installed {
        arming: u32,
    },
    Failed {
        why: String,
    },
    Held {
        why: String,
    },
    /// An architecture that we have no loader for.
    NoLoader {
        arch: u16,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Stranger => write!(f, "this machine is not in the site file"),
            Why::StrangerDiscovered => {
                write!(
                    f,
                    "this machine is not in the site file; it is listed as discovered, nothing is installed"
                )
            }
            Why::NotArmed => write!(f, "it is known but not armed"),
            Why::Armed { image, role, lane, arming } => {
                let lane = match lane {
                    Lane::Installer => "its own installer",
                    Lane::Fast => "the fast lane",
                };
                write!(f, "it is armed (arming {arming}) to be installed as {role} with {image} by {lane}")
            }
            Why::Lacks { what } => write!(f, "it is armed, but {what}"),
            Why::Changed { node } => write!(
                f,
                "the site file gives it another name, role, image, address or disk than when it was armed: \
                 `bootstead node disarm {node}`, then arm it again"
            ),
            Why::AlreadyInstalling { arming } => write!(
                f,
                "arming {arming} was used: its installation began and has not reported its end; it gets its disk"
            ),
            Why::Installed { .. } => write!(f, "it is installed"),
            Why::Failed { why } => {
                write!(f, "its installation failed ({why}); a person must look and arm it again")
            }
            Why::Held { why } => write!(f, "it is held ({why})"),
            Why::NoLoader { arch } => write!(
                f,
                "its firmware says architecture {arch} ({}), for which there is no loader",
                crate::base::ClientArch(*arch).name()
            ),
        }
    }
}

/// Decides what `ask` gets at `now`.
pub fn decide(known: Known<'_>, ask: &Ask, _now: Timestamp) -> Decision {
    let Some(node) = known.site.node_by_mac(ask.mac) else {
        return stranger(known.site, ask);
    };
    let (orders, why) = orders(known, node);
    let act = match ask.stage {
        Stage::Installer | Stage::Other => Act::Address,
        Stage::Ipxe => Act::Script,
        Stage::Pxe | Stage::HttpBoot => match ask.arch {
            // Without option 93 a PXE client is a BIOS of before 2006 (RFC 4578 is of that year).
            None => Act::Loader,
            Some(a) if a.machine().is_some() => Act::Loader,
            Some(a) => {
                return Decision {
                    act: Act::Address,
                    orders: Orders::None,
                    why: Why::NoLoader { arch: a.0 },
                };
            }
        },
    };
    Decision { act, orders, why }
}

/// What a node is to do now, whoever asks for it.
pub fn orders(known: Known<'_>, node: &Node) -> (Orders, Why) {
    let role = known.site.role(node);
    match known.ledger.state(node.mac()) {
        State::Armed { .. } | State::Booting { .. } if changed(known.site, known.ledger, node) => {
            (Orders::Wait { tries: PATIENT }, Why::Changed { node: node.name.clone() })
        }
        State::Armed { arming, .. } | State::Booting { arming, .. } => {
            let ready = match known.images.get(&role.image) {
                None => Err(format!("there is no image named {}", role.image)),
                Some(image) => ready(known.stock, image, role.lane),
            };
            match ready {
                Err(what) => (Orders::Wait { tries: PATIENT }, Why::Lacks { what }),
                Ok(()) => (
                    Orders::Install { arming: *arming, lane: role.lane },
                    Why::Armed {
                        arming: *arming,
                        image: role.image.clone(),
                        role: role.name.clone(),
                        lane: role.lane,
                    },
                ),
            }
        }
        State::Expected => (Orders::Wait { tries: BRIEF }, Why::NotArmed),
        State::Installing { arming, .. } => (Orders::LocalDisk, Why::AlreadyInstalling { arming: *arming }),
        State::Installed { arming, .. } => (Orders::LocalDisk, Why::Installed { arming: *arming }),
        State::Failed { why, .. } => (Orders::Wait { tries: PATIENT }, Why::Failed { why: why.clone() }),
        State::Held { why, .. } => (Orders::Wait { tries: PATIENT }, Why::Held { why: why.clone() }),
    }
}

/// Tries of a machine that a person works on: two hours.
const PATIENT: u32 = 360;
/// Tries of a machine that may be none of our business: two minutes.
const BRIEF: u32 = 6;

/// Name of the image that is the fast lane's own system.
pub const SYSTEM_IMAGE: &str = "system";
/// The root disk image's manifest, below the image that it was built from.
pub const ROOT_MANIFEST: &str = "root.json";

/// Whether the stock has all that installing `image` by `lane` needs; `Err` is a sentence with the command to run.
pub fn ready(stock: &Stock, image: &Image, lane: Lane) -> Result<(), String> {
    match lane {
        Lane::Installer => stock.can_install(image),
        Lane::Fast => {
            if !stock.images.contains_key(SYSTEM_IMAGE) {
                return Err(
                    "the fast lane's own system is not here; run `bootstead image build system`".to_string()
                );
            }
            match stock.images.get(&image.name) {
                Some(s) if s.files.contains_key(ROOT_MANIFEST) => Ok(()),
                _ => Err(format!(
                    "image {} has no prepared root; run `bootstead image build {}`",
                    image.name, image.name
                )),
            }
        }
    }
}

fn stranger(site: &Site, ask: &Ask) -> Decision {
    if !site.server.discover || !ask.stage.boots() {
        return Decision { act: Act::Silence, orders: Orders::None, why: Why::Stranger };
    }
    let act = match ask.stage {
        Stage::Ipxe => Act::Script,
        _ if ask.arch.is_some_and(|a| a.machine().is_none()) => Act::Silence,
        _ => Act::Loader,
    };
    Decision { act, orders: Orders::Wait { tries: BRIEF }, why: Why::StrangerDiscovered }
}

/// The identity that the ledger knows this machine by: the node's first MAC, or its own.
pub fn identity(site: &Site, mac: Mac) -> Mac {
    site.node_by_mac(mac).map_or(mac, Node::mac)
}
