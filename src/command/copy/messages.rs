//! What a command in the container prints to standard error, for the user.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::command::table::printable;
use crate::command::{CommandError, print};

/// How much is shown: the container chooses how much it prints.
const MOST_BYTES: usize = 64 * 1024;

/// The first messages. What comes after them is only counted.
#[derive(Debug, Default)]
pub(super) struct Messages {
    first: Vec<u8>,
    /// The length of what came after them, in bytes.
    more: u64,
}

impl Messages {
    /// Prints them.
    pub(super) fn report(&self, err: &mut impl Write) -> Result<(), CommandError> {
        print(err, &printable(&String::from_utf8_lossy(&self.first)))?;
        match self.more {
            0 => Ok(()),
            more => print(
                err,
                &format!("\nwarning: {more} more bytes of the container's messages are not shown\n"),
            ),
        }
    }
}

impl AsyncWrite for Messages {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let room = MOST_BYTES - self.first.len();
        let (shown, rest) = data.split_at(room.min(data.len()));
        self.first.extend_from_slice(shown);
        self.more += rest.len() as u64;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_first_messages_are_shown() {
        let mut messages = Messages::default();
        messages.write_all(b"tar: a: no such file\n").await.unwrap();
        let mut text = Vec::new();
        messages.report(&mut text).unwrap();
        assert_eq!(text, b"tar: a: no such file\n");

        for _ in 0..3 {
            messages.write_all(&[b'x'; MOST_BYTES / 2]).await.unwrap();
        }
        let mut text = Vec::new();
        messages.report(&mut text).unwrap();
        let first = "tar: a: no such file\n";
        let shown = first.to_owned() + &"x".repeat(MOST_BYTES - first.len());
        let more = MOST_BYTES / 2 + first.len();
        let expected =
            format!("{shown}\nwarning: {more} more bytes of the container's messages are not shown\n");
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
