//! What lies on the node's disk and in the kernel's table of mounts.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::driver::Driver;

const NODE: &str = "/var/lib/kubelet";

/// The mount points that have this text in their path, one entry a mount: what is mounted twice is there twice.
pub fn mounts(text: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the kernel lists the mounts");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| point.contains(text))
        .map(str::to_owned)
        .collect()
}

/// The options of what is mounted at a path.
pub fn mount_options(path: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the kernel lists the mounts");
    let path = path.display().to_string();
    let lines = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut options = lines.filter_map(|fields| (fields[4] == path).then(|| fields[5].to_owned()));
    options.next()
}

/// The directory of a pod.
pub fn pod_directory(uid: &str) -> PathBuf {
    Path::new(NODE).join("pods").join(uid)
}

/// Where a volume of a driver is mounted for a pod.
pub fn published(uid: &str, volume: &str) -> PathBuf {
    let volumes = pod_directory(uid).join("volumes/kubernetes.io~csi");
    volumes.join(volume).join("mount")
}

/// Where a volume of a driver is staged: below a directory of its handle's hash.
pub fn staged(driver: &Driver, handle: &str) -> PathBuf {
    let drivers = Path::new(NODE).join("plugins/kubernetes.io/csi");
    drivers.join(&driver.name).join(hash(handle)).join("globalmount")
}

/// What a driver knows an inline volume of a pod by.
pub fn inline_handle(uid: &str, volume: &str) -> String {
    format!("csi-{}", hash(&format!("{uid}{volume}")))
}

fn hash(text: &str) -> String {
    use sha2::Digest as _;
    let sum = sha2::Sha256::digest(text);
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is below a directory, however deep; nothing if it is not there.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// Where the node keeps block devices.
pub fn devices() -> PathBuf {
    Path::new(NODE).join("plugins/kubernetes.io/csi/volumeDevices")
}

/// The record that lies beside a mount point.
pub fn record(beside: &Path) -> Value {
    let file = beside.with_file_name("vol_data.json");
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).expect("it is JSON")
}
