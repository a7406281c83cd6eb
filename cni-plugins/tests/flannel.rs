//! `flannel` against a real kernel, each story in private namespaces (see `support`).
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Netns, Pod, World, address, ask_tcp, command, isolated, serve};

/// Debian has no plugin of this name, so these stories are about ours alone.
macro_rules! story {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            isolated(stringify!($name), |world: World| {
                if world.ours {
                    let body: fn(World) = $body;
                    body(world)
                }
            });
        }
    };
}

const NODE: &str =
    "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1400\nFLANNEL_IPMASQ=false\n";

fn subnet_file(world: &World) -> PathBuf {
    world.dir().join("subnet.env")
}

fn saved(world: &World, id: &str) -> PathBuf {
    world.dir().join("flannel").join(id)
}

/// The configuration of flannel's own DaemonSet, with `more` on top.
fn flannel_conf(world: &World, more: Value) -> Value {
    let mut conf = json!({
        "cniVersion": "1.0.0", "name": "cbr0", "type": "flannel",
        "delegate": {"hairpinMode": true, "isDefaultGateway": true},
        "subnetFile": subnet_file(world), "dataDir": world.dir().join("flannel"),
        "ipam": {"dataDir": world.dir().join("ipam")},
    });
    conf.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    conf
}

fn with(mut conf: Value, key: &str, value: Value) -> Value {
    conf[key] = value;
    conf
}

story!(a_pod_gets_what_the_daemon_wrote, |world| {
    std::fs::write(subnet_file(&world), NODE).unwrap();
    let conf = flannel_conf(&world, json!({}));
    let outside = world.outside();
    outside.run(|| serve("outside", 80));
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let result = world.add(&one, &conf);
    assert_eq!(address(&result).to_string(), "10.1.17.2");
    assert_eq!(result["interfaces"][0]["name"], "cni0");
    assert!(
        one.netns
            .command("ip", &["link", "show", "eth0"])
            .contains("mtu 1400")
    );
    let routes = one.netns.command("ip", &["route"]);
    assert!(
        routes.contains("default via 10.1.17.1") && routes.contains("10.1.0.0/16 via 10.1.17.1"),
        "{routes}"
    );
    world.add(&two, &conf);
    two.netns.run(|| serve("two", 80));
    let ask = |from: &Netns, to: [u8; 4]| from.run(|| ask_tcp((std::net::IpAddr::from(to), 80)));
    assert_eq!(ask(&one.netns, [10, 1, 17, 3]), Ok("two 10.1.17.2".to_string()));
    // The daemon does not masquerade, so the bridge does.
    assert_eq!(
        ask(&one.netns, [192, 0, 2, 2]),
        Ok("outside 192.0.2.1".to_string())
    );
    let checked = with(conf.clone(), "prevResult", result);
    world.call("CHECK", &one, &checked).ok();
    one.netns.command("ip", &["link", "set", "eth0", "down"]);
    assert!(world.call("CHECK", &one, &checked).failure().1.contains("eth0"));
    world.del(&one, &conf);
    world.del(&one, &conf);
    assert!(!saved(&world, "one").exists() && saved(&world, "two").exists());
});

story!(del_undoes_what_add_did_whatever_the_file_says_by_then, |world| {
    std::fs::write(subnet_file(&world), NODE).unwrap();
    let conf = flannel_conf(&world, json!({}));
    let first = Pod::new("first");
    world.add(&first, &conf);
    let before = world.snapshot();
    for after in ["", "FLANNEL_NETWORK=10.9.0.0/16\n", "nonsense"] {
        std::fs::write(subnet_file(&world), NODE).unwrap();
        let pod = Pod::new("one");
        world.add(&pod, &conf);
        std::fs::write(subnet_file(&world), after).unwrap();
        world.del(&pod, &conf);
        assert_eq!(world.snapshot(), before, "{after:?}");
    }
    std::fs::write(subnet_file(&world), NODE).unwrap();
    // A file that a power failure cut, and one that the original plugin has written.
    for text in [
        String::new(),
        "{\"name\":".to_string(),
        json!({"cniVersion": "1.0.0", "type": "bridge", "name": "cbr0", "mtu": 1400, "ipMasq": true, "isGateway": true,
            "runtimeConfig": null, "ipam": {"type": "host-local", "dataDir": world.dir().join("ipam"),
                "ranges": [[{"subnet": "10.1.17.0/24"}]], "routes": [{"dst": "10.1.0.0/16"}]}})
        .to_string(),
    ] {
        let pod = Pod::new("one");
        world.add(&pod, &conf);
        std::fs::write(saved(&world, "one"), text).unwrap();
        world.del(&pod, &conf);
        assert_eq!(world.snapshot(), before);
        assert!(!saved(&world, "one").exists());
    }
});

story!(both_families_come_from_one_file, |world| {
    let both = format!("{NODE}FLANNEL_IPV6_NETWORK=fd00::/56\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\n");
    std::fs::write(subnet_file(&world), both).unwrap();
    let conf = flannel_conf(&world, json!({}));
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let result = world.add(&one, &conf);
    world.add(&two, &conf);
    let addresses: Vec<_> = result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip["address"].as_str().unwrap())
        .collect();
    assert_eq!(addresses, ["10.1.17.2/24", "fd00:0:0:1::2/64"]);
    two.netns.run(|| serve("two", 80));
    let to = "fd00:0:0:1::3".parse::<std::net::IpAddr>().unwrap();
    assert_eq!(
        one.netns.run(|| ask_tcp((to, 80))),
        Ok("two fd00:0:0:1::2".to_string())
    );
    world.del(&one, &conf);
});

story!(a_daemon_that_has_not_started_is_worth_another_try, |world| {
    let conf = flannel_conf(&world, json!({"cniVersion": "1.1.0"}));
    let pod = Pod::new("one");
    let before = world.snapshot();
    assert_eq!(world.call("ADD", &pod, &conf).failure().0, 11);
    assert_eq!(world.call_with("STATUS", &conf, &[]).failure().0, 50);
    world.del(&pod, &conf);
    assert_eq!(world.call("CHECK", &pod, &conf).failure().0, 3);
    std::fs::write(subnet_file(&world), "FLANNEL_MTU=x\n").unwrap();
    let broken = world.call("ADD", &pod, &conf);
    assert_eq!(broken.failure().0, 5);
    assert!(broken.failure().1.contains("FLANNEL_MTU"), "{}", broken.json);
    assert_eq!(world.snapshot(), before);
    std::fs::write(subnet_file(&world), NODE).unwrap();
    world.call_with("STATUS", &conf, &[]).ok();
    world.add(&pod, &conf);
});

story!(a_second_add_leaves_the_first_one_s_configuration, |world| {
    std::fs::write(subnet_file(&world), NODE).unwrap();
    let conf = flannel_conf(&world, json!({}));
    let pod = Pod::new("one");
    world.add(&pod, &conf);
    let (kept, before) = (
        std::fs::read_to_string(saved(&world, "one")).unwrap(),
        world.snapshot(),
    );
    std::fs::write(subnet_file(&world), NODE.replace("1400", "1300")).unwrap();
    world.call("ADD", &pod, &conf).failure();
    assert_eq!(std::fs::read_to_string(saved(&world, "one")).unwrap(), kept);
    assert_eq!(world.snapshot(), before);
});

story!(gc_collects_addresses_and_saved_configurations, |world| {
    std::fs::write(subnet_file(&world), NODE).unwrap();
    let conf = flannel_conf(&world, json!({"cniVersion": "1.1.0"}));
    let pods = ["kept", "lost"].map(Pod::new);
    pods.iter().for_each(|pod| drop(world.add(pod, &conf)));
    std::fs::write(saved(&world, "foreign"), r#"{"name": "other", "type": "bridge"}"#).unwrap();
    for file in [NODE, ""] {
        std::fs::write(subnet_file(&world), file).unwrap();
        let valid = json!([{"containerID": "kept", "ifname": "eth0"}]);
        let gc = with(conf.clone(), "cni.dev/valid-attachments", valid);
        world.call_with("GC", &gc, &[]).ok();
        let files = &world.snapshot()["files"];
        assert!(
            files.contains("10.1.17.2") && !files.contains("10.1.17.3"),
            "{files}"
        );
        let left = ["kept", "lost", "foreign"].map(|id| saved(&world, id).exists());
        assert_eq!(left, [true, false, true]);
    }
    let none = with(conf, "cni.dev/valid-attachments", json!([]));
    world.call_with("GC", &none, &[]).ok();
    assert!(!world.snapshot()["files"].contains("10.1.17"));
    assert!(!saved(&world, "kept").exists());
});

story!(
    another_delegate_is_called_with_the_merged_configuration,
    |world| {
        std::fs::write(subnet_file(&world), NODE).unwrap();
        let plugins = world.dir().join("more");
        std::fs::create_dir(&plugins).unwrap();
        let script = format!(
            "#!/bin/sh\ncat > {0}/stdin.$CNI_COMMAND\n[ -e {0}/fail ] && {{ echo '{{\"code\":11,\"msg\":\"later\"}}'; exit 1; }}\n\
         [ $CNI_COMMAND = ADD ] && echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.1.17.9/24\"}}]}}'\nexit 0\n",
            plugins.display()
        );
        std::fs::write(plugins.join("mine"), script).unwrap();
        std::fs::set_permissions(plugins.join("mine"), PermissionsExt::from_mode(0o755)).unwrap();
        let conf = flannel_conf(
            &world,
            json!({"delegate": {"type": "mine", "master": "eth7"}, "runtimeConfig": {"mac": "02:00:00:00:00:01"}}),
        );
        let pod = Pod::new("one");
        let netns = pod.netns.path.to_str().unwrap();
        let path = plugins.to_str().unwrap();
        let variables = [
            ("CNI_CONTAINERID", "one"),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", path),
        ];
        let result = world.call_with("ADD", &conf, &variables).ok();
        assert_eq!(address(&result).to_string(), "10.1.17.9");
        let stdin = |command: &str| -> Value {
            serde_json::from_slice(&std::fs::read(plugins.join(format!("stdin.{command}"))).unwrap()).unwrap()
        };
        let given = stdin("ADD");
        assert_eq!(
            (
                &given["master"],
                &given["mtu"],
                &given["name"],
                &given["isGateway"]
            ),
            (&json!("eth7"), &json!(1400), &json!("cbr0"), &Value::Null)
        );
        assert_eq!(given["runtimeConfig"]["mac"], "02:00:00:00:00:01");
        std::fs::write(plugins.join("fail"), "").unwrap();
        assert_eq!(world.call_with("DEL", &conf, &variables).failure().0, 11);
        assert!(saved(&world, "one").exists());
        std::fs::remove_file(plugins.join("fail")).unwrap();
        world.call_with("DEL", &conf, &variables).ok();
        assert_eq!(stdin("DEL"), given);
        assert!(!saved(&world, "one").exists());
        // A saved configuration is somebody's file: its plugin's name leads nowhere else either.
        std::fs::write(
            saved(&world, "one"),
            r#"{"name": "cbr0", "type": "../more/mine"}"#,
        )
        .unwrap();
        assert_eq!(world.call_with("DEL", &conf, &variables).failure().0, 7);
    }
);

story!(hostile_configurations_change_nothing, |world| {
    std::fs::write(subnet_file(&world), NODE).unwrap();
    let pod = Pod::new("one");
    let before = world.snapshot();
    for (more, code) in [
        (json!({"delegate": {"type": "../bridge"}}), 7),
        (json!({"delegate": {"type": 1}}), 7),
        (json!({"delegate": "bridge"}), 6),
        (json!({"delegate": {"name": "x"}}), 7),
        (json!({"delegate": {"ipam": {}}}), 7),
        (json!({"ipam": {"type": "/bin/sh"}}), 7),
        (json!({"ipam": {"routes": 5}}), 7),
        (json!({"subnetFile": "/nowhere/subnet.env"}), 11),
        (json!({"subnetFile": "/dev/zero"}), 5),
        (json!({"subnetFile": "/"}), 5),
        (json!({"dataDir": "/proc/flannel"}), 5),
        (json!({"name": "../x"}), 7),
        (json!({"runtimeConfig": []}), 6),
        (json!({"delegate": {"mtu": "x"}}), 6),
        (json!({"delegate": {"vlan": 4095}}), 7),
    ] {
        let answer = world.call("ADD", &pod, &flannel_conf(&world, more.clone()));
        assert_eq!(answer.failure().0, code, "{more}: {}", answer.json);
    }
    assert_eq!(world.snapshot(), before);
    assert!(std::fs::read_dir(world.dir().join("flannel")).map_or(true, |mut dir| dir.next().is_none()));
    assert!(!command("ip", &["-br", "link"]).contains("cni0"));
});
