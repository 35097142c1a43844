//! Owns strict templates: the only user of minijinja.
//!
//! An undefined name is an error; no HTML escaping; only texts and numbers print (a flag or list that would come
//! out as `True` or `[1, 2]` is an error); each language has its quoting filter.

use super::Tree;
use crate::problem::{Place, Problem};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many template instructions one rendering may take; the largest of ours takes a hundredth of it.
const FUEL: u64 = 2_000_000;

/// A value that templates can see, prepared once and cheap to share.
#[derive(Clone)]
pub struct Shared(Value);

impl Shared {
    pub fn of(value: &impl Serialize) -> Shared {
        Shared(Value::from(Serde(value)))
    }
    /// Values that were prepared before, under names.
    pub fn map(values: &BTreeMap<&str, Shared>) -> Shared {
        Shared(Value::from(
            values.iter().map(|(k, v)| (k.to_string(), v.0.clone())).collect::<BTreeMap<_, _>>(),
        ))
    }
    /// This list without its item at `index` (from 0), looked through and not copied: each of n nodes sees the n - 1
    /// others.
    pub fn without(&self, index: usize) -> Shared {
        let len = self.0.len().unwrap_or(0);
        Shared(Value::from_object(Others { list: self.0.clone(), index, len: len.saturating_sub(1) }))
    }
}

#[derive(Debug)]
struct Others {
    list: Value,
    index: usize,
    len: usize,
}

impl Object for Others {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let i = key.as_usize().filter(|i| *i < self.len)?;
        self.list.get_item_by_index(if i < self.index { i } else { i + 1 }).ok()
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.len)
    }
}

/// The names that a rendering sees.
#[derive(Clone, Default)]
pub struct Names(BTreeMap<&'static str, Value>);

impl Names {
    pub fn set(&mut self, name: &'static str, value: Shared) {
        self.0.insert(name, value.0);
    }
    fn value(&self) -> Value {
        Value::from(self.0.iter().map(|(k, v)| (*k, v.clone())).collect::<BTreeMap<_, _>>())
    }
}

/// All templates (`*.j2`) of a tree, compiled.
pub struct Templates {
    env: Environment<'static>,
    sources: BTreeMap<String, (String, String)>,
}

impl Templates {
    /// Compiles every `*.j2` below `folder` of the tree; their names are their paths in the tree.
    ///
    /// All templates that do not compile are reported, each with its place.
    pub fn compile(tree: &Tree, folder: &str) -> Result<Templates, Vec<Problem>> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        if let Ok(syntax) =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
        {
            env.set_syntax(syntax);
        }
        env.set_fuel(Some(FUEL));
        env.set_formatter(|out, state, value| match value.kind() {
            ValueKind::String | ValueKind::Number => minijinja::escape_formatter(out, state, value),
            kind => Err(Error::new(
                ErrorKind::BadSerialization,
                format!("a {kind} cannot be printed here; join it, test it, or use a filter"),
            )),
        });
        env.add_filter("sh", |v: Value| text(&v).map(|t| quote_sh(&t)));
        env.add_filter("ks", |v: Value| text(&v).and_then(|t| quote_ks(&t)));
        env.add_filter("preseed", |v: Value| text(&v).and_then(|t| one_line(&t)));
        env.add_filter("line", |v: Value| text(&v).and_then(|t| one_line(&t)));
        env.add_filter("dataurl", |v: Value| text(&v).map(|t| data_url(&t)));
        env.add_filter("word", |v: Value| text(&v).and_then(|t| word(&t)));
        env.add_test("early", |word: String| early(&word));
        env.add_function("secret", |name: String, length: Option<u32>| match length {
            Some(n) => format!("{}{name}:{n}@@", crate::steps::SECRET),
            None => format!("{}{name}@@", crate::steps::SECRET),
        });
        env.add_function("interface", |address: Value| {
            text(&address).map(|a| format!("{}{a}@@", crate::steps::INTERFACE))
        });
        // The text is the sentence that a person reads: a value that cannot be.
        env.add_function("refuse", |why: String| Err::<String, Error>(bad(why)));
        env.add_function("has", |state: &minijinja::State, part: String| {
            let parts = state.lookup("parts").unwrap_or_default();
            parts.try_iter().map(|mut p| p.any(|p| p.as_str() == Some(&part)))
        });
        // JSON is YAML's flow style, so one filter serves both.
        env.add_filter("json", |v: Value| json(&v));
        env.add_filter("yaml", |v: Value| json(&v));
        let mut problems = Vec::new();
        let mut sources = BTreeMap::new();
        for (path, file) in tree.below(folder) {
            if !path.ends_with(".j2") {
                continue;
            }
            let name = format!("{folder}/{path}");
            let shown = match &file.origin {
                super::Origin::Embedded => name.clone(),
                super::Origin::Disk(p) => p.clone(),
            };
            match file.text() {
                Err(e) => problems.push(Problem::input(format!("template {shown}: {e}"))),
                Ok(source) => {
                    sources.insert(name.clone(), (shown.clone(), source.to_string()));
                    if let Err(e) = env.add_template_owned(name, source.to_string()) {
                        problems.push(explain(&sources, &e));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Templates { env, sources }) } else { Err(problems) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }

    /// Renders template `name` with `context`.
    pub fn render(&self, name: &str, context: &impl Serialize) -> Result<String, Problem> {
        let value = Value::from(Serde(context));
        self.env.get_template(name).and_then(|t| t.render(value)).map_err(|e| explain(&self.sources, &e))
    }

    /// Renders a text that is not a file of the tree (a command line out of a header); `shown` names it in errors.
    pub fn render_text(
        &self,
        shown: &str,
        source: &str,
        context: &impl Serialize,
    ) -> Result<String, Problem> {
        let value = Value::from(Serde(context));
        self.env.render_named_str(shown, source, value).map_err(|e| explain(&self.sources, &e))
    }

    /// Renders template `name` with names that were prepared once for many renderings.
    pub fn render_with(&self, name: &str, names: &Names) -> Result<String, Problem> {
        self.env
            .get_template(name)
            .and_then(|t| t.render(names.value()))
            .map_err(|e| explain(&self.sources, &e))
    }

    /// The same for a text that is not a file of the tree; `shown` names it in errors.
    pub fn text_with(&self, shown: &str, source: &str, names: &Names) -> Result<String, Problem> {
        // Most texts of a plan are plain paths and scripts; compiling each for each node took most of its time.
        if !["{{", "{%", "{#"].iter().any(|t| source.contains(t)) {
            return Ok(source.to_string());
        }
        self.env.render_named_str(shown, source, names.value()).map_err(|e| explain(&self.sources, &e))
    }

    /// Whether an expression is true.
    pub fn holds(&self, shown: &str, expression: &str, names: &Names) -> Result<bool, Problem> {
        self.env
            .compile_expression(expression)
            .and_then(|e| e.eval(names.value()))
            .map(|v| v.is_true())
            .map_err(|e| explain(&self.sources, &e).why(format!("in {shown}: {expression}")))
    }

    /// Names that a template uses and does not set itself (top level, `vars.x` as `vars.x`).
    pub fn undeclared(&self, name: &str) -> Vec<String> {
        let Ok(t) = self.env.get_template(name) else { return Vec::new() };
        let mut names: Vec<String> = t.undeclared_variables(true).into_iter().collect();
        names.sort();
        names
    }
}

/// minijinja's error as a problem. Never its debug form: that prints the values of all variables.
fn explain(sources: &BTreeMap<String, (String, String)>, error: &Error) -> Problem {
    // The innermost error with a line is the real one; outer ones only say "while including".
    let mut deepest: &Error = error;
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(e) = next {
        if let Some(inner) = e.downcast_ref::<Error>() {
            deepest = inner;
        }
        next = e.source();
    }
    let what = match deepest.detail() {
        Some(detail) => format!("template: {} ({detail})", deepest.kind()),
        None => format!("template: {}", deepest.kind()),
    };
    let mut problem = Problem::input(what);
    if let (Some(name), Some(line)) = (deepest.name(), deepest.line()) {
        match sources.get(name) {
            Some((shown, source)) => {
                let start: usize =
                    source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
                let range = deepest.range().filter(|r| r.start >= start && r.end <= source.len());
                let len = source[start..].find('\n').unwrap_or(source.len() - start);
                problem = problem.at(Place::of(shown, source, range.unwrap_or(start..start + len)));
            }
            None => problem = problem.why(format!("in {name}, line {line}")),
        }
    }
    if deepest.kind() == ErrorKind::UndefinedError {
        problem =
            problem.help("kickstart/README.md lists every name; declare a variable in the template's header");
    }
    problem
}

fn text(v: &Value) -> Result<String, Error> {
    match v.kind() {
        ValueKind::String | ValueKind::Number => Ok(v.to_string()),
        kind => Err(bad(format!("a {kind} cannot be quoted as text"))),
    }
}

fn bad(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

fn one_line(t: &str) -> Result<String, Error> {
    if t.chars().any(char::is_control) {
        return Err(
            bad("the text has a line break or control character, which this file cannot hold".into()),
        );
    }
    Ok(t.to_string())
}

/// One POSIX shell word.
fn quote_sh(t: &str) -> String {
    format!("'{}'", t.replace('\'', "'\\''"))
}

/// One kickstart word: Anaconda splits lines as a shell does and cuts them at an unquoted `#`.
fn quote_ks(t: &str) -> Result<String, Error> {
    one_line(t)?;
    Ok(format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A text that needs no quoting anywhere: refused if it has blanks, quotes or shell characters.
fn word(t: &str) -> Result<String, Error> {
    if t.is_empty() || !t.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/@,+=%~[]*".contains(c)) {
        return Err(bad(format!("{t:?} must be one plain word here")));
    }
    Ok(t.to_string())
}

/// Whether a kernel word is one that a machine needs to start or to show anything: it is for installers too, not only for
/// the system that they install (kernel parameters, Documentation/admin-guide/kernel-parameters.txt).
fn early(word: &str) -> bool {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    ["console", "nomodeset", "video", "pci", "acpi", "noapic"].contains(&name)
}

/// A text as an RFC 2397 URL, the way Ignition takes a file's content.
fn data_url(t: &str) -> String {
    let mut out = String::from("data:,");
    for b in t.bytes() {
        match b {
            b if b.is_ascii_alphanumeric() || b"-_.~/:,=()@!*+;".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn json(v: &Value) -> Result<String, Error> {
    serde_json::to_string(v).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Origin;

    fn one(source: &str) -> Result<String, String> {
        let mut tree = Tree::embedded();
        tree.put("t/x.j2", source.as_bytes().to_vec(), Origin::Disk("x.j2".into()));
        let t = Templates::compile(&tree, "t").map_err(|p| p[0].to_string())?;
        let ctx = BTreeMap::from([("a", Value::from("it's #1")), ("flag", Value::from(true))]);
        t.render("t/x.j2", &ctx).map_err(|p| p.to_string())
    }

    #[test]
    fn each_language_has_its_quoting() {
        assert_eq!(one("{{ a|sh }}").unwrap(), r"'it'\''s #1'");
        assert_eq!(one("{{ a|ks }}").unwrap(), r#""it's #1""#);
        assert_eq!(one("{{ a|json }}").unwrap(), r#""it's #1""#);
        assert_eq!(one("{{ a|dataurl }}").unwrap(), "data:,it%27s%20%231");
        assert_eq!(one("{{ a|line }}").unwrap(), "it's #1");
        assert!(one("{{ (a ~ '\n')|line }}").is_err());
        assert!(one("{{ a|word }}").is_err());
    }

    #[test]
    fn undefined_names_and_unprintable_values_are_errors_with_a_place() {
        let e = one("line one\n{{ nope }}\n").unwrap_err();
        assert!(e.contains("x.j2:2:"), "{e}");
        assert!(one("{{ flag }}").is_err());
        assert!(one("{% for %}").unwrap_err().contains("x.j2:1:"));
    }
}
