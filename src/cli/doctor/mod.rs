//! `bootstead doctor`: looks over this machine before a visit and on site; each finding says what to do.

mod firewall;
mod machine;
mod network;
mod ports;
mod supply;

use super::load::load;
use super::station::Station;
use super::{Globals, say, terminal};
use crate::problem::{Exit, Problem, Problems};
use crate::site::Site;
use crate::ui::text::{Paint, Style};
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Do not ask the network for other DHCP servers
    #[arg(long)]
    quiet: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It could not be checked; the text says why.
    Skipped,
    Warning,
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    /// What was found: one sentence.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, what: what.into(), help: None }
    }
    pub fn skipped(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { check, level: Level::Skipped, what: what.into(), help: None }
    }
    pub fn warning(check: &'static str, what: impl Into<String>, help: impl Into<String>) -> Finding {
        Finding { check, level: Level::Warning, what: what.into(), help: Some(help.into()) }
    }
    pub fn error(check: &'static str, what: impl Into<String>, help: impl Into<String>) -> Finding {
        Finding { check, level: Level::Error, what: what.into(), help: Some(help.into()) }
    }
    /// A problem as a finding.
    pub fn problem(check: &'static str, p: &Problem) -> Finding {
        let level = match p.severity {
            crate::problem::Severity::Error => Level::Error,
            crate::problem::Severity::Warning => Level::Warning,
        };
        let what = match &p.why {
            Some(why) => format!("{} ({why})", p.what),
            None => p.what.clone(),
        };
        Finding { check, level, what, help: p.help.clone() }
    }
}

pub fn run(g: &Globals, args: DoctorArgs) -> Result<Exit, Problems> {
    let findings = look(g, &args);
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok);
    if g.json {
        let text = serde_json::to_string_pretty(&findings).map_err(|e| Problem::fault(e.to_string()))?;
        say(&(text + "\n"))?;
    } else {
        say(&render(&findings, &terminal::style()))?;
    }
    Ok(if worst == Level::Error { Exit::Environment } else { Exit::Ok })
}

fn look(g: &Globals, args: &DoctorArgs) -> Vec<Finding> {
    let loaded = load(g);
    // A running server holds the ports rightly; then the network is looked at, not the start.
    let serving = Station::find(g).ok().filter(Station::is_live).and_then(|s| s.board().ok()?.serving);
    let mut all = vec![supply::site(&loaded)];
    all.extend(machine::look(loaded.as_ref().ok().map(|l| &l.site)));
    all.extend(supply::state_folder(g));
    if let Some(s) = &serving {
        all.push(Finding::ok("server", format!("bootstead {} serves here (pid {})", s.version, s.pid)));
        all.extend(s.trouble.iter().map(|t| Finding::error("server", t, "look at the server's log")));
    }
    let Ok(loaded) = loaded else { return all };
    let site = &loaded.site;
    let served = network::look(site);
    all.extend(served.findings);
    all.extend(ports::look(site, serving.as_ref().map(|s| s.pid)));
    all.push(firewall::look(site, &served.names));
    if args.quiet {
        all.push(Finding::skipped("rivals", "the network was not asked for other DHCP servers"));
    } else {
        all.extend(network::rivals(site, &served.names));
    }
    all.extend(supply::images(g, &loaded));
    all
}

fn render(findings: &[Finding], style: &Style) -> String {
    let mut out = String::new();
    let room = style.width.saturating_sub(14).max(30);
    for f in findings {
        let (mark, paint) = match f.level {
            Level::Ok => (style.either("✓", "+"), Paint::Good),
            Level::Skipped => ("-", Paint::Quiet),
            Level::Warning => ("!", Paint::Late),
            Level::Error => (style.either("✗", "x"), Paint::Bad),
        };
        let head = format!("{} {:<10}", style.paint(paint, mark), f.check);
        for (i, line) in style.wrap(&f.what, room).iter().enumerate() {
            out.push_str(&if i == 0 { format!("{head}  {line}\n") } else { format!("{:14}{line}\n", "") });
        }
        // Commands are not wrapped: they are there to be copied.
        for line in f.help.iter().flat_map(|h| h.lines()) {
            out.push_str(&format!("{:14}{}\n", "", style.paint(Paint::Bold, &style.clean(line))));
        }
    }
    let count = |level: Level| findings.iter().filter(|f| f.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    out.push_str(&match (errors, warnings) {
        (0, 0) => "\nready\n".to_string(),
        (0, w) => format!("\nready, {w} to think about\n"),
        (e, w) => format!("\nnot ready: {e} to mend, {w} to think about\n"),
    });
    out
}

/// How many nodes the site has; 0 where it cannot be read.
fn nodes(site: Option<&Site>) -> usize {
    site.map_or(0, |s| s.nodes.len())
}
