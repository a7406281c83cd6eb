//! A blocking netlink socket: sends one request, receives its answers, and reports the kernel's own error text.

use std::io;

use netlink_sys::SocketAddr;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::message::{Message, Reply, find, read_u32, split, text};

/// Attribute of an error answer that holds a sentence (linux/netlink.h, `NLMSGERR_ATTR_MSG`).
const ERROR_SENTENCE: u16 = 1;

/// The size that fits into any kernel's send buffer unless `net.core.wmem_default` was lowered.
const USUAL_BUFFER: usize = 64 << 10;

/// How many requests are sent together: their answers must fit into the receive buffer.
const AT_ONCE: usize = 32;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel rejected a request.
    #[error("cannot {action}: {}{}", errno.desc(), sentence.as_ref().map(|s| format!(" (kernel: {s})")).unwrap_or_default())]
    Refused {
        /// The request, as a verb phrase.
        action: String,
        /// The number the kernel answered with.
        errno: Errno,
        /// The kernel's explanation, where it gave one.
        sentence: Option<String>,
    },
    /// The socket itself failed.
    #[error("cannot {action}: netlink socket: {error}")]
    Socket {
        /// The request, as a verb phrase.
        action: String,
        /// The error of the socket.
        error: io::Error,
    },
    /// The answer does not have the shape the kernel promises.
    #[error("cannot {action}: the kernel's answer has no {missing}")]
    Answer {
        /// The request, as a verb phrase.
        action: String,
        /// What is not there.
        missing: &'static str,
    },
}

impl NetlinkError {
    /// The error number, when it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            NetlinkError::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    fn socket(action: &str, error: io::Error) -> Self {
        NetlinkError::Socket {
            action: action.to_string(),
            error,
        }
    }
}

/// A netlink socket. It stays in the network namespace in which it was opened, whichever thread uses it later.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
}

/// A route socket in the namespace of the host, that is, the plugin's own.
#[derive(Debug)]
pub struct HostNet(pub Socket);

/// A route socket in the namespace of the pod.
#[derive(Debug)]
pub struct PodNet(pub Socket);

/// What ends the answers to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// An object, the end of a listing, or an acknowledgement.
    Answered,
    /// The acknowledgement only: the objects before it are on the side.
    Acknowledged,
}

impl Socket {
    /// Opens a socket for links, addresses and routes in the calling thread's network namespace.
    pub fn route() -> Result<Self, NetlinkError> {
        let socket = Self::open(netlink_sys::protocols::NETLINK_ROUTE)?;
        // Listings of one interface's part only. Kernels before 4.20 list everything.
        let _ = socket.inner.set_netlink_get_strict_chk(true);
        Ok(socket)
    }

    /// Opens a socket for nf_tables and connection tracking in the calling thread's network namespace.
    pub fn netfilter() -> Result<Self, NetlinkError> {
        Self::open(netlink_sys::protocols::NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let open = || -> io::Result<netlink_sys::Socket> {
            let mut socket = netlink_sys::Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Sentences in errors, and requests not echoed in them. Kernels without these options (before 4.12)
            // still answer with numbers, so a failure here is of no consequence.
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            Ok(socket)
        };
        let inner = open().map_err(|error| NetlinkError::socket("open a netlink socket", error))?;
        Ok(Socket { inner, sequence: 0 })
    }

    /// Sends `message` and waits until the kernel has done it.
    pub fn execute(&mut self, action: &str, mut message: Message) -> Result<(), NetlinkError> {
        message.add_flags(libc::NLM_F_ACK);
        let sequence = self.send(action, message)?;
        self.receive(&[action], sequence, sequence, Until::Answered)
            .map(|_| ())
    }

    /// Like [`Socket::execute`], and returns what the kernel showed of the change to this socket alone (`NLM_F_ECHO`).
    pub fn execute_echoed(&mut self, action: &str, mut message: Message) -> Result<Vec<Reply>, NetlinkError> {
        message.add_flags(libc::NLM_F_ACK);
        let sequence = self.send(action, message)?;
        self.receive(&[action], sequence, sequence, Until::Acknowledged)
    }

    /// Sends messages and waits until the kernel has done them, in their order; a datagram has several, so that nobody comes
    /// in between. Each has its own words for errors. The first error is returned; what follows the refused message in its
    /// datagram is done all the same.
    pub fn execute_all(&mut self, requests: Vec<(String, Message)>) -> Result<(), NetlinkError> {
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let (mut bytes, mut actions) = (Vec::new(), Vec::new());
            let first = self.sequence + 1;
            for (action, mut message) in requests.by_ref().take(AT_ONCE) {
                self.sequence += 1;
                message.add_flags(libc::NLM_F_ACK);
                bytes.extend(message.finish(self.sequence));
                actions.push(action);
            }
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            self.inner
                .send(&bytes, 0)
                .map_err(|error| NetlinkError::socket(actions[0], error))?;
            self.receive(&actions, first, self.sequence, Until::Answered)?;
        }
        Ok(())
    }

    /// Sends `message` and returns the one object that it requests.
    pub fn get(&mut self, action: &str, message: Message) -> Result<Reply, NetlinkError> {
        let sequence = self.send(action, message)?;
        let replies = self.receive(&[action], sequence, sequence, Until::Answered)?;
        let missing = NetlinkError::Answer {
            action: action.to_string(),
            missing: "object",
        };
        replies.into_iter().next().ok_or(missing)
    }

    /// Sends `message` as a listing and returns all objects of it.
    pub fn dump(&mut self, action: &str, mut message: Message) -> Result<Vec<Reply>, NetlinkError> {
        message.add_flags(libc::NLM_F_DUMP);
        let sequence = self.send(action, message)?;
        self.receive(&[action], sequence, sequence, Until::Answered)
    }

    /// Sends several messages as one datagram, as nf_tables requires for transactions; those that request an
    /// acknowledgement get one. Returns when the last one is answered or the first one rejected.
    pub fn execute_batch(&mut self, action: &str, messages: Vec<Message>) -> Result<(), NetlinkError> {
        let mut bytes = Vec::new();
        let first = self.sequence + 1;
        let mut last = first;
        for message in messages {
            self.sequence += 1;
            if message.wants_ack() {
                last = self.sequence;
            }
            bytes.extend(message.finish(self.sequence));
        }
        if bytes.len() > USUAL_BUFFER {
            // The kernel rejects a datagram that does not fit into the buffer. If enlarging it is not permitted, the
            // send below reports the error.
            let _ = setsockopt(&self.inner, sockopt::SndBufForce, &bytes.len());
        }
        self.inner
            .send(&bytes, 0)
            .map_err(|error| NetlinkError::socket(action, error))?;
        self.receive(&[action], first, last, Until::Answered).map(|_| ())
    }

    fn send(&mut self, action: &str, message: Message) -> Result<u32, NetlinkError> {
        self.sequence += 1;
        let bytes = message.finish(self.sequence);
        self.inner
            .send(&bytes, 0)
            .map_err(|error| NetlinkError::socket(action, error))?;
        Ok(self.sequence)
    }

    /// Reads until the request numbered `last` is answered. Answers below `first` belong to a request given up
    /// earlier on this socket and are skipped.
    /// `actions` has the words of each request, or of all.
    fn receive(
        &mut self,
        actions: &[&str],
        first: u32,
        last: u32,
        until: Until,
    ) -> Result<Vec<Reply>, NetlinkError> {
        let mut replies = Vec::new();
        let action_of = |sequence: u32| {
            let place = usize::try_from(sequence - first).unwrap_or(usize::MAX);
            actions.get(place).or(actions.last()).copied().unwrap_or_default()
        };
        loop {
            let datagram = match self.inner.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(NetlinkError::socket(action_of(first), error)),
            };
            for reply in split(&datagram) {
                if reply.sequence < first || reply.sequence > last {
                    continue;
                }
                match i32::from(reply.kind) {
                    libc::NLMSG_ERROR => {
                        acknowledged(action_of(reply.sequence), &reply)?;
                        if reply.sequence == last {
                            return Ok(replies);
                        }
                    }
                    libc::NLMSG_DONE => {
                        acknowledged(action_of(reply.sequence), &reply)?;
                        return Ok(replies);
                    }
                    libc::NLMSG_NOOP => {}
                    _ => {
                        let alone =
                            until == Until::Answered && i32::from(reply.flags) & libc::NLM_F_MULTI == 0;
                        replies.push(reply);
                        if alone {
                            return Ok(replies);
                        }
                    }
                }
            }
        }
    }
}

/// An error answer starts with a negative error number; zero means success. The end of a listing has one, too.
fn acknowledged(action: &str, reply: &Reply) -> Result<(), NetlinkError> {
    let number = read_u32(&reply.body, 0).unwrap_or_default().cast_signed();
    if number >= 0 {
        return Ok(());
    }
    // Behind the number stands the header of the refused request (16 bytes, its body cut off by NETLINK_CAP_ACK).
    let capped = i32::from(reply.flags) & libc::NLM_F_CAPPED != 0;
    let request = read_u32(&reply.body, 4)
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(16);
    let behind = 4 + if capped { 16 } else { request.next_multiple_of(4) };
    let sentence = reply
        .body
        .get(behind..)
        .and_then(|attributes| find(attributes, ERROR_SENTENCE))
        .map(text);
    Err(NetlinkError::Refused {
        action: action.to_string(),
        errno: Errno::from_raw(-number),
        sentence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(errno: i32, flags: i32, rest: &[u8]) -> Reply {
        let mut body = (-errno).to_ne_bytes().to_vec();
        body.extend_from_slice(&20u32.to_ne_bytes());
        body.extend_from_slice(&[0; 12]);
        body.extend_from_slice(rest);
        Reply {
            kind: 2,
            flags: u16::try_from(flags).unwrap(),
            sequence: 1,
            body,
        }
    }

    fn attribute(sentence: &str) -> Vec<u8> {
        let mut message = Message::new(0, 0, &[]);
        message.attr_str(ERROR_SENTENCE, sentence);
        message.finish(0)[16..].to_vec()
    }

    #[test]
    fn a_refusal_carries_the_kernel_s_sentence_with_or_without_the_request() {
        let capped = answer(libc::EINVAL, libc::NLM_F_CAPPED, &attribute("no"));
        let mut request = vec![0; 4];
        request.extend(attribute("no"));
        for reply in [capped, answer(libc::EINVAL, 0, &request)] {
            let error = acknowledged("try", &reply).unwrap_err();
            assert_eq!(error.to_string(), "cannot try: Invalid argument (kernel: no)");
            assert_eq!(error.errno(), Some(Errno::EINVAL));
        }
    }

    #[test]
    fn zero_is_done_and_a_cut_answer_is_no_panic() {
        assert!(acknowledged("try", &answer(0, 0, &[])).is_ok());
        let cut = Reply {
            body: (-libc::EPERM).to_ne_bytes().to_vec(),
            ..answer(0, 0, &[])
        };
        assert_eq!(acknowledged("try", &cut).unwrap_err().errno(), Some(Errno::EPERM));
    }
}
