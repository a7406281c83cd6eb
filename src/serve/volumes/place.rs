//! What a volume of a pod is, and where it is on the node. Pure.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{ProjectedVolumeSource, Volume, VolumeProjection};

use crate::model::object::Objects;
use crate::model::object::lookup::Lookup;
use crate::model::persistent::{PersistentSource, PersistentVolume};
use crate::model::pod::{Pod, PodUid};
use crate::model::reference;
use crate::model::volume_work::Staged;

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// `emptyDir`, `csi/<driver>`, …
    pub(super) kind: String,
    /// What it is of.
    pub(super) source: Option<String>,
    pub(super) place: Place,
    /// Whether containers can only read it.
    pub(super) is_read_only: bool,
    /// Of a driver's volume: its driver, and what that calls it.
    pub(super) of_driver: Option<Staged>,
}

impl Described {
    /// One that containers can only read.
    fn new(kind: &str, source: Option<&str>, place: Place) -> Described {
        Described {
            kind: kind.to_owned(),
            source: source.filter(|source| !source.is_empty()).map(str::to_owned),
            place,
            is_read_only: true,
            of_driver: None,
        }
    }

    fn writable_unless(self, read_only: Option<bool>) -> Described {
        match read_only {
            Some(true) => self,
            _ => self.writable(),
        }
    }

    fn writable(self) -> Described {
        Described {
            is_read_only: false,
            ..self
        }
    }
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In this directory of the pod's.
    Directory(PathBuf),
    /// The same, and a file system is mounted there.
    MountPoint(PathBuf),
    /// In `mount` of this directory of the pod's, where its driver mounts it.
    Driver(PathBuf),
    /// Behind this link in the pod's directory.
    Device(PathBuf),
    /// At this path of the node, which the runtime mounts for each container.
    Host(PathBuf),
    /// The runtime has it.
    Runtime,
    /// It is not known: its claim has no volume yet.
    Unknown,
}

impl Place {
    /// Its directory, or its link, in the pod's directory.
    pub(super) fn in_pod(&self) -> Option<&Path> {
        match self {
            Place::Directory(dir) | Place::MountPoint(dir) | Place::Driver(dir) | Place::Device(dir) => {
                Some(dir)
            }
            Place::Host(_) | Place::Runtime | Place::Unknown => None,
        }
    }

    /// Where containers find it on the node.
    pub(super) fn path(&self, root: &Path, pod: &PodUid) -> Option<PathBuf> {
        let of_pod = |dir: &Path| root.join("pods").join(&pod.0).join(dir);
        match self {
            Place::Directory(dir) | Place::MountPoint(dir) | Place::Device(dir) => Some(of_pod(dir)),
            Place::Driver(dir) => Some(of_pod(dir).join("mount")),
            Place::Host(path) => Some(path.clone()),
            Place::Runtime | Place::Unknown => None,
        }
    }
}

/// The directory of a volume in the pod's.
fn directory(plugin: &str, name: &str) -> PathBuf {
    Path::new("volumes")
        .join(format!("kubernetes.io~{plugin}"))
        .join(name)
}

/// The link to a device in the pod's directory.
fn device(plugin: &str, name: &str) -> PathBuf {
    Path::new("volumeDevices")
        .join(format!("kubernetes.io~{plugin}"))
        .join(name)
}

/// A volume, as the API has it. Without the pod and its objects it is not known what is behind a claim.
pub(super) fn describe(volume: &Volume, known: Option<(&Pod, &Objects)>) -> Described {
    let name = &volume.name;
    if let Some(written) = written(volume) {
        return written;
    }
    if let Some(empty) = &volume.empty_dir {
        let medium = empty.medium.as_deref().filter(|medium| !medium.is_empty());
        let dir = directory("empty-dir", name);
        let place = match medium {
            None => Place::Directory(dir),
            Some(_) => Place::MountPoint(dir),
        };
        return Described::new("emptyDir", medium, place).writable();
    }
    if let Some(host) = &volume.host_path {
        let place = Place::Host(PathBuf::from(&host.path));
        return Described::new("hostPath", Some(&host.path), place).writable();
    }
    if let Some(image) = &volume.image {
        return Described::new("image", image.reference.as_deref(), Place::Runtime);
    }
    if let Some(csi) = &volume.csi {
        let place = Place::Driver(directory("csi", name));
        return Described::new(&of_driver(&csi.driver), None, place).writable_unless(csi.read_only);
    }
    if let Some(iscsi) = &volume.iscsi {
        let source = format!("{}:{}:{}", iscsi.target_portal, iscsi.iqn, iscsi.lun);
        let place = of_disk("iscsi", name, false);
        return Described::new("iscsi", Some(&source), place).writable_unless(iscsi.read_only);
    }
    if let Some(fc) = &volume.fc {
        let names = fc.target_wwns.iter().chain(&fc.wwids).flatten();
        let source = names.map(String::as_str).collect::<Vec<_>>().join(" ");
        let place = of_disk("fc", name, false);
        return Described::new("fc", Some(&source), place).writable_unless(fc.read_only);
    }
    if let Some(nfs) = &volume.nfs {
        let source = format!("{}:{}", nfs.server, nfs.path);
        let place = Place::MountPoint(directory("nfs", name));
        return Described::new("nfs", Some(&source), place).writable_unless(nfs.read_only);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let is_read_only = claim.read_only == Some(true);
        return claimed(&claim.claim_name, is_read_only, known);
    }
    if volume.ephemeral.is_some() {
        // The claim is named after the pod (KEP-1698).
        let claim = known.map_or_else(|| name.clone(), |(pod, _)| format!("{}-{name}", pod.name.name));
        return claimed(&claim, false, known);
    }
    let value = serde_json::to_value(volume).unwrap_or_default();
    let mut fields = value.as_object().into_iter().flat_map(|fields| fields.keys());
    let kind = fields.find(|field| *field != "name");
    Described::new(kind.map_or("unknown", String::as_str), None, Place::Unknown)
}

/// A volume whose files the agent writes; all but those of a ConfigMap are in memory.
fn written(volume: &Volume) -> Option<Described> {
    let name = &volume.name;
    let in_memory = |plugin| Place::MountPoint(directory(plugin, name));
    if let Some(map) = &volume.config_map {
        let place = Place::Directory(directory("configmap", name));
        return Some(Described::new("configMap", Some(&map.name), place));
    }
    if let Some(secret) = &volume.secret {
        let source = secret.secret_name.as_deref();
        return Some(Described::new("secret", source, in_memory("secret")));
    }
    if volume.downward_api.is_some() {
        return Some(Described::new("downwardAPI", None, in_memory("downward-api")));
    }
    let projected = volume.projected.as_ref()?;
    let sources = projections(projected);
    Some(Described::new(
        "projected",
        Some(&sources),
        in_memory("projected"),
    ))
}

/// A volume through a claim.
fn claimed(claim: &str, is_read_only: bool, known: Option<(&Pod, &Objects)>) -> Described {
    let Some((name, volume)) = known.and_then(|(pod, objects)| behind(claim, pod, objects)) else {
        return Described {
            kind: "persistentVolumeClaim".to_owned(),
            source: Some(format!("claim {claim}")),
            place: Place::Unknown,
            is_read_only,
            of_driver: None,
        };
    };
    let mut of = None;
    let (kind, place) = match &volume.source {
        PersistentSource::HostPath { path, .. } => ("hostPath".to_owned(), Place::Host(path.clone())),
        PersistentSource::Local { .. } => {
            let place = of_disk("local-volume", name, volume.is_block);
            ("local".to_owned(), place)
        }
        PersistentSource::Nfs(_) => ("nfs".to_owned(), Place::MountPoint(directory("nfs", name))),
        PersistentSource::Iscsi(_) => ("iscsi".to_owned(), of_disk("iscsi", name, volume.is_block)),
        PersistentSource::Fc(_) => ("fc".to_owned(), of_disk("fc", name, volume.is_block)),
        PersistentSource::Csi(source) => {
            of = Some(Staged {
                driver: source.driver.clone(),
                handle: source.handle.clone(),
            });
            let place = match volume.is_block {
                true => Place::Device(device("csi", name)),
                false => Place::Driver(directory("csi", name)),
            };
            (of_driver(&source.driver), place)
        }
        PersistentSource::Unsupported(kind) => (kind.clone(), Place::Unknown),
    };
    Described {
        kind,
        source: Some(format!("claim {claim} ({name})")),
        place,
        is_read_only,
        of_driver: of,
    }
}

/// Where a disk is that the node itself mounts or maps.
fn of_disk(plugin: &str, name: &str, is_block: bool) -> Place {
    match is_block {
        true => Place::Device(device(plugin, name)),
        false => Place::MountPoint(directory(plugin, name)),
    }
}

/// The PersistentVolume behind a claim.
fn behind<'a>(claim: &str, pod: &Pod, objects: &'a Objects) -> Option<(&'a str, &'a PersistentVolume)> {
    let Lookup::Found(found) = objects.claim(reference::claim(pod, claim)) else {
        return None;
    };
    let name = found.bound_to().ok()?;
    match objects.persistent_volume(name) {
        Lookup::Found(volume) => Some((name, volume)),
        _ => None,
    }
}

/// How a driver's volumes are called.
pub(super) fn of_driver(driver: &str) -> String {
    format!("csi/{driver}")
}

/// The sources of a projected volume, by their names.
fn projections(volume: &ProjectedVolumeSource) -> String {
    let name = |source: &VolumeProjection| {
        if let Some(map) = &source.config_map {
            format!("configMap {}", map.name)
        } else if let Some(secret) = &source.secret {
            format!("secret {}", secret.name)
        } else if source.service_account_token.is_some() {
            "serviceAccountToken".to_owned()
        } else if source.downward_api.is_some() {
            "downwardAPI".to_owned()
        } else {
            "clusterTrustBundle".to_owned()
        }
    };
    let names: Vec<String> = volume.sources.iter().flatten().map(name).collect();
    names.join(", ")
}

/// What a volume is of which only its directory in the pod's is known.
pub(super) fn kind_of(directory: &Path, driver: Option<&str>) -> String {
    let plugin = directory.iter().nth(1).unwrap_or_default().to_string_lossy();
    let plugin = plugin.strip_prefix("kubernetes.io~").unwrap_or(&plugin);
    match (plugin, driver) {
        ("csi", Some(driver)) => of_driver(driver),
        ("local-volume", _) => "local".to_owned(),
        ("empty-dir", _) => "emptyDir".to_owned(),
        ("configmap", _) => "configMap".to_owned(),
        ("downward-api", _) => "downwardAPI".to_owned(),
        (other, _) => other.to_owned(),
    }
}
