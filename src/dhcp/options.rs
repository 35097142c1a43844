//! Owns DHCP options as raw code and bytes: reading them whatever else is in the packet, and writing them in order.

use dhcproto::v4::{DhcpOption, OptionCode, borrowed::DhcpOptionIterator, encode_long_opt_bytes};
use dhcproto::{Encodable as _, Encoder};
use std::net::Ipv4Addr;

/// Option numbers that this program reads or writes (RFC 2132 unless said otherwise).
pub mod code {
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const NTP: u8 = 42;
    pub const VENDOR: u8 = 43;
    pub const REQUESTED: u8 = 50;
    pub const LEASE_SECS: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_SIZE: u8 = 57;
    pub const T1: u8 = 58;
    pub const T2: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    /// RFC 3004; iPXE sends it raw.
    pub const USER_CLASS: u8 = 77;
    /// RFC 3046.
    pub const RELAY: u8 = 82;
    /// RFC 4578.
    pub const ARCH: u8 = 93;
    pub const MACHINE_ID: u8 = 97;
    /// iPXE's own (encapsulated).
    pub const IPXE: u8 = 175;
}

/// Options as they were read. A code that came more than once is one value, joined in order (RFC 3396 §5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// All options of a message of at least 240 bytes with the magic cookie; those in `file` and `sname` too,
    /// if option 52 says so. A broken option ends its own field and hides nothing that stood before it.
    pub fn read(message: &[u8]) -> Options {
        let mut out = Options::default();
        out.take(message.get(240..).unwrap_or_default());
        let overload = out.get(code::OVERLOAD).and_then(|d| d.first().copied()).unwrap_or(0);
        // RFC 2131 §4.1: `file` before `sname`.
        if overload & 1 != 0 {
            out.take(message.get(108..236).unwrap_or_default());
        }
        if overload & 2 != 0 {
            out.take(message.get(44..108).unwrap_or_default());
        }
        out
    }

    fn take(&mut self, field: &[u8]) {
        for option in DhcpOptionIterator::new(sound(field)) {
            let code = u8::from(option.code());
            match self.0.iter_mut().find(|(c, _)| *c == code) {
                Some((_, data)) => data.extend_from_slice(option.data()),
                None => self.0.push((code, option.data().to_vec())),
            }
        }
    }

    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(c, _)| *c == code).map(|(_, d)| d.as_slice())
    }
    /// The first four bytes as an address; none where there are fewer.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let b: [u8; 4] = self.get(code)?.get(..4)?.try_into().ok()?;
        Some(b.into())
    }
    /// The first two bytes as a number.
    pub fn number(&self, code: u8) -> Option<u16> {
        let b: [u8; 2] = self.get(code)?.get(..2)?.try_into().ok()?;
        Some(u16::from_be_bytes(b))
    }
    /// Text for people and for comparison: printable ASCII, others as `?`, NULs at the end cut off.
    pub fn text(&self, code: u8) -> Option<String> {
        self.get(code).map(printable)
    }
}

/// The part of `field` that consists of whole options: what dhcproto's iterator can walk without losing the option
/// before a broken one (it joins neighbours of the same code, and drops both if the second is cut off).
fn sound(field: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(code) = field.get(at) {
        match code {
            0 => at += 1,
            255 => break,
            _ => match field.get(at + 1) {
                Some(len) if at + 2 + usize::from(*len) <= field.len() => at += 2 + usize::from(*len),
                _ => break,
            },
        }
    }
    &field[..at]
}

/// Bytes from the wire, safe for a log, a terminal and JSON.
pub fn printable(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
    bytes[..end].iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '?' }).collect()
}

/// Whether a user class (option 77) says `name`: raw as iPXE sends it, or as one length-prefixed item (RFC 3004 §4).
pub fn user_class_is(data: &[u8], name: &[u8]) -> bool {
    if data == name {
        return true;
    }
    let mut rest = data;
    while let Some((len, tail)) = rest.split_first() {
        let Some(item) = tail.get(..usize::from(*len)) else { return false };
        if item == name {
            return true;
        }
        rest = &tail[item.len()..];
    }
    false
}

/// Option 97 as text in both byte orders: as dmidecode prints it (the first three fields little-endian, SMBIOS 2.6)
/// and as the bytes stand (field-pain #17). None for other types, nil, all ones and the dummies of board makers.
pub fn uuid(data: &[u8]) -> Option<(String, String)> {
    let raw: [u8; 16] = data.strip_prefix(&[0])?.try_into().ok()?;
    let mut turned = raw;
    turned[..4].reverse();
    turned[4..6].reverse();
    turned[6..8].reverse();
    let text = |b: [u8; 16]| {
        let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    };
    let both = (text(turned), text(raw));
    let dummy = raw == [0; 16] || raw == [0xff; 16] || DUMMIES.iter().any(|d| both.0 == *d || both.1 == *d);
    (!dummy).then_some(both)
}

/// UUIDs that board makers forgot to set; many machines share each.
const DUMMIES: [&str; 4] = [
    "03000200-0400-0500-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "4c4c4544-0000-2010-8020-80c04f202020",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
];

/// Options to send; each is kept as its bytes on the wire.
#[derive(Debug, Default)]
pub struct Out(Vec<(u8, Vec<u8>)>);

impl Out {
    /// An option as plain bytes; longer than 255 it is split (RFC 3396). Empty ones are left out.
    pub fn raw(&mut self, code: u8, data: &[u8]) {
        let mut bytes = Vec::with_capacity(data.len() + 2);
        if encode_long_opt_bytes(OptionCode::from(code), data, &mut Encoder::new(&mut bytes)).is_ok() {
            self.0.push((code, bytes));
        }
    }
    /// One of dhcproto's typed options. One that could not be written would be left out, not half sent.
    pub fn typed(&mut self, option: &DhcpOption) {
        let mut bytes = Vec::with_capacity(16);
        if option.encode(&mut Encoder::new(&mut bytes)).is_ok()
            && let Some(code) = bytes.first()
        {
            self.0.push((*code, bytes));
        }
    }
    pub fn remove(&mut self, code: u8) {
        self.0.retain(|(c, _)| *c != code);
    }
    /// Bytes on the wire, without the end marker.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(c, b)| b.len() + usize::from(*c == code::BOOT_FILE)).sum()
    }

    /// The options' bytes: 53, 54 and 51 first, the rest ascending (field-pain #22), the relay's own last (RFC 3046
    /// §2.2), and one PAD straight after option 67, because some ROMs read it as a C string and EDK2 writes a NUL
    /// over the byte after it (#19).
    pub fn encoded(mut self) -> Vec<u8> {
        self.0.sort_by_key(|(c, _)| match *c {
            code::MESSAGE_TYPE => 0,
            code::SERVER_ID => 1,
            code::LEASE_SECS => 2,
            code::RELAY => u16::MAX,
            other => 3 + u16::from(other),
        });
        let mut out = Vec::with_capacity(256);
        for (code, bytes) in &self.0 {
            out.extend_from_slice(bytes);
            if *code == code::BOOT_FILE {
                out.push(0);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8], file: &[u8], sname: &[u8]) -> Vec<u8> {
        let mut m = vec![0u8; 240];
        m[44..44 + sname.len()].copy_from_slice(sname);
        m[108..108 + file.len()].copy_from_slice(file);
        m.extend_from_slice(options);
        m
    }

    #[test]
    fn a_broken_option_hides_none_of_those_before_it() {
        // 60 sound, 12 not UTF-8, 93 sound, then a second 93 that claims more than there is.
        let o = Options::read(&message(&[60, 1, b'x', 12, 2, 0xff, 0xfe, 93, 2, 0, 7, 93, 200, 1], &[], &[]));
        assert_eq!(o.get(60), Some(&b"x"[..]));
        assert_eq!(o.text(12).as_deref(), Some("??"));
        assert_eq!(o.number(93), Some(7));
    }

    #[test]
    fn parts_of_one_option_are_joined_wherever_they_stand() {
        let o = Options::read(&message(
            &[43, 1, 1, 52, 1, 3, 43, 1, 2, 255, 43, 1, 9],
            &[0, 43, 2, 3, 4, 255],
            &[43, 1, 5, 60, 1, b'z'],
        ));
        assert_eq!(
            o.get(43),
            Some(&[1, 2, 3, 4, 5][..]),
            "options, then file, then sname; nothing after the end"
        );
        assert_eq!(o.get(60), Some(&b"z"[..]));
        let not_overloaded = Options::read(&message(&[43, 1, 1, 255], &[60, 1, 1], &[60, 1, 1]));
        assert_eq!(not_overloaded.get(60), None);
    }

    #[test]
    fn a_user_class_is_recognised_raw_and_length_prefixed() {
        assert!(user_class_is(b"iPXE", b"iPXE"));
        assert!(user_class_is(b"\x04iPXE", b"iPXE"));
        assert!(user_class_is(b"\x01x\x04iPXE", b"iPXE"));
        for other in [&b""[..], b"iPXE2", b"\x04iPX", b"\x00\x00", b"\xffiPXE"] {
            assert!(!user_class_is(other, b"iPXE"), "{other:?}");
        }
    }

    #[test]
    fn a_uuid_reads_in_both_orders_and_dummies_are_none() {
        let data = [
            0, 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
        ];
        let (dmidecode, raw) = uuid(&data).unwrap();
        assert_eq!(dmidecode, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(raw, "33221100-5544-7766-8899-aabbccddeeff");
        assert_eq!(uuid(&[0; 17]), None);
        let mut ones = [0xff; 17];
        ones[0] = 0;
        assert_eq!(uuid(&ones), None);
        assert_eq!(uuid(&data[..16]), None, "too short");
        assert_eq!(uuid(&[1; 17]), None, "another type");
    }

    #[test]
    fn options_leave_in_the_order_that_every_relay_takes() {
        let mut out = Out::default();
        out.raw(82, &[1, 1, 7]);
        out.raw(67, b"f");
        out.raw(1, &[255, 255, 255, 0]);
        out.raw(54, &[1, 1, 1, 1]);
        out.raw(51, &[0, 0, 0, 9]);
        out.raw(53, &[2]);
        out.raw(175, &[1]);
        let size = out.size();
        let bytes = out.encoded();
        assert_eq!(bytes.len(), size);
        assert_eq!(
            bytes,
            [
                53, 1, 2, 54, 4, 1, 1, 1, 1, 51, 4, 0, 0, 0, 9, 1, 4, 255, 255, 255, 0, 67, 1, b'f', 0, 175,
                1, 1, 82, 3, 1, 1, 7
            ]
        );
    }
}
