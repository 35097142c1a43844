//! Owns the operator's routes on the UNIX socket: board, events, arm, hold, release, forget, reload.

use super::hub::NotTaken;
use super::reply::Reply;
use super::reports::clean;
use super::routes::{Asked, Target};
use super::shared::Shared;
use crate::api::Intent;
use crate::base::Mac;
use crate::boot::bound::armed;
use crate::lifecycle::{Event, What};
use crate::problem::{Problem, Problems, Severity, did_you_mean};
use crate::site::Site;
use crate::ui::{Serving, board};
use hyper::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// What the operator is told when it cannot be done.
#[derive(Serialize)]
struct Sorry {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

pub(super) fn sorry(status: StatusCode, error: String, help: Option<String>) -> Reply {
    Reply::json(status, &Sorry { error, help })
}

pub(super) fn problem(p: &Problem) -> Reply {
    sorry(StatusCode::SERVICE_UNAVAILABLE, p.what.clone(), p.help.clone())
}

/// Answers one of the operator's requests.
pub async fn serve(shared: &Arc<Shared>, target: Target, asked: &Asked) -> Reply {
    match target {
        Target::Board => show_board(shared),
        Target::Events => events(shared, asked).await,
        Target::Reload => reload(shared, asked).await,
        Target::Arm | Target::Disarm | Target::Hold | Target::Release | Target::Forget => {
            change(shared, target, asked).await
        }
        _ => Reply::not_found("such route"),
    }
}

fn show_board(shared: &Shared) -> Reply {
    let world = shared.hub.world();
    let serving = Serving {
        version: env!("CARGO_PKG_VERSION").to_string(),
        pid: std::process::id(),
        since: shared.started,
        interfaces: world.site.server.interfaces.clone(),
        url: world.site.url(),
        dhcp: shared.health.dhcp(),
        trouble: shared.health.trouble(),
        counters: shared.health.counters(),
    };
    let standings = shared.works.standings(shared);
    let now = shared.clock.now();
    Reply::json(StatusCode::OK, &board(&world.site, &shared.hub.ledger(), &standings, now, Some(serving)))
}

/// `after` is the number of the last event that is known; `wait` seconds at most for a newer one.
async fn events(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    let after: u64 = asked.query.number("after").unwrap_or(0);
    let limit: usize = asked.query.number("limit").unwrap_or(1000).clamp(1, 10_000);
    let wait: u64 = asked.query.number("wait").unwrap_or(0).min(60);
    let mac = match asked.query.get("node") {
        None => None,
        Some(name) => match identify(&shared.hub.world().site, name) {
            Ok(mac) => Some(mac),
            Err(reply) => return *reply,
        },
    };
    let mut watch = shared.hub.subscribe();
    let until = tokio::time::Instant::now() + Duration::from_secs(wait);
    loop {
        watch.borrow_and_update();
        let reading = shared.clone();
        let read = tokio::task::spawn_blocking(move || reading.hub.events(after, limit, mac)).await;
        match read {
            Ok(Ok(entries)) if entries.is_empty() => {
                let newer = tokio::time::timeout_at(until, watch.changed()).await;
                if !matches!(newer, Ok(Ok(()))) {
                    return Reply::json(StatusCode::OK, &entries);
                }
            }
            Ok(Ok(entries)) => return Reply::json(StatusCode::OK, &entries),
            Ok(Err(p)) => return problem(&p),
            Err(e) => return problem(&Problem::fault(format!("reading the journal stopped: {e}"))),
        }
    }
}

async fn reload(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    #[derive(Serialize)]
    struct Reloaded {
        changed: String,
    }
    let reading = shared.clone();
    let moved: Option<usize> = asked.query.number("moved");
    match tokio::task::spawn_blocking(move || reading.reload(moved)).await {
        Ok(result) => {
            told(&result);
            match result {
                Ok(changed) => Reply::json(StatusCode::OK, &Reloaded { changed }),
                Err(problems) => sorry(StatusCode::CONFLICT, not_taken(&problems), Some(GOES_ON.to_string())),
            }
        }
        Err(e) => problem(&Problem::fault(format!("reading the site stopped: {e}"))),
    }
}

const GOES_ON: &str =
    "the old site goes on; `bootstead check` says everything that is wrong with the changed one";

/// Why a changed site was not taken into use: its first error, as one sentence.
fn not_taken(problems: &Problems) -> String {
    let errors: Vec<&Problem> = problems.0.iter().filter(|p| p.severity == Severity::Error).collect();
    let Some(first) = errors.first() else { return "the changed site was not taken into use".to_string() };
    let at = first.at.as_ref().map(|at| match &at.cell {
        Some(cell) => format!(" ({} {cell})", at.file),
        None => format!(" ({}:{}:{})", at.file, at.line, at.column),
    });
    let more = match errors.len() - 1 {
        0 => String::new(),
        1 => "; and 1 more error".to_string(),
        n => format!("; and {n} more errors"),
    };
    format!("the changed site was not taken into use: {}{}{more}", first.what, at.unwrap_or_default())
}

/// Logs how a reload went.
pub fn told(result: &Result<String, Problems>) {
    match result {
        Ok(changed) => tracing::info!("the site was read again: {changed}"),
        Err(problems) => {
            tracing::error!("the site was not taken into use, the old one goes on:\n{problems}");
        }
    }
}

/// What a person may decide about one machine.
async fn change(shared: &Arc<Shared>, target: Target, asked: &Asked) -> Reply {
    let name = asked.path.get(2).map(String::as_str).unwrap_or_default();
    let wish: Intent = if asked.body.is_empty() {
        Intent::default()
    } else {
        match serde_json::from_slice(&asked.body) {
            Ok(wish) => wish,
            Err(e) => {
                return sorry(StatusCode::BAD_REQUEST, format!("the request is not valid JSON: {e}"), None);
            }
        }
    };
    let by = match clean(&wish.by, 80) {
        by if by.is_empty() => "the operator".to_string(),
        by => by,
    };
    let why = clean(&wish.why, 200);
    let world = shared.hub.world();
    let mac = match identify(&world.site, name) {
        Ok(mac) => mac,
        Err(reply) => return *reply,
    };
    let what = match target {
        Target::Arm => {
            let Some(node) = world.site.node_by_mac(mac) else {
                let error = format!("{mac} is not in the site file, so there is no role to install it by");
                let help = Some("add it to the site file and reload".to_string());
                return sorry(StatusCode::NOT_FOUND, error, help);
            };
            let arming = shared.hub.ledger().next_arming(mac);
            let erase = wish.erase.iter().map(|s| clean(s, 200)).filter(|s| !s.is_empty()).collect();
            armed(&world.site, node, arming, by, erase)
        }
        Target::Disarm => What::Disarmed { by },
        Target::Hold if why.is_empty() => {
            let help = Some("say why it is held: whoever stands before it will read it".to_string());
            return sorry(StatusCode::BAD_REQUEST, "a hold needs its reason".to_string(), help);
        }
        Target::Hold => What::Held { why, by },
        Target::Release => What::Released { by },
        _ => What::Forgotten { by },
    };
    let sentence = what.sentence();
    match shared.to.record(Event::new(shared.clock.now(), mac, what)).await {
        Ok(()) => {
            shared.forget_refusals(mac);
            let state = shared.hub.ledger().state(mac).clone();
            Reply::json(StatusCode::OK, &Done { mac, done: sentence, state })
        }
        Err(NotTaken::Refused(why)) => sorry(StatusCode::CONFLICT, format!("{name}: {why}"), None),
        Err(NotTaken::Store(p)) => problem(&p),
    }
}

/// What was done.
#[derive(Serialize)]
struct Done {
    mac: Mac,
    done: String,
    #[serde(flatten)]
    state: crate::lifecycle::State,
}

/// The identity of a machine that was named: a node's name, or any MAC address.
fn identify(site: &Site, name: &str) -> Result<Mac, Box<Reply>> {
    if let Some(node) = site.find(name) {
        return Ok(node.mac());
    }
    Mac::parse(name).map_err(|_| {
        let near = did_you_mean(name, site.nodes.iter().map(|n| n.name.as_str()));
        let help = near.map(|n| format!("did you mean {n:?}?"));
        Box::new(sorry(StatusCode::NOT_FOUND, format!("there is no node named {name:?}"), help))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Place;

    #[test]
    fn a_reload_that_fails_is_one_sentence_with_its_place() {
        let mut problems = Problems::default();
        problems.push(Problem::input("a thought").warning());
        let place = Place::of("site.toml", "a\nrole = 7\n", 9..10);
        problems.push(Problem::input("7 is no role").at(place));
        assert_eq!(
            not_taken(&problems),
            "the changed site was not taken into use: 7 is no role (site.toml:2:8)"
        );
        problems.push(Problem::input("another"));
        assert!(not_taken(&problems).ends_with("; and 1 more error"));
    }
}
