//! Owns what puts the agent on a node: this program itself, and the script that an installed node runs once.

use super::media;
use super::reply::Reply;
use super::reports::caller;
use super::routes::Asked;
use super::shared::Shared;
use crate::api;
use crate::base::Sha256;
use crate::shelf::Served;
use crate::site::Node;
use hyper::StatusCode;
use serde::Serialize;
use std::fs::File;
use std::sync::{Arc, OnceLock};

/// The template of the script.
const TEMPLATE: &str = "kickstart/parts/agent.sh.j2";

#[derive(Serialize)]
struct Context<'a> {
    node: &'a str,
    mac: String,
    token: &'a str,
    /// `address:port` of the agents' door, now and one day.
    servers: Vec<String>,
    /// `http://…/agent/bootstead`, taken apart for a shell that has nothing but itself.
    host: String,
    port: u16,
    path: &'static str,
    sha256: String,
    size: u64,
    pin: String,
}

/// This program as a file, with its digest: read once, kept open, so that an update on disk changes nothing here.
struct Myself {
    served: Served,
    sha256: Sha256,
}

fn myself() -> Option<&'static Myself> {
    static ONCE: OnceLock<Option<Myself>> = OnceLock::new();
    ONCE.get_or_init(|| match open() {
        Ok(found) => Some(found),
        Err(e) => {
            tracing::error!("this program cannot read itself, so no node gets its agent: {e}");
            None
        }
    })
    .as_ref()
}

fn open() -> std::io::Result<Myself> {
    use std::io::Read as _;
    let mut file = File::open("/proc/self/exe")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (sha256, size) = (Sha256::of(&bytes), bytes.len() as u64);
    Ok(Myself { served: Served { file: Arc::new(file), extents: vec![(0, size)], size, sha256 }, sha256 })
}

/// `GET /agent/bootstead`
pub fn binary(_: &Shared, asked: &Asked) -> Reply {
    match myself() {
        Some(me) => media::file(&asked.headers, &me.served, "bootstead"),
        None => Reply::not_found("agent"),
    }
}

/// `GET /v1/nodes/MAC/agent.sh`: for the installation that holds the token; none for a node that has no part.
pub fn script(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    let (node, arming) = match caller(shared, asked) {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let world = shared.hub.world();
    if !wanted(&world.site, &node) {
        return Reply::empty(StatusCode::NO_CONTENT);
    }
    let Some(me) = myself() else { return Reply::not_found("agent") };
    let server = &world.site.server;
    let token = shared.key.token(node.mac(), arming);
    let context = Context {
        node: &node.name,
        mac: node.mac().to_string(),
        token: token.reveal(),
        servers: server.doors(),
        host: server.address.to_string(),
        port: server.http_port,
        path: api::AGENT_BINARY,
        sha256: me.sha256.to_string(),
        size: me.served.size,
        pin: shared.pin.to_string(),
    };
    match world.catalog.templates.render(TEMPLATE, &context) {
        Ok(text) => Reply::bytes("text/plain; charset=utf-8", text.into()),
        Err(problem) => {
            tracing::error!(node = node.name, "{problem}");
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", problem.what))
        }
    }
}

/// Whether the cluster has anything for this node.
fn wanted(site: &crate::site::Site, node: &Node) -> bool {
    site.cluster.is_some() && !site.role(node).parts.is_empty()
}
