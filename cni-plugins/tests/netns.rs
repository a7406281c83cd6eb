//! The plugins against a real kernel, each story in private namespaces (see `support`). Needs `unshare`, `ip` and
//! `nft`, and no privileges. `CNI_PATH_UNDER_TEST=/usr/lib/cni cargo test --test netns` runs the stories that are not
//! about our own ways against other plugins.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use serde_json::{Value, json};
use support::frames::Wire;
use support::{Pod, World, address, ask_tcp, ask_udp, ask_udp_by, command, isolated, serve};

macro_rules! story {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            isolated(stringify!($name), $body);
        }
    };
}

/// A story about how ours does it; says so when others are tested.
macro_rules! own_story {
    ($name:ident, $body:expr) => {
        story!($name, |world: World| {
            if world.ours {
                let body: fn(World) = $body;
                body(world)
            } else {
                eprintln!(
                    "{} is about our own plugins and was not run",
                    stringify!($name)
                );
            }
        });
    };
}

fn ip(written: &str) -> IpAddr {
    written.parse().unwrap()
}

story!(pods_reach_each_other_and_the_host, |world| {
    let conf = world.bridge_conf(json!({}));
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let (first, second) = (address(&world.add(&one, &conf)), address(&world.add(&two, &conf)));
    two.netns.run(|| serve("two", 80));
    serve("host", 81);
    assert_eq!(
        one.netns.run(|| ask_tcp((second, 80))),
        Ok(format!("two {first}"))
    );
    assert_eq!(
        one.netns.run(|| ask_udp((second, 80))),
        Ok(format!("two {first}"))
    );
    assert_eq!(
        one.netns.run(|| ask_tcp((ip("10.1.0.1"), 81))),
        Ok(format!("host {first}"))
    );
    assert_eq!(ask_tcp((second, 80)), Ok("two 10.1.0.1".to_string()));
});

story!(the_outside_sees_the_host_s_address, |world| {
    let outside = world.outside();
    outside.run(|| serve("outside", 80));
    let (masked, bare) = (Pod::new("masked"), Pod::new("bare"));
    world.add(&masked, &world.bridge_conf(json!({})));
    assert_eq!(
        masked.netns.run(|| ask_tcp((ip("192.0.2.2"), 80))),
        Ok("outside 192.0.2.1".to_string())
    );
    assert_eq!(
        masked.netns.run(|| ask_udp((ip("192.0.2.2"), 80))),
        Ok("outside 192.0.2.1".to_string())
    );
    let ipam = json!({"type": "host-local", "subnet": "10.2.0.0/24", "dataDir": world.dir().join("ipam")});
    let other = json!({"name": "other", "bridge": "cni1", "ipMasq": false, "ipam": ipam});
    world.add(&bare, &world.bridge_conf(other));
    assert!(bare.netns.run(|| ask_tcp((ip("192.0.2.2"), 80))).is_err());
});

story!(a_host_port_answers_from_everywhere, |world| {
    let outside = world.outside();
    let conf = world.bridge_conf(json!({}));
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let result = world.add(&one, &conf);
    world.add(&two, &conf);
    one.netns.run(|| serve("one", 80));
    let mappings = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 8080, "containerPort": 80, "protocol": "udp"},
    ]);
    let portmap = world.portmap_conf(&result, mappings);
    let passed_on = world.add(&one, &portmap);
    assert_eq!(passed_on["ips"], result["ips"]);

    let is_one = |answer: Result<String, String>, from: &str| {
        assert!(
            answer.as_ref().is_ok_and(|words| words.starts_with("one ")),
            "from {from}: {answer:?}"
        );
    };
    let node = (ip("192.0.2.1"), 8080);
    assert_eq!(
        outside.run(|| ask_tcp(node)),
        Ok("one 192.0.2.2".to_string()),
        "the client's address is kept"
    );
    is_one(outside.run(|| ask_udp(node)), "outside by UDP");
    is_one(ask_tcp(node), "the host");
    is_one(ask_udp(node), "the host by UDP");
    is_one(ask_tcp((ip("127.0.0.1"), 8080)), "the host's loopback");
    is_one(ask_udp((ip("127.0.0.1"), 8080)), "the host's loopback by UDP");
    // Such a client has an address of the host's own, and the answers must reach it there.
    let bound = UdpSocket::bind((ip("192.0.2.1"), 0)).unwrap();
    let answer = ask_udp_by(&bound, (ip("127.0.0.1"), 8080).into());
    is_one(answer, "an address of the host at its loopback");
    is_one(one.netns.run(|| ask_tcp(node)), "the pod itself");
    is_one(one.netns.run(|| ask_udp(node)), "the pod itself by UDP");
    // Bridged packets pass the host's rules or not, as the administrator likes; the ports do not depend on it.
    let switch = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    for value in ["0", "1"] {
        if switch.exists() {
            std::fs::write(switch, value).unwrap();
        }
        is_one(two.netns.run(|| ask_tcp(node)), "another pod");
        is_one(two.netns.run(|| ask_udp(node)), "another pod by UDP");
        is_one(one.netns.run(|| ask_tcp(node)), "the pod itself");
    }
    // The original's 1.1.1 looks for rules of IPv6 that it did not make.
    if world.ours {
        world.call("CHECK", &one, &portmap).ok();
    }
    world.del(&one, &portmap);
    world.del(&one, &portmap);
    assert!(outside.run(|| ask_tcp(node)).is_err());
    assert!(ask_tcp((ip("127.0.0.1"), 8080)).is_err());
});

story!(
    an_sctp_port_is_forwarded_from_outside_and_from_the_pod_itself,
    |world| {
        let outside = world.outside();
        let pod = Pod::new("one");
        let result = world.add(&pod, &world.bridge_conf(json!({})));
        let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "sctp"}]);
        world.add(&pod, &world.portmap_conf(&result, mapping));
        let inside = pod.netns.run(Wire::open);
        let at = |ip: [u8; 4], port: u16| SocketAddr::from((ip, port));
        let target = at([10, 1, 0, 2], 80);
        let from = at([192, 0, 2, 2], 5000);
        let host = support::mac("up0");
        outside.run(|| Wire::open().send_init(host, from, at([192, 0, 2, 1], 8080)));
        assert_eq!(inside.next_init(), (from, target, true));
        inside.send_init(
            support::mac("cni0"),
            at([10, 1, 0, 2], 5001),
            at([10, 1, 0, 1], 8080),
        );
        // The answer must come by the host, so the host is who asks.
        let (from, to, intact) = inside.next_init();
        assert_eq!((from.ip(), to, intact), (ip("10.1.0.1"), target, true));
    }
);

story!(a_host_port_of_one_address_answers_there_only, |world| {
    let outside = world.outside();
    command("ip", &["addr", "add", "192.0.2.9/24", "dev", "up0"]);
    let conf = world.bridge_conf(json!({}));
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    for (pod, host) in [(&one, "192.0.2.1"), (&two, "192.0.2.9")] {
        let result = world.add(pod, &conf);
        pod.netns.run(|| serve(&pod.id, 80));
        let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": host}]);
        world.add(pod, &world.portmap_conf(&result, mapping));
    }
    assert_eq!(
        outside.run(|| ask_tcp((ip("192.0.2.1"), 8080))),
        Ok("one 192.0.2.2".to_string())
    );
    assert_eq!(
        outside.run(|| ask_tcp((ip("192.0.2.9"), 8080))),
        Ok("two 192.0.2.2".to_string())
    );
    assert!(ask_tcp((ip("10.1.0.1"), 8080)).is_err());
});

story!(a_flow_from_before_the_mapping_reaches_the_pod, |world| {
    let outside = world.outside();
    let conf = world.bridge_conf(json!({}));
    let pod = Pod::new("one");
    let result = world.add(&pod, &conf);
    pod.netns.run(|| serve("one", 80));
    let client = outside.run(|| UdpSocket::bind(("0.0.0.0", 5555)).unwrap());
    let node = (ip("192.0.2.1"), 8080).into();
    // The host itself answers first, which makes the flow a tracked one with the host as its end.
    let server = UdpSocket::bind(("0.0.0.0", 8080)).unwrap();
    client.send_to(b"?", node).unwrap();
    let mut buffer = [0; 10];
    let (_, peer) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"host", peer).unwrap();
    client.recv(&mut buffer).unwrap();
    drop(server);
    let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]);
    world.add(&pod, &world.portmap_conf(&result, mapping));
    assert_eq!(ask_udp_by(&client, node), Ok("one 192.0.2.2".to_string()));
});

own_story!(a_late_del_leaves_the_port_to_the_next_pod, |world| {
    let conf = world.bridge_conf(json!({}));
    let (old, new) = (Pod::new("old"), Pod::new("new"));
    let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let old_portmap = world.portmap_conf(&world.add(&old, &conf), mapping.clone());
    world.add(&old, &old_portmap);
    let new_portmap = world.portmap_conf(&world.add(&new, &conf), mapping);
    world.add(&new, &new_portmap);
    new.netns.run(|| serve("new", 80));
    world.del(&old, &old_portmap);
    assert_eq!(ask_tcp((ip("127.0.0.1"), 8080)), Ok("new 10.1.0.1".to_string()));
    world.call("CHECK", &new, &new_portmap).ok();
    assert!(
        world
            .call("CHECK", &old, &old_portmap)
            .failure()
            .1
            .contains("gone")
    );
});

own_story!(masq_all_hides_the_client_and_snat_false_keeps_it, |world| {
    let outside = world.outside();
    let conf = world.bridge_conf(json!({}));
    let cases = [
        ("all", json!({"masqAll": true}), 8080, "10.1.0.1"),
        ("none", json!({"snat": false}), 8081, "192.0.2.2"),
    ];
    for (id, more, port, seen) in cases {
        let pod = Box::leak(Box::new(Pod::new(id)));
        let mapping = json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
        let mut portmap = world.portmap_conf(&world.add(pod, &conf), mapping);
        portmap
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        world.add(pod, &portmap);
        world.call("CHECK", pod, &portmap).ok();
        pod.netns.run(|| serve(id, 80));
        assert_eq!(
            outside.run(|| ask_tcp((ip("192.0.2.1"), port))),
            Ok(format!("{id} {seen}"))
        );
    }
});

own_story!(
    del_leaves_nothing_of_the_pod_and_cleanup_nothing_of_the_network,
    |world| {
        let untouched = world.snapshot();
        let conf = world.bridge_conf(json!({}));
        let first = Pod::new("first");
        world.add(&first, &conf);
        let before = world.snapshot();
        for id in ["second", "third"] {
            let pod = Pod::new(id);
            let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]);
            let portmap = world.portmap_conf(&world.add(&pod, &conf), mapping);
            world.add(&pod, &portmap);
            assert_ne!(world.snapshot(), before);
            world.del(&pod, &portmap);
            world.del(&pod, &conf);
            assert_eq!(world.snapshot(), before);
            assert_eq!(
                pod.netns.command("ip", &["-br", "link"]).lines().count(),
                1,
                "only lo is left in the pod"
            );
        }
        world.del(&first, &conf);
        gantry_cni::cleanup("net", "cni0", Some(&world.dir().join("ipam"))).unwrap();
        assert_eq!(world.snapshot(), untouched);
        gantry_cni::cleanup("net", "cni0", Some(&world.dir().join("ipam"))).unwrap();
    }
);

own_story!(cleanup_takes_one_network_and_leaves_the_others, |world| {
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let mapping = |port| json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
    let conf = world.bridge_conf(json!({}));
    let result = world.add(&one, &conf);
    world.add(&one, &world.portmap_conf(&result, mapping(8080)));
    let remaining = world.snapshot();
    let ipam = json!({"type": "host-local", "subnet": "10.2.0.0/24", "dataDir": world.dir().join("ipam")});
    let other = world.bridge_conf(json!({"name": "other", "bridge": "cni1", "ipam": ipam}));
    let mut portmap = world.portmap_conf(&world.add(&two, &other), mapping(8081));
    portmap["name"] = json!("other");
    world.add(&two, &portmap);
    gantry_cni::cleanup("other", "cni1", Some(&world.dir().join("ipam"))).unwrap();
    let mut after = world.snapshot();
    // The port of a bridge that is gone is a veth without one; it goes with the pod.
    world.del(&two, &other);
    after.extend(world.snapshot());
    assert_eq!(after, remaining);
});

own_story!(
    a_host_that_drops_what_it_forwards_lets_pods_through_when_told,
    |world| {
        let outside = world.outside();
        outside.run(|| serve("outside", 80));
        command("iptables", &["-P", "FORWARD", "DROP"]);
        let before = world.snapshot();
        let pod = Pod::new("one");
        let conf = world.bridge_conf(json!({}));
        world.add(&pod, &conf);
        let ask = || pod.netns.run(|| ask_tcp((ip("192.0.2.2"), 80)));
        assert!(ask().is_err());
        for _ in 0..2 {
            let forwarding = gantry_cni::forwarding::allow("cni0").unwrap();
            assert_eq!(
                (forwarding.opened.len(), forwarding.closed.len()),
                (1, 0),
                "{forwarding:?}"
            );
        }
        assert_eq!(ask(), Ok("outside 192.0.2.1".to_string()));
        let listed = command("iptables", &["-S", "FORWARD"]);
        assert_eq!(
            listed.matches("--comment \"gantry: ").count(),
            2,
            "iptables reads our rules: {listed}"
        );
        command(
            "nft",
            &[
                "add table inet mine; add chain inet mine f { type filter hook forward priority 0; policy drop; }",
            ],
        );
        assert_eq!(
            gantry_cni::forwarding::allow("cni0").unwrap().closed,
            ["table mine, chain f"]
        );
        command("nft", &["delete", "table", "inet", "mine"]);
        world.del(&pod, &conf);
        gantry_cni::cleanup("net", "cni0", Some(&world.dir().join("ipam"))).unwrap();
        assert_eq!(world.snapshot(), before);
    }
);

own_story!(a_failed_add_takes_everything_back, |world| {
    let conf = world.bridge_conf(json!({}));
    let first = Pod::new("first");
    world.add(&first, &conf);
    let before = world.snapshot();
    let pod = Pod::new("one");
    let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": world.dir().join("ipam"),
        "routes": [{"dst": "10.9.0.0/16", "gw": "172.16.0.1"}]});
    let answer = world.call("ADD", &pod, &world.bridge_conf(json!({"ipam": ipam})));
    assert!(
        answer.failure().1.contains("10.9.0.0/16 via 172.16.0.1"),
        "{}",
        answer.json
    );
    assert!(answer.failure().1.contains("(kernel: "), "{}", answer.json);
    let other = json!({"type": "host-local", "subnet": "10.2.0.0/24", "dataDir": world.dir().join("ipam")});
    let answer = world.call("ADD", &pod, &world.bridge_conf(json!({"ipam": other})));
    assert!(answer.failure().1.contains("forceAddress"), "{}", answer.json);
    assert_eq!(world.snapshot(), before);
    assert_eq!(pod.netns.command("ip", &["-br", "link"]).lines().count(), 1);
    world.add(&pod, &conf);
});

story!(a_second_add_fails_and_leaves_the_first_alone, |world| {
    let conf = world.bridge_conf(json!({}));
    let (pod, other) = (Pod::new("one"), Pod::new("two"));
    let given = address(&world.add(&pod, &conf));
    world.call("ADD", &pod, &conf).failure();
    if world.ours {
        // The original gives the first ADD's address back here.
        assert_ne!(address(&world.add(&other, &conf)), given);
        pod.netns.run(|| serve("one", 80));
        assert!(ask_tcp((given, 80)).is_ok());
    }
});

story!(del_may_come_twice_late_or_for_nobody, |world| {
    let conf = world.bridge_conf(json!({}));
    let pod = Pod::new("one");
    world.add(&pod, &conf);
    world.del(&pod, &conf);
    world.del(&pod, &conf);
    world.del(&Pod::new("never"), &conf);
    let id = "gone";
    let gone = Pod::new(id);
    world.add(&gone, &conf);
    drop(gone);
    let variables = [
        ("CNI_CONTAINERID", id),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/proc/1/no-such-netns"),
    ];
    world.call_with("DEL", &conf, &variables).ok();
    world.call_with("DEL", &conf, &variables[..2]).ok();
    assert!(!world.dir().join("ipam/net/10.1.0.3").exists());
});

own_story!(
    whatever_moment_a_plugin_is_killed_at_del_finds_all_of_it,
    |world| {
        let conf = world.bridge_conf(json!({}));
        let first = Pod::new("first");
        world.add(&first, &conf);
        let before = world.snapshot();
        for attempt in 0..60 {
            let pod = Pod::new("killed");
            world.kill_during_add(&pod, &conf, std::time::Duration::from_micros(attempt * 100));
            world.del(&pod, &conf);
            assert_eq!(world.snapshot(), before, "killed after {} us", attempt * 100);
            world.add(&pod, &conf);
            world.del(&pod, &conf);
        }
    }
);

story!(fifty_pods_at_once_get_fifty_addresses, |world| {
    let conf = world.bridge_conf(json!({}));
    let pods: Vec<Pod> = (0..50).map(|number| Pod::new(&format!("pod{number}"))).collect();
    let mapped = |number: usize, result: &Value| {
        let mapping = json!([{"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}]);
        world.portmap_conf(result, mapping)
    };
    let results: Vec<Value> = std::thread::scope(|scope| {
        let add = |(number, pod)| {
            let (world, conf, mapped) = (&world, &conf, &mapped);
            scope.spawn(move || {
                let result = world.add(pod, conf);
                world.add(pod, &mapped(number, &result))
            })
        };
        let threads: Vec<_> = pods.iter().enumerate().map(add).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let addresses: BTreeSet<IpAddr> = results.iter().map(address).collect();
    assert_eq!(addresses.len(), 50);
    for (number, pod) in pods.iter().enumerate() {
        pod.netns.run(|| serve(&pod.id, 80));
        let answer = ask_tcp((ip("127.0.0.1"), u16::try_from(20000 + number).unwrap()));
        assert!(answer.unwrap().starts_with(&format!("{} ", pod.id)));
    }
    std::thread::scope(|scope| {
        for (number, pod) in pods.iter().enumerate() {
            let (world, conf, portmap) = (&world, &conf, mapped(number, &results[number]));
            scope.spawn(move || {
                world.del(pod, &portmap);
                world.del(pod, conf);
            });
        }
    });
    let left = world.snapshot();
    assert!(!left["links"].contains("veth"), "{}", left["links"]);
    assert!(
        !world.ours || !left["nftables"].contains("gantry-hostport"),
        "{}",
        left["nftables"]
    );
});

story!(check_finds_what_was_tampered_with, |world| {
    let conf = world.bridge_conf(json!({}));
    let pod = Pod::new("one");
    let result = world.add(&pod, &conf);
    let checked = world.bridge_conf(json!({"prevResult": result}));
    world.call("CHECK", &pod, &checked).ok();
    let veth = result["interfaces"][1]["name"].as_str().unwrap();
    let own = |world: &World| world.ours;
    let always = |_: &World| true;
    // What, how to break it, how to mend it, what the message says, whom to ask.
    let pod_command = |words: &str| pod.netns.command("ip", &words.split(' ').collect::<Vec<_>>());
    let host_command = |words: &str| command("ip", &words.split(' ').collect::<Vec<_>>());
    let plug = format!("link set {veth} nomaster");
    let replug = format!("link set {veth} master cni0");
    let hairpin = format!("link set {veth} type bridge_slave hairpin on");
    type Case<'a> = (bool, &'a str, Vec<&'a str>, &'a str, fn(&World) -> bool);
    let cases: [Case; 6] = [
        (
            true,
            "route del default",
            vec!["route add default via 10.1.0.1"],
            "route",
            always,
        ),
        (
            true,
            "addr add 10.1.0.77/24 dev eth0",
            vec!["addr del 10.1.0.77/24 dev eth0"],
            "",
            always,
        ),
        (
            true,
            "link set eth0 down",
            vec!["link set eth0 up", "route add default via 10.1.0.1"],
            "down",
            own,
        ),
        (
            false,
            "addr del 10.1.0.1/24 dev cni0",
            vec!["addr add 10.1.0.1/24 dev cni0"],
            "10.1.0.1/24",
            own,
        ),
        (false, &plug, vec![&replug, &hairpin], "cni0", always),
        (false, "link set cni0 down", vec!["link set cni0 up"], "down", own),
    ];
    for (in_pod, breaking, mending, message, applies) in cases {
        if !applies(&world) {
            continue;
        }
        let run = |words: &str| {
            if in_pod {
                pod_command(words)
            } else {
                host_command(words)
            }
        };
        run(breaking);
        let answer = world.call("CHECK", &pod, &checked);
        if message.is_empty() {
            answer.ok();
        } else {
            assert!(
                answer.failure().1.contains(message) || !world.ours,
                "{breaking}: {}",
                answer.json
            );
        }
        mending.into_iter().for_each(|words| drop(run(words)));
        let mended = world.call("CHECK", &pod, &checked);
        assert!(mended.success, "after mending {breaking}: {}", mended.json);
    }
    if world.ours {
        command("nft", &["delete", "table", "ip", "gantry-masquerade-net"]);
        assert!(
            world
                .call("CHECK", &pod, &checked)
                .failure()
                .1
                .contains("10.1.0.0/24")
        );
    }
    world.del(&pod, &conf);
    world.call("CHECK", &pod, &checked).failure();
});

story!(the_result_speaks_the_version_it_was_asked_in, |world| {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        if !world.ours && version == "1.1.0" {
            continue;
        }
        let pod = Pod::new("one");
        let conf = world.bridge_conf(json!({"cniVersion": version, "dns": {"nameservers": ["10.0.0.10"]}}));
        let result = world.add(&pod, &conf);
        assert_eq!(result["cniVersion"], version);
        let old = version.starts_with("0.");
        assert_eq!(
            result["ips"][0].get("version").is_some(),
            old,
            "{version}: {result}"
        );
        assert_eq!(result["ips"][0]["interface"], 2);
        assert_eq!(result["dns"]["nameservers"][0], "10.0.0.10");
        let names: Vec<_> = result["interfaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].clone())
            .collect();
        assert_eq!(
            (names[0].as_str(), names[2].as_str()),
            (Some("cni0"), Some("eth0"))
        );
        let path = pod.netns.path.to_str().unwrap();
        assert_eq!(result["interfaces"][2]["sandbox"], path);
        world.del(&pod, &conf);
    }
});

story!(what_the_configuration_asks_for_is_what_the_pod_gets, |world| {
    let pod = Pod::new("one");
    let ipam = json!({"type": "host-local", "dataDir": world.dir().join("ipam"),
        "ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.50", "rangeEnd": "10.1.0.60", "gateway": "10.1.0.254"}]],
        "routes": [{"dst": "10.9.0.0/16"}, {"dst": "0.0.0.0/0"}]});
    let conf = world.bridge_conf(json!({
        "isDefaultGateway": false, "isGateway": true, "mtu": 1400, "ipam": ipam,
        "runtimeConfig": {"mac": "02:11:22:33:44:55", "ips": ["10.1.0.55"]}, "somethingNew": {"a": 1},
    }));
    let result = world.add(&pod, &conf);
    assert_eq!(address(&result), ip("10.1.0.55"));
    assert_eq!(result["interfaces"][2]["mac"], "02:11:22:33:44:55");
    let link = pod.netns.command("ip", &["link", "show", "eth0"]);
    assert!(
        link.contains("mtu 1400") && link.contains("02:11:22:33:44:55"),
        "{link}"
    );
    let routes = pod.netns.command("ip", &["route"]);
    assert!(
        routes.contains("10.9.0.0/16 via 10.1.0.254") && routes.contains("default via 10.1.0.254"),
        "{routes}"
    );
    assert!(command("ip", &["addr", "show", "cni0"]).contains("10.1.0.254/24"));
    let veth = result["interfaces"][1]["name"].as_str().unwrap();
    assert!(command("ip", &["-d", "link", "show", veth]).contains("hairpin on"));
});

own_story!(packets_are_as_large_as_the_uplink_takes, |world| {
    let _outside = world.outside();
    let mtu_of = |conf: &Value, name: &str| {
        let pod = Pod::new(name);
        let result = world.add(&pod, conf);
        let shown = pod.netns.command("ip", &["link", "show", "eth0"]);
        let mtu = &result["interfaces"][2]["mtu"];
        assert!(shown.contains(&format!("mtu {mtu} ")), "{shown}");
        mtu.as_u64().unwrap()
    };
    let conf = |bridge: &str, more: Value| {
        let mut conf =
            world.bridge_conf(json!({"cniVersion": "1.1.0", "bridge": bridge, "isDefaultGateway": false}));
        conf.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        conf
    };
    assert_eq!(mtu_of(&conf("cni0", json!({})), "alone"), 1500);
    command("ip", &["link", "set", "up0", "mtu", "1380"]);
    command("ip", &["route", "add", "default", "via", "192.0.2.2"]);
    // A bridge that is there already is not changed, nor is a pod given more than others of it.
    assert_eq!(mtu_of(&conf("cni0", json!({})), "one"), 1500);
    assert_eq!(mtu_of(&conf("cni1", json!({})), "two"), 1380);
    assert_eq!(mtu_of(&conf("cni1", json!({})), "three"), 1380);
    assert_eq!(mtu_of(&conf("cni2", json!({"mtu": 1300})), "four"), 1300);
});

own_story!(both_families_at_once, |world| {
    let outside = world.outside();
    outside.command("ip", &["addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad"]);
    command("ip", &["addr", "add", "2001:db8::1/64", "dev", "up0", "nodad"]);
    outside.run(|| serve("outside", 80));
    let ipam = json!({"type": "host-local", "dataDir": world.dir().join("ipam"),
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]});
    let conf = world.bridge_conf(json!({"ipam": ipam}));
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let result = world.add(&one, &conf);
    world.add(&two, &conf);
    world
        .call(
            "CHECK",
            &one,
            &world.bridge_conf(json!({"ipam": conf["ipam"], "prevResult": result})),
        )
        .ok();
    one.netns.run(|| serve("one", 80));
    let mapping = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let portmap = world.portmap_conf(&result, mapping);
    world.add(&one, &portmap);
    world.call("CHECK", &one, &portmap).ok();
    assert_eq!(
        two.netns.run(|| ask_tcp((ip("fd00:1::2"), 80))),
        Ok("one fd00:1::3".to_string())
    );
    assert_eq!(
        two.netns.run(|| ask_tcp((ip("2001:db8::2"), 80))),
        Ok("outside 2001:db8::1".to_string())
    );
    assert_eq!(
        outside.run(|| ask_tcp((ip("2001:db8::1"), 8080))),
        Ok("one 2001:db8::2".to_string())
    );
    assert_eq!(
        two.netns.run(|| ask_tcp((ip("2001:db8::1"), 8080))),
        Ok("one fd00:1::1".to_string())
    );
    world.del(&one, &portmap);
    assert!(!command("nft", &["list", "tables"]).contains("hostport"));
});

own_story!(the_bridge_keeps_its_address_when_pods_come, |world| {
    let conf = world.bridge_conf(json!({}));
    let mac = |result: &Value| result["interfaces"][0]["mac"].clone();
    let pods: Vec<Pod> = (0..5).map(|number| Pod::new(&format!("pod{number}"))).collect();
    let macs: Vec<Value> = pods.iter().map(|pod| mac(&world.add(pod, &conf))).collect();
    assert!(macs.iter().all(|other| other == &macs[0]), "{macs:?}");
});

own_story!(a_full_range_says_so_and_recovers, |world| {
    let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/30", "dataDir": world.dir().join("ipam")});
    let conf = world.bridge_conf(json!({"ipam": ipam}));
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    world.add(&one, &conf);
    let answer = world.call("ADD", &two, &conf);
    assert_eq!(answer.failure().0, 11);
    assert!(
        answer
            .failure()
            .1
            .contains("no free address is left in 10.1.0.1-10.1.0.2"),
        "{}",
        answer.json
    );
    world.del(&one, &conf);
    world.add(&two, &conf);
});

own_story!(gc_gives_back_what_nobody_claims, |world| {
    let conf = world.bridge_conf(json!({"cniVersion": "1.1.0"}));
    let (kept, lost) = (Pod::new("kept"), Pod::new("lost"));
    let mapping = |port| json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
    for (pod, port) in [(&kept, 8080), (&lost, 8081)] {
        let result = world.add(pod, &conf);
        world.add(pod, &world.portmap_conf(&result, mapping(port)));
    }
    world.call_with("STATUS", &conf, &[]).ok();
    let valid = json!([{"containerID": "kept", "ifname": "eth0"}]);
    let gc = world.bridge_conf(json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": valid}));
    world.call_with("GC", &gc, &[]).ok();
    let mut portmap = gc.clone();
    portmap["type"] = json!("portmap");
    world.call_with("GC", &portmap, &[]).ok();
    let left = world.snapshot();
    assert!(
        left["files"].contains("10.1.0.2") && !left["files"].contains("10.1.0.3"),
        "{}",
        left["files"]
    );
    assert!(left["nftables"].contains("tcp . 8080") && !left["nftables"].contains("tcp . 8081"));
    let old = world.bridge_conf(json!({}));
    assert_eq!(world.call_with("GC", &old, &[]).failure().0, 1);
});

story!(another_ipam_plugin_is_called_with_our_environment, |world| {
    let plugins = world.dir().join("more");
    std::fs::create_dir(&plugins).unwrap();
    let script = format!(
        "#!/bin/sh\ncat > {0}/stdin.$CNI_COMMAND\necho $CNI_CONTAINERID > {0}/id.$CNI_COMMAND\n\
         [ $CNI_COMMAND = ADD ] && echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.7.0.5/24\"}}]}}'\nexit 0\n",
        plugins.display()
    );
    let program = plugins.join("mine");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let conf = world.bridge_conf(json!({"ipam": {"type": "mine"}}));
    let pod = Pod::new("one");
    let path = format!("{}:{}", world.plugins().display(), plugins.display());
    let netns = pod.netns.path.to_str().unwrap();
    let variables = [
        ("CNI_CONTAINERID", "one"),
        ("CNI_NETNS", netns),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", path.as_str()),
    ];
    assert_eq!(
        address(&world.call_with("ADD", &conf, &variables).ok()),
        ip("10.7.0.5")
    );
    world.call_with("DEL", &conf, &variables).ok();
    assert_eq!(std::fs::read_to_string(plugins.join("id.DEL")).unwrap(), "one\n");
    let stdin: Value =
        serde_json::from_str(&std::fs::read_to_string(plugins.join("stdin.ADD")).unwrap()).unwrap();
    assert_eq!(stdin["ipam"]["type"], "mine");
    let missing = world.bridge_conf(json!({"ipam": {"type": "nobody"}}));
    assert!(
        world
            .call_with("ADD", &missing, &variables)
            .failure()
            .1
            .contains("nobody")
    );
});

story!(loopback_comes_up, |world| {
    let pod = Pod::new("one");
    let conf = json!({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"});
    let result = world.add(&pod, &conf);
    assert_eq!(result["interfaces"][0]["name"], "lo");
    assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
    world.call("CHECK", &pod, &conf).ok();
    world.del(&pod, &conf);
    world.call("CHECK", &pod, &conf).failure();
    world
        .call_with("DEL", &conf, &[("CNI_CONTAINERID", "one"), ("CNI_IFNAME", "lo")])
        .ok();
});

story!(version_is_answered_in_the_version_it_was_asked_in, |world| {
    let ours: &[&str] = if world.ours { &["flannel", "firewall"] } else { &[] };
    for plugin in ["bridge", "host-local", "loopback", "portmap", "bandwidth"]
        .iter()
        .chain(ours)
    {
        let answer = world
            .call_with("VERSION", &json!({"type": plugin, "cniVersion": "0.4.0"}), &[])
            .ok();
        let supported: Vec<_> = answer["supportedVersions"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(Value::as_str)
            .collect();
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            assert!(supported.contains(&version), "{plugin}: {answer}");
        }
    }
});

own_story!(bad_calls_are_refused_with_the_code_and_the_reason, |world| {
    let pod = Pod::new("one");
    let path = pod.netns.path.to_str().unwrap();
    let good = [
        ("CNI_CONTAINERID", "one"),
        ("CNI_NETNS", path),
        ("CNI_IFNAME", "eth0"),
    ];
    let with = |name: &'static str, value: &'static str| -> Vec<(&str, &str)> {
        good.iter()
            .map(|(key, old)| if *key == name { (name, value) } else { (*key, *old) })
            .collect()
    };
    let conf = world.bridge_conf(json!({}));
    let named = |name: &str| world.bridge_conf(json!({"name": name}));
    // Plugin, command, configuration, environment, code, part of the message.
    type Case<'a> = (&'a str, &'a str, Value, Vec<(&'a str, &'a str)>, u64, &'a str);
    let cases: Vec<Case> = vec![
        (
            "bridge",
            "ADD",
            conf.clone(),
            vec![],
            4,
            "CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS",
        ),
        ("bridge", "NOPE", conf.clone(), good.to_vec(), 4, "CNI_COMMAND"),
        (
            "bridge",
            "ADD",
            conf.clone(),
            with("CNI_CONTAINERID", "../../etc/x"),
            4,
            "CNI_CONTAINERID",
        ),
        (
            "bridge",
            "ADD",
            conf.clone(),
            with("CNI_IFNAME", "a/b"),
            4,
            "CNI_IFNAME",
        ),
        (
            "bridge",
            "ADD",
            conf.clone(),
            with("CNI_IFNAME", "sixteen-letters!"),
            4,
            "CNI_IFNAME",
        ),
        (
            "bridge",
            "ADD",
            conf.clone(),
            with("CNI_NETNS", "/etc/passwd"),
            8,
            "/etc/passwd",
        ),
        (
            "bridge",
            "ADD",
            conf.clone(),
            with("CNI_NETNS", "/proc/self/ns/net"),
            8,
            "host's own",
        ),
        ("bridge", "ADD", named("../x"), good.to_vec(), 7, "name"),
        ("bridge", "ADD", named(""), good.to_vec(), 7, "name"),
        (
            "bridge",
            "ADD",
            world.bridge_conf(json!({"cniVersion": "0.2.0"})),
            good.to_vec(),
            1,
            "0.2.0",
        ),
        (
            "bridge",
            "ADD",
            world.bridge_conf(json!({"cniVersion": null})),
            good.to_vec(),
            1,
            "cniVersion is missing",
        ),
        (
            "bridge",
            "CHECK",
            world.bridge_conf(json!({"cniVersion": "0.3.1"})),
            good.to_vec(),
            1,
            "0.4.0",
        ),
        ("bridge", "CHECK", conf.clone(), good.to_vec(), 7, "prevResult"),
        (
            "bridge",
            "ADD",
            world.bridge_conf(json!({"vlan": 4095})),
            good.to_vec(),
            7,
            "vlan",
        ),
        (
            "bridge",
            "ADD",
            world.bridge_conf(json!({"mtu": "x"})),
            good.to_vec(),
            6,
            "mtu",
        ),
        ("portmap", "ADD", conf.clone(), good.to_vec(), 7, "prevResult"),
        (
            "host-local",
            "ADD",
            json!({"cniVersion": "1.0.0", "name": "n"}),
            good.to_vec(),
            7,
            "ipam",
        ),
    ];
    let before = world.snapshot();
    for (plugin, command, conf, variables, code, reason) in cases {
        let program = world.plugins().join(plugin);
        let answer = support::call_raw(
            &program,
            world.plugins(),
            command,
            conf.to_string().as_bytes(),
            &variables,
        );
        assert_eq!(answer.failure().0, code, "{command} {conf}: {}", answer.json);
        assert!(
            answer.failure().1.contains(reason),
            "{command} {conf}: {}",
            answer.json
        );
    }
    let answer = support::call_raw(
        &world.plugins().join("bridge"),
        world.plugins(),
        "ADD",
        b"{",
        &good,
    );
    assert_eq!(answer.failure().0, 6);
    assert_eq!(world.snapshot(), before);
});
