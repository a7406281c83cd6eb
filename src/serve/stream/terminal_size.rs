//! The size of a client's terminal on the wire: JSON values one after the other, `{"Width":80,"Height":24}`
//! (`TerminalSize` in `staging/src/k8s.io/cri-streaming/pkg/streaming/remotecommand/resize.go`). Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::FromClient;

/// How much of a value that is not whole is kept; a whole one has some 30 bytes.
const MAX_PART: usize = 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Size {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

/// Reads sizes out of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// The beginning of a value.
    part: Vec<u8>,
}

impl Sizes {
    /// The last of the sizes that these bytes complete: those before it are outdated. What is no size is left out, with
    /// all that has come with it.
    pub(crate) fn read(&mut self, data: &[u8]) -> Option<FromClient> {
        self.part.extend_from_slice(data);
        let mut values = serde_json::Deserializer::from_slice(&self.part).into_iter::<Size>();
        let (mut last, mut read, mut is_broken) = (None, 0, false);
        while let Some(value) = values.next() {
            match value {
                Ok(size) => (last, read) = (Some(size), values.byte_offset()),
                Err(error) => is_broken = !error.is_eof(),
            }
        }
        match is_broken || self.part.len() - read > MAX_PART {
            true => self.part.clear(),
            false => drop(self.part.drain(..read)),
        }
        // A client without a terminal has one of no size.
        let last = last.filter(|size| size.width > 0 && size.height > 0);
        last.map(|size| FromClient::Resize {
            columns: size.width,
            rows: size.height,
        })
    }
}

/// The bytes of one size.
pub(crate) fn encode(columns: u16, rows: u16) -> Bytes {
    let (width, height) = (columns, rows);
    serde_json::to_vec(&Size { width, height })
        .expect("plain values")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(columns: u16, rows: u16) -> Option<FromClient> {
        Some(FromClient::Resize { columns, rows })
    }

    #[test]
    fn sizes_are_read_however_they_are_cut() {
        let check = |pieces: &[&str], expected: &[Option<FromClient>]| {
            let mut sizes = Sizes::default();
            let read: Vec<_> = pieces.iter().map(|piece| sizes.read(piece.as_bytes())).collect();
            assert_eq!(read, expected, "{pieces:?}");
            assert!(sizes.part.len() <= MAX_PART);
        };
        check(&[r#"{"Width":80,"Height":24}"#], &[size(80, 24)]);
        check(&[r#"{"Width":80,"#, "\"Height\":24}\n"], &[None, size(80, 24)]);
        check(
            &[r#"{"Width":1,"Height":2}{"Width":3,"Height":4}"#],
            &[size(3, 4)],
        );
        check(
            &[r#"{"Width":1,"Height":2}{"Width":3,"#, r#""Height":4}"#],
            &[size(1, 2), size(3, 4)],
        );
        check(
            &[r#"{"Width":0,"Height":0}"#, r#"{"Width":80,"Height":24}"#],
            &[None, size(80, 24)],
        );
        // No size: the next one is read.
        check(&["x", r#"{"Width":80,"Height":24}"#], &[None, size(80, 24)]);
        check(
            &[r#"{"Width":-1,"Height":24}"#, r#"{"Width":80,"Height":24}"#],
            &[None, size(80, 24)],
        );
        check(
            &["{\"Width\":".repeat(500).as_str(), r#"{"Width":80,"Height":24}"#],
            &[None, size(80, 24)],
        );
    }

    #[test]
    fn a_size_is_written_as_it_is_read() {
        assert_eq!(Sizes::default().read(&encode(80, 24)), size(80, 24));
    }
}
