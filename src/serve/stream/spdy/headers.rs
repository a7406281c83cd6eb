//! Blocks of headers: pairs of names and values, compressed over all blocks of a connection.

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// The largest block accepted, when decompressed. Kubernetes' have three headers of some twenty bytes each.
const MAX_BLOCK: usize = 16 * 1024;
/// How many headers a block may have.
const MAX_HEADERS: usize = 64;

/// An empty stored block, with which zlib's sync flush ends. Go's reader hands out what came before only when it sees one;
/// without it, it looks for the next block, finds the end of the frame, and is broken.
const EMPTY: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// Names, in lower case, with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(is, _)| is.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Headers {
        let pairs = pairs.into_iter();
        Headers(
            pairs
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
        )
    }
}

/// Decompresses the blocks of one direction, in their order.
pub(super) struct Decoder {
    zlib: Decompress,
}

impl Decoder {
    pub(super) fn new() -> Decoder {
        Decoder {
            zlib: Decompress::new(true),
        }
    }

    /// Reads one block. An error leaves the connection unusable: later blocks build on this one.
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Headers, &'static str> {
        parse(&self.decompress(block)?)
    }

    fn decompress(&mut self, mut input: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut output = Vec::with_capacity(512);
        loop {
            if output.len() >= MAX_BLOCK {
                return Err("a block of headers is too large");
            }
            output.reserve_exact(512);
            let before = (self.zlib.total_in(), self.zlib.total_out());
            let done = self
                .zlib
                .decompress_vec(input, &mut output, FlushDecompress::Sync);
            let read = usize::try_from(self.zlib.total_in() - before.0).unwrap_or(usize::MAX);
            input = &input[read.min(input.len())..];
            match done {
                Ok(Status::StreamEnd) => return Err("the compression of headers ended"),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.zlib.set_dictionary(&dictionary());
                    set.map_err(|_| "a block of headers names another dictionary")?;
                    continue;
                }
                Err(_) => return Err("a block of headers cannot be decompressed"),
            }
            // Room was left, so there is no more.
            if input.is_empty() && output.len() < output.capacity() {
                return Ok(output);
            }
            if before == (self.zlib.total_in(), self.zlib.total_out()) {
                return Err("a block of headers is incomplete");
            }
        }
    }
}

/// Reads the pairs: their number, then each name and each value after its length.
fn parse(block: &[u8]) -> Result<Headers, &'static str> {
    let mut rest = block;
    let count = number(&mut rest)?;
    if count > MAX_HEADERS {
        return Err("a block has too many headers");
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = text(&mut rest)?.to_ascii_lowercase();
        headers.push((name, text(&mut rest)?));
    }
    Ok(Headers(headers))
}

fn number(rest: &mut &[u8]) -> Result<usize, &'static str> {
    let (bytes, after) = rest
        .split_first_chunk()
        .ok_or("a block of headers is incomplete")?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*bytes)).map_err(|_| "a block of headers is too large")
}

fn text(rest: &mut &[u8]) -> Result<String, &'static str> {
    let length = number(rest)?;
    let (bytes, after) = rest
        .split_at_checked(length)
        .ok_or("a block of headers is incomplete")?;
    *rest = after;
    String::from_utf8(bytes.to_vec()).map_err(|_| "a header is not UTF-8")
}

/// Writes the blocks of one direction. They are not compressed: a stream of stored blocks is as valid to every reader
/// (RFC 1951, section 3.2.4), and needs no state.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    has_begun: bool,
}

impl Encoder {
    /// Writes one block.
    pub(super) fn encode(&mut self, headers: &Headers) -> Bytes {
        let mut block = BytesMut::new();
        block.put_u32(length(headers.0.len()));
        for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(length(text.len()));
            block.put_slice(text.as_bytes());
        }
        let mut output = BytesMut::with_capacity(block.len() + 16);
        if !self.has_begun {
            // zlib's header: deflate, a window of 32 KiB, no dictionary, and a check that makes it a multiple of 31.
            output.put_slice(&[0x78, 0x01]);
            self.has_begun = true;
        }
        for chunk in block.chunks(usize::from(u16::MAX)) {
            let size = u16::try_from(chunk.len()).expect("chunks are no larger");
            output.put_u8(0);
            output.put_u16_le(size);
            output.put_u16_le(!size);
            output.put_slice(chunk);
        }
        output.put_slice(&EMPTY);
        output.freeze()
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("headers of ours are short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_as_they_were_written() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new());
        let long = "x".repeat(10_000);
        for pairs in [
            vec![("streamType", "data"), ("port", "80")],
            vec![],
            vec![("long", long.as_str())],
            vec![("streamType", "error")],
        ] {
            let headers = Headers::from_iter(pairs);
            let block = encoder.encode(&headers);
            assert!(block.ends_with(&EMPTY));
            assert_eq!(decoder.decode(&block), Ok(headers));
        }
    }

    #[test]
    fn blocks_are_bounded() {
        let check = |headers: Headers, expected: &'static str| {
            let block = Encoder::default().encode(&headers);
            assert_eq!(Decoder::new().decode(&block), Err(expected));
        };
        let long = "x".repeat(MAX_BLOCK);
        check(
            Headers::from_iter([("long", long.as_str())]),
            "a block of headers is too large",
        );
        check(
            Headers::from_iter([("many", ""); MAX_HEADERS + 1]),
            "a block has too many headers",
        );
        // A number of headers, or a length, that the block does not have.
        assert_eq!(parse(&[0, 0, 0, 1]), Err("a block of headers is incomplete"));
        assert_eq!(
            parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]),
            Err("a block of headers is incomplete")
        );
        assert_eq!(parse(&[0xff; 4]), Err("a block has too many headers"));
    }
}
