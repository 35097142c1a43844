//! Owns TFTP file names and requests as clients really send them. Pure.

/// What a name stands for: the base name in lower case, whatever directory, slashes or bytes are around it.
///
/// `\EFI\Boot\SNPONLY.EFI`, `//snponly.efi`, `snponly.efi\xff` (a ROM that reads option 67 as a C string and takes
/// the END option with it, field-pain #19) are all `snponly.efi`. There is no folder to leave: the name is looked up
/// in a table. `None` for a name with nothing in it.
pub fn base(raw: &[u8]) -> Option<String> {
    let end = raw.iter().rposition(|b| (0x21..0x7f).contains(b))? + 1;
    let name = raw[..end].rsplit(|b| matches!(b, b'/' | b'\\')).find(|part| !part.is_empty())?;
    let name: String = name.iter().filter(|b| (0x20..0x7f).contains(*b)).map(|b| *b as char).collect();
    let name = name.trim().to_lowercase();
    (!name.is_empty() && name != "." && name != ".." && name.len() <= 128).then_some(name)
}

/// A clean read request for the same file, from one that a strict server drops without a word: names that are no
/// ASCII, bytes after the options. `None` for what is no read request at all.
pub fn clean_request(packet: &[u8]) -> Option<Vec<u8>> {
    let rest = packet.strip_prefix(&[0, 1])?;
    let mut texts = rest.split(|b| *b == 0);
    let name = base(texts.next()?)?;
    let mut out = vec![0, 1];
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\0octet\0");
    texts.next()?;
    while let (Some(option), Some(value)) = (texts.next(), texts.next()) {
        let plain = |t: &[u8]| !t.is_empty() && t.len() < 32 && t.iter().all(u8::is_ascii_graphic);
        if !plain(option) || !plain(value) {
            break;
        }
        for text in [option, value] {
            out.extend_from_slice(text);
            out.push(0);
        }
    }
    Some(out)
}

/// A clean read request that asks for blocks of at most `most` bytes; one without a block size has 512 anyway.
pub fn with_blocks_of(request: &[u8], most: u16) -> Vec<u8> {
    let mut texts = request.split(|b| *b == 0);
    let mut out = Vec::with_capacity(request.len());
    let mut option = None;
    // The opcode begins with a zero byte, so the first text is empty; the last one is, too.
    for (i, text) in texts.by_ref().enumerate() {
        if i > 0 {
            out.push(0);
        }
        match option {
            Some(true) => {
                let size = std::str::from_utf8(text).ok().and_then(|t| t.parse::<u64>().ok());
                let size = size.map_or(u64::from(most), |s| s.min(u64::from(most)));
                out.extend_from_slice(size.to_string().as_bytes());
            }
            _ => out.extend_from_slice(text),
        }
        // Texts: empty, name, mode, then options and values in turn.
        option = (i >= 3 && i % 2 == 1).then(|| text.eq_ignore_ascii_case(b"blksize"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_are_made_smaller_and_nothing_else_is_changed() {
        let request = |options: &[u8]| [b"\0\x01snponly.efi\0octet\0", options].concat();
        for (asked, gets) in [
            (&b"tsize\x000\0blksize\x001468\0"[..], &b"tsize\x000\0blksize\x001024\0"[..]),
            (b"BLKSIZE\x00512\0windowsize\x004\0", b"BLKSIZE\x00512\0windowsize\x004\0"),
            (b"blksize\0lots\0", b"blksize\x001024\0"),
            (b"x\0blksize\0", b"x\0blksize\0"),
            (b"", b""),
        ] {
            assert_eq!(with_blocks_of(&request(asked), 1024), request(gets), "{asked:?}");
        }
    }

    #[test]
    fn one_file_has_many_names() {
        for raw in [
            &b"snponly.efi"[..],
            b"/snponly.efi",
            b"//snponly.efi",
            b"\\snponly.efi",
            b"\\EFI\\Boot\\SNPONLY.EFI",
            b"/boot//SnpOnly.efi",
            b"snponly.efi\xff",
            b"snponly.efi\xff\x01\x02",
            b"../../snponly.efi",
            b"tftp/../snponly.efi ",
        ] {
            assert_eq!(base(raw).as_deref(), Some("snponly.efi"), "{raw:?}");
        }
        for none in [&b""[..], b"/", b"..", b"\xff", b"/./", b"a/.."] {
            assert!(base(none).is_none_or(|n| n == "a"), "{none:?}");
        }
        assert_eq!(base(b"/loaders/x/autoexec.ipxe").as_deref(), Some("autoexec.ipxe"));
    }

    #[test]
    fn requests_that_strict_servers_drop() {
        let clean = |p: &[u8]| clean_request(p).map(|c| String::from_utf8(c).unwrap());
        let want = Some("\0\u{1}a.efi\0octet\0blksize\x001468\0".to_string());
        assert_eq!(clean(b"\0\x01a.efi\xff\0octet\0blksize\x001468\0"), want);
        assert_eq!(clean(b"\0\x01a.efi\0octet\0blksize\x001468\0\0\0"), want);
        assert_eq!(clean(b"\0\x01a.efi\0octet\0blksize\x001468\0junk"), want);
        assert_eq!(clean(b"\0\x02a.efi\0octet\0"), None);
        assert_eq!(clean(b"\0\x01a.efi"), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_a_name_is_plain(raw in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(name) = base(&raw) {
                prop_assert!(!name.contains(['/', '\\', '\0']) && name != ".." && !name.is_empty());
                prop_assert_eq!(base(name.as_bytes()), Some(name));
            }
            if let Some(clean) = clean_request(&raw) {
                prop_assert_eq!(clean_request(&clean), Some(clean.clone()));
            }
        }
    }
}
