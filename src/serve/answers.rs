//! Owns `/a/MAC/TOKEN/FILE`: answer files for the one installation that holds the token, and for nobody else.

use super::hub::NotTaken;
use super::reply::Reply;
use super::routes::Asked;
use super::shared::Shared;
use crate::base::Mac;
use crate::boot::bound;
use crate::kickstart::Answer;
use crate::lifecycle::{Event, Lane, State, What};
use crate::problem::Problem;
use crate::site::Node;
use hyper::{HeaderMap, Method, StatusCode};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// How much of an asked-for name is kept, in characters.
const NAME: usize = 80;

/// Rendered answers of the installations under way: a retry gets the same bytes, also after a reload.
#[derive(Default)]
pub struct Cache(Mutex<BTreeMap<Mac, Rendered>>);

/// Of which arming, and the files.
type Rendered = (u32, Arc<Vec<Answer>>);

impl Cache {
    fn get(&self, mac: Mac, arming: u32) -> Option<Arc<Vec<Answer>>> {
        let cached = self.0.lock().unwrap_or_else(|e| e.into_inner());
        cached.get(&mac).filter(|(a, _)| *a == arming).map(|(_, answers)| answers.clone())
    }
    /// The first one put in for an arming stays.
    fn put(&self, mac: Mac, arming: u32, answers: Vec<Answer>) -> Arc<Vec<Answer>> {
        let mut cached = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let entry = cached.entry(mac).or_insert_with(|| (arming, Arc::default()));
        if entry.0 != arming || entry.1.is_empty() {
            *entry = (arming, Arc::new(answers));
        }
        entry.1.clone()
    }
    /// Forgets what nobody can ask for any more.
    pub fn retain(&self, current: impl Fn(Mac, u32) -> bool) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).retain(|mac, (arming, _)| current(*mac, *arming));
    }
}

/// One answer file.
pub async fn serve(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    let [_, mac, token, file] = asked.path.as_slice() else { return Reply::not_found("such file") };
    let world = shared.hub.world();
    let Some(node) = Mac::parse(mac).ok().and_then(|m| world.site.node_by_mac(m)) else {
        return Reply::not_found("such machine");
    };
    if world.site.role(node).lane == Lane::Fast {
        return Reply::not_found("answer file: this node is installed by the fast lane");
    }
    // A name of the client's own making: journal and memory keep so much of it and no more.
    let what_asked = format!("the answer file {}", file.chars().take(NAME).collect::<String>());
    let arming = match allowed(shared, node, token, asked) {
        Ok(arming) => arming,
        Err(why) => {
            shared.refuse(node.mac(), &what_asked, &why);
            return Reply::text(StatusCode::FORBIDDEN, format!("{why}\n"));
        }
    };
    let answers = match shared.cache.get(node.mac(), arming) {
        Some(answers) => answers,
        None => match render(shared, node, arming).await {
            Ok(answers) => shared.cache.put(node.mac(), arming, answers),
            Err(problem) => {
                tracing::error!(node = node.name, mac = %node.mac(), "{problem}");
                shared.refuse(node.mac(), &what_asked, &problem.what);
                return Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", problem.what));
            }
        },
    };
    let Some(at) = answers.iter().position(|a| a.file == *file) else {
        return Reply::not_found("such answer file");
    };
    if at == 0
        && asked.method == Method::GET
        && let Err(refused) = begin(shared, node, arming, file).await
    {
        return refused;
    }
    Reply::bytes("text/plain; charset=utf-8", answers[at].content.clone().into())
}

/// The arming that this request belongs to, or why it may not.
fn allowed(shared: &Shared, node: &Node, token: &str, asked: &Asked) -> Result<u32, String> {
    let state = shared.hub.ledger().state(node.mac()).clone();
    bound::unchanged(&shared.hub.world().site, &shared.hub.ledger(), node)?;
    let current = match &state {
        State::Armed { arming, .. } | State::Booting { arming, .. } | State::Installing { arming, .. } => {
            Some(*arming)
        }
        _ => None,
    };
    let Some(arming) = current.filter(|a| shared.key.accepts(node.mac(), *a, token)) else {
        return Err(format!("this token is not for an installation of {} that may go on now", node.name));
    };
    cross_check(node, &asked.headers)?;
    if let Some(other) = shared.other_holder(asked.from, node) {
        return Err(format!("this request came from the address of {other}, not of {}", node.name));
    }
    Ok(arming)
}

/// Anaconda with `inst.ks.sendmac` names every interface: `X-RHN-Provisioning-MAC-0: eno1 52:54:00:aa:00:11`.
/// Any of them may be the node's, in any order; if none is, another machine follows this node's URL (#72).
fn cross_check(node: &Node, headers: &HeaderMap) -> Result<(), String> {
    let sent: Vec<Mac> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-rhn-provisioning-mac-"))
        .filter_map(|(_, value)| value.to_str().ok()?.split_whitespace().last()?.parse().ok())
        .collect();
    if sent.is_empty() || sent.iter().any(|mac| node.macs.contains(mac)) {
        return Ok(());
    }
    let named: Vec<String> = sent.iter().map(Mac::to_string).collect();
    Err(format!("this machine has {}, none of which belongs to {}", named.join(", "), node.name))
}

async fn render(shared: &Arc<Shared>, node: &Node, arming: u32) -> Result<Vec<Answer>, Problem> {
    let (shared, node) = (shared.clone(), shared.approved(node));
    let rendered = tokio::task::spawn_blocking(move || {
        let world = shared.hub.world();
        let token = shared.key.token(node.mac(), arming);
        shared.renders.answers(&world, &node, arming, &token)
    });
    rendered.await.unwrap_or_else(|e| Err(Problem::fault(format!("rendering stopped: {e}"))))
}

/// The main answer file leaves: the arming is used up, and that is on disk before the first byte goes out.
async fn begin(shared: &Shared, node: &Node, arming: u32, file: &str) -> Result<(), Reply> {
    if matches!(shared.hub.ledger().state(node.mac()), State::Installing { arming: a, .. } if *a == arming) {
        return Ok(());
    }
    let what = What::AnswersServed { arming, lane: Lane::Installer, file: file.to_string(), run: None };
    match shared.to.record(Event::new(shared.clock.now(), node.mac(), what)).await {
        Ok(()) => Ok(()),
        Err(NotTaken::Store(problem)) => Err(Reply::later(&problem)),
        Err(NotTaken::Refused(why)) => {
            shared.refuse(node.mac(), &format!("the answer file {file}"), &why.0);
            Err(Reply::text(StatusCode::CONFLICT, format!("{why}\n")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_machines_ports_may_be_the_nodes() {
        let node = Node {
            name: "n1".into(),
            number: 1,
            role: "base".into(),
            macs: vec![Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])],
            addresses: BTreeMap::new(),
            disk: None,
            erase: Vec::new(),
            kernel_args: String::new(),
            vars: BTreeMap::new(),
        };
        let headers = |values: &[&str]| -> HeaderMap {
            let name =
                |i| format!("X-RHN-Provisioning-MAC-{i}").parse::<hyper::header::HeaderName>().unwrap();
            values.iter().enumerate().map(|(i, v)| (name(i), v.parse().unwrap())).collect()
        };
        assert!(cross_check(&node, &headers(&[])).is_ok());
        assert!(cross_check(&node, &headers(&["eth0 02:00:00:00:00:99", "eth1 02:00:00:00:00:02"])).is_ok());
        let why = cross_check(&node, &headers(&["eth0 02:00:00:00:00:99"])).unwrap_err();
        assert!(why.contains("02:00:00:00:00:99") && why.contains("n1"), "{why}");
    }
}
