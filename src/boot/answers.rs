//! Owns what an installation is made of: its answer files, its kernel, its boot script. Pure.

use super::decide::{SYSTEM_IMAGE, Why};
use super::orders;
use super::{grub, script};
use crate::base::{Mac, Secret};
use crate::kickstart::{self, Answer, Family};
use crate::lifecycle::Lane;
use crate::problem::{Problem, did_you_mean};
use crate::site::{Catalog, Node, Site, context, image_of};

/// Every answer file of a node that is installed by its distribution's installer; the first one is the one that
/// uses the arming up. None for the fast lane, which has orders instead.
pub fn answers(site: &Site, catalog: &Catalog, node: &Node, token: &Secret) -> Result<Vec<Answer>, Problem> {
    if site.role(node).lane == Lane::Fast {
        return Ok(Vec::new());
    }
    let family = family(site, catalog, node)?;
    kickstart::answers(&catalog.templates, family, &context(site, catalog, node, token)?)
}

/// The kernel, initrds and command line that start the node's installation by `lane`.
pub fn kernel(
    site: &Site,
    catalog: &Catalog,
    node: &Node,
    token: &Secret,
    lane: Lane,
) -> Result<script::Kernel, Problem> {
    let (image, cmdline) = match lane {
        Lane::Installer => {
            let context = context(site, catalog, node, token)?;
            let family = family(site, catalog, node)?;
            (image_of(catalog, site.role(node))?, kickstart::cmdline(&catalog.templates, family, &context)?)
        }
        Lane::Fast => {
            let image = catalog.images.get(SYSTEM_IMAGE).ok_or_else(|| {
                Problem::input(format!("there is no image {SYSTEM_IMAGE:?}, which the fast lane boots"))
            })?;
            (image, fast_cmdline(site, node, token, &image.args)?)
        }
    };
    let url = |path: &str| format!("{}/images/{}/{}", site.url(), image.name, path.trim_start_matches('/'));
    Ok(script::Kernel {
        kernel: url(&image.kernel),
        initrds: image.initrd.iter().map(|p| url(p)).collect(),
        cmdline,
    })
}

/// The words that the fast lane's system reads (`system::cmdline`), after the image's own, before the role's.
fn fast_cmdline(site: &Site, node: &Node, token: &Secret, args: &str) -> Result<String, Problem> {
    let network = site.provisioning();
    let address = site
        .boot_address(node)
        .ok_or_else(|| Problem::input(format!("{} has no address on {}", node.name, network.name)))?;
    let mut words: Vec<String> = args.split_whitespace().map(str::to_string).collect();
    words.push(format!("bootstead.server={}", site.url()));
    words.push(format!("bootstead.mac={}", node.mac()));
    words.push(format!("bootstead.token={}", token.reveal()));
    words.push(format!("bootstead.ip={address}/{}", network.cidr.prefix()));
    if let Some(gateway) = network.gateway {
        words.push(format!("bootstead.gw={gateway}"));
    }
    words.extend(site.kernel_args(node).split_whitespace().map(str::to_string));
    Ok(words.join(" "))
}

fn title(site: &Site, node: &Node) -> String {
    let role = site.role(node);
    format!("Bootstead: installing {} as {} with {}", node.name, role.name, role.image)
}

/// The script that starts the node's installation.
pub fn install_script(
    site: &Site,
    catalog: &Catalog,
    node: &Node,
    token: &Secret,
) -> Result<String, Problem> {
    let lane = site.role(node).lane;
    Ok(script::install(&title(site, node), &kernel(site, catalog, node, token, lane)?))
}

/// What a machine that is not installed now reads on its screen: who refused, why, and what to type.
pub fn refusal(site: &Site, node: Option<&Node>, mac: Mac, why: &Why) -> Vec<String> {
    let who = node.map_or(mac.to_string(), |n| format!("{} ({mac})", n.name));
    let mut out =
        vec![format!("Bootstead at {}: {who}", site.name), format!("nothing is installed here: {why}")];
    let command = |what: &str, verb: &str, n: &Node| format!("{what}: bootstead {verb} {}", n.name);
    out.extend(match (why, node) {
        (_, None) => Some("to use it, add its MAC address to the site file".to_string()),
        (Why::NotArmed, Some(n)) => Some(command("to install it, type on the server", "node arm", n)),
        (Why::Failed { .. }, Some(n)) => Some(command("look at it with", "events --node", n)),
        (Why::Held { .. }, Some(n)) => Some(command("to go on, type on the server", "node release", n)),
        _ => None,
    });
    out
}

/// One file that a node would get, with a suffix for the file that `render --all` writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What `render NODE WHAT` calls it: `ks.cfg`, `boot.ipxe`, `/etc/hosts`.
    pub what: String,
    /// The file's name below `DIR/NODE/`.
    pub file: String,
    pub content: String,
}

/// Every file that a node would get: answer files or orders, boot script, GRUB's configuration.
pub fn all(site: &Site, catalog: &Catalog, node: &Node, token: &Secret) -> Result<Vec<Rendered>, Problem> {
    let lane = site.role(node).lane;
    let named = |suffix: &str| format!("{}{suffix}", node.name);
    let mut out: Vec<Rendered> = answers(site, catalog, node, token)?
        .into_iter()
        .map(|a| Rendered { file: named(&a.suffix), what: a.file, content: a.content })
        .collect();
    if lane == Lane::Fast {
        let files = orders::files(site, catalog, node, token)?;
        out.extend(files.into_iter().map(|f| Rendered {
            file: format!("root{}", f.path),
            what: f.path,
            content: f.content,
        }));
    }
    let kernel = kernel(site, catalog, node, token, lane)?;
    let title = title(site, node);
    out.push(Rendered {
        what: "boot.ipxe".into(),
        file: named(".ipxe"),
        content: script::install(&title, &kernel),
    });
    let content = grub::install(&title, &kernel);
    out.push(Rendered { what: "grub.cfg".into(), file: "grub.cfg".into(), content });
    Ok(out)
}

fn family<'a>(site: &Site, catalog: &'a Catalog, node: &Node) -> Result<&'a Family, Problem> {
    let image = image_of(catalog, site.role(node))?;
    catalog.families.get(&image.family).ok_or_else(|| {
        let problem = Problem::input(format!(
            "the image {} wants the family {:?}, and kickstart/ has no such template",
            image.name, image.family
        ));
        match did_you_mean(&image.family, catalog.families.keys().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean {near:?}?")),
            None => problem.help("`bootstead tree` lists what there is"),
        }
    })
}
