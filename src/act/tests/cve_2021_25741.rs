//! A checked part of a volume (`subPath`) was mounted by its name, and its container had replaced it with a link out of
//! the volume in the meantime.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Host, against, exchange, until_both};
use crate::act::mount;
use crate::act::sub_path;
use crate::disk::tests::in_own_mounts;
use crate::model::request::SubPathMount;

/// How often a part is mounted while its container swaps it.
const ATTEMPTS: usize = 2000;

/// Mounts a part of the volume repeatedly while two names in the volume are exchanged; what `read` returns from the
/// mount is never the host's file.
fn check(host: &Host, path: &str, swapped: (&str, &str), read: &str) {
    let part = SubPathMount {
        volume: "v".to_owned(),
        root: host.volume(),
        path: path.to_owned(),
        target: host.pod().join("volume-subpaths/v/c/0"),
    };
    let (one, other) = (host.volume().join(swapped.0), host.volume().join(swapped.1));
    let seen_at = match Path::new(read) {
        below if below == Path::new("") => part.target.clone(),
        below => part.target.join(below),
    };
    let swap = || exchange(&one, &other).unwrap();
    against(swap, || {
        until_both(ATTEMPTS, || match sub_path::prepare(&part, "c") {
            Ok(()) => {
                assert_eq!(fs::read_to_string(&seen_at).unwrap(), "volume", "{path}");
                true
            }
            Err(_) => false,
        });
    });
    mount::unmount_beneath(&host.pod()).unwrap();
    host.is_untouched();
}

#[test]
fn cve_2021_25741_a_part_that_its_container_swaps_for_a_link_is_mounted_from_the_volume_or_not_at_all() {
    if !in_own_mounts(
        "act::tests::cve_2021_25741::\
         cve_2021_25741_a_part_that_its_container_swaps_for_a_link_is_mounted_from_the_volume_or_not_at_all",
    ) {
        return;
    }
    let host = Host::new();
    let volume = host.volume();
    // A directory, a directory above it, and a file.
    fs::create_dir_all(volume.join("part/below")).unwrap();
    fs::write(volume.join("part/file"), "volume").unwrap();
    symlink(host.outside(), volume.join("link")).unwrap();
    check(&host, "part", ("part", "link"), "file");
    let host = Host::new();
    let volume = host.volume();
    fs::create_dir(volume.join("part")).unwrap();
    fs::write(volume.join("part/file"), "volume").unwrap();
    symlink(host.outside(), volume.join("link")).unwrap();
    check(&host, "part/file", ("part", "link"), "");
    let host = Host::new();
    let volume = host.volume();
    symlink(host.outside().join("file"), volume.join("link")).unwrap();
    check(&host, "file", ("file", "link"), "");
}
