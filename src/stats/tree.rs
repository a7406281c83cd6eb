//! Which cgroup belongs to which pod and container.
//!
//! A pod's cgroup is named by its UID below that of its QoS class, whichever agent made it. The runtime puts a container
//! into a cgroup of the pod's that is named by the container's ID: `<id>`, or `cri-containerd-<id>.scope` and
//! `crio-<id>.scope` with systemd.

use std::collections::HashMap;

use crate::cgroup::{Cgroups, UsageReader};
use crate::model::pod::PodUid;

/// The paths of all pods' cgroups.
pub(super) fn pods(
    cgroups: &Cgroups,
    reader: &UsageReader<'_>,
    parents: &[String],
) -> HashMap<PodUid, String> {
    let mut pods = HashMap::new();
    for parent in parents {
        for child in reader.children(parent) {
            if let Some(uid) = cgroups.uid_of(&child) {
                pods.insert(uid, format!("{parent}/{child}"));
            }
        }
    }
    pods
}

/// The paths of the cgroups in a pod's, by the ID of their container.
pub(super) fn containers(reader: &UsageReader<'_>, pod: &str) -> HashMap<String, String> {
    let children = reader.children(pod).into_iter();
    children
        .map(|child| (container_id(&child).to_owned(), format!("{pod}/{child}")))
        .collect()
}

fn container_id(directory: &str) -> &str {
    match directory.strip_suffix(".scope") {
        Some(scope) => scope.rsplit_once('-').map_or(scope, |(_, id)| id),
        None => directory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_its_id_whatever_the_runtime_puts_before_it() {
        let check = |directory, id| assert_eq!(container_id(directory), id, "{directory}");
        check("0f12", "0f12");
        check("cri-containerd-0f12.scope", "0f12");
        check("crio-0f12.scope", "0f12");
        check("0f12.scope", "0f12");
        check("", "");
    }
}
