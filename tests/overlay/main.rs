//! The overlay against the real kernel: three nodes, each a network namespace with an uplink on one link, as the agent's
//! network loop runs it. Without root it needs user namespaces.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    missing_docs,
    reason = "a program of tests; clippy.toml allows it in test functions, and their helpers are tests too"
)]

#[path = "../../cni-plugins/tests/support/isolation.rs"]
mod isolation;
#[path = "../support/wait.rs"]
mod wait;
mod world;

use std::net::IpAddr;

use gantry::model::overlay::Transport;
use world::{Family, LONG, Lan, Node, connect, introduce, isolated, send_whole, wait_connected};

const VXLAN: Transport = Transport::Vxlan {
    vni: 1,
    port: 8472,
    is_direct: false,
};

/// Three nodes that know of each other.
fn three(family: Family, transport: Transport) -> Vec<Node> {
    let mut nodes: Vec<Node> = (1..=3)
        .map(|number| Node::new(number, family, transport))
        .collect();
    nodes.iter_mut().for_each(Node::start);
    introduce(&nodes);
    nodes
}

fn all_reach_each_other(nodes: &[Node], family: Family) {
    for from in nodes {
        for to in nodes.iter().filter(|to| to.number != from.number) {
            wait_connected(from, to, family);
        }
    }
}

#[test]
fn pods_reach_each_other_by_vxlan() {
    isolated("pods_reach_each_other_by_vxlan", || {
        let _lan = Lan::new();
        let nodes = three(Family::V4, VXLAN);
        all_reach_each_other(&nodes, Family::V4);
        assert_eq!(nodes[0].standing().mtu, Some(1450));
        // What the documentation of flannel says of its state, with iproute2's words.
        let device = nodes[0].run(&["ip", "-d", "link", "show", "flannel.1"]);
        for expected in [
            "mtu 1450",
            "vxlan id 1 local 192.0.2.1 dev eth0",
            "dstport 8472 nolearning",
        ] {
            assert!(device.contains(expected), "{expected}: {device}");
        }
        let address = nodes[0].run(&["ip", "-4", "-o", "address", "show", "dev", "flannel.1"]);
        assert!(address.contains("inet 10.244.1.0/32"), "{address}");
        let routes = nodes[0].run(&["ip", "route", "show", "dev", "flannel.1"]);
        for number in [2, 3] {
            let route = format!("10.244.{number}.0/24 via 10.244.{number}.0");
            let line = routes.lines().find(|line| line.starts_with(&route));
            assert!(
                line.is_some_and(|line| line.contains("onlink")),
                "{route}: {routes}"
            );
        }
        let mac = |node: &Node| {
            let shown = node.run(&["cat", "/sys/class/net/flannel.1/address"]);
            shown.trim().to_owned()
        };
        let theirs = mac(&nodes[1]);
        let neighbor = nodes[0].run(&["ip", "neighbor", "show", "dev", "flannel.1"]);
        assert!(
            neighbor.contains(&format!("10.244.2.0 lladdr {theirs} PERMANENT")),
            "{neighbor}"
        );
        let forwarding = nodes[0].run(&["bridge", "fdb", "show", "dev", "flannel.1"]);
        assert!(
            forwarding.contains(&format!("{theirs} dst 192.0.2.2 self permanent")),
            "{forwarding}"
        );
    });
}

#[test]
fn a_packet_of_the_full_size_is_not_fragmented() {
    isolated("a_packet_of_the_full_size_is_not_fragmented", || {
        let _lan = Lan::new();
        let nodes = three(Family::V4, VXLAN);
        wait_connected(&nodes[0], &nodes[1], Family::V4);
        assert_eq!(send_whole(&nodes[0], &nodes[1], 1450), Ok(()));
        // The first is refused on its way; what comes back makes the second fail at once.
        let _ = send_whole(&nodes[0], &nodes[1], 1451);
        let too_long = send_whole(&nodes[0], &nodes[1], 1451).unwrap_err();
        assert!(too_long.contains("too long"), "{too_long}");
        // The uplink takes less from now on.
        nodes[0].run(&["ip", "link", "set", "eth0", "mtu", "1400"]);
        nodes[0].wait_until(
            "the device to follow",
            &["ip", "link", "show", "flannel.1"],
            |link| link.contains("mtu 1350"),
        );
        assert_eq!(nodes[0].standing().mtu, Some(1350));
    });
}

#[test]
fn pods_reach_each_other_by_host_gw() {
    isolated("pods_reach_each_other_by_host_gw", || {
        let _lan = Lan::new();
        let nodes = three(Family::V4, Transport::HostGw);
        all_reach_each_other(&nodes, Family::V4);
        let routes = nodes[0].run(&["ip", "route"]);
        assert!(
            routes.contains("10.244.2.0/24 via 192.0.2.2 dev eth0"),
            "{routes}"
        );
        assert_eq!(send_whole(&nodes[0], &nodes[1], 1500), Ok(()));
    });
}

#[test]
fn nodes_of_one_link_are_reached_directly_where_that_is_asked_for() {
    isolated(
        "nodes_of_one_link_are_reached_directly_where_that_is_asked_for",
        || {
            let _lan = Lan::new();
            let direct = Transport::Vxlan {
                vni: 1,
                port: 8472,
                is_direct: true,
            };
            let nodes = three(Family::V4, direct);
            all_reach_each_other(&nodes, Family::V4);
            let routes = nodes[0].run(&["ip", "route"]);
            assert!(
                routes.contains("10.244.2.0/24 via 192.0.2.2 dev eth0"),
                "{routes}"
            );
        },
    );
}

#[test]
fn pods_reach_each_other_by_vxlan_over_ipv6() {
    isolated("pods_reach_each_other_by_vxlan_over_ipv6", || {
        let _lan = Lan::new();
        let nodes = three(Family::V6, VXLAN);
        all_reach_each_other(&nodes, Family::V6);
        assert_eq!(nodes[0].standing().mtu, Some(1430));
        let routes = nodes[0].run(&["ip", "-6", "route", "show", "dev", "flannel-v6.1"]);
        assert!(
            routes.contains("fd00:10:244:2::/64 via fd00:10:244:2::"),
            "{routes}"
        );
    });
}

#[test]
fn pods_reach_each_other_by_host_gw_over_ipv6() {
    isolated("pods_reach_each_other_by_host_gw_over_ipv6", || {
        let _lan = Lan::new();
        let nodes = three(Family::V6, Transport::HostGw);
        all_reach_each_other(&nodes, Family::V6);
        let routes = nodes[0].run(&["ip", "-6", "route"]);
        assert!(
            routes.contains("fd00:10:244:2::/64 via 2001:db8::2 dev eth0"),
            "{routes}"
        );
    });
}

#[test]
fn peers_come_move_and_go() {
    isolated("peers_come_move_and_go", || {
        let _lan = Lan::new();
        let mut nodes: Vec<Node> = (1..=3)
            .map(|number| Node::new(number, Family::V4, VXLAN))
            .collect();
        nodes[0].start();
        nodes[1].start();
        introduce(&nodes[..2]);
        wait_connected(&nodes[0], &nodes[1], Family::V4);
        // One comes.
        nodes[2].start();
        introduce(&nodes);
        wait_connected(&nodes[0], &nodes[2], Family::V4);
        wait_connected(&nodes[2], &nodes[1], Family::V4);
        // It moves to another address.
        nodes[2].run(&["ip", "address", "del", "192.0.2.3/24", "dev", "eth0"]);
        nodes[2].run(&["ip", "address", "add", "192.0.2.33/24", "dev", "eth0"]);
        let moved: IpAddr = "192.0.2.33".parse().unwrap();
        nodes[2].addresses.send_replace([moved].into());
        wait::wait_for("the node to stand at its new address", LONG, || {
            let entry = nodes[2].entry();
            if entry.address == moved {
                Ok(())
            } else {
                Err(format!("{entry:?}"))
            }
        });
        introduce(&nodes);
        wait_connected(&nodes[0], &nodes[2], Family::V4);
        wait_connected(&nodes[2], &nodes[0], Family::V4);
        // It goes, and nothing of it stays.
        let others = [nodes[0].entry(), nodes[1].entry()];
        nodes[0].know(others.to_vec());
        for arguments in [
            &["ip", "route"][..],
            &["ip", "neighbor", "show", "nud", "permanent"],
            &["bridge", "fdb", "show", "dev", "flannel.1"],
        ] {
            nodes[0].wait_until("what led to it to go", arguments, |shown| {
                !shown.contains("10.244.3.") && !shown.contains("192.0.2.33")
            });
        }
        assert!(connect(&nodes[0], &nodes[1], Family::V4).is_ok());
    });
}

#[test]
fn what_somebody_removes_is_repaired() {
    isolated("what_somebody_removes_is_repaired", || {
        let _lan = Lan::new();
        let nodes = three(Family::V4, VXLAN);
        all_reach_each_other(&nodes, Family::V4);
        let mac = nodes[1].run(&["cat", "/sys/class/net/flannel.1/address"]);
        let mac = mac.trim();
        for removal in [
            &["ip", "route", "del", "10.244.2.0/24"][..],
            &["ip", "neighbor", "del", "10.244.2.0", "dev", "flannel.1"],
            &[
                "bridge",
                "fdb",
                "del",
                mac,
                "dev",
                "flannel.1",
                "dst",
                "192.0.2.2",
            ],
            &["ip", "address", "del", "10.244.1.0/32", "dev", "flannel.1"],
            &["ip", "link", "set", "flannel.1", "down"],
            &["ip", "link", "set", "flannel.1", "mtu", "1000"],
            &["ip", "link", "del", "flannel.1"],
        ] {
            println!("{}", removal.join(" ")); // shown if what follows fails
            nodes[0].run(removal);
            wait_connected(&nodes[0], &nodes[1], Family::V4);
            wait_connected(&nodes[1], &nodes[0], Family::V4);
        }
        nodes[0].wait_until(
            "the MTU to be set back",
            &["ip", "link", "show", "flannel.1"],
            |link| link.contains("mtu 1450"),
        );
        // What others have made stays.
        nodes[0].run(&["ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.9"]);
        nodes[0].run(&["ip", "route", "add", "10.244.200.0/24", "via", "192.0.2.9"]);
        nodes[0].know(vec![nodes[0].entry()]);
        nodes[0].wait_until("the peers to be gone", &["ip", "route"], |routes| {
            !routes.contains("10.244.2.0/24")
        });
        let routes = nodes[0].run(&["ip", "route"]);
        assert!(routes.contains("198.51.100.0/24 via 192.0.2.9"), "{routes}");
        assert!(routes.contains("10.244.200.0/24 via 192.0.2.9"), "{routes}");
    });
}

#[test]
fn a_restart_keeps_what_is_right_and_removes_what_is_not() {
    isolated("a_restart_keeps_what_is_right_and_removes_what_is_not", || {
        let _lan = Lan::new();
        let mut nodes = three(Family::V4, VXLAN);
        all_reach_each_other(&nodes, Family::V4);
        let before = nodes[0].run(&["ip", "-o", "link", "show", "flannel.1"]);
        let entries: Vec<_> = nodes.iter().map(Node::entry).collect();
        nodes[0].stop();
        // While no agent runs, packets still find their way.
        assert_eq!(connect(&nodes[0], &nodes[1], Family::V4), Ok(()));
        nodes[0].know(entries[..2].to_vec());
        let monitor = nodes[0].watch_routes();
        nodes[0].start();
        assert_eq!(nodes[0].entry(), entries[0]);
        for arguments in [
            &["ip", "route"][..],
            &["ip", "neighbor", "show", "nud", "permanent"],
            &["bridge", "fdb", "show", "dev", "flannel.1"],
        ] {
            nodes[0].wait_until("what led to the third node to go", arguments, |shown| {
                !shown.contains("10.244.3.") && !shown.contains("192.0.2.3 ")
            });
        }
        assert_eq!(connect(&nodes[0], &nodes[1], Family::V4), Ok(()));
        // The device and the way to the second node were not touched.
        assert_eq!(nodes[0].run(&["ip", "-o", "link", "show", "flannel.1"]), before);
        let changes = monitor.stop();
        assert!(changes.contains("Deleted 10.244.3.0/24"), "{changes}");
        assert!(!changes.contains("10.244.2.0"), "{changes}");
    });
}
