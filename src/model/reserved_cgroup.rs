//! The cgroups of the machine's own programs, which `enforceNodeAllocatable` limits to what is reserved for them.

use std::fmt::Display;

use super::resources::Amounts;

/// Whose resources a cgroup is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReservedFor {
    /// `systemReserved`
    System,
    /// `kubeReserved`
    Kube,
}

/// Which of the reserved resources are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// `system-reserved`, `kube-reserved`: all.
    All,
    /// `system-reserved-compressible`, `kube-reserved-compressible`: CPU time alone, of which a program that gets too
    /// little is slow, and not killed.
    Compressible,
}

/// A cgroup that somebody else makes and the agent limits.
#[derive(Debug, Clone, PartialEq)]
pub struct ReservedCgroup {
    /// Whose it is.
    pub owner: ReservedFor,
    /// `systemReservedCgroup` or `kubeReservedCgroup`, as written: a path below the hierarchy's mount point.
    pub path: String,
    /// What is enforced.
    pub enforced: Enforced,
    /// How much.
    pub amounts: Amounts,
}

impl ReservedCgroup {
    /// The kubelet's words where it cannot be limited (`pkg/kubelet/cm/node_container_manager_linux.go`).
    pub fn failure(&self, why: &dyn Display) -> String {
        let owner = match self.owner {
            ReservedFor::System => "System",
            ReservedFor::Kube => "Kube",
        };
        let scope = match self.enforced {
            Enforced::All => "Reserved",
            Enforced::Compressible => "Reserved Compressible",
        };
        let path = &self.path;
        format!("Failed to enforce {owner} {scope} Cgroup Limits on {path:?}: {why}")
    }

    /// The kubelet's words where it is limited.
    pub fn success(&self) -> String {
        let owner = match self.owner {
            ReservedFor::System => "system",
            ReservedFor::Kube => "kube",
        };
        format!("Updated limits on {owner} reserved cgroup {}", self.path)
    }
}
