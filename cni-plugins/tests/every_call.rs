//! Plugins that are killed at one of their system calls, at one after the other until they end by themselves. `strace` does
//! it, so the moments are the same each time and none is missed.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Pod, World, address, isolated};

/// Calls a plugin and kills it at the `number`th system call of one of its threads; whether it ended before.
fn ends_before(world: &World, command: &str, pod: &Pod, conf: &Value, number: usize) -> bool {
    let kill = format!("inject=all:signal=KILL:when={number}");
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &kill])
        .arg(world.plugins().join(conf["type"].as_str().unwrap()))
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", &pod.id)
        .env("CNI_NETNS", &pod.netns.path)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", world.plugins())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the test needs strace");
    // If it is killed before it reads, there is nobody to write to.
    let _ = child.stdin.take().unwrap().write_all(conf.to_string().as_bytes());
    child.wait().unwrap().success()
}

/// Kills ADD, then DEL, at every `step`th call, and has a DEL follow, as runtimes do. What is there besides must stay as it
/// was, and `look` is asked each time before that DEL.
fn kill(world: &World, conf: &Value, step: usize, state: &dyn Fn() -> String, look: &dyn Fn()) {
    let before = state();
    for command in ["ADD", "DEL"] {
        for number in (1..).step_by(step) {
            let pod = Pod::new("killed");
            if command == "DEL" {
                world.add(&pod, conf);
            }
            let ended = ends_before(world, command, &pod, conf, number);
            look();
            world.del(&pod, conf);
            assert_eq!(state(), before, "{} {command} {number}", conf["type"]);
            if ended {
                assert!(number > 50, "{command} ended after {number} calls");
                break;
            }
        }
    }
}

#[test]
fn host_local_loses_no_address_and_gives_none_twice_wherever_it_is_killed() {
    isolated(
        "host_local_loses_no_address_and_gives_none_twice_wherever_it_is_killed",
        |world| {
            if !world.ours {
                return eprintln!("about our own store; not run");
            }
            let ipam =
                json!({"type": "host-local", "dataDir": world.dir().join("ipam"), "subnet": "10.1.0.0/29"});
            let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "host-local", "ipam": ipam});
            let (kept, next) = (Pod::new("kept"), Pod::new("next"));
            let taken = address(&world.add(&kept, &conf));
            let records = || -> BTreeSet<IpAddr> {
                std::fs::read_dir(world.dir().join("ipam/net"))
                    .unwrap()
                    .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
                    .collect()
            };
            let look = || {
                let there = records();
                let given = address(&world.add(&next, &conf));
                assert!(
                    given != taken && !there.contains(&given),
                    "{given} was given twice"
                );
                world.del(&next, &conf);
            };
            kill(&world, &conf, 1, &|| format!("{:?}", records()), &look);
            // Nor is one lost where no DEL comes: GC finds it.
            for number in (1..).step_by(5) {
                let ended = ends_before(&world, "ADD", &Pod::new(&format!("lost{number}")), &conf, number);
                let mut gc = conf.clone();
                gc["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
                world.call_with("GC", &gc, &[]).ok();
                assert_eq!(records(), [taken].into());
                if ended {
                    break;
                }
            }
        },
    );
}

#[test]
fn del_finds_all_that_a_killed_plugin_did() {
    isolated("del_finds_all_that_a_killed_plugin_did", |world| {
        if !world.ours {
            return eprintln!("the plugins under test leave what they were killed at; not run");
        }
        let file = world.dir().join("subnet.env");
        let text = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.0.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n";
        std::fs::write(&file, text).unwrap();
        let flannel = json!({"cniVersion": "1.1.0", "name": "net", "type": "flannel", "subnetFile": file,
            "dataDir": world.dir().join("ipam/flannel"), "ipam": {"dataDir": world.dir().join("ipam")}});
        let first = Pod::new("first");
        let result = world.add(&first, &flannel);
        let portmap = |previous: &Value, mappings: Value| {
            let mut conf = world.portmap_conf(previous, mappings);
            conf["cniVersion"] = json!("1.1.0");
            conf
        };
        let mapping =
            |port: u16, protocol: &str| json!({"hostPort": port, "containerPort": 80, "protocol": protocol});
        let of_first = json!([mapping(8080, "tcp"), mapping(8080, "udp")]);
        world.add(&first, &portmap(&result, of_first));
        let another = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.77/24"}]});
        let ports = portmap(&another, json!([mapping(8081, "tcp"), mapping(8081, "udp")]));
        let state = || format!("{:?}", world.snapshot());
        kill(&world, &flannel, 4, &state, &|| {});
        kill(&world, &ports, 2, &state, &|| {});
        let limits =
            json!({"ingressRate": 8000, "ingressBurst": 8000, "egressRate": 8000, "egressBurst": 8000});
        let included = world.bridge_conf(json!({"cniVersion": "1.1.0", "ipMasq": false, "macspoofchk": true,
            "includes": ["portmap", "bandwidth"],
            "runtimeConfig": {"portMappings": [mapping(8082, "tcp"), mapping(8082, "udp")], "bandwidth": limits}}));
        kill(&world, &included, 4, &state, &|| {});
    });
}
