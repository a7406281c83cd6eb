//! `local` PersistentVolumes: devices, with a file system that is made where there is none, or as they are; and the options
//! of mounts. Loop devices stand for disks; they are detached with the world, whatever becomes of the story.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::disk;
use super::driver::STATES;
use super::objects::{of_claim, pod};
use super::place::Place;
use crate::node::{LONG, SOON, here};
use crate::objects::uid;
use crate::process::run;
use crate::wait::wait_for;

/// A device of some megabytes with nothing on it.
fn device(name: &str) -> PathBuf {
    let dir = here(STATES);
    std::fs::create_dir_all(&dir).expect("a private directory");
    let image = dir.join(format!("{name}.img"));
    let file = std::fs::File::create(&image).expect("a private directory");
    file.set_len(32 << 20).expect("a sparse file takes no room");
    let device = run(&["losetup", "--find", "--show", &image.display().to_string()]);
    PathBuf::from(device.trim())
}

/// A volume of this node.
fn local(path: &Path, more: Value) -> Value {
    let expressions = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]);
    let mut volume = json!({
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}},
    });
    for (key, value) in more.as_object().expect("members of a spec") {
        volume[key] = value.clone();
    }
    volume
}

/// Where a device is mounted for the node.
fn global(volume: &str) -> PathBuf {
    Path::new("/var/lib/kubelet/plugins/kubernetes.io/local-volume/mounts").join(volume)
}

fn of_pod(pod: &Value, volume: &str) -> PathBuf {
    let volumes = disk::pod_directory(&uid(pod)).join("volumes/kubernetes.io~local-volume");
    volumes.join(volume)
}

#[track_caller]
fn wait_not_mounted(path: &Path) {
    wait_for("the device not to be mounted", LONG, || {
        let mounted = disk::mounts(&path.display().to_string());
        match mounted.is_empty() && !path.exists() {
            true => Ok(()),
            false => Err(format!("{mounted:?}")),
        }
    });
}

pub fn a_device_gets_a_file_system_once_and_is_shared_by_pods(place: &mut Place) {
    let device = device("local-disk");
    let options = json!({"mountOptions": ["noexec", "noatime"]});
    place.bound("local-disk", local(&device, options));
    let first = place.create(
        "pods",
        &pod("first", "echo written >/v/file", &[("v", of_claim("local-disk"))]),
    );
    place.wait_running("first");
    let kind = run(&[
        "blkid",
        "-p",
        "-s",
        "TYPE",
        "-o",
        "value",
        &device.display().to_string(),
    ]);
    assert_eq!(kind.trim(), "ext4");
    for at in [global("local-disk"), of_pod(&first, "local-disk")] {
        let options = disk::mount_options(&at).unwrap_or_else(|| panic!("nothing is mounted at {at:?}"));
        assert!(
            options.contains("noexec") && options.contains("noatime"),
            "{at:?}: {options}"
        );
    }
    let second = pod("second", "cat /v/file >/v/copy", &[("v", of_claim("local-disk"))]);
    let second = place.create("pods", &second);
    place.wait_running("second");
    place.end("first");
    let file = of_pod(&second, "local-disk").join("copy");
    wait_for("the file to be copied", SOON, || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        (text == "written\n").then_some(()).ok_or(text)
    });
    assert!(disk::mount_options(&global("local-disk")).is_some());
    place.end("second");
    wait_not_mounted(&global("local-disk"));

    // What is there is neither lost nor made anew.
    let third = pod("third", "cp /v/copy /v/kept", &[("v", of_claim("local-disk"))]);
    let third = place.create("pods", &third);
    place.wait_running("third");
    let file = of_pod(&third, "local-disk").join("kept");
    wait_for("the file to be there", SOON, || {
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    });
    place.end("third");
    wait_not_mounted(&global("local-disk"));
}

pub fn a_local_device_is_a_device_in_the_container(place: &mut Place) {
    let device = device("local-raw");
    place.bound("local-raw", local(&device, json!({"volumeMode": "Block"})));
    let script = "echo written | dd of=/dev/xvda conv=fsync";
    let mut object = pod("raw", script, &[("v", of_claim("local-raw"))]);
    let main = &mut object["spec"]["containers"][0];
    main["volumeMounts"].take();
    main["volumeDevices"] = json!([{"name": "v", "devicePath": "/dev/xvda"}]);
    let made = place.create("pods", &object);
    place.wait_running("raw");
    wait_for("what was written to be on the device", SOON, || {
        let written = run(&["head", "--bytes=8", &device.display().to_string()]);
        (written == "written\n").then_some(()).ok_or(written)
    });
    let link = disk::pod_directory(&uid(&made)).join("volumeDevices/kubernetes.io~local-volume/local-raw");
    assert_eq!(std::fs::read_link(link).expect("a link"), device);
    let maps = Path::new("/var/lib/kubelet/plugins/kubernetes.io~local-volume/volumeDevices/local-raw");
    assert_eq!(disk::mounts("volumeDevices/local-raw").len(), 1);
    let text = format!(
        "MapVolume.MapPodDevice succeeded for volume \"local-raw\" globalMapPath \"{}\"",
        maps.display()
    );
    place.wait_event("raw", "SuccessfulMountVolume", &text);
    place.end("raw");
    place.wait_nothing_left();
    wait_not_mounted(&maps.join(uid(&made)));
}

pub fn a_device_or_its_options_may_be_refused(place: &mut Place) {
    let blank = device("local-blank");
    place.bound("local-blank", local(&blank, json!({})));
    let mut source = of_claim("local-blank");
    source["persistentVolumeClaim"]["readOnly"] = json!(true);
    place.create("pods", &pod("blank", "true", &[("v", source)]));
    let host = json!({"hostPath": {"path": here("host")}, "mountOptions": ["noexec"]});
    place.bound("options-of-host", host);
    place.create(
        "pods",
        &pod("host", "true", &[("v", of_claim("options-of-host"))]),
    );
    let (blank, at) = (blank.display(), global("local-blank"));
    for (name, text) in [
        (
            "blank",
            format!(
                "MountVolume.MountDevice failed for volume \"local-blank\" : local: failed to mount device {blank} at {} \
                 (fstype: ext4), error cannot mount unformatted disk {blank} as we are manipulating it in read-only mode",
                at.display()
            ),
        ),
        (
            "host",
            "MountVolume.MountOptionSupport check failed for volume \"options-of-host\" : mount options are not \
             supported for this volume type"
                .to_owned(),
        ),
    ] {
        place.wait_event(name, "FailedMount", &text);
    }
}

pub fn a_directory_is_mounted_with_the_options_of_its_volume(place: &mut Place) {
    let directory = here("local-options");
    std::fs::create_dir(&directory).expect("a private directory");
    let options = json!({"mountOptions": ["nosuid", "noexec"]});
    place.bound("local-options", local(&directory, options));
    let made = place.create(
        "pods",
        &pod("options", "true", &[("v", of_claim("local-options"))]),
    );
    place.wait_running("options");
    let options = disk::mount_options(&of_pod(&made, "local-options")).expect("it is mounted");
    assert!(
        options.contains("nosuid") && options.contains("noexec"),
        "{options}"
    );
    place.end("options");
    assert!(directory.exists());
}
