//! Netlink messages as bytes: a header, a fixed body, then attributes (man 7 netlink, man 3 rtnetlink).
//!
//! One encoder for the three protocols that the plugins use (routes, nf_tables, connection tracking); it handles
//! lengths and padding, never meanings.

use nix::libc;

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;

/// A request under construction. Attributes are appended in the order of the calls.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of `kind` whose fixed part (`ifinfomsg`, `rtmsg`, `nfgenmsg`, ...) is `body`.
    pub fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).expect("netlink flags are 16 bits wide");
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(body);
        pad(&mut bytes);
        Message { bytes }
    }

    /// Appends an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).expect("attributes are far below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(&mut self.bytes);
        self
    }

    /// Appends attributes that are encoded already.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(encoded);
        pad(&mut self.bytes);
        self
    }

    /// Appends a number in the machine's byte order, as rtnetlink requires.
    pub fn attr_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends a number in network byte order, as netfilter requires.
    pub fn attr_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a text with its closing zero byte.
    pub fn attr_str(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Appends an attribute that holds the attributes `fill` adds.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) -> &mut Self {
        self.nest_after(kind, &[], fill)
    }

    /// Like [`Message::nest`], with a fixed part before the inner attributes (as `VETH_INFO_PEER` requires).
    pub fn nest_after(&mut self, kind: u16, fixed: &[u8], fill: impl FnOnce(&mut Message)) -> &mut Self {
        let start = self.bytes.len();
        self.attr(
            kind | u16::try_from(libc::NLA_F_NESTED).expect("a 16 bit flag"),
            fixed,
        );
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("attributes are far below 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Adds flags to those of [`Message::new`], for example to request an acknowledgement.
    pub fn add_flags(&mut self, flags: i32) {
        let flags = u16::try_from(flags).expect("netlink flags are 16 bits wide");
        let old = read_u16(&self.bytes, 6).unwrap_or_default();
        self.bytes[6..8].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// Whether the message requests an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        i32::from(read_u16(&self.bytes, 6).unwrap_or_default()) & libc::NLM_F_ACK != 0
    }

    /// The finished bytes, with a sequence number that identifies the answer.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("requests are far below 4 GiB");
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message received from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `RTM_NEWLINK`, `NLMSG_ERROR`, ...
    pub kind: u16,
    /// `NLM_F_MULTI`, ...
    pub flags: u16,
    /// The number of the request it answers.
    pub sequence: u32,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// Splits a datagram into its messages. A truncated tail is dropped: the kernel does not send one.
pub fn split(datagram: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut rest = datagram;
    while let Some(length) = read_u32(rest, 0).and_then(|length| usize::try_from(length).ok()) {
        if length < HEADER || length > rest.len() {
            break;
        }
        replies.push(Reply {
            kind: read_u16(rest, 4).unwrap_or_default(),
            flags: read_u16(rest, 6).unwrap_or_default(),
            sequence: read_u32(rest, 8).unwrap_or_default(),
            body: rest[HEADER..length].to_vec(),
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    replies
}

/// Iterates over the attributes in `bytes`; flags such as `NLA_F_NESTED` are removed from the kinds.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(rest, 0)?);
        let kind = read_u16(rest, 2)? & 0x3fff;
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of `kind`.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A text attribute without its closing zero.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A 32 bit number of the machine's byte order at `offset`.
pub fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

/// A 16 bit number of the machine's byte order at `offset`.
pub fn read_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(offset..offset + 2)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nested_attributes_carry_their_own_length_and_are_found_again() {
        let mut message = Message::new(16, 0, &[0; 16]);
        message.attr_str(3, "eth0").nest(18, |inner| {
            inner.attr_str(1, "veth").attr(2, &[7]);
        });
        let bytes = message.finish(9);
        let replies = split(&bytes);
        assert_eq!((replies.len(), replies[0].kind, replies[0].sequence), (1, 16, 9));
        let body = &replies[0].body[16..];
        assert_eq!(text(find(body, 3).unwrap()), "eth0");
        let inner = find(body, 18).unwrap();
        assert_eq!(
            (text(find(inner, 1).unwrap()), find(inner, 2)),
            ("veth".to_string(), Some(&[7u8][..]))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for reply in split(&bytes) {
                let _ = attributes(&reply.body).map(|(_, value)| text(value)).collect::<Vec<_>>();
            }
            let _ = attributes(&bytes).count();
        }

        #[test]
        fn attributes_come_back_as_they_went_in(values in proptest::collection::vec((1u16..100, proptest::collection::vec(any::<u8>(), 0..40)), 0..10)) {
            let mut message = Message::new(1, 0, &[]);
            for (kind, value) in &values {
                message.attr(*kind, value);
            }
            let bytes = message.finish(1);
            let back: Vec<_> = attributes(&bytes[16..]).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(back, values);
        }
    }
}
