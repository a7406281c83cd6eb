//! Counts the bytes of an archive.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::command::progress::Reached;
use crate::model::image_progress::Share;

/// Counts the bytes of an archive.
#[derive(Debug, Clone, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts what is read.
    pub(super) fn counting<R: Read>(&self, from: R) -> impl Read + use<R> {
        Counting {
            from,
            counter: self.clone(),
        }
    }

    /// How far the copy has come.
    pub(super) fn reached(&self) -> Reached {
        Reached {
            doing: "copying".to_owned(),
            bytes: Some(Share {
                done: self.0.load(Ordering::Relaxed),
                total: None,
            }),
            layers: None,
        }
    }
}

struct Counting<R> {
    from: R,
    counter: Counter,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.from.read(buffer)?;
        self.counter.add(size);
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_counted() {
        let counter = Counter::default();
        let text = io::read_to_string(counter.counting("hello".as_bytes())).unwrap();
        let reached = counter.reached().bytes.map(|bytes| bytes.done);
        assert_eq!((text.as_str(), reached), ("hello", Some(5)));
    }
}
