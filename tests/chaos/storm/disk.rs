//! The node's disk: a file system of its own, which can be filled without anybody else noticing.

use std::path::Path;

use super::{Storm, World};
use crate::node::here;
use crate::process::run;

/// Where it is mounted.
pub const AT: &str = "/run/node/disk";
/// Its size: what containerd and ten pods need, several times.
const SIZE: u64 = 768 << 20;
/// Its inodes: few enough to be used up within a moment.
const INODES: &str = "16384";
/// What lies on it.
const DIRECTORIES: [&str; 6] = [
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/gantry",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
];

/// Makes it, before anything of the node runs. The kernel takes the loop device back with the last mount.
pub fn make() {
    let image = here("disk.img");
    let file = std::fs::File::create(&image).expect("a private directory");
    file.set_len(SIZE).expect("a file with a hole");
    let image = image.display().to_string();
    run(&[
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-m",
        "0",
        "-N",
        INODES,
        "-O",
        "^has_journal",
        &image,
    ]);
    std::fs::create_dir_all(AT).expect("a private directory");
    run(&["mount", "-o", "loop", &image, AT]);
    for directory in DIRECTORIES {
        let ours = Path::new(AT).join(directory.trim_start_matches('/'));
        std::fs::create_dir_all(&ours).expect("an empty disk");
        std::fs::create_dir_all(directory).expect("a private directory");
        run(&["mount", "--bind", &ours.display().to_string(), directory]);
    }
}

/// Whether the node has it.
pub fn is_there<W: World>(_: &Storm<W>) -> bool {
    Path::new(AT).join("var").exists()
}
