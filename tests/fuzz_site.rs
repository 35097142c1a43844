//! No file panics the check: random bytes, and sound files with parts cut out, doubled and exchanged.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::site::{self, Catalog, Files, Table};
use bootstead::tree::Tree;
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::read(&Tree::embedded()).unwrap());

fn fixture(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// Every problem can be printed, and there is a site exactly where there is no error.
fn sound(files: &Files) {
    let (site, problems) = site::check(files, &CATALOG);
    assert_eq!(site.is_some(), problems.errors() == 0, "{problems}");
    let _ = problems.to_string();
}

fn with_table(bytes: Vec<u8>) -> Files {
    let mut files = Files::only("site.toml", &fixture("big.toml"));
    files.tables.push(Table { name: "nodes".into(), bytes: Some(bytes) });
    files
}

/// `text` with pieces moved about: keeps enough of its shape to get past the first checks.
fn mangled(text: String) -> impl Strategy<Value = String> {
    let len = text.len();
    prop::collection::vec((0..len, 0..40usize, 0..len, any::<bool>()), 1..8).prop_map(move |edits| {
        let mut bytes = text.clone().into_bytes();
        for (from, count, to, keep) in edits {
            let from = from.min(bytes.len());
            let end = (from + count).min(bytes.len());
            let piece: Vec<u8> = match keep {
                true => bytes[from..end].to_vec(),
                false => bytes.drain(from..end).collect(),
            };
            let to = to.min(bytes.len());
            bytes.splice(to..to, piece);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_no_panic(text in ".{0,200}") {
        sound(&Files::only("site.toml", &text));
    }

    #[test]
    fn a_mangled_site_is_no_panic(
        text in prop_oneof![
            mangled(fixture("sites/three-roles/site.toml")),
            mangled(fixture("broken/roles.toml")),
            mangled(fixture("broken/networks.toml")),
        ],
    ) {
        let mut files = Files::only("site.toml", &text);
        let nodes = fixture("sites/three-roles/nodes.csv").into_bytes();
        files.tables.push(Table { name: "nodes.csv".into(), bytes: Some(nodes) });
        sound(&files);
    }

    #[test]
    fn a_random_table_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        sound(&with_table(bytes));
    }

    #[test]
    fn a_mangled_table_is_no_panic(text in mangled(fixture("sites/three-roles/nodes.csv"))) {
        sound(&with_table(text.into_bytes()));
    }

    #[test]
    fn what_only_begins_like_a_workbook_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut all = b"PK\x03\x04".to_vec();
        all.extend(bytes);
        sound(&with_table(all));
    }
}
