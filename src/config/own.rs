//! GantryConfiguration: the settings of this agent that KubeletConfiguration has no key for. It may be a second
//! document in the same file, and each key has a flag.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `apiVersion` of the document.
pub const API_VERSION: &str = "gantry.dev/v1alpha1";
/// `kind` of the document.
pub const KIND: &str = "GantryConfiguration";

/// The document as written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GantryConfiguration {
    /// [`KIND`]
    pub kind: Option<String>,
    /// [`API_VERSION`]
    pub api_version: Option<String>,
    /// The node's name; by default the host name in lower case.
    pub hostname_override: Option<String>,
    /// One address, or an IPv4 and an IPv6 address separated by a comma; `::` prefers the host's IPv6 address.
    #[serde(rename = "nodeIP")]
    pub node_ip: Option<String>,
    /// Labels of the node.
    pub node_labels: Option<BTreeMap<String, String>>,
    /// Taints to register with, in the form of the kubelet's flag: `key=value:Effect`, separated by commas.
    pub register_with_taints: Option<String>,
    /// `external` if a cloud controller completes the node.
    pub cloud_provider: Option<String>,
    /// The Kubernetes version that the node reports, like v1.34.2.
    pub kubernetes_version: Option<String>,
    /// The directory of the node's certificates and keys.
    pub cert_dir: Option<String>,
    /// The directory of volumes and other files of pods.
    pub root_dir: Option<String>,
    /// The agent's state directory.
    pub state_dir: Option<String>,
    /// Which API pods are started from their checkpoint while the API server does not answer: `Tolerated`, `Always` or
    /// `Never`.
    pub cut_off_start: Option<String>,
    /// The RBAC verb on `nodes/proxy` that exec, attach, port-forward and run require: `Create`, or `ByMethod` as in the
    /// kubelet.
    pub stream_verb: Option<String>,
    /// The agent's socket for commands.
    pub socket: Option<String>,
    /// The port at 127.0.0.1 that answers kubectl on a machine without a cluster; 0: none.
    pub kubectl_port: Option<i32>,
    /// The group whose members may read the kubeconfig of that port.
    pub kubectl_group: Option<String>,
    /// Which network connects the pods: `own`, `cluster`, or `auto`.
    pub pod_network: Option<String>,
    /// The network of all pods.
    #[serde(rename = "networkCIDR")]
    pub network_cidr: Option<String>,
    /// The file of other machines whose pods this machine's pods reach.
    pub peers_file: Option<String>,
    /// How packets travel to other machines: `vxlan` or `host-gw`.
    pub network_backend: Option<String>,
    /// The VXLAN network identifier.
    #[serde(rename = "vxlanVNI")]
    pub vxlan_vni: Option<i64>,
    /// The UDP port of VXLAN.
    pub vxlan_port: Option<i64>,
    /// Whether machines on the same link are reached without VXLAN.
    pub direct_routing: Option<bool>,
    /// The directory of CNI configurations.
    pub cni_conf_dir: Option<String>,
    /// The directory of CNI plugins.
    pub cni_bin_dir: Option<String>,
    /// The directory of image archives.
    pub images_dir: Option<String>,
    /// The sandbox image; by default the agent's own.
    pub pause_image: Option<String>,
    /// The configuration of the credential provider plugins, or a directory of such files.
    pub image_credential_provider_config: Option<String>,
    /// The directory of the credential provider executables.
    pub image_credential_provider_bin_dir: Option<String>,
    /// A level, or a filter of the `tracing` crate.
    pub log_level: Option<String>,
}
