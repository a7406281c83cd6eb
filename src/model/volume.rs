//! The volumes of a pod.

use std::path::{Path, PathBuf};

use super::container::PullPolicy;
use super::csi::InlineCsi;
use super::fc::FcSource;
use super::host_path::HostPathKind;
use super::iscsi::IscsiSource;
use super::nfs::NfsExport;
use super::resources::Bytes;
use super::value::{FileSource, Projection};

/// The kubelet's name of a volume's type (`pkg/volume`); `other` if gantry does not know it.
pub fn plugin(volume: &k8s_openapi::api::core::v1::Volume) -> &'static str {
    match () {
        () if volume.config_map.is_some() => "kubernetes.io/configmap",
        () if volume.downward_api.is_some() => "kubernetes.io/downward-api",
        () if volume.host_path.is_some() => "kubernetes.io/host-path",
        () if volume.projected.is_some() => "kubernetes.io/projected",
        () if volume.secret.is_some() => "kubernetes.io/secret",
        () if volume.empty_dir.is_some() => "kubernetes.io/empty-dir",
        () if volume.image.is_some() => "kubernetes.io/image",
        () if volume.nfs.is_some() => "kubernetes.io/nfs",
        () if volume.iscsi.is_some() => super::iscsi::PLUGIN,
        () if volume.fc.is_some() => super::fc::PLUGIN,
        () => "other",
    }
}

/// A volume of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What backs a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A directory that lives as long as the pod.
    EmptyDir {
        /// On disk, or a tmpfs.
        medium: Medium,
        /// `sizeLimit`; for a tmpfs its size.
        size_limit: Option<Bytes>,
    },
    /// A path of the host.
    HostPath {
        /// Absolute, without `..`.
        path: PathBuf,
        /// What must exist, or is created.
        kind: HostPathKind,
    },
    /// A PersistentVolume, through a claim.
    Claim {
        /// The name of the PersistentVolumeClaim, in the pod's namespace.
        claim: String,
        /// `readOnly`
        read_only: bool,
        /// Who made the claim.
        origin: ClaimOrigin,
    },
    /// A directory that an NFS server exports.
    Nfs {
        /// Where it is.
        export: NfsExport,
        /// `readOnly`
        read_only: bool,
    },
    /// A disk of an iSCSI target.
    Iscsi {
        /// Which.
        source: Box<IscsiSource>,
        /// `readOnly`
        read_only: bool,
    },
    /// A disk of a Fibre Channel target.
    Fc {
        /// Which.
        source: Box<FcSource>,
        /// `readOnly`
        read_only: bool,
    },
    /// A volume of a CSI driver that lives as long as the pod.
    Csi(Box<InlineCsi>),
    /// An image, or what else a registry stores like one, whose files the runtime mounts (KEP-4639).
    Image {
        /// As the manifest writes it; may be empty.
        reference: String,
        /// When it is pulled.
        pull: PullPolicy,
    },
    /// Files generated from objects and from the pod itself.
    Projected {
        /// The volume type in the manifest.
        kind: Projection,
        /// The permissions of files without their own (`defaultMode`).
        mode: u32,
        /// The sources of the files; of two files at one path the later one wins.
        sources: Vec<FileSource>,
    },
}

/// A volume that is an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageVolume<'a> {
    /// As the manifest writes it.
    pub reference: &'a str,
    /// When it is pulled.
    pub pull: PullPolicy,
}

/// Who made the claim that a volume names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOrigin {
    /// A person or a controller (`persistentVolumeClaim`).
    Named,
    /// The control plane, for this very pod (`ephemeral`): a claim of that name that is not the pod's is not used.
    OfPod,
}

/// `emptyDir.medium`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Medium {
    /// The node's disk.
    #[default]
    Disk,
    /// A tmpfs.
    Memory,
    /// Huge pages, of a size that the medium states or that the pod requests.
    HugePages(Option<Bytes>),
}

/// The plugin name of an emptyDir in paths.
const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

/// `<pod>/plugins/<plugin>/<volume>/ready` of the volume `<pod>/volumes/<plugin>/<volume>`. Volumes whose files the
/// agent writes are based on an emptyDir, which has a marker file of its own name.
pub fn ready_mark(path: &Path) -> PathBuf {
    let mut parts = path.iter().rev();
    let (volume, plugin) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let pod = path.ancestors().nth(3).unwrap_or(Path::new(""));
    let plugins = pod.join("plugins");
    let marked = match plugin == EMPTY_DIR {
        true => plugins.join(plugin).join(volume),
        false => plugins
            .join(EMPTY_DIR)
            .join(format!("wrapped_{}", volume.to_string_lossy())),
    };
    marked.join("ready")
}
