//! Owns the pages of roles and parts, made from their data: what people read before they use or change one. Markdown.

use super::part::{CheckRow, On, Part, Row, Serial, Wanted};
use super::secret::Rotate;
use super::{Profile, Var};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A role's page: what its installation makes, and its parts.
pub fn role(profile: &Profile, parts: &BTreeMap<String, Part>) -> String {
    let mut o = format!("## Role `{}`\n\n{}.\n", profile.name, profile.summary.trim_end_matches('.'));
    let mut row = |what: &str, text: String| {
        if !text.is_empty() {
            let _ = write!(o, "\n- {what}: {text}");
        }
    };
    let c = &profile.count;
    row(
        "how many",
        match (c.min, c.max, c.quorum) {
            (0, None, false) => String::new(),
            (min, max, quorum) => {
                let most = max.map_or(String::new(), |m| format!(", at most {m}"));
                format!("at least {min}{most}{}", if quorum { ", an odd number: they vote" } else { "" })
            }
        },
    );
    for (manager, names) in &profile.packages {
        row(&format!("packages ({manager})"), code(names));
    }
    row("services", code(&profile.services));
    row("open ports", code(&profile.ports));
    let volumes: Vec<String> = profile.volumes.iter().map(|v| format!("`{}`", v.mount)).collect();
    row("file systems", volumes.join(" "));
    let known = profile.parts.iter().map(|p| match parts.contains_key(p) {
        true => format!("[`{p}`](#part-{p})"),
        false => format!("`{p}`"),
    });
    row("parts", known.collect::<Vec<_>>().join(" "));
    o.push('\n');
    vars(&mut o, &profile.vars);
    o
}

/// A part's page: what it needs and opens, its variables, secrets, steps, checks and drills.
pub fn part(part: &Part) -> String {
    let mut o = format!("## Part `{}`\n\n{}.\n", part.name, part.summary.trim_end_matches('.'));
    let mut row = |what: &str, text: String| {
        if !text.is_empty() {
            let _ = write!(o, "\n- {what}: {text}");
        }
    };
    row("members", if part.quorum { "an odd number: they vote".to_string() } else { String::new() });
    row(
        "growth",
        if part.grows {
            "nodes are added at any time and stand in nobody else's files".to_string()
        } else {
            String::new()
        },
    );
    row("virtual addresses of the site", code(&part.vips));
    row("needs on the same node", code(&part.needs));
    row("needs somewhere in the site", code(&part.elsewhere));
    row("open ports", code(&part.ports));
    row("secrets", code(&part.secrets.keys().cloned().collect::<Vec<_>>()));
    o.push('\n');
    vars(&mut o, &part.vars);
    if !part.steps.is_empty() {
        o.push_str("\n| step | what | on | after | why |\n|---|---|---|---|---|\n");
    }
    for s in &part.steps {
        let after: Vec<String> = s
            .after
            .iter()
            .map(|a| format!("`{a}`"))
            .chain(s.after_all.iter().map(|a| format!("every `{a}`")))
            .chain(s.same_versions.iter().map(|a| format!("one version of every `{a}`")))
            .collect();
        let _ = writeln!(
            o,
            "| `{}` | {} | {} | {} | {} |",
            s.id,
            cell(&what(s)),
            on(s),
            after.join(" "),
            cell(s.why.as_deref().unwrap_or_default())
        );
    }
    let mut list = |title: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            let _ = write!(o, "\n{title}:\n\n{}\n", rows.join("\n"));
        }
    };
    list(
        "Before `bootstead secrets rotate`",
        part.secrets
            .iter()
            .filter_map(|(name, secret)| secret.way().map(|(rotate, why)| (name, rotate, why)))
            .map(|(name, rotate, why)| match rotate {
                Rotate::Steps => format!("- `{name}`: {why}"),
                Rotate::Together => format!("- `{name}`, on all nodes at the same time: {why}"),
                Rotate::ByHand => format!("- `{name}`, with something done by hand: {why}"),
                Rotate::Never => format!("- `{name}`, never: {why}"),
            })
            .collect(),
    );
    list(
        "`bootstead verify` looks at",
        part.verify.iter().map(|v| format!("- `{}.{}`: {}", part.name, v.id, v.title)).collect(),
    );
    list(
        "Drills",
        part.drills
            .iter()
            .map(|d| {
                format!(
                    "- `{}.{}`: {} (out for at most {} s, whole within {} s)",
                    part.name, d.id, d.title, d.outage, d.back
                )
            })
            .collect(),
    );
    list(
        "Measured during drills",
        part.probes.iter().map(|p| format!("- `{}.{}`: {}", part.name, p.id, p.title)).collect(),
    );
    if let Some(backup) = &part.backup {
        let back = match &backup.overwrites {
            Some(what) => format!(
                "`bootstead restore FOLDER --cluster {}` brings it back and overwrites {what}. {}",
                part.name, backup.restore
            ),
            None => format!("Bringing it back, by hand: {}", backup.restore),
        };
        let _ = write!(o, "\n`bootstead backup --cluster` takes it. {back}\n");
    }
    if part.recover.is_some() {
        let _ = write!(o, "\nWhen all members are down: `bootstead recover {}`.\n", part.name);
    }
    o
}

fn code(words: &[String]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn vars(o: &mut String, vars: &BTreeMap<String, Var>) {
    if vars.is_empty() {
        return;
    }
    o.push_str("\n| variable | default | meaning |\n|---|---|---|\n");
    for (name, var) in vars {
        let default = match var.default.as_deref() {
            None => "must be given".to_string(),
            Some("") => "empty".to_string(),
            Some(text) => format!("`{}`", cell(text)),
        };
        let _ = writeln!(o, "| `{name}` | {default} | {} |", cell(&var.help));
    }
}

fn on(s: &Row) -> String {
    let who = match s.on {
        On::All => "all",
        On::First => "the first",
        On::Rest => "all but the first",
        On::Once => "one, once for ever",
    };
    let turns = match s.serial {
        None => "",
        Some(Serial::Always) => ", one at a time",
        Some(Serial::Later) => ", later one at a time",
    };
    let family = if s.family.is_empty() { String::new() } else { format!(" ({})", s.family.join(", ")) };
    format!("{who}{turns}{family}")
}

fn what(s: &Row) -> String {
    if let Some(packages) = &s.packages {
        let rows: Vec<String> =
            packages.iter().map(|(m, names)| format!("{m}: {}", names.join(" "))).collect();
        format!("packages ({})", rows.join("; "))
    } else if let Some(path) = &s.file {
        format!("file `{path}`")
    } else if let Some(path) = &s.remove {
        format!("no `{path}`")
    } else if let Some(path) = &s.directory {
        format!("folder `{path}`")
    } else if let Some(path) = &s.link {
        format!("link `{path}`")
    } else if let Some(name) = &s.service {
        let state = if s.state == Some(Wanted::Stopped) { " stopped" } else { "" };
        format!("service `{name}`{state}")
    } else if let Some(values) = &s.sysctl {
        format!("sysctl {}", values.keys().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(" "))
    } else if let Some(user) = &s.user {
        format!("account `{}`", user.name)
    } else if let Some(check) = &s.wait {
        format!("waits for {}", looked_at(check))
    } else {
        "script".to_string()
    }
}

fn looked_at(c: &CheckRow) -> String {
    match (&c.tcp, &c.http, &c.file) {
        (Some(at), _, _) => format!("`{at}`"),
        (_, Some(url), _) => format!("`{url}`"),
        (_, _, Some(path)) => format!("`{path}`"),
        _ => "a script to succeed".to_string(),
    }
}
