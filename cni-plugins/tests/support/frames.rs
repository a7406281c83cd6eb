//! Ethernet frames as an attacker writes them: any addresses, past the sender's own routing and filters.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

/// How long the answer to an honest frame may take.
const PATIENCE: Duration = Duration::from_secs(10);
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// A network card that sends what it is given and shows all that arrives.
pub(crate) struct Wire {
    socket: OwnedFd,
    link: LinkAddr,
    mac: [u8; 6],
}

impl Wire {
    /// The card `eth0` of the current namespace.
    pub(crate) fn open() -> Self {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .unwrap();
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000)).unwrap();
        let mut interfaces = nix::ifaddrs::getifaddrs()
            .unwrap()
            .filter(|one| one.interface_name == "eth0");
        let link = interfaces
            .find_map(|one| one.address?.as_link_addr().copied())
            .unwrap();
        Wire {
            socket,
            link,
            mac: link.addr().unwrap(),
        }
    }

    /// The same card, which claims to be another one.
    pub(crate) fn disguised(self, mac: [u8; 6]) -> Self {
        Wire { mac, ..self }
    }

    /// Sends a frame of no protocol, to an address that no bridge passes on.
    pub(crate) fn send_to_bridge(&self) {
        let frame = [
            &[0x01, 0x80, 0xc2, 0, 0, 0x0e][..],
            &self.mac,
            &[0x88, 0xb5],
            &[0; 46],
        ]
        .concat();
        sendto(self.socket.as_raw_fd(), &frame, &self.link, MsgFlags::empty()).unwrap();
    }

    /// Sends a packet whose network header and payload are `packet` to the card at `to`.
    fn send(&self, to: [u8; 6], packet: &[u8]) {
        let kind: [u8; 2] = if packet[0] >> 4 == 4 {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        };
        let frame = [&to[..], &self.mac, &kind, packet].concat();
        sendto(self.socket.as_raw_fd(), &frame, &self.link, MsgFlags::empty()).unwrap();
    }

    /// Begins a TCP connection.
    pub(crate) fn send_syn(&self, to: [u8; 6], from: SocketAddr, dst: SocketAddr) {
        let mut segment = [from.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
        // Sequence 1, no acknowledgement, five words of header, SYN, window, checksum to be filled in, no urgent data.
        segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
        self.send(to, &packet(from.ip(), dst.ip(), TCP, segment, 16));
    }

    /// Sends a datagram of one byte.
    pub(crate) fn send_datagram(&self, to: [u8; 6], from: SocketAddr, dst: SocketAddr) {
        let mut datagram = [
            from.port().to_be_bytes(),
            dst.port().to_be_bytes(),
            [0, 9],
            [0, 0],
        ]
        .concat();
        datagram.push(b'?');
        self.send(to, &packet(from.ip(), dst.ip(), UDP, datagram, 6));
    }

    /// Begins an SCTP association (RFC 9260 3.3.2, INIT). No kernel's SCTP is needed for it.
    pub(crate) fn send_init(&self, to: [u8; 6], from: SocketAddr, dst: SocketAddr) {
        let mut segment = [from.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
        // No verification tag yet, checksum; INIT of twenty bytes: tag, window, streams out and in, first number.
        segment.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0, 0, 0, 7]);
        segment.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        let checksum = crc32c(&segment).to_le_bytes();
        segment[8..12].copy_from_slice(&checksum);
        self.send(to, &around(from.ip(), dst.ip(), SCTP, &segment));
    }

    /// Sender and receiver of the next SCTP packet over IPv4 that arrives here, and whether its checksum is right.
    pub(crate) fn next_init(&self) -> (SocketAddr, SocketAddr, bool) {
        let end = Instant::now() + PATIENCE;
        let mut frame = [0; 2048];
        loop {
            assert!(Instant::now() < end, "no SCTP packet arrived");
            let received = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty());
            let Some(packet) = received.ok().and_then(|length| frame.get(14..length)) else {
                continue;
            };
            if packet[0] != 0x45 || packet[9] != SCTP || frame[..6] != self.mac {
                continue;
            }
            let mut segment = packet[20..].to_vec();
            let end = |address: usize, port: usize| {
                let ip: [u8; 4] = packet[address..address + 4].try_into().unwrap();
                SocketAddr::new(ip.into(), u16::from_be_bytes([segment[port], segment[port + 1]]))
            };
            let (from, to) = (end(12, 0), end(16, 2));
            let checksum = segment[8..12].to_vec();
            segment[8..12].fill(0);
            return (from, to, crc32c(&segment).to_le_bytes() == checksum[..]);
        }
    }

    /// Announces itself, as `from`, to be the router of everything, and a prefix to draw addresses from (RFC 4861 4.2).
    pub(crate) fn announce_router(&self, from: IpAddr) {
        let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([3, 4, 64, 0xc0, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        message.extend([0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut packet = packet(from, "ff02::1".parse().unwrap(), ICMPV6, message, 2);
        // Only a neighbour can send with all hops left.
        packet[7] = 255;
        self.send([0x33, 0x33, 0, 0, 0, 1], &packet);
    }

    /// The ends of the connections that were accepted (SYN with ACK) up to the one that `last` accepts. The kernel takes
    /// frames in the order in which they were sent, so what was not answered before is not answered at all.
    pub(crate) fn accepted_until(&self, last: SocketAddr) -> Vec<SocketAddr> {
        let end = Instant::now() + PATIENCE;
        let mut accepted = Vec::new();
        let mut frame = [0; 2048];
        while !accepted.contains(&last) {
            assert!(Instant::now() < end, "{last} did not answer; {accepted:?} did");
            if let Ok(length) = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                accepted.extend(accepting(&frame[..length]));
            }
        }
        accepted.pop();
        accepted
    }
}

/// The sender of a frame that accepts a TCP connection.
fn accepting(frame: &[u8]) -> Option<SocketAddr> {
    let packet = frame.get(14..)?;
    let (source, protocol, segment) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            (IpAddr::from(source), packet[9], packet.get(header..)?)
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            (IpAddr::from(source), packet[6], packet.get(40..)?)
        }
        _ => return None,
    };
    let accepts = protocol == TCP && segment.get(13)? & 0x12 == 0x12;
    accepts.then(|| SocketAddr::new(source, u16::from_be_bytes([segment[0], segment[1]])))
}

/// A packet around a transport segment, whose checksum stands at `checksum`.
fn packet(from: IpAddr, to: IpAddr, protocol: u8, mut segment: Vec<u8>, checksum: usize) -> Vec<u8> {
    let length = u16::try_from(segment.len()).unwrap();
    let addresses = [bytes(from), bytes(to)].concat();
    let pseudo = [&addresses[..], &[0, protocol], &length.to_be_bytes(), &segment].concat();
    segment[checksum..checksum + 2].copy_from_slice(&sum(&pseudo).to_be_bytes());
    around(from, to, protocol, &segment)
}

/// The network header, and the segment as it is.
fn around(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(segment.len()).unwrap();
    let addresses = [bytes(from), bytes(to)].concat();
    if from.is_ipv6() {
        let [high, low] = length.to_be_bytes();
        return [&[0x60, 0, 0, 0, high, low, protocol, 64][..], &addresses, segment].concat();
    }
    let [high, low] = (length + 20).to_be_bytes();
    let mut header = [
        &[0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0][..],
        &addresses,
    ]
    .concat();
    let own = sum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&own);
    [&header, segment].concat()
}

fn bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
