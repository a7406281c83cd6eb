//! Who may do what in a volume: read-only mounts, directories of volumes, groups.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use serde_json::{Value, json};

use super::disk;
use super::driver::Driver;
use super::objects::{of_claim, of_driver, pod};
use super::place::Place;
use crate::node::SOON;
use crate::objects::uid;
use crate::wait::wait_for;

/// The group of the pods.
const GROUP: u32 = 2000;

pub fn a_claim_is_read_only_for_a_pod_that_says_so(place: &mut Place) {
    let driver = place.driver("readonly", &[], json!({"attachRequired": false}));
    driver.volume("readonly-1");
    place.bound("readonly-pv", of_driver(&driver, "readonly-1"));
    let mut claim = of_claim("readonly-pv");
    claim["persistentVolumeClaim"]["readOnly"] = json!(true);
    let script = "if touch /v/file; then exit 1; fi";
    let made = place.create("pods", &pod("readonly", script, &[("v", claim)]));
    place.wait_running("readonly");
    let publish = &driver.requests("NodePublishVolume", "readonly-1")[0];
    assert_eq!(publish["readonly"], true, "{publish}");
    let stage = &driver.requests("NodeStageVolume", "readonly-1")[0];
    assert_eq!(
        stage["volume_capability"]["access_mode"]["mode"], "SINGLE_NODE_MULTI_WRITER",
        "another pod may write"
    );
    let options = disk::mount_options(&disk::published(&uid(&made), "readonly-pv"));
    let options = options.expect("it is mounted");
    assert!(options.starts_with("ro,"), "{options}");
}

pub fn a_sub_path_is_a_directory_of_the_volume(place: &mut Place) {
    let driver = place.driver("subpath", &[], json!({"attachRequired": false}));
    driver.volume("subpath-1");
    place.bound("subpath-pv", of_driver(&driver, "subpath-1"));
    let mut object = pod(
        "subpath",
        "echo written >/v/file",
        &[("v", of_claim("subpath-pv"))],
    );
    object["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("one/two");
    let made = place.create("pods", &object);
    place.wait_running("subpath");
    let file = driver.data("subpath-1").join("one/two/file");
    wait_for("the file to be in the directory", SOON, || {
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    });
    place.end("subpath");
    place.wait_nothing_left();
    assert!(file.exists(), "the data stay");
    assert_eq!(disk::mounts(&uid(&made)), Vec::<String>::new());
}

pub fn a_volume_is_the_fs_groups_as_its_driver_says(place: &mut Place) {
    let mut driver = |short: &str, flags: &[&str], policy: &str| {
        let spec = json!({"attachRequired": false, "fsGroupPolicy": policy});
        place.driver(short, flags, spec)
    };
    let once = driver("once", &[], "ReadWriteOnceWithFSType");
    let file = driver("file", &[], "File");
    let none = driver("none", &[], "None");
    let delegated = driver("delegated", &["--mount-group"], "File");
    // Of which driver, of which type, in which mode, and whether the agent changes the files.
    let cases: [(&Arc<Driver>, Option<&str>, &str, bool); 6] = [
        (&once, Some("ext4"), "ReadWriteOnce", true),
        (&once, None, "ReadWriteOnce", false),
        (&once, Some("ext4"), "ReadWriteMany", false),
        (&file, None, "ReadWriteMany", true),
        (&none, Some("ext4"), "ReadWriteOnce", false),
        (&delegated, Some("ext4"), "ReadWriteOnce", true),
    ];
    let name = |number: usize| format!("group-{number}");
    for (number, (driver, kind, mode, _)) in cases.iter().enumerate() {
        let name = name(number);
        driver.volume(&name);
        let old = driver.data(&name).join("old");
        std::fs::write(&old, "").expect("a private directory");
        let mut source = json!({"csi": {"driver": driver.name, "volumeHandle": name}});
        if let Some(kind) = kind {
            source["csi"]["fsType"] = json!(kind);
        }
        source["accessModes"] = json!([mode]);
        place.bound(&name, source);
        let mut object = pod(&name, "true", &[("v", of_claim(&name))]);
        object["spec"]["securityContext"] = json!({"fsGroup": GROUP});
        place.create("pods", &object);
    }
    for (number, (driver, kind, mode, changes)) in cases.iter().enumerate() {
        let name = name(number);
        place.wait_running(&name);
        let what = format!("{} {kind:?} {mode}", driver.name);
        assert_group(&driver.data(&name), *changes, &what);
    }
    let group = |request: &Value| request["volume_capability"]["mount"]["volume_mount_group"].clone();
    for call in ["NodeStageVolume", "NodePublishVolume"] {
        let request = &delegated.requests(call, &name(5))[0];
        assert_eq!(group(request), GROUP.to_string(), "{request}");
    }
    let request = &once.requests("NodePublishVolume", &name(0))[0];
    assert_eq!(group(request), Value::Null, "{request}");
}

/// Whether a directory and what was in it are the group's.
#[track_caller]
fn assert_group(directory: &std::path::Path, is_changed: bool, what: &str) {
    for path in [directory.to_owned(), directory.join("old")] {
        let meta = std::fs::metadata(&path).expect("it is there");
        assert_eq!(meta.gid() == GROUP, is_changed, "{what}: {meta:?}");
        let may_write = meta.permissions().mode() & 0o060 == 0o060;
        assert_eq!(may_write, is_changed, "{what}: {meta:?}");
    }
}
