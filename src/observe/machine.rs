//! The machine's facts, always read from the kernel and the distribution. All paths are below a given root, `/` on a
//! real machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::cpu_list::CpuList;
use crate::model::node::MachineFacts;
use crate::model::resources::Bytes;

/// What cannot be read from the machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A file that every Linux has.
    #[error("cannot read {path}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that lacks what every Linux writes into it.
    #[error("{path} does not state {what}")]
    Missing {
        /// Which one.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A file system.
    #[error("cannot read the capacity of the file system of {path}")]
    FileSystem {
        /// A path on it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads everything that does not change while the machine runs.
pub fn machine_facts(root: &Path) -> Result<MachineFacts, MachineError> {
    let machine_id = ["etc/machine-id", "var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| line(root, path))
        .unwrap_or_default();
    let system_uuid = [
        "sys/class/dmi/id/product_uuid",
        "proc/device-tree/system-id",
        "proc/device-tree/vm,uuid",
    ]
    .iter()
    .find_map(|path| line(root, path));
    let cpus = cpus(root)?;
    Ok(MachineFacts {
        // Host names are compared without regard to case; in labels they have to be lower case.
        hostname: required(root, "proc/sys/kernel/hostname")?.to_lowercase(),
        system_uuid: system_uuid.unwrap_or_else(|| machine_id.clone()),
        machine_id,
        boot_id: required(root, "proc/sys/kernel/random/boot_id")?,
        kernel: required(root, "proc/sys/kernel/osrelease")?,
        os_image: os_image(root),
        architecture: go_architecture(std::env::consts::ARCH).to_owned(),
        cores: cpus.len(),
        cpus,
        memory: memory(root)?,
        page_size: page_size(),
        swap: swap(root)?,
        swaps_tmpfs: false,
        hugepages: hugepages(root),
        apparmor: has_apparmor(root),
        thermal_throttle: thermal_throttle(root),
    })
}

/// Whether AppArmor is enabled (`third_party/forked/libcontainer/apparmor`): its directory exists, and the module
/// reports it.
fn has_apparmor(root: &Path) -> bool {
    let is_on = |text: String| text.len() > 1 && text.starts_with('Y');
    root.join("sys/kernel/security/apparmor").exists()
        && fs::read_to_string(root.join("sys/module/apparmor/parameters/enabled")).is_ok_and(is_on)
}

/// Those that exist, in the order of the CPUs (`defaultMaskedPaths` in `pkg/securitycontext/util.go`).
fn thermal_throttle(root: &Path) -> Vec<String> {
    const CPUS: &str = "sys/devices/system/cpu";
    let entries = fs::read_dir(root.join(CPUS)).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let number: u32 = name.to_str()?.strip_prefix("cpu")?.parse().ok()?;
        entry.path().join("thermal_throttle").exists().then_some(number)
    };
    let mut numbers: Vec<_> = entries.filter_map(number).collect();
    numbers.sort_unstable();
    let path = |number: &u32| format!("/{CPUS}/cpu{number}/thermal_throttle");
    numbers.iter().map(path).collect()
}

/// The whole text of a required file.
pub(super) fn text(root: &Path, path: &str) -> Result<String, MachineError> {
    let path = root.join(path);
    fs::read_to_string(&path).map_err(|source| MachineError::Read { path, source })
}

/// The text of a required one-line file.
fn required(root: &Path, path: &str) -> Result<String, MachineError> {
    text(root, path).map(|text| text.trim().to_owned())
}

/// The text of an optional file, which may be empty.
fn line(root: &Path, path: &str) -> Option<String> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    // Strings of a device tree end in NUL.
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// `PRETTY_NAME` (man 5 os-release).
fn os_image(root: &Path) -> String {
    ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| {
            let text = fs::read_to_string(root.join(path)).ok()?;
            let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            let name = name.trim().trim_matches(['"', '\'']);
            (!name.is_empty()).then(|| name.to_owned())
        })
        .unwrap_or_else(|| "Linux".to_owned())
}

/// Go's name of the architecture, used in labels and node information.
fn go_architecture(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// CPUs online.
fn cpus(root: &Path) -> Result<CpuList, MachineError> {
    let path = "sys/devices/system/cpu/online";
    let list = text(root, path)?.parse();
    list.map_err(|_| MachineError::Missing {
        path: root.join(path),
        what: "the CPUs as a list of ranges",
    })
}

/// The size of the kernel's pages in bytes.
fn page_size() -> i64 {
    // Every Linux answers; what 4096 divides is a multiple of any smaller size.
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().unwrap_or(4096)
}

/// `MemTotal`
pub(super) fn memory(root: &Path) -> Result<Bytes, MachineError> {
    let path = "proc/meminfo";
    let text = text(root, path)?;
    let kibibytes = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    });
    let total = kibibytes.map(|total: i64| Bytes(total.saturating_mul(1024)));
    total.ok_or_else(|| MachineError::Missing {
        path: root.join(path),
        what: "MemTotal",
    })
}

/// The sizes of all swap areas in use. A kernel without swap has no such file.
fn swap(root: &Path) -> Result<Bytes, MachineError> {
    let path = root.join("proc/swaps");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Bytes(0)),
        read => read.map_err(|source| MachineError::Read {
            path: path.clone(),
            source,
        })?,
    };
    let kibibytes = text.lines().skip(1).map(|line| {
        // The name may hold spaces, escaped; size, use and priority are the last three.
        let size = line.split_whitespace().rev().nth(2)?;
        size.parse::<i64>().ok()
    });
    let total = kibibytes.sum::<Option<i64>>().ok_or(MachineError::Missing {
        path,
        what: "the size of a swap area",
    })?;
    Ok(Bytes(total.saturating_mul(1024)))
}

/// The memory reserved for huge pages, by page size; empty if the kernel has none.
fn hugepages(root: &Path) -> BTreeMap<Bytes, Bytes> {
    let directory = root.join("sys/kernel/mm/hugepages");
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let kibibytes = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            let size = kibibytes.parse::<i64>().ok()?.checked_mul(1024)?;
            let count = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
            let count: i64 = count.trim().parse().ok()?;
            Some((Bytes(size), Bytes(size.saturating_mul(count))))
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Files below a directory that stands for `/`.
    pub(crate) fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const VM: &[(&str, &str)] = &[
        ("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n"),
        ("proc/sys/kernel/hostname", "VM\n"),
        (
            "proc/sys/kernel/random/boot_id",
            "891dd629-8c6f-4a56-bed4-077751ca4d87\n",
        ),
        ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
        (
            "etc/os-release",
            "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian\"\n",
        ),
        ("sys/devices/system/cpu/online", "0-2,5\n"),
        (
            "proc/meminfo",
            "MemTotal:       24684092 kB\nMemFree:        100 kB\n",
        ),
        (
            "proc/swaps",
            "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
             /dev/sda\\040b                           partition\t1048572\t\t0\t\t-2\n\
             /dev/zram0                              partition\t4\t\t0\t\t100\n",
        ),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3\n"),
        ("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n"),
        (
            "sys/devices/system/cpu/cpu10/thermal_throttle/core_throttle_count",
            "0\n",
        ),
        (
            "sys/devices/system/cpu/cpu2/thermal_throttle/core_throttle_count",
            "0\n",
        ),
        ("sys/devices/system/cpu/cpu3/online", "1\n"),
        ("sys/devices/system/cpu/cpufreq/thermal_throttle", ""),
        ("sys/kernel/security/apparmor/features/file/mask", ""),
        ("sys/module/apparmor/parameters/enabled", "Y\n"),
    ];

    #[test]
    fn facts() {
        let root = machine(VM);
        let facts = machine_facts(root.path()).unwrap();
        let expected = MachineFacts {
            hostname: "vm".to_owned(),
            machine_id: "3d1219c7c4c5404aaa1f6d2a48adfda4".to_owned(),
            system_uuid: "3d1219c7c4c5404aaa1f6d2a48adfda4".to_owned(),
            boot_id: "891dd629-8c6f-4a56-bed4-077751ca4d87".to_owned(),
            kernel: "6.1.0-18-amd64".to_owned(),
            os_image: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            cpus: "0-2,5".parse().unwrap(),
            cores: 4,
            memory: Bytes(24_684_092 * 1024),
            page_size: page_size(),
            swap: Bytes(1_048_576 * 1024),
            swaps_tmpfs: false,
            hugepages: BTreeMap::from([(Bytes(2 << 20), Bytes(6 << 20)), (Bytes(1 << 30), Bytes(0))]),
            apparmor: true,
            thermal_throttle: vec![
                "/sys/devices/system/cpu/cpu2/thermal_throttle".to_owned(),
                "/sys/devices/system/cpu/cpu10/thermal_throttle".to_owned(),
            ],
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn apparmor_is_on_where_the_kernel_shows_it_and_the_module_says_so() {
        let is_on = |files: &[(&str, &str)]| has_apparmor(machine(files).path());
        let shown = ("sys/kernel/security/apparmor/profiles", "");
        let says = |text| ("sys/module/apparmor/parameters/enabled", text);
        assert!(is_on(&[shown, says("Y\n")]));
        assert!(!is_on(&[shown, says("N\n")]));
        assert!(!is_on(&[shown]));
        assert!(!is_on(&[says("Y\n")]));
    }

    #[test]
    fn what_a_machine_may_lack() {
        let root = machine(VM);
        for path in ["etc/machine-id", "etc/os-release", "proc/swaps"] {
            fs::remove_file(root.path().join(path)).unwrap();
        }
        fs::remove_dir_all(root.path().join("sys/kernel")).unwrap();
        fs::create_dir_all(root.path().join("sys/class/dmi/id")).unwrap();
        fs::write(root.path().join("sys/class/dmi/id/product_uuid"), "4C4C4544\n").unwrap();
        let facts = machine_facts(root.path()).unwrap();
        assert_eq!(
            (facts.machine_id.as_str(), facts.system_uuid.as_str()),
            ("", "4C4C4544")
        );
        assert_eq!((facts.os_image.as_str(), facts.swap), ("Linux", Bytes(0)));
        assert_eq!(facts.hugepages, BTreeMap::new());
    }

    #[test]
    fn what_no_machine_lacks_is_named() {
        let check = |path: &str, text: &str, message: &str| {
            let root = machine(VM);
            fs::write(root.path().join(path), text).unwrap();
            let error = machine_facts(root.path()).unwrap_err().to_string();
            assert_eq!(error, format!("{} {message}", root.path().join(path).display()));
        };
        check("proc/meminfo", "", "does not state MemTotal");
        check(
            "sys/devices/system/cpu/online",
            "3-1",
            "does not state the CPUs as a list of ranges",
        );
        check(
            "proc/swaps",
            "Filename\nx y\n",
            "does not state the size of a swap area",
        );
    }

    #[test]
    fn this_machine() {
        let facts = machine_facts(Path::new("/")).unwrap();
        assert!(facts.cores > 0 && facts.memory > Bytes(0));
        assert!(!facts.kernel.is_empty() && !facts.boot_id.is_empty());
    }
}
