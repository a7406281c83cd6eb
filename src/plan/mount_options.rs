//! The mount options of a PersistentVolume, as they are given to mount(8).

use std::collections::BTreeSet;

/// Each of them once and sorted, as the kubelet has them (`JoinMountOptions` in `pkg/volume/util`).
pub(super) fn joined(stated: &[String]) -> Vec<String> {
    let options = stated.iter().filter(|option| !option.is_empty());
    let once: BTreeSet<&String> = options.collect();
    once.into_iter().cloned().collect()
}
