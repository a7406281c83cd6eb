//! Steps that change the resources of a running pod.

use std::io;
use std::path::Path;

use super::effect::Effect;
use super::failure::{call_failure, failure};
use crate::cgroup::Cgroups;
use crate::cri::Runtime;
use crate::disk::write::{self, Writing};
use crate::model::allocation::Allocation;
use crate::model::error_chain::chain;
use crate::model::outcome::{Done, StepError};
use crate::model::reason;
use crate::model::request::{AllocationRecord, Change, Floor, ResizeRequest, Usage};

/// Saves a pod's allocation.
pub(super) fn save(record: AllocationRecord) -> Result<Effect, StepError> {
    let AllocationRecord {
        path,
        allocation,
        occasion,
    } = record;
    match write(&path, &allocation) {
        Ok(()) => Ok(Effect {
            done: Done::AllocationWritten {
                allocation: Box::new(allocation),
                occasion,
            },
            fact: None,
        }),
        Err(error) => Err(failure(
            reason::pod::FAILED_SYNC,
            format!("writing {}: {error}", path.display()),
        )),
    }
}

/// Atomic, but not synced to the disk: after a power failure the previous allocation is found, and the decision is made
/// again.
fn write(path: &Path, allocation: &Allocation) -> io::Result<()> {
    write::write(path, &serde_json::to_vec(allocation)?, Writing::within_umask())
}

/// Applies the changes one after the other.
pub(super) async fn resize(
    runtime: &Runtime,
    cgroups: &Cgroups,
    request: ResizeRequest,
) -> Result<Effect, StepError> {
    let mut refused = Vec::new();
    for floor in &request.floors {
        refused.extend(below_use(runtime, cgroups, floor).await);
    }
    if !refused.is_empty() {
        let refused = match refused.as_slice() {
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        let message = format!("cannot decrease memory limits: {refused}");
        return Err(failure(reason::pod::RESIZE_ERROR, message));
    }
    for change in request.changes {
        match change {
            Change::Pod(setting) => cgroups
                .ensure(&setting)
                .await
                .map_err(|error| failure(reason::pod::RESIZE_ERROR, chain(&error)))?,
            Change::Container { id, resources } => {
                runtime
                    .update_container_resources(id, *resources)
                    .await
                    .map_err(|error| call_failure(reason::pod::RESIZE_ERROR, error.grpc_text(), &error))?
            }
        }
    }
    Ok(Effect::PLAIN)
}

/// Why a limit cannot be lowered that far: the kernel would kill processes to enforce it.
async fn below_use(runtime: &Runtime, cgroups: &Cgroups, floor: &Floor) -> Option<String> {
    let (whose, used) = match &floor.of {
        Usage::Pod(name) => ("pod".to_owned(), cgroups.memory_in_use(name)),
        Usage::Container { name, id } => {
            let used = runtime.memory_in_use(id).await.ok().flatten();
            (format!("container {name:?}"), used)
        }
    };
    let limit = floor.limit;
    match used {
        None => Some(format!("missing {whose} memory usage")),
        Some(used) if i64::try_from(used).is_ok_and(|used| used < limit) => None,
        Some(used) => Some(format!(
            "attempting to set {whose} memory limit ({limit}) below current usage ({used})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::allocation::{FILE, Sizes};
    use crate::model::request::Occasion;

    #[test]
    fn what_is_kept_replaces_what_was() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("u1").join(FILE);
        for generation in 1..3 {
            let allocation = Allocation {
                generation,
                containers: [("c".to_owned(), Sizes::default())].into(),
                ..Allocation::default()
            };
            let record = AllocationRecord {
                path: path.clone(),
                allocation: allocation.clone(),
                occasion: Occasion::Begun,
            };
            assert!(save(record).is_ok());
            let read: Allocation = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(read, allocation);
        }
        assert_eq!(fs::read_dir(root.path().join("u1")).unwrap().count(), 1);
    }
}
