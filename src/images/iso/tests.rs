//! The reader against images made here, and against anything at all.

use super::writer::{Entry, write};
use super::*;
use proptest::prelude::*;

fn sample() -> Vec<u8> {
    let long = format!("{}.rpm", "a-long-package-name".repeat(5));
    write(&[
        (".treeinfo", Entry::File(b"[general]".to_vec())),
        (&format!("BaseOS/Packages/{long}"), Entry::File(vec![7; 5000])),
        ("images/big.img", Entry::Pieces(vec![vec![1; 2048], vec![2; 100]])),
        ("a/b/c/d/e/f/g/h/i/deep", Entry::File(b"deep".to_vec())),
        ("images/link", Entry::Link("../a/b/c/d/e/f/g/h/i/deep".into())),
        ("folder", Entry::Link("a/b/c".into())),
        ("empty", Entry::File(vec![])),
    ])
}

#[test]
fn every_file_is_found_under_its_long_name_with_all_its_extents() {
    let image = sample();
    let index = index(image.as_slice()).unwrap();
    assert_eq!(index.volume, "TEST-VOLUME");
    let read = |path: &str| read_small(image.as_slice(), index.get(path).unwrap(), 1 << 20).unwrap();
    assert_eq!(read(".treeinfo"), b"[general]");
    let big = index.get("images/big.img").unwrap();
    assert_eq!((big.size, big.extents.len()), (2148, 2));
    assert_eq!(read("images/big.img"), [vec![1u8; 2048], vec![2; 100]].concat());
    assert_eq!(read("images/link"), b"deep");
    assert_eq!(read("folder/d/e/f/g/h/i/deep"), b"deep");
    assert_eq!(read("empty"), b"");
    assert!(index.files.keys().any(|p| p.len() > 100 && p.ends_with("name.rpm")));
    assert!(index.get("images/nothing").is_none());
}

#[test]
fn an_image_that_is_cut_off_says_which_file() {
    let image = sample();
    let error = index(&image[..image.len() - 4096]).unwrap_err();
    assert!(error.contains("cut off"), "{error}");
    assert!(index(&image[..1000]).unwrap_err().contains("no ISO 9660"));
}

#[test]
fn links_in_a_circle_lead_nowhere() {
    let image = write(&[("a", Entry::Link("b".into())), ("b", Entry::Link("a".into()))]);
    assert_eq!(index(image.as_slice()).unwrap().get("a"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_images_never_panic_and_places_stay_inside(
        hits in proptest::collection::vec((32768usize..70000, any::<u8>()), 1..30),
        cut in 30000usize..80000,
    ) {
        let mut image = sample();
        for (at, value) in hits {
            if let Some(b) = image.get_mut(at) {
                *b = value;
            }
        }
        image.truncate(cut);
        if let Ok(index) = index(image.as_slice()) {
            for (path, place) in &index.files {
                prop_assert!(super::super::manifest::is_safe_path(path));
                prop_assert_eq!(place.extents.iter().map(|e| e.1).sum::<u64>(), place.size);
                prop_assert!(place.extents.iter().all(|e| e.0 + e.1 <= image.len() as u64));
            }
        }
    }
}
