//! `firewall` against a real kernel, each story in private namespaces (see `support`).
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::net::IpAddr;

use serde_json::{Value, json};
use support::{Pod, World, address, ask_tcp, command, isolated, serve};

macro_rules! story {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            isolated(stringify!($name), $body);
        }
    };
}

fn firewall_conf(previous: &Value, more: Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "firewall", "prevResult": previous});
    conf.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    conf
}

fn iptables(words: &str) -> String {
    command("iptables", &words.split(' ').collect::<Vec<_>>())
}

fn ask(from: &Pod, to: IpAddr) -> Result<String, String> {
    from.netns.run(|| ask_tcp((to, 80)))
}

fn ip(written: &str) -> IpAddr {
    written.parse().unwrap()
}

/// A bridge of its own, with its own addresses.
fn bridge_conf(world: &World, number: u8) -> Value {
    world.bridge_conf(json!({
        "name": format!("net{number}"), "bridge": format!("cni{number}"),
        "ipam": {"type": "host-local", "subnet": format!("10.{number}.0.0/24"), "dataDir": world.dir().join("ipam")},
    }))
}

story!(a_pod_gets_through_a_host_that_drops_what_it_forwards, |world| {
    let outside = world.outside();
    outside.run(|| serve("outside", 80));
    iptables("-P FORWARD DROP");
    iptables("-A FORWARD -j REJECT");
    let pod = Pod::new("one");
    let bridge = world.bridge_conf(json!({}));
    let result = world.add(&pod, &bridge);
    let before = iptables("-S FORWARD");
    assert!(ask(&pod, ip("192.0.2.2")).is_err());
    for more in [
        json!({}),
        json!({"backend": "iptables"}),
        json!({"ingressPolicy": "open"}),
    ] {
        let conf = firewall_conf(&result, more);
        let passed = world.add(&pod, &conf);
        assert_eq!(passed, result);
        assert_eq!(ask(&pod, ip("192.0.2.2")), Ok("outside 192.0.2.1".to_string()));
        world.call("CHECK", &pod, &conf).ok();
        // Once more changes nothing, and iptables still shows everything.
        let rules = iptables("-S");
        world.add(&pod, &conf);
        assert_eq!(iptables("-S"), rules);
        world.del(&pod, &conf);
        world.del(&pod, &conf);
    }
    // Nobody's rule was removed.
    let after = iptables("-S FORWARD");
    assert!(before.lines().all(|line| after.contains(line)), "{after}");
});

story!(the_administrator_s_chain_comes_first, |world| {
    let outside = world.outside();
    outside.run(|| serve("outside", 80));
    iptables("-P FORWARD DROP");
    for chain in ["CNI-ADMIN", "MINE"] {
        iptables(&format!("-N {chain}"));
        iptables(&format!("-A {chain} -d 192.0.2.2 -j DROP"));
        let pod = Pod::new(chain);
        let result = world.add(&pod, &world.bridge_conf(json!({})));
        let conf = firewall_conf(&result, json!({"iptablesAdminChainName": chain}));
        world.add(&pod, &conf);
        assert!(ask(&pod, ip("192.0.2.2")).is_err(), "{}", iptables("-S"));
        iptables(&format!("-F {chain}"));
        assert_eq!(ask(&pod, ip("192.0.2.2")), Ok("outside 192.0.2.1".to_string()));
        world.call("CHECK", &pod, &conf).ok();
        iptables(&format!("-A {chain} -d 192.0.2.2 -j DROP"));
        iptables("-F FORWARD");
        iptables(&format!("-F {chain}"));
    }
});

story!(bridges_with_a_policy_are_kept_apart, |world| {
    let outside = world.outside();
    outside.run(|| serve("outside", 80));
    let pods = ["one", "two", "three"].map(Pod::new);
    let mut results = Vec::new();
    for (pod, number) in pods.iter().zip([1, 1, 2]) {
        let result = world.add(pod, &bridge_conf(&world, number));
        pod.netns.run(|| serve(&pod.id, 80));
        results.push(result);
    }
    let addresses: Vec<_> = results.iter().map(address).collect();
    assert!(ask(&pods[0], addresses[2]).is_ok());
    let conf = |number: usize| firewall_conf(&results[number], json!({"ingressPolicy": "same-bridge"}));
    for (number, pod) in pods.iter().enumerate() {
        world.add(pod, &conf(number));
    }
    assert!(ask(&pods[0], addresses[2]).is_err());
    assert!(ask(&pods[2], addresses[1]).is_err());
    assert!(ask(&pods[0], addresses[1]).is_ok());
    for pod in &pods {
        assert_eq!(ask(pod, ip("192.0.2.2")), Ok("outside 192.0.2.1".to_string()));
    }
    // The rules stay with the bridge: it has another pod.
    world.del(&pods[0], &conf(0));
    assert!(ask(&pods[2], addresses[1]).is_err());
    world.call("CHECK", &pods[1], &conf(1)).ok();
    world
        .call(
            "ADD",
            &pods[1],
            &firewall_conf(&results[1], json!({"ingressPolicy": "x"})),
        )
        .failure();
});

story!(isolated_pods_do_not_reach_their_own_bridge_s_either, |world| {
    if !world.ours {
        return eprintln!("the plugin under test needs br_netfilter for it; not run");
    }
    let outside = world.outside();
    outside.run(|| serve("outside", 80));
    let pods = ["one", "two"].map(Pod::new);
    let results: Vec<_> = pods
        .iter()
        .map(|pod| {
            let result = world.add(pod, &bridge_conf(&world, 1));
            pod.netns.run(|| serve(&pod.id, 80));
            world.add(pod, &firewall_conf(&result, json!({"ingressPolicy": "isolated"})))
        })
        .collect();
    assert!(ask(&pods[0], address(&results[1])).is_err());
    assert_eq!(
        ask(&pods[0], ip("192.0.2.2")),
        Ok("outside 192.0.2.1".to_string())
    );
});

story!(a_flush_is_repaired_by_the_next_add_and_found_by_check, |world| {
    if !world.ours {
        return eprintln!("about our own rules; not run");
    }
    let outside = world.outside();
    outside.run(|| serve("outside", 80));
    iptables("-P FORWARD DROP");
    let pod = Pod::new("one");
    let result = world.add(&pod, &world.bridge_conf(json!({})));
    let conf = firewall_conf(&result, json!({"ingressPolicy": "same-bridge"}));
    world.add(&pod, &conf);
    let made = command("nft", &["list", "table", "ip", "gantry-isolation"]);
    for flush in [
        "delete table ip gantry-isolation",
        "flush chain ip filter FORWARD",
    ] {
        command("nft", &flush.split(' ').collect::<Vec<_>>());
        assert_eq!(world.call("CHECK", &pod, &conf).failure().0, 101, "{flush}");
        world.add(&pod, &conf);
        world.call("CHECK", &pod, &conf).ok();
    }
    assert_eq!(command("nft", &["list", "table", "ip", "gantry-isolation"]), made);
    assert_eq!(ask(&pod, ip("192.0.2.2")), Ok("outside 192.0.2.1".to_string()));
});

story!(rules_go_with_their_interface_and_with_the_network, |world| {
    if !world.ours {
        return eprintln!("about our own rules; not run");
    }
    iptables("-P FORWARD DROP");
    let clean = command("nft", &["list", "ruleset"]);
    // A link of the pod's own, as `ptp` makes it.
    let pod = Pod::new("one");
    command(
        "ip",
        &["link", "add", "veth7", "type", "veth", "peer", "name", "veth8"],
    );
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}],
        "interfaces": [{"name": "veth7"}, {"name": "eth0", "sandbox": pod.netns.path}]});
    let conf = firewall_conf(&result, json!({"ingressPolicy": "same-bridge"}));
    world.add(&pod, &conf);
    assert!(command("nft", &["list", "ruleset"]).contains("veth7"));
    world.del(&pod, &conf);
    assert_eq!(command("nft", &["list", "ruleset"]), clean);
    // After a crash, GC finds that the interface is gone.
    world.add(&pod, &conf);
    let gc =
        json!({"cniVersion": "1.1.0", "name": "net", "type": "firewall", "cni.dev/valid-attachments": []});
    world.call_with("STATUS", &gc, &[]).ok();
    world.call_with("GC", &gc, &[]).ok();
    assert!(command("nft", &["list", "ruleset"]).contains("veth7"));
    command("ip", &["link", "del", "veth7"]);
    world.call_with("GC", &gc, &[]).ok();
    assert_eq!(command("nft", &["list", "ruleset"]), clean);
    // A bridge's rules go with the network.
    let result = world.add(&pod, &world.bridge_conf(json!({"ipMasq": false})));
    let conf = firewall_conf(&result, json!({"ingressPolicy": "same-bridge"}));
    world.add(&pod, &conf);
    world.del(&pod, &conf);
    assert!(command("nft", &["list", "ruleset"]).contains("cni0"));
    gantry_cni::cleanup("net", "cni0", Some(&world.dir().join("ipam"))).unwrap();
    assert_eq!(command("nft", &["list", "ruleset"]), clean);
});

story!(another_firewall_s_chain_is_named_and_left_alone, |world| {
    if !world.ours {
        return eprintln!("about our own words; not run");
    }
    command("nft", &["add", "table", "inet", "mine"]);
    let chain = "add chain inet mine forward { type filter hook forward priority 0; policy drop; }";
    command("nft", &[chain]);
    let firewalld =
        "table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; }; }";
    command("nft", &[firewalld]);
    let before = command("nft", &["list", "ruleset"]);
    let pod = Pod::new("one");
    let result = world.add(&pod, &world.bridge_conf(json!({"ipMasq": false})));
    let answer = world.call(
        "ADD",
        &pod,
        &firewall_conf(&result, json!({"firewalldZone": "public"})),
    );
    assert!(answer.success, "{}", answer.json);
    assert!(
        answer.stderr.contains("table mine, chain forward")
            && answer.stderr.contains("--zone=public --add-interface=cni0"),
        "{}",
        answer.stderr
    );
    assert_eq!(command("nft", &["list", "ruleset"]), before);
});
