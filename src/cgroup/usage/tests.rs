//! Reads made-up directories of both versions, and this machine's own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use expect_test::expect;

use super::*;
use crate::model::usage::DeviceIo;

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn whole(reader: &mut UsageReader<'_>, path: &str) -> Option<Usage> {
    let cgroup = reader.open(path)?;
    let activity = reader.activity(&cgroup)?;
    Some(reader.usage(&cgroup, activity, None))
}

#[test]
fn version_2_is_read() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("cgroup.controllers", "cpu memory io pids\n"),
            ("k/cgroup.procs", "7\n8\n"),
            (
                "k/cpu.stat",
                "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 5\nnr_throttled 4\nthrottled_usec 70\n",
            ),
            ("k/cpu.max", "50000 100000\n"),
            ("k/cpu.weight", "39\n"),
            (
                "k/cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n",
            ),
            ("k/memory.current", "10000\n"),
            ("k/memory.peak", "12000\n"),
            ("k/memory.swap.current", "0\n"),
            ("k/memory.max", "max\n"),
            ("k/memory.swap.max", "512\n"),
            ("k/memory.low", "0\n"),
            (
                "k/memory.stat",
                "anon 5000\nfile 4000\nkernel 600\nfile_mapped 300\ninactive_file 2500\nactive_file 1500\npgfault 11\npgmajfault 2\n",
            ),
            ("k/memory.events", "low 0\nhigh 0\nmax 31\noom 2\noom_kill 3\n"),
            ("k/io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
            ("k/pids.current", "6\n"),
            ("k/pids.max", "max\n"),
        ],
    );
    let cgroups = Cgroups::unified(root.path()).unwrap();
    let mut reader = cgroups.usage_reader();
    let usage = whole(&mut reader, "/k").unwrap();
    expect![[r#"
        Some(CpuUsage { total: 3000000, user: 2000000, system: 1000000, throttling: Some(Throttling { periods: 5, throttled_periods: 4, throttled: 70000, burst_periods: 0, burst: 0 }), limits: CpuLimits { shares: Some(998), quota: Some(50000), period: Some(100000) } })
        Some(MemoryUsage { usage: 10000, working_set: 7500, max_usage: Some(12000), cache: 4000, rss: 5000, mapped_file: 300, active_file: 1500, inactive_file: 2500, kernel: Some(600), swap: Some(0), failures: Some(31), faults: Faults { all: 11, major: 2 }, hierarchical_faults: Faults { all: 11, major: 2 }, oom_kills: Some(3), limits: MemoryLimits { memory: None, swap: Some(512), reservation: None } })
        Some(TaskUsage { threads: 6, limit: None })
        PressureUsage { cpu: Some(Pressure { some: Stall { total: 9, avg10: 1.5, avg60: 0.0, avg300: 0.0 }, full: Stall { total: 0, avg10: 0.0, avg60: 0.0, avg300: 0.0 } }), memory: None, io: None }
        [DeviceIo { device: (254, 0), read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 }]"#]]
    .assert_eq(&format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
        usage.cpu, usage.memory, usage.tasks, usage.pressure, usage.io
    ));
    let cgroup = reader.open("/k").unwrap();
    assert_eq!(reader.processes(&cgroup), [7, 8]);
    assert_eq!(reader.children("/"), ["k"]);
    assert!(reader.open("/none").is_none());

    // Nothing is known to have happened: only what was written and waited for is read again.
    let more = [
        ("k/io.stat", "254:0 rbytes=9\n"),
        ("k/pids.current", "60\n"),
        ("k/memory.max", "1\n"),
    ];
    write(root.path(), &more);
    let idle = reader.usage_of_idle(&cgroup, &usage);
    assert_eq!((idle.io[0].read_bytes, idle.tasks), (9, usage.tasks));
    // Limits are read again if they are asked for.
    let activity = reader.activity(&cgroup).unwrap();
    let limit = |usage: Usage| usage.memory.unwrap().limits.memory;
    let again = reader.usage(&cgroup, activity, Some(&usage));
    assert_eq!(again.tasks.map(|tasks| tasks.threads), Some(60));
    assert_eq!(limit(again), None);
    assert_eq!(limit(reader.usage(&cgroup, activity, None)), Some(1));
    // A cgroup that is gone is not that of the same path.
    fs::remove_dir_all(root.path().join("k")).unwrap();
    write(root.path(), &[("k/cpu.stat", "usage_usec 1\n")]);
    assert_eq!(reader.activity(&cgroup), None);
}

#[test]
fn version_1_is_read() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            (
                "cpu/cpu.stat",
                "nr_periods 5\nnr_throttled 4\nthrottled_time 70\nnr_bursts 1\nburst_time 2\n",
            ),
            ("cpu/cpu.shares", "1024\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpuacct/cpuacct.usage", "3000\n"),
            ("cpuacct/cpuacct.stat", "user 2\nsystem 1\n"),
            ("memory/memory.usage_in_bytes", "10000\n"),
            ("memory/memory.max_usage_in_bytes", "12000\n"),
            ("memory/memory.failcnt", "31\n"),
            ("memory/memory.kmem.usage_in_bytes", "600\n"),
            ("memory/memory.limit_in_bytes", "20000\n"),
            ("memory/memory.memsw.limit_in_bytes", "20512\n"),
            ("memory/memory.soft_limit_in_bytes", "9223372036854771712\n"),
            (
                "memory/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            ),
            (
                "memory/memory.stat",
                "cache 1\nrss 2\npgfault 7\npgmajfault 1\ninactive_file 5\ntotal_cache 4000\ntotal_rss 5000\ntotal_mapped_file 300\ntotal_swap 64\ntotal_pgfault 11\ntotal_pgmajfault 2\ntotal_inactive_file 2500\ntotal_active_file 1500\n",
            ),
            (
                "blkio/blkio.throttle.io_service_bytes_recursive",
                "254:0 Read 1\n254:0 Write 2\nTotal 3\n",
            ),
            (
                "blkio/blkio.throttle.io_serviced_recursive",
                "254:0 Read 3\n254:0 Write 4\nTotal 7\n",
            ),
            ("pids/pids.current", "6\n"),
            ("pids/pids.max", "100\n"),
        ],
    );
    let open = |controller: &str| Directory::open(&root.path().join(controller));
    let directories = v1::Directories::open(open).unwrap();
    let mut files = Files::default();
    let (cpu, memory) = v1::activity(&mut files, &directories);
    let counted = v1::usage(&mut files, &directories, Activity { cpu, memory });
    let usage = v1::limits(&mut files, &directories).put_into(counted.clone());
    assert_eq!(Limits::of(&usage).put_into(counted), usage);
    assert_eq!(v1::io(&mut files, &directories), usage.io);
    let idle = |files: &mut Files, last: &[DeviceIo]| v1::io_of_idle(files, &directories, last);
    let operations = |reads| DeviceIo { reads, ..usage.io[0] };
    // As many bytes as before are as many operations; otherwise these are read.
    assert_eq!(idle(&mut files, &[operations(9)]), [operations(9)]);
    assert_eq!(idle(&mut files, &[]), usage.io);
    expect![[r#"
        Some(CpuUsage { total: 3000, user: 20000000, system: 10000000, throttling: Some(Throttling { periods: 5, throttled_periods: 4, throttled: 70, burst_periods: 1, burst: 2 }), limits: CpuLimits { shares: Some(1024), quota: None, period: Some(100000) } })
        Some(MemoryUsage { usage: 10000, working_set: 7500, max_usage: Some(12000), cache: 4000, rss: 5000, mapped_file: 300, active_file: 1500, inactive_file: 2500, kernel: Some(600), swap: Some(64), failures: Some(31), faults: Faults { all: 7, major: 1 }, hierarchical_faults: Faults { all: 11, major: 2 }, oom_kills: Some(3), limits: MemoryLimits { memory: Some(20000), swap: Some(20512), reservation: None } })
        Some(TaskUsage { threads: 6, limit: Some(100) })
        [DeviceIo { device: (254, 0), read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 }]"#]]
    .assert_eq(&format!(
        "{:?}\n{:?}\n{:?}\n{:?}",
        usage.cpu, usage.memory, usage.tasks, usage.io
    ));
}

#[test]
fn this_machines_own_counters_are_read() {
    let version = super::super::detect(Path::new(super::super::MOUNT_POINT));
    let cgroups = Cgroups {
        version,
        driver: crate::model::node::CgroupDriver::Cgroupfs,
        root: Arc::default(),
        hierarchy: Arc::new(Hierarchy::mounted(version).unwrap()),
        systemd: None,
        counters: Default::default(),
    };
    let usage = whole(&mut cgroups.usage_reader(), "/").unwrap();
    assert!(
        usage.cpu.is_some_and(|cpu| cpu.total > 1_000_000_000),
        "{usage:?}"
    );
    let memory = usage.memory.unwrap();
    assert!(
        memory.usage > memory.working_set && memory.working_set > 0,
        "{memory:?}"
    );
}

#[test]
fn the_cgroup_of_a_process_is_one_for_cpu_and_memory() {
    let mounted = super::super::detect(Path::new(super::super::MOUNT_POINT));
    let of = |version| Cgroups {
        version,
        driver: crate::model::node::CgroupDriver::Cgroupfs,
        root: Arc::default(),
        hierarchy: Arc::new(Hierarchy::mounted(mounted).unwrap()),
        systemd: None,
        counters: Default::default(),
    };
    let check = |version, text: &str, path: Option<&str>| {
        assert_eq!(of(version).path_in(text).as_deref(), path, "{text}");
    };
    let of_service = Some("/system.slice/a:b.service");
    check(CgroupVersion::V2, "0::/system.slice/a:b.service\n", of_service);
    check(CgroupVersion::V2, "", None);
    check(
        CgroupVersion::V1,
        "5:memory:/a\n4:cpu,cpuacct:/a\n0::/x\n",
        Some("/a"),
    );
    check(CgroupVersion::V1, "5:memory:/a\n4:cpu,cpuacct:/\n", None);
}

#[test]
fn a_long_file_is_read_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    let mut lines = |count: usize| {
        write(root.path(), &[("cgroup.procs", &"1234567\n".repeat(count))]);
        let directory = Directory::open(root.path()).unwrap();
        let text = files.read(&directory, c"cgroup.procs");
        text.map(|text| text.lines().count())
    };
    assert_eq!(lines(1), Some(1));
    assert_eq!(lines(20_000), Some(20_000));
    assert_eq!(lines(1_000_000), None);
    assert_eq!(lines(2), Some(2));
}
