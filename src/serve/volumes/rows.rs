//! The volumes of the node, each with how it is and why. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::found::{Found, FoundVolume};
use super::mounts;
use super::place::{self, Described, Place, of_driver};
use super::wire::{ContainerMount, ListedVolume, VolumeList, VolumeState};
use crate::model::memory::{FailedWork, Memory, PodFailure, PodMemory};
use crate::model::object::Objects;
use crate::model::pod::{Desired, Pod, PodName, PodUid};
use crate::model::report::PodsReport;
use crate::model::stats::{MountedPlugin, MountedUsages};
use crate::model::step::StepKind;
use crate::model::volume_work::{Goal, Staged, VolumeWork, Wait};

/// What is known at one moment.
pub(super) struct Known<'a> {
    pub(super) root: &'a Path,
    pub(super) report: &'a PodsReport,
    pub(super) desired: &'a Desired,
    pub(super) memory: &'a Memory,
    pub(super) work: &'a VolumeWork,
    pub(super) found: &'a Found,
    /// `None`: not asked for.
    pub(super) usages: Option<&'a MountedUsages>,
}

/// All volumes.
pub(super) fn list(known: &Known<'_>) -> VolumeList {
    let mut items = Vec::new();
    let mut used = BTreeSet::new();
    let mut listed: BTreeMap<PodUid, BTreeSet<PathBuf>> = BTreeMap::new();
    for (name, object) in &known.report.pods {
        let pod = OfPod::new(known, name, object);
        for volume in object.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let described = place::describe(volume, pod.objects);
            if described.place == Place::Unknown && pod.objects.is_none() {
                // Of a pod that is being removed: what there is of it is found on the disk.
                continue;
            }
            used.extend(described.of_driver.clone());
            if let Some(directory) = described.place.in_pod() {
                let listed = listed.entry(pod.uid.clone()).or_default();
                listed.insert(directory.to_owned());
            }
            items.push(pod.row(&volume.name, described));
        }
    }
    let nothing = BTreeSet::new();
    for (uid, volumes) in &known.found.pods {
        let listed = listed.get(uid).unwrap_or(&nothing);
        for (directory, volume) in volumes {
            used.extend(volume.of_driver.clone());
            if !listed.contains(directory) {
                items.push(left(known, uid, directory, volume));
            }
        }
    }
    items.sort_by(|a, b| (&a.namespace, &a.pod).cmp(&(&b.namespace, &b.pod)));
    let unused = known
        .found
        .staged
        .iter()
        .filter(|(staged, _)| !used.contains(staged));
    items.extend(unused.map(|(staged, (path, since))| of_nobody(known, staged, path, *since)));
    VolumeList { items }
}

/// A pod that is reported.
struct OfPod<'a> {
    known: &'a Known<'a>,
    name: &'a PodName,
    object: &'a api::Pod,
    uid: PodUid,
    /// The pod with the objects that it may refer to; `None`: it is not wanted any more.
    objects: Option<(&'a Pod, &'a Objects)>,
    memory: Option<&'a PodMemory>,
}

/// How a volume is, why, and since when.
struct Standing {
    state: VolumeState,
    message: Option<String>,
    since: Option<Timestamp>,
}

impl Standing {
    fn of(state: VolumeState, message: &str) -> Standing {
        Standing {
            state,
            message: Some(message.to_owned()),
            since: None,
        }
    }
}

impl<'a> OfPod<'a> {
    fn new(known: &'a Known<'a>, name: &'a PodName, object: &'a api::Pod) -> OfPod<'a> {
        let uid = PodUid(object.metadata.uid.clone().unwrap_or_default());
        let wanted = known.desired.get(name).filter(|pod| pod.uid == uid);
        let memory = known.memory.pods.get(name).filter(|memory| memory.uid == uid);
        OfPod {
            known,
            name,
            object,
            objects: wanted.and_then(|pod| Some((pod.as_ref(), known.desired.objects(&pod.source)?))),
            memory: memory.map(AsRef::as_ref),
            uid,
        }
    }

    fn row(&self, volume: &str, described: Described) -> ListedVolume {
        let spec = self.object.spec.as_ref();
        let mounts = spec.map(|spec| mounts::of_volume(spec, volume, described.is_read_only));
        let mounts = mounts.unwrap_or_default();
        let path = described.place.path(self.known.root, &self.uid);
        let standing = self.standing(volume, &described.place, path.as_deref(), &mounts);
        let (capacity, used) = usage(self.known, &self.uid, described.place.in_pod());
        ListedVolume {
            namespace: Some(self.name.namespace.clone()),
            pod: Some(self.name.name.clone()),
            pod_uid: Some(self.uid.0.clone()),
            name: volume.to_owned(),
            kind: described.kind,
            source: described.source,
            state: standing.state,
            message: standing.message,
            since: standing.since,
            path: path.map(|path| path.display().to_string()),
            mounts,
            capacity,
            used,
        }
    }

    fn standing(
        &self,
        volume: &str,
        place: &Place,
        path: Option<&Path>,
        mounts: &[ContainerMount],
    ) -> Standing {
        let found = place.in_pod();
        let found = found.and_then(|dir| self.known.found.pods.get(&self.uid)?.get(dir));
        let is_mounted = self.is_mounted(place, found, mounts);
        // Its files may be updated while it is there.
        let may_be_updated = is_mounted && matches!(place, Place::Directory(_) | Place::MountPoint(_));
        let wait = path.and_then(|path| wait(self.known, &self.uid, path));
        let (refresh, wait) = match wait {
            Some(wait) if wait.state == VolumeState::Mounted => (wait.message, None),
            Some(wait) if wait.state == VolumeState::Waiting && may_be_updated => (None, None),
            wait => (None, wait),
        };
        if let Some(wait) = wait {
            return wait;
        }
        let removal = self.failure(&FailedWork::Step(StepKind::RemovePodDir));
        if let Some(failure) = removal.filter(|_| found.is_some()) {
            return failed(VolumeState::Removing, failure);
        }
        let works = [
            FailedWork::Volume(volume.to_owned()),
            FailedWork::ImageVolume(volume.to_owned()),
        ];
        if let Some(failure) = works.iter().find_map(|work| self.failure(work)) {
            return failed(VolumeState::Failed, failure);
        }
        if !is_mounted {
            return self.not_mounted(place, mounts);
        }
        let works = [
            FailedWork::Expansion(volume.to_owned()),
            FailedWork::Republish(volume.to_owned()),
        ];
        let failure = works.iter().find_map(|work| self.failure(work));
        Standing {
            state: VolumeState::Mounted,
            message: refresh.or_else(|| failure.map(|failure| failure.error.message.clone())),
            since: match place {
                Place::Host(_) | Place::Runtime => mounts::running_since(self.object, mounts),
                _ => found.and_then(|found| found.since),
            },
        }
    }

    fn is_mounted(&self, place: &Place, found: Option<&FoundVolume>, mounts: &[ContainerMount]) -> bool {
        match place {
            Place::Directory(_) | Place::Driver(_) | Place::Device(_) => {
                found.is_some_and(|found| found.is_made)
            }
            Place::MountPoint(_) => found.is_some_and(|found| found.is_made && found.is_mount_point),
            Place::Host(_) | Place::Runtime => mounts::running_since(self.object, mounts).is_some(),
            Place::Unknown => false,
        }
    }

    /// Why nothing is done for a volume, and nothing has failed.
    fn not_mounted(&self, place: &Place, mounts: &[ContainerMount]) -> Standing {
        let status = self.object.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        match (place, phase) {
            _ if self.objects.is_none() => Standing::of(VolumeState::Removed, "the pod is being removed"),
            _ if mounts.is_empty() => Standing::of(VolumeState::Unused, "no container mounts it"),
            (_, Some("Succeeded" | "Failed")) => Standing::of(VolumeState::Removed, "the pod has ended"),
            (Place::Host(_) | Place::Runtime, _) => {
                Standing::of(VolumeState::Pending, "no container that mounts it runs")
            }
            _ => Standing::of(VolumeState::Pending, "not set up yet"),
        }
    }

    fn failure(&self, work: &FailedWork) -> Option<&'a PodFailure> {
        self.memory?.failures.get(work)
    }
}

fn failed(state: VolumeState, failure: &PodFailure) -> Standing {
    Standing {
        state,
        message: Some(failure.error.message.clone()),
        since: Some(failure.backoff.since),
    }
}

/// What is waited for, while a volume is worked on.
fn wait(known: &Known<'_>, uid: &PodUid, path: &Path) -> Option<Standing> {
    let Wait { goal, awaited, since } = known.work.of_pods.get(&(uid.clone(), path.to_owned()))?;
    Some(Standing {
        state: match goal {
            Goal::SetUp => VolumeState::Waiting,
            Goal::Refresh => VolumeState::Mounted,
            Goal::TakeDown => VolumeState::Removing,
        },
        message: Some(format!("waiting for {}", awaited.text(path))),
        since: Some(*since),
    })
}

/// What a pod that is not reported any more has left, or a volume that it has no more.
fn left(known: &Known<'_>, uid: &PodUid, directory: &Path, volume: &FoundVolume) -> ListedVolume {
    let named = |(name, object): (&PodName, &Arc<api::Pod>)| {
        (object.metadata.uid.as_ref() == Some(&uid.0)).then(|| name.clone())
    };
    let leaving = |(name, uids): (&PodName, &BTreeSet<PodUid>)| uids.contains(uid).then(|| name.clone());
    let name = known.report.pods.iter().find_map(named);
    let name = name.or_else(|| known.report.leaving.iter().find_map(leaving));
    let place = match directory.starts_with("volumes/kubernetes.io~csi") {
        true => Place::Driver(directory.to_owned()),
        false => Place::Directory(directory.to_owned()),
    };
    let path = place.path(known.root, uid).unwrap_or_default();
    let memory = name.as_ref().and_then(|name| known.memory.pods.get(name));
    let failure = memory.and_then(|memory| {
        let removal = FailedWork::Step(StepKind::RemovePodDir);
        memory.failures.get(&removal)
    });
    let standing = wait(known, uid, &path).unwrap_or_else(|| match failure {
        Some(failure) => failed(VolumeState::Removing, failure),
        None => Standing {
            since: volume.since,
            ..Standing::of(VolumeState::Removing, "the pod is being removed")
        },
    });
    let driver = volume.of_driver.as_ref().map(|of| of.driver.as_str());
    let (capacity, used) = usage(known, uid, Some(directory));
    let directory_name = directory.file_name().unwrap_or_default();
    ListedVolume {
        namespace: name.as_ref().map(|name| name.namespace.clone()),
        pod: name.map(|name| name.name.clone()),
        pod_uid: Some(uid.0.clone()),
        name: directory_name.to_string_lossy().into_owned(),
        kind: place::kind_of(directory, driver),
        source: None,
        state: standing.state,
        message: standing.message,
        since: standing.since,
        path: Some(path.display().to_string()),
        mounts: Vec::new(),
        capacity,
        used,
    }
}

/// A volume of a driver that is on the node though no pod uses it.
fn of_nobody(known: &Known<'_>, staged: &Staged, path: &Path, since: Option<Timestamp>) -> ListedVolume {
    let how_far = known.work.unstaging.get(staged);
    ListedVolume {
        namespace: None,
        pod: None,
        pod_uid: None,
        name: staged.handle.clone(),
        kind: of_driver(&staged.driver),
        source: None,
        state: VolumeState::Staged,
        message: how_far.map(|how_far| how_far.text(&staged.driver)),
        since,
        path: Some(path.display().to_string()),
        mounts: Vec::new(),
        capacity: None,
        used: None,
    }
}

/// The size of a volume and how much of it is used, as they were measured.
fn usage(known: &Known<'_>, uid: &PodUid, directory: Option<&Path>) -> (Option<u64>, Option<u64>) {
    let found = directory.and_then(|directory| {
        let parent = directory.parent()?;
        let plugin = match () {
            () if parent.ends_with("volumes/kubernetes.io~csi") => MountedPlugin::Csi,
            () if parent.ends_with("volumeDevices/kubernetes.io~csi") => MountedPlugin::CsiDevice,
            () if parent.ends_with("volumes/kubernetes.io~local-volume") => MountedPlugin::Local,
            () if parent.ends_with("volumes/kubernetes.io~nfs") => MountedPlugin::Nfs,
            () if parent.ends_with("volumes/kubernetes.io~iscsi") => MountedPlugin::Iscsi,
            () if parent.ends_with("volumes/kubernetes.io~fc") => MountedPlugin::Fc,
            () => return None,
        };
        let name = directory.file_name()?.to_str()?;
        let mut usages = known.usages?.0.get(uid)?.iter();
        usages.find(|usage| usage.plugin == plugin && usage.name == name)
    });
    let numbers = found.map(|usage| &usage.numbers);
    (
        numbers.map(|numbers| numbers.capacity),
        numbers.map(|numbers| numbers.used),
    )
}

#[cfg(test)]
mod tests;
