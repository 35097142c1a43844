//! Owns the acceptance report of a drill: what was broken, how long what was out, when all was whole; as data, as lines
//! for a terminal and as one page of HTML that needs nothing else.

use super::text::{Paint, Style};
use crate::base::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// One run of `bootstead drill`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub site: String,
    pub domain: String,
    pub begun: Timestamp,
    pub ended: Timestamp,
    pub by: String,
    pub version: String,
    /// The plan that was in use.
    pub generation: u32,
    pub digest: String,
    pub nodes: usize,
    pub trials: Vec<Trial>,
    /// Drills that were wanted and did not run.
    pub not_run: Vec<String>,
    /// The checks of the site as they were after the last drill.
    pub checks: Vec<Checked>,
}

/// One thing that was broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub name: String,
    pub title: String,
    /// Where.
    pub node: String,
    pub broken: Timestamp,
    pub probes: Vec<Probed>,
    /// Longest outage that was allowed, and time until all checks had to pass; milliseconds.
    pub outage_limit: u64,
    pub back_limit: u64,
    /// When every check of the site passed again, milliseconds after it was broken; none: not in time.
    pub whole: Option<u64>,
    /// Why it did not go as it must; empty: it did.
    pub wrong: Vec<String>,
}

/// What users saw of one thing meanwhile; milliseconds, 0 is when it was broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    pub id: String,
    pub title: String,
    /// The node that asked.
    pub from: String,
    pub asked: u32,
    pub failed: u32,
    /// The longest outage.
    pub longest: u64,
    pub outages: Vec<(i64, i64)>,
    /// How long it was asked.
    pub until: i64,
    /// It did not come back while it was asked.
    pub lost: bool,
    /// How the first attempt failed.
    pub why: Option<String>,
}

/// One check of the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    pub node: String,
    pub title: String,
    pub failed: Option<String>,
    pub output: String,
}

impl Report {
    pub fn passed(&self) -> bool {
        !self.trials.is_empty()
            && self.not_run.is_empty()
            && self.trials.iter().all(|t| t.wrong.is_empty())
            && self.checks.iter().all(|c| c.failed.is_none())
    }
}

/// `2.3 s`
pub fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis / 100 % 10)
}

impl Trial {
    /// What is told when it is over.
    pub fn lines(&self, style: &Style) -> Vec<String> {
        let wide = self.probes.iter().map(|p| p.title.chars().count()).max().unwrap_or(0).min(44);
        let mut lines = Vec::new();
        for p in &self.probes {
            let over = p.lost || p.longest > self.outage_limit;
            let text = match (p.lost, p.longest) {
                (true, _) => "did not come back".to_string(),
                (_, 0) => "no outage".to_string(),
                (_, longest) => format!("out for {}", seconds(longest)),
            };
            let line = format!("  {:<wide$}  {text:<20} {} of {} failed", p.title, p.failed, p.asked);
            let paint = if over { Paint::Bad } else { Paint::Plain };
            lines.push(style.paint(paint, &line));
        }
        let (paint, text) = match (self.whole, self.wrong.is_empty()) {
            (Some(whole), true) => (Paint::Good, format!("  ✓ whole again after {}", seconds(whole))),
            (_, _) => (Paint::Bad, format!("  ✗ {}", self.wrong.join("; "))),
        };
        lines.push(style.paint(paint, &text));
        lines
    }
}

/// Text as it may stand in HTML (also between quotes).
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.6rem}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #ddd;vertical-align:top}\
td.n{text-align:right;white-space:nowrap}.good{color:#11662d}.bad{color:#a5101a;font-weight:600}\
.quiet{color:#666}svg{display:block}pre{margin:.2rem 0;white-space:pre-wrap;font-size:.8rem;color:#444}\
@media print{body{margin:0}details{display:block}}";

/// The report as one page of HTML.
pub fn page(r: &Report) -> String {
    let mut o = String::new();
    let verdict = if r.passed() { "<b class=good>passed</b>" } else { "<b class=bad>did not pass</b>" };
    let _ = write!(
        o,
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>Acceptance of {site}</title>\n<style>{STYLE}</style>\n\
         <h1>Acceptance of {site}: {verdict}</h1>\n<p>{} node{} of {domain}. Broken on purpose from {} to {} UTC by {}; \
         plan {} ({}), Bootstead {}.</p>\n",
        r.nodes,
        if r.nodes == 1 { "" } else { "s" },
        moment(r.begun),
        moment(r.ended),
        html(&r.by),
        r.generation,
        html(r.digest.get(..12).unwrap_or(&r.digest)),
        html(&r.version),
        site = html(&r.site),
        domain = html(&r.domain),
    );
    o.push_str("<table><tr><th>What was broken<th>Where<th>Longest outage<th>Whole again<th></tr>\n");
    for t in &r.trials {
        let longest = t.probes.iter().map(|p| p.longest).max().unwrap_or(0);
        let lost = t.probes.iter().any(|p| p.lost);
        let _ = writeln!(
            o,
            "<tr><td>{}<td>{}<td class=n>{}<td class=n>{}<td>{}</tr>",
            html(&t.title),
            html(&t.node),
            if lost { "did not return".to_string() } else { seconds(longest) },
            t.whole.map_or("not in time".to_string(), seconds),
            if t.wrong.is_empty() { "<b class=good>passed</b>" } else { "<b class=bad>failed</b>" },
        );
    }
    for name in &r.not_run {
        let _ = writeln!(o, "<tr><td>{}<td><td><td><td><b class=bad>not run</b></tr>", html(name));
    }
    o.push_str("</table>\n");
    for t in &r.trials {
        trial(&mut o, t);
    }
    checks(&mut o, r);
    o.push_str("</html>\n");
    o
}

fn trial(o: &mut String, t: &Trial) {
    let _ = writeln!(
        o,
        "<h2>{} <span class=quiet>{} on {}</span></h2>\n<p>At {} UTC. Allowed: {} of outage, whole after {}.</p>",
        html(&t.title),
        html(&t.name),
        html(&t.node),
        moment(t.broken),
        seconds(t.outage_limit),
        seconds(t.back_limit),
    );
    for w in &t.wrong {
        let _ = writeln!(o, "<p class=bad>{}</p>", html(w));
    }
    o.push_str("<table><tr><th>What users see<th>Longest outage<th>Failed<th>Seen from<th>Time</tr>\n");
    let last = t.probes.iter().map(|p| p.until).max().unwrap_or(1).max(1);
    for p in &t.probes {
        let over = p.lost || p.longest > t.outage_limit;
        let _ = writeln!(
            o,
            "<tr><td>{}{}<td class=\"n {}\">{}<td class=n>{} of {}<td>{}<td>{}</tr>",
            html(&p.title),
            p.why.as_ref().map(|w| format!("<div class=quiet>{}</div>", html(w))).unwrap_or_default(),
            if over { "bad" } else { "" },
            if p.lost { "did not return".to_string() } else { seconds(p.longest) },
            p.failed,
            p.asked,
            html(&p.from),
            bar(p, last),
        );
    }
    o.push_str("</table>\n");
}

/// A strip of time from two seconds before the break: green where it answered, red where not.
fn bar(p: &Probed, last: i64) -> String {
    const WIDE: i64 = 260;
    let begin = -2000;
    let x = |at: i64| (at.clamp(begin, last) - begin) * WIDE / (last - begin).max(1);
    let mut svg = format!(
        "<svg width={WIDE} height=14 role=img><rect width={} height=14 fill=#8cc79b />",
        x(p.until).max(1)
    );
    for (from, until) in &p.outages {
        let _ = write!(
            svg,
            "<rect x={} width={} height=14 fill=#c9303c><title>{} to {}</title></rect>",
            x(*from),
            (x(*until) - x(*from)).max(2),
            seconds((*from).max(0) as u64),
            seconds((*until).max(0) as u64),
        );
    }
    let _ = write!(svg, "<rect x={} width=1 height=14 fill=#000 /></svg>", x(0));
    svg
}

fn checks(o: &mut String, r: &Report) {
    let bad = r.checks.iter().filter(|c| c.failed.is_some()).count();
    let _ = writeln!(
        o,
        "<h2>The cluster afterwards <span class=quiet>{} checks, {bad} failed</span></h2>\n<table>",
        r.checks.len()
    );
    for c in &r.checks {
        let (class, word) = match &c.failed {
            None => ("good", "passed"),
            Some(_) => ("bad", "failed"),
        };
        let _ = writeln!(
            o,
            "<tr><td>{}<td>{}<td class={class}>{word}<td><details><summary>what it printed</summary><pre>{}</pre></details></tr>",
            html(&c.title),
            html(&c.node),
            html(c.output.trim()),
        );
    }
    o.push_str("</table>\n");
}

/// `2026-01-02 03:04:05`
fn moment(t: Timestamp) -> String {
    t.to_string().replace('T', " ").chars().take(19).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let probe = |id: &str, longest, outages, lost| Probed {
            id: id.to_string(),
            title: format!("{id} answers"),
            from: "ctl1".to_string(),
            asked: 100,
            failed: 9,
            longest,
            outages,
            until: 20_000,
            lost,
            why: Some("connection <refused>".to_string()),
        };
        let begun = Timestamp(1_790_000_000_000);
        Report {
            site: "lab & co".to_string(),
            domain: "example".to_string(),
            begun,
            ended: begun.plus_secs(90),
            by: "ann".to_string(),
            version: "0.1.0".to_string(),
            generation: 3,
            digest: "ab".repeat(32),
            nodes: 5,
            trials: vec![Trial {
                name: "vip.power".to_string(),
                title: "The power of the address's holder".to_string(),
                node: "ctl2".to_string(),
                broken: begun.plus_secs(5),
                probes: vec![
                    probe("keystone", 2345, vec![(10, 2355)], false),
                    probe("nova", 7000, vec![(10, 7010)], true),
                ],
                outage_limit: 10_000,
                back_limit: 300_000,
                whole: Some(61_000),
                wrong: Vec::new(),
            }],
            not_run: Vec::new(),
            checks: vec![Checked {
                node: "ctl1".to_string(),
                title: "Galera".to_string(),
                failed: None,
                output: "3 members".to_string(),
            }],
        }
    }

    #[test]
    fn the_page_stands_alone_and_nothing_breaks_out_of_it() {
        let page = page(&report());
        assert!(page.contains("lab &amp; co") && page.contains("connection &lt;refused&gt;"));
        assert!(!page.contains("src=") && !page.contains("href="), "it needs nothing else");
        assert!(page.contains("2.3 s") && page.contains("did not return"));
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }

    #[test]
    fn a_report_passes_only_whole() {
        let passed = report();
        assert!(passed.passed());
        let mut r = passed.clone();
        r.not_run.push("galera.member".to_string());
        assert!(!r.passed(), "a drill that did not run proves nothing");
        let mut r = passed.clone();
        r.trials[0].wrong.push("too slow".to_string());
        assert!(!r.passed());
        let mut r = passed.clone();
        r.checks[0].failed = Some("two members".to_string());
        assert!(!r.passed());
        let mut r = passed;
        r.trials.clear();
        assert!(!r.passed(), "nothing was broken");
    }
}
