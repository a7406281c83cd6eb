//! A port of a container.

use std::net::IpAddr;

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `name`, empty where unstated.
    pub name: String,
    /// `containerPort`
    pub container: u16,
    /// `hostPort`
    pub host: Option<u16>,
    /// `hostIP`
    pub host_ip: Option<IpAddr>,
    /// `protocol`
    pub protocol: Protocol,
}
