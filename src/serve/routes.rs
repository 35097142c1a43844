//! Owns the table of routes: every one says by which door it may be entered. Pure.

use super::path::Parameters;
use bytes::Bytes;
use hyper::{HeaderMap, Method};
use std::net::IpAddr;

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// TCP on the provisioning network: anybody.
    Network,
    /// The UNIX socket: the operator, by its file mode.
    Socket,
}

/// What proves that a caller may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody on the provisioning network; nothing secret comes back without more proof.
    Anybody,
    /// The installation whose token is in the request; the handler checks it.
    Installation,
    /// The operator: only through the socket.
    Operator,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    BootScript,
    Autoexec,
    Loader,
    Image,
    Answer,
    Report,
    Orders,
    AgentScript,
    AgentBinary,
    Plan,
    Apply,
    Steps,
    Look,
    Looks,
    Drills,
    Board,
    Events,
    Arm,
    Disarm,
    Hold,
    Release,
    Forget,
    Reload,
}

/// One row of the table. In a pattern `*` is one part and `**` the rest.
#[derive(Debug)]
pub struct Route {
    pub methods: &'static [Method],
    pub pattern: &'static str,
    pub who: Who,
    pub target: Target,
}

const READ: &[Method] = &[Method::GET, Method::HEAD];
const WRITE: &[Method] = &[Method::POST];
const BOTH: &[Method] = &[Method::GET, Method::POST];

const fn route(methods: &'static [Method], pattern: &'static str, who: Who, target: Target) -> Route {
    Route { methods, pattern, who, target }
}

/// Every route there is.
pub static ROUTES: &[Route] = &[
    route(READ, "boot.ipxe", Who::Anybody, Target::BootScript),
    route(READ, "images/*/**", Who::Anybody, Target::Image),
    // iPXE asks for it beside its own binary, wherever that was fetched from (field-pain #61).
    route(READ, "autoexec.ipxe", Who::Anybody, Target::Autoexec),
    route(READ, "loaders/autoexec.ipxe", Who::Anybody, Target::Autoexec),
    route(READ, "loaders/*/autoexec.ipxe", Who::Anybody, Target::Autoexec),
    route(READ, "loaders/*", Who::Anybody, Target::Loader),
    route(READ, "a/*/*/*", Who::Installation, Target::Answer),
    route(BOTH, "v1/nodes/*/report", Who::Installation, Target::Report),
    route(READ, "v1/nodes/*/orders", Who::Installation, Target::Orders),
    route(READ, "v1/nodes/*/agent.sh", Who::Installation, Target::AgentScript),
    route(READ, "agent/bootstead", Who::Anybody, Target::AgentBinary),
    route(READ, "v1/plan", Who::Operator, Target::Plan),
    route(WRITE, "v1/apply", Who::Operator, Target::Apply),
    route(WRITE, "v1/steps", Who::Operator, Target::Steps),
    route(WRITE, "v1/look", Who::Operator, Target::Look),
    route(READ, "v1/looks", Who::Operator, Target::Looks),
    route(READ, "v1/drills", Who::Operator, Target::Drills),
    route(READ, "v1/board", Who::Operator, Target::Board),
    route(READ, "v1/events", Who::Operator, Target::Events),
    route(WRITE, "v1/nodes/*/arm", Who::Operator, Target::Arm),
    route(WRITE, "v1/nodes/*/disarm", Who::Operator, Target::Disarm),
    route(WRITE, "v1/nodes/*/hold", Who::Operator, Target::Hold),
    route(WRITE, "v1/nodes/*/release", Who::Operator, Target::Release),
    route(WRITE, "v1/nodes/*/forget", Who::Operator, Target::Forget),
    route(WRITE, "v1/reload", Who::Operator, Target::Reload),
];

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    NotFound,
    /// The path is right, the method is not.
    Method(&'static [Method]),
}

/// Finds the route of a request that came in by `door`.
pub fn find(door: Door, method: &Method, path: &[String]) -> Result<&'static Route, NoRoute> {
    let mut found = NoRoute::NotFound;
    for route in ROUTES {
        let entered = match door {
            Door::Network => route.who != Who::Operator,
            Door::Socket => route.who == Who::Operator,
        };
        if !entered || !fits(route.pattern, path) {
            continue;
        }
        if route.methods.contains(method) {
            return Ok(route);
        }
        found = NoRoute::Method(route.methods);
    }
    // A loader asked for at the root (shim asks for //grubx64.efi) is a loader.
    if door == Door::Network && path.len() == 1 && READ.contains(method) {
        return Ok(&ROOT_LOADER);
    }
    Err(found)
}

/// A single name at the root: a loader, if there is one of that name.
static ROOT_LOADER: Route = route(READ, "*", Who::Anybody, Target::Loader);

fn fits(pattern: &str, path: &[String]) -> bool {
    let mut parts = path.iter();
    for want in pattern.split('/') {
        match (want, parts.next()) {
            ("**", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (want, Some(part)) if want == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// A request, read: what handlers look at.
#[derive(Debug)]
pub struct Asked {
    pub method: Method,
    /// Normalised, decoded.
    pub path: Vec<String>,
    pub query: Parameters,
    pub headers: HeaderMap,
    /// Who is at the other end; none on the socket.
    pub from: Option<IpAddr>,
    pub body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Vec<String> {
        super::super::path::parts(path).unwrap()
    }

    #[test]
    fn no_operator_route_is_reachable_over_the_network() {
        for route in ROUTES {
            let path = parts(&route.pattern.replace("**", "x/y").replace('*', "x"));
            for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE] {
                let network = find(Door::Network, &method, &path).map(|r| r.target);
                let socket = find(Door::Socket, &method, &path).map(|r| r.target);
                if route.who == Who::Operator {
                    assert!(network.is_err(), "{} over TCP: {network:?}", route.pattern);
                    assert_eq!(socket.is_ok(), route.methods.contains(&method), "{}", route.pattern);
                } else {
                    assert!(socket.is_err(), "{}", route.pattern);
                    assert_eq!(network.is_ok(), route.methods.contains(&method), "{}", route.pattern);
                }
            }
        }
    }

    #[test]
    fn the_table_is_the_one_in_the_documentation() {
        let listed: Vec<String> =
            ROUTES.iter().map(|r| format!("{:?} {:?} /{}", r.who, r.methods, r.pattern)).collect();
        insta::assert_snapshot!(listed.join("\n"));
    }

    #[test]
    fn odd_paths() {
        let get = |p: &str| find(Door::Network, &Method::GET, &parts(p)).map(|r| r.target);
        assert_eq!(get("//grubx64.efi"), Ok(Target::Loader));
        assert_eq!(get("/images/el9/a/b//c"), Ok(Target::Image));
        assert_eq!(get("/images/el9"), Err(NoRoute::NotFound));
        assert_eq!(get("/loaders/snponly.efi/autoexec.ipxe"), Ok(Target::Autoexec));
        assert_eq!(get("/"), Err(NoRoute::NotFound));
    }
}
