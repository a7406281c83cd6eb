//! What the plugins of containernetworking take, ours take: each row is a configuration of one of them, with which a pod is
//! connected, checked and disconnected.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use serde_json::{Value, json};
use support::{Pod, World, address, ask_tcp, command, isolated, serve};

/// Connects, checks and disconnects a pod, with `look` in between. What the plugins say besides must hold `words`.
fn check(world: &World, bridge: Value, portmap: Option<Value>, words: &str, look: impl FnOnce(&Pod, &Value)) {
    let conf = world.bridge_conf(bridge);
    let pod = Pod::new("one");
    let mut said = String::new();
    let mut call = |command: &str, conf: &Value| {
        if command == "CHECK" && !world.ours {
            // Debian 12's plugins fail it without IPAM, and for ports without IPv6.
            return Value::Null;
        }
        let answer = world.call(command, &pod, conf);
        assert!(answer.success, "{command} {conf}: {}", answer.json);
        said += &answer.stderr;
        answer.json
    };
    let result = call("ADD", &conf);
    let with = |conf: &Value, more: Value| {
        let mut conf = conf.clone();
        conf.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        conf
    };
    let forwarded = portmap.map(|portmap| {
        let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        with(&world.portmap_conf(&result, mapping), portmap)
    });
    if let Some(forwarded) = &forwarded {
        call("ADD", forwarded);
        call("CHECK", forwarded);
    }
    look(&pod, &result);
    call("CHECK", &with(&conf, json!({"prevResult": result})));
    if let Some(forwarded) = &forwarded {
        call("DEL", forwarded);
    }
    call("DEL", &conf);
    assert!(
        !world.ours || (said.contains(words) && said.is_empty() == words.is_empty()),
        "{conf}: {said:?}"
    );
}

fn default_routes(pod: &Pod) -> Vec<String> {
    let listed = pod.netns.command("ip", &["route", "show", "default"]);
    listed.lines().map(|line| line.trim().to_string()).collect()
}

#[test]
fn the_default_route_may_be_said_twice_or_be_another_one() {
    isolated("the_default_route_may_be_said_twice_or_be_another_one", |world| {
        let own = "default via 10.1.0.1 dev eth0";
        let other = "default via 10.1.0.9 dev eth0";
        let default = json!({"dst": "0.0.0.0/0"});
        let by_other = json!({"dst": "0.0.0.0/0", "gw": "10.1.0.9"});
        // Routes of the IPAM section, whether the plugin adds one, what the pod has.
        let cases = [
            (json!([]), true, vec![own]),
            (json!([default]), true, vec![own]),
            (json!([default, default]), true, vec![own]),
            (
                json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, default]),
                true,
                vec![own],
            ),
            (json!([by_other]), true, vec![other]),
            (json!([default, default]), false, vec![own]),
            (json!([default, by_other]), false, vec![other, own]),
            (
                json!([default, {"dst": "10.9.0.0/16"}, {"dst": "10.9.0.0/16"}]),
                true,
                vec![own],
            ),
        ];
        for (routes, adds, expected) in cases {
            if !world.ours {
                continue;
            }
            let ipam = json!({"type": "host-local", "dataDir": world.dir().join("ipam"),
                "subnet": "10.1.0.0/24", "routes": routes});
            let conf = json!({"ipam": ipam, "isDefaultGateway": adds, "isGateway": true});
            check(&world, conf, None, "", |pod, result| {
                assert_eq!(default_routes(pod), expected, "{routes}");
                let told = result["routes"].as_array().unwrap().iter();
                let told: Vec<_> = told.filter(|route| route["dst"] == "0.0.0.0/0").collect();
                assert_eq!(told.len(), expected.len(), "{result}");
                assert!(!adds || told[0]["gw"].is_string(), "{result}");
            });
        }
    });
}

#[test]
fn every_way_to_write_a_bridge_is_taken() {
    isolated("every_way_to_write_a_bridge_is_taken", |world| {
        let none = |_: &Pod, _: &Value| {};
        let same = "nftables instead, with the same result";
        check(&world, json!({"ipMasqBackend": "iptables"}), None, same, none);
        check(&world, json!({"ipMasqBackend": "nftables"}), None, "", none);
        check(
            &world,
            json!({"preserveDefaultVlan": true, "vlan": 0, "vlanTrunk": []}),
            None,
            "",
            none,
        );
        check(
            &world,
            json!({"MTU": 1400, "HAIRPINMODE": true}),
            None,
            "",
            |pod, _| {
                assert!(
                    pod.netns
                        .command("ip", &["link", "show", "eth0"])
                        .contains("mtu 1400")
                );
            },
        );
        check(&world, json!({"portIsolation": true}), None, "", |_, result| {
            let port = result["interfaces"][1]["name"].as_str().unwrap();
            // Debian 12's plugins are from before this key.
            let shown = command("ip", &["-d", "link", "show", port]);
            assert!(!world.ours || shown.contains("isolated on"), "{shown}");
        });
        let ipam =
            json!({"type": "host-local", "dataDir": world.dir().join("ipam"), "subnet": "fd00:1::/64"});
        check(
            &world,
            json!({"enabledad": true, "ipam": ipam}),
            None,
            "",
            |pod, _| {
                let shown = pod
                    .netns
                    .command("ip", &["-6", "addr", "show", "dev", "eth0", "scope", "global"]);
                assert!(
                    shown.contains("fd00:1::2/64") && !shown.contains("nodad"),
                    "{shown}"
                );
                assert!(!shown.contains("tentative"), "{shown}");
            },
        );
        let without = json!({"ipam": {}, "isDefaultGateway": false, "ipMasq": false});
        check(&world, without.clone(), None, "", |pod, _| {
            assert!(
                pod.netns
                    .command("ip", &["-br", "link", "show", "eth0"])
                    .contains("UP")
            );
        });
        let mut down = without;
        down["disableContainerInterface"] = json!(true);
        check(&world, down, None, "", |pod, _| {
            let shown = pod.netns.command("ip", &["-br", "link", "show", "eth0"]);
            // Debian 12's plugins are from before this key, too.
            assert!(!world.ours || shown.contains("DOWN"), "{shown}");
        });
    });
}

#[test]
fn every_way_to_write_a_port_is_taken() {
    isolated("every_way_to_write_a_port_is_taken", |world| {
        let answers = |pod: &Pod, result: &Value| {
            pod.netns.run(|| serve("one", 80));
            let answer = ask_tcp(("127.0.0.1".parse::<std::net::IpAddr>().unwrap(), 8080));
            assert_eq!(answer, Ok("one 10.1.0.1".to_string()), "{}", address(result));
        };
        if !world.ours {
            return eprintln!("the plugins under test need the chains of kube-proxy; not run");
        }
        // The example of the Kubernetes documentation (Network Plugins, "Support hostPort").
        let kubernetes =
            json!({"capabilities": {"portMappings": true}, "externalSetMarkChain": "KUBE-MARK-MASQ"});
        check(
            &world,
            json!({}),
            Some(kubernetes),
            "the chain is not used",
            answers,
        );
        let same = "nftables instead, with the same result";
        check(
            &world,
            json!({}),
            Some(json!({"backend": "iptables", "markMasqBit": 14})),
            same,
            |_, _| {},
        );
        check(
            &world,
            json!({}),
            Some(json!({"conditionsV4": [], "conditionsV6": [""]})),
            "",
            |_, _| {},
        );
        let old = json!({"runtimeConfig": {"portMappings": [
            {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]}});
        check(&world, json!({}), Some(old), "", |_, _| {});
    });
}

#[test]
fn conditions_narrow_a_pod_s_ports_and_nobody_else_s() {
    isolated("conditions_narrow_a_pod_s_ports_and_nobody_else_s", |world| {
        if !world.ours {
            return eprintln!("the plugins under test run iptables; not run");
        }
        let outside = world.outside();
        let (narrow, wide) = (Pod::new("narrow"), Pod::new("wide"));
        let conf = world.bridge_conf(json!({}));
        let mut portmaps = Vec::new();
        for (pod, port) in [(&narrow, 8080), (&wide, 8081)] {
            let mapping = json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
            let mut portmap = world.portmap_conf(&world.add(pod, &conf), mapping);
            if port == 8080 {
                portmap["conditionsV4"] = json!(["!", "-d", "192.0.2.0/24"]);
                portmap["conditionsV6"] = json!(["ip6 daddr != fc00::/7"]);
            }
            world.add(pod, &portmap);
            pod.netns.run(|| serve(&pod.id, 80));
            portmaps.push(portmap);
        }
        let ask = |ip: &str, port: u16| ask_tcp((ip.parse::<std::net::IpAddr>().unwrap(), port));
        assert!(outside.run(|| ask("192.0.2.1", 8080)).is_err());
        assert_eq!(
            outside.run(|| ask("192.0.2.1", 8081)),
            Ok("wide 192.0.2.2".to_string())
        );
        assert_eq!(ask("127.0.0.1", 8080), Ok("narrow 10.1.0.1".to_string()));
        assert_eq!(ask("127.0.0.1", 8081), Ok("wide 10.1.0.1".to_string()));
        for (pod, portmap) in [&narrow, &wide].into_iter().zip(&portmaps) {
            world.call("CHECK", pod, portmap).ok();
        }
        world.del(&narrow, &portmaps[0]);
        assert!(ask("127.0.0.1", 8080).is_err());
        assert_eq!(
            outside.run(|| ask("192.0.2.1", 8081)),
            Ok("wide 192.0.2.2".to_string())
        );
        world.del(&wide, &portmaps[1]);
        assert!(!command("nft", &["list", "tables"]).contains("hostport"));
    });
}

#[test]
fn a_thousand_ports_fit_into_one_call() {
    isolated("a_thousand_ports_fit_into_one_call", |world| {
        let mappings: Vec<Value> = (0..3000)
            .map(|number| json!({"hostPort": 20000 + number, "containerPort": 80, "protocol": "udp"}))
            .collect();
        let many = json!({"runtimeConfig": {"portMappings": mappings}});
        if world.ours {
            check(&world, json!({}), Some(many), "", |_, _| {
                assert!(
                    command("nft", &["list", "map", "ip", "gantry-hostport", "to-host"]).contains("22999")
                );
            });
            assert!(!command("nft", &["list", "tables"]).contains("hostport"));
        }
    });
}

#[test]
fn a_pod_may_have_hundreds_of_routes() {
    isolated("a_pod_may_have_hundreds_of_routes", |world| {
        let routes: Vec<Value> = (0..1000)
            .map(|number| json!({"dst": format!("10.{}.{}.0/24", 100 + number / 250, number % 250)}))
            .collect();
        let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": world.dir().join("ipam"), "routes": routes});
        let pod = Pod::new("one");
        let result = world.add(&pod, &world.bridge_conf(json!({"ipam": ipam})));
        assert_eq!(result["routes"].as_array().unwrap().len(), 1001);
        let listed = pod.netns.command("ip", &["route", "show", "via", "10.1.0.1"]);
        assert_eq!(listed.lines().count(), 1001);
    });
}
