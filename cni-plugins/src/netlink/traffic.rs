//! Queueing disciplines and filters (linux/rtnetlink.h `RTM_*QDISC`, `RTM_*TFILTER`; man 8 tc shows the same as text).

use nix::errno::Errno;
use nix::libc;

use super::link::Link;
use super::message::{Message, find, read_u32, text};
use super::socket::{NetlinkError, Socket};

/// linux/pkt_sched.h `TC_H_ROOT`, `TC_H_INGRESS`, and the handle that the discipline there has by convention.
const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// The handle `1:` of the only discipline at the root.
const FIRST_HANDLE: u32 = 0x0001_0000;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const TBF_PARAMETERS: u16 = 1;
const TBF_RATE64: u16 = 4;
/// linux/if_ether.h `ETH_P_ALL`, in network byte order, and priority 1.
const ALL_PROTOCOLS: u32 = 1 << 16 | (3u16.to_be() as u32);
/// linux/pkt_cls.h
const U32_CLASS: u16 = 1;
const U32_SELECTOR: u16 = 5;
const U32_ACTIONS: u16 = 7;
const ACTION_KIND: u16 = 1;
const ACTION_OPTIONS: u16 = 2;
const MIRRED_PARAMETERS: u16 = 2;
const ACTION_STOLEN: u32 = 4;
const EGRESS_REDIRECT: u32 = 1;

/// The parameters of a token bucket filter (man 8 tc-tbf).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes per second.
    pub rate: u64,
    /// How long the bucket takes to fill, in the kernel's ticks of 64 ns.
    pub fill: u32,
    /// How many bytes wait at most.
    pub limit: u32,
}

/// A queueing discipline as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `tbf`, `ingress`, ...
    pub kind: String,
    /// Whether it is the one that sends.
    pub root: bool,
    /// The parameters of a `tbf`.
    pub bucket: Option<TokenBucket>,
}

/// Limits what `link` sends. A discipline that somebody else has set is an error.
pub fn add_token_bucket(socket: &mut Socket, link: &Link, bucket: TokenBucket) -> Result<(), NetlinkError> {
    let mut message = create(libc::RTM_NEWQDISC, link, FIRST_HANDLE, ROOT, 0);
    message.attr_str(KIND, "tbf").nest(OPTIONS, |options| {
        // The rate field is too short for more than 34 Gbit/s.
        if bucket.rate > u64::from(u32::MAX) {
            options.attr(TBF_RATE64, &bucket.rate.to_ne_bytes());
        }
        options.attr(TBF_PARAMETERS, &tbf_parameters(bucket));
    });
    socket.execute(&format!("limit what {} sends", link.name), message)
}

/// `struct tc_tbf_qopt`: two `struct tc_ratespec` of twelve bytes (the rate is the last four; the second, a peak rate, is
/// not used), limit, fill time, MTU.
fn tbf_parameters(bucket: TokenBucket) -> [u8; 36] {
    let mut bytes = [0; 36];
    let rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    bytes[8..12].copy_from_slice(&rate.to_ne_bytes());
    bytes[24..28].copy_from_slice(&bucket.limit.to_ne_bytes());
    bytes[28..32].copy_from_slice(&bucket.fill.to_ne_bytes());
    bytes
}

/// Adds the place on the receiving side of `link` where filters go.
pub fn add_ingress(socket: &mut Socket, link: &Link) -> Result<(), NetlinkError> {
    let mut message = create(libc::RTM_NEWQDISC, link, INGRESS_HANDLE, INGRESS, 0);
    message.attr_str(KIND, "ingress");
    socket.execute(&format!("add an ingress queue to {}", link.name), message)
}

/// Redirects all that `link` receives to the sending side of `to`. The classifier is `u32`, which kernels have had longest,
/// with a key that matches everything.
pub fn redirect(socket: &mut Socket, link: &Link, to: &Link) -> Result<(), NetlinkError> {
    // `struct tc_u32_sel` with the flag TC_U32_TERMINAL and one empty `struct tc_u32_key`.
    let mut selector = [0; 32];
    (selector[0], selector[2]) = (1, 1);
    // `struct tc_mirred`: index, capabilities, action, two counters, what to do, where to.
    let mut mirred = [0; 28];
    mirred[8..12].copy_from_slice(&ACTION_STOLEN.to_ne_bytes());
    mirred[20..24].copy_from_slice(&EGRESS_REDIRECT.to_ne_bytes());
    mirred[24..28].copy_from_slice(&to.index.to_ne_bytes());
    let mut message = create(libc::RTM_NEWTFILTER, link, 0, INGRESS_HANDLE, ALL_PROTOCOLS);
    message.attr_str(KIND, "u32").nest(OPTIONS, |options| {
        options
            .attr_u32(U32_CLASS, FIRST_HANDLE | 1)
            .attr(U32_SELECTOR, &selector)
            .nest(U32_ACTIONS, |actions| {
                actions.nest(1, |action| {
                    action
                        .attr_str(ACTION_KIND, "mirred")
                        .nest(ACTION_OPTIONS, |options| {
                            options.attr(MIRRED_PARAMETERS, &mirred);
                        });
                });
            });
    });
    let action = format!("redirect what {} receives to {}", link.name, to.name);
    socket.execute(&action, message)
}

/// Whether everything that `link` receives is redirected to `to`.
pub fn redirects(socket: &mut Socket, link: &Link, to: &Link) -> Result<bool, NetlinkError> {
    let message = Message::new(libc::RTM_GETTFILTER, 0, &header(link, 0, INGRESS_HANDLE, 0));
    let filters = match socket.dump(&format!("list the filters of {}", link.name), message) {
        // There is no ingress queue.
        Err(error) if error.errno().is_some() => return Ok(false),
        other => other?,
    };
    Ok(filters.iter().any(|filter| {
        let actions = find(filter.body.get(20..).unwrap_or_default(), OPTIONS)
            .and_then(|options| find(options, U32_ACTIONS))
            .and_then(|actions| find(actions, 1))
            .and_then(|action| find(action, ACTION_OPTIONS))
            .and_then(|options| find(options, MIRRED_PARAMETERS));
        actions.and_then(|mirred| read_u32(mirred, 24)) == Some(to.index)
    }))
}

/// Removes what [`add_token_bucket`] or, on the receiving side, [`add_ingress`] has added, with all filters.
pub fn remove(socket: &mut Socket, link: &Link, sending: bool) -> Result<(), NetlinkError> {
    let parent = if sending { ROOT } else { INGRESS };
    let message = Message::new(libc::RTM_DELQDISC, 0, &header(link, 0, parent, 0));
    match socket.execute(&format!("remove a queue from {}", link.name), message) {
        Err(error) if matches!(error.errno(), Some(Errno::ENODEV | Errno::ENOENT | Errno::EINVAL)) => Ok(()),
        other => other,
    }
}

/// The queueing disciplines of `link`.
pub fn list(socket: &mut Socket, link: &Link) -> Result<Vec<Found>, NetlinkError> {
    let message = Message::new(libc::RTM_GETQDISC, 0, &header(link, 0, 0, 0));
    let replies = socket.dump(&format!("list the queues of {}", link.name), message)?;
    let mut found = Vec::new();
    for reply in replies {
        // The kernel lists those of all interfaces.
        if read_u32(&reply.body, 4) != Some(link.index) {
            continue;
        }
        let attributes = reply.body.get(20..).unwrap_or_default();
        let options = find(attributes, OPTIONS).unwrap_or_default();
        let number = |parameters: &[u8], at| read_u32(parameters, at).unwrap_or_default();
        let long = find(options, TBF_RATE64).and_then(|value| value.try_into().ok());
        let kind = find(attributes, KIND).map(text).unwrap_or_default();
        let bucket = find(options, TBF_PARAMETERS).filter(|_| kind == "tbf");
        found.push(Found {
            kind,
            root: read_u32(&reply.body, 12) == Some(ROOT),
            bucket: bucket.map(|parameters| TokenBucket {
                rate: long.map_or(u64::from(number(parameters, 8)), u64::from_ne_bytes),
                fill: number(parameters, 28),
                limit: number(parameters, 24),
            }),
        });
    }
    Ok(found)
}

fn create(kind: u16, link: &Link, handle: u32, parent: u32, information: u32) -> Message {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Message::new(kind, flags, &header(link, handle, parent, information))
}

/// `struct tcmsg`: family and padding, interface, handle, parent, information.
fn header(link: &Link, handle: u32, parent: u32, information: u32) -> [u8; 20] {
    let mut body = [0; 20];
    for (place, number) in [link.index, handle, parent, information].into_iter().enumerate() {
        body[4 + 4 * place..8 + 4 * place].copy_from_slice(&number.to_ne_bytes());
    }
    body
}
