//! A node with one pod, measured.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::node::MachineFacts;
use crate::model::pod::{PodName, PodUid};
use crate::model::resources::Bytes;
use crate::model::stats::*;
use crate::model::usage::*;

fn at() -> Timestamp {
    "2026-11-28T21:12:29.817Z".parse().unwrap()
}

fn created() -> Timestamp {
    "2026-11-28T21:11:16Z".parse().unwrap()
}

fn pressure() -> Option<Pressure> {
    let stall = Stall {
        total: 9,
        avg10: 1.5,
        avg60: 0.5,
        avg300: 0.0,
    };
    Some(Pressure {
        some: stall,
        full: stall,
    })
}

fn usage() -> Usage {
    Usage {
        cpu: Some(CpuUsage {
            total: 2_500_000_000,
            user: 2_000_000_000,
            system: 500_000_000,
            throttling: Some(Throttling {
                periods: 5,
                throttled_periods: 4,
                throttled: 500_000_000,
                burst_periods: 0,
                burst: 0,
            }),
            limits: CpuLimits {
                shares: Some(10),
                quota: Some(50_000),
                period: Some(100_000),
            },
        }),
        memory: Some(MemoryUsage {
            usage: 10_000,
            working_set: 7500,
            max_usage: Some(12_000),
            cache: 4000,
            rss: 5000,
            mapped_file: 300,
            active_file: 1500,
            inactive_file: 2500,
            kernel: Some(600),
            swap: Some(64),
            failures: Some(31),
            faults: Faults { all: 7, major: 1 },
            hierarchical_faults: Faults { all: 11, major: 2 },
            oom_kills: Some(3),
            limits: MemoryLimits {
                memory: Some(20_000),
                swap: Some(20_512),
                reservation: None,
            },
        }),
        io: vec![DeviceIo {
            device: (254, 0),
            read_bytes: 1,
            written_bytes: 2,
            reads: 3,
            writes: 4,
        }],
        tasks: Some(TaskUsage {
            threads: 6,
            limit: None,
        }),
        pressure: PressureUsage {
            cpu: pressure(),
            memory: pressure(),
            io: pressure(),
        },
    }
}

/// A cgroup of this path.
pub(crate) fn cgroup(path: &str) -> CgroupSample {
    CgroupSample {
        path: path.into(),
        at: at(),
        created: created(),
        number: 7,
        usage: usage(),
        nano_cores: Some(1000),
        processes: ProcessUsage {
            count: 2,
            descriptors: Some(6),
            sockets: Some(1),
            descriptor_limit: Some(1024),
        },
    }
}

fn container(id: &str, name: &str, image: &str) -> ContainerSample {
    ContainerSample {
        id: id.to_owned(),
        name: name.to_owned(),
        image: image.to_owned(),
        created: created(),
        cgroup: Some(cgroup(&format!("/kubepods/podu1/{id}"))),
    }
}

fn interface(name: &str) -> Interface {
    let traffic = |bytes| Traffic {
        bytes,
        packets: 5,
        errors: 0,
        dropped: 1,
    };
    Interface {
        name: name.to_owned(),
        received: traffic(1268),
        sent: traffic(402),
    }
}

/// A file system.
pub(crate) fn filesystem() -> FilesystemUsage {
    FilesystemUsage {
        at: at(),
        capacity: 1000,
        available: 300,
        used: 600,
        inodes: 50,
        inodes_free: 20,
    }
}

fn facts() -> NodeFacts {
    NodeFacts {
        booted: "2026-11-28T00:56:01Z".parse().unwrap(),
        machine: MachineFacts {
            hostname: "vm".to_owned(),
            machine_id: "machine".to_owned(),
            system_uuid: "uuid".to_owned(),
            boot_id: "boot".to_owned(),
            kernel: "6.1".to_owned(),
            os_image: "Debian".to_owned(),
            architecture: "amd64".to_owned(),
            cpus: Default::default(),
            cores: 2,
            memory: Bytes(4096),
            page_size: 4096,
            swap: Bytes(0),
            swaps_tmpfs: false,
            hugepages: BTreeMap::new(),
            apparmor: false,
            thermal_throttle: Vec::new(),
        },
        topology: Topology {
            physical_cores: 2,
            sockets: 1,
            books: 0,
            drawers: 0,
        },
        sandbox_image: "pause:1".to_owned(),
    }
}

/// The node.
pub(crate) fn node() -> NodeSample {
    let pod = PodSample {
        name: PodName::new("default", "web"),
        uid: PodUid("u1".to_owned()),
        created: created(),
        cgroup: Some(cgroup("/kubepods/podu1")),
        sandbox: container("s1", "", "pause:1"),
        interfaces: Some(vec![interface("eth0")]),
        containers: vec![container("c1", "main", "demo:1")],
    };
    NodeSample {
        facts: Arc::new(facts()),
        machine: cgroup("/"),
        interfaces: Vec::new(),
        system: vec![(SystemPart::Pods, cgroup("/kubepods"))],
        levels: vec![cgroup("/kubepods")],
        pods: vec![pod],
        disks: vec![DiskSample {
            device: "/dev/vda".to_owned(),
            filesystem: filesystem(),
            counters: DiskCounters {
                reads: 70,
                ..DiskCounters::default()
            },
        }],
        device_names: BTreeMap::from([((254, 0), "/dev/vda".to_owned())]),
    }
}

/// What the node and its pod keep on disks.
pub(crate) fn storage() -> Storage {
    let used = |bytes, inodes| DirectoryUsage { bytes, inodes };
    let pod = PodStorage {
        layers: BTreeMap::from([("c1".to_owned(), used(40, 4))]),
        logs: BTreeMap::from([("main".to_owned(), used(30, 3))]),
        volumes: vec![
            VolumeUsage {
                name: "data".to_owned(),
                is_ephemeral: true,
                used: used(20, 2),
                is_counted: true,
                filesystem: filesystem(),
            },
            VolumeUsage {
                name: "secret".to_owned(),
                is_ephemeral: false,
                used: used(5, 1),
                is_counted: true,
                filesystem: filesystem(),
            },
        ],
        own_files: used(10, 1),
    };
    Storage {
        node: Some(filesystem()),
        images: Some(ImageStorage {
            filesystem: filesystem(),
            own: used(200, 9),
        }),
        processes: Some((at(), 170, 193_102)),
        pods: BTreeMap::from([(PodUid("u1".to_owned()), pod)]),
    }
}
