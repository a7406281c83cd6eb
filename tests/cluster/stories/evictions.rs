//! A node that is short of memory, and a pod that takes too much of its disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::wait_node_ready;
use crate::node::{LONG, here};
use crate::objects::{IDLE, condition, pod};
use crate::process::run;
use crate::wait::wait_for;

/// How much memory pods have together, in MiB; a quarter of it has to be free.
const MEMORY: u64 = 400;

/// The agent's configuration of this story; that of the others is put back in the end.
struct Configured(String);

impl Configured {
    fn new(cluster: &mut Cluster) -> Configured {
        let path = here("kubelet.yaml");
        let before = std::fs::read_to_string(&path).expect("the agent's configuration");
        let all = std::fs::read_to_string("/proc/meminfo").expect("proc(5) is mounted");
        let kibibytes = all
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|total| total.parse::<u64>().ok());
        let reserved = kibibytes.expect("the machine's memory") - MEMORY * 1024;
        let new = before.replace(
            "memory.available: 0%",
            &format!("memory.available: {}Mi", MEMORY / 4),
        );
        assert_ne!(before, new);
        let more =
            format!("systemReserved: {{memory: {reserved}Ki}}\nevictionPressureTransitionPeriod: 5s\n");
        std::fs::write(&path, new + &more).expect("a private directory");
        cluster.node.stop_agent();
        cluster.node.start_agent();
        wait_node_ready(&cluster.api);
        Configured(before)
    }

    fn end(self, cluster: &mut Cluster) {
        drop(self);
        cluster.node.stop_agent();
        cluster.node.start_agent();
        wait_node_ready(&cluster.api);
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        let written = std::fs::write(here("kubelet.yaml"), &self.0);
        // A second panic would end all stories.
        if !std::thread::panicking() {
            written.expect("a private directory");
        }
    }
}

/// The node's directory on a disk of its own, of so many GiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(cluster: &mut Cluster, gibibytes: u64) -> SmallDisk {
        let (image, at) = (here("small-disk"), here("small"));
        let file = std::fs::File::create(&image).expect("a private directory");
        file.set_len(gibibytes << 30).expect("a sparse file");
        run(&["mkfs.ext4", "-q", "-F", "-m", "0", &image.display().to_string()]);
        std::fs::create_dir_all(&at).expect("a private directory");
        run(&[
            "mount",
            "-o",
            "loop",
            &image.display().to_string(),
            &at.display().to_string(),
        ]);
        cluster.node.stop_agent();
        cluster.node.flag(&format!("--root-dir={}", at.display()));
        cluster.node.start_agent();
        wait_node_ready(&cluster.api);
        SmallDisk(at)
    }

    fn free(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.0).expect("it is mounted");
        stat.blocks_available() * stat.fragment_size()
    }

    fn end(self, cluster: &mut Cluster) {
        cluster.node.stop_agent();
        cluster.node.flag("--root-dir=/var/lib/kubelet");
        cluster.node.start_agent();
        wait_node_ready(&cluster.api);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is still used goes with the namespace.
        let unmounted = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
        let removed = std::fs::remove_file(here("small-disk"));
        if !std::thread::panicking() {
            unmounted.expect("it is mounted");
            removed.expect("our own file");
        }
    }
}

/// The longest that a pod with a limit takes to fill a disk of 5 GiB at a gigabyte a second.
pub fn a_fast_writer_is_stopped_before_the_disk_is_full(cluster: &mut Cluster) {
    let disk = SmallDisk::new(cluster, 5);
    let write = "while :; do dd if=/dev/zero of=/data/file bs=1M count=4800 2>/dev/null; sleep 100000; done";
    let mut writer = pod("writer", write);
    writer["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {"sizeLimit": "512Mi"}}]);
    writer["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    // Its first look finds nothing yet.
    writer["spec"]["containers"][0]["command"][2] =
        json!(format!("while [ ! -e /data/go ]; do sleep 0.1; done; {write}"));
    cluster.create("pods", &writer);
    let running = cluster.wait_running("writer");
    let uid = running["metadata"]["uid"].as_str().unwrap_or_default();
    let volume = disk
        .0
        .join(format!("pods/{uid}/volumes/kubernetes.io~empty-dir/data"));
    let begun = Instant::now();
    std::fs::write(volume.join("go"), "").expect("the volume is there");
    let mut least = disk.free();
    wait_for("the writer to be evicted", LONG, || {
        least = least.min(disk.free());
        let found = cluster.api.get(&cluster.at("pods", "writer"))?;
        match found["status"]["reason"] == "Evicted" {
            true => Ok(()),
            false => Err(found["status"].to_string()),
        }
    });
    println!(
        "evicted {:?} after it began, with at least {} MiB free",
        begun.elapsed(),
        least >> 20
    );
    assert!(least > 1 << 30, "{least} bytes were free");
    cluster.wait("pods", "writer", "stopped", |pod| {
        pod["status"]["phase"] == "Failed"
    });
    wait_for("the room to be given back", LONG, || {
        let free = disk.free();
        (free > 4 << 30)
            .then_some(())
            .ok_or_else(|| format!("{free} bytes are free"))
    });
    cluster.api.delete(&cluster.at("pods", "writer"));
    wait_for("the pod to be gone", LONG, || match cluster.pods()?.is_empty() {
        true => Ok(()),
        false => Err("it is there".to_owned()),
    });
    disk.end(cluster);
}

fn asking(name: &str, script: &str, memory: &str) -> Value {
    let mut object = pod(name, script);
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"memory": memory}});
    object
}

fn wait_evicted(cluster: &Cluster, name: &str) -> Value {
    cluster.wait("pods", name, "evicted", |pod| {
        pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == "Evicted"
    })
}

fn wait_condition(cluster: &Cluster, status: &str) {
    let what = format!("MemoryPressure {status}");
    cluster.api.wait("/api/v1/nodes/node-1", &what, LONG, |node| {
        condition(node, "MemoryPressure")["status"] == status
    });
}

pub fn who_uses_most_beyond_its_request_makes_room(cluster: &mut Cluster) {
    let configured = Configured::new(cluster);
    cluster.create("pods", &asking("calm", IDLE, "64Mi"));
    cluster.wait_running("calm");
    // Each volume is no larger than what pods have together less the threshold: one alone need not cross it.
    let fill = "for at in /mem /more; do dd if=/dev/zero of=$at/file bs=1M count=170 2>/dev/null; done; sleep 100000";
    let mut hungry = asking("hungry", fill, "32Mi");
    let memory = json!({"medium": "Memory"});
    hungry["spec"]["volumes"] =
        json!([{"name": "mem", "emptyDir": memory}, {"name": "more", "emptyDir": memory}]);
    hungry["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "mem", "mountPath": "/mem"}, {"name": "more", "mountPath": "/more"}]);
    cluster.create("pods", &hungry);
    let evicted = wait_evicted(cluster, "hungry");
    let message = evicted["status"]["message"].as_str().unwrap_or_default();
    let begins = "The node was low on resource: memory. Threshold quantity: 100Mi, available: ";
    assert!(message.starts_with(begins), "{message}");
    assert!(
        message.contains("request is 32Mi, has larger consumption of memory. "),
        "{message}"
    );
    assert_eq!(
        condition(&evicted, "DisruptionTarget")["reason"],
        "TerminationByKubelet"
    );
    wait_condition(cluster, "True");
    // The control plane follows with a taint, which keeps others away; what names the node itself is rejected.
    cluster.api.wait("/api/v1/nodes/node-1", "tainted", LONG, |node| {
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        taints.any(|taint| taint["key"] == "node.kubernetes.io/memory-pressure")
    });
    wait_for("the node's event", LONG, || {
        let events = cluster.api.list("/api/v1/namespaces/default/events")?;
        let mut reasons = events
            .iter()
            .map(|event| event["reason"].as_str().unwrap_or_default());
        reasons
            .any(|reason| reason == "EvictionThresholdMet")
            .then_some(())
            .ok_or_else(|| format!("{events:?}"))
    });
    wait_condition(cluster, "False");
    let calm = cluster.wait_running("calm");
    assert_eq!(calm["status"]["containerStatuses"][0]["restartCount"], 0);
    configured.end(cluster);
}

pub fn a_pod_that_exceeds_its_limit_of_the_disk_goes(cluster: &mut Cluster) {
    let write = "dd if=/dev/zero of=/data/file bs=1M count=24 2>/dev/null; sleep 100000";
    let mut volume = pod("volume", write);
    volume["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {"sizeLimit": "16Mi"}}]);
    volume["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    cluster.create("pods", &volume);
    let log = "while :; do head -c 100000 /dev/zero | tr '\\0' a | fold -w 1000; done | head -c 24000000; sleep 100000";
    let mut logs = pod("logs", log);
    logs["spec"]["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "16Mi"}});
    cluster.create("pods", &logs);
    let mut within = pod("within", IDLE);
    within["spec"]["containers"][0]["resources"] = json!({"limits": {"ephemeral-storage": "16Mi"}});
    cluster.create("pods", &within);
    let evicted = wait_evicted(cluster, "volume");
    assert_eq!(
        evicted["status"]["message"],
        "Usage of EmptyDir volume \"data\" exceeds the limit \"16Mi\". "
    );
    let evicted = wait_evicted(cluster, "logs");
    assert_eq!(
        evicted["status"]["message"],
        "Pod ephemeral local storage usage exceeds the total limit of containers 16Mi. "
    );
    assert!(condition(&evicted, "DisruptionTarget").is_null(), "{evicted}");
    crate::node::stays("a pod within its limit", Duration::from_secs(2), || {
        let within = cluster.api.get(&cluster.at("pods", "within"))?;
        (within["status"]["phase"] == "Running")
            .then_some(())
            .ok_or_else(|| within["status"].to_string())
    });
}
