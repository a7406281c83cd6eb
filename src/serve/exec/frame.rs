//! The frames of `exec` between the command line and the agent: one byte of channel, four bytes of length (big endian),
//! the payload. Both ends are this program, so there is one version, named in the `Upgrade` header.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The protocol name for the upgrade.
pub const PROTOCOL: &str = "gantry-exec.v1";

/// The largest payload accepted; the largest one sent is the content of a pipe, which is far smaller.
const MAX_PAYLOAD: usize = 1 << 20;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Input for the process; to the agent.
    Stdin(Bytes),
    /// End of input; sent to the agent.
    StdinEnd,
    /// The size of the terminal; to the agent.
    Resize {
        /// In characters.
        columns: u16,
        /// In lines.
        rows: u16,
    },
    /// Output of the process; from the agent.
    Stdout(Bytes),
    /// Error output of the process; from the agent.
    Stderr(Bytes),
    /// The process has ended, and all output has been sent; from the agent, the last frame.
    Exit(u32),
    /// The process could not be run; from the agent, the last frame.
    Failed {
        /// The exit code that shells use for such a failure: 126, 127; else 1.
        code: u32,
        /// One line for the user.
        message: String,
    },
}

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 3;
const RESIZE: u8 = 4;
const FAILED: u8 = 5;
const STDIN_END: u8 = 6;

impl Frame {
    fn encode(&self) -> Bytes {
        let (channel, payload) = match self {
            Frame::Stdin(data) => (STDIN, data.clone()),
            Frame::StdinEnd => (STDIN_END, Bytes::new()),
            Frame::Resize { columns, rows } => {
                let mut payload = BytesMut::with_capacity(4);
                payload.put_u16(*columns);
                payload.put_u16(*rows);
                (RESIZE, payload.freeze())
            }
            Frame::Stdout(data) => (STDOUT, data.clone()),
            Frame::Stderr(data) => (STDERR, data.clone()),
            Frame::Exit(code) => (EXIT, Bytes::copy_from_slice(&code.to_be_bytes())),
            Frame::Failed { code, message } => {
                let mut payload = BytesMut::from(&code.to_be_bytes()[..]);
                payload.put_slice(message.as_bytes());
                (FAILED, payload.freeze())
            }
        };
        let mut frame = BytesMut::with_capacity(5 + payload.len());
        frame.put_u8(channel);
        frame.put_u32(u32::try_from(payload.len()).expect("payloads are below 1 MiB"));
        frame.put_slice(&payload);
        frame.freeze()
    }

    fn decode(channel: u8, payload: Bytes) -> io::Result<Frame> {
        let number = |at: usize| {
            payload
                .get(at..at + 4)
                .map(|four| four.try_into().expect("four bytes"))
        };
        let frame = match channel {
            STDIN => Some(Frame::Stdin(payload)),
            STDIN_END => Some(Frame::StdinEnd),
            STDOUT => Some(Frame::Stdout(payload)),
            STDERR => Some(Frame::Stderr(payload)),
            RESIZE => number(0).map(|four: [u8; 4]| Frame::Resize {
                columns: u16::from_be_bytes([four[0], four[1]]),
                rows: u16::from_be_bytes([four[2], four[3]]),
            }),
            EXIT => number(0).map(|four| Frame::Exit(u32::from_be_bytes(four))),
            FAILED => number(0).map(|four| Frame::Failed {
                code: u32::from_be_bytes(four),
                message: String::from_utf8_lossy(&payload[4..]).into_owned(),
            }),
            _ => None,
        };
        frame.ok_or_else(|| invalid(format!("invalid frame on channel {channel}")))
    }
}

/// Writes one frame. Must not be canceled: half a frame would be on the wire.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    to.write_all(&frame.encode()).await?;
    to.flush().await
}

/// Reads one frame; `None` at the end of the connection. Must not be canceled: half a frame would be lost.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > MAX_PAYLOAD {
        return Err(invalid(format!(
            "frame of {length} bytes exceeds the maximum size"
        )));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Frame::decode(head[0], payload.into()).map(Some)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let data = || proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        prop_oneof![
            data().prop_map(Frame::Stdin),
            Just(Frame::StdinEnd),
            any::<(u16, u16)>().prop_map(|(columns, rows)| Frame::Resize { columns, rows }),
            data().prop_map(Frame::Stdout),
            data().prop_map(Frame::Stderr),
            any::<u32>().prop_map(Frame::Exit),
            (any::<u32>(), ".*").prop_map(|(code, message)| Frame::Failed { code, message }),
        ]
    }

    async fn read_all(mut bytes: &[u8]) -> io::Result<Vec<Frame>> {
        let mut all = Vec::new();
        while let Some(frame) = read(&mut bytes).await? {
            all.push(frame);
        }
        Ok(all)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sent in proptest::collection::vec(frames(), 0..8)) {
            let got = block_on(async {
                let mut wire = Vec::new();
                for frame in &sent {
                    write(&mut wire, frame).await.unwrap();
                }
                read_all(&wire).await.unwrap()
            });
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn no_bytes_bring_the_reader_down(wire in proptest::collection::vec(any::<u8>(), 0..64)) {
            // For any input: frames or an error, and never more memory than one frame may need.
            let _ = block_on(read_all(&wire));
        }
    }

    #[tokio::test]
    async fn a_frame_too_long_and_a_connection_cut_short_are_errors() {
        let long = [STDOUT, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            read_all(&long).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        let short = [STDOUT, 0, 0, 0, 9, 1];
        assert_eq!(
            read_all(&short).await.unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        let empty_exit = [EXIT, 0, 0, 0, 0];
        assert_eq!(
            read_all(&empty_exit).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
