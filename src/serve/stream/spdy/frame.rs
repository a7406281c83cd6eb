//! Frames: eight bytes that say what follows and how long it is, then that ("SPDY Protocol, Draft 3.1", section 2.2).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The length of a frame's head.
pub(super) const HEAD: usize = 8;
/// The largest control frame accepted. Those with headers are the largest: Kubernetes' have some hundred bytes.
pub(super) const MAX_CONTROL: usize = 16 * 1024;
/// The largest data frame sent. Readers buffer a frame as a whole.
pub(super) const MAX_DATA: usize = 16 * 1024;

/// The version in control frames, which SPDY/3.1 shares with SPDY/3.
const VERSION: u16 = 3;
/// The flag of a stream's last frame.
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// A stream's number. Those that the client opens are odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The first that a client opens.
    pub(super) const FIRST: StreamId = StreamId(1);

    pub(super) fn new(number: u32) -> StreamId {
        StreamId(number & 0x7fff_ffff)
    }

    /// The number on the wire.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The one that its opener opens next.
    pub(super) fn next(self) -> StreamId {
        StreamId::new(self.0 + 2)
    }

    pub(super) fn is_of_client(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Why a stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is not accepted.
    Refused = 3,
    /// It is no longer wanted.
    Cancel = 5,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Data {
        stream: StreamId,
        length: usize,
        ended: bool,
    },
    Control {
        kind: u16,
        flags: u8,
        length: usize,
    },
}

/// Reads a head.
pub(super) fn head(bytes: [u8; HEAD]) -> Result<Head, &'static str> {
    let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let length = usize::try_from(u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]])).unwrap_or(usize::MAX);
    let flags = bytes[4];
    if first >> 31 == 0 {
        return Ok(Head::Data {
            stream: StreamId(first),
            length,
            ended: flags & FIN != 0,
        });
    }
    let [version, kind] = [
        u16::from_be_bytes([bytes[0] & 0x7f, bytes[1]]),
        u16::from_be_bytes([bytes[2], bytes[3]]),
    ];
    match () {
        () if version != VERSION => Err("a frame of another version of SPDY"),
        () if length > MAX_CONTROL => Err("a control frame is too large"),
        () => Ok(Head::Control { kind, flags, length }),
    }
}

/// A control frame; blocks of headers are still compressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    Open {
        stream: StreamId,
        block: Bytes,
        ended: bool,
    },
    Reply {
        stream: StreamId,
        block: Bytes,
    },
    Reset {
        stream: StreamId,
    },
    Headers {
        block: Bytes,
    },
    Ping(u32),
    GoAway,
    /// Settings, windows, and what no version defines: of no meaning here.
    Other,
}

/// Reads what follows a control frame's head.
pub(super) fn control(kind: u16, flags: u8, mut body: Bytes) -> Result<Control, &'static str> {
    let number = |body: &mut Bytes| match body.len() {
        0..4 => Err("a control frame is too short"),
        _ => Ok(body.get_u32()),
    };
    Ok(match kind {
        SYN_STREAM => {
            let stream = StreamId::new(number(&mut body)?);
            // The stream that it belongs to, its priority and its slot.
            number(&mut body)?;
            if body.len() < 2 {
                return Err("a control frame is too short");
            }
            body.advance(2);
            Control::Open {
                stream,
                block: body,
                ended: flags & FIN != 0,
            }
        }
        SYN_REPLY => Control::Reply {
            stream: StreamId::new(number(&mut body)?),
            block: body,
        },
        RST_STREAM => Control::Reset {
            stream: StreamId::new(number(&mut body)?),
        },
        HEADERS => {
            number(&mut body)?;
            Control::Headers { block: body }
        }
        PING => Control::Ping(number(&mut body)?),
        GOAWAY => Control::GoAway,
        _ => Control::Other,
    })
}

/// The head of a data frame.
pub(super) fn data(stream: StreamId, length: usize, ended: bool) -> Bytes {
    let mut head = BytesMut::with_capacity(HEAD);
    head.put_u32(stream.0);
    end_head(&mut head, if ended { FIN } else { 0 }, length);
    head.freeze()
}

pub(super) fn open(stream: StreamId, block: &[u8], ended: bool) -> Bytes {
    let mut frame = begin(SYN_STREAM, if ended { FIN } else { 0 }, 10 + block.len());
    frame.put_u32(stream.0);
    frame.put_slice(&[0; 6]);
    frame.put_slice(block);
    frame.freeze()
}

pub(super) fn reply(stream: StreamId, block: &[u8]) -> Bytes {
    let mut frame = begin(SYN_REPLY, 0, 4 + block.len());
    frame.put_u32(stream.0);
    frame.put_slice(block);
    frame.freeze()
}

pub(super) fn reset(stream: StreamId, reason: Reason) -> Bytes {
    let mut frame = begin(RST_STREAM, 0, 8);
    frame.put_u32(stream.0);
    frame.put_u32(reason as u32);
    frame.freeze()
}

pub(super) fn ping(id: u32) -> Bytes {
    let mut frame = begin(PING, 0, 4);
    frame.put_u32(id);
    frame.freeze()
}

/// `last` is the last stream of the peer that was accepted.
pub(super) fn go_away(last: u32, is_error: bool) -> Bytes {
    let mut frame = begin(GOAWAY, 0, 8);
    frame.put_u32(last);
    frame.put_u32(is_error.into());
    frame.freeze()
}

fn begin(kind: u16, flags: u8, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD + length);
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    end_head(&mut frame, flags, length);
    frame
}

fn end_head(head: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).expect("frames of ours are short");
    head.put_u32(u32::from(flags) << 24 | length);
}
