//! What the cluster says of its pod network: flannel's ConfigMap `kube-flannel/kube-flannel-cfg` (its *Configuration*), so
//! that nodes with flannel's daemon and nodes without it are one network.

use futures::StreamExt as _;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::follow::follow;
use super::pace::Pace;
use super::peers::forbidden;
use super::pods::first_line;
use crate::model::bounds::shortened;
use crate::model::last_logged::LastLogged;
use crate::model::overlay::{ClusterNetwork, Transport};

const NAMESPACE: &str = "kube-flannel";
const NAME: &str = "kube-flannel-cfg";
const KEY: &str = "net-conf.json";
/// How many bytes of a problem are shown: it may repeat what is in the ConfigMap.
const SHOWN: usize = 256;

/// Flannel's configuration, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    network: Option<String>,
    #[serde(rename = "IPv6Network")]
    ipv6_network: Option<String>,
    #[serde(default)]
    backend: Backend,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Backend {
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "VNI")]
    vni: Option<u32>,
    port: Option<u16>,
    #[serde(default)]
    direct_routing: bool,
}

/// Watches the ConfigMap until canceled.
pub async fn run(
    clients: watch::Receiver<kube::Client>,
    out: watch::Sender<ClusterNetwork>,
    cancel: CancellationToken,
) {
    let mut logged = LastLogged::default();
    let watch = |client| {
        let api: kube::Api<ConfigMap> = kube::Api::namespaced(client, NAMESPACE);
        watch_object(api, NAME).backoff(Pace::new()).boxed()
    };
    let take = |next| {
        let now = match next {
            Ok(None) => ClusterNetwork::Unstated,
            Ok(Some(map)) => read(&map),
            Err(error) => ClusterNetwork::Unreadable(match forbidden(&error) {
                Some(why) => {
                    format!("the API server does not show this node the cluster's pod network: {why}")
                }
                None => format!("cannot watch the cluster's pod network: {}", first_line(&error)),
            }),
        };
        publish(now, &mut logged, &out);
    };
    follow(clients, cancel, watch, take).await;
}

fn publish(now: ClusterNetwork, logged: &mut LastLogged<String>, out: &watch::Sender<ClusterNetwork>) {
    match &now {
        ClusterNetwork::Unreadable(text) if logged.is_news(text) => tracing::warn!("{text}; retrying"),
        ClusterNetwork::Unreadable(_) => {}
        _ => logged.clear(),
    }
    out.send_if_modified(|before| before.take(now));
}

fn read(map: &ConfigMap) -> ClusterNetwork {
    let text = map.data.as_ref().and_then(|data| data.get(KEY));
    let read = match text {
        None => Err(format!("it has no key {KEY}")),
        Some(text) => network(text).map_err(|problem| format!("{KEY}: {problem}")),
    };
    read.unwrap_or_else(|problem| {
        let problem = shortened(problem, SHOWN);
        ClusterNetwork::Unreadable(format!(
            "the ConfigMap {NAMESPACE}/{NAME} does not say what the pod network is: {problem}; correct it, or set \
             networkBackend"
        ))
    })
}

fn network(text: &str) -> Result<ClusterNetwork, String> {
    let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut networks = Vec::new();
    for (field, text, is_v4) in [
        ("Network", written.network, true),
        ("IPv6Network", written.ipv6_network, false),
    ] {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            continue;
        };
        let network = text
            .parse::<IpNet>()
            .ok()
            .filter(|network| network.addr().is_ipv4() == is_v4);
        let family = if is_v4 { "IPv4" } else { "IPv6" };
        let network = network.ok_or_else(|| format!("{field}: {text:?} is not an {family} network"))?;
        networks.push(network.trunc());
    }
    let backend = written.backend;
    // Flannel's names are compared without regard to case.
    let kind = backend.kind.map(|kind| kind.to_ascii_lowercase());
    let transport = match kind.as_deref() {
        Some("vxlan") => Transport::Vxlan {
            vni: backend.vni.filter(|vni| *vni > 0).unwrap_or(Transport::VNI),
            port: backend.port.filter(|port| *port > 0).unwrap_or(Transport::PORT),
            is_direct: backend.direct_routing,
        },
        Some("host-gw") => Transport::HostGw,
        // Flannel's default, which is in user space.
        None => return Err("Backend.Type: udp, the default, is not one of vxlan and host-gw".to_owned()),
        Some(other) => return Err(format!("Backend.Type: {other:?} is not one of vxlan and host-gw")),
    };
    Ok(ClusterNetwork::Stated { networks, transport })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flannels_configuration_is_read() {
        let stated = |text: &str| match network(text).unwrap() {
            ClusterNetwork::Stated { networks, transport } => {
                let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
                (networks.join(","), transport)
            }
            other => panic!("{other:?}"),
        };
        let usual = r#"{"Network": "10.244.0.0/16", "EnableNFTables": false, "Backend": {"Type": "vxlan"}}"#;
        assert_eq!(stated(usual), ("10.244.0.0/16".to_owned(), Transport::VXLAN));
        let other = r#"{"Network": "10.9.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:9::/48",
            "Backend": {"Type": "VXLAN", "VNI": 4096, "Port": 4789, "DirectRouting": true}}"#;
        let transport = Transport::Vxlan {
            vni: 4096,
            port: 4789,
            is_direct: true,
        };
        assert_eq!(stated(other), ("10.9.0.0/16,fd00:9::/48".to_owned(), transport));
        assert_eq!(
            stated(r#"{"Backend": {"Type": "host-gw"}}"#),
            (String::new(), Transport::HostGw)
        );
        for (wrong, expected) in [
            ("{", "EOF"),
            (
                r#"{"Network": "fd00::/64"}"#,
                "Network: \"fd00::/64\" is not an IPv4 network",
            ),
            (r#"{"Network": "10.244.0.0/16"}"#, "Backend.Type: udp"),
            (
                r#"{"Backend": {"Type": "wireguard"}}"#,
                "Backend.Type: \"wireguard\" is not",
            ),
        ] {
            let error = network(wrong).unwrap_err();
            assert!(error.contains(expected), "{error} has not {expected}");
        }
    }

    #[test]
    fn what_was_read_stays_while_it_cannot_be_read() {
        let (out, found) = watch::channel(ClusterNetwork::Unknown);
        let mut logged = LastLogged::default();
        let unreadable = ClusterNetwork::Unreadable("no".to_owned());
        publish(unreadable.clone(), &mut logged, &out);
        assert_eq!(*found.borrow(), unreadable);
        publish(ClusterNetwork::Unstated, &mut logged, &out);
        publish(unreadable, &mut logged, &out);
        assert_eq!(*found.borrow(), ClusterNetwork::Unstated);
    }
}
