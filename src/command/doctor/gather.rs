//! Collects the facts for doctor. Only reads; what cannot be read counts as missing, and a check reports it.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::checks::network::is_our_conflist;
use super::findings::{Clock, Disk, Findings, Mount, RuntimeAnswer};
use super::runtime;
use crate::cgroup;
use crate::config::Config;
use crate::config::node::Init;
use crate::model::measured::FsUsage;
use crate::model::node::CgroupVersion;
use crate::model::resources::Bytes;

/// The plugins of gantry's network.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];
/// What gantry's plugins say of themselves, and no other vendor's.
const OURS: &[u8] = b"gantry-cni ";
/// No plugin is larger.
const LARGEST_PLUGIN: u64 = 256 << 20;
/// The controllers that limits need, by their names in both cgroup versions.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Collects everything that the checks read.
pub async fn gather(config: &Config) -> Findings {
    let answer = runtime::ask(&config.runtime.endpoint).await;
    let cgroups = cgroup_version();
    let other_cni = other_cni(&config.network.cni_conf_dir);
    let (kernel_inotify, net) = (Path::new("/proc/sys/fs/inotify"), Path::new("/proc/sys/net"));
    let number = |path: PathBuf| word(&path).and_then(|text| text.parse::<u64>().ok());
    Findings {
        uid: nix::unistd::geteuid().as_raw(),
        kernel: word(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default(),
        cgroups,
        missing_controllers: missing_controllers(cgroups),
        init: if Path::new("/run/systemd/system").exists() {
            Init::Systemd
        } else {
            Init::Other
        },
        swaps: swaps(&fs::read_to_string("/proc/swaps").unwrap_or_default()),
        ip_forward: number(net.join("ipv4/ip_forward")) == Some(1),
        bridge_iptables: number(net.join("bridge/bridge-nf-call-iptables")).map(|value| value == 1),
        disks: disks(config, &answer),
        agent_runs: UnixStream::connect(&config.serve.socket).is_ok(),
        taken: taken(
            config
                .serve
                .healthz
                .iter()
                .chain(&config.serve.api)
                .chain(&config.serve.read_only)
                .chain(&config.kubectl_address()),
        ),
        kubelets: kubelets(),
        root_mount: root_mount(&config.paths.root),
        other_cni,
        missing_plugins: missing_plugins(&config.network.cni_bin_dir),
        foreign_bridge: is_foreign(&config.network.cni_bin_dir.join("bridge")),
        missing_kernel: missing_kernel(),
        inotify_instances: number(kernel_inotify.join("max_user_instances")),
        inotify_watches: number(kernel_inotify.join("max_user_watches")),
        clock: clock(),
        runtime: answer,
    }
}

/// Reads a file of one word.
fn word(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Distinguishes the versions as containerd and runc do: the unified hierarchy is mounted at the root or not used.
fn cgroup_version() -> Option<CgroupVersion> {
    let root = Path::new(cgroup::MOUNT_POINT);
    if root.join("cgroup.controllers").exists() {
        Some(CgroupVersion::V2)
    } else if root.join("memory").exists() || root.join("cpu").exists() {
        Some(CgroupVersion::V1)
    } else {
        None
    }
}

fn missing_controllers(version: Option<CgroupVersion>) -> Vec<String> {
    let root = Path::new(cgroup::MOUNT_POINT);
    let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let offered: Vec<&str> = offered.split_whitespace().collect();
    let is_missing = |name: &&str| match version {
        Some(CgroupVersion::V2) => !offered.contains(name),
        Some(CgroupVersion::V1) => !root.join(name).exists(),
        None => false,
    };
    CONTROLLERS
        .iter()
        .copied()
        .filter(is_missing)
        .map(str::to_owned)
        .collect()
}

/// The names in `/proc/swaps`, below its heading.
fn swaps(table: &str) -> Vec<String> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Addresses that cannot be bound now.
fn taken<'a>(wanted: impl Iterator<Item = &'a SocketAddr>) -> Vec<SocketAddr> {
    let in_use = |address: &&SocketAddr| {
        TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    wanted.filter(in_use).copied().collect()
}

/// Processes named kubelet that are not this program.
fn kubelets() -> Vec<u32> {
    let ours = fs::read_link("/proc/self/exe").ok();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let is_kubelet = |pid: &u32| {
        let process = PathBuf::from(format!("/proc/{pid}"));
        word(&process.join("comm")).as_deref() == Some("kubelet")
            && fs::read_link(process.join("exe")).ok() != ours
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_kubelet)
        .collect()
}

/// The nearest existing directory: what will be created later is on the same file system.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
}

fn disks(config: &Config, answer: &RuntimeAnswer) -> Vec<Disk> {
    let image_dir = match answer {
        RuntimeAnswer::Answered(runtime) => runtime.image_dir.clone(),
        _ => None,
    };
    let disk = |name: &'static str, path: PathBuf| {
        let usage = usage(existing(&path))?;
        Some(Disk { name, path, usage })
    };
    disk("nodefs", config.paths.root.clone())
        .into_iter()
        .chain(image_dir.and_then(|path| disk("imagefs", path)))
        .collect()
}

fn usage(path: &Path) -> Option<FsUsage> {
    let stat = statvfs(path).ok()?;
    // Block counts have the platform's width, so the conversion is written for the narrowest one.
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let bytes = |blocks: u64| Bytes(number(blocks.saturating_mul(stat.fragment_size())));
    Some(FsUsage {
        capacity: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
        inodes: number(stat.files()),
        inodes_free: number(stat.files_available()),
    })
}

fn root_mount(path: &Path) -> Mount {
    let path = existing(path);
    let flags = statvfs(path).map(|stat| stat.flags()).unwrap_or(FsFlags::empty());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Mount {
        read_only: flags.contains(FsFlags::ST_RDONLY),
        no_exec: flags.contains(FsFlags::ST_NOEXEC),
        shared: is_shared(&table, &resolved),
    }
}

/// Whether the mount of a path is shared (proc_pid_mountinfo(5): the optional fields between the sixth and the dash).
/// Of several mounts on one path the last is on top.
fn is_shared(mountinfo: &str, path: &Path) -> bool {
    let mut best: (usize, bool) = (0, false);
    for line in mountinfo.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(point) = fields.get(4).filter(|point| path.starts_with(point)) else {
            continue;
        };
        let optional = fields.iter().skip(6).take_while(|field| **field != "-");
        if point.len() >= best.0 {
            best = (
                point.len(),
                optional.into_iter().any(|field| field.starts_with("shared:")),
            );
        }
    }
    best.1
}

/// Configurations of other networks, in the order in which the runtime reads them.
fn other_cni(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let is_configuration = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("conf" | "conflist" | "json")) && !is_our_conflist(path)
    };
    let mut found: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_configuration)
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found
}

fn missing_plugins(directory: &Path) -> Vec<String> {
    let missing = PLUGINS.iter().filter(|name| !directory.join(name).is_file());
    missing.map(|&name| name.to_owned()).collect()
}

/// Whether a plugin is another vendor's: packages of Kubernetes put theirs into the same directory.
fn is_foreign(plugin: &Path) -> bool {
    let mut program = Vec::new();
    let read = fs::File::open(plugin).and_then(|file| file.take(LARGEST_PLUGIN).read_to_end(&mut program));
    read.is_ok() && !program.windows(OURS.len()).any(|part| part == OURS)
}

/// Kernel features that pods need and that are neither built in nor loadable modules.
fn missing_kernel() -> Vec<&'static str> {
    let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let release = word(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let modules = Path::new("/lib/modules").join(release);
    let lists = ["modules.builtin", "modules.dep"].map(|file| fs::read_to_string(modules.join(file)));
    let known = lists.iter().flatten().any(|list| !list.is_empty());
    let loadable = |name: &str| {
        lists
            .iter()
            .flatten()
            .any(|list| list.contains(&format!("/{name}.ko")))
    };
    let mut missing = Vec::new();
    if !file_systems
        .lines()
        .any(|line| line.trim_end().ends_with("overlay"))
        && !loadable("overlay")
    {
        missing.push("overlay");
    }
    // If the kernel has no list of its modules, only use can show it.
    let loaded = Path::new("/sys/module/nf_tables").exists();
    if !loaded && known && !loadable("nf_tables") {
        missing.push("nf_tables");
    }
    missing
}

/// systemd-timesyncd and chrony leave a file; other services leave no trace to check.
fn clock() -> Clock {
    let installed = std::env::current_exe()
        .and_then(fs::metadata)
        .and_then(|about| about.modified())
        .ok();
    if installed.is_some_and(|installed| std::time::SystemTime::now() < installed) {
        return Clock::Behind;
    }
    let signs = [
        "/run/systemd/timesync/synchronized",
        "/run/chrony/chronyd.pid",
        "/run/ntpd.pid",
    ];
    if signs.iter().any(|sign| Path::new(sign).exists()) {
        Clock::Synchronised
    } else {
        Clock::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_swaps() {
        let table = "Filename\t\tType\t\tSize\n/dev/sda2 partition 1\n/swapfile file 2\n";
        assert_eq!(swaps(table), ["/dev/sda2", "/swapfile"]);
        assert!(swaps("Filename\t\tType\n").is_empty());
    }

    #[test]
    fn a_mount_is_shared_or_not() {
        let table = "21 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n\
                     22 21 8:2 / /var rw - ext4 /dev/sdb rw\n\
                     23 22 8:3 / /var/lib rw master:3 shared:7 - ext4 /dev/sdc rw\n";
        assert!(is_shared(table, Path::new("/home")));
        assert!(!is_shared(table, Path::new("/var/log")));
        assert!(is_shared(table, Path::new("/var/lib/kubelet")));
        assert!(!is_shared("", Path::new("/")));
    }

    #[test]
    fn configurations_of_other_networks() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["20-b.conf", "10-a.conflist", "10-gantry.conflist", "readme.txt"] {
            fs::write(directory.path().join(name), "{}").unwrap();
        }
        let found = other_cni(directory.path());
        let names: Vec<_> = found
            .iter()
            .map(|path| path.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(names, ["10-a.conflist", "20-b.conf"]);
        assert!(other_cni(Path::new("/absent")).is_empty());
    }

    #[test]
    fn a_port_in_use_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(taken([address].iter()), [address]);
        drop(listener);
        assert!(taken([address].iter()).is_empty());
    }

    #[test]
    fn missing_plugins_are_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("bridge"), "").unwrap();
        assert_eq!(missing_plugins(directory.path()), ["host-local", "loopback"]);
    }

    #[test]
    fn a_plugin_of_another_vendor_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let bridge = directory.path().join("bridge");
        assert!(!is_foreign(&bridge));
        fs::write(&bridge, "\x7fELF\0CNI bridge plugin v1.1.1\0").unwrap();
        assert!(is_foreign(&bridge));
        fs::write(&bridge, "\x7fELF\0gantry-cni 0.1.0\0").unwrap();
        assert!(!is_foreign(&bridge));
    }
}
