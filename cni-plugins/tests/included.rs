//! `bridge` that does the work of `portmap` and `bandwidth` itself, beside a list of the three plugins, each story in private
//! namespaces (see `support`).
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use serde_json::{Value, json};
use support::{Pod, World, command, isolated, serve};

macro_rules! story {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            isolated(stringify!($name), |world: World| {
                if !world.ours {
                    return eprintln!("about what only ours can do; not run");
                }
                // A bridge without any pod takes a moment to notice that.
                let neighbour = Pod::new("neighbour");
                world.add(&neighbour, &world.bridge_conf(json!({})));
                $body(world);
            });
        }
    };
}

/// What a runtime passes for the capabilities: always the same address of the pod, so that two results can be compared.
fn passed() -> Value {
    let limit = 8_000_000;
    json!({
        "mac": "02:00:00:00:00:05", "ips": ["10.1.0.5/24"],
        "portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "127.0.0.1"},
        ],
        "bandwidth": {"ingressRate": limit, "ingressBurst": limit, "egressRate": limit, "egressBurst": limit},
    })
}

/// The configuration of the one plugin.
fn alone(world: &World, runtime: Value) -> Value {
    world.bridge_conf(json!({
        "cniVersion": "1.1.0", "includes": ["portmap", "bandwidth"], "runtimeConfig": runtime,
        "capabilities": {"mac": true, "ips": true, "portMappings": true, "bandwidth": true},
    }))
}

/// The configurations of the three plugins; `portmap` and `bandwidth` without the result before them.
fn listed(world: &World, runtime: &Value) -> [Value; 3] {
    let bridge = world.bridge_conf(json!({"cniVersion": "1.1.0", "runtimeConfig": runtime}));
    let chained =
        |name: &str| json!({"cniVersion": "1.1.0", "name": "net", "type": name, "runtimeConfig": runtime});
    [bridge, chained("portmap"), chained("bandwidth")]
}

/// ADD of all plugins of a list, as runtimes do it.
fn add_all(world: &World, pod: &Pod, list: &[Value]) -> Value {
    list.iter().fold(Value::Null, |previous, conf| {
        let mut conf = conf.clone();
        conf["prevResult"] = previous;
        world.add(pod, &conf)
    })
}

fn with_result(conf: &Value, result: &Value) -> Value {
    let mut conf = conf.clone();
    conf["prevResult"] = result.clone();
    conf
}

/// All that can be compared of the host and of a result, without addresses that the kernel draws by lot.
fn state(world: &World, pod: &Pod, mut result: Value) -> Vec<String> {
    for interface in result["interfaces"].as_array_mut().unwrap() {
        if interface["sandbox"].is_null() {
            interface["mac"] = json!(interface["mac"].is_string());
        }
    }
    let seen = world.snapshot();
    let of_pod = pod.netns.command("ip", &["addr", "show", "eth0"]);
    let queues = command("tc", &["qdisc"]).lines().count();
    let veth = result["interfaces"][1]["name"].as_str().unwrap();
    vec![
        result.to_string(),
        seen["nftables"].clone(),
        seen["routes"].clone(),
        of_pod
            .split_once("scope global")
            .unwrap()
            .0
            .split_once("link/")
            .unwrap()
            .1
            .to_string(),
        command("tc", &["qdisc", "show", "dev", veth, "root"]),
        command("tc", &["filter", "show", "dev", veth, "ingress"]),
        format!("{queues}"),
    ]
}

story!(one_plugin_makes_what_three_in_a_list_make, |world: World| {
    let list = listed(&world, &passed());
    let (conf, pod) = (alone(&world, passed()), Pod::new("one"));
    let result = add_all(&world, &pod, &list);
    let expected = state(&world, &pod, result.clone());
    // It also sees what is missing of it, as they do.
    world.call("CHECK", &pod, &with_result(&conf, &result)).ok();
    for one in list.iter().rev() {
        world.del(&pod, one);
    }
    let empty = world.snapshot();
    let result = world.add(&pod, &conf);
    for (found, expected) in state(&world, &pod, result.clone()).iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
    for one in list.iter().chain([&conf]) {
        world.call("CHECK", &pod, &with_result(one, &result)).ok();
    }
    world.del(&pod, &conf);
    assert_eq!(world.snapshot(), empty);
    world.del(&pod, &conf);
    assert!(!command("ip", &["link"]).contains("bwp"));
});

story!(its_ports_answer_and_its_limits_hold, |world: World| {
    let outside = world.outside();
    let (conf, pod) = (alone(&world, passed()), Pod::new("one"));
    let result = world.add(&pod, &conf);
    pod.netns
        .command("ip", &["route", "replace", "default", "via", "10.1.0.1"]);
    pod.netns.run(|| serve("one", 80));
    let host = |last: u8| std::net::SocketAddr::from(([192, 0, 2, last], 8080));
    assert_eq!(
        outside.run(|| support::ask_tcp(host(1))),
        Ok("one 192.0.2.2".to_string())
    );
    assert!(support::ask_tcp(([127, 0, 0, 1], 8080)).is_ok());
    assert!(support::ask_udp(([127, 0, 0, 1], 8080)).is_ok());
    assert!(outside.run(|| support::ask_udp(host(1))).is_err());
    let veth = result["interfaces"][1]["name"].as_str().unwrap();
    for device in [veth, result["interfaces"][3]["name"].as_str().unwrap()] {
        let shown = command("tc", &["qdisc", "show", "dev", device, "root"]);
        assert!(shown.contains("tbf") && shown.contains("rate 8Mbit"), "{shown}");
    }
    // CHECK misses each of them.
    let conf = with_result(&conf, &result);
    command("tc", &["qdisc", "del", "dev", veth, "root"]);
    assert_eq!(world.call("CHECK", &pod, &conf).failure().0, 101);
    world.del(&pod, &conf);
    let result = world.add(&pod, &conf);
    let conf = with_result(&conf, &result);
    world.call("CHECK", &pod, &conf).ok();
    command("nft", &["delete", "table", "ip", "gantry-hostport"]);
    assert_eq!(world.call("CHECK", &pod, &conf).failure().0, 101);
});

story!(
    a_pod_that_needs_neither_costs_no_rule_and_no_device,
    |world: World| {
        let before = Pod::new("before");
        world.add(&before, &world.bridge_conf(json!({})));
        let (rules, pod) = (command("nft", &["list", "ruleset"]), Pod::new("one"));
        for runtime in [json!({}), json!({"portMappings": [], "bandwidth": {}})] {
            let conf = alone(&world, runtime);
            let result = world.add(&pod, &conf);
            assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
            assert_eq!(command("nft", &["list", "ruleset"]), rules);
            assert!(!command("tc", &["qdisc"]).contains("tbf"));
            world.call("CHECK", &pod, &with_result(&conf, &result)).ok();
            world.del(&pod, &conf);
        }
        // Without the key, what is passed for the capabilities is another plugin's matter.
        let mut conf = alone(&world, passed());
        conf.as_object_mut().unwrap().remove("includes");
        let result = world.add(&pod, &conf);
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
        assert_eq!(command("nft", &["list", "ruleset"]), rules);
    }
);

story!(either_removes_what_the_other_has_made, |world: World| {
    let (list, conf) = (listed(&world, &passed()), alone(&world, passed()));
    let pod = Pod::new("one");
    world.add(&pod, &conf);
    world.del(&pod, &conf);
    let empty = world.snapshot();
    // A pod that was connected before an upgrade.
    add_all(&world, &pod, &list);
    world.del(&pod, &conf);
    assert_eq!(world.snapshot(), empty);
    // The node was rebooted meanwhile, and nobody knows the pod's namespace any more.
    add_all(&world, &pod, &list);
    let variables = [("CNI_CONTAINERID", "one"), ("CNI_IFNAME", "eth0")];
    world.call_with("DEL", &conf, &variables).ok();
    assert!(!command("nft", &["list", "tables"]).contains("hostport"));
    assert!(!command("ip", &["link"]).contains("bwp"));
    pod.netns.command("ip", &["link", "del", "eth0"]);
    assert_eq!(world.snapshot(), empty);
    // And before the way back.
    world.add(&pod, &conf);
    for one in list.iter().rev() {
        world.del(&pod, one);
    }
    assert_eq!(world.snapshot(), empty);
});

story!(a_failed_add_leaves_nothing, |world: World| {
    let pod = Pod::new("one");
    let usual = alone(&world, passed());
    let result = world.add(&pod, &usual);
    world.del(&pod, &usual);
    let empty = world.snapshot();
    let mut wrong = Vec::new();
    for (key, value) in [
        (
            "portMappings",
            json!([{"hostPort": 0, "containerPort": 80, "protocol": "tcp"}]),
        ),
        ("portMappings", json!(5)),
        ("bandwidth", json!({"ingressRate": 8})),
        ("bandwidth", json!({"egressRate": "x", "egressBurst": 8})),
    ] {
        let mut runtime = passed();
        runtime[key] = value;
        wrong.push(alone(&world, runtime));
    }
    for (key, value) in [
        ("conditionsV4", json!(["-m", "set"])),
        ("includes", json!(["firewall"])),
    ] {
        let mut conf = usual.clone();
        conf[key] = value;
        wrong.push(conf);
    }
    for conf in &wrong {
        world.call("ADD", &pod, conf).failure();
        assert_eq!(world.snapshot(), empty, "{conf}");
    }
    // After the ports are there: somebody has a device of the ifb's name.
    let ifb = result["interfaces"][3]["name"].as_str().unwrap();
    command("ip", &["link", "add", ifb, "type", "bridge"]);
    let before = world.snapshot();
    assert!(world.call("ADD", &pod, &usual).failure().1.contains(ifb));
    assert_eq!(world.snapshot(), before);
    // A second ADD fails, too, and leaves the first one's.
    command("ip", &["link", "del", ifb]);
    let result = world.add(&pod, &usual);
    let before = (world.snapshot(), command("tc", &["qdisc"]));
    world.call("ADD", &pod, &usual).failure();
    assert_eq!((world.snapshot(), command("tc", &["qdisc"])), before);
    world.call("CHECK", &pod, &with_result(&usual, &result)).ok();
});

story!(gc_removes_ports_and_devices_of_lost_pods, |world: World| {
    let runtime = |port: u16| {
        let mut runtime = passed();
        runtime["portMappings"] = json!([{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]);
        runtime.as_object_mut().unwrap().remove("ips");
        runtime
    };
    let [kept, lost] = ["kept", "lost"].map(Pod::new);
    let conf = alone(&world, runtime(8080));
    let result = world.add(&kept, &conf);
    world.add(&lost, &alone(&world, runtime(8081)));
    lost.netns.command("ip", &["link", "del", "eth0"]);
    let mut gc = alone(&world, json!({}));
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "kept", "ifname": "eth0"}]);
    world.call_with("STATUS", &gc, &[]).ok();
    world.call_with("GC", &gc, &[]).ok();
    let rules = command("nft", &["list", "table", "ip", "gantry-hostport"]);
    assert!(rules.contains("8080") && !rules.contains("8081"), "{rules}");
    assert_eq!(
        command("ip", &["-o", "link", "show", "type", "ifb"])
            .lines()
            .count(),
        1
    );
    world.call("CHECK", &kept, &with_result(&conf, &result)).ok();
    let mut unusable = gc.clone();
    unusable["conditionsV4"] = json!(["-m", "set"]);
    world.call_with("STATUS", &unusable, &[]).failure();
});
