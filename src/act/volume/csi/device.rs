//! The links and mounts of a published device: a link in the pod's directory, which containers get, and a mount that
//! keeps the device busy for as long as the pod has it (`pkg/volume/util/volumepathhandler`).

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::data;
use crate::act::mount;
use crate::act::off_thread::off_thread;
use crate::disk::write::remove_if_there;
use crate::model::csi_request::{CsiPlaces, CsiRequest, device_dir};

/// Makes the mount of a device that is published.
pub(super) async fn map(root: &Path, request: &CsiRequest) -> io::Result<()> {
    let target = request.places.device_target(&request.name);
    let map = request.places.device_map(&request.name);
    let dir = device_dir(root, &request.name).join("dev");
    off_thread(move || {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&dir)?;
        if !map.exists() {
            fs::File::create(&map)?;
        }
        if mount::is_mount_point(&map)? {
            return Ok(());
        }
        nix::mount::mount(Some(&target), &map, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    })
    .await
}

/// Makes the link in the pod's directory.
pub(super) async fn link(places: &CsiPlaces, name: &str) -> io::Result<()> {
    let (link, target) = (places.device_link(name), places.device_target(name));
    off_thread(move || {
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let dir = link.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        remove_if_there(&link)?;
        std::os::unix::fs::symlink(&target, &link)
    })
    .await
}

/// Removes the link in the pod's directory.
pub(super) async fn unlink(places: &CsiPlaces, name: &str) -> io::Result<()> {
    let link = places.device_link(name);
    off_thread(move || remove_if_there(&link)).await
}

/// Removes the mount. A kubelet has a loop device of its own on it, which would hold it for ever.
pub(super) async fn unmap(places: &CsiPlaces, name: &str) -> io::Result<()> {
    let map = places.device_map(name);
    off_thread(move || {
        detach_loop_devices(&map)?;
        match nix::mount::umount2(&map, MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL: nothing is mounted there.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        remove_if_there(&map)
    })
    .await
}

/// Detaches the loop devices that are backed by this path.
pub(in crate::act::volume) fn detach_loop_devices(path: &Path) -> io::Result<()> {
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
            crate::disk::loop_device::detach(&device)?;
        }
    }
    Ok(())
}
