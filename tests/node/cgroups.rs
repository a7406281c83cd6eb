//! Limits that hold, not only files: a real kernel, real processes, no container runtime. Everything lies
//! below a cgroup of the test's own that goes away with it, also when the test fails.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gantry::cgroup::{Cgroups, MOUNT_POINT, detect};
use gantry::model::memory_rules::MemoryProtection;
use gantry::model::node::{CgroupDriver, CgroupLayout, CgroupName, CgroupVersion};
use gantry::model::pod::PodUid;
use gantry::model::request::CgroupSetting;
use gantry::model::resources::Qos;
use gantry::plan::cgroup::pod_cgroup_name;

/// A tree of cgroups of one test.
struct Tree {
    runtime: tokio::runtime::Runtime,
    /// Until the tree is dropped.
    cgroups: Option<Cgroups>,
    layout: CgroupLayout,
}

impl Tree {
    /// Tells the story with each driver that this machine has.
    fn each(test: &str, story: impl Fn(&Tree)) {
        story(&Tree::new(test, CgroupDriver::Cgroupfs));
        // sd_booted(3)
        if Path::new("/run/systemd/system").is_dir() {
            story(&Tree::new(test, CgroupDriver::Systemd));
        }
    }

    /// `test` makes the root's name unique within this process.
    fn new(test: &str, driver: CgroupDriver) -> Tree {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let layout = CgroupLayout {
            version: detect(Path::new(MOUNT_POINT)),
            driver,
            root: vec![format!("gantry-test-{}-{test}", std::process::id())],
            per_qos: true,
            cfs_quota: true,
            cfs_period: Duration::from_millis(100),
            pod_pids: None,
            enforce_pods: true,
            hugepage_sizes: Vec::new(),
            cores: 1,
            swap: None,
            memory: Default::default(),
            reserved: Vec::new(),
        };
        let cgroups = runtime.block_on(Cgroups::new(&layout)).expect("cgroups");
        Tree {
            runtime,
            cgroups: Some(cgroups),
            layout,
        }
    }

    fn cgroups(&self) -> &Cgroups {
        self.cgroups.as_ref().expect("the tree is not dropped")
    }

    /// A pod's cgroup without limits.
    fn pod(&self, uid: &str) -> CgroupSetting {
        CgroupSetting {
            name: pod_cgroup_name(&PodUid(uid.to_owned()), Qos::Burstable, &self.layout),
            cpu_shares: Some(1024),
            cpu_quota: None,
            memory_limit: None,
            memory_protection: Default::default(),
            pids_max: None,
            hugepages: Vec::new(),
        }
    }

    fn ensure(&self, setting: &CgroupSetting) {
        let ensured = self.runtime.block_on(self.cgroups().ensure(setting));
        ensured.expect("the cgroup is made");
    }

    fn remove(&self, name: &CgroupName) {
        let removed = self.runtime.block_on(self.cgroups().remove(name));
        removed.expect("the cgroup is removed");
    }

    fn file(&self, controller: &str, setting: &CgroupSetting, file: &str) -> PathBuf {
        let directory = self.cgroups().directory(controller, &setting.name);
        directory.expect("the controller is there").join(file)
    }

    fn read(&self, controller: &str, setting: &CgroupSetting, file: &str) -> String {
        let path = self.file(controller, setting, file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The number after `key` in a file of lines `key number`.
    fn keyed(&self, controller: &str, setting: &CgroupSetting, file: &str, key: &str) -> u64 {
        let text = self.read(controller, setting, file);
        let value = text.lines().find_map(|line| line.strip_prefix(key));
        let value = value.unwrap_or_else(|| panic!("no {key:?} in {file}:\n{text}"));
        value.trim().parse().expect("a number")
    }

    /// Runs a shell script inside the pod's cgroup.
    fn spawn(&self, setting: &CgroupSetting, script: &str) -> Running {
        let joins: Vec<String> = ["cpu", "cpuacct", "memory", "pids"]
            .iter()
            .filter_map(|controller| self.cgroups().directory(controller, &setting.name))
            .map(|directory| format!("echo $$ > '{}/cgroup.procs' && ", directory.display()))
            .collect();
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("{} {{ {script}; }}", joins.concat()))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Running(child.expect("sh runs"))
    }

    fn v1(&self) -> bool {
        self.layout.version == CgroupVersion::V1
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let root = CgroupName(self.layout.root.clone());
        let cgroups = self.cgroups.take().expect("a tree is dropped once");
        // The connection to systemd ends where it lived, inside the runtime.
        let removed = self.runtime.block_on(async move { cgroups.remove(&root).await });
        if let Err(error) = removed
            && !thread::panicking()
        {
            panic!("the test's cgroups remain: {error}");
        }
    }
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in 20 s: not {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_burner_limited_to_200m_gets_a_fifth_of_a_core() {
    Tree::each("cpu", |tree| {
        let pod = CgroupSetting {
            cpu_shares: Some(262_144),
            cpu_quota: Some((20_000, 100_000)),
            ..tree.pod("burner")
        };
        tree.ensure(&pod);
        // Its weight goes before whatever else the machine does now: what it does not get, the limit took.
        for depth in 1..pod.name.0.len() {
            tree.ensure(&CgroupSetting {
                name: CgroupName(pod.name.0[..depth].to_vec()),
                cpu_quota: None,
                ..pod.clone()
            });
        }
        let used = || match tree.v1() {
            true => {
                let nanoseconds = tree.read("cpuacct", &pod, "cpuacct.usage");
                Duration::from_nanos(nanoseconds.trim().parse().expect("a number"))
            }
            false => Duration::from_micros(tree.keyed("cpu", &pod, "cpu.stat", "usage_usec ")),
        };
        let _burner = tree.spawn(&pod, "while :; do :; done");
        wait_until("throttled", || {
            tree.keyed("cpu", &pod, "cpu.stat", "nr_throttled ") > 0
        });
        let (began, before) = (Instant::now(), used());
        // The time over which is measured.
        thread::sleep(Duration::from_secs(10));
        let cores = (used() - before).as_secs_f64() / began.elapsed().as_secs_f64();
        println!("limited to 0.2 cores, used {cores:.3}");
        assert!((0.18..=0.22).contains(&cores), "{cores} cores");
    });
}

#[test]
fn over_its_memory_limit_a_process_is_killed() {
    Tree::each("memory", |tree| {
        let pod = CgroupSetting {
            memory_limit: Some(16 << 20),
            ..tree.pod("eater")
        };
        tree.ensure(&pod);
        let mut eater = tree.spawn(&pod, "x=a; while :; do x=$x$x; done");
        let status = eater.0.wait().expect("the child is ours");
        assert_eq!(status.signal(), Some(9), "{status}");
        let kills = match tree.v1() {
            true => tree.keyed("memory", &pod, "memory.oom_control", "oom_kill "),
            false => tree.keyed("memory", &pod, "memory.events", "oom_kill "),
        };
        assert!(kills > 0);
    });
}

#[test]
fn a_fork_bomb_stops_at_the_pid_limit_and_is_removed() {
    Tree::each("pids", |tree| {
        let pod = CgroupSetting {
            pids_max: Some(30),
            ..tree.pod("bomb")
        };
        tree.ensure(&pod);
        // Before anything multiplies.
        assert_eq!(tree.read("pids", &pod, "pids.max"), "30\n");
        let _bomb = tree.spawn(&pod, "bomb() { bomb | bomb & sleep 1000; }; bomb");
        wait_until("stopped by the limit", || {
            tree.keyed("pids", &pod, "pids.events", "max ") > 0
        });
        let current: u32 = tree
            .read("pids", &pod, "pids.current")
            .trim()
            .parse()
            .expect("a number");
        assert!(current <= 30, "{current} processes");
        tree.remove(&pod.name);
        assert!(!tree.cgroups().exists(&pod.name));
    });
}

#[test]
fn values_are_set_changed_and_found_by_a_later_agent() {
    Tree::each("values", |tree| {
        let first = CgroupSetting {
            cpu_quota: Some((50_000, 100_000)),
            memory_limit: Some(64 << 20),
            pids_max: Some(100),
            ..tree.pod("0f-1")
        };
        let second = CgroupSetting {
            cpu_quota: Some((-1, 100_000)),
            memory_limit: Some(128 << 20),
            pids_max: Some(-1),
            ..first.clone()
        };
        let shown = || match tree.v1() {
            true => [
                tree.read("cpu", &first, "cpu.shares"),
                tree.read("cpu", &first, "cpu.cfs_quota_us"),
                tree.read("memory", &first, "memory.limit_in_bytes"),
                tree.read("pids", &first, "pids.max"),
            ]
            .concat(),
            false => [
                tree.read("cpu", &first, "cpu.weight"),
                tree.read("cpu", &first, "cpu.max"),
                tree.read("memory", &first, "memory.max"),
                tree.read("pids", &first, "pids.max"),
            ]
            .concat(),
        };
        let expected = |v1: &str, v2: &str| if tree.v1() { v1.to_owned() } else { v2.to_owned() };
        for _ in 0..2 {
            tree.ensure(&first);
            assert_eq!(
                shown(),
                expected(
                    "1024\n50000\n67108864\n100\n",
                    "39\n50000 100000\n67108864\n100\n"
                )
            );
        }
        tree.ensure(&second);
        assert_eq!(
            shown(),
            expected("1024\n-1\n134217728\nmax\n", "39\nmax 100000\n134217728\nmax\n")
        );
        let uids = tree.cgroups().pod_uids().expect("the tree can be listed");
        assert_eq!(uids.into_iter().collect::<Vec<_>>(), [PodUid("0f-1".to_owned())]);
    });
}

#[test]
fn removal_ends_processes_of_containers_and_is_repeatable() {
    Tree::each("remove", |tree| {
        let pod = tree.pod("left-over");
        let container = CgroupSetting {
            name: CgroupName([pod.name.0.clone(), vec!["container".to_owned()]].concat()),
            ..pod.clone()
        };
        tree.ensure(&pod);
        tree.ensure(&container);
        // It ignores what can be ignored.
        let mut stubborn = tree.spawn(&container, "trap '' TERM INT HUP; while :; do sleep 1; done");
        // The hierarchy that it joins last: one that is removed meanwhile would end the shell by itself.
        let procs = || tree.read("pids", &container, "cgroup.procs");
        wait_until("inside", || !procs().trim().is_empty());
        tree.remove(&pod.name);
        assert!(!tree.cgroups().exists(&pod.name));
        assert_eq!(stubborn.0.wait().expect("the child is ours").signal(), Some(9));
        tree.remove(&pod.name);
        assert!(
            tree.cgroups()
                .pod_uids()
                .expect("the tree can be listed")
                .is_empty()
        );
    });
}

#[test]
fn the_cgroup_of_another_program_is_limited_where_it_exists_and_never_made() {
    Tree::each("reserved", |tree| {
        let place = [tree.layout.root.clone(), vec!["kube".to_owned()]].concat();
        let limits = CgroupSetting {
            cpu_shares: Some(204),
            memory_limit: Some(64 << 20),
            memory_protection: MemoryProtection {
                min: Some(4 << 20),
                low: None,
            },
            pids_max: Some(50),
            ..CgroupSetting::untouched(CgroupName(place))
        };
        let update = || tree.runtime.block_on(tree.cgroups().update(&limits));
        let refusal = update().expect_err("it does not exist").to_string();
        assert!(
            refusal.contains("has some missing paths: /sys/fs/cgroup"),
            "{refusal}"
        );
        assert!(!tree.cgroups().exists(&limits.name));
        // Another program makes it.
        tree.ensure(&CgroupSetting::untouched(limits.name.clone()));
        update().expect("it exists now");
        let (cpu, memory) = match tree.v1() {
            true => ("cpu.shares", "memory.limit_in_bytes"),
            false => ("cpu.weight", "memory.max"),
        };
        let weight = if tree.v1() { "204\n" } else { "8\n" };
        assert_eq!(tree.read("cpu", &limits, cpu), weight);
        assert_eq!(tree.read("memory", &limits, memory), "67108864\n");
        assert_eq!(tree.read("pids", &limits, "pids.max"), "50\n");
        if !tree.v1() {
            assert_eq!(tree.read("memory", &limits, "memory.min"), "4194304\n");
        }
    });
}

#[test]
fn a_process_moves_into_a_cgroup_that_is_made_for_it() {
    let tree = Tree::new("join", CgroupDriver::Cgroupfs);
    let idle = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn();
    let idle = Running(idle.expect("sleep runs"));
    let place = [tree.layout.root.clone(), vec!["agent".to_owned()]].concat();
    let path: PathBuf = place.iter().collect();
    let joined = tree.runtime.block_on(tree.cgroups().join(&path, idle.0.id()));
    joined.expect("a process of our own may be moved");
    let cgroup = CgroupSetting::untouched(CgroupName(place));
    for controller in ["cpu", "memory", "pids"] {
        let inside = tree.read(controller, &cgroup, "cgroup.procs");
        assert_eq!(inside.trim(), idle.0.id().to_string(), "{controller}");
    }
}
