//! Volumes of a real NFS server: the machine's own. It needs a kernel with both ends of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::node::is_ready;
use crate::vm::Vm;
use crate::wait::wait_for;

const SOCKET: &str = "curl --silent --fail --max-time 20 --unix-socket /run/gantry/gantry.sock http://gantry";
/// Long enough for an umount(8) that is forced after a minute.
const REMOVED: Duration = Duration::from_secs(200);
/// What is mounted from servers.
const MOUNTED: &str = "findmnt --noheadings --raw --types nfs,nfs4 --output SOURCE,TARGET,OPTIONS || true";

/// The machine exports a directory.
fn export(vm: &mut Vm) {
    vm.prints(
        "mkdir -p /srv/export && echo '/srv/export 127.0.0.1(rw,sync,no_subtree_check,no_root_squash)' >/etc/exports && \
         systemctl start nfs-server && exportfs -v",
    );
}

/// Nothing is exported any more.
fn withdraw(vm: &mut Vm) {
    vm.prints("systemctl stop nfs-server && rm -rf /srv/export /etc/exports && touch /etc/exports");
}

pub fn a_pod_writes_to_a_server_and_can_be_removed_when_that_is_gone(vm: &mut Vm) {
    export(vm);
    vm.prints("cp /root/shared.yaml /etc/kubernetes/manifests/");
    vm.wait_pod("shared", "running", |pod| pod["status"]["phase"] == "Running");
    wait_file(vm, "/srv/export/file", "written\n");
    let mounted = vm.prints(MOUNTED);
    assert!(
        mounted.starts_with("127.0.0.1:/srv/export /var/lib/kubelet/pods/")
            && mounted.contains("/volumes/kubernetes.io~nfs/data rw"),
        "{mounted}"
    );
    is_measured(vm);

    // The server goes, and with it what the container's next write waits for. One pod more wants it, and one does not.
    vm.prints("systemctl stop nfs-server");
    vm.prints(
        "cd /etc/kubernetes/manifests && rm shared.yaml && \
         sed 's/nfs: .*/emptyDir: {}/; s/name: shared/name: beside/' /root/shared.yaml >beside.yaml && \
         sed 's/name: shared/name: late/' /root/shared.yaml >late.yaml",
    );
    vm.wait_pod("beside", "running", |pod| pod["status"]["phase"] == "Running");
    wait_for("mount.nfs to try", Duration::from_secs(60), || {
        let tries = vm.run("pgrep --full '^/sbin/mount.nfs'");
        (tries.code == 0).then_some(()).ok_or(tries.output)
    });
    vm.prints("rm /etc/kubernetes/manifests/{beside,late}.yaml");
    for pod in ["beside", "late", "shared"] {
        wait_gone(vm, pod);
    }
    let volumes = "find /var/lib/kubelet/pods -path '*kubernetes.io~nfs/*' -prune";
    assert_eq!(vm.prints(volumes), "");
    assert_eq!(vm.prints(MOUNTED), "");
    assert_ne!(vm.run("pgrep --full '^/sbin/mount.nfs'").code, 0);
    withdraw(vm);
}

#[track_caller]
fn wait_file(vm: &mut Vm, path: &str, text: &str) {
    wait_for(&format!("{path} to be written"), Duration::from_secs(60), || {
        let read = vm.run(&format!("cat {path}"));
        (read.output == text).then_some(()).ok_or(read.output)
    });
}

#[track_caller]
fn wait_gone(vm: &mut Vm, name: &str) {
    wait_for(&format!("pod {name} to be gone"), REMOVED, || {
        let pods = vm.pods()?;
        let is_it = |pod: &&Value| {
            pod["metadata"]["name"]
                .as_str()
                .is_some_and(|own| own.starts_with(name))
        };
        match pods.iter().find(is_it) {
            None => Ok(()),
            Some(pod) => Err(pod["status"].to_string()),
        }
    });
}

/// The summary says what the server's file system holds.
fn is_measured(vm: &mut Vm) {
    wait_for("the volume to be measured", Duration::from_secs(90), || {
        let summary: Value = serde_json::from_str(&vm.run(&format!("{SOCKET}/stats/summary")).output)
            .map_err(|error| error.to_string())?;
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let pod = pods
            .into_iter()
            .find(|pod| pod["podRef"]["name"] == "shared-gantry-vm");
        let pod = pod.ok_or("it is not in the summary")?;
        let volumes = pod["volume"].as_array().cloned().unwrap_or_default();
        let volume = volumes.into_iter().find(|volume| volume["name"] == "data");
        let is_whole = |volume: &Value| volume["capacityBytes"].as_u64() > Some(1 << 30);
        volume
            .filter(is_whole)
            .map(drop)
            .ok_or_else(|| pod["volume"].to_string())
    });
}

/// On a node of a cluster: a PersistentVolume, with options.
pub fn a_claim_is_mounted_with_the_options_of_its_volume(vm: &mut Vm, api: &Api) {
    export(vm);
    let size = json!({"storage": "1Mi"});
    let volume = json!({"metadata": {"name": "nfs"}, "spec": {
        "capacity": size, "accessModes": ["ReadWriteMany"], "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": "default", "name": "nfs"}, "mountOptions": ["nfsvers=4.1", "noatime"],
        "nfs": {"server": "127.0.0.1", "path": "/srv/export"},
    }});
    api.create("/api/v1/persistentvolumes", &volume);
    let claim = json!({"metadata": {"name": "nfs"}, "spec": {
        "storageClassName": "", "volumeName": "nfs", "accessModes": ["ReadWriteMany"], "resources": {"requests": size},
    }});
    api.create("/api/v1/namespaces/default/persistentvolumeclaims", &claim);
    let pod = json!({"metadata": {"name": "nfs"}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "main", "image": "gantry.local/busybox:1", "command": ["sh", "-c", "echo written >/v/file; sleep 3600"],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "nfs"}}],
    }});
    api.create("/api/v1/namespaces/default/pods", &pod);
    let at = "/api/v1/namespaces/default/pods/nfs";
    api.wait(at, "running", Duration::from_secs(120), is_ready);
    wait_file(vm, "/srv/export/file", "written\n");
    let mounted = vm.prints(MOUNTED);
    for expected in ["/volumes/kubernetes.io~nfs/nfs ", "noatime", "vers=4.1"] {
        assert!(mounted.contains(expected), "no {expected} in {mounted}");
    }
    api.delete(at);
    api.wait_gone(at, REMOVED);
    wait_for("it to be unmounted", REMOVED, || {
        let mounted = vm.prints(MOUNTED);
        mounted.is_empty().then_some(()).ok_or(mounted)
    });
    withdraw(vm);
}
