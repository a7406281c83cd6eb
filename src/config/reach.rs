//! The agent's sockets and addresses, and the pod network. Pure.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::checks::Checks;
use super::overlay::{self, overlay};
use super::own::GantryConfiguration;
use super::raw::KubeletConfiguration;
use super::surroundings::{ConfigContext, directory, span};
use super::{Network, PodNetwork, Runtime, Serve, gates, kubectl, node_api, offered, tls};

/// The configuration section of this name.
pub fn network(
    written: &KubeletConfiguration,
    own: &GantryConfiguration,
    context: &ConfigContext,
    (checks, own_checks): (&mut Checks<'_>, &mut Checks<'_>),
) -> Network {
    let whole: ipnet::Ipv4Net = "10.244.0.0/16".parse().expect("a literal network");
    let range = match own.network_cidr.as_deref().filter(|text| !text.is_empty()) {
        None => whole,
        Some(text) => ipv4_net(text).unwrap_or_else(|problem| {
            own_checks.wrong("networkCIDR", problem);
            whole
        }),
    };
    if range.prefix_len() > 24 {
        own_checks.wrong(
            "networkCIDR",
            format!("{range} is too small for a node's /24; use /24 or larger"),
        );
    }
    let pod_cidr = written.pod_cidr.as_deref().and_then(|text| match ipv4_net(text) {
        Ok(net) if range.contains(&net) => Some(net),
        Ok(net) => {
            checks.wrong(
                "podCIDR",
                format!("{net} is not within networkCIDR {range}; set --network-cidr too"),
            );
            None
        }
        Err(problem) => {
            checks.wrong("podCIDR", problem);
            None
        }
    });
    let whose = whose(own, own_checks);
    let pods = match whose {
        PodNetwork::Own => overlay::Connected::Agent,
        PodNetwork::Auto => overlay::Connected::AgentWithoutCluster,
        PodNetwork::Cluster => overlay::Connected::Another,
    };
    Network {
        whose,
        range,
        pod_cidr,
        overlay: overlay(own, pods, context, own_checks),
        cni_conf_dir: directory(own.cni_conf_dir.as_ref(), "/etc/cni/net.d", context),
        cni_bin_dir: directory(own.cni_bin_dir.as_ref(), "/opt/cni/bin", context),
        util_chains: written.make_iptables_util_chains != Some(false),
    }
}

fn whose(own: &GantryConfiguration, own_checks: &mut Checks<'_>) -> PodNetwork {
    match own.pod_network.as_deref().unwrap_or_default() {
        "" | "auto" => PodNetwork::Auto,
        "own" => PodNetwork::Own,
        "cluster" => PodNetwork::Cluster,
        other => {
            own_checks.wrong(
                "podNetwork",
                format!("{other:?} is not one of auto, own and cluster"),
            );
            PodNetwork::Auto
        }
    }
}

fn ipv4_net(text: &str) -> Result<ipnet::Ipv4Net, String> {
    match text.parse::<ipnet::IpNet>() {
        Ok(ipnet::IpNet::V4(net)) if net.trunc() == net => Ok(net),
        Ok(ipnet::IpNet::V4(net)) => Err(format!("{net} has host bits set; write {}", net.trunc())),
        Ok(ipnet::IpNet::V6(net)) => Err(format!(
            "{net}: IPv6 pod networks are not supported yet; use an IPv4 network"
        )),
        Err(_) => Err(format!(
            "{text:?} is not an IPv4 network; write it like 10.244.0.0/16"
        )),
    }
}

/// The configuration section of this name.
pub fn serve(
    written: &KubeletConfiguration,
    own: &GantryConfiguration,
    context: &ConfigContext,
    (checks, own_checks): (&mut Checks<'_>, &mut Checks<'_>),
) -> Serve {
    // The ranges and addresses were validated; invalid values have already caused an error.
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    let address = |address: &Option<String>, port: u16| {
        let address: IpAddr = address.as_ref()?.parse().ok()?;
        (port != 0).then(|| SocketAddr::new(address, port))
    };
    let api_port = port(written.port);
    Serve {
        socket: directory(own.socket.as_ref(), "/run/gantry/gantry.sock", context),
        healthz: address(&written.healthz_bind_address, port(written.healthz_port)),
        api: address(&written.address, api_port).filter(|_| written.enable_server != Some(false)),
        read_only: address(&written.address, port(written.read_only_port)),
        api_port,
        kubectl: kubectl::kubectl(own, own_checks),
        node_api: node_api::node_api(written, own, context, (checks, own_checks)),
        tls: tls::offer(written, checks),
        offered: offered::offered(written),
        gates: gates::gates(written),
        debugging: written.enable_debugging_handlers != Some(false),
        stream_idle: span(written.streaming_connection_idle_timeout),
    }
}

/// The configuration section of this name.
pub fn runtime(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> Runtime {
    let mut socket = |key: &str, endpoint: &str| match endpoint.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => PathBuf::from(path),
        None if endpoint.starts_with('/') => PathBuf::from(endpoint),
        _ => {
            let example = "unix:///run/containerd/containerd.sock";
            checks.wrong(
                key,
                format!("{endpoint:?} is not a Unix socket; write it like {example}"),
            );
            PathBuf::new()
        }
    };
    let endpoint = written.container_runtime_endpoint.as_deref().unwrap_or_default();
    let image_endpoint = written.image_service_endpoint.as_deref().unwrap_or(endpoint);
    Runtime {
        endpoint: socket("containerRuntimeEndpoint", endpoint),
        image_endpoint: socket("imageServiceEndpoint", image_endpoint),
        request_timeout: span(written.runtime_request_timeout),
    }
}
