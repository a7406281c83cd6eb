//! Which ended containers the kernel killed for lack of memory, if the runtime did not report it.
//!
//! containerd's shim reads `memory.events` of a container's cgroup after the kernel changed it. If the container's only
//! process was killed, the cgroup may be gone by then, and the runtime reports that the container ended with `Error`.
//! The pod's cgroup lives on and counts what happened below it (Linux `Documentation/admin-guide/cgroup-v2.rst`,
//! `memory.events`, hierarchical), so an increased count shows the cause of a container's SIGKILL.

use std::collections::{HashMap, HashSet};

use crate::cgroup::Cgroups;
use crate::model::pod::PodUid;

/// The reason that CRI gives such a container.
pub(super) const REASON: &str = "OOMKilled";
/// 128 + SIGKILL, which is what the kernel sends.
const KILLED: i32 = 137;

/// The kills that are accounted for, by pod.
pub(super) struct OutOfMemory {
    cgroups: Cgroups,
    accounted: HashMap<PodUid, u64>,
    /// The cgroups of pods that appear from now on start at 0.
    has_begun: bool,
}

impl OutOfMemory {
    pub(super) fn new(cgroups: Cgroups) -> OutOfMemory {
        OutOfMemory {
            cgroups,
            accounted: HashMap::new(),
            has_begun: false,
        }
    }

    /// Records the pods. Kills counted at the first call belong to ends that an earlier agent saw.
    pub(super) fn note(&mut self, uids: &HashSet<PodUid>) {
        self.accounted.retain(|uid, _| uids.contains(uid));
        for uid in uids {
            if !self.accounted.contains_key(uid) {
                let count = match self.has_begun {
                    true => 0,
                    false => self.cgroups.memory_kills(uid).unwrap_or(0),
                };
                self.accounted.insert(uid.clone(), count);
            }
        }
        self.has_begun = true;
    }

    /// Whether an end that the runtime reports with this exit code and reason was an out-of-memory kill. Each kill is
    /// the cause of one end.
    pub(super) fn ended(&mut self, uid: &PodUid, code: i32, reason: &str) -> bool {
        if code != KILLED {
            return false;
        }
        let Some(count) = self.cgroups.memory_kills(uid) else {
            return false;
        };
        let accounted = self.accounted.entry(uid.clone()).or_default();
        let rose = count > *accounted;
        *accounted = count;
        rose && reason != REASON
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn uid() -> PodUid {
        PodUid("a".to_owned())
    }

    /// A hierarchy in which the kernel has created no cgroup.
    fn hierarchy() -> (TempDir, Cgroups) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory").unwrap();
        let cgroups = Cgroups::unified(root.path()).unwrap();
        (root, cgroups)
    }

    /// The counter of the pod's cgroup.
    struct Kernel {
        _root: TempDir,
        events: PathBuf,
    }

    impl Kernel {
        fn counts(&self, kills: u64) {
            fs::write(&self.events, format!("oom 1\noom_kill {kills}\n")).unwrap();
        }
    }

    /// The kernel's counter, and the account of it.
    fn counted(count: u64) -> (Kernel, OutOfMemory) {
        let (root, cgroups) = hierarchy();
        let cgroup = root.path().join("kubepods/burstable/poda");
        fs::create_dir_all(&cgroup).unwrap();
        let events = cgroup.join("memory.events");
        let kernel = Kernel { _root: root, events };
        kernel.counts(count);
        (kernel, OutOfMemory::new(cgroups))
    }

    #[test]
    fn a_kill_that_was_counted_is_the_cause_of_one_end() {
        let (kernel, mut memory) = counted(0);
        memory.note(&HashSet::new());
        kernel.counts(3); // the processes of a container, killed as a group
        assert!(memory.ended(&uid(), 137, "Error"));
        assert!(!memory.ended(&uid(), 137, "Error"), "stopped by SIGKILL, later");
        kernel.counts(4);
        assert!(memory.ended(&uid(), 137, "Error"));
    }

    #[test]
    fn what_the_runtime_told_is_accounted_for() {
        let (kernel, mut memory) = counted(0);
        memory.note(&HashSet::new());
        kernel.counts(1);
        assert!(!memory.ended(&uid(), 137, "OOMKilled"), "nothing to add");
        assert!(!memory.ended(&uid(), 137, "Error"));
    }

    #[test]
    fn what_was_counted_before_the_agent_began_is_nobodys() {
        let (_kernel, mut memory) = counted(2);
        memory.note(&HashSet::from([uid()]));
        assert!(!memory.ended(&uid(), 137, "Error"));
    }

    #[test]
    fn another_end_is_another_cause() {
        let (_kernel, mut memory) = counted(1);
        memory.note(&HashSet::new());
        assert!(!memory.ended(&uid(), 1, "Error"));
        assert!(!memory.ended(&uid(), 0, "Completed"));
    }

    #[test]
    fn a_pod_that_is_made_again_counts_from_the_beginning() {
        let (kernel, mut memory) = counted(0);
        memory.note(&HashSet::new());
        kernel.counts(1);
        assert!(memory.ended(&uid(), 137, "Error"));
        memory.note(&HashSet::new());
        assert!(
            memory.ended(&uid(), 137, "Error"),
            "its new cgroup counted to 1 again"
        );
    }

    #[test]
    fn where_nothing_is_counted_nothing_is_concluded() {
        let (_root, cgroups) = hierarchy();
        let mut memory = OutOfMemory::new(cgroups);
        memory.note(&HashSet::new());
        assert!(!memory.ended(&uid(), 137, "Error"));
    }
}
