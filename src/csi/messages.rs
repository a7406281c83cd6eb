//! The messages of the node side of the Container Storage Interface (`csi.v1.Node`, specification 1.12) and of
//! the kubelet's plugin registration (`pluginregistration`, v1), as far as a node uses them.
//!
//! They are written out because no crate that is kept up has them for this version of tonic. The numbers are those of
//! `csi.proto` and of `pkg/apis/pluginregistration/v1/api.proto` in `k8s.io/kubelet`.

use std::collections::HashMap;
use std::fmt;

/// A message without fields.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Empty {}

/// `pluginregistration.PluginInfo`: what a plugin is, by its own account.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PluginInfo {
    /// `CSIPlugin`, `DevicePlugin` or `DRAPlugin`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Of a CSI driver, its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The socket that serves it, where that is not the one that was asked.
    #[prost(string, tag = "3")]
    pub endpoint: String,
    /// The versions of the plugin's interface, such as `1.0.0`.
    #[prost(string, repeated, tag = "4")]
    pub supported_versions: Vec<String>,
}

/// `pluginregistration.RegistrationStatus`: what came of a registration.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegistrationStatus {
    /// It is registered.
    #[prost(bool, tag = "1")]
    pub plugin_registered: bool,
    /// Why not; else empty.
    #[prost(string, tag = "2")]
    pub error: String,
}

/// `NodeGetInfoResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeInfo {
    /// What the driver calls this node.
    #[prost(string, tag = "1")]
    pub node_id: String,
    /// How many of its volumes the node can have; 0: not stated.
    #[prost(int64, tag = "2")]
    pub max_volumes_per_node: i64,
    /// Where the node is, for volumes that cannot be reached from everywhere.
    #[prost(message, optional, tag = "3")]
    pub accessible_topology: Option<Topology>,
}

/// `Topology`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Topology {
    /// By domain, such as `topology.example.com/zone`.
    #[prost(map = "string, string", tag = "1")]
    pub segments: HashMap<String, String>,
}

/// `NodeGetCapabilitiesResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeCapabilities {
    /// What the driver can do.
    #[prost(message, repeated, tag = "1")]
    pub capabilities: Vec<NodeCapability>,
}

/// `NodeServiceCapability`, whose only type is an RPC.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct NodeCapability {
    /// The RPC.
    #[prost(message, optional, tag = "1")]
    pub rpc: Option<RpcCapability>,
}

/// `NodeServiceCapability.RPC`
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RpcCapability {
    /// Which one.
    #[prost(enumeration = "Capability", tag = "1")]
    pub kind: i32,
}

/// `NodeServiceCapability.RPC.Type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Capability {
    /// Not stated.
    Unknown = 0,
    /// NodeStageVolume and NodeUnstageVolume.
    StageUnstageVolume = 1,
    /// NodeGetVolumeStats.
    GetVolumeStats = 2,
    /// NodeExpandVolume.
    ExpandVolume = 3,
    /// NodeGetVolumeStats tells whether the volume is well.
    VolumeCondition = 4,
    /// It knows the access modes of one node.
    SingleNodeMultiWriter = 5,
    /// It gives a volume to a group itself.
    VolumeMountGroup = 6,
}

/// `VolumeCapability`: how a volume is used.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VolumeCapability {
    /// As a device or with a file system.
    #[prost(oneof = "AccessType", tags = "1, 2")]
    pub access_type: Option<AccessType>,
    /// By whom.
    #[prost(message, optional, tag = "3")]
    pub access_mode: Option<AccessMode>,
}

/// `VolumeCapability.access_type`
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum AccessType {
    /// As a device.
    #[prost(message, tag = "1")]
    Block(Empty),
    /// With a file system.
    #[prost(message, tag = "2")]
    Mount(MountVolume),
}

/// `VolumeCapability.MountVolume`
#[derive(Clone, PartialEq, prost::Message)]
pub struct MountVolume {
    /// The file system; empty: the driver's choice.
    #[prost(string, tag = "1")]
    pub fs_type: String,
    /// Options of mount(8).
    #[prost(string, repeated, tag = "2")]
    pub mount_flags: Vec<String>,
    /// The group that the driver gives it to; empty: none.
    #[prost(string, tag = "3")]
    pub volume_mount_group: String,
}

/// `VolumeCapability.AccessMode`
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct AccessMode {
    /// Which one.
    #[prost(enumeration = "Mode", tag = "1")]
    pub mode: i32,
}

/// `VolumeCapability.AccessMode.Mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Mode {
    /// Not stated.
    Unknown = 0,
    /// One node writes.
    SingleNodeWriter = 1,
    /// One node reads.
    SingleNodeReaderOnly = 2,
    /// Many nodes read.
    MultiNodeReaderOnly = 3,
    /// Many nodes read, one writes.
    MultiNodeSingleWriter = 4,
    /// Many nodes write.
    MultiNodeMultiWriter = 5,
    /// One pod of one node writes.
    SingleNodeSingleWriter = 6,
    /// Many pods of one node write.
    SingleNodeMultiWriter = 7,
}

/// `NodeStageVolumeRequest`
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct StageRequest {
    /// What the driver calls the volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// What came of attaching it.
    #[prost(map = "string, string", tag = "2")]
    pub publish_context: HashMap<String, String>,
    /// Where to stage it.
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
    /// How it is used.
    #[prost(message, optional, tag = "4")]
    pub volume_capability: Option<VolumeCapability>,
    /// For the driver alone.
    #[prost(map = "string, string", tag = "5")]
    pub secrets: HashMap<String, String>,
    /// What the driver said of the volume when it made it.
    #[prost(map = "string, string", tag = "6")]
    pub volume_context: HashMap<String, String>,
}

/// `NodePublishVolumeRequest`
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct PublishRequest {
    /// What the driver calls the volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// What came of attaching it.
    #[prost(map = "string, string", tag = "2")]
    pub publish_context: HashMap<String, String>,
    /// Where it is staged; empty: nowhere.
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
    /// Where to publish it.
    #[prost(string, tag = "4")]
    pub target_path: String,
    /// How it is used.
    #[prost(message, optional, tag = "5")]
    pub volume_capability: Option<VolumeCapability>,
    /// Nothing may be written.
    #[prost(bool, tag = "6")]
    pub readonly: bool,
    /// For the driver alone.
    #[prost(map = "string, string", tag = "7")]
    pub secrets: HashMap<String, String>,
    /// What the driver said of the volume when it made it, and what it is told of the pod, which may be tokens.
    #[prost(map = "string, string", tag = "8")]
    pub volume_context: HashMap<String, String>,
}

impl fmt::Debug for StageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "NodeStageVolume {} at {}",
            self.volume_id, self.staging_target_path
        )
    }
}

impl fmt::Debug for PublishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePublishVolume {} at {}", self.volume_id, self.target_path)
    }
}

/// `NodeUnstageVolumeRequest` and `NodeUnpublishVolumeRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct UndoRequest {
    /// What the driver calls the volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// Where it is staged or published.
    #[prost(string, tag = "2")]
    pub path: String,
}

/// `NodeGetVolumeStatsRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatsRequest {
    /// What the driver calls the volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// Where it is published.
    #[prost(string, tag = "2")]
    pub volume_path: String,
}

/// `NodeGetVolumeStatsResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatsResponse {
    /// In bytes and in inodes.
    #[prost(message, repeated, tag = "1")]
    pub usage: Vec<VolumeUsage>,
    /// Whether it is well.
    #[prost(message, optional, tag = "2")]
    pub volume_condition: Option<VolumeCondition>,
}

/// `VolumeUsage`
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct VolumeUsage {
    /// What is left.
    #[prost(int64, tag = "1")]
    pub available: i64,
    /// All of it.
    #[prost(int64, tag = "2")]
    pub total: i64,
    /// What is used.
    #[prost(int64, tag = "3")]
    pub used: i64,
    /// Of what.
    #[prost(enumeration = "Unit", tag = "4")]
    pub unit: i32,
}

/// `VolumeUsage.Unit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Unit {
    /// Not stated.
    Unknown = 0,
    /// Bytes.
    Bytes = 1,
    /// Inodes.
    Inodes = 2,
}

/// `VolumeCondition`
#[derive(Clone, PartialEq, prost::Message)]
pub struct VolumeCondition {
    /// It is not well.
    #[prost(bool, tag = "1")]
    pub abnormal: bool,
    /// How it is.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `NodeExpandVolumeRequest`
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct ExpandRequest {
    /// What the driver calls the volume.
    #[prost(string, tag = "1")]
    pub volume_id: String,
    /// Where it is published, or staged.
    #[prost(string, tag = "2")]
    pub volume_path: String,
    /// How large it shall be.
    #[prost(message, optional, tag = "3")]
    pub capacity_range: Option<CapacityRange>,
    /// Where it is staged; empty: nowhere.
    #[prost(string, tag = "4")]
    pub staging_target_path: String,
    /// How it is used.
    #[prost(message, optional, tag = "5")]
    pub volume_capability: Option<VolumeCapability>,
    /// For the driver alone.
    #[prost(map = "string, string", tag = "6")]
    pub secrets: HashMap<String, String>,
}

impl fmt::Debug for ExpandRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeExpandVolume {} at {}", self.volume_id, self.volume_path)
    }
}

/// `CapacityRange`
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct CapacityRange {
    /// At least this many bytes.
    #[prost(int64, tag = "1")]
    pub required_bytes: i64,
    /// At most this many bytes; 0: not stated.
    #[prost(int64, tag = "2")]
    pub limit_bytes: i64,
}

/// `NodeExpandVolumeResponse`
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ExpandResponse {
    /// How large it is; 0: not stated.
    #[prost(int64, tag = "1")]
    pub capacity_bytes: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_prints_a_secret() {
        let secrets = || HashMap::from([("password".to_owned(), "hunter2".to_owned())]);
        let stage = StageRequest {
            secrets: secrets(),
            ..StageRequest::default()
        };
        let publish = PublishRequest {
            secrets: secrets(),
            volume_context: secrets(),
            ..PublishRequest::default()
        };
        let expand = ExpandRequest {
            secrets: secrets(),
            ..ExpandRequest::default()
        };
        for text in [
            format!("{stage:?}"),
            format!("{publish:#?}"),
            format!("{expand:?}"),
        ] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
