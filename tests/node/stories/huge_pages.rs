//! emptyDirs of huge pages.

use crate::manifest;
use crate::node::{Node, SOON};
use crate::wait::wait_for;

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// Pages that the kernel sets aside while the story lasts.
struct Pool(String);

impl Pool {
    fn of(pages: u32) -> Pool {
        let before = std::fs::read_to_string(POOL).expect("the kernel has huge pages of 2 MiB");
        std::fs::write(POOL, pages.to_string()).expect("root may set pages aside");
        Pool(before)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = std::fs::write(POOL, &self.0);
    }
}

fn pod(name: &str, script: &str, medium: &str) -> String {
    let container = "    resources: {limits: {cpu: 100m, memory: 16Mi, hugepages-2Mi: 4Mi}}\n    volumeMounts: [{name: pages, mountPath: /pages}]\n";
    manifest::with(name, script, container)
        + &format!("  volumes: [{{name: pages, emptyDir: {{medium: {medium}}}}}]\n")
}

/// The volume has the pages of the size that the pod requests, its group can write it, and it goes with the pod. It
/// survives the agent.
pub fn a_volume_consists_of_them(node: &mut Node) {
    let _pool = Pool::of(4);
    node.start_agent();
    let script =
        "mkdir /pages/kept && stat -f -c '%t %S' /pages; grep ' /pages ' /proc/mounts; sleep 1000000";
    let owned = pod("owned", script, "HugePages").replace(
        "spec:\n",
        "spec:\n  securityContext: {runAsUser: 1000, fsGroup: 2000}\n",
    );
    node.manifest("owned.yaml", &owned);
    node.wait_running("owned");
    wait_for("what the container has seen", SOON, || {
        let said = node.prints(&["logs", "owned"]);
        let is_made = said.contains("958458f6 2097152") && said.contains("hugetlbfs");
        if is_made { Ok(()) } else { Err(said) }
    });
    node.kill_agent();
    node.start_agent();
    node.wait_running("owned");
    assert_eq!(node.prints(&["exec", "owned", "--", "ls", "/pages"]), "kept\n");
    node.manifest("other.yaml", &pod("other", "sleep 1000000", "HugePages-1Gi"));
    let message = "MountVolume.SetUp failed for volume \"pages\" : medium HugePages-1Gi: hugePages storage requested, but there is no resource request for huge pages";
    wait_for("the event about the other size", SOON, || {
        let events = node.prints(&["events", "other"]);
        if events.contains(message) {
            Ok(())
        } else {
            Err(events)
        }
    });
    for name in ["owned", "other"] {
        node.remove(&format!("{name}.yaml"));
        node.wait_gone(name);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(" - hugetlbfs nodev "), "{mounts}");
}
