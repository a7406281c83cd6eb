//! CVE-2020-8558: what listens on the host's loopback address is reached by whoever shares a link with the host. Told
//! with frames that are written by hand, from a pod and from a neighbour, for IPv4 and IPv6.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use gantry_cni::loopback_guard;
use serde_json::{Value, json};
use support::frames::Wire;
use support::{Netns, Pod, World, ask_tcp, ask_udp, command, isolated, mac, serve};

/// What listens on all addresses of the host; it answers those who come by wire to another address.
const OPEN: u16 = 7000;
/// What listens on the host's loopback addresses alone.
const SECRET: u16 = 9000;

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// Somebody on a link of the host, and the host's addresses on that link.
struct Attacker<'a> {
    name: &'a str,
    netns: &'a Netns,
    own: [IpAddr; 2],
    host: [IpAddr; 2],
    /// The host's card there.
    mac: [u8; 6],
}

/// A host with a pod, a neighbour, and services on its loopback addresses.
struct Host {
    /// They answer everybody who reaches them.
    _listeners: [TcpListener; 3],
    /// They hear everybody who reaches them.
    ears: [UdpSocket; 2],
}

impl Host {
    fn new() -> Self {
        let ear = |ip: &str| {
            let ear = UdpSocket::bind(at(ip, SECRET)).unwrap();
            ear.set_nonblocking(true).unwrap();
            ear
        };
        Host {
            _listeners: [at("::", OPEN), at("127.0.0.1", SECRET), at("::1", SECRET)]
                .map(|at| TcpListener::bind(at).unwrap()),
            ears: [ear("127.0.0.1"), ear("::1")],
        }
    }

    /// Whether any of the loopback services hears or answers any of the attackers.
    fn is_reached(&self, attackers: &[Attacker], port: u16) -> Vec<String> {
        let mut reached = Vec::new();
        for (number, attacker) in attackers.iter().enumerate() {
            for (family, loopback) in ["127.0.0.1", "::1"].into_iter().enumerate() {
                let source = 40000 + u16::try_from(number).unwrap();
                let from = SocketAddr::new(attacker.own[family], source);
                let answered = attacker.netns.run(|| {
                    let wire = Wire::open();
                    let honest = SocketAddr::new(attacker.host[family], OPEN);
                    // Once the host knows the way back, no answer is held up by the search for it.
                    wire.send_syn(attacker.mac, from, honest);
                    wire.accepted_until(honest);
                    wire.send_datagram(attacker.mac, from, at(loopback, port));
                    wire.send_syn(attacker.mac, from, at(loopback, port));
                    // As if it came from the host itself: nobody answers, but somebody may listen.
                    wire.send_datagram(attacker.mac, at(loopback, source), at(loopback, port));
                    wire.send_syn(attacker.mac, from, honest);
                    wire.accepted_until(honest)
                });
                reached.extend(
                    answered
                        .iter()
                        .map(|by| format!("{by} answered {}", attacker.name)),
                );
            }
        }
        for ear in &self.ears {
            let refused = loop {
                match ear.recv_from(&mut [0; 10]) {
                    Err(error) => break error,
                    Ok((_, from)) => reached.push(format!("{} heard {from}", ear.local_addr().unwrap())),
                }
            };
            assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        }
        reached
    }

    fn assert_unreached(&self, attackers: &[Attacker], when: &str) {
        let reached = self.is_reached(attackers, SECRET);
        assert!(reached.is_empty(), "{when}: {reached:?}");
    }
}

/// The attackers: a pod, and a neighbour of the host.
fn attackers<'a>(pod: &'a Pod, result: &Value, outside: &'a Netns) -> [Attacker<'a>; 2] {
    outside.command("ip", &["addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad"]);
    command("ip", &["addr", "add", "2001:db8::1/64", "dev", "up0", "nodad"]);
    let own = |number: usize| -> IpAddr {
        let written = result["ips"][number]["address"].as_str().unwrap();
        written.split('/').next().unwrap().parse().unwrap()
    };
    let ips = |written: [&str; 2]| written.map(|ip| ip.parse().unwrap());
    [
        Attacker {
            name: "the pod",
            netns: &pod.netns,
            own: [own(0), own(1)],
            host: ips(["10.1.0.1", "fd00:1::1"]),
            mac: mac("cni0"),
        },
        Attacker {
            name: "the neighbour",
            netns: outside,
            own: ips(["192.0.2.2", "2001:db8::2"]),
            host: ips(["192.0.2.1", "2001:db8::1"]),
            mac: mac("up0"),
        },
    ]
}

fn dual_stack(world: &World) -> Value {
    let ipam = json!({"type": "host-local", "dataDir": world.dir().join("ipam"),
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]});
    world.bridge_conf(json!({"ipam": ipam}))
}

fn route_localnet(interface: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet"))
        .unwrap()
        .trim()
        .to_string()
}

#[test]
fn cve_2020_8558_host_ports_never_open_the_host_s_loopback() {
    isolated(
        "cve_2020_8558_host_ports_never_open_the_host_s_loopback",
        |world| {
            if !world.ours {
                return eprintln!("the plugins under test open it by design (route_localnet); not run");
            }
            let conf = dual_stack(&world);
            let (pod, other) = (Pod::new("one"), Pod::new("two"));
            let result = world.add(&pod, &conf);
            let outside = world.outside();
            let attackers = attackers(&pod, &result, &outside);
            let host = Host::new();
            host.assert_unreached(&attackers, "before any host port");
            let mappings = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}]);
            for round in ["first", "second"] {
                let portmap = world.portmap_conf(&world.add(&other, &conf), mappings.clone());
                world.add(&other, &portmap);
                host.assert_unreached(&attackers, &format!("with host ports, {round} round"));
                for interface in ["all", "default", "cni0", "up0"] {
                    assert_eq!(route_localnet(interface), "0", "{interface}");
                }
                if round == "second" {
                    command("nft", &["flush", "ruleset"]);
                    host.assert_unreached(&attackers, "after nft flush ruleset");
                }
                world.del(&other, &portmap);
                host.assert_unreached(&attackers, &format!("after the last host port, {round} round"));
                world.del(&other, &conf);
            }
        },
    );
}

#[test]
fn cve_2020_8558_a_port_of_loopback_alone_is_the_host_s_alone() {
    isolated(
        "cve_2020_8558_a_port_of_loopback_alone_is_the_host_s_alone",
        |world| {
            if !world.ours {
                return eprintln!("the plugins under test translate before anybody looks; not run");
            }
            let conf = dual_stack(&world);
            let (pod, other) = (Pod::new("one"), Pod::new("two"));
            let result = world.add(&pod, &conf);
            let outside = world.outside();
            let attackers = attackers(&pod, &result, &outside);
            let host = Host::new();
            let mappings: Vec<Value> = ["127.0.0.1", "::1"]
            .iter()
            .flat_map(|ip| ["tcp", "udp"].map(|protocol| (ip, protocol)))
            .map(|(ip, protocol)| json!({"hostPort": 8081, "containerPort": 80, "protocol": protocol, "hostIP": ip}))
            .collect();
            let portmap = world.portmap_conf(&world.add(&other, &conf), json!(mappings));
            world.add(&other, &portmap);
            let heard = other.netns.run(|| {
                let ear = UdpSocket::bind(at("10.1.0.3", 80)).unwrap();
                ear.set_nonblocking(true).unwrap();
                ear
            });
            let reached = host.is_reached(&attackers, 8081);
            assert!(reached.is_empty(), "{reached:?}");
            assert_eq!(
                heard.recv_from(&mut [0; 10]).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            drop(heard);
            other.netns.run(|| serve("other", 80));
            for loopback in ["127.0.0.1", "::1"] {
                let answer = ask_tcp(at(loopback, 8081));
                assert!(
                    answer.as_ref().is_ok_and(|words| words.starts_with("other ")),
                    "{loopback}: {answer:?}"
                );
            }
            assert_eq!(ask_udp(at("127.0.0.1", 8081)), Ok("other 10.1.0.1".to_string()));
            world.call("CHECK", &other, &portmap).ok();
        },
    );
}

#[test]
fn cve_2020_8558_the_agent_s_rule_holds_where_others_set_route_localnet() {
    isolated(
        "cve_2020_8558_the_agent_s_rule_holds_where_others_set_route_localnet",
        |world| {
            if !world.ours {
                return eprintln!("this is about the agent's own rule; not run");
            }
            let pod = Pod::new("one");
            let result = world.add(&pod, &dual_stack(&world));
            let outside = world.outside();
            let attackers = attackers(&pod, &result, &outside);
            let host = Host::new();
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            let reached = host.is_reached(&attackers, SECRET);
            assert!(
                reached.iter().any(|one| one.ends_with("the pod"))
                    && reached.iter().any(|one| one.ends_with("the neighbour"))
                    && reached.iter().all(|one| one.starts_with("127.0.0.1:")),
                "the attack works without the rule: {reached:?}"
            );
            let news = loopback_guard::RulesetEvents::open().unwrap();
            assert!(loopback_guard::ensure().unwrap(), "made");
            assert!(!loopback_guard::ensure().unwrap(), "and then there");
            host.assert_unreached(&attackers, "with the rule");
            assert!(news.take().unwrap());
            for breaking in [
                "flush ruleset",
                "flush chain ip gantry-firewall loopback",
                "delete table ip gantry-firewall",
            ] {
                command("nft", &breaking.split(' ').collect::<Vec<_>>());
                assert!(news.take().unwrap(), "{breaking} is told");
                assert!(loopback_guard::ensure().unwrap(), "{breaking} is mended");
                host.assert_unreached(&attackers, &format!("mended after {breaking}"));
                assert!(news.take().unwrap());
            }
            command("nft", &["add", "table", "ip", "mine"]);
            assert!(!news.take().unwrap(), "other tables are no concern");
            // kube-proxy opens node ports on 127.0.0.1 with the setting, and loses none of them by the rule.
            pod.netns.run(|| serve("pod", 80));
            command(
                "nft",
                &[
                    "add chain ip mine o { type nat hook output priority -100; }; add chain ip mine p { type nat hook \
              postrouting priority 100; }; add rule ip mine o ip daddr 127.0.0.1 tcp dport 30080 dnat to 10.1.0.2:80; \
              add rule ip mine p oifname cni0 masquerade",
                ],
            );
            assert_eq!(ask_tcp(at("127.0.0.1", 30080)), Ok("pod 10.1.0.1".to_string()));
            loopback_guard::remove().unwrap();
            loopback_guard::remove().unwrap();
            assert!(!command("nft", &["list", "tables"]).contains("gantry-firewall"));
        },
    );
}
