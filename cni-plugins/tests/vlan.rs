//! Pods in VLANs of one bridge: `vlan`, `vlanTrunk`, `preserveDefaultVlan`. The kernel has to be one that filters VLANs
//! (`CONFIG_BRIDGE_VLAN_FILTERING`, as all distributions' do): `make test-vm` tells these stories in a virtual machine.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::net::IpAddr;

use serde_json::{Value, json};
use support::{Pod, World, address, ask_tcp, command, isolated, serve};

/// A network of its own on the bridge.
fn conf(world: &World, vlan: u16, subnet: u16) -> Value {
    let ipam = json!({"type": "host-local", "subnet": format!("10.1.{subnet}.0/24"), "dataDir": world.dir().join("ipam")});
    world.bridge_conf(json!({"name": format!("net{subnet}"), "vlan": vlan, "ipam": ipam, "ipMasq": false}))
}

fn ask(pod: &Pod, ip: IpAddr) -> Result<String, String> {
    pod.netns.run(|| ask_tcp((ip, 80)))
}

fn checked(world: &World, pod: &Pod, conf: &Value, result: &Value) -> support::Answer {
    let mut conf = conf.clone();
    conf["prevResult"] = result.clone();
    world.call("CHECK", pod, &conf)
}

/// The VLANs of a port, as `bridge` writes them, except that those without flags are ranges.
fn vlans(port: &str) -> String {
    let all: Value = serde_json::from_str(&command("bridge", &["-j", "vlan", "show", "dev", port])).unwrap();
    let of_port = all.as_array().unwrap().iter().find(|one| one["ifname"] == port);
    let mut parts: Vec<(u64, u64, String)> = Vec::new();
    for vlan in of_port
        .map(|one| one["vlans"].as_array().unwrap())
        .into_iter()
        .flatten()
    {
        let number = vlan["vlan"].as_u64().unwrap();
        let flags = vlan["flags"].as_array().into_iter().flatten();
        let flags: String = flags.map(|flag| format!(" {}", flag.as_str().unwrap())).collect();
        match parts.last_mut() {
            Some((_, end, before)) if flags.is_empty() && before.is_empty() && *end + 1 == number => {
                *end = number
            }
            _ => parts.push((number, number, flags)),
        }
    }
    let part = |(first, last, flags): &(u64, u64, String)| match first == last {
        true => format!("{first}{flags}"),
        false => format!("{first}-{last}{flags}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(", ")
}

fn port(result: &Value) -> &str {
    result["interfaces"][1]["name"].as_str().unwrap()
}

#[test]
#[ignore = "needs a kernel that filters VLANs: make test-vm has one"]
fn pods_reach_those_of_their_vlan_and_the_gateway() {
    isolated("pods_reach_those_of_their_vlan_and_the_gateway", |world| {
        let (red, blue) = (conf(&world, 100, 1), conf(&world, 200, 2));
        // In the subnet of the red ones, so that only the VLAN keeps it from them.
        let mut stray = conf(&world, 200, 1);
        stray["isDefaultGateway"] = json!(false);
        let pods = ["one", "two", "blue", "stray"].map(Pod::new);
        let mut results = Vec::new();
        for (pod, conf) in pods.iter().zip([&red, &red, &blue, &stray]) {
            let result = world.add(pod, conf);
            assert!(!world.ours || checked(&world, pod, conf, &result).success);
            pod.netns.run(|| serve(&pod.id, 80));
            results.push(result);
        }
        serve("host", 80);
        let ip = |number: usize| address(&results[number]);
        let [one, two, third, alone] = &pods;
        assert_eq!(ask(one, ip(1)), Ok(format!("two {}", ip(0))));
        assert_eq!(ask(two, ip(0)), Ok(format!("one {}", ip(1))));
        assert!(ask(one, ip(3)).is_err());
        assert!(ask(alone, ip(0)).is_err());
        // Each has its own gateway, by which the host forwards to the other VLAN.
        assert_eq!(
            ask(one, "10.1.1.1".parse().unwrap()),
            Ok(format!("host {}", ip(0)))
        );
        assert_eq!(
            ask(third, "10.1.2.1".parse().unwrap()),
            Ok(format!("host {}", ip(2)))
        );
        assert_eq!(ask(one, ip(2)), Ok(format!("blue {}", ip(0))));
        assert_eq!(results[0]["interfaces"][3]["name"], "cni0.100");
        assert!(command("ip", &["-o", "-4", "addr", "show", "cni0.100"]).contains("10.1.1.1/24"));
        assert!(command("ip", &["-o", "-4", "addr", "show", "cni0"]).is_empty());
        for (pod, conf) in pods.iter().zip([&red, &red, &blue, &stray]) {
            world.del(pod, conf);
            world.del(pod, conf);
        }
        if !world.ours {
            return;
        }
        // What is left is the bridge's and goes with it.
        let left = command("ip", &["-o", "link", "show", "type", "veth"]);
        assert_eq!(left.lines().count(), 4, "{left}");
        for network in ["net1", "net2"] {
            gantry_cni::cleanup(network, "cni0", Some(&world.dir().join("ipam"))).unwrap();
        }
        assert_eq!(command("ip", &["-o", "link", "show", "type", "veth"]), "");
    });
}

#[test]
#[ignore = "needs a kernel that filters VLANs: make test-vm has one"]
fn a_trunk_carries_its_vlans_with_their_tags() {
    isolated("a_trunk_carries_its_vlans_with_their_tags", |world| {
        if !world.ours {
            return eprintln!("the plugins under test are from before this key; not run");
        }
        let (plain, trunk) = (Pod::new("plain"), Pod::new("trunk"));
        let plain_conf = conf(&world, 100, 1);
        let plain_ip = address(&world.add(&plain, &plain_conf));
        plain.netns.run(|| serve("plain", 80));
        let trunk_conf = world.bridge_conf(
            json!({"name": "trunk", "ipam": {}, "isDefaultGateway": false, "ipMasq": false,
            "vlanTrunk": [{"minID": 90, "maxID": 110}, {"ID": 300}]}),
        );
        let result = world.add(&trunk, &trunk_conf);
        assert_eq!(vlans(port(&result)), "1 PVID Egress Untagged, 90-110, 300");
        checked(&world, &trunk, &trunk_conf, &result).ok();
        let tagged = |number: u16| {
            let (name, number) = (format!("eth0.{number}"), number.to_string());
            let add = [
                "link", "add", "link", "eth0", "name", &name, "type", "vlan", "id", &number,
            ];
            trunk.netns.command("ip", &add);
            trunk
                .netns
                .command("ip", &["addr", "add", "10.1.1.200/24", "dev", &name]);
            trunk.netns.command("ip", &["link", "set", &name, "up"]);
            let answer = ask(&trunk, plain_ip);
            trunk.netns.command("ip", &["link", "del", &name]);
            answer
        };
        assert_eq!(tagged(100), Ok("plain 10.1.1.200".to_string()));
        assert!(tagged(99).is_err());
        assert!(tagged(120).is_err());
        world.del(&trunk, &trunk_conf);
    });
}

#[test]
#[ignore = "needs a kernel that filters VLANs: make test-vm has one"]
fn the_default_vlan_is_kept_where_that_is_asked_for() {
    isolated("the_default_vlan_is_kept_where_that_is_asked_for", |world| {
        let own = "100 PVID Egress Untagged";
        for (number, (more, expected)) in [
            (
                json!({"preserveDefaultVlan": true}),
                format!("1 Egress Untagged, {own}"),
            ),
            (json!({"preserveDefaultVlan": false}), own.to_string()),
            (json!({}), own.to_string()),
            (
                json!({"vlanTrunk": [{"id": 100}, {"id": 5}]}),
                format!("5, {own}"),
            ),
            (
                json!({"vlan": 0, "vlanTrunk": [{"minID": 1, "maxID": 5}]}),
                "1 PVID Egress Untagged, 2-5".to_string(),
            ),
        ]
        .into_iter()
        .enumerate()
        {
            if !world.ours && number > 0 {
                // Debian 12's plugins are from before the key.
                return;
            }
            let mut conf = conf(&world, 100, 1);
            conf.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let pod = Pod::new("one");
            let result = world.add(&pod, &conf);
            assert_eq!(vlans(port(&result)), expected, "{more}");
            assert!(!world.ours || checked(&world, &pod, &conf, &result).success);
            world.del(&pod, &conf);
        }
    });
}

#[test]
#[ignore = "needs a kernel that filters VLANs: make test-vm has one"]
fn a_vlan_that_is_lost_is_noticed_and_the_next_pod_repairs_the_gateway() {
    isolated(
        "a_vlan_that_is_lost_is_noticed_and_the_next_pod_repairs_the_gateway",
        |world| {
            if !world.ours {
                return eprintln!("the plugins under test do not look; not run");
            }
            let conf = conf(&world, 100, 1);
            // A bridge that somebody else has made, without VLANs.
            command("ip", &["link", "add", "cni0", "type", "bridge"]);
            let one = Pod::new("one");
            let result = world.add(&one, &conf);
            let notices = |words: &str| {
                let answer = checked(&world, &one, &conf, &result);
                assert!(answer.failure().1.contains(words), "{}", answer.json);
            };
            let name = port(&result).to_string();
            checked(&world, &one, &conf, &result).ok();
            command("bridge", &["vlan", "add", "vid", "7", "dev", &name]);
            notices("VLAN 7");
            command("bridge", &["vlan", "del", "vid", "7", "dev", &name]);
            command("bridge", &["vlan", "add", "vid", "100", "dev", &name]);
            notices("without a tag");
            command(
                "bridge",
                &["vlan", "add", "vid", "100", "pvid", "untagged", "dev", &name],
            );
            command(
                "ip",
                &["link", "set", "cni0", "type", "bridge", "vlan_filtering", "0"],
            );
            notices("filters VLANs");
            command(
                "ip",
                &["link", "set", "cni0", "type", "bridge", "vlan_filtering", "1"],
            );
            checked(&world, &one, &conf, &result).ok();
            command("ip", &["link", "set", "cni0.100", "down"]);
            notices("cni0.100 is down");
            // As after the death of the ADD that made it.
            let listed = command("ip", &["-o", "link", "show", "cni0.100"]);
            let peer = listed
                .split('@')
                .nth(1)
                .unwrap()
                .split(':')
                .next()
                .unwrap()
                .to_string();
            command("bridge", &["vlan", "del", "vid", "100", "dev", &peer]);
            let two = Pod::new("two");
            let second = world.add(&two, &conf);
            serve("host", 80);
            for (pod, result) in [(&one, &result), (&two, &second)] {
                let answer = ask(pod, "10.1.1.1".parse().unwrap());
                assert_eq!(answer, Ok(format!("host {}", address(result))));
                checked(&world, pod, &conf, result).ok();
            }
            // What has the gateway's name must lead to the bridge.
            let mut other = conf.clone();
            other["vlan"] = json!(7);
            command("ip", &["link", "add", "cni0.7", "type", "dummy"]);
            let answer = world.call("ADD", &Pod::new("three"), &other);
            assert!(answer.failure().1.contains("cni0.7"), "{}", answer.json);
        },
    );
}

#[test]
#[ignore = "needs a kernel that filters VLANs: make test-vm has one"]
fn a_pod_in_a_vlan_is_checked_for_its_hardware_address() {
    isolated("a_pod_in_a_vlan_is_checked_for_its_hardware_address", |world| {
        let mut conf = conf(&world, 100, 1);
        conf["macspoofchk"] = json!(true);
        let pod = Pod::new("one");
        let ip = address(&world.add(&pod, &conf));
        serve("host", 80);
        let gateway: IpAddr = "10.1.1.1".parse().unwrap();
        assert_eq!(ask(&pod, gateway), Ok(format!("host {ip}")));
        pod.netns
            .command("ip", &["link", "set", "eth0", "address", "02:ba:ad:00:00:01"]);
        assert!(ask(&pod, gateway).is_err());
    });
}

#[test]
#[ignore = "needs a kernel that filters VLANs: make test-vm has one"]
fn firewall_lets_the_pods_of_a_vlan_through() {
    isolated("firewall_lets_the_pods_of_a_vlan_through", |world| {
        if !world.ours {
            return eprintln!("the plugins under test run iptables; not run");
        }
        command("nft", &["add table ip filter"]);
        command(
            "nft",
            &["add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"],
        );
        let pods = ["red", "blue", "green"].map(Pod::new);
        let confs = [conf(&world, 100, 1), conf(&world, 200, 2), conf(&world, 100, 1)];
        let mut results = Vec::new();
        for (pod, conf) in pods.iter().zip(&confs) {
            results.push(world.add(pod, conf));
            pod.netns.run(|| serve(&pod.id, 80));
        }
        let ip = |number: usize| address(&results[number]);
        assert!(ask(&pods[0], ip(1)).is_err());
        let firewall = |number: usize| {
            json!({"cniVersion": "1.0.0", "name": confs[number]["name"], "type": "firewall",
            "prevResult": results[number]})
        };
        for (number, pod) in pods.iter().enumerate() {
            world.add(pod, &firewall(number));
            world.call("CHECK", pod, &firewall(number)).ok();
        }
        assert_eq!(ask(&pods[0], ip(1)), Ok(format!("blue {}", ip(0))));
        // The rules are those of the gateway and outlast one pod of its VLAN.
        world.del(&pods[2], &firewall(2));
        world.del(&pods[2], &confs[2]);
        assert_eq!(ask(&pods[0], ip(1)), Ok(format!("blue {}", ip(0))));
    });
}
