//! Owns how a part declares its secrets: what each is made of, and how a new value may take the old one's place.

use super::Part;
use crate::problem::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a secret is made of. All are letters, digits, `-`, `_`, `=`, so no file needs to quote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// 32 hexadecimal digits.
    Password,
    /// 32 bytes in URL-safe base64 with padding, as Fernet keys are.
    Fernet,
    /// An RFC 9562 UUID (version 8: made from the site's key).
    Uuid,
    /// 20 capital letters, as Erlang cookies are.
    Cookie,
}

/// How a new value takes the old one's place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rotate {
    /// As any other change: file by file, services by turns.
    #[default]
    Steps,
    /// Members with different values harm each other: every file is written first, then all restart at the same time.
    Together,
    /// Only with what the sentence says done by a person.
    ByHand,
    /// What was made with it would be lost.
    Never,
}

/// One line of `[secrets]`: `name = "password"`, or a table where a new value needs thought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Declared {
    Plain(SecretKind),
    Table {
        kind: SecretKind,
        #[serde(default)]
        rotate: Rotate,
        /// One sentence: what a rotation costs, what is to be done by hand, or why there is none.
        why: String,
    },
}

impl Declared {
    pub fn kind(&self) -> SecretKind {
        match self {
            Declared::Plain(kind) | Declared::Table { kind, .. } => *kind,
        }
    }
    /// What it says about rotation; the part that makes the secret says it, the others only name it.
    pub fn way(&self) -> Option<(Rotate, &str)> {
        match self {
            Declared::Plain(_) => None,
            Declared::Table { rotate, why, .. } => Some((*rotate, why)),
        }
    }
}

/// How this secret is rotated, and the sentence about it, if there is one.
pub fn way<'a>(parts: &'a BTreeMap<String, Part>, name: &str) -> (Rotate, Option<&'a str>) {
    let said = parts.values().filter_map(|p| p.secrets.get(name)).find_map(Declared::way);
    said.map_or((Rotate::Steps, None), |(rotate, why)| (rotate, Some(why)))
}

/// Whether the parts agree with each other and with themselves about their secrets.
pub(super) fn judge(parts: &BTreeMap<String, Part>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, (&str, &Declared)> = BTreeMap::new();
    for part in parts.values() {
        let mut say = |what: String| {
            problems.push(Problem::input(format!("profiles/parts/{}/part.toml: {what}", part.name)));
        };
        for (name, secret) in &part.secrets {
            if secret.way().is_some_and(|(_, why)| why.trim().is_empty()) {
                say(format!("the secret {name} needs a sentence in `why`"));
            }
            let Some((other, first)) = seen.get(name.as_str()).copied() else {
                seen.insert(name, (&part.name, secret));
                continue;
            };
            if first.kind() != secret.kind() {
                say(format!("the secret {name} is of another kind than in the part {other}"));
            }
            match (first.way(), secret.way()) {
                (Some(_), Some(_)) if first != secret => {
                    say(format!("the secret {name} is rotated in another way than in the part {other}"));
                }
                (None, Some(_)) => {
                    seen.insert(name, (&part.name, secret));
                }
                _ => {}
            }
        }
    }
    for part in parts.values().filter(|p| p.quorum) {
        for name in part.secrets.keys().filter(|n| way(parts, n).0 == Rotate::Together) {
            let what =
                format!("profiles/parts/{}/part.toml: the secret {name} cannot change together", part.name);
            problems.push(
                Problem::input(what)
                    .why("the members vote, and are never restarted at the same time")
                    .help("write `rotate = \"by-hand\"` with the recipe in `why`"),
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Origin, Tree};

    fn read(texts: &[(&str, &str)]) -> (BTreeMap<String, Part>, String) {
        let mut tree = Tree::empty();
        for (name, text) in texts {
            let path = format!("profiles/parts/{name}/part.toml");
            tree.put(&path, format!("summary = \"x\"\n{text}").into_bytes(), Origin::Embedded);
        }
        let (parts, problems) = super::super::part::read(&tree);
        (parts, problems.iter().map(|p| format!("{p}\n")).collect())
    }

    #[test]
    fn the_part_that_makes_a_secret_says_how_it_is_rotated_and_the_others_name_it() {
        let (parts, problems) = read(&[
            ("a", "[secrets]\none = \"password\"\ntwo = \"cookie\"\n"),
            ("b", "[secrets]\none = { kind = \"password\", rotate = \"never\", why = \"lost.\" }\n"),
        ]);
        assert_eq!(problems, "");
        assert_eq!(way(&parts, "one"), (Rotate::Never, Some("lost.")));
        assert_eq!(way(&parts, "two"), (Rotate::Steps, None));
    }

    #[test]
    fn parts_that_disagree_are_refused() {
        let (_, problems) = read(&[
            (
                "a",
                "[secrets]\none = { kind = \"password\", rotate = \"never\", why = \"lost.\" }\ntwo = \"cookie\"\n",
            ),
            ("b", "[secrets]\none = { kind = \"password\", why = \" \" }\ntwo = \"uuid\"\n"),
            (
                "c",
                "quorum = true\n[secrets]\nq = { kind = \"password\", rotate = \"together\", why = \"x.\" }\n",
            ),
        ]);
        for said in [
            "b/part.toml: the secret one needs a sentence",
            "one is rotated in another way than in the part a",
            "two is of another kind than in the part a",
            "c/part.toml: the secret q cannot change together",
        ] {
            assert!(problems.contains(said), "{said}: {problems}");
        }
    }
}
