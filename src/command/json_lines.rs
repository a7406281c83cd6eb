//! JSON objects that the agent sends one by one, each on a line.

use serde::de::DeserializeOwned;

use super::CommandError;
use super::client::Chunks;

/// The longest object.
const MOST_BYTES: usize = 1024 * 1024;

/// The objects of an answer.
pub(super) struct JsonLines {
    chunks: Chunks,
    /// What has been read and is not part of an object that was returned.
    rest: Vec<u8>,
}

impl JsonLines {
    /// Those of this answer.
    pub(super) fn new(chunks: Chunks) -> JsonLines {
        JsonLines {
            chunks,
            rest: Vec::new(),
        }
    }

    /// The next object; `None` at the end.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CommandError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let object: Vec<u8> = self.rest.drain(..=end).collect();
                let object = serde_json::from_slice(&object);
                return object
                    .map(Some)
                    .map_err(|error| CommandError::Answer(error.into()));
            }
            if self.rest.len() > MOST_BYTES {
                return Err(CommandError::Answer("an object without an end".into()));
            }
            match self.chunks.next().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
