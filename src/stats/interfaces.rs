//! The counters of network interfaces (proc_pid_net(5)).

use crate::model::stats::{Interface, Traffic};

/// Loopback, and the ends of containers' links, are not counted: their bytes are counted at the other end.
const IGNORED: [&str; 4] = ["lo", "veth", "docker", "nerdctl"];

/// Those of a network namespace, by the `net/dev` of a process in it.
pub(super) fn parse(text: &str) -> Vec<Interface> {
    text.lines().filter_map(interface).collect()
}

/// `  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16`; the two lines of titles have no numbers.
fn interface(line: &str) -> Option<Interface> {
    let (name, numbers) = line.rsplit_once(':')?;
    let name = name.trim();
    let mut numbers = numbers.split_ascii_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    let (bytes, packets, errors, dropped) = (next()?, next()?, next()?, next()?);
    let received = Traffic {
        bytes,
        packets,
        errors,
        dropped,
    };
    // fifo, frame, compressed, multicast
    for _ in 0..4 {
        next()?;
    }
    let sent = Traffic {
        bytes: next()?,
        packets: next()?,
        errors: next()?,
        dropped: next()?,
    };
    let begins = |prefix: &str| {
        let start = name.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let is_ignored = IGNORED.iter().any(|prefix| begins(prefix));
    (!is_ignored).then(|| Interface {
        name: name.to_owned(),
        received,
        sent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_but_the_machines_inner_ones_is_read() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
            \x20   lo: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n\
            \x20 eth0:100 2 3 4 5 6 7 8 900 10 11 12 13 14 15 16\n\
            veth01: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n\
            net:1: 7 0 0 0 0 0 0 0 8 0 0 0 0 0 0 0\n\
            broken: 1 2\n";
        let read: Vec<(String, u64, u64, u64)> = parse(text)
            .into_iter()
            .map(|one| (one.name, one.received.bytes, one.sent.bytes, one.sent.dropped))
            .collect();
        let expected = [("eth0".to_owned(), 100, 900, 12), ("net:1".to_owned(), 7, 8, 0)];
        assert_eq!(read, expected);
    }

    #[test]
    fn the_kernels_own_file_is_read() {
        let text = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let all = text.lines().filter(|line| line.contains(':')).count();
        let parsed = parse(&text);
        assert!(all > 0 && parsed.len() < all, "{parsed:?}");
    }
}
