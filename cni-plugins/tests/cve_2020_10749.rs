//! CVE-2020-10749: a pod sends IPv6 router advertisements, and the host or other pods send their packets by it.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::json;
use support::frames::Wire;
use support::{Pod, command, isolated, mac};

#[test]
fn cve_2020_10749_announcements_of_a_pod_change_neither_host_nor_pods() {
    isolated(
        "cve_2020_10749_announcements_of_a_pod_change_neither_host_nor_pods",
        |world| {
            if !world.ours {
                return eprintln!("the plugins under test leave accept_ra on in the pod; not run");
            }
            let ipam = json!({"type": "host-local", "dataDir": world.dir().join("ipam"),
            "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]});
            let conf = world.bridge_conf(json!({"ipam": ipam}));
            // A bridge that somebody else made is as open as the kernel makes it.
            command("ip", &["link", "add", "cni0", "type", "bridge"]);
            std::fs::write("/proc/sys/net/ipv6/conf/cni0/accept_ra", "1").unwrap();
            let (rogue, victim) = (Pod::new("rogue"), Pod::new("victim"));
            world.add(&rogue, &conf);
            world.add(&victim, &conf);
            let switch = |name: &str| {
                std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/accept_ra")).unwrap()
            };
            assert_eq!(switch("cni0"), "0\n");
            assert_eq!(victim.netns.run(|| switch("eth0")), "0\n");

            let listen = || TcpListener::bind(("::", 7000)).unwrap();
            let (_on_host, _in_pod) = (listen(), victim.netns.run(listen));
            let from = SocketAddr::new("fd00:1::2".parse().unwrap(), 40000);
            let victim_mac = victim.netns.run(|| mac("eth0"));
            let announce = |to: [u8; 6], honest: &str| {
                let honest = SocketAddr::new(honest.parse::<IpAddr>().unwrap(), 7000);
                rogue.netns.run(|| {
                    let wire = Wire::open();
                    wire.announce_router("fe80::bad".parse().unwrap());
                    // Frames are taken in order: whoever answers this has seen the announcement.
                    wire.send_syn(to, from, honest);
                    wire.accepted_until(honest);
                });
            };
            let by_rogue = |listed: String| listed.contains("fe80::bad") || listed.contains("2001:db8:bad");
            let seen_by_host = || by_rogue(command("ip", &["-6", "route"]) + &command("ip", &["-6", "addr"]));
            let seen_by_victim = || {
                by_rogue(
                    victim.netns.command("ip", &["-6", "route"])
                        + &victim.netns.command("ip", &["-6", "addr"]),
                )
            };
            announce(mac("cni0"), "fd00:1::1");
            announce(victim_mac, "fd00:1::3");
            assert!(!seen_by_host(), "{}", command("ip", &["-6", "route"]));
            assert!(
                !seen_by_victim(),
                "{}",
                victim.netns.command("ip", &["-6", "route"])
            );

            // The attack works where the switch is on.
            victim
                .netns
                .run(|| std::fs::write("/proc/sys/net/ipv6/conf/eth0/accept_ra", "2").unwrap());
            let end = Instant::now() + Duration::from_secs(10);
            while !seen_by_victim() {
                assert!(
                    Instant::now() < end,
                    "{}",
                    victim.netns.command("ip", &["-6", "route"])
                );
                announce(victim_mac, "fd00:1::3");
            }
        },
    );
}

#[test]
fn cve_2020_10749_a_network_without_ipam_may_live_by_announcements() {
    isolated(
        "cve_2020_10749_a_network_without_ipam_may_live_by_announcements",
        |world| {
            let pod = Pod::new("one");
            let before = pod
                .netns
                .run(|| std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/accept_ra").unwrap());
            world.add(
                &pod,
                &world.bridge_conf(json!({"ipam": {}, "isDefaultGateway": false, "ipMasq": false})),
            );
            let after = pod
                .netns
                .run(|| std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra").unwrap());
            assert_eq!(after, before);
        },
    );
}
