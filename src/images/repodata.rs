//! Owns the checksums of RPM repositories: repomd.xml → its indexes; primary.xml → every package.

use crate::base::digest::Checksum;
use quick_xml::events::{BytesStart, Event};
use std::collections::BTreeMap;
use std::io::Read as _;

/// Largest index after unpacking, in bytes: what is larger is refused.
const LIMIT: u64 = 2 << 30;

/// The indexes that a repomd.xml names: kind (`primary`) → path below the repository, checksum.
pub fn repomd(xml: &str) -> Result<BTreeMap<String, (String, Checksum)>, String> {
    let mut out = BTreeMap::new();
    for element in elements(xml, "data")? {
        let kind = element.attributes.get("data.type").cloned().unwrap_or_default();
        let checksum = element.checksum("checksum")?;
        if let (Some(href), Some(checksum)) = (element.attributes.get("location.href"), checksum) {
            out.insert(kind, (href.clone(), checksum));
        }
    }
    Ok(out)
}

/// The packages that a primary.xml lists: path below the repository → checksum and size.
pub fn primary(xml: &str) -> Result<BTreeMap<String, (Checksum, u64)>, String> {
    let mut out = BTreeMap::new();
    for element in elements(xml, "package")? {
        let size = element.attributes.get("size.package").and_then(|s| s.parse().ok()).unwrap_or(0);
        match (element.attributes.get("location.href"), element.checksum("checksum")?) {
            (Some(href), Some(checksum)) => drop(out.insert(href.clone(), (checksum, size))),
            (href, _) => return Err(format!("the package {href:?} has no usable checksum")),
        }
    }
    Ok(out)
}

/// Unpacks an index by the ending of its name: `.gz`, `.xz`, `.zst`, or none of these.
pub fn unpack(name: &str, bytes: &[u8]) -> Result<String, String> {
    let mut out = Vec::new();
    let failed = |e: std::io::Error| format!("{name} cannot be unpacked: {e}");
    match name.rsplit('.').next() {
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(bytes).take(LIMIT).read_to_end(&mut out).map_err(failed)?
        }
        Some("xz") => {
            lzma_rust2::XzReader::new(bytes, true).take(LIMIT).read_to_end(&mut out).map_err(failed)?
        }
        Some("zst") => ruzstd::decoding::StreamingDecoder::new(bytes)
            .map_err(|e| format!("{name} cannot be unpacked: {e}"))?
            .take(LIMIT)
            .read_to_end(&mut out)
            .map_err(failed)?,
        Some("bz2") => return Err(format!("{name} is packed with bzip2, which is not supported")),
        _ => bytes.take(LIMIT).read_to_end(&mut out).map_err(failed)?,
    };
    String::from_utf8(out).map_err(|_| format!("{name} is not UTF-8 text"))
}

/// One element with what its direct children say.
#[derive(Default)]
struct Element {
    /// `child.attribute` (and `element.attribute`) → value.
    attributes: BTreeMap<String, String>,
    /// Child → text.
    texts: BTreeMap<String, String>,
}

impl Element {
    fn checksum(&self, child: &str) -> Result<Option<Checksum>, String> {
        let Some(text) = self.texts.get(child) else { return Ok(None) };
        let kind = self.attributes.get(&format!("{child}.type")).map_or("", String::as_str);
        // "sha" is SHA-1: no medium of EL 7 or later uses it.
        Checksum::parse(kind, text)
            .map(Some)
            .ok_or_else(|| format!("a checksum of the kind {kind:?} is not supported"))
    }
}

/// All elements of one name below the root.
fn elements(xml: &str, wanted: &str) -> Result<Vec<Element>, String> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut out, mut open, mut depth) = (Vec::new(), None::<Element>, 0usize);
    let mut child = String::new();
    loop {
        let event = reader.read_event().map_err(|e| format!("it is not well-formed XML: {e}"))?;
        match event {
            Event::Start(tag) => {
                depth += 1;
                let name = local(&tag);
                match (&mut open, depth) {
                    (None, 2) if name == wanted => open = Some(element(&tag, &name)),
                    (Some(element), 3) => {
                        take(element, &tag, &name);
                        child = name;
                    }
                    _ => {}
                }
            }
            Event::Empty(tag) => {
                if let (Some(element), 2) = (&mut open, depth) {
                    take(element, &tag, &local(&tag));
                }
            }
            Event::Text(text) => {
                if let (Some(element), 3) = (&mut open, depth) {
                    let text = text.trim().to_string();
                    element.texts.entry(child.clone()).or_default().push_str(&text);
                }
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    out.extend(open.take());
                }
            }
            Event::Eof => return Ok(out),
            _ => {}
        }
    }
}

fn local(tag: &BytesStart<'_>) -> String {
    tag.local_name().as_ref().to_string()
}

fn element(tag: &BytesStart<'_>, name: &str) -> Element {
    let mut element = Element::default();
    take(&mut element, tag, name);
    element
}

fn take(element: &mut Element, tag: &BytesStart<'_>, name: &str) {
    for attribute in tag.attributes().flatten() {
        let key = attribute.key.local_name().as_ref().to_string();
        let raw = attribute.value.to_string();
        let value = quick_xml::escape::unescape(&raw).map(|v| v.into_owned()).unwrap_or(raw);
        element.attributes.insert(format!("{name}.{key}"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_chain_from_repomd_to_packages() {
        let xml = format!(
            "<?xml version=\"1.0\"?><repomd xmlns=\"x\"><revision>1</revision><data type=\"primary\">\
             <checksum type=\"sha256\">{HEX}</checksum><open-checksum type=\"sha256\">00</open-checksum>\
             <location href=\"repodata/primary.xml.gz\"/></data></repomd>"
        );
        let map = repomd(&xml).unwrap();
        assert_eq!(map["primary"].0, "repodata/primary.xml.gz");
        let xml = format!(
            "<metadata packages=\"1\"><package type=\"rpm\"><name>a</name><checksum type=\"sha256\" pkgid=\"YES\">{HEX}\
             </checksum><size package=\"12\" installed=\"3\"/><location href=\"Packages/a&amp;b.rpm\"/>\
             <format><rpm:entry name=\"x\"/><file>/bin/x</file></format></package></metadata>"
        );
        let map = primary(&xml).unwrap();
        assert_eq!(map["Packages/a&b.rpm"].1, 12);
        assert!(primary(&xml.replace("sha256", "sha")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*|(<[a-z ='\"/]{0,12}>?){0,20}") {
            let _ = repomd(&text);
            let _ = primary(&text);
            let _ = unpack("x.zst", text.as_bytes());
            let _ = unpack("x.xz", text.as_bytes());
        }
    }
}
