//! The nodes of a cluster as peers of the pod network, from the annotations that flannel's daemon and this program write
//! into the Node objects (flannel's *Kubernetes subnet manager*).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures::StreamExt as _;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as FullNode;
use kube::api::ApiResource;
use kube::core::{NotUsed, Object};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::follow::follow;
use super::pace::Pace;
use super::pods::{first_line, refusal};
use crate::model::bounds::shortened;
use crate::model::last_logged::LastLogged;
use crate::model::overlay::annotation;
use crate::model::overlay::{Backend, Mac, Peer, Peers, Transport, is_of_one_machine};

/// What an administrator does who wants the nodes to read each other.
const REMEDY: &str = "as the cluster's administrator, run: kubectl apply -f packaging/pod-network.yaml (from gantry's sources)";
/// How many bytes of a node's problems are shown: they repeat what is in its annotations.
const SHOWN: usize = 256;

/// What has to be read of a Node: a status with its images is many times as long.
type Node = Object<Cidrs, NotUsed>;

/// `Node.spec`, as far as it is read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cidrs {
    #[serde(default, rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(default, rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

/// The data of a VXLAN back end.
#[derive(Deserialize)]
struct Data {
    /// Flannel's daemon wrote none before version 0.12.
    #[serde(rename = "VNI", default = "default_vni")]
    vni: u32,
    #[serde(rename = "VtepMAC")]
    mac: String,
}

fn default_vni() -> u32 {
    Transport::VNI
}

/// Watches the nodes until canceled. While the API server is unreachable, those that are known stay.
pub async fn run(
    clients: watch::Receiver<kube::Client>,
    out: watch::Sender<Peers>,
    cancel: CancellationToken,
) {
    let resource = ApiResource::erase::<FullNode>(&());
    let mut nodes = Nodes::default();
    let watch = |client| {
        let api: kube::Api<Node> = kube::Api::all_with(client, &resource);
        kube::runtime::watcher(api, watcher::Config::default())
            .backoff(Pace::new())
            .boxed()
    };
    let take = |event| match event {
        Ok(event) => nodes.take(event, &out),
        Err(error) => nodes.fail(&error, &out),
    };
    follow(clients, cancel, watch, take).await;
}

/// What the API server says, with what an administrator does about it, if this node may not read what the pod network needs.
pub(super) fn forbidden(error: &watcher::Error) -> Option<String> {
    let status = refusal(error).filter(|status| status.code == 403)?;
    Some(format!("{}; {REMEDY}", status.message))
}

/// What is known of the nodes.
#[derive(Default)]
struct Nodes {
    /// Those of a list that is not complete.
    listing: BTreeMap<String, Vec<Arc<Peer>>>,
    known: BTreeMap<String, Vec<Arc<Peer>>>,
    problems: BTreeMap<String, LastLogged<String>>,
    failure: LastLogged<String>,
}

impl Nodes {
    fn take(&mut self, event: Event<Node>, out: &watch::Sender<Peers>) {
        self.failure.clear();
        match event {
            Event::Init => {
                self.listing.clear();
                return;
            }
            Event::InitApply(node) => {
                let (name, peers) = self.read(&node);
                self.listing.insert(name, peers);
                return;
            }
            Event::InitDone => {
                self.known = std::mem::take(&mut self.listing);
                self.problems.retain(|name, _| self.known.contains_key(name));
            }
            Event::Apply(node) => {
                let (name, peers) = self.read(&node);
                // Most changes are of a status.
                if self.known.get(&name) == Some(&peers) {
                    return;
                }
                self.known.insert(name, peers);
            }
            Event::Delete(node) => {
                let name = node.metadata.name.unwrap_or_default();
                self.problems.remove(&name);
                self.known.remove(&name);
            }
        }
        self.publish(out);
    }

    fn publish(&self, out: &watch::Sender<Peers>) {
        let peers: Arc<[Arc<Peer>]> = self.known.values().flatten().cloned().collect();
        out.send_if_modified(|before| before.take(Peers::Known(peers)));
    }

    fn fail(&mut self, error: &watcher::Error, out: &watch::Sender<Peers>) {
        let text = match forbidden(error) {
            Some(why) => format!("the API server does not show this node the other nodes: {why}"),
            None => format!("cannot watch the nodes of the pod network: {}", first_line(error)),
        };
        if self.failure.is_news(&text) {
            tracing::warn!("{text}; retrying");
        }
        out.send_if_modified(|before| before.take(Peers::Unreadable(text)));
    }

    /// The node's entries, those of before where they are the same. What is wrong with it is logged once.
    fn read(&mut self, node: &Node) -> (String, Vec<Arc<Peer>>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let (peers, problems) = entries(&name, node);
        match problems.is_empty() {
            true => drop(self.problems.remove(&name)),
            false => {
                let text = shortened(problems.join("; "), SHOWN);
                if self.problems.entry(name.clone()).or_default().is_news(&text) {
                    tracing::warn!(
                        node = name,
                        problem = text,
                        "the node's annotations for the pod network are wrong; its pods cannot be reached until its network \
                         daemon writes them again"
                    );
                }
            }
        }
        let known = self.known.get(&name);
        let is_same = |known: &&Vec<Arc<Peer>>| known.iter().map(Arc::as_ref).eq(&peers);
        let kept = known.filter(is_same).cloned();
        (
            name,
            kept.unwrap_or_else(|| peers.into_iter().map(Arc::new).collect()),
        )
    }
}

/// A node's entries, one for each IP family that it has, and what is wrong.
fn entries(name: &str, node: &Node) -> (Vec<Peer>, Vec<String>) {
    let nothing = BTreeMap::new();
    let annotations = node.metadata.annotations.as_ref().unwrap_or(&nothing);
    let is_managed = annotations
        .get(annotation::MANAGED)
        .is_some_and(|text| text == "true");
    let (true, Some(kind)) = (is_managed, annotations.get(annotation::TYPE)) else {
        return Default::default();
    };
    let subnets: Vec<IpNet> = node
        .spec
        .pod_cidrs
        .iter()
        .chain(&node.spec.pod_cidr)
        .filter_map(|text| text.parse().ok())
        .collect();
    let (mut peers, mut problems) = (Vec::new(), Vec::new());
    for family in [&annotation::V4, &annotation::V6] {
        let subnet = subnets
            .iter()
            .find(|subnet| subnet.addr().is_ipv4() == family.is_v4);
        let overwritten = annotations.get(family.overwrite).filter(|text| !text.is_empty());
        let address = overwritten.or(annotations.get(family.address));
        // Flannel has an entry for each family that it has an address of.
        let (Some(subnet), Some(address)) = (subnet, address) else {
            continue;
        };
        let data = annotations.get(family.data).map_or("", String::as_str);
        match entry(address, *subnet, (kind, data), family) {
            Ok((address, backend)) => peers.push(Peer {
                name: name.to_owned(),
                address,
                subnet: subnet.trunc(),
                backend,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    (peers, problems)
}

fn entry(
    address: &str,
    subnet: IpNet,
    (kind, data): (&str, &str),
    family: &annotation::Family,
) -> Result<(IpAddr, Backend), String> {
    let name = family.address;
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("{name}: {address:?} is not an IP address"))?;
    if !is_of_one_machine(address) {
        return Err(format!(
            "{name}: {address} is not the address of one machine in a network"
        ));
    }
    if address.is_ipv4() != subnet.addr().is_ipv4() {
        return Err(format!("{name}: {address} is of another IP family"));
    }
    let backend = match kind {
        "host-gw" => Backend::HostGw,
        "vxlan" => {
            let name = family.data;
            let data: Data = serde_json::from_str(data).map_err(|error| format!("{name}: {error}"))?;
            let mac: Mac = data
                .mac
                .parse()
                .map_err(|error| format!("{name}: VtepMAC: {error}"))?;
            Backend::Vxlan { vni: data.vni, mac }
        }
        other => {
            let name = annotation::TYPE;
            return Err(format!("{name}: {other:?} is not one of vxlan and host-gw"));
        }
    };
    Ok((address, backend))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(annotations: Value, spec: Value) -> Node {
        serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n1", "annotations": annotations},
            "spec": spec,
            "status": {"images": [{"names": ["a"]}]},
        }))
        .unwrap()
    }

    /// The entries and problems, each as a text.
    fn check(annotations: Value, spec: Value) -> Vec<String> {
        let (peers, problems) = entries("n1", &node(annotations, spec));
        let peers = peers
            .iter()
            .map(|peer| format!("{} via {} by {:?}", peer.subnet, peer.address, peer.backend));
        peers.chain(problems).collect()
    }

    fn vxlan() -> Value {
        json!({
            "flannel.alpha.coreos.com/kube-subnet-manager": "true",
            "flannel.alpha.coreos.com/backend-type": "vxlan",
            "flannel.alpha.coreos.com/backend-data": r#"{"VNI":1,"VtepMAC":"1a:2b:3c:04:5e:6f"}"#,
            "flannel.alpha.coreos.com/public-ip": "192.0.2.7",
        })
    }

    fn with(mut annotations: Value, name: &str, value: &str) -> Value {
        annotations[format!("flannel.alpha.coreos.com/{name}")] = json!(value);
        annotations
    }

    #[test]
    fn a_node_of_flannels() {
        let one = || json!({"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24"]});
        let mac = "Vxlan { vni: 1, mac: Mac([26, 43, 60, 4, 94, 111]) }";
        let of_v4 = format!("10.244.3.0/24 via 192.0.2.7 by {mac}");
        assert_eq!(check(vxlan(), one()), std::slice::from_ref(&of_v4));
        let both = json!({"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24", "fd00:3::/64"]});
        assert_eq!(check(vxlan(), both.clone()), std::slice::from_ref(&of_v4));
        let dual = with(vxlan(), "public-ipv6", "2001:db8::7");
        let dual = with(
            dual,
            "backend-v6-data",
            r#"{"VNI":1,"VtepMAC":"1a:2b:3c:04:5e:6f"}"#,
        );
        assert_eq!(
            check(dual, both),
            [of_v4, format!("fd00:3::/64 via 2001:db8::7 by {mac}")]
        );
        let gateway = with(with(vxlan(), "backend-type", "host-gw"), "backend-data", "null");
        assert_eq!(check(gateway, one()), ["10.244.3.0/24 via 192.0.2.7 by HostGw"]);
        let moved = with(vxlan(), "public-ip-overwrite", "198.51.100.7");
        assert_eq!(
            check(moved, one()),
            [format!("10.244.3.0/24 via 198.51.100.7 by {mac}")]
        );
    }

    #[test]
    fn a_node_without_entries_is_none() {
        let one = || json!({"podCIDR": "10.244.3.0/24"});
        assert!(check(json!({}), one()).is_empty());
        assert!(check(vxlan(), json!({})).is_empty());
        assert!(check(with(vxlan(), "kube-subnet-manager", "false"), one()).is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = || json!({"podCIDR": "10.244.3.0/24"});
        for (name, value, expected) in [
            ("public-ip", "here", "public-ip: \"here\" is not an IP address"),
            (
                "public-ip",
                "127.0.0.1",
                "public-ip: 127.0.0.1 is not the address of one machine",
            ),
            (
                "public-ip",
                "2001:db8::1",
                "public-ip: 2001:db8::1 is of another IP family",
            ),
            (
                "backend-type",
                "wireguard",
                "backend-type: \"wireguard\" is not one of",
            ),
            ("backend-data", "null", "backend-data: invalid type: null"),
            (
                "backend-data",
                r#"{"VNI":1,"VtepMAC":"ff:ff:ff:ff:ff:ff"}"#,
                "backend-data: VtepMAC: ",
            ),
        ] {
            let found = check(with(vxlan(), name, value), one());
            assert!(
                matches!(&found[..], [text] if text.contains(expected)),
                "{found:?} has not {expected}"
            );
        }
    }

    #[test]
    fn the_list_counts_when_it_is_complete_and_a_failure_forgets_nothing() {
        let (out, peers) = watch::channel(Peers::Unknown);
        let mut nodes = Nodes::default();
        let spec = json!({"podCIDR": "10.244.3.0/24"});
        nodes.take(Event::Init, &out);
        nodes.take(Event::InitApply(node(vxlan(), spec.clone())), &out);
        assert_eq!(*peers.borrow(), Peers::Unknown);
        nodes.take(Event::InitDone, &out);
        let count = || match &*peers.borrow() {
            Peers::Known(peers) => Some(peers.len()),
            Peers::Unknown | Peers::Unreadable(_) => None,
        };
        assert_eq!(count(), Some(1));
        nodes.take(Event::Init, &out);
        assert_eq!(count(), Some(1), "what is listed anew stays until it is complete");
        nodes.fail(&watcher::Error::NoResourceVersion, &out);
        assert_eq!(count(), Some(1));
        nodes.take(Event::InitDone, &out);
        assert_eq!(count(), Some(0));
        nodes.take(Event::Apply(node(vxlan(), spec.clone())), &out);
        assert_eq!(count(), Some(1));
        nodes.take(Event::Delete(node(vxlan(), spec)), &out);
        assert_eq!(count(), Some(0));
    }
}
