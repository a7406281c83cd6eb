//! Disks of iSCSI targets, with programs of the test's own for iscsiadm(8), blkid(8) and mount(8), which make the kernel's
//! files of a session in a directory. The VM tier has a real target.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry::act::mount_tools::MountTools;
use gantry::act::volume::network_disk::node_disks::NodeDisks;
use gantry::act::volume::network_disk::sysfs::DiskPlaces;

use super::waits::{a_good_pod_is_up_in_its_usual_time, in_namespaces, messages};
use crate::agent::{Machine, full_name, manifest};

/// How many pods have disks of a target that hangs.
const BAD: usize = 30;

const TARGET: &str = "iqn.2001-04.com.example:disk";

/// A session with the target, as the kernel shows it, for as long as one is logged in.
const ISCSIADM: &str = r#"
echo "$*" >>DIR/log
if [ -e DIR/stop-at ] && [ "$(wc -l <DIR/log)" -eq "$(cat DIR/stop-at)" ]; then exec sleep 600; fi
session=DIR/sys/class/iscsi_host/host3/device/session1
connection=$session/connection1:0/iscsi_connection/connection1:0
links=DIR/dev/disk/by-path
case "$*" in
*"iface"*"-o show") echo "iface.iscsi_ifacename = default"; echo "iface.transport_name = tcp" ;;
*--login)
    [ ! -e "$session" ] || { echo "iscsiadm: default: 1 session requested, but 1 already present."; exit 15; }
    mkdir -p $session/iscsi_session/session1 $connection DIR/sys/class/scsi_host/host3 $links
    mkdir -p $session/target3:0:0/3:0:0:1/block/sda DIR/sys/block/sda/device
    echo iqn.2001-04.com.example:disk >$session/iscsi_session/session1/targetname
    for at in "" persistent_; do
        echo 192.0.2.7 >$connection/${at}address
        echo 3260 >$connection/${at}port
    done
    : >DIR/sys/class/scsi_host/host3/scan
    : >DIR/sys/block/sda/device/delete
    : >DIR/dev/sda
    ln -sf ../../sda $links/ip-192.0.2.7:3260-iscsi-iqn.2001-04.com.example:disk-lun-1
    echo in >>DIR/sessions
    ;;
*--logout)
    [ -e "$session" ] || exit 21
    rm -rf DIR/sys/class DIR/sys/block DIR/dev/disk
    echo out >>DIR/sessions
    ;;
esac
"#;

/// A machine whose iscsiadm(8) is these lines of shell.
fn machine_with(iscsiadm: &str) -> (Machine, PathBuf) {
    let mut machine = Machine::new();
    let dir = machine.at.root.path().join("programs");
    for part in ["sys", "dev"] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    let mount = "for target; do :; done\ncase \"$*\" in *remount*) exit 0 ;; esac\nexec /bin/mount -t tmpfs tmpfs \"$target\"";
    for (name, script) in [
        ("iscsiadm", iscsiadm),
        ("mount", mount),
        ("blkid", "echo TYPE=ext4"),
        ("fsck", "exit 0"),
        ("blockdev", "exit 0"),
    ] {
        let path = dir.join(name);
        let script = script.replace("DIR", &dir.display().to_string());
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    machine.mounts = MountTools::beside(dir.clone(), Duration::from_secs(1));
    machine.disks = disks(&dir);
    (machine, dir)
}

/// What an agent knows of disks when it begins.
fn disks(dir: &Path) -> NodeDisks {
    NodeDisks::at(DiskPlaces {
        sys: dir.join("sys"),
        dev: dir.join("dev"),
    })
}

fn pod(name: &str, iscsi: &str) -> String {
    let c = "name: c, image: demo:1, volumeMounts: [{name: v, mountPath: /v}]";
    let iscsi = format!("{{targetPortal: 192.0.2.7, iqn: '{TARGET}', lun: 1{iscsi}}}");
    manifest(name, &format!("volumes: [{{name: v, iscsi: {iscsi}}}]"), &[c])
}

async fn is_gone(machine: &Machine, pod: &str) {
    let gone = |report: &gantry::model::report::PodsReport| {
        (!report.pods.contains_key(&full_name(pod))).then_some(())
    };
    machine.reported("its end", gone).await;
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Where the disk is mounted for the node.
fn global(machine: &Machine) -> PathBuf {
    let plugins = machine.at.root.path().join("plugins/kubernetes.io/iscsi");
    plugins.join(format!("iface-default/192.0.2.7:3260-{TARGET}-lun-1"))
}

fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.contains(&format!(" {} ", path.display()))
}

#[tokio::test]
async fn two_pods_share_a_session_that_ends_with_the_last_of_them() {
    if !in_namespaces("stories::network_disks::two_pods_share_a_session_that_ends_with_the_last_of_them") {
        return;
    }
    let (mut machine, dir) = machine_with(ISCSIADM);
    machine.start().await;
    machine.write("a.yaml", &pod("a", ""));
    machine.running("a").await;
    machine.write("b.yaml", &pod("b", ", readOnly: true"));
    machine.running("b").await;
    assert_eq!(lines(&dir.join("sessions")), ["in"]);
    let global = global(&machine);
    assert!(is_mounted(&global), "{}", global.display());
    let scanned = std::fs::read_to_string(dir.join("sys/class/scsi_host/host3/scan")).unwrap();
    assert_eq!(scanned, "0 0 1", "only the disk that is wanted is looked for");
    machine.delete("a.yaml");
    is_gone(&machine, "a").await;
    // Another agent takes over what is there.
    machine.kill().await;
    machine.disks = disks(&dir);
    machine.start().await;
    machine.running("b").await;
    assert!(is_mounted(&global));
    machine.delete("b.yaml");
    is_gone(&machine, "b").await;
    machine
        .until("the disk to be gone", |_| !global.parent().unwrap().exists())
        .await;
    assert_eq!(lines(&dir.join("sessions")), ["in", "out"]);
    assert!(!is_mounted(&global));
    let last = lines(&dir.join("log")).pop().unwrap();
    assert_eq!(
        last,
        format!("-m node -p 192.0.2.7:3260 -T {TARGET} -I default -o delete")
    );
}

#[tokio::test]
async fn killed_at_any_call_the_agent_logs_in_once_and_leaves_nothing() {
    if !in_namespaces("stories::network_disks::killed_at_any_call_the_agent_logs_in_once_and_leaves_nothing")
    {
        return;
    }
    let (mut machine, dir) = machine_with(ISCSIADM);
    let (log, stop, sessions) = (dir.join("log"), dir.join("stop-at"), dir.join("sessions"));
    for call in 1.. {
        for file in [&log, &sessions] {
            std::fs::write(file, "").unwrap();
        }
        std::fs::write(&stop, call.to_string()).unwrap();
        machine.disks = disks(&dir);
        machine.start().await;
        machine.write("a.yaml", &pod("a", ""));
        let is_up = |machine: &Machine| {
            let pod = machine.pod("a");
            pod.is_some_and(|pod| crate::agent::phase(&pod) == "Running")
        };
        machine
            .until("the call, or the pod to run", |machine| {
                lines(&log).len() >= call || is_up(machine)
            })
            .await;
        let is_past_all = is_up(&machine);
        machine.kill().await;
        std::fs::remove_file(&stop).unwrap();
        machine.disks = disks(&dir);
        machine.start().await;
        machine.running("a").await;
        assert_eq!(lines(&sessions).last().unwrap(), "in", "killed at call {call}");
        assert!(is_mounted(&global(&machine)), "killed at call {call}");
        machine.delete("a.yaml");
        is_gone(&machine, "a").await;
        let dir = global(&machine);
        machine.until("the disk to be gone", |_| !dir.exists()).await;
        let seen = lines(&sessions);
        let logged_in = seen.iter().filter(|line| *line == "in").count();
        assert_eq!(seen.len(), 2 * logged_in, "killed at call {call}: {seen:?}");
        machine.kill().await;
        if is_past_all {
            assert!(call > 6, "{call} calls");
            break;
        }
    }
}

#[tokio::test]
async fn what_iscsiadm_says_is_reported_and_no_password() {
    let (mut machine, dir) = machine_with(
        "echo \"$*\" >>DIR/log\ncase \"$*\" in *show) echo 'iface.transport_name = tcp' ;;\n*password*) echo \"Could not set $*\"; exit 7 ;; esac",
    );
    machine.start().await;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: chap}\nstringData: {node.session.auth.username: me, \
                  node.session.auth.password: hidden-word}\n---\n";
    let own = pod("p", ", chapAuthSession: true, secretRef: {name: chap}");
    machine.write("p.yaml", &format!("{secret}{own}"));
    let event = |machine: &Machine| messages(machine, "p", "FailedMount").into_iter().next();
    machine
        .until("the event", |machine| event(machine).is_some())
        .await;
    let (message, _) = event(&machine).unwrap();
    let node = format!("-m node -p 192.0.2.7:3260 -T {TARGET} -I default");
    assert_eq!(
        message,
        format!(
            "MountVolume.WaitForAttach failed for volume \"v\" : failed to get any path for iscsi disk, last err seen:\niscsi: \
             failed to update iscsi node to portal 192.0.2.7:3260 error: \"node.session.auth.password\": output: Could not \
             set {node} -o update -n node.session.auth.password -v ***, err exit status 7"
        )
    );
    let asked = lines(&dir.join("log")).join("\n");
    assert!(
        asked.contains(&format!(
            "{node} -o update -n node.session.auth.authmethod -v CHAP"
        )),
        "{asked}"
    );
    let dir = global(&machine);
    machine.until("nothing to be left of it", |_| !dir.exists()).await;
    machine.delete("p.yaml");
    is_gone(&machine, "p").await;
}

#[tokio::test]
async fn a_target_that_hangs_holds_its_own_pods_and_their_end_ends_the_programs() {
    let (mut machine, dir) = machine_with("echo $$ >>DIR/pids; exec sleep 600");
    machine.start().await;
    let pods = (0..BAD).map(|n| pod(&format!("bad-{n}"), ""));
    machine.write("bad.yaml", &pods.collect::<Vec<_>>().join("---\n"));
    let pids = dir.join("pids");
    // They have one disk, so one of them works on it.
    machine
        .until("one to be attached", |_| !lines(&pids).is_empty())
        .await;
    a_good_pod_is_up_in_its_usual_time(&machine).await;
    machine.delete("bad.yaml");
    for n in 0..BAD {
        is_gone(&machine, &format!("bad-{n}")).await;
    }
    let is_over = |pid: &String| match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    machine
        .until("the programs to have ended", |_| lines(&pids).iter().all(is_over))
        .await;
}

#[tokio::test]
async fn a_disk_of_an_adapter_is_found_by_its_names_and_taken_from_the_node() {
    if !in_namespaces(
        "stories::network_disks::a_disk_of_an_adapter_is_found_by_its_names_and_taken_from_the_node",
    ) {
        return;
    }
    let (mut machine, dir) = machine_with("exit 1");
    for part in [
        "dev/disk/by-path",
        "sys/class/scsi_host/host5",
        "sys/block/sdb/device",
    ] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    let put = |path: &str| std::fs::write(dir.join(path), "").unwrap();
    for file in [
        "dev/sdb",
        "sys/block/sdb/device/delete",
        "sys/class/scsi_host/host5/scan",
    ] {
        put(file);
    }
    machine.start().await;
    let c = "name: c, image: demo:1, volumeMounts: [{name: v, mountPath: /v}]";
    let fc = "volumes: [{name: v, fc: {targetWWNs: ['500a0982991b8dc5'], lun: 2}}]";
    machine.write("p.yaml", &manifest("p", fc, &[c]));
    let scan = dir.join("sys/class/scsi_host/host5/scan");
    machine
        .until("the adapters to be asked", |_| lines(&scan) == ["- - -"])
        .await;
    let link = dir.join("dev/disk/by-path/pci-0000:41:00.0-fc-0x500a0982991b8dc5-lun-2");
    std::os::unix::fs::symlink("../../sdb", link).unwrap();
    machine.running("p").await;
    let global = machine
        .at
        .root
        .path()
        .join("plugins/kubernetes.io/fc/500a0982991b8dc5-lun-2");
    assert!(is_mounted(&global));
    machine.delete("p.yaml");
    is_gone(&machine, "p").await;
    machine.until("the disk to be gone", |_| !global.exists()).await;
    assert_eq!(lines(&dir.join("sys/block/sdb/device/delete")), ["1"]);
    assert!(!is_mounted(&global));
}
