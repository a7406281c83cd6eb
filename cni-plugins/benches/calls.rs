//! How long a runtime waits for the plugins, and how fast the network is that they make. With
//! `CNI_PATH_BESIDE=/usr/lib/cni cargo bench -p gantry-cni` the plugins there are measured in the same run by the same
//! code. Beside both stands the floor: the netlink requests that make the same state, by this process itself.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    dead_code,
    reason = "a program for developers"
)]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "calls/throughput.rs"]
mod throughput;

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gantry_cni::netlink::addr::{self, Detection};
use gantry_cni::netlink::link::{self, Link, Mac, NewVeth};
use gantry_cni::netlink::route::{self, Route};
use gantry_cni::netlink::socket::Socket;
use gantry_cni::netns;
use serde_json::{Value, json};
use support::{Pod, World, call_raw, command, isolated};

/// Other plugins to measure.
const BESIDE: &str = "CNI_PATH_BESIDE";
/// How often each call is measured.
const CALLS: usize = 40;
/// How many pods there are while calls are measured.
const CROWDS: [usize; 2] = [1, 200];

fn main() {
    isolated("calls", |world| {
        let beside = std::env::var_os(BESIDE).map(PathBuf::from);
        let mut sides = vec![Plugins::new("ours", world.plugins().to_path_buf(), &world, 1)];
        sides.extend(beside.map(|path| Plugins::new("theirs", path, &world, 2)));
        let floor = Floor::new();
        // First: what others leave in the host's firewall slows its packets down.
        throughput::measure(&sides[0], &floor);
        for crowd in CROWDS {
            measure_in_crowd(crowd, &floor, &sides);
        }
        for side in &sides {
            side.measure_start();
            side.measure_list(&world);
        }
    });
}

/// What connects a pod and disconnects it.
trait Connect {
    fn name(&self) -> &'static str;
    fn add(&self, pod: &Pod, number: usize);
    fn del(&self, pod: &Pod);
}

/// All sides in turns, each with as many pods besides.
fn measure_in_crowd(crowd: usize, floor: &Floor, plugins: &[Plugins]) {
    let mut sides: Vec<&dyn Connect> = vec![floor];
    sides.extend(plugins.iter().map(|side| side as &dyn Connect));
    let pods = |what: &str, count: usize, side: &&dyn Connect| -> Vec<Pod> {
        let name = side.name();
        (0..count)
            .map(|number| Pod::new(&format!("{what}{number}-{name}")))
            .collect()
    };
    let others: Vec<Vec<Pod>> = sides.iter().map(|side| pods("other", crowd, side)).collect();
    for (side, others) in sides.iter().zip(&others) {
        others
            .iter()
            .zip(2..)
            .for_each(|(pod, number)| side.add(pod, number));
    }
    let mut times: Vec<[Vec<Duration>; 2]> = sides.iter().map(|_| Default::default()).collect();
    let measured: Vec<Vec<Pod>> = sides.iter().map(|side| pods("pod", CALLS, side)).collect();
    for number in 0..CALLS {
        for ((side, pods), [adds, dels]) in sides.iter().zip(&measured).zip(&mut times) {
            let begin = Instant::now();
            side.add(&pods[number], 1000 + number);
            adds.push(begin.elapsed());
            let begin = Instant::now();
            side.del(&pods[number]);
            dels.push(begin.elapsed());
        }
    }
    let times: Vec<[Duration; 2]> = times.into_iter().map(|times| times.map(median)).collect();
    for (side, [add, del]) in sides.iter().zip(&times) {
        let ratio = |time: &Duration, floor: &Duration| time.as_secs_f64() / floor.as_secs_f64();
        eprintln!(
            "{crowd} pods, {}: ADD {add:.1?} ({:.1} x), DEL {del:.1?} ({:.1} x)",
            side.name(),
            ratio(add, &times[0][0]),
            ratio(del, &times[0][1])
        );
    }
    for (side, others) in sides.iter().zip(&others) {
        others.iter().for_each(|pod| side.del(pod));
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Plugins with a network of their own.
struct Plugins {
    name: &'static str,
    path: PathBuf,
    conf: Value,
}

impl Plugins {
    fn new(name: &'static str, path: PathBuf, world: &World, number: u8) -> Self {
        let ipam = json!({"type": "host-local", "subnet": format!("10.{number}.0.0/16"), "dataDir": world.dir().join(name)});
        let more = json!({"name": name, "bridge": format!("cni{number}"), "ipMasq": false, "hairpinMode": false, "ipam": ipam});
        Plugins {
            name,
            path,
            conf: world.bridge_conf(more),
        }
    }

    fn call(&self, command: &str, pod: &Pod, conf: &Value) -> Value {
        let variables = [
            ("CNI_CONTAINERID", pod.id.as_str()),
            ("CNI_NETNS", pod.netns.path.to_str().unwrap()),
            ("CNI_IFNAME", "eth0"),
        ];
        let program = self.path.join(conf["type"].as_str().unwrap());
        let input = conf.to_string();
        call_raw(&program, &self.path, command, input.as_bytes(), &variables).ok()
    }

    /// What starting the program alone takes of each call.
    fn measure_start(&self) {
        let pod = Pod::new("none");
        let times = (0..CALLS).map(|_| {
            let begin = Instant::now();
            self.call("VERSION", &pod, &self.conf);
            begin.elapsed()
        });
        eprintln!("VERSION, {}: {:.1?}", self.name, median(times.collect()));
    }

    /// The plugins that most pods do not need, each after `bridge`.
    fn measure_list(&self, world: &World) {
        let rate = json!({"ingressRate": 80_000_000, "ingressBurst": 800_000, "egressRate": 80_000_000, "egressBurst": 800_000});
        let masquerading = {
            let mut conf = self.conf.clone();
            conf["ipMasq"] = json!(true);
            conf
        };
        for (name, bridge, chained) in [
            ("bridge with ipMasq", masquerading, None),
            (
                "portmap",
                self.conf.clone(),
                Some(
                    json!({"runtimeConfig": {"portMappings": [{"hostPort": 20000, "containerPort": 80, "protocol": "tcp"}]}}),
                ),
            ),
            (
                "bandwidth",
                self.conf.clone(),
                Some(json!({"runtimeConfig": {"bandwidth": rate}})),
            ),
            ("firewall", self.conf.clone(), Some(json!({}))),
        ] {
            let (mut adds, mut dels) = (Vec::new(), Vec::new());
            for number in 0..CALLS / 2 {
                let pod = Pod::new(&format!("pod{number}"));
                let mut begin = Instant::now();
                let result = self.call("ADD", &pod, &bridge);
                let conf = chained.clone().map(|more| {
                    let mut conf = world.portmap_conf(&result, json!([]));
                    conf["type"] = json!(name);
                    conf.as_object_mut()
                        .unwrap()
                        .extend(more.as_object().unwrap().clone());
                    conf
                });
                if let Some(conf) = &conf {
                    begin = Instant::now();
                    self.call("ADD", &pod, conf);
                }
                adds.push(begin.elapsed());
                let mut begin = Instant::now();
                if let Some(conf) = &conf {
                    self.call("DEL", &pod, conf);
                    dels.push(begin.elapsed());
                    begin = Instant::now();
                }
                self.call("DEL", &pod, &bridge);
                if conf.is_none() {
                    dels.push(begin.elapsed());
                }
            }
            eprintln!(
                "{name}, {}: ADD {:.1?}, DEL {:.1?}",
                self.name,
                median(adds),
                median(dels)
            );
        }
    }
}

/// The state that `bridge` makes for a pod, by its netlink requests alone: a veth into a bridge, an address, a default
/// route, up, and able to pass packets.
struct Floor {
    bridge: Link,
}

impl Floor {
    fn new() -> Self {
        command("ip", &["link", "add", "floor0", "type", "bridge"]);
        command("ip", &["addr", "add", "10.3.0.1/16", "dev", "floor0"]);
        command("ip", &["link", "set", "floor0", "up"]);
        let bridge = link::by_name(&mut Socket::route().unwrap(), "floor0").unwrap();
        Floor {
            bridge: bridge.unwrap(),
        }
    }
}

impl Connect for Plugins {
    fn name(&self) -> &'static str {
        self.name
    }

    fn add(&self, pod: &Pod, _: usize) {
        self.call("ADD", pod, &self.conf);
    }

    fn del(&self, pod: &Pod) {
        self.call("DEL", pod, &self.conf);
    }
}

impl Connect for Floor {
    fn name(&self) -> &'static str {
        "bare netlink"
    }

    fn del(&self, pod: &Pod) {
        let namespace = netns::open(&pod.netns.path).unwrap();
        let mut inside = netns::open_socket(&namespace).unwrap();
        let found = link::by_name(&mut inside.0, "eth0").unwrap().unwrap();
        link::delete(&mut inside.0, &found).unwrap();
    }

    fn add(&self, pod: &Pod, number: usize) {
        let namespace: File = netns::open(&pod.netns.path).unwrap();
        let mut inside = netns::open_socket(&namespace).unwrap().0;
        let mut host = Socket::route().unwrap();
        let name = format!("bare{number}");
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        let mac = Mac([2, 0, 0, 0, high, low]);
        let veth = NewVeth {
            host_name: &name,
            bridge: self.bridge.index,
            pod_name: "eth0",
            pod_netns: &namespace,
            pod_mac: mac,
            mtu: None,
        };
        let port = link::add_veth(&mut host, &veth).unwrap();
        let found = link::other_end(&port, "eth0", mac);
        let address = format!("10.3.{}.{}/16", number / 250, number % 250 + 2);
        let address = address.parse().unwrap();
        addr::add(&mut inside, &found, address, Detection::None).unwrap();
        link::set_up(&mut inside, &found, true).unwrap();
        let default = Route::new("0.0.0.0/0".parse().unwrap(), Some("10.3.0.1".parse().unwrap()));
        route::add(&mut inside, &found, &default).unwrap();
        while !link::by_name(&mut host, &name).unwrap().unwrap().operational {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
