//! Owns the site file's shape: TOML → `wire::SiteFile`, with every unknown key, wrong type and missing key at once.
//!
//! serde stops at the first mistake. So the document is first walked beside the schema; what does not fit is
//! reported and cut out, and what is left always reads.

use super::report::{Cut, Report, Tell as _, Where};
use super::schema::{choices, resolve, schema};
use super::wire::SiteFile;
use serde_json::Value;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads the site file's text. What does not fit is reported and left out; `None` where it is not TOML.
pub fn read(report: &mut Report, text: &str) -> Option<SiteFile> {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    for e in &errors {
        let at = Where::Toml(e.span().unwrap_or(0..0));
        if e.message().contains("duplicate key")
            && let Some(span) = e.span()
            && let Some(twice) = twice(text, span)
        {
            // The keys of a table that is there twice are no mistakes of their own.
            if let Some((what, first)) = twice {
                let there = report.line(&Where::Toml(first));
                report
                    .error(at, format!("{what} is there twice"))
                    .because(format!("the first one is in {there}"))
                    .so("keep one of them, with all that is meant; or give this one another name");
            }
            continue;
        }
        report
            .error(at, format!("this is not TOML: {}", e.message().replace('\n', ", ")))
            .so("lines are `[table]` or `key = value`; a text stands in quotes, a list in brackets: [\"a\", \"b\"]");
    }
    // What a damaged file seems to lack or to have too much of is mostly not true.
    if !errors.is_empty() {
        return None;
    }
    let empty = text.len()..text.len();
    walk_table(report, schema(), document.get_mut(), "", empty);
    let whole = Spanned::new(document.span(), document.into_inner());
    match serde::Deserialize::deserialize(toml::de::Deserializer::from(whole)) {
        Ok(file) => Some(file),
        Err(e) => {
            let e: toml::de::Error = e;
            report
                .error(Where::Toml(e.span().unwrap_or(0..0)), e.message().to_string())
                .so("docs/site-file.md shows how it is written");
            None
        }
    }
}

/// What stands at `span` and was written before, and where that is. Inside: none where it is only a key of a table that is
/// there twice.
fn twice(text: &str, span: Range<usize>) -> Option<Option<(String, Range<usize>)>> {
    let key = text.get(span.clone())?;
    let start = text[..span.start].rfind('\n').map_or(0, |i| i + 1);
    let bare = |line: &str| line.split('#').next().unwrap_or_default().trim().to_string();
    let lines: Vec<(usize, &str)> = text[..start]
        .split_inclusive('\n')
        .scan(0, |at, line| {
            let begin = *at;
            *at += line.len();
            Some((begin, line))
        })
        .collect();
    let is_header = |line: &str| line.trim_start().starts_with('[');
    let before = |header: &str| lines.iter().filter(|(_, l)| is_header(l) && bare(l) == bare(header)).count();
    let place = |(at, line): &(usize, &str)| *at..at + line.trim_end().len();
    let line = text[start..].lines().next()?;
    if is_header(line) {
        let first = lines.iter().find(|(_, l)| is_header(l) && bare(l) == bare(line))?;
        return Some(Some((bare(line), place(first))));
    }
    let here = lines.iter().rev().take_while(|(_, l)| !is_header(l));
    let same = |l: &str| l.trim_start().strip_prefix(key).is_some_and(|r| r.trim_start().starts_with('='));
    if let Some(first) = here.into_iter().find(|(_, l)| same(l)) {
        return Some(Some((key.to_string(), place(first))));
    }
    let header = lines.iter().rev().find(|(_, l)| is_header(l))?;
    (before(header.1) > 1).then_some(None)
}

/// Whether `value` fits `schema`; reports where not. `path` is for people: `role.compute.disk`.
fn walk<'i>(
    report: &mut Report,
    schema: &'static Value,
    value: &mut Spanned<DeValue<'i>>,
    path: &str,
) -> bool {
    let example = schema.get("examples").and_then(|e| e.get(0));
    let schema = resolve(schema);
    let span = value.span();
    let names = choices(schema);
    if !names.is_empty() {
        return match value.get_ref() {
            DeValue::String(s) if names.iter().any(|(n, _)| *n == &**s) => true,
            DeValue::String(s) => {
                let s = s.to_string();
                report
                    .error(Where::Toml(span), format!("{path} cannot be {s:?}"))
                    .meant(&s, names.iter().map(|(n, _)| *n));
                false
            }
            other => wrong_type(report, span, path, ("a text", example), other),
        };
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(t)) => vec![t],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => return true,
    };
    let kind = match value.get_ref() {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Boolean(_) => "boolean",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
        DeValue::Float(_) => "number",
        DeValue::Datetime(_) => "date",
    };
    if !types.contains(&kind) {
        let wanted = types.iter().map(|t| for_people(t)).collect::<Vec<_>>().join(" or ");
        return wrong_type(report, span, path, (&wanted, example), value.get_ref());
    }
    match value.get_mut() {
        DeValue::Integer(i) => {
            let digits = i.as_str().replace('_', "");
            let number = i128::from_str_radix(&digits, i.radix()).unwrap_or(i128::MAX);
            let bound = |key| schema.get(key).and_then(Value::as_f64).map(|f| f as i128);
            // serde's own limits for the format, where the schema does not spell the upper one out.
            let top = bound("maximum").unwrap_or(match schema.get("format").and_then(Value::as_str) {
                Some("uint32") => i128::from(u32::MAX),
                _ => i128::from(i64::MAX),
            });
            let low = bound("minimum").unwrap_or(i128::from(i64::MIN));
            if (low..=top).contains(&number) {
                return true;
            }
            report
                .error(Where::Toml(span), format!("{path} is out of range"))
                .so(format!("write a whole number from {low} to {top}"));
            false
        }
        DeValue::Array(items) => {
            let Some(item) = schema.get("items") else { return true };
            let mut kept = toml::de::DeArray::new();
            for (i, mut v) in std::mem::replace(items, toml::de::DeArray::new()).into_iter().enumerate() {
                if walk(report, item, &mut v, &format!("{path}[{i}]")) {
                    kept.push(v);
                }
            }
            *items = kept;
            true
        }
        DeValue::Table(table) => {
            walk_table(report, schema, table, path, span);
            true
        }
        _ => true,
    }
}

fn walk_table<'i>(
    report: &mut Report,
    schema: &'static Value,
    table: &mut DeTable<'i>,
    path: &str,
    span: std::ops::Range<usize>,
) {
    let known = schema.get("properties").and_then(Value::as_object);
    let rest = schema.get("additionalProperties").filter(|r| r.is_object());
    let here = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    let mut cut = Vec::new();
    for (key, value) in table.iter_mut() {
        let name = key.get_ref().to_string();
        match known.and_then(|k| k.get(&name)).or(rest) {
            Some(s) => {
                if !walk(report, s, value, &here(&name)) {
                    report.cut.push(Cut { path: here(&name), span: key.span() });
                    cut.push(name);
                }
            }
            None => {
                let all: Vec<&str> = known.into_iter().flat_map(|k| k.keys()).map(String::as_str).collect();
                let whose = if path.is_empty() { "the site file".to_string() } else { format!("[{path}]") };
                report
                    .error(Where::Toml(key.span()), format!("{whose} has no key {name:?}"))
                    .meant(&name, all);
                report.cut.push(Cut { path: here(&name), span: key.span() });
                cut.push(name);
            }
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        // A key that is one typing error away is reported already.
        let misspelt = || cut.iter().any(|c| crate::problem::did_you_mean(c, [name]).is_some());
        if !table.contains_key(name) && !misspelt() {
            let about = known
                .and_then(|k| k.get(name))
                .and_then(|s| s.get("description"))
                .and_then(Value::as_str)
                .map(|d| d.replace('\n', " "));
            let what = match path {
                "" => format!("the site file has no [{name}]"),
                _ => format!("[{path}] has no {name}"),
            };
            let problem = report.error(Where::Toml(span.clone()), what);
            if let Some(about) = about {
                problem.because(about);
            }
            problem.so(match path {
                "" => format!("add a table [{name}]; `bootstead init DIR` writes an example"),
                _ => format!("add `{name} = …`"),
            });
        }
    }
    for name in cut {
        table.remove(name.as_str());
    }
}

fn wrong_type(
    report: &mut Report,
    span: std::ops::Range<usize>,
    path: &str,
    (wanted, example): (&str, Option<&Value>),
    got: &DeValue,
) -> bool {
    let got = match got {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let help = match (wanted, got) {
        ("a list", "a text") => "put it in brackets: [\"…\"]".to_string(),
        ("a text", _) => "put it in quotes: \"…\"".to_string(),
        ("a whole number", "a text") => "write it without quotes".to_string(),
        ("true or false", "a text") => "write it without quotes".to_string(),
        _ => match example {
            Some(example) => {
                format!("write for example {} = {}", path.rsplit('.').next().unwrap_or(path), inline(example))
            }
            None => "docs/site-file.md shows how it is written".to_string(),
        },
    };
    report.error(Where::Toml(span), format!("{path} must be {wanted}, not {got}")).so(help);
    false
}

/// A value of the schema as TOML on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k} = {}", inline(v))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn for_people(kind: &str) -> &'static str {
    match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a table",
    }
}

/// The tables of nodes that the site file names: their names, and whether it names them itself.
///
/// Without a word about it in the file, `nodes.csv` and `nodes.xlsx` count where they exist.
pub fn table_names(text: &str) -> (Vec<String>, bool) {
    let (document, _) = DeTable::parse_recoverable(text);
    let list = document.get_ref().get("site").and_then(|s| s.get_ref().get("nodes")).map(Spanned::get_ref);
    match list {
        Some(DeValue::Array(names)) => {
            (names.iter().filter_map(|n| n.get_ref().as_str()).map(str::to_string).collect(), true)
        }
        _ => (vec!["nodes.csv".to_string(), "nodes.xlsx".to_string()], false),
    }
}
