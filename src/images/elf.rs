//! Owns one question to an ELF file (64-bit, little endian): which shared libraries does it need?

/// The `DT_NEEDED` names of a program or library; none for anything else, however broken.
pub fn needed(bytes: &[u8]) -> Vec<String> {
    needed_names(bytes).unwrap_or_default()
}

fn needed_names(bytes: &[u8]) -> Option<Vec<String>> {
    const DT_NEEDED: u64 = 1;
    const DT_STRTAB: u64 = 5;
    // e_ident: magic, ELFCLASS64, ELFDATA2LSB
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (u64_at(bytes, 0x20)?, u16_at(bytes, 0x36)?, u16_at(bytes, 0x38)?);
    let segment = |i: u16| -> Option<[u64; 4]> {
        let at = usize::try_from(table).ok()?.checked_add(usize::from(i) * usize::from(size))?;
        let kind = u64::from(u32_at(bytes, at)?);
        Some([kind, u64_at(bytes, at + 8)?, u64_at(bytes, at + 16)?, u64_at(bytes, at + 32)?])
    };
    let segments: Vec<[u64; 4]> = (0..count).filter_map(segment).collect();
    let dynamic = segments.iter().find(|s| s[0] == 2)?;
    let (start, length) = (usize::try_from(dynamic[1]).ok()?, usize::try_from(dynamic[3]).ok()?);
    let entries = bytes.get(start..start.checked_add(length)?)?;
    let pairs: Vec<(u64, u64)> =
        entries.chunks_exact(16).filter_map(|e| Some((u64_at(e, 0)?, u64_at(e, 8)?))).collect();
    let strings = pairs.iter().find(|p| p.0 == DT_STRTAB)?.1;
    // The table is given by its address in memory; a PT_LOAD segment tells where that is in the file.
    let load = segments.iter().find(|s| s[0] == 1 && strings >= s[2] && strings - s[2] < s[3])?;
    let strings = usize::try_from(strings - load[2] + load[1]).ok()?;
    let name = |offset: u64| {
        let from = bytes.get(strings.checked_add(usize::try_from(offset).ok()?)?..)?;
        let end = from.iter().position(|b| *b == 0)?;
        std::str::from_utf8(&from[..end]).ok().map(str::to_string)
    };
    Some(pairs.iter().filter(|p| p.0 == DT_NEEDED).filter_map(|p| name(p.1)).collect())
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    b.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}
fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}
fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    b.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_test_program_needs_the_c_library() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needed(&own).iter().any(|n| n.starts_with("libc.so")), "{:?}", needed(&own));
    }

    proptest! {
        #[test]
        fn anything_else_needs_nothing_and_nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = needed(&bytes);
            for (b, m) in bytes.iter_mut().zip(b"\x7fELF\x02\x01") {
                *b = *m;
            }
            let _ = needed(&bytes);
        }
    }
}
