//! What passes between a client and a command in a container, whatever the protocol on the wire.

use bytes::Bytes;

/// What the client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// Input for the process. Never empty.
    Stdin(Bytes),
    /// The end of the input; output goes on.
    StdinEnd,
    /// The size of the client's terminal.
    Resize {
        /// In characters.
        columns: u16,
        /// In lines.
        rows: u16,
    },
}

/// What the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToClient {
    /// Output of the process.
    Stdout(Bytes),
    /// Error output of the process.
    Stderr(Bytes),
    /// Nothing: sent to see whether the client is still there.
    Heartbeat,
    /// How the command ended; the last message.
    Ended(Ended),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exited(u32),
    /// It could not be run, or its end is unknown: one line for the user.
    Failed(String),
}

/// The version of `channel.k8s.io`, the remote command protocol
/// (`staging/src/k8s.io/apimachinery/pkg/util/remotecommand`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// No size of the terminal, errors as text.
    V1,
    /// As the first, for clients that close the connection themselves.
    V2,
    /// With the size of the terminal.
    V3,
    /// The end of the command as a `Status` in JSON.
    V4,
    /// With a message that closes the input (KEP 4006); WebSocket only.
    V5,
}

/// What a request names: which streams the client opens, and whether the process has a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants the output.
    pub stdout: bool,
    /// The client wants the error output; never with a terminal, which mixes both.
    pub stderr: bool,
    /// The process has a terminal.
    pub tty: bool,
}

impl Parts {
    /// The parameters of a request, in the order of the fields. The names are those of the API server's requests to a node
    /// (`NewOptions` in `staging/src/k8s.io/cri-streaming/pkg/streaming/remotecommand/httpstream.go`).
    const NAMES: [&str; 4] = ["input", "output", "error", "tty"];

    /// Of the parameters that are set.
    pub fn named(is_set: impl Fn(&str) -> bool) -> Parts {
        let [stdin, stdout, stderr, tty] = Parts::NAMES.map(is_set);
        Parts {
            stdin,
            stdout,
            // A terminal has one output.
            stderr: stderr && !tty,
            tty,
        }
    }

    /// The parameters to set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = [self.stdin, self.stdout, self.stderr, self.tty];
        Parts::NAMES
            .into_iter()
            .zip(set)
            .filter_map(|(name, is_set)| is_set.then_some(name))
    }
}

impl Version {
    /// What SPDY clients may speak, the best first (`SupportedStreamingProtocols`).
    pub const SPDY: [&'static str; 4] = [
        Version::V4.name(),
        Version::V3.name(),
        Version::V2.name(),
        Version::V1.name(),
    ];

    /// The name of the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Version::V1 => "channel.k8s.io",
            Version::V2 => "v2.channel.k8s.io",
            Version::V3 => "v3.channel.k8s.io",
            Version::V4 => "v4.channel.k8s.io",
            Version::V5 => "v5.channel.k8s.io",
        }
    }

    /// The version of that name.
    pub fn named(name: &str) -> Option<Version> {
        let all = [Version::V1, Version::V2, Version::V3, Version::V4, Version::V5];
        all.into_iter().find(|version| version.name() == name)
    }
}
