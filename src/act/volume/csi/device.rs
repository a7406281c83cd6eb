//! The links and mounts of a published device.

use std::io;

use crate::act::off_thread::off_thread;
use crate::act::volume::device_files::{make_link, make_map, remove_map};
use crate::disk::write::remove_if_there;
use crate::model::csi_request::{CsiPlaces, CsiRequest};

/// Makes the mount of a device that is published.
pub(super) async fn map(request: &CsiRequest) -> io::Result<()> {
    let target = request.places.device_target(&request.name);
    let map = request.places.device_map(&request.name);
    off_thread(move || make_map(&map, &target)).await
}

/// Makes the link in the pod's directory.
pub(super) async fn link(places: &CsiPlaces, name: &str) -> io::Result<()> {
    let (link, target) = (places.device_link(name), places.device_target(name));
    off_thread(move || make_link(&link, &target)).await
}

/// Removes the link in the pod's directory.
pub(super) async fn unlink(places: &CsiPlaces, name: &str) -> io::Result<()> {
    let link = places.device_link(name);
    off_thread(move || remove_if_there(&link)).await
}

/// Removes the mount.
pub(super) async fn unmap(places: &CsiPlaces, name: &str) -> io::Result<()> {
    let map = places.device_map(name);
    off_thread(move || remove_map(&map)).await
}
