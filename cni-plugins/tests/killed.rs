//! A node in a crowd: callers beside each other connect and disconnect pods, and plugins are killed at random moments.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Pod, World, address, command, isolated};

const CALLERS: u64 = 8;
/// A thousand pods in all.
const PODS: u64 = 125;
/// The longest call takes about as long.
const LONGEST: Duration = Duration::from_millis(12);

/// Numbers that repeat with the seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// The moment at which a call is killed; every third one is.
    fn moment(&mut self) -> Option<Duration> {
        let whole = u64::try_from(LONGEST.as_micros()).unwrap();
        (self.below(3) == 0).then(|| Duration::from_micros(self.below(whole)))
    }
}

/// The same network as of `bridge`, by way of `flannel`.
fn flannel_conf(world: &World) -> Value {
    let file = world.dir().join("subnet.env");
    let text =
        "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.0.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n";
    std::fs::write(&file, text).unwrap();
    json!({
        "cniVersion": "1.1.0", "name": "net", "type": "flannel", "subnetFile": file,
        "dataDir": world.dir().join("ipam/flannel"), "ipam": {"dataDir": world.dir().join("ipam")},
        "delegate": {"hairpinMode": true, "isDefaultGateway": true},
    })
}

/// The configurations of a plugin list, in the order of ADD.
fn list(world: &World, port: u64) -> Vec<Value> {
    let rate = json!({"ingressRate": 80_000_000, "ingressBurst": 800_000, "egressRate": 80_000_000, "egressBurst": 800_000});
    let chained = |more: Value| {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net"});
        conf.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        conf
    };
    vec![
        // One pod in eight, and the first, which keeps the table.
        world.bridge_conf(json!({"cniVersion": "1.1.0", "macspoofchk": port.is_multiple_of(8)})),
        chained(json!({"type": "portmap", "runtimeConfig": {"portMappings": [
            {"hostPort": port, "containerPort": 80, "protocol": "udp"}, {"hostPort": port, "containerPort": 80}]}})),
        chained(json!({"type": "bandwidth", "runtimeConfig": {"bandwidth": rate}})),
        chained(json!({"type": "firewall", "ingressPolicy": "same-bridge"})),
    ]
}

/// What a call answered; `None` if it was killed before.
fn call(
    world: &World,
    command: &str,
    pod: &Pod,
    conf: &Value,
    kill_after: Option<Duration>,
) -> Option<Value> {
    let Some(moment) = kill_after else {
        return Some(world.call(command, pod, conf).ok());
    };
    let mut child = world.spawn(command, pod, conf, Stdio::piped());
    // Nothing is waited for here: the moment is the point.
    std::thread::sleep(moment);
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    output
        .status
        .success()
        .then(|| serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// ADD of the list; `None` if a plugin was killed.
fn add(world: &World, pod: &Pod, list: &mut [Value], random: &mut Random) -> Option<Value> {
    let mut previous = Value::Null;
    for conf in list {
        conf["prevResult"] = previous;
        previous = call(world, "ADD", pod, conf, random.moment())?;
    }
    Some(previous)
}

/// DEL of the list, until it has not been killed, as runtimes repeat it.
fn del(world: &World, pod: &Pod, list: &[Value], random: &mut Random) {
    let once = |random: &mut Random| {
        let mut plugins = list.iter().rev();
        plugins.all(|conf| call(world, "DEL", pod, conf, random.moment()).is_some())
    };
    while !once(random) {}
}

fn live_through(
    world: &World,
    flannel: &Value,
    caller: u64,
    random: &mut Random,
    live: &Mutex<BTreeSet<IpAddr>>,
) {
    for number in 0..PODS {
        let pod = Pod::new(&format!("pod{caller}-{number}"));
        let mut list = list(world, 20_000 + caller * PODS + number);
        if caller % 2 == 1 {
            list[0] = flannel.clone();
        }
        let result = add(world, &pod, &mut list, random);
        if let Some(result) = &result {
            let address = address(result);
            assert!(live.lock().unwrap().insert(address), "{address} was given twice");
        }
        if let Some(result) = result {
            for conf in list.iter_mut().filter(|_| number % 10 == 0) {
                conf["prevResult"] = result.clone();
                world.call("CHECK", &pod, conf).ok();
            }
            live.lock().unwrap().remove(&address(&result));
        }
        del(world, &pod, &list, random);
    }
}

fn everything(world: &World) -> BTreeMap<&'static str, String> {
    let mut all = world.snapshot();
    all.insert("queues", command("tc", &["qdisc"]));
    all
}

#[test]
fn a_thousand_pods_of_killed_plugins_leave_nothing() {
    isolated("a_thousand_pods_of_killed_plugins_leave_nothing", |world| {
        if !world.ours {
            return eprintln!("the plugins under test leave what they were killed at; not run");
        }
        let given = std::env::var("KILLED_SEED").ok();
        let seed = given.map_or_else(
            || u64::from(std::process::id()),
            |text| text.parse().expect("KILLED_SEED is a number"),
        );
        eprintln!("KILLED_SEED={seed}");
        // The first pod of the network makes what stays with its bridge.
        let first = Pod::new("first");
        let mut random = Random(seed);
        let mut all = list(&world, 10_000);
        let mut previous = Value::Null;
        for conf in &mut all {
            conf["prevResult"] = previous;
            previous = world.add(&first, conf);
        }
        let before = everything(&world);
        let flannel = flannel_conf(&world);
        let live = Mutex::new(BTreeSet::from([address(&previous)]));
        std::thread::scope(|scope| {
            for caller in 0..CALLERS {
                let mut random = Random(random.below(u64::MAX));
                let (world, flannel, live) = (&world, &flannel, &live);
                scope.spawn(move || live_through(world, flannel, caller, &mut random, live));
            }
        });
        assert_eq!(everything(&world), before);
        // Nor do those that nobody disconnects, once the runtime has said which ones are left.
        for number in 0..20 {
            let pod = Pod::new(&format!("lost{number}"));
            let mut list = list(&world, 30_000 + number);
            if number % 2 == 1 {
                list[0] = flannel.clone();
            }
            let _ = add(&world, &pod, &mut list, &mut random);
            // With a namespace go its interfaces. Where ADD did not get as far there is none.
            pod.netns.run(|| {
                let _ = std::process::Command::new("ip")
                    .args(["link", "del", "eth0"])
                    .output();
            });
        }
        let valid = json!([{"containerID": "first", "ifname": "eth0"}]);
        for conf in all.iter().chain([&flannel]) {
            let mut gc = conf.clone();
            gc["cni.dev/valid-attachments"] = valid.clone();
            world.call_with("GC", &gc, &[]).ok();
        }
        assert_eq!(everything(&world), before);
        for conf in all.iter_mut() {
            conf["prevResult"] = previous.clone();
            world.call("CHECK", &first, conf).ok();
        }
    });
}
