//! A part of a volume (`subPath`) that was a symbolic link gave access to any file of the host.

use std::fs;
use std::os::unix::fs::symlink;

use super::Host;
use crate::act::sub_path;
use crate::disk::tests::in_own_mounts;
use crate::model::request::SubPathMount;

#[test]
fn cve_2017_1002101_a_part_that_leads_out_of_its_volume_is_not_mounted() {
    if !in_own_mounts(
        "act::tests::cve_2017_1002101::cve_2017_1002101_a_part_that_leads_out_of_its_volume_is_not_mounted",
    ) {
        return;
    }
    let host = Host::new();
    let volume = host.volume();
    fs::create_dir(volume.join("own")).unwrap();
    let outside = host.outside();
    let links = [
        ("absolute", outside.to_str().unwrap()),
        ("relative", "../../../../../outside"),
        ("winding", "own/../../../../../../outside"),
        ("second", "absolute"),
        ("file-link", outside.join("file").to_str().unwrap()),
        ("dangling", outside.join("new").to_str().unwrap()),
        ("root", "/"),
        ("magic", "/proc/self/root"),
        ("own/up", "../.."),
    ]
    .map(|(name, target)| {
        symlink(target, volume.join(name)).unwrap();
        name
    });
    let mut index = 0;
    let mut prepare = |path: &str| {
        index += 1;
        let part = SubPathMount {
            volume: "v".to_owned(),
            root: volume.clone(),
            path: path.to_owned(),
            target: host.pod().join(format!("volume-subpaths/v/c/{index}")),
        };
        (sub_path::prepare(&part, "c"), part.target)
    };
    for link in links {
        for below in ["", "/file", "/new", "/new/deeper"] {
            let path = format!("{link}{below}");
            let (result, target) = prepare(&path);
            assert!(result.is_err(), "{path} was mounted");
            assert!(!target.exists(), "{path}");
            host.is_untouched();
        }
    }
    let (result, target) = prepare("file");
    result.unwrap();
    assert_eq!(fs::read_to_string(target).unwrap(), "volume");
}
