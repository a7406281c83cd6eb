//! `macspoofchk`: a pod that claims to be another one on its bridge. These stories are told of Debian's plugins, too.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use support::frames::Wire;
use support::{Pod, World, address, command, isolated, mac};

const FALSE: [u8; 6] = [0x02, 0xba, 0xad, 0, 0, 1];
const PORT: u16 = 9000;

fn conf(world: &World) -> Value {
    world.bridge_conf(json!({"macspoofchk": true}))
}

/// Somebody who takes datagrams, with the hardware address that they are sent to.
struct Receiver {
    socket: UdpSocket,
    mac: [u8; 6],
    at: SocketAddr,
}

impl Receiver {
    /// In the current namespace.
    fn new(interface: &str, ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, PORT)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Receiver {
            socket,
            mac: mac(interface),
            at: SocketAddr::new(ip, PORT),
        }
    }

    /// The source ports of the datagrams that arrive, up to and with `last`.
    fn until(&self, last: u16) -> Vec<u16> {
        let mut arrived = Vec::new();
        while arrived.last() != Some(&last) {
            arrived.push(self.socket.recv_from(&mut [0; 10]).unwrap().1.port());
        }
        arrived
    }
}

/// Sends a datagram by a false hardware address and one by the own. The kernel passes frames on in the order in which they were
/// sent, so what did not arrive before the second one does not arrive at all.
fn arriving(pod: &Pod, ip: IpAddr, to: &Receiver) -> Vec<u16> {
    pod.netns.run(|| {
        Wire::open()
            .disguised(FALSE)
            .send_datagram(to.mac, SocketAddr::new(ip, 1), to.at);
        Wire::open().send_datagram(to.mac, SocketAddr::new(ip, 2), to.at);
    });
    to.until(2)
}

#[test]
fn a_pod_s_frames_come_from_its_own_hardware_address() {
    isolated("a_pod_s_frames_come_from_its_own_hardware_address", |world| {
        let (free, before) = (Pod::new("free"), world.snapshot()["nftables"].clone());
        let free_ip = address(&world.add(&free, &world.bridge_conf(json!({"ipMasq": false}))));
        assert_eq!(world.snapshot()["nftables"], before);
        let (one, two) = (Pod::new("one"), Pod::new("two"));
        let own = address(&world.add(&one, &conf(&world)));
        let other = address(&world.add(&two, &conf(&world)));
        let pod = two.netns.run(|| Receiver::new("eth0", other));
        let host = Receiver::new("cni0", "10.1.0.1".parse().unwrap());
        for to in [&pod, &host] {
            assert_eq!(arriving(&one, own, to), [2]);
            // Nobody has asked for it, and what is asked for others is not done to it.
            assert_eq!(arriving(&free, free_ip, to), [1, 2]);
        }
        world.del(&one, &conf(&world));
        assert!(!world.ours || command("nft", &["list", "ruleset"]).contains("gantry-macspoofchk"));
        // The one that is left is still checked.
        assert_eq!(arriving(&two, other, &host), [2]);
        world.del(&two, &conf(&world));
        world.del(&two, &conf(&world));
        assert!(!command("nft", &["list", "ruleset"]).contains("gantry-macspoofchk"));
    });
}

#[test]
fn the_bridge_learns_nothing_false_from_frames_for_itself() {
    isolated(
        "the_bridge_learns_nothing_false_from_frames_for_itself",
        |world| {
            if !world.ours {
                return eprintln!("the plugins under test do not see these frames; not run");
            }
            let (one, free) = (Pod::new("one"), Pod::new("free"));
            let free_ip = address(&world.add(&free, &world.bridge_conf(json!({}))));
            let host = Receiver::new("cni0", "10.1.0.1".parse().unwrap());
            let learned = |pod: &Pod, false_mac: [u8; 6], shown: &str| {
                pod.netns
                    .run(|| Wire::open().disguised(false_mac).send_to_bridge());
                // It comes after.
                let from = SocketAddr::new(free_ip, 2);
                free.netns
                    .run(|| Wire::open().send_datagram(host.mac, from, host.at));
                host.until(2);
                command("bridge", &["fdb", "show", "br", "cni0"]).contains(shown)
            };
            // As long as nobody asks for it.
            assert!(learned(&free, [2, 0xba, 0xad, 0, 0, 2], "02:ba:ad:00:00:02"));
            world.add(&one, &conf(&world));
            assert!(!learned(&one, FALSE, "02:ba:ad:00:00:01"));
        },
    );
}

#[test]
fn a_check_is_verified_repaired_and_collected() {
    isolated("a_check_is_verified_repaired_and_collected", |world| {
        if !world.ours {
            return eprintln!("the plugins under test neither verify nor collect it; not run");
        }
        let conf = world.bridge_conf(json!({"macspoofchk": true, "cniVersion": "1.1.0"}));
        let (one, two) = (Pod::new("one"), Pod::new("two"));
        let checked = |pod: &Pod, result: &Value| {
            let mut conf = conf.clone();
            conf["prevResult"] = result.clone();
            world.call("CHECK", pod, &conf)
        };
        let result = world.add(&one, &conf);
        checked(&one, &result).ok();
        let port = result["interfaces"][1]["name"].as_str().unwrap();
        for (loss, words) in [
            (
                [
                    "delete",
                    "element",
                    "bridge",
                    "gantry-macspoofchk",
                    "ports",
                    &format!("{{ {port} }}"),
                ]
                .to_vec(),
                "ports",
            ),
            (
                ["flush", "chain", "bridge", "gantry-macspoofchk", "prerouting"].to_vec(),
                "prerouting",
            ),
            (
                ["delete", "table", "bridge", "gantry-macspoofchk"].to_vec(),
                "prerouting",
            ),
        ] {
            command("nft", &loss);
            let answer = checked(&one, &result);
            assert!(answer.failure().1.contains(words), "{loss:?}: {}", answer.json);
        }
        // What an ADD fails at leaves nothing of it.
        let taken = world.bridge_conf(json!({"macspoofchk": true, "isDefaultGateway": true,
            "ipam": {"type": "host-local", "dataDir": world.dir().join("other"), "subnet": "10.9.0.0/24"}}));
        world.call("ADD", &two, &taken).failure();
        assert!(!command("nft", &["list", "ruleset"]).contains("gantry-macspoofchk"));
        // The next pod makes the table whole, and GC leaves what is valid.
        world.add(&two, &conf);
        let valid = |ids: &[&str]| {
            let mut gc = conf.clone();
            let valid: Vec<Value> = ids
                .iter()
                .map(|id| json!({"containerID": id, "ifname": "eth0"}))
                .collect();
            gc["cni.dev/valid-attachments"] = json!(valid);
            world.call_with("GC", &gc, &[]).ok();
            command("nft", &["list", "ruleset"])
        };
        assert!(valid(&["two"]).contains("gantry-macspoofchk"));
        // Another network's pods are not this one's.
        let mut other = conf.clone();
        other["name"] = json!("other");
        other["cni.dev/valid-attachments"] = json!([]);
        world.call_with("GC", &other, &[]).ok();
        assert!(command("nft", &["list", "ruleset"]).contains("gantry-macspoofchk"));
        assert!(!valid(&[]).contains("gantry-macspoofchk"));
    });
}

#[test]
fn the_check_of_a_network_goes_with_it() {
    isolated("the_check_of_a_network_goes_with_it", |world| {
        if !world.ours {
            return eprintln!("the plugins under test have no clean-up of a network; not run");
        }
        let before = world.snapshot();
        world.add(&Pod::new("one"), &conf(&world));
        gantry_cni::cleanup("net", "cni0", Some(&world.dir().join("ipam"))).unwrap();
        assert_eq!(world.snapshot()["nftables"], before["nftables"]);
    });
}
