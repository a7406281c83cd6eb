//! The agent's sockets and addresses, and the pod network. Pure.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::checks::Checks;
use super::overlay::{self, overlay};
use super::own::GantryConfiguration;
use super::raw::KubeletConfiguration;
use super::surroundings::{ConfigContext, directory, span};
use super::{Network, PodNetwork, Runtime, Serve, gates, kubectl, node_api, offered, tls};
use crate::model::pod_network::{of_family, subnet_prefix};

/// The configuration section of this name.
pub fn network(
    written: &KubeletConfiguration,
    own: &GantryConfiguration,
    context: &ConfigContext,
    (checks, own_checks): (&mut Checks<'_>, &mut Checks<'_>),
) -> Network {
    let whole: IpNet = "10.244.0.0/16".parse().expect("a literal network");
    let range = match own.network_cidr.as_deref().filter(|text| !text.is_empty()) {
        None => vec![whole],
        Some(text) => networks(text).unwrap_or_else(|problem| {
            own_checks.wrong("networkCIDR", problem);
            vec![whole]
        }),
    };
    for range in &range {
        let of_node = subnet_prefix(*range);
        if range.prefix_len() > of_node {
            own_checks.wrong(
                "networkCIDR",
                format!("{range} is too small for a node's /{of_node}; use /{of_node} or larger"),
            );
        }
    }
    let text = written.pod_cidr.as_deref().filter(|text| !text.is_empty());
    let pod_cidr = text.map_or(Ok(Vec::new()), networks).unwrap_or_else(|problem| {
        checks.wrong("podCIDR", problem);
        Vec::new()
    });
    for net in &pod_cidr {
        if !range.iter().any(|range| range.contains(net)) {
            let shown: Vec<String> = range.iter().map(ToString::to_string).collect();
            checks.wrong(
                "podCIDR",
                format!(
                    "{net} is not within networkCIDR {}; set --network-cidr too",
                    shown.join(",")
                ),
            );
        }
    }
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

/// One network, or one of each IP family.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let mut all: Vec<IpNet> = Vec::new();
    for text in text.split(',') {
        let net: IpNet = text.trim().parse().map_err(|_| {
            format!(
                "{text:?} is not a network; write it like 10.244.0.0/16 or 10.244.0.0/16,fd00:10:244::/48"
            )
        })?;
        if net.trunc() != net {
            return Err(format!("{net} has host bits set; write {}", net.trunc()));
        }
        if let Some(other) = of_family(&all, net) {
            return Err(format!(
                "{other} and {net} are of one IP family; write at most one network of each"
            ));
        }
        all.push(net);
    }
    Ok(all)
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
