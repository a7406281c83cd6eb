//! `bandwidth` against a real kernel, each story in private namespaces (see `support`).
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Netns, Pod, address, command, isolated};

macro_rules! story {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            isolated(stringify!($name), $body);
        }
    };
}

/// 8 Mbit/s, a million bytes per second, and 50 kB at once.
const RATE: u64 = 8_000_000;
const BURST: u64 = 400_000;

fn bandwidth_conf(previous: &Value, limits: Value) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "bandwidth", "prevResult": previous,
        "capabilities": {"bandwidth": true}, "runtimeConfig": {"bandwidth": limits},
    })
}

fn both() -> Value {
    json!({"ingressRate": RATE, "ingressBurst": BURST, "egressRate": RATE, "egressBurst": BURST})
}

/// How long `size` bytes take from the current namespace to a listener inside `to`.
fn transfer(to: &Netns, address: IpAddr, size: usize) -> Duration {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap();
    let to = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        stream.write_all(b"done").unwrap();
    });
    let begin = Instant::now();
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&vec![0; size]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let took = begin.elapsed();
    reader.join().unwrap();
    took
}

/// How long half a megabyte takes from the host into the pod, and from the pod into another one.
fn both_ways(pod: &Pod, own: IpAddr, other: &Pod, others: IpAddr) -> (Duration, Duration) {
    let size = 500_000;
    (
        transfer(&pod.netns, own, size),
        pod.netns.run(|| transfer(&other.netns, others, size)),
    )
}

fn ifbs() -> Vec<String> {
    let listed = command("ip", &["-o", "link", "show", "type", "ifb"]);
    listed
        .lines()
        .filter_map(|line| Some(line.split(": ").nth(1)?.to_string()))
        .collect()
}

story!(a_pod_is_as_fast_as_it_may_be_in_each_direction, |world| {
    let conf = world.bridge_conf(json!({}));
    let other = Pod::new("other");
    let others = address(&world.add(&other, &conf));
    // Half a megabyte less the burst takes 450 ms.
    let slow = |took: Duration| took > Duration::from_millis(350);
    for (limits, receives_slowly, sends_slowly) in [
        (both(), true, true),
        (
            json!({"ingressRate": RATE, "ingressBurst": BURST, "egressRate": 0, "egressBurst": 0}),
            true,
            false,
        ),
        (json!({"egressRate": RATE, "egressBurst": BURST}), false, true),
        (json!({}), false, false),
    ] {
        let pod = Pod::new("one");
        let result = world.add(&pod, &conf);
        let limited = bandwidth_conf(&result, limits.clone());
        let after = world.add(&pod, &limited);
        let (received, sent) = both_ways(&pod, address(&result), &other, others);
        assert_eq!(
            (slow(received), slow(sent)),
            (receives_slowly, sends_slowly),
            "{limits}: {received:?} {sent:?}"
        );
        // The result is passed on, with the ifb if there is one.
        assert_eq!(after["ips"], result["ips"]);
        let more = after["interfaces"].as_array().unwrap().get(3);
        assert_eq!(more.is_some(), sends_slowly, "{after}");
        if let Some(ifb) = more {
            assert_eq!(ifbs(), [ifb["name"].as_str().unwrap()]);
            assert!(command("ip", &["link"]).contains(ifb["mac"].as_str().unwrap()));
        }
        world.call("CHECK", &pod, &limited).ok();
        world.del(&pod, &limited);
        world.del(&pod, &limited);
        world.del(&pod, &conf);
        assert!(ifbs().is_empty());
    }
});

story!(the_network_s_own_limits_count_before_the_runtime_s, |world| {
    let pod = Pod::new("one");
    let result = world.add(&pod, &world.bridge_conf(json!({})));
    let mut conf = bandwidth_conf(&result, both());
    conf["ingressRate"] = json!(16_000_000);
    conf["ingressBurst"] = json!(BURST);
    world.add(&pod, &conf);
    let veth = result["interfaces"][1]["name"].as_str().unwrap();
    let shown = command("tc", &["qdisc", "show", "dev", veth]);
    assert!(
        shown.contains("tbf") && shown.contains("rate 16Mbit") && ifbs().is_empty(),
        "{shown}"
    );
    world.call("CHECK", &pod, &conf).ok();
});

story!(impossible_limits_change_nothing, |world| {
    let pod = Pod::new("one");
    let result = world.add(&pod, &world.bridge_conf(json!({})));
    let before = world.snapshot();
    for limits in [
        json!({"ingressRate": RATE}),
        json!({"egressBurst": BURST}),
        json!({"ingressRate": -1, "ingressBurst": BURST}),
        json!({"ingressRate": "x", "ingressBurst": BURST}),
        json!({"egressRate": RATE, "egressBurst": 1u64 << 40}),
        json!(5),
    ] {
        let conf = bandwidth_conf(&result, limits);
        world.call("ADD", &pod, &conf).failure();
    }
    let mut alone = bandwidth_conf(&result, both());
    alone.as_object_mut().unwrap().remove("prevResult");
    world.call("ADD", &pod, &alone).failure();
    let nowhere = bandwidth_conf(&json!({"cniVersion": "1.0.0", "interfaces": []}), both());
    world.call("ADD", &pod, &nowhere).failure();
    let mut gone = Pod::new("gone");
    gone.netns.path = "/nowhere".into();
    world
        .call("ADD", &gone, &bandwidth_conf(&result, both()))
        .failure();
    assert_eq!(world.snapshot(), before);
    assert!(!command("tc", &["qdisc"]).contains("tbf"));
});

story!(a_failed_add_takes_its_queues_back, |world| {
    if !world.ours {
        return eprintln!("the plugin under test leaves them; not run");
    }
    let pod = Pod::new("one");
    let result = world.add(&pod, &world.bridge_conf(json!({})));
    let veth = result["interfaces"][1]["name"].as_str().unwrap();
    let conf = bandwidth_conf(&result, both());
    // Somebody else's ingress queue, and a device of the ifb's name.
    command("tc", &["qdisc", "add", "dev", veth, "ingress"]);
    let before = (world.snapshot(), command("tc", &["qdisc"]));
    let answer = world.call("ADD", &pod, &conf);
    assert!(answer.failure().1.contains(veth), "{}", answer.json);
    assert_eq!((world.snapshot(), command("tc", &["qdisc"])), before);
    command("tc", &["qdisc", "del", "dev", veth, "ingress"]);
    // A second ADD fails and leaves the first one's limits.
    world.add(&pod, &conf);
    let before = (world.snapshot(), command("tc", &["qdisc"]));
    world.call("ADD", &pod, &conf).failure();
    assert_eq!((world.snapshot(), command("tc", &["qdisc"])), before);
    world.call("CHECK", &pod, &conf).ok();
});

story!(either_plugin_removes_the_other_s_ifb, |world| {
    if world.ours {
        return eprintln!("about ours beside another one; not run");
    }
    let pod = Pod::new("one");
    let conf = bandwidth_conf(&world.add(&pod, &world.bridge_conf(json!({}))), both());
    let ours = |command: &str| {
        let variables = [
            ("CNI_CONTAINERID", "one"),
            ("CNI_NETNS", pod.netns.path.to_str().unwrap()),
            ("CNI_IFNAME", "eth0"),
        ];
        world.call_ours(command, &conf, &variables).ok();
    };
    let veth = conf["prevResult"]["interfaces"][1]["name"].as_str().unwrap();
    ours("ADD");
    world.call("CHECK", &pod, &conf).ok();
    world.del(&pod, &conf);
    assert!(ifbs().is_empty());
    for queue in ["root", "ingress"] {
        command("tc", &["qdisc", "del", "dev", veth, queue]);
    }
    world.add(&pod, &conf);
    ours("CHECK");
    ours("DEL");
    assert!(ifbs().is_empty());
});

story!(check_finds_what_was_tampered_with, |world| {
    if !world.ours {
        return eprintln!("the plugin under test looks at less; not run");
    }
    let pod = Pod::new("one");
    let result = world.add(&pod, &world.bridge_conf(json!({})));
    let veth = result["interfaces"][1]["name"].as_str().unwrap();
    let conf = bandwidth_conf(&result, both());
    world.add(&pod, &conf);
    let ifb = ifbs().remove(0);
    for (breaking, reason) in [
        (
            format!("qdisc change dev {veth} root tbf rate 9mbit burst 50kb latency 25ms"),
            "another",
        ),
        (format!("qdisc del dev {veth} root"), "no limit"),
        (format!("filter del dev {veth} parent ffff:"), "not redirected"),
        (format!("qdisc del dev {veth} ingress"), "not redirected"),
        (format!("qdisc del dev {ifb} root"), "no limit"),
    ] {
        command("tc", &breaking.split(' ').collect::<Vec<_>>());
        let answer = world.call("CHECK", &pod, &conf);
        assert_eq!(answer.failure().0, 101);
        assert!(answer.failure().1.contains(reason), "{breaking}: {}", answer.json);
        for queue in ["root", "ingress"] {
            let _ = std::process::Command::new("tc")
                .args(["qdisc", "del", "dev", veth, queue])
                .output();
        }
        world.del(&pod, &conf);
        world.add(&pod, &conf);
        world.call("CHECK", &pod, &conf).ok();
    }
    command("ip", &["link", "del", &ifb]);
    assert!(world.call("CHECK", &pod, &conf).failure().1.contains("gone"));
});

story!(gc_removes_the_ifbs_of_this_network_s_lost_pods, |world| {
    if !world.ours {
        return eprintln!("the plugin under test has no GC; not run");
    }
    let bridge = world.bridge_conf(json!({}));
    let pods = ["kept", "lost"].map(Pod::new);
    let mut results = Vec::new();
    for pod in &pods {
        let result = world.add(pod, &bridge);
        world.add(pod, &bandwidth_conf(&result, both()));
        results.push(result);
    }
    let mut other = bandwidth_conf(&results[1], json!({"egressRate": RATE, "egressBurst": BURST}));
    other["name"] = json!("other");
    let veth = results[1]["interfaces"][1]["name"].as_str().unwrap();
    command("tc", &["qdisc", "del", "dev", veth, "ingress"]);
    world.add(&pods[1], &other);
    command("ip", &["link", "add", "bwp0", "type", "ifb"]);
    assert_eq!(ifbs().len(), 4);
    let gc = json!({"cniVersion": "1.1.0", "name": "net", "type": "bandwidth",
        "cni.dev/valid-attachments": [{"containerID": "kept", "ifname": "eth0"}]});
    world.call_with("STATUS", &gc, &[]).ok();
    world.call_with("GC", &gc, &[]).ok();
    assert_eq!(ifbs().len(), 3);
    world
        .call("CHECK", &pods[0], &bandwidth_conf(&results[0], both()))
        .ok();
    world.call("CHECK", &pods[1], &other).ok();
});
