//! The directories and files of the cgroup hierarchies. Everything here takes paths below the mount points
//! and blocks.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::{Controllers, hierarchies};

use super::error::CgroupError;
use super::machine::MOUNT_POINT;
use super::values::{overwrite, set_v1, set_v2, write};
use crate::model::node::CgroupVersion;
use crate::model::request::CgroupSetting;

/// The controllers that every pod needs.
const REQUIRED: [&str; 2] = ["cpu", "memory"];

/// The controllers that some kernels lack, and the effect of that.
const OPTIONAL: [(&str, &str); 3] = [
    ("pids", "the number of processes per pod is not limited"),
    ("cpuset", "pods cannot be pinned to CPUs"),
    ("hugetlb", "huge pages are not limited"),
];

/// The mounted hierarchies. On v2 one mount has all controllers; on v1 a mount has one or two.
pub(super) struct Hierarchy {
    version: CgroupVersion,
    /// Each mount with its controllers, that of `memory` first: it is created first and removed last, so it alone shows
    /// whether a cgroup exists.
    mounts: Vec<Mount>,
}

struct Mount {
    controllers: BTreeSet<String>,
    path: PathBuf,
}

impl Hierarchy {
    /// Finds the mounted hierarchies.
    pub(super) fn mounted(version: CgroupVersion) -> Result<Hierarchy, CgroupError> {
        match version {
            CgroupVersion::V1 => Hierarchy::of(version, mounts_v1()),
            CgroupVersion::V2 => Hierarchy::unified(Path::new(MOUNT_POINT)),
        }
    }

    /// The unified hierarchy at this mount point.
    pub(super) fn unified(mount: &Path) -> Result<Hierarchy, CgroupError> {
        Hierarchy::of(CgroupVersion::V2, vec![mount_v2(mount)?])
    }

    fn of(version: CgroupVersion, mut mounts: Vec<Mount>) -> Result<Hierarchy, CgroupError> {
        mounts.sort_by_key(|mount| !mount.controllers.contains("memory"));
        let hierarchy = Hierarchy { version, mounts };
        match REQUIRED.iter().find(|name| hierarchy.mount(name).is_none()) {
            Some(missing) => Err(CgroupError::MissingController(missing)),
            None => Ok(hierarchy),
        }
    }

    /// The missing optional controllers, with the effect.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let missing = |(name, _): &(&str, &str)| self.mount(name).is_none();
        OPTIONAL.into_iter().filter(missing)
    }

    /// The mount point of a controller.
    pub(super) fn mount(&self, controller: &str) -> Option<&Path> {
        let mount = self
            .mounts
            .iter()
            .find(|mount| mount.controllers.contains(controller))?;
        Some(&mount.path)
    }

    /// The cgroup's directory in each hierarchy, whether it exists or not.
    pub(super) fn directories(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        self.mounts.iter().map(move |mount| mount.path.join(path))
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.directories(path)
            .next()
            .is_some_and(|directory| directory.is_dir())
    }

    /// The names of the cgroups directly below this one; none if it does not exist.
    pub(super) fn children(&self, path: &Path) -> Result<Vec<String>, CgroupError> {
        match self.directories(path).next() {
            Some(directory) => subdirectories(&directory),
            None => Ok(Vec::new()),
        }
    }

    /// Creates the cgroup with its parents and sets its values.
    pub(super) fn ensure(&self, path: &Path, setting: &CgroupSetting) -> Result<(), CgroupError> {
        for mount in &self.mounts {
            self.make(mount, path)?;
        }
        self.set(path, setting)
    }

    /// Sets the values of a cgroup that exists.
    pub(super) fn update(&self, path: &Path, setting: &CgroupSetting) -> Result<(), CgroupError> {
        // On v2 its files appear as its parents enable the controllers.
        for mount in self.mounts.iter().filter(|_| self.version == CgroupVersion::V2) {
            self.make(mount, path)?;
        }
        self.set(path, setting)
    }

    fn set(&self, path: &Path, setting: &CgroupSetting) -> Result<(), CgroupError> {
        let directory = |controller| self.mount(controller).map(|mount| mount.join(path));
        match self.version {
            CgroupVersion::V1 => set_v1(directory, setting),
            CgroupVersion::V2 => set_v2(directory, setting),
        }
    }

    /// The missing directories of a cgroup, among those of the controllers that limit something.
    pub(super) fn missing_directories(&self, path: &Path) -> Vec<PathBuf> {
        let limits =
            |name: &str| REQUIRED.contains(&name) || OPTIONAL.iter().any(|(other, _)| *other == name);
        let mounts = self.mounts.iter();
        let limiting = mounts.filter(|mount| mount.controllers.iter().any(|name| limits(name)));
        let directories = limiting.map(|mount| mount.path.join(path));
        directories.filter(|directory| !directory.is_dir()).collect()
    }

    /// Moves a process into the cgroup, which is created if it is missing. On v1 the hierarchies without a controller
    /// are left out: systemd finds the processes of a service by its own.
    pub(super) fn join(&self, path: &Path, process: u32) -> Result<(), CgroupError> {
        let with_controllers = |mount: &&Mount| match self.version {
            CgroupVersion::V1 => mount.controllers.iter().any(|name| !name.starts_with("name=")),
            CgroupVersion::V2 => true,
        };
        for mount in self.mounts.iter().filter(with_controllers) {
            self.make(mount, path)?;
            let file = mount.path.join(path).join("cgroup.procs");
            overwrite(&file, &process.to_string())
                .map_err(|error| CgroupError::file(format!("writing {process} to"), &file, error))?;
        }
        Ok(())
    }

    fn make(&self, mount: &Mount, path: &Path) -> Result<(), CgroupError> {
        // Only the directory itself is needed there, and its parent nearly always exists.
        if self.version == CgroupVersion::V1 && !mount.controllers.contains("cpuset") {
            match create(&mount.path.join(path)) {
                Err(CgroupError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                result => return result,
            }
        }
        let mut parent = mount.path.clone();
        for part in path {
            if self.version == CgroupVersion::V2 {
                enable_controllers(&parent, &mount.controllers)?;
            }
            let directory = parent.join(part);
            create(&directory)?;
            if self.version == CgroupVersion::V1 && mount.controllers.contains("cpuset") {
                inherit_cpuset(&parent, &directory)?;
            }
            parent = directory;
        }
        Ok(())
    }

    /// Removes the cgroup's directories with everything below them.
    pub(super) fn remove(&self, path: &Path) -> Result<(), CgroupError> {
        // The first hierarchy last: as long as anything remains, the cgroup counts as existing.
        let directories: Vec<PathBuf> = self.directories(path).collect();
        directories.iter().rev().try_for_each(|dir| remove_tree(dir))
    }
}

/// The mount point of the unified hierarchy beside those of v1 (runc uses this path only).
const HYBRID: &str = "/sys/fs/cgroup/unified";

/// Every mounted hierarchy in which the runtime creates a container's cgroup, so that removing a pod's cgroup leaves
/// none behind.
fn mounts_v1() -> Vec<Mount> {
    let known = [
        Controllers::Mem,
        Controllers::Cpu,
        Controllers::CpuAcct,
        Controllers::CpuSet,
        Controllers::Pids,
        Controllers::HugeTlb,
        Controllers::BlkIo,
        Controllers::Devices,
        Controllers::Freezer,
        Controllers::NetCls,
        Controllers::NetPrio,
        Controllers::PerfEvent,
        Controllers::Rdma,
        Controllers::Systemd,
    ];
    let hierarchies = hierarchies::V1::new();
    let mut mounts: Vec<Mount> = Vec::new();
    for controller in known {
        let name = controller.to_string();
        let Some((path, _)) = hierarchies.get_mount_point(controller) else {
            continue;
        };
        // `cpu` and `cpuacct` often share one mount.
        match mounts.iter_mut().find(|mount| mount.path == path) {
            Some(mount) => {
                mount.controllers.insert(name);
            }
            None => mounts.push(Mount {
                controllers: BTreeSet::from([name]),
                path,
            }),
        }
    }
    mounts.extend(hybrid(Path::new(HYBRID)));
    mounts
}

/// The unified hierarchy that some machines mount beside those of v1 (systemd's hybrid mode). The agent writes no
/// limits there, but runc creates each container's cgroup in it, too, and leaves its parents behind.
fn hybrid(path: &Path) -> Option<Mount> {
    path.join("cgroup.controllers").is_file().then(|| Mount {
        controllers: BTreeSet::new(),
        path: path.to_owned(),
    })
}

fn mount_v2(path: &Path) -> Result<Mount, CgroupError> {
    let file = path.join("cgroup.controllers");
    let text = fs::read_to_string(&file).map_err(|error| CgroupError::file("reading", &file, error))?;
    Ok(Mount {
        controllers: text.split_whitespace().map(str::to_owned).collect(),
        path: path.to_owned(),
    })
}

/// Enables the controllers for the children of a v2 cgroup. If the kernel rejects one here, writing its value fails
/// later with its name.
fn enable_controllers(directory: &Path, controllers: &BTreeSet<String>) -> Result<(), CgroupError> {
    let file = directory.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).map_err(|error| CgroupError::file("reading", &file, error))?;
    let enabled: BTreeSet<&str> = enabled.split_whitespace().collect();
    for controller in controllers {
        if !enabled.contains(controller.as_str())
            && let Err(error) = overwrite(&file, &format!("+{controller}"))
        {
            tracing::debug!(%error, controller, path = %file.display(), "cannot enable a cgroup controller");
        }
    }
    Ok(())
}

/// Creates one cgroup, whose parent exists, unless it exists already.
fn create(directory: &Path) -> Result<(), CgroupError> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => prepare(directory),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(CgroupError::file("making", directory, error)),
    }
}

/// Kernels before 5.11 charge a child's memory to its parents only if this is set, and it can be set only while there
/// are no children.
fn prepare(directory: &Path) -> Result<(), CgroupError> {
    let file = directory.join("memory.use_hierarchy");
    match fs::read_to_string(&file) {
        Ok(value) if value.trim() == "0" => write(&file, "1"),
        _ => Ok(()),
    }
}

/// A new v1 cpuset has no CPUs and no memory nodes, and no process can join it.
fn inherit_cpuset(parent: &Path, directory: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = directory.join(name);
        let current =
            fs::read_to_string(&file).map_err(|error| CgroupError::file("reading", &file, error))?;
        if current.trim().is_empty() {
            let above = parent.join(name);
            let value =
                fs::read_to_string(&above).map_err(|error| CgroupError::file("reading", &above, error))?;
            write(&file, value.trim())?;
        }
    }
    Ok(())
}

/// Removes the directories depth first; the files in them belong to the kernel and disappear with them.
fn remove_tree(directory: &Path) -> Result<(), CgroupError> {
    // Usually there is nothing below, since the runtime has removed its containers' cgroups.
    match fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for child in subdirectories(directory)? {
        remove_tree(&directory.join(child))?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CgroupError::file("removing", directory, error))
        }
        _ => Ok(()),
    }
}

/// The names of the subdirectories; none if the directory does not exist.
pub(super) fn subdirectories(directory: &Path) -> Result<Vec<String>, CgroupError> {
    let failed = |error| CgroupError::file("listing", directory, error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::memory_rules::MemoryProtection;
    use crate::model::node::CgroupName;
    use crate::model::resources::Bytes;

    fn setting() -> CgroupSetting {
        CgroupSetting {
            name: CgroupName(Vec::new()),
            cpu_shares: Some(1024),
            cpu_quota: Some((50_000, 100_000)),
            memory_limit: Some(64 << 20),
            memory_protection: Default::default(),
            pids_max: Some(100),
            hugepages: vec![(Bytes(2 << 20), 0)],
        }
    }

    /// Directories that stand for a hierarchy: in a real one the kernel creates the files.
    fn fake(root: &Path, files: &[&str]) {
        for file in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    }

    fn contents(root: &Path, files: &[&str]) -> Vec<String> {
        let read = |file: &&str| fs::read_to_string(root.join(file)).unwrap();
        files.iter().map(read).collect()
    }

    fn mount(path: PathBuf, controllers: &[&str]) -> Mount {
        Mount {
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            path,
        }
    }

    #[test]
    fn the_unified_hierarchy_beside_v1_is_cleared_and_gets_no_limits() {
        let root = tempfile::tempdir().unwrap();
        assert!(hybrid(root.path()).is_none(), "a plain directory is none");
        fs::write(root.path().join("cgroup.controllers"), "hugetlb\n").unwrap();
        let beside = hybrid(root.path()).unwrap();
        assert!(beside.controllers.is_empty());
        fs::create_dir_all(root.path().join("kubepods/burstable/pod1")).unwrap();
        let hierarchy = Hierarchy {
            version: CgroupVersion::V1,
            mounts: vec![beside],
        };
        assert_eq!(hierarchy.mount("hugetlb"), None);
        hierarchy.remove(Path::new("kubepods")).unwrap();
        assert!(!root.path().join("kubepods").exists());
    }

    #[test]
    fn a_cgroup_of_others_is_updated_where_it_exists_and_never_made() {
        let root = tempfile::tempdir().unwrap();
        let files = ["cpu/kube/cpu.shares", "memory/kube/memory.limit_in_bytes"];
        fake(root.path(), &files);
        fs::create_dir(root.path().join("freezer")).unwrap();
        let at = |name: &str| mount(root.path().join(name), &[name]);
        let mounts = vec![at("cpu"), at("memory"), at("freezer")];
        let hierarchy = Hierarchy::of(CgroupVersion::V1, mounts).unwrap();
        let path = Path::new("kube");
        assert!(hierarchy.missing_directories(path).is_empty());
        let limits = CgroupSetting {
            cpu_quota: None,
            hugepages: Vec::new(),
            ..setting()
        };
        hierarchy.update(path, &limits).unwrap();
        assert_eq!(contents(root.path(), &files), ["1024", "67108864"]);
        assert!(!root.path().join("freezer/kube").exists());
        let other = Path::new("system");
        let missing = ["memory/system", "cpu/system"].map(|name| root.path().join(name));
        assert_eq!(hierarchy.missing_directories(other), missing);
        assert!(hierarchy.update(other, &limits).is_err());
        assert!(!root.path().join("cpu/system").exists());
    }

    #[test]
    fn protected_memory_is_written_on_v2() {
        let root = tempfile::tempdir().unwrap();
        let values = ["kube/memory.min", "kube/memory.low"];
        fake(root.path(), &values);
        fake(root.path(), &["cgroup.subtree_control"]);
        fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        let hierarchy = Hierarchy::unified(root.path()).unwrap();
        let protected = CgroupSetting {
            memory_protection: MemoryProtection {
                min: Some(4096),
                low: Some(0),
            },
            ..CgroupSetting::untouched(CgroupName(Vec::new()))
        };
        hierarchy.update(Path::new("kube"), &protected).unwrap();
        assert_eq!(contents(root.path(), &values), ["4096", "0"]);
    }

    #[test]
    fn a_process_joins_the_hierarchies_that_have_controllers() {
        let root = tempfile::tempdir().unwrap();
        let files = ["cpu/agent/cgroup.procs", "memory/agent/cgroup.procs"];
        fake(root.path(), &files);
        let at = |name: &str, controller| mount(root.path().join(name), &[controller]);
        let mounts = vec![
            at("cpu", "cpu"),
            at("memory", "memory"),
            at("systemd", "name=systemd"),
            mount(root.path().join("unified"), &[]),
        ];
        let hierarchy = Hierarchy::of(CgroupVersion::V1, mounts).unwrap();
        hierarchy.join(Path::new("agent"), 4711).unwrap();
        assert_eq!(contents(root.path(), &files), ["4711", "4711"]);
    }

    #[test]
    fn values_on_v1() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            "cpu,cpuacct/k/p/cpu.shares",
            "cpu,cpuacct/k/p/cpu.cfs_quota_us",
            "cpu,cpuacct/k/p/cpu.cfs_period_us",
            "memory/k/p/memory.limit_in_bytes",
        ];
        fake(root.path(), &files);
        let at = |name: &str| root.path().join(name);
        let mounts = vec![
            mount(at("cpu,cpuacct"), &["cpu", "cpuacct"]),
            mount(at("memory"), &["memory"]),
            mount(at("freezer"), &["freezer"]),
        ];
        fs::create_dir(at("freezer")).unwrap();
        let hierarchy = Hierarchy::of(CgroupVersion::V1, mounts).unwrap();
        let missing: Vec<&str> = hierarchy.missing().map(|(name, _)| name).collect();
        assert_eq!(missing, ["pids", "cpuset", "hugetlb"]);

        let path = Path::new("k/p");
        hierarchy.ensure(path, &setting()).unwrap();
        assert_eq!(
            contents(root.path(), &files),
            ["1024", "50000", "100000", "67108864"]
        );
        assert!(at("freezer/k/p").is_dir());
        assert!(hierarchy.exists(path));
        assert_eq!(hierarchy.children(Path::new("k")).unwrap(), ["p"]);
        assert_eq!(hierarchy.children(Path::new("none")).unwrap(), [""; 0]);
    }

    #[test]
    fn values_on_v2() {
        let root = tempfile::tempdir().unwrap();
        let values = [
            "k/p/cpu.weight",
            "k/p/cpu.max",
            "k/p/memory.max",
            "k/p/pids.max",
            "k/p/hugetlb.2MB.max",
        ];
        fake(root.path(), &values);
        fake(
            root.path(),
            &["cgroup.subtree_control", "k/cgroup.subtree_control"],
        );
        fs::write(
            root.path().join("cgroup.controllers"),
            "cpu memory pids hugetlb\n",
        )
        .unwrap();
        let mounts = vec![mount_v2(root.path()).unwrap()];
        let hierarchy = Hierarchy::of(CgroupVersion::V2, mounts).unwrap();
        let unlimited = CgroupSetting {
            cpu_quota: Some((-1, 100_000)),
            memory_limit: Some(-1),
            ..setting()
        };
        hierarchy.ensure(Path::new("k/p"), &setting()).unwrap();
        assert_eq!(
            contents(root.path(), &values),
            ["39", "50000 100000", "67108864", "100", "0"]
        );
        let enabled = contents(root.path(), &["k/cgroup.subtree_control"]);
        assert!(enabled[0].starts_with('+'), "{enabled:?}");
        for (file, old) in [("k/p/cpu.max", "50000 100000"), ("k/p/memory.max", "67108864")] {
            assert_eq!(fs::read_to_string(root.path().join(file)).unwrap(), old);
            fs::write(root.path().join(file), "").unwrap();
        }
        hierarchy.ensure(Path::new("k/p"), &unlimited).unwrap();
        assert_eq!(
            contents(root.path(), &["k/p/cpu.max", "k/p/memory.max"]),
            ["max 100000", "max"]
        );
    }

    #[test]
    fn a_new_cpuset_takes_over_its_parents_cores() {
        let root = tempfile::tempdir().unwrap();
        fake(root.path(), &["k/cpuset.cpus", "k/cpuset.mems"]);
        fs::write(root.path().join("cpuset.cpus"), "0-3\n").unwrap();
        fs::write(root.path().join("cpuset.mems"), "0\n").unwrap();
        inherit_cpuset(root.path(), &root.path().join("k")).unwrap();
        assert_eq!(
            contents(root.path(), &["k/cpuset.cpus", "k/cpuset.mems"]),
            ["0-3", "0"]
        );
    }

    #[test]
    fn a_machine_without_the_memory_controller_is_refused() {
        let refused = Hierarchy::of(CgroupVersion::V1, vec![mount(PathBuf::new(), &["cpu"])]);
        let error = refused.err().expect("memory is required").to_string();
        assert!(error.contains("\"memory\" is not mounted"), "{error}");
    }

    #[test]
    fn removal_takes_what_lies_below_and_nothing_twice() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("memory/k/p/c")).unwrap();
        fs::create_dir_all(root.path().join("cpu/k/p")).unwrap();
        let mounts = vec![
            mount(root.path().join("memory"), &["memory"]),
            mount(root.path().join("cpu"), &["cpu"]),
        ];
        let hierarchy = Hierarchy::of(CgroupVersion::V1, mounts).unwrap();
        hierarchy.remove(Path::new("k/p")).unwrap();
        hierarchy.remove(Path::new("k/p")).unwrap();
        assert!(!root.path().join("memory/k/p").exists());
        assert!(root.path().join("cpu/k").exists());
    }
}
