//! Owns files over HTTP: conditions and ranges (RFC 9110 sections 13 and 14), exact lengths, strong tags. Pure,
//! but for the file handle that it passes on.

use super::reply::{Content, Reply};
use crate::shelf::Served;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName};

/// What of a representation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// First byte and length.
    Part(u64, u64),
    Unsatisfiable,
    NotModified,
}

/// The reply to a request with `headers` for a file.
pub fn file(headers: &HeaderMap, served: &Served, name: &str) -> Reply {
    let tag = format!("\"{}\"", served.sha256);
    let reply = match wanted(headers, &tag, served.size) {
        Wanted::NotModified => Reply::empty(StatusCode::NOT_MODIFIED),
        Wanted::Unsatisfiable => Reply::text(StatusCode::RANGE_NOT_SATISFIABLE, "there are no such bytes\n")
            .with(header::CONTENT_RANGE, format!("bytes */{}", served.size)),
        Wanted::Whole => {
            Reply::new(StatusCode::OK, kind(name), Content::File(served.file.clone(), served.extents.clone()))
        }
        Wanted::Part(first, len) => {
            let parts = served.range(first, first + len);
            Reply::new(StatusCode::PARTIAL_CONTENT, kind(name), Content::File(served.file.clone(), parts))
                .with(header::CONTENT_RANGE, format!("bytes {first}-{}/{}", first + len - 1, served.size))
        }
    };
    reply.with(header::ETAG, tag).with(header::ACCEPT_RANGES, "bytes".to_string())
}

fn wanted(headers: &HeaderMap, tag: &str, size: u64) -> Wanted {
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let lists = |list: &str| list.split(',').any(|t| matches!(t.trim(), "*") || t.trim() == tag);
    if text(header::IF_NONE_MATCH).is_some_and(lists) {
        return Wanted::NotModified;
    }
    let Some(range) = text(header::RANGE) else { return Wanted::Whole };
    // A part of something else than the client has is of no use to it (RFC 9110 section 13.1.5). Dates are
    // never equal: we send none.
    if text(header::IF_RANGE).is_some_and(|t| t.trim() != tag) {
        return Wanted::Whole;
    }
    parse_range(range, size)
}

/// One range of bytes. Several ranges, other units and nonsense are answered with the whole, as RFC 9110 allows.
fn parse_range(range: &str, size: u64) -> Wanted {
    let Some(spec) = range.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::Whole };
    let number = |s: &str| {
        let s = s.trim();
        if s.bytes().all(|b| b.is_ascii_digit()) { s.parse::<u64>().ok() } else { None }
    };
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            None => Wanted::Whole,
            Some(0) => Wanted::Unsatisfiable,
            Some(_) if size == 0 => Wanted::Unsatisfiable,
            Some(n) => Wanted::Part(size - n.min(size), n.min(size)),
        },
        (first, last) => match (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first > last => Wanted::Whole,
            (Some(first), Some(_)) if first >= size => Wanted::Unsatisfiable,
            (Some(first), Some(last)) => Wanted::Part(first, last.min(size - 1) - first + 1),
            _ => Wanted::Whole,
        },
    }
}

/// The media type by the name's end. Firmware looks at `.efi` and `.iso` (UEFI 2.10 section 24.7.3).
pub fn kind(name: &str) -> &'static str {
    let lower = name.to_ascii_lowercase();
    match lower.rsplit_once('.').map(|(_, end)| end) {
        Some("efi") => "application/efi",
        Some("iso") => "application/vnd.efi-iso",
        Some("img") if lower.contains("efi") => "application/vnd.efi-img",
        Some("ipxe" | "cfg" | "ks" | "txt") => "text/plain; charset=utf-8",
        Some("xml") => "text/xml",
        Some("rpm") => "application/x-rpm",
        Some("json" | "ign") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_as_installers_ask_for_them() {
        let r = |s| parse_range(s, 100);
        assert_eq!(r("bytes=0-9"), Wanted::Part(0, 10));
        assert_eq!(r("bytes=90-"), Wanted::Part(90, 10));
        assert_eq!(r("bytes=90-1000"), Wanted::Part(90, 10));
        assert_eq!(r("bytes=-10"), Wanted::Part(90, 10));
        assert_eq!(r("bytes=-1000"), Wanted::Part(0, 100));
        assert_eq!(r("bytes=100-"), Wanted::Unsatisfiable);
        assert_eq!(r("bytes=-0"), Wanted::Unsatisfiable);
        for whole in
            ["bytes=0-1,5-6", "lines=1-2", "bytes=9-1", "bytes=x-", "bytes=+1-2", "bytes=", "bytes=-"]
        {
            assert_eq!(r(whole), Wanted::Whole, "{whole}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn conditions() {
        let headers = |pairs: &[(HeaderName, &str)]| {
            pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect::<HeaderMap>()
        };
        let w = |pairs: &[(HeaderName, &str)]| wanted(&headers(pairs), "\"t\"", 10);
        assert_eq!(w(&[(header::RANGE, "bytes=2-3"), (header::IF_RANGE, "\"t\"")]), Wanted::Part(2, 2));
        assert_eq!(w(&[(header::RANGE, "bytes=2-3"), (header::IF_RANGE, "\"other\"")]), Wanted::Whole);
        assert_eq!(w(&[(header::IF_NONE_MATCH, "\"a\", \"t\"")]), Wanted::NotModified);
    }

    proptest! {
        /// A part is never empty and always inside.
        #[test]
        fn parts_are_inside(range in "bytes=[0-9]{0,4}-[0-9]{0,20}", size in 0u64..5000) {
            if let Wanted::Part(first, len) = parse_range(&range, size) {
                prop_assert!(len > 0 && first + len <= size);
            }
        }
    }
}
