//! Volumes on a file system that counts by project. It needs a kernel with that, which not every machine of a test has.

use std::time::Duration;

use serde_json::Value;

use crate::vm::Vm;
use crate::wait::wait_for;

const SOCKET: &str = "curl --silent --fail --max-time 20 --unix-socket /run/gantry/gantry.sock http://gantry";
const LISTS: &str = "cat /etc/projects /etc/projid";
/// A count is remembered for a minute, and one in ten is a walk.
const COUNTED: Duration = Duration::from_secs(150);

/// What a volume contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    bytes: u64,
    inodes: u64,
}

/// How many volumes were counted by walks, and by asking the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    walked: u64,
    asked: u64,
}

pub fn a_file_system_with_project_quotas_counts_volumes_itself(vm: &mut Vm) {
    start_on_a_file_system_of_its_own(vm);
    vm.prints("mv /root/store.yaml /etc/kubernetes/manifests/");
    vm.wait_pod("store", "running", |pod| pod["status"]["phase"] == "Running");
    let volume = vm.prints("ls -d /var/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/data");
    let volume = volume.trim();
    wait_for("the pod to have written", Duration::from_secs(100), || {
        let reported = vm.run(&format!("test -e {volume}/done"));
        (reported.code == 0).then_some(()).ok_or(reported.output)
    });
    let projects = format!("7:/srv\n1048577:{volume}\nsrv:7\nvolume1048577:1048577\n");
    assert_eq!(vm.prints(LISTS), projects);
    let attributes = vm.prints(&format!("lsattr -p {volume} -d; lsattr -p {volume}/many/1"));
    assert_eq!(attributes.matches("1048577").count(), 2, "{attributes}");

    assert_counted_without_a_walk(vm, volume);
    assert_nothing_can_be_hidden(vm, volume);

    vm.prints("rm /etc/kubernetes/manifests/store.yaml");
    wait_for("the pod to be gone", Duration::from_secs(60), || {
        let left = vm.prints("ls /var/lib/kubelet/pods");
        left.is_empty().then_some(()).ok_or(left)
    });
    assert_eq!(vm.prints(LISTS), "7:/srv\nsrv:7\n");
    vm.prints(
        "rm /etc/projects /etc/projid && systemctl stop gantry && umount /var/lib/kubelet && \
         rm /var/lib/volumes.img && gantry cleanup --yes",
    );
    assert_eq!(vm.prints("losetup --list --noheadings"), "");
}

/// The node's directory is on such a file system, and nothing runs yet.
fn start_on_a_file_system_of_its_own(vm: &mut Vm) {
    vm.prints(
        "systemctl stop gantry && gantry cleanup --yes && rm -f /etc/kubernetes/manifests/* && \
         truncate --size=512M /var/lib/volumes.img && \
         mkfs.ext4 -q -O project,quota -E quotatype=prjquota /var/lib/volumes.img && \
         mkdir -p /var/lib/kubelet && mount -o loop,prjquota /var/lib/volumes.img /var/lib/kubelet && \
         rmdir /var/lib/kubelet/lost+found && \
         install -D -m 644 /root/demo.tar -t /var/lib/gantry/images",
    );
    // A project of the machine's, and one that a killed agent has left.
    vm.prints(
        "printf '7:/srv\\n1048580:/var/lib/kubelet/pods/gone/volumes/kubernetes.io~empty-dir/data\\n' >/etc/projects && \
         printf 'srv:7\\nvolume1048580:1048580\\n' >/etc/projid && systemctl start gantry",
    );
    assert_eq!(vm.prints(LISTS), "7:/srv\nsrv:7\n");
}

/// What is written is shown as it is, and the volume was not walked through for it.
fn assert_counted_without_a_walk(vm: &mut Vm, volume: &str) {
    // The first count is a walk.
    shown(vm, &mut |counts, _| counts.walked > 0);
    for number in 1..=5 {
        let before = counts(vm);
        vm.prints(&format!(
            "dd if=/dev/zero of={volume}/more-{number} bs=1M count=3 conv=fsync 2>&1"
        ));
        let there = there(vm, volume);
        assert!(
            there.bytes > (50 + 3 * number) << 20 && there.inodes > 500,
            "{there:?}"
        );
        let after = shown(vm, &mut |_, content| content == there);
        // One count in ten is a walk that checks the quota.
        if after.walked == before.walked {
            assert!(after.asked > before.asked, "{before:?} {after:?}");
            return;
        }
    }
    panic!("five counts in a row were walks: {:?}", counts(vm));
}

/// What the owner of a file gives to another project is counted by the first walk that finds it, and by all later ones.
fn assert_nothing_can_be_hidden(vm: &mut Vm, volume: &str) {
    vm.prints(&format!("chattr -p 0 {volume}/large && systemctl restart gantry"));
    let there = there(vm, volume);
    let after = shown(vm, &mut |_, content| content == there);
    assert!(after.walked > 0 && after.asked == 0, "{after:?}");
    let journal = vm.prints("journalctl --no-pager -u gantry -n 200");
    assert!(
        journal.contains("files were given to other projects"),
        "{journal}"
    );
}

/// Waits until the volume is shown as expected.
fn shown(vm: &mut Vm, is_expected: &mut dyn FnMut(Counts, Content) -> bool) -> Counts {
    wait_for("the volume to be counted", COUNTED, || {
        let summary: Value = serde_json::from_str(&vm.run(&format!("{SOCKET}/stats/summary")).output)
            .map_err(|error| error.to_string())?;
        let volume = &summary["pods"][0]["volume"][0];
        let amount = |name: &str| volume[name].as_u64().ok_or_else(|| summary["pods"].to_string());
        let content = Content {
            bytes: amount("usedBytes")?,
            inodes: amount("inodesUsed")?,
        };
        let counts = counts(vm);
        is_expected(counts, content)
            .then_some(counts)
            .ok_or_else(|| format!("{content:?} {counts:?}"))
    })
}

fn counts(vm: &mut Vm) -> Counts {
    let metrics = vm.prints(&format!("{SOCKET}/metrics"));
    let count = |source: &str| {
        let name = "kubelet_volume_metric_collection_duration_seconds_count";
        let start = format!("{name}{{metric_source=\"{source}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        value.map_or(0, |value| value.parse().expect("a count is a number"))
    };
    Counts {
        walked: count("du"),
        asked: count("fsquota"),
    }
}

/// What du(1) and find(1) see.
fn there(vm: &mut Vm, volume: &str) -> Content {
    let seen = vm.prints(&format!(
        "sync; du --summarize --block-size=1 {volume} | cut -f 1; find {volume} | wc -l"
    ));
    let mut numbers = seen.lines().map(|line| line.parse().expect("it is a number"));
    let mut next = || numbers.next().expect("both have answered");
    Content {
        bytes: next(),
        inodes: next(),
    }
}
