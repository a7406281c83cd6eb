//! GantryConfiguration: what this agent needs to know and KubeletConfiguration has no key for. It may stand
//! in the same file, as a second document, and each key has a flag.

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
    /// The node's name; the host's, in lower case, where it is absent.
    pub hostname_override: Option<String>,
    /// One address, or an IPv4 and an IPv6 one with a comma between; `::` prefers the host's IPv6 address.
    #[serde(rename = "nodeIP")]
    pub node_ip: Option<String>,
    /// Labels of the node.
    pub node_labels: Option<BTreeMap<String, String>>,
    /// Taints to register with, as the flag of the kubelet writes them: `key=value:Effect`, with commas between.
    pub register_with_taints: Option<String>,
    /// `external` where a cloud's own controller completes the node.
    pub cloud_provider: Option<String>,
    /// The version of Kubernetes that the node tells, like v1.34.2.
    pub kubernetes_version: Option<String>,
    /// The directory of the node's certificates and keys.
    pub cert_dir: Option<String>,
    /// The directory of volumes and pods' files.
    pub root_dir: Option<String>,
    /// The agent's own directory.
    pub state_dir: Option<String>,
    /// Which pods of the API server are started from what was stored of them while it does not answer:
    /// `Tolerated`, `Always` or `Never`.
    pub cut_off_start: Option<String>,
    /// The socket that commands reach the agent by.
    pub socket: Option<String>,
    /// Who connects the pods: `own`, `cluster`, or `auto`.
    pub pod_network: Option<String>,
    /// The network of all pods.
    #[serde(rename = "networkCIDR")]
    pub network_cidr: Option<String>,
    /// The directory of CNI configurations.
    pub cni_conf_dir: Option<String>,
    /// The directory of CNI plugins.
    pub cni_bin_dir: Option<String>,
    /// The directory of image archives.
    pub images_dir: Option<String>,
    /// The image of sandboxes, the agent's own where it is absent.
    pub pause_image: Option<String>,
    /// The configuration of the programs that have credentials for registries, or a directory of such files.
    pub image_credential_provider_config: Option<String>,
    /// The directory in which those programs lie.
    pub image_credential_provider_bin_dir: Option<String>,
    /// A level, or a filter of the `tracing` crate.
    pub log_level: Option<String>,
}
