//! The removal of a volume followed links that its container had made, and descended into mounts in it: files of the
//! host were deleted.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use nix::mount::MsFlags;

use super::{DEADLINE, Host, against, exchange};
use crate::disk::tests::in_own_mounts;
use crate::disk::tree::{self, Mounts};

/// How many volumes are removed during swaps.
const VOLUMES: usize = 100;
/// The number of mount points in a volume.
const PLACES: usize = 8;

/// Removes the pod's directory as its steps do, which may fail and are repeated; returns how often it failed.
fn remove(host: &Host) -> usize {
    let began = Instant::now();
    let mut failures = 0;
    while let Err(error) = tree::remove(&host.pod(), Mounts::Unmounted) {
        failures += 1;
        assert!(began.elapsed() < DEADLINE, "after {failures} attempts: {error}");
    }
    failures
}

/// Removes this many volumes, and continues until one was removed during a swap: otherwise there was no race.
fn volumes(mut removed_in_a_race: impl FnMut(&Host) -> bool) {
    let began = Instant::now();
    let (mut volumes, mut raced) = (0, 0);
    while volumes < VOLUMES || raced == 0 {
        let host = Host::new();
        raced += usize::from(removed_in_a_race(&host));
        volumes += 1;
        assert!(!host.pod().exists());
        host.is_untouched();
        assert!(began.elapsed() < DEADLINE, "{raced} of {volumes} were raced");
    }
}

#[test]
fn cve_2017_1002102_a_link_that_takes_a_directorys_place_meanwhile_is_not_followed() {
    volumes(|host| {
        let (own, link) = (host.volume().join("own"), host.volume().join("link"));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("file"), "volume").unwrap();
        symlink(host.outside(), &link).unwrap();
        let swap = || {
            // What is removed cannot be swapped any more.
            let _ = exchange(&own, &link);
        };
        against(swap, || remove(host)) > 0
    });
}

#[test]
fn cve_2017_1002102_what_is_mounted_in_a_volume_meanwhile_is_not_entered() {
    if !in_own_mounts(
        "act::tests::cve_2017_1002102::cve_2017_1002102_what_is_mounted_in_a_volume_meanwhile_is_not_entered",
    ) {
        return;
    }
    volumes(|host| {
        let (outside, volume) = (host.outside(), host.volume());
        let places: Vec<_> = (0..PLACES).map(|place| volume.join(place.to_string())).collect();
        places.iter().for_each(|place| fs::create_dir(place).unwrap());
        let (mut left, mut mounted) = (places.iter(), 0);
        let mount = || {
            let Some(place) = left.next() else {
                return std::thread::yield_now();
            };
            // A bind mount of the same file system, so that no device number reveals it. Once the directory is removed,
            // there is no mount point.
            let (bind, none) = (MsFlags::MS_BIND, None::<&str>);
            if nix::mount::mount(Some(&outside), place, none, bind, none).is_ok() {
                mounted += 1;
            }
        };
        against(mount, || remove(host));
        // One is mounted before the removal starts.
        mounted > 1
    });
}
