//! What the volumes of claims hold (`pkg/kubelet/metrics/collectors/volume_stats.go`). Pure.

use std::collections::BTreeMap;

use crate::counters::Kind;
use crate::model::claimed::claimed;
use crate::model::persistent::ClaimKey;
use crate::model::pod::{Desired, Pod};
use crate::model::stats::{MountedUsages, VolumeHealth, VolumeNumbers};
use crate::serve::metrics::exposition::Page;

/// A number of a volume.
type Measure = fn(&VolumeNumbers) -> Option<u64>;

const FAMILIES: [(&str, &str, Measure); 7] = [
    (
        "kubelet_volume_stats_available_bytes",
        "Bytes that may still be written to the volume.",
        |of| Some(of.available),
    ),
    (
        "kubelet_volume_stats_capacity_bytes",
        "Bytes of the volume in all.",
        |of| Some(of.capacity),
    ),
    (
        "kubelet_volume_stats_health_status_abnormal",
        "Whether the volume is not well (1) or well (0), as its driver says.",
        |of| {
            of.health
                .map(|health| u64::from(health == VolumeHealth::Abnormal))
        },
    ),
    (
        "kubelet_volume_stats_inodes",
        "Inodes of the volume in all.",
        |of| Some(of.inodes),
    ),
    (
        "kubelet_volume_stats_inodes_free",
        "Free inodes of the volume.",
        |of| Some(of.inodes_free),
    ),
    (
        "kubelet_volume_stats_inodes_used",
        "Inodes of the volume in use.",
        |of| Some(of.inodes_used),
    ),
    (
        "kubelet_volume_stats_used_bytes",
        "Bytes of the volume in use.",
        |of| Some(of.used),
    ),
];

pub(super) fn put(page: &mut Page, desired: &Desired, mounted: &MountedUsages) {
    let volumes = of_claims(desired, mounted);
    for (name, help, measure) in FAMILIES {
        let measured = || {
            volumes
                .iter()
                .filter_map(|(claim, numbers)| Some((claim, measure(numbers)?)))
        };
        if measured().next().is_none() {
            continue;
        }
        let mut family = page.family(name, Kind::Gauge, help);
        for (claim, value) in measured() {
            let labels = [
                ("namespace", claim.namespace.as_str()),
                ("persistentvolumeclaim", claim.name.as_str()),
            ];
            family.value(&labels, value);
        }
    }
}

/// The numbers of each claim, once, although several pods may have it.
fn of_claims<'m>(desired: &Desired, mounted: &'m MountedUsages) -> BTreeMap<ClaimKey, &'m VolumeNumbers> {
    let sets = [&desired.files, &desired.api].into_iter().flatten();
    let mut all = BTreeMap::new();
    for set in sets {
        for pod in set.pods.values() {
            let Some(usages) = mounted.0.get(&pod.uid) else {
                continue;
            };
            let volumes = claimed(pod, &set.objects);
            for usage in usages {
                let own = volumes.iter().find(|one| one.directory == usage.name);
                if let Some(claim) = own.and_then(|own| own.claim.clone()) {
                    all.entry(claim).or_insert(&usage.numbers);
                }
            }
        }
    }
    all
}

/// The types of a pod's volumes that are not in its own specification, by the names of the volumes.
pub(super) fn plugins(desired: &Desired, pod: &Pod) -> BTreeMap<String, String> {
    let objects = desired.objects(&pod.source);
    let all = objects.map(|objects| claimed(pod, objects)).unwrap_or_default();
    all.into_iter()
        .map(|one| (one.volume.to_owned(), one.plugin))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;
    use crate::model::stats::{MountedPlugin, MountedUsage};
    use crate::serve::metrics::exposition::Format;

    #[test]
    fn each_claim_is_shown_once_and_what_is_no_claims_is_not() {
        let desired = sample::claims::desired();
        let usage = |name: &str, health| MountedUsage {
            plugin: MountedPlugin::Csi,
            name: name.to_owned(),
            numbers: VolumeNumbers {
                at: "2026-11-28T21:12:29Z".parse().unwrap(),
                capacity: 100,
                available: 60,
                used: 40,
                inodes: 10,
                inodes_free: 7,
                inodes_used: 3,
                health,
            },
        };
        let uid = desired
            .api
            .as_ref()
            .unwrap()
            .pods
            .values()
            .next()
            .unwrap()
            .uid
            .clone();
        let lines = |health| {
            let usages = vec![usage("pv", health), usage("i", None), usage("gone", None)];
            let mut page = Page::new(Format::Text);
            put(
                &mut page,
                &desired,
                &MountedUsages([(uid.clone(), usages)].into()),
            );
            let text = String::from_utf8(page.finish()).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<String>>()
        };
        let labels = "{namespace=\"ns\",persistentvolumeclaim=\"data\"}";
        let well = lines(None);
        let want = [
            ("available_bytes", 60),
            ("capacity_bytes", 100),
            ("inodes", 10),
            ("inodes_free", 7),
            ("inodes_used", 3),
            ("used_bytes", 40),
        ];
        assert_eq!(
            well,
            want.map(|(name, value)| format!("kubelet_volume_stats_{name}{labels} {value}"))
        );
        let abnormal = format!("kubelet_volume_stats_health_status_abnormal{labels} 1");
        assert!(lines(Some(VolumeHealth::Abnormal)).contains(&abnormal));
    }
}
