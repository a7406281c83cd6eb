//! Volumes of a real iSCSI target: the machine's own, in its kernel. open-iscsi logs in to it.

use std::time::Duration;

use serde_json::json;

use crate::api::Api;
use crate::node::is_ready;
use crate::vm::Vm;
use crate::wait::wait_for;

const GONE: Duration = Duration::from_secs(60);
/// The sessions; none is an error.
const SESSIONS: &str = "iscsiadm -m session 2>/dev/null || true";
/// Where the disk is mounted.
const MOUNTED: &str = "findmnt --noheadings --raw --source /dev/disk/by-path/ip-127.0.0.1:3260-iscsi-iqn.2001-04.com.example:disk-lun-1 \
                       --output TARGET || true";

/// The machine is a target with one disk, LUN 1, for those that know the password.
fn begin(vm: &mut Vm) {
    vm.prints(
        "modprobe -a target_core_file iscsi_target_mod && systemctl start iscsid.socket
        truncate --size 64M /srv/disk.img && cd /sys/kernel/config/target || exit 1
        set -e
        mkdir -p core/fileio_0/disk
        echo fd_dev_name=/srv/disk.img,fd_dev_size=67108864 >core/fileio_0/disk/control
        echo 1 >core/fileio_0/disk/enable
        mkdir -p iscsi/iqn.2001-04.com.example:disk/tpgt_1
        cd iscsi/iqn.2001-04.com.example:disk/tpgt_1
        mkdir np/127.0.0.1:3260 lun/lun_1
        ln -s /sys/kernel/config/target/core/fileio_0/disk lun/lun_1/disk
        echo 1 >attrib/generate_node_acls; echo 1 >attrib/cache_dynamic_acls; echo 0 >attrib/demo_mode_write_protect
        echo 1 >attrib/authentication; printf someone >auth/userid; printf a-long-password >auth/password
        echo 1 >enable",
    );
}

/// It is no target any more.
fn end(vm: &mut Vm) {
    vm.prints(
        "cd /sys/kernel/config/target/iscsi/iqn.2001-04.com.example:disk/tpgt_1 && set -e
        echo 0 >enable; rm lun/lun_1/disk; rmdir lun/lun_1 np/127.0.0.1:3260
        cd /sys/kernel/config/target
        rmdir iscsi/iqn.2001-04.com.example:disk/tpgt_1 iscsi/iqn.2001-04.com.example:disk iscsi core/fileio_0/disk core/fileio_0
        rm /srv/disk.img; systemctl stop iscsid.socket iscsid.service",
    );
}

#[track_caller]
fn wait_said(vm: &mut Vm, what: &str, script: &str, is_so: impl Fn(&str) -> bool) {
    wait_for(what, GONE, || {
        let said = vm.run(script).output;
        is_so(&said).then_some(()).ok_or(said)
    });
}

/// What is on the disk, while it is not mounted.
fn has_file(vm: &mut Vm) {
    assert_eq!(
        vm.prints("debugfs -R 'cat /file' /srv/disk.img 2>/dev/null"),
        "written\n"
    );
}

fn is_logged_out(vm: &mut Vm) {
    wait_said(vm, "the session to end", SESSIONS, str::is_empty);
    assert_eq!(vm.prints("iscsiadm -m node 2>/dev/null || true"), "");
    let left = vm.prints("find /var/lib/kubelet/plugins/kubernetes.io/iscsi -mindepth 1 2>/dev/null || true");
    assert!(!left.contains("lun"), "{left}");
    assert_eq!(vm.prints("ls /dev/disk/by-path | grep iscsi || true"), "");
}

pub fn two_pods_share_a_disk_of_a_target_and_the_last_one_logs_out(vm: &mut Vm) {
    begin(vm);
    vm.prints("cp /root/block.yaml /etc/kubernetes/manifests/");
    for pod in ["writer", "reader"] {
        vm.wait_pod(pod, "running", |pod| pod["status"]["phase"] == "Running");
    }
    let sessions = vm.prints(SESSIONS);
    assert_eq!(sessions.lines().count(), 1, "{sessions}");
    let mounted = vm.prints(MOUNTED);
    for part in [
        "/plugins/kubernetes.io/iscsi/iface-default/",
        "/volumes/kubernetes.io~iscsi/data",
    ] {
        assert!(mounted.contains(part), "no {part} in {mounted}");
    }
    assert_eq!(mounted.lines().count(), 3, "{mounted}");
    let logs = "gantry logs reader-gantry-vm";
    wait_said(vm, "the file to be read", logs, |said| said.contains("written"));
    vm.prints("systemctl kill --signal=KILL gantry");
    wait_said(
        vm,
        "the agent to be back",
        "systemctl is-active gantry; gantry get pods",
        |said| said.starts_with("active") && said.contains("writer"),
    );
    assert_eq!(vm.prints(SESSIONS), sessions);
    assert_eq!(vm.prints(MOUNTED), mounted);
    assert_eq!(
        vm.prints("journalctl -u gantry | grep a-long-password || true"),
        ""
    );
    vm.prints("rm /etc/kubernetes/manifests/block.yaml");
    is_logged_out(vm);
    has_file(vm);
    end(vm);
}

/// On a node of a cluster: a PersistentVolume, which the control plane attaches.
pub fn a_claim_is_a_disk_of_a_target(vm: &mut Vm, api: &Api) {
    begin(vm);
    let size = json!({"storage": "64Mi"});
    let secret = json!({"metadata": {"name": "chap"}, "stringData": {
        "node.session.auth.username": "someone", "node.session.auth.password": "a-long-password",
    }});
    api.create("/api/v1/namespaces/default/secrets", &secret);
    let volume = json!({"metadata": {"name": "disk"}, "spec": {
        "capacity": size, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": "default", "name": "disk"}, "mountOptions": ["noatime"],
        "iscsi": {
            "targetPortal": "127.0.0.1", "iqn": "iqn.2001-04.com.example:disk", "lun": 1, "chapAuthSession": true,
            "initiatorName": "iqn.2001-04.com.example:node", "secretRef": {"name": "chap", "namespace": "default"},
        },
    }});
    api.create("/api/v1/persistentvolumes", &volume);
    let claim = json!({"metadata": {"name": "disk"}, "spec": {
        "storageClassName": "", "volumeName": "disk", "accessModes": ["ReadWriteOnce"], "resources": {"requests": size},
    }});
    api.create("/api/v1/namespaces/default/persistentvolumeclaims", &claim);
    let pod = json!({"metadata": {"name": "disk"}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "main", "image": "gantry.local/busybox:1",
            "command": ["sh", "-c", "echo written >/v/file; sync; sleep 3600"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}],
    }});
    api.create("/api/v1/namespaces/default/pods", &pod);
    let at = "/api/v1/namespaces/default/pods/disk";
    api.wait(at, "running", Duration::from_secs(120), is_ready);
    let node = api.get("/api/v1/nodes/gantry-vm").expect("the node is there");
    let name = "kubernetes.io/iscsi/127.0.0.1:iqn.2001-04.com.example:disk:1";
    for list in ["volumesInUse", "volumesAttached"] {
        assert!(
            node["status"][list].to_string().contains(name),
            "{}",
            node["status"]
        );
    }
    let mounted = vm.prints(MOUNTED);
    assert!(
        mounted.contains("/iface-127.0.0.1:3260:disk/")
            && mounted.contains("/volumes/kubernetes.io~iscsi/disk"),
        "{mounted}"
    );
    api.delete(at);
    api.wait_gone(at, GONE);
    is_logged_out(vm);
    assert_eq!(
        vm.prints("iscsiadm -m iface | grep -c 3260:disk || true").trim(),
        "0"
    );
    has_file(vm);
    wait_for("the disk not to be in use", GONE, || {
        let node = api.get("/api/v1/nodes/gantry-vm")?;
        let in_use = node["status"]["volumesInUse"].to_string();
        (!in_use.contains(name)).then_some(()).ok_or(in_use)
    });
    end(vm);
}
