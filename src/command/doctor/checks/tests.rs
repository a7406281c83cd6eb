use std::path::PathBuf;

use super::super::findings::{Disk, Mount, Runtime, RuntimeAnswer};
use super::super::verdict::Verdict;
use super::*;
use crate::config::Role;
use crate::config::layers::{Layers, flag};
use crate::config::node::Init;
use crate::config::resolve::resolve;
use crate::config::surroundings::ConfigContext;
use crate::model::measured::FsUsage;
use crate::model::node::CgroupDriver;
use crate::model::resources::Bytes;

fn config(flags: &[(&str, &str)]) -> Config {
    let context = ConfigContext {
        hostname: "web".to_owned(),
        directory: PathBuf::from("/"),
        version: String::new(),
    };
    let given: Vec<_> = flags
        .iter()
        .map(|(name, text)| (flag(name).unwrap(), vec![(*text).to_owned()]))
        .collect();
    resolve(Layers::merge(None, &[], &given).unwrap(), Role::Run, &context).unwrap()
}

/// A machine that passes every check.
fn healthy() -> Findings {
    let usage = FsUsage {
        capacity: Bytes(100 << 30),
        available: Bytes(50 << 30),
        inodes: 1_000_000,
        inodes_free: 900_000,
    };
    Findings {
        uid: 0,
        kernel: "6.1.0-42-amd64".to_owned(),
        cgroups: Some(CgroupVersion::V2),
        missing_controllers: Vec::new(),
        init: Init::Systemd,
        swaps: Vec::new(),
        ip_forward: true,
        bridge_iptables: Some(true),
        runtime: RuntimeAnswer::Answered(Runtime {
            name: "containerd".to_owned(),
            version: "1.6.20~ds1".to_owned(),
            driver_reported: None,
            driver_configured: Some(CgroupDriver::Systemd),
            image_dir: None,
        }),
        agent_runs: false,
        taken: Vec::new(),
        kubelets: Vec::new(),
        disks: vec![Disk {
            name: "nodefs",
            path: PathBuf::from("/var/lib/kubelet"),
            usage,
        }],
        root_mount: Mount {
            read_only: false,
            no_exec: false,
            shared: true,
        },
        other_cni: Vec::new(),
        missing_plugins: Vec::new(),
        foreign_bridge: false,
        missing_kernel: Vec::new(),
        inotify_instances: Some(128),
        inotify_watches: Some(65_536),
        clock: Clock::Synchronised,
    }
}

#[test]
fn a_healthy_machine_has_nothing_to_complain_of() {
    let checks = judge(&healthy(), &config(&[]));
    let complaints: Vec<_> = checks
        .iter()
        .filter(|check| check.verdict != Verdict::Good)
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// Changes one fact of a healthy machine: exactly that check fails, with a remedy.
fn check(change: impl FnOnce(&mut Findings), flags: &[(&str, &str)], expected: (&str, Verdict), words: &str) {
    let mut findings = healthy();
    change(&mut findings);
    let checks = judge(&findings, &config(flags));
    let complaints: Vec<_> = checks
        .iter()
        .filter(|check| check.verdict != Verdict::Good)
        .collect();
    let [complaint] = complaints[..] else {
        panic!("{expected:?}: {complaints:?}")
    };
    assert_eq!((complaint.subject, complaint.verdict), expected);
    assert!(!complaint.remedy.is_empty(), "{complaint:?}");
    let all = format!("{} -> {}", complaint.found, complaint.remedy);
    assert!(all.contains(words), "{all}");
}

/// Changes one fact that is still fine.
fn check_good(change: impl FnOnce(&mut Findings), flags: &[(&str, &str)], words: &str) {
    let mut findings = healthy();
    change(&mut findings);
    let checks = judge(&findings, &config(flags));
    assert!(
        checks.iter().all(|check| check.verdict == Verdict::Good),
        "{checks:?}"
    );
    assert!(
        checks.iter().any(|check| check.found.contains(words)),
        "{checks:?}"
    );
}

fn answered(change: impl FnOnce(&mut Runtime)) -> impl FnOnce(&mut Findings) {
    |findings| match &mut findings.runtime {
        RuntimeAnswer::Answered(runtime) => change(runtime),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_machine_itself() {
    use Verdict::{Failure, Warning};
    check(|f| f.uid = 1000, &[], ("user", Failure), "sudo gantry doctor");
    check(
        |f| f.kernel = "5.4.0".into(),
        &[],
        ("kernel", Failure),
        "5.6 or newer",
    );
    check(
        |f| f.missing_kernel = vec!["overlay"],
        &[],
        ("kernel modules", Failure),
        "sudo modprobe -a overlay",
    );
    check(
        |f| f.cgroups = None,
        &[],
        ("cgroups", Failure),
        "mount -t cgroup2",
    );
    check(
        |f| f.missing_controllers = vec!["memory".into()],
        &[],
        ("cgroups", Failure),
        "cgroup_enable=memory",
    );
    check(
        |f| f.cgroups = Some(CgroupVersion::V1),
        &[],
        ("cgroups", Warning),
        "unified_cgroup_hierarchy=1",
    );
    let refuse = [("fail-cgroupv1", "true")];
    check(
        |f| f.cgroups = Some(CgroupVersion::V1),
        &refuse,
        ("cgroups", Failure),
        "failCgroupV1: false",
    );
    check(
        |f| f.swaps = vec!["/swapfile".into()],
        &[],
        ("swap", Failure),
        "sudo swapoff -a",
    );
    check_good(
        |f| f.swaps = vec!["/swapfile".into()],
        &[("fail-swap-on", "false")],
        "allowed by failSwapOn",
    );
    check(
        |f| f.root_mount.read_only = true,
        &[],
        ("root directory", Failure),
        "is read-only",
    );
    check(
        |f| f.root_mount.no_exec = true,
        &[],
        ("root directory", Warning),
        "noexec",
    );
    check(
        |f| f.root_mount.shared = false,
        &[],
        ("root directory", Warning),
        "--make-rshared /",
    );
    check(
        |f| f.bridge_iptables = None,
        &[],
        ("br_netfilter", Warning),
        "modprobe br_netfilter",
    );
    check(
        |f| f.bridge_iptables = Some(false),
        &[],
        ("br_netfilter", Warning),
        "sysctl",
    );
    check_good(|f| f.ip_forward = false, &[], "the agent turns it on");
    check(
        |f| f.inotify_instances = Some(8),
        &[],
        ("inotify", Warning),
        "max_user_instances",
    );
    check(
        |f| f.clock = Clock::Unknown,
        &[],
        ("clock", Warning),
        "systemd-timesyncd",
    );
    check(|f| f.clock = Clock::Behind, &[], ("clock", Failure), "date -s");
}

#[test]
fn others_on_the_machine() {
    use Verdict::{Failure, Warning};
    let port = || vec!["127.0.0.1:10248".parse().unwrap()];
    check(
        |f| f.kubelets = vec![17],
        &[],
        ("other kubelets", Failure),
        "pid 17",
    );
    check(
        |f| f.taken = port(),
        &[],
        ("ports", Failure),
        "ss -ltnp 'sport = :10248'",
    );
    let ours = |f: &mut Findings| (f.taken, f.agent_runs) = (port(), true);
    check_good(ours, &[], "in use by the running agent");
    let other = || vec!["/etc/cni/net.d/10-flannel.conflist".to_owned()];
    check_good(
        |f| f.other_cni = other(),
        &[],
        "10-flannel.conflist belongs to another network",
    );
    let off = |f: &mut Findings| (f.other_cni, f.ip_forward) = (other(), false);
    check(off, &[], ("ip_forward", Warning), "net.ipv4.ip_forward=1");
    check(
        |f| f.missing_plugins = vec!["bridge".into()],
        &[],
        ("CNI", Failure),
        "missing in /opt/cni/bin: bridge",
    );
    check(
        |f| f.foreign_bridge = true,
        &[],
        ("CNI", Failure),
        "/opt/cni/bin/bridge is another vendor's",
    );
    // Another network's configuration is for any vendor's.
    check_good(
        |f| (f.other_cni, f.foreign_bridge) = (other(), true),
        &[],
        "belongs to another network",
    );
}

#[test]
fn disks_below_their_thresholds() {
    use Verdict::Failure;
    let tight = |f: &mut Findings| f.disks[0].usage.available = Bytes(9 << 30);
    check(
        tight,
        &[],
        ("disk", Failure),
        "/var/lib/kubelet: 9216 MiB free of 102400",
    );
    check_good(
        tight,
        &[("eviction-hard", "nodefs.available<1Gi")],
        "9216 MiB free",
    );
    let inodes = |f: &mut Findings| f.disks[0].usage.inodes_free = 10_000;
    check(inodes, &[], ("disk", Failure), "10000 inodes free of 1000000");
    // Some file systems count no inodes.
    check_good(
        |f| (f.disks[0].usage.inodes, f.disks[0].usage.inodes_free) = (0, 0),
        &[],
        "MiB free",
    );
}

#[test]
fn the_runtime() {
    use Verdict::{Failure, Warning};
    let subjects = |runtime: RuntimeAnswer| {
        let checks = judge(&Findings { runtime, ..healthy() }, &config(&[]));
        let complaints = checks.into_iter().filter(|check| check.verdict != Verdict::Good);
        complaints
            .map(|check| (check.subject, check.remedy))
            .collect::<Vec<_>>()
    };
    for (answer, words) in [
        (RuntimeAnswer::Absent, "apt-get install containerd"),
        (
            RuntimeAnswer::Silent("refused".into()),
            "systemctl restart containerd",
        ),
        (RuntimeAnswer::NoCri, "disabled_plugins"),
    ] {
        let complaints = subjects(answer);
        assert_eq!(complaints[0].0, "containerd");
        assert!(complaints[0].1.contains(words), "{complaints:?}");
        assert_eq!(complaints[1].0, "cgroup driver");
    }
    check(
        answered(|r| r.version = "v1.5.9".into()),
        &[],
        ("containerd", Failure),
        "1.6 or newer",
    );
    check(
        answered(|r| r.name = "cri-o".into()),
        &[],
        ("containerd", Warning),
        "only containerd is tested",
    );
    check_good(
        answered(|r| r.version = "v2.1.4".into()),
        &[],
        "containerd v2.1.4",
    );
}

#[test]
fn the_cgroup_driver_must_be_containerds() {
    use Verdict::{Failure, Warning};
    let subject = "cgroup driver";
    let stated = [("cgroup-driver", "cgroupfs")];
    check(
        |_| {},
        &stated,
        (subject, Failure),
        "start with --cgroup-driver=systemd, or set SystemdCgroup = false",
    );
    check_good(
        answered(|r| r.driver_reported = Some(CgroupDriver::Cgroupfs)),
        &[],
        "cgroupfs, same as containerd",
    );
    check_good(
        answered(|r| r.driver_configured = Some(CgroupDriver::Cgroupfs)),
        &stated,
        "cgroupfs, same as containerd",
    );
    check(
        answered(|r| r.driver_configured = None),
        &[],
        (subject, Warning),
        "compare with SystemdCgroup",
    );
    check(
        |f| f.init = Init::Other,
        &[],
        (subject, Failure),
        "this machine does not run systemd",
    );
}
