//! The files of a device that a pod has: a link in the pod's directory, which containers get, and a mount that keeps the
//! device busy for as long as the pod has it (`pkg/volume/util/volumepathhandler`). All of it blocks.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use super::csi::data;
use crate::act::mount;
use crate::disk::loop_device;
use crate::disk::write::remove_if_there;

/// Makes the link, and the directory that it is in. After a reboot the name may stand for another device.
pub(super) fn make_link(link: &Path, device: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|found| found == device) {
        return Ok(());
    }
    make_parent(link)?;
    remove_if_there(link)?;
    std::os::unix::fs::symlink(device, link)
}

/// Makes the mount, on a file.
pub(super) fn make_map(map: &Path, device: &Path) -> io::Result<()> {
    make_parent(map)?;
    if !map.exists() {
        fs::File::create(map)?;
    }
    if mount::is_mount_point(map)? {
        return Ok(());
    }
    nix::mount::mount(Some(device), map, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Removes the mount. A kubelet has a loop device of its own on it, which would hold it for ever.
pub(super) fn remove_map(map: &Path) -> io::Result<()> {
    detach_loop_devices(map)?;
    mount::unmount(map)?;
    remove_if_there(map)
}

fn make_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)
}

/// Detaches the loop devices that are backed by this path.
fn detach_loop_devices(path: &Path) -> io::Result<()> {
    for name in data::names(Path::new("/sys/block"))? {
        if !name.starts_with("loop") {
            continue;
        }
        let backing = PathBuf::from("/sys/block").join(&name).join("loop/backing_file");
        let Ok(file) = fs::read_to_string(backing) else {
            continue;
        };
        if Path::new(file.trim_end_matches('\n')) == path {
            let device = fs::File::open(Path::new("/dev").join(&name))?;
            loop_device::detach(&device)?;
        }
    }
    Ok(())
}
