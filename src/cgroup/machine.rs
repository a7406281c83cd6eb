//! Which cgroups this machine has.

use std::path::Path;

use crate::model::node::CgroupVersion;

/// The mount point of cgroups on Linux.
pub const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// The hierarchy that is mounted at `root` (usually [`MOUNT_POINT`]). A machine with both, where the v2 tree has no
/// controllers, is v1.
pub fn detect(root: &Path) -> CgroupVersion {
    match nix::sys::statfs::statfs(root) {
        Ok(fs) if fs.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC => CgroupVersion::V2,
        _ => CgroupVersion::V1,
    }
}

/// Whether the kernel can limit swap per cgroup. On v2 the root has no such file, so the agent's own cgroup is checked.
pub fn limits_swap(version: CgroupVersion) -> bool {
    match version {
        CgroupVersion::V1 => Path::new(MOUNT_POINT)
            .join("memory/memory.memsw.limit_in_bytes")
            .exists(),
        CgroupVersion::V2 => {
            let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
            own.is_some_and(|own| Path::new(MOUNT_POINT).join(own).join("memory.swap.max").exists())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_is_not_the_unified_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(detect(dir.path()), CgroupVersion::V1);
    }
}
