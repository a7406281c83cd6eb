//! The cgroups that one task writes for the node as a whole.

use super::request::CgroupSetting;
use super::reserved_cgroup::ReservedFor;

/// The node's cgroups beside those of the pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeCgroups {
    /// Those above the pods, parents first.
    pub qos: Vec<CgroupSetting>,
    /// Those of the machine's own programs, which exist or are an error.
    pub reserved: Vec<(ReservedFor, CgroupSetting)>,
}
