//! Another program flushes the host's firewall while pods are connected.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{Pod, World, address, ask_tcp, command, isolated, serve};

fn ask(ip: &str, port: u16) -> Result<String, String> {
    ask_tcp((ip.parse::<IpAddr>().unwrap(), port))
}

/// The part of a listing that is about a table.
fn rules_of(table: &str, ruleset: &str) -> String {
    let begin = ruleset.find(&format!("table bridge {table} {{")).unwrap();
    let end = ruleset[begin..].find("\n}").unwrap();
    ruleset[begin..begin + end].to_string()
}

/// A plugin list, with how runtimes call it and what they record.
struct Network<'a> {
    world: &'a World,
    name: &'static str,
    plugins: Vec<Value>,
    records: PathBuf,
}

impl Network<'_> {
    fn add(&self, pod: &Pod, port: u16) -> Value {
        let mappings = json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
        let mut result = Value::Null;
        for plugin in &self.plugins {
            let mut conf = plugin.clone();
            (conf["name"], conf["cniVersion"]) = (json!(self.name), json!("1.0.0"));
            conf["prevResult"] = result;
            if plugin["capabilities"]["portMappings"] == true {
                conf["runtimeConfig"] = json!({"portMappings": mappings});
            }
            result = self.world.add(pod, &conf);
        }
        let network = json!({"cniVersion": "1.0.0", "name": self.name, "plugins": self.plugins});
        let record = json!({"kind": "cniCacheV1", "containerId": pod.id, "ifName": "eth0", "networkName": self.name,
            "config": STANDARD.encode(network.to_string()), "capabilityArgs": {"portMappings": mappings},
            "result": result});
        std::fs::create_dir_all(&self.records).unwrap();
        let file = self.records.join(format!("{}-{}-eth0", self.name, pod.id));
        std::fs::write(file, record.to_string()).unwrap();
        result
    }
}

#[test]
fn a_bridge_that_was_taken_is_made_again_from_the_runtime_s_records() {
    isolated(
        "a_bridge_that_was_taken_is_made_again_from_the_runtime_s_records",
        |world| {
            let outside = world.outside();
            outside.run(|| serve("outside", 80));
            let network =
                Network {
                    world: &world,
                    name: "net",
                    plugins: vec![world.bridge_conf(
                        json!({"bridge": "cni5", "hairpinMode": true, "isDefaultGateway": true}),
                    )],
                    records: world.dir().join("results"),
                };
            let pods = ["one", "two"].map(Pod::new);
            let addresses: Vec<IpAddr> = pods.iter().map(|pod| address(&network.add(pod, 8080))).collect();
            pods.iter().for_each(|pod| pod.netns.run(|| serve(&pod.id, 80)));
            let works = || {
                for (pod, ip) in pods.iter().zip(&addresses) {
                    assert!(ask_tcp((*ip, 80)).is_ok(), "the node reaches {}", pod.id);
                    for other in addresses.iter().filter(|other| *other != ip) {
                        assert!(
                            pod.netns.run(|| ask_tcp((*other, 80))).is_ok(),
                            "{} reaches {other}",
                            pod.id
                        );
                    }
                    let answer = pod.netns.run(|| ask("192.0.2.2", 80));
                    assert_eq!(answer, Ok("outside 192.0.2.1".to_string()));
                }
                let ports = command("bridge", &["-d", "link"]);
                assert_eq!(ports.matches("hairpin on").count(), pods.len(), "{ports}");
            };
            let restore = || {
                let failures = gantry_cni::restore(&world.dir().join("results"), "net").unwrap();
                assert!(failures.is_empty(), "{failures:?}");
            };
            let link = || command("ip", &["-o", "link", "show", "cni5"]);
            let mac = |shown: &str| {
                shown
                    .split_whitespace()
                    .skip_while(|word| *word != "link/ether")
                    .nth(1)
                    .map(str::to_owned)
            };
            let has_pods = |network: &str| {
                gantry_cni::restore::has_pods(&world.dir().join("results"), network, "cni5").unwrap()
            };
            works();
            assert!(has_pods("net") && !has_pods("another"));
            let before = link();
            for taken in [
                &["link", "delete", "cni5"][..],
                &["link", "set", "cni5", "down"],
                &["address", "flush", "dev", "cni5"],
            ] {
                command("ip", taken);
                assert!(ask_tcp((addresses[0], 80)).is_err(), "{taken:?}");
                assert!(has_pods("net"), "{taken:?}");
                restore();
                works();
            }
            assert_eq!(
                mac(&link()),
                mac(&before),
                "pods know the gateway's address still"
            );
            // A port that somebody has attached elsewhere stays there, and nothing is made for pods that have gone.
            command("ip", &["link", "add", "other", "type", "bridge"]);
            let ports = command("ip", &["-o", "link", "show", "master", "cni5"]);
            let port = ports
                .split(": ")
                .nth(1)
                .and_then(|name| name.split('@').next())
                .unwrap();
            command("ip", &["link", "set", port, "master", "other"]);
            restore();
            assert!(command("ip", &["-o", "link", "show", port]).contains("master other"));
            command("ip", &["link", "delete", "cni5"]);
            for line in command("ip", &["-o", "link", "show", "type", "veth"]).lines() {
                let name = line
                    .split(": ")
                    .nth(1)
                    .and_then(|name| name.split('@').next())
                    .unwrap();
                if name.starts_with("veth") {
                    command("ip", &["link", "delete", name]);
                }
            }
            // As after a reboot, there are records, and no pods.
            assert!(!has_pods("net"));
            restore();
            assert!(!command("ip", &["-o", "link"]).contains("cni5"));
        },
    );
}

#[test]
fn a_flush_is_repaired_from_the_runtime_s_records() {
    isolated("a_flush_is_repaired_from_the_runtime_s_records", |world| {
        let outside = world.outside();
        outside.run(|| serve("outside", 80));
        command("iptables", &["-P", "FORWARD", "DROP"]);
        let file = world.dir().join("subnet.env");
        let text = "FLANNEL_NETWORK=10.2.0.0/16\nFLANNEL_SUBNET=10.2.0.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n";
        std::fs::write(&file, text).unwrap();
        let chained = [
            json!({"type": "portmap", "capabilities": {"portMappings": true}}),
            json!({"type": "firewall", "ingressPolicy": "same-bridge"}),
        ];
        let network = |name, first: Value| Network {
            world: &world,
            name,
            plugins: [vec![first], chained.to_vec()].concat(),
            records: world.dir().join("results"),
        };
        let flannel = json!({"type": "flannel", "subnetFile": file, "dataDir": world.dir().join("flannel"),
            "delegate": {"bridge": "cni1", "isDefaultGateway": true}, "ipam": {"dataDir": world.dir().join("ipam")}});
        let mut included = network(
            "included",
            world.bridge_conf(json!({"bridge": "cni2", "includes": ["portmap"], "capabilities": {"portMappings": true},
                "ipam": {"type": "host-local", "subnet": "10.3.0.0/24", "dataDir": world.dir().join("ipam")}})),
        );
        included.plugins.remove(1);
        let networks = [
            network("net", world.bridge_conf(json!({"macspoofchk": true}))),
            network("flannel", flannel),
            included,
        ];
        let pods = ["one", "two", "three"].map(Pod::new);
        let mut addresses = Vec::new();
        for (number, pod) in pods.iter().enumerate() {
            let port = 8080 + u16::try_from(number).unwrap();
            addresses.push(address(&networks[number].add(pod, port)));
            pod.netns.run(|| serve(&pod.id, 80));
        }
        let works = || {
            for (number, pod) in pods.iter().enumerate() {
                let port = 8080 + u16::try_from(number).unwrap();
                let answer = outside.run(|| ask("192.0.2.1", port));
                assert_eq!(answer, Ok(format!("{} 192.0.2.2", pod.id)));
                assert!(ask("127.0.0.1", port).is_ok());
                let answer = pod.netns.run(|| ask("192.0.2.2", 80));
                assert_eq!(answer, Ok("outside 192.0.2.1".to_string()));
            }
            let across = pods[0].netns.run(|| ask_tcp((addresses[1], 80)));
            assert!(across.is_err(), "{across:?}");
        };
        works();
        let rules = || command("nft", &["list", "ruleset"]);
        let before = rules();
        let restore = || {
            for network in &networks {
                let failures = gantry_cni::restore(&world.dir().join("results"), network.name).unwrap();
                assert!(failures.is_empty(), "{failures:?}");
            }
        };
        restore();
        assert_eq!(rules(), before);
        command("nft", &["flush", "ruleset"]);
        command("iptables", &["-P", "FORWARD", "DROP"]);
        assert!(outside.run(|| ask("192.0.2.1", 8080)).is_err());
        // Another network's rules are its own plugins' matter.
        let others = gantry_cni::restore(&world.dir().join("results"), "another").unwrap();
        assert!(others.is_empty(), "{others:?}");
        assert!(outside.run(|| ask("192.0.2.1", 8080)).is_err());
        restore();
        works();
        assert_eq!(
            rules_of("gantry-macspoofchk", &rules()),
            rules_of("gantry-macspoofchk", &before)
        );
        // A port that a later pod has taken meanwhile stays its own.
        command("nft", &["flush", "ruleset"]);
        let later = Pod::new("later");
        networks[0].add(&later, 8080);
        later.netns.run(|| serve("later", 80));
        std::fs::remove_file(world.dir().join("results/net-later-eth0")).unwrap();
        restore();
        assert_eq!(
            outside.run(|| ask("192.0.2.1", 8080)),
            Ok("later 192.0.2.2".to_string())
        );
        assert_eq!(
            outside.run(|| ask("192.0.2.1", 8081)),
            Ok("two 192.0.2.2".to_string())
        );
    });
}
