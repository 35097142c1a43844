//! Owns `/v1/nodes/MAC/report` and `/v1/nodes/MAC/orders`: what an installation says, and what the fast lane is told.

use super::hub::NotTaken;
use super::path::Parameters;
use super::reply::Reply;
use super::routes::Asked;
use super::shared::Shared;
use crate::api::{ReportKind, Reported};
use crate::base::Mac;
use crate::boot::bound;
use crate::lifecycle::{Event, Lane, State, What};
use crate::problem::Problem;
use crate::site::Node;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use std::sync::Arc;

/// The longest step name and detail that is kept, in characters.
const STEP: usize = 200;
const DETAIL: usize = 2000;

/// An installation reports.
pub async fn report(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    let (node, arming) = match caller(shared, asked) {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let mac = node.mac();
    let mut reported = match read(asked) {
        Ok(reported) => reported,
        Err(why) => return Reply::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    reported.detail = shared.scrub(mac, reported.detail);
    let lane = shared.hub.world().site.role(&node).lane;
    let what = match fact(reported, arming, lane) {
        Ok(what) => what,
        Err(why) => return Reply::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let grants = matches!(what, What::AnswersServed { .. });
    if told_before(shared.hub.ledger().state(mac), &what) {
        return Reply::ok(if grants { "granted\n" } else { "ok\n" });
    }
    let event = Event::new(shared.clock.now(), mac, what);
    match shared.to.record(event).await {
        Ok(()) => Reply::ok(if grants { "granted\n" } else { "ok\n" }),
        Err(NotTaken::Store(problem)) => Reply::later(&problem),
        Err(NotTaken::Refused(why)) => {
            if grants {
                shared.refuse(mac, "to write its disk", &why.0);
            }
            Reply::text(StatusCode::CONFLICT, format!("{why}\n"))
        }
    }
}

/// What the fast lane's system is to do.
pub async fn orders(shared: &Arc<Shared>, asked: &Asked) -> Reply {
    let (node, arming) = match caller(shared, asked) {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let state = shared.hub.ledger().state(node.mac()).clone();
    let may = matches!(
        state,
        State::Armed { .. } | State::Booting { .. } | State::Installing { lane: Lane::Fast, .. }
    );
    if !may || shared.hub.world().site.role(&node).lane != Lane::Fast {
        let why = format!("{} is {}; there are no orders of the fast lane for it", node.name, state.name());
        shared.refuse(node.mac(), "its orders", &why);
        return Reply::text(StatusCode::CONFLICT, format!("{why}\n"));
    }
    let refused = bound::unchanged(&shared.hub.world().site, &shared.hub.ledger(), &node);
    if let Err(why) = refused {
        shared.refuse(node.mac(), "its orders", &why);
        return Reply::text(StatusCode::CONFLICT, format!("{why}\n"));
    }
    let (sharing, name) = (shared.clone(), node.name.clone());
    let node = shared.approved(&node);
    let rendered = tokio::task::spawn_blocking(move || {
        let token = sharing.key.token(node.mac(), arming);
        sharing.renders.orders(&sharing.hub.world(), &node, arming, &token)
    });
    match rendered.await.unwrap_or_else(|e| Err(Problem::fault(format!("rendering stopped: {e}")))) {
        Ok(orders) => Reply::json(StatusCode::OK, &orders),
        Err(problem) => {
            tracing::error!(node = name, "{problem}");
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", problem.what))
        }
    }
}

/// The node of the path and the arming whose token was sent.
pub(super) fn caller(shared: &Shared, asked: &Asked) -> Result<(Node, u32), Reply> {
    let mac = asked.path.get(2).and_then(|m| Mac::parse(m).ok());
    let world = shared.hub.world();
    let Some(node) = mac.and_then(|m| world.site.node_by_mac(m)) else {
        return Err(Reply::not_found("such machine"));
    };
    let state = shared.hub.ledger().state(node.mac()).clone();
    let arming = match &state {
        State::Held { before, .. } => before.arming(),
        state => state.arming(),
    };
    let token = token(asked).unwrap_or_default();
    match arming.filter(|a| shared.key.accepts(node.mac(), *a, &token)) {
        Some(arming) => Ok((node.clone(), arming)),
        None => {
            let why = format!("this token is not for the current installation of {}", node.name);
            shared.refuse(node.mac(), "a report", &why);
            Err(Reply::text(StatusCode::FORBIDDEN, format!("{why}\n")))
        }
    }
}

fn token(asked: &Asked) -> Option<String> {
    let bearer = asked.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    if let Some(token) = bearer.and_then(|v| v.strip_prefix("Bearer ")) {
        return Some(token.trim().to_string());
    }
    if let Some(token) = asked.query.get("token") {
        return Some(token.to_string());
    }
    match body(asked) {
        Body::Form(form) => form.get("token").map(str::to_string),
        Body::Json(value) => value.get("token")?.as_str().map(str::to_string),
        Body::None | Body::Unreadable(_) => None,
    }
}

enum Body {
    None,
    Form(Parameters),
    Json(serde_json::Value),
    Unreadable(String),
}

fn body(asked: &Asked) -> Body {
    if asked.method != Method::POST || asked.body.is_empty() {
        return Body::None;
    }
    let kind = asked.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/json") || asked.body.trim_ascii_start().starts_with(b"{") {
        return match serde_json::from_slice(&asked.body) {
            Ok(value) => Body::Json(value),
            Err(e) => Body::Unreadable(format!("the report is not valid JSON: {e}")),
        };
    }
    Body::Form(Parameters::read(&String::from_utf8_lossy(&asked.body)))
}

/// The report, wherever its parts are: JSON body, form body, query.
fn read(asked: &Asked) -> Result<Reported, String> {
    let body = body(asked);
    if let Body::Json(value) = body {
        return serde_json::from_value(value).map_err(|e| format!("the report cannot be read: {e}"));
    }
    if let Body::Unreadable(why) = body {
        return Err(why);
    }
    let form = if let Body::Form(form) = body { form } else { Parameters::default() };
    let get = |name: &str| form.get(name).or_else(|| asked.query.get(name));
    let kind = get("event").ok_or("a report needs event=")?;
    let event: ReportKind = serde_json::from_value(serde_json::Value::String(kind.to_string()))
        .map_err(|_| format!("there is no event {kind:?}; there are hardware, begin, progress, installed, failed, first-boot"))?;
    let number = |name: &str| get(name).and_then(|v| v.trim().trim_end_matches('%').parse::<u64>().ok());
    Ok(Reported {
        event,
        step: get("step").unwrap_or_default().to_string(),
        percent: number("percent").map(|p| p.min(100) as u8),
        bytes: number("bytes"),
        detail: get("detail").unwrap_or_default().to_string(),
        run: get("run").map(str::to_string),
    })
}

/// Entry point for fuzzing: a request's target in the first line, its body behind it. What comes of it is a line for
/// people, bounded and printable.
pub fn whatever_arrives(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let (line, rest) = (String::from_utf8_lossy(&bytes[..at]), bytes.get(at + 1..).unwrap_or_default());
    let (path, query) = line.split_once('?').unwrap_or((&line, ""));
    let Some(path) = super::path::parts(path) else { return };
    for method in [Method::GET, Method::POST] {
        let _ = super::routes::find(super::routes::Door::Network, &method, &path);
        let asked = Asked {
            method,
            path: path.clone(),
            query: Parameters::read(query),
            headers: hyper::HeaderMap::new(),
            from: None,
            body: rest.to_vec().into(),
        };
        let _ = token(&asked);
        let Ok(reported) = read(&asked) else { continue };
        for lane in [Lane::Fast, Lane::Installer] {
            if let Ok(What::Progressed { step, percent, .. }) = fact(reported.clone(), 1, lane) {
                assert!(step.chars().count() <= STEP + 1 && !step.contains(char::is_control), "{step:?}");
                assert!(percent.is_none_or(|p| p <= 100));
            }
        }
    }
}

fn fact(reported: Reported, arming: u32, lane: Lane) -> Result<What, String> {
    let detail = clean(&reported.detail, DETAIL);
    Ok(match reported.event {
        ReportKind::Hardware => What::Hardware { report: reported.detail },
        ReportKind::Begin if lane != Lane::Fast => {
            return Err("this node is installed by its own installer, not by the fast lane".to_string());
        }
        ReportKind::Begin => {
            let run = reported.run.filter(|r| !r.is_empty() && r.len() <= 64).ok_or("begin needs run=")?;
            What::AnswersServed { arming, lane, file: "orders".to_string(), run: Some(run) }
        }
        ReportKind::Progress => What::Progressed {
            arming,
            step: clean(&reported.step, STEP),
            percent: reported.percent.map(|p| p.min(100)),
            bytes: reported.bytes,
        },
        ReportKind::Installed => What::InstallReported { arming, ok: true, detail },
        ReportKind::Failed => What::InstallReported { arming, ok: false, detail },
        ReportKind::FirstBoot => What::FirstBooted { arming, detail },
    })
}

/// Whether this changes nothing: curl retries, a first-boot unit runs twice.
fn told_before(state: &State, what: &What) -> bool {
    match (what, state) {
        (What::InstallReported { ok: true, .. }, State::Installed { proofs, .. }) => proofs.reported,
        (What::InstallReported { ok: false, .. }, State::Failed { .. }) => true,
        (What::FirstBooted { .. }, State::Installed { proofs, .. }) => proofs.first_boot,
        (What::AnswersServed { run, .. }, State::Installing { run: granted, lane: Lane::Fast, .. }) => {
            run == granted
        }
        _ => false,
    }
}

/// One line of printable text.
pub fn clean(text: &str, most: usize) -> String {
    let mut out: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if text.trim().chars().count() > most {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::HeaderMap;

    fn asked(method: Method, query: &str, kind: &str, body: &str) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        Asked {
            method,
            path: super::super::path::parts("/v1/nodes/02-00-00-00-00-01/report").unwrap(),
            query: Parameters::read(query),
            headers,
            from: None,
            body: body.as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn a_report_may_come_as_query_form_or_json() {
        let forms = [
            asked(Method::GET, "event=progress&step=partitioning+disks&percent=12%25&token=t", "", ""),
            asked(
                Method::POST,
                "token=t",
                "application/x-www-form-urlencoded",
                "event=progress&step=partitioning%20disks&percent=12",
            ),
            asked(
                Method::POST,
                "",
                "application/json",
                r#"{"event":"progress","step":"partitioning disks","percent":12,"token":"t"}"#,
            ),
        ];
        for asked in forms {
            assert_eq!(token(&asked).as_deref(), Some("t"));
            let r = read(&asked).unwrap();
            assert_eq!(
                (r.event, r.step.as_str(), r.percent),
                (ReportKind::Progress, "partitioning disks", Some(12))
            );
        }
        assert!(read(&asked(Method::GET, "event=nonsense", "", "")).unwrap_err().contains("first-boot"));
        assert!(read(&asked(Method::POST, "", "application/json", "{")).is_err());
    }

    #[test]
    fn text_from_machines_is_one_line_of_bounded_length() {
        assert_eq!(clean(" a\nb\u{1b}[2J ", 10), "a b [2J");
        assert_eq!(clean("abcdef", 3), "abc…");
    }
}
