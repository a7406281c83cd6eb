//! What others on a bridge know of a pod's address when another pod gets it, each story in private namespaces (see
//! `support`).
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::net::IpAddr;

use serde_json::{Value, json};
use support::{Pod, World, ask_tcp, command, isolated, serve};

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 5));

fn conf(world: &World) -> Value {
    world.bridge_conf(json!({"runtimeConfig": {"ips": ["10.1.0.5/24"]}, "capabilities": {"ips": true}}))
}

/// Whether the host and another pod reach the pod at once.
fn is_reached(other: &Pod, name: &str, from: [&str; 2]) {
    let answer = |from: &str| Ok(format!("{name} {from}"));
    assert_eq!(ask_tcp((ADDRESS, 80)), answer(from[0]));
    assert_eq!(other.netns.run(|| ask_tcp((ADDRESS, 80))), answer(from[1]));
}

#[test]
fn the_next_pod_of_an_address_is_reached_at_once() {
    isolated("the_next_pod_of_an_address_is_reached_at_once", |world| {
        if !world.ours {
            return eprintln!("the plugins under test leave them wrong for seconds; not run");
        }
        let other = Pod::new("other");
        world.add(&other, &world.bridge_conf(json!({})));
        let mut macs = Vec::new();
        for name in ["one", "two"] {
            let pod = Pod::new(name);
            let result = world.add(&pod, &conf(&world));
            macs.push(result["interfaces"][2]["mac"].clone());
            pod.netns.run(|| serve(name, 80));
            is_reached(&other, name, ["10.1.0.1", "10.1.0.2"]);
            world.del(&pod, &conf(&world));
        }
        // Nobody has to be told, because nothing changes.
        assert!(macs[0] == "0a:58:0a:01:00:05" && macs[1] == macs[0], "{macs:?}");
    });
}

#[test]
fn what_an_earlier_plugin_s_pod_has_left_in_tables_is_corrected() {
    isolated(
        "what_an_earlier_plugin_s_pod_has_left_in_tables_is_corrected",
        |world| {
            if !world.ours {
                return eprintln!("the plugins under test leave them wrong for seconds; not run");
            }
            let other = Pod::new("other");
            world.add(&other, &world.bridge_conf(json!({})));
            let earlier = |device: &'static str| {
                [
                    "neigh",
                    "replace",
                    "10.1.0.5",
                    "lladdr",
                    "02:00:00:00:00:99",
                    "dev",
                    device,
                    "nud",
                    "reachable",
                ]
            };
            command("ip", &earlier("cni0"));
            other.netns.command("ip", &earlier("eth0"));
            let pod = Pod::new("one");
            world.add(&pod, &conf(&world));
            pod.netns.run(|| serve("one", 80));
            is_reached(&other, "one", ["10.1.0.1", "10.1.0.2"]);
        },
    );
}

#[test]
fn the_bridge_knows_where_a_pod_is_before_it_has_sent_anything() {
    isolated(
        "the_bridge_knows_where_a_pod_is_before_it_has_sent_anything",
        |world| {
            if !world.ours {
                return eprintln!("the plugins under test leave them wrong for seconds; not run");
            }
            let pod = Pod::new("one");
            let result = world.add(&pod, &conf(&world));
            let (port, mac) = (&result["interfaces"][1]["name"], &result["interfaces"][2]["mac"]);
            let known = command(
                "bridge",
                &["fdb", "show", "dev", port.as_str().unwrap(), "dynamic"],
            );
            assert!(known.contains(mac.as_str().unwrap()), "{known}");
            let setting = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/arp_notify").unwrap();
            assert_eq!(pod.netns.run(setting).trim(), "1");
        },
    );
}
