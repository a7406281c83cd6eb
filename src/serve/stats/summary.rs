//! The summary of a node (`pkg/kubelet/server/stats` of Kubernetes). Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::convert::{self, Part};
use super::wire::{
    ClaimReference, ContainerStats, FsStats, HealthStats, NodeStats, PodReference, PodStats, ProcessStats,
    RlimitStats, RuntimeStats, Summary, VolumeStats,
};
use crate::model::claimed::{Claimed, claimed};
use crate::model::pod::Desired;
use crate::model::stats::{
    DirectoryUsage, FilesystemUsage, MountedUsage, MountedUsages, NodeSample, PodSample, PodStorage, Storage,
    SystemPart, VolumeHealth,
};

/// What the answer is made from, beside the sample.
pub(super) struct Context<'a> {
    /// The node's name.
    pub(super) node: &'a str,
    /// When the agent started.
    pub(super) started: Timestamp,
}

/// What pods keep on disks and in volumes.
pub(super) struct Kept<'a> {
    /// On the node's disks.
    pub(super) storage: &'a Storage,
    /// In volumes that are mounted for them.
    pub(super) mounted: &'a MountedUsages,
    /// Which of those is whose.
    pub(super) desired: &'a Desired,
}

/// Everything.
pub(super) fn whole(context: &Context<'_>, sample: &NodeSample, kept: &Kept<'_>) -> Summary {
    let storage = kept.storage;
    let mut node = node(context, sample, Part::All);
    node.start_time = Time(sample.facts.booted);
    node.io = convert::io(&sample.machine);
    node.network = Some(convert::network(sample.machine.at, &sample.interfaces));
    node.fs = storage.node.as_ref().map(filesystem);
    let images = storage.images.as_ref().map(|images| FsStats {
        used_bytes: Some(images.own.bytes),
        inodes_used: Some(images.own.inodes),
        ..room(&images.filesystem)
    });
    node.runtime = Some(RuntimeStats {
        image_fs: images.clone(),
        container_fs: images,
    });
    node.rlimit = storage.processes.map(|(at, used, most)| RlimitStats {
        time: Time(at),
        maxpid: most,
        curproc: used,
    });
    let pods = sample.pods.iter().filter(|pod| !pod.containers.is_empty());
    Summary {
        node,
        pods: pods.map(|pod| stored_pod(pod, kept)).collect(),
    }
}

/// CPU and memory alone (`?only_cpu_and_memory=true`).
pub(super) fn cpu_and_memory(context: &Context<'_>, sample: &NodeSample) -> Summary {
    let pods = sample.pods.iter().filter(|pod| !pod.containers.is_empty());
    Summary {
        node: node(context, sample, Part::CpuAndMemory),
        pods: pods.map(|one| pod(one, Part::CpuAndMemory)).collect(),
    }
}

fn node(context: &Context<'_>, sample: &NodeSample, part: Part) -> NodeStats {
    let system = sample.system.iter().map(|(which, cgroup)| {
        let (name, created) = match which {
            SystemPart::Kubelet => ("kubelet", context.started),
            SystemPart::Runtime => ("runtime", cgroup.created),
            SystemPart::Pods => ("pods", cgroup.created),
        };
        convert::container(name, created, Some(cgroup), part)
    });
    NodeStats {
        node_name: context.node.to_owned(),
        system_containers: system.collect(),
        start_time: Time(sample.machine.created),
        cpu: convert::cpu(&sample.machine),
        memory: convert::memory(&sample.machine),
        io: None,
        network: None,
        fs: None,
        runtime: None,
        rlimit: None,
        swap: convert::swap(&sample.machine),
    }
}

fn pod(pod: &PodSample, part: Part) -> PodStats {
    let cgroup = pod.cgroup.as_ref();
    let containers = pod.containers.iter().map(|container| {
        convert::container(
            &container.name,
            container.created,
            container.cgroup.as_ref(),
            part,
        )
    });
    PodStats {
        pod_ref: PodReference {
            name: pod.name.name.clone(),
            namespace: pod.name.namespace.clone(),
            uid: pod.uid.0.clone(),
        },
        start_time: Time(pod.created),
        containers: containers.collect(),
        cpu: cgroup.and_then(convert::cpu),
        memory: cgroup.and_then(convert::memory),
        io: cgroup.filter(|_| part == Part::All).and_then(convert::io),
        network: None,
        volumes: Vec::new(),
        ephemeral_storage: None,
        processes: None,
        swap: cgroup.and_then(convert::swap),
    }
}

fn stored_pod(sample: &PodSample, kept: &Kept<'_>) -> PodStats {
    let storage = kept.storage;
    let mut stats = pod(sample, Part::All);
    let interfaces = sample.interfaces.as_ref();
    let at = sample.cgroup.as_ref().map_or(sample.created, |cgroup| cgroup.at);
    stats.network = interfaces.map(|interfaces| convert::network(at, interfaces));
    let cgroups = sample
        .containers
        .iter()
        .filter_map(|container| container.cgroup.as_ref());
    stats.processes = Some(ProcessStats {
        process_count: cgroups.map(|cgroup| cgroup.processes.count).sum(),
    });
    stats.volumes = mounted_of(sample, kept);
    let Some(stored) = storage.pods.get(&sample.uid) else {
        return stats;
    };
    for (container, sample) in stats.containers.iter_mut().zip(&sample.containers) {
        add_files(container, &sample.id, stored, storage);
    }
    stats.volumes.splice(0..0, stored.volumes.iter().map(volume));
    stats.ephemeral_storage = storage.node.as_ref().map(|node| FsStats {
        used_bytes: Some(stored.ephemeral().bytes),
        inodes_used: Some(stored.ephemeral().inodes),
        ..room(node)
    });
    stats
}

fn mounted_of(sample: &PodSample, kept: &Kept<'_>) -> Vec<VolumeStats> {
    let Some(usages) = kept.mounted.0.get(&sample.uid) else {
        return Vec::new();
    };
    let pod = kept.desired.get(&sample.name).filter(|pod| pod.uid == sample.uid);
    let claimed = pod.and_then(|pod| Some(claimed(pod, kept.desired.objects(&pod.source)?)));
    let claimed = claimed.unwrap_or_default();
    usages.iter().map(|usage| mounted(usage, &claimed)).collect()
}

fn add_files(container: &mut ContainerStats, id: &str, stored: &PodStorage, storage: &Storage) {
    let images = storage.images.as_ref();
    let layer = stored.layers.get(id);
    container.rootfs = layer
        .zip(images)
        .map(|(used, images)| used_of(used, &images.filesystem));
    let logs = stored.logs.get(&container.name);
    container.logs = logs
        .zip(storage.node.as_ref())
        .map(|(used, node)| used_of(used, node));
}

fn volume(volume: &crate::model::stats::VolumeUsage) -> VolumeStats {
    VolumeStats {
        fs: FsStats {
            inodes: Some(volume.filesystem.inodes),
            ..used_of(&volume.used, &volume.filesystem)
        },
        name: volume.name.clone(),
        claim: None,
        health: None,
    }
}

/// A volume that is mounted for the pod, with the name that it has there.
fn mounted(usage: &MountedUsage, claimed: &[Claimed<'_>]) -> VolumeStats {
    let own = claimed.iter().find(|one| one.directory == usage.name);
    let numbers = &usage.numbers;
    VolumeStats {
        fs: FsStats {
            time: Time(numbers.at),
            available_bytes: Some(numbers.available),
            capacity_bytes: Some(numbers.capacity),
            used_bytes: Some(numbers.used),
            inodes_free: Some(numbers.inodes_free),
            inodes: Some(numbers.inodes),
            inodes_used: Some(numbers.inodes_used),
        },
        name: own.map_or(usage.name.as_str(), |own| own.volume).to_owned(),
        claim: own
            .and_then(|own| own.claim.as_ref())
            .map(|claim| ClaimReference {
                name: claim.name.clone(),
                namespace: claim.namespace.clone(),
            }),
        health: numbers.health.map(|health| HealthStats {
            abnormal: health == VolumeHealth::Abnormal,
        }),
    }
}

/// A part of a file system in use.
fn used_of(used: &DirectoryUsage, on: &FilesystemUsage) -> FsStats {
    FsStats {
        used_bytes: Some(used.bytes),
        inodes_used: Some(used.inodes),
        ..room(on)
    }
}

/// A whole file system.
fn filesystem(filesystem: &FilesystemUsage) -> FsStats {
    FsStats {
        used_bytes: Some(filesystem.used),
        inodes_used: Some(filesystem.inodes.saturating_sub(filesystem.inodes_free)),
        ..room(filesystem)
    }
}

fn room(filesystem: &FilesystemUsage) -> FsStats {
    FsStats {
        time: Time(filesystem.at),
        available_bytes: Some(filesystem.available),
        capacity_bytes: Some(filesystem.capacity),
        used_bytes: None,
        inodes_free: Some(filesystem.inodes_free),
        inodes: Some(filesystem.inodes),
        inodes_used: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;

    use super::*;
    use crate::model::sample::stats::{node, storage};

    fn context() -> Context<'static> {
        Context {
            node: "vm",
            started: "2026-11-28T21:00:00Z".parse().unwrap(),
        }
    }

    fn kept(storage: &Storage) -> Kept<'_> {
        const MOUNTED: &MountedUsages = &MountedUsages(BTreeMap::new());
        const DESIRED: &Desired = &Desired {
            files: None,
            api: None,
            api_expected: false,
        };
        Kept {
            storage,
            mounted: MOUNTED,
            desired: DESIRED,
        }
    }

    fn json(summary: &Summary) -> serde_json::Value {
        serde_json::to_value(summary).unwrap()
    }

    #[test]
    fn a_pod_is_shown_with_everything_that_it_uses() {
        let summary = json(&whole(&context(), &node(), &kept(&storage())));
        let mut pod = summary["pods"][0].clone();
        for part in ["cpu", "memory", "io", "swap"] {
            // The same as the container's.
            assert_eq!(pod[part], pod["containers"][0][part], "{part}");
            pod.as_object_mut().unwrap().remove(part);
        }
        expect![[r#"{"containers":[{"cpu":{"psi":{"full":{"avg10":1.5,"avg300":0.0,"avg60":0.5,"total":9},"some":{"avg10":1.5,"avg300":0.0,"avg60":0.5,"total":9}},"time":"2026-11-28T21:12:29Z","usageCoreNanoSeconds":2500000000,"usageNanoCores":1000},"io":{"psi":{"full":{"avg10":1.5,"avg300":0.0,"avg60":0.5,"total":9},"some":{"avg10":1.5,"avg300":0.0,"avg60":0.5,"total":9}},"time":"2026-11-28T21:12:29Z"},"logs":{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":3,"time":"2026-11-28T21:12:29Z","usedBytes":30},"memory":{"availableBytes":12500,"majorPageFaults":1,"pageFaults":7,"psi":{"full":{"avg10":1.5,"avg300":0.0,"avg60":0.5,"total":9},"some":{"avg10":1.5,"avg300":0.0,"avg60":0.5,"total":9}},"rssBytes":5000,"time":"2026-11-28T21:12:29Z","usageBytes":10000,"workingSetBytes":7500},"name":"main","rootfs":{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":4,"time":"2026-11-28T21:12:29Z","usedBytes":40},"startTime":"2026-11-28T21:11:16Z","swap":{"swapAvailableBytes":20448,"swapUsageBytes":64,"time":"2026-11-28T21:12:29Z"}}],"ephemeral-storage":{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":10,"time":"2026-11-28T21:12:29Z","usedBytes":100},"network":{"interfaces":[{"name":"eth0","rxBytes":1268,"rxErrors":0,"txBytes":402,"txErrors":0}],"name":"eth0","rxBytes":1268,"rxErrors":0,"time":"2026-11-28T21:12:29Z","txBytes":402,"txErrors":0},"podRef":{"name":"web","namespace":"default","uid":"u1"},"process_stats":{"process_count":2},"startTime":"2026-11-28T21:11:16Z","volume":[{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":2,"name":"data","time":"2026-11-28T21:12:29Z","usedBytes":20},{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":1,"name":"secret","time":"2026-11-28T21:12:29Z","usedBytes":5}]}"#]]
        .assert_eq(&pod.to_string());
    }

    #[test]
    fn volumes_of_claims_are_shown_with_their_claims_and_what_is_unknown_under_its_directory() {
        use crate::model::stats::{MountedPlugin, VolumeNumbers};
        let mut sample = node();
        let mounted = MountedUsages(BTreeMap::from([(
            sample.pods[0].uid.clone(),
            ["pv", "other"]
                .map(|name| MountedUsage {
                    plugin: MountedPlugin::Csi,
                    name: name.to_owned(),
                    numbers: VolumeNumbers {
                        at: context().started,
                        capacity: 100,
                        available: 60,
                        used: 40,
                        inodes: 10,
                        inodes_free: 7,
                        inodes_used: 3,
                        health: (name == "pv").then_some(VolumeHealth::Abnormal),
                    },
                })
                .into(),
        )]));
        let desired = crate::model::sample::claims::desired();
        let pod = desired.api.as_ref().unwrap().pods.values().next().unwrap();
        (sample.pods[0].name, sample.pods[0].uid) = (pod.name.clone(), pod.uid.clone());
        let storage = Storage::default();
        let kept = Kept {
            storage: &storage,
            mounted: &mounted,
            desired: &desired,
        };
        let summary = json(&whole(&context(), &sample, &kept));
        expect![[r#"[{"availableBytes":60,"capacityBytes":100,"inodes":10,"inodesFree":7,"inodesUsed":3,"name":"v","pvcRef":{"name":"data","namespace":"ns"},"time":"2026-11-28T21:00:00Z","usedBytes":40,"volumeHealthStats":{"abnormal":true}},{"availableBytes":60,"capacityBytes":100,"inodes":10,"inodesFree":7,"inodesUsed":3,"name":"other","time":"2026-11-28T21:00:00Z","usedBytes":40}]"#]].assert_eq(&summary["pods"][0]["volume"].to_string());
    }

    #[test]
    fn the_node_is_shown_with_its_programs_and_file_systems() {
        let summary = json(&whole(&context(), &node(), &kept(&storage())));
        let mut node = summary["node"].clone();
        for part in ["cpu", "memory", "io", "swap"] {
            assert!(node.as_object_mut().unwrap().remove(part).is_some(), "{part}");
        }
        let system = node.as_object_mut().unwrap().remove("systemContainers").unwrap();
        assert_eq!(system[0]["name"], "pods");
        assert_eq!(system[0]["startTime"], "2026-11-28T21:11:16Z");
        expect![[r#"{"fs":{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":30,"time":"2026-11-28T21:12:29Z","usedBytes":600},"network":{"name":"","time":"2026-11-28T21:12:29Z"},"nodeName":"vm","rlimit":{"curproc":170,"maxpid":193102,"time":"2026-11-28T21:12:29Z"},"runtime":{"containerFs":{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":9,"time":"2026-11-28T21:12:29Z","usedBytes":200},"imageFs":{"availableBytes":300,"capacityBytes":1000,"inodes":50,"inodesFree":20,"inodesUsed":9,"time":"2026-11-28T21:12:29Z","usedBytes":200}},"startTime":"2026-11-28T00:56:01Z"}"#]]
        .assert_eq(&node.to_string());
    }

    #[test]
    fn cpu_and_memory_are_shown_alone_and_pods_without_containers_not_at_all() {
        let mut sample = node();
        let mut starting = sample.pods[0].clone();
        starting.containers.clear();
        sample.pods.push(starting);
        let summary = json(&cpu_and_memory(&context(), &sample));
        assert_eq!(summary["pods"].as_array().unwrap().len(), 1);
        let names =
            |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(&summary["node"]),
            [
                "cpu",
                "memory",
                "nodeName",
                "startTime",
                "swap",
                "systemContainers"
            ]
        );
        let pod = &summary["pods"][0];
        assert_eq!(
            names(pod),
            ["containers", "cpu", "memory", "podRef", "startTime", "swap"]
        );
        assert_eq!(
            names(&pod["containers"][0]),
            ["cpu", "memory", "name", "startTime", "swap"]
        );
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let mut sample = node();
        sample.pods[0].cgroup = None;
        sample.pods[0].interfaces = None;
        sample.pods[0].containers[0].cgroup = None;
        let summary = json(&whole(&context(), &sample, &kept(&Storage::default())));
        let pod = summary["pods"][0].to_string();
        assert_eq!(
            pod,
            r#"{"containers":[{"name":"main","startTime":"2026-11-28T21:11:16Z"}],"podRef":{"name":"web","namespace":"default","uid":"u1"},"process_stats":{"process_count":0},"startTime":"2026-11-28T21:11:16Z"}"#
        );
        let empty: Vec<&str> = ["fs", "rlimit"]
            .into_iter()
            .filter(|part| summary["node"].get(part).is_some())
            .collect();
        assert_eq!(empty, [""; 0]);
    }
}
