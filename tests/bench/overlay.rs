//! The pod network between machines, as people run it: the agent with a file of peers. How soon five hundred are programmed
//! once the file names them, and whether one more takes the same time however many there are.

mod announced;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use announced::{Announced, Fact};

use crate::cost::cpu;
use crate::node::{Node, SOON, USUAL, here};
use crate::process::{run, text};
use crate::report::{Report, median, ms};
use crate::wait::wait_for;

/// So many peers have to be programmed at once,
const MANY: u32 = 500;
/// in a second.
const MOST_MS: f64 = 1000.0;
/// How many peers are there when one more comes.
const CROWDS: [u32; 3] = [1, 100, MANY];
/// What one more may take in the largest crowd, compared with the smallest: the same, and what a busy machine adds.
const FLAT: f64 = 1.25;
/// How often all come at once.
const TIMES: usize = 7;
/// How often one more comes to each crowd: so often in a row, and the crowds in turns.
const IN_A_ROW: usize = 5;
const TURNS: usize = 8;

/// This machine has it besides its own: a link that is large enough for all peers.
const OWN: &str = "198.18.0.1";
const NETWORK: &str = "10.244.0.0/14";
const SUBNET: &str = "10.244.0.0/24";

/// One after the other on one node: the second finds what the first has left, nothing of which leads anywhere.
pub fn measure(report: &mut Report) {
    run(&["ip", "address", "add", &format!("{OWN}/15"), "dev", "eth0"]);
    let mut node = Node::new(USUAL);
    for flag in [
        format!("--peers-file={}", file().display()),
        format!("--node-ip={OWN}"),
        format!("--network-cidr={NETWORK}"),
        format!("--pod-cidr={SUBNET}"),
    ] {
        node.flag(&flag);
    }
    for backend in [Backend::Vxlan, Backend::HostGw] {
        node.flag(&format!("--network-backend={}", backend.name()));
        prepare(backend, 0);
        put_in_place();
        node.start_agent();
        wait_for("the overlay to stand", SOON, || {
            let output = node.gantry(&["peer"]);
            match output.status.success() {
                true => Ok(()),
                false => Err(text(&output)),
            }
        });
        let announced = Announced::listen();
        all_at_once(backend, &announced, report);
        one_more(backend, &node, &announced, report);
        change(backend, MANY, 0, &announced);
        node.stop_agent();
    }
}

/// How packets travel.
#[derive(Clone, Copy)]
enum Backend {
    Vxlan,
    HostGw,
}

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Backend::Vxlan => "vxlan",
            Backend::HostGw => "host-gw",
        }
    }
}

/// From none to all and back, several times.
fn all_at_once(backend: Backend, announced: &Announced, report: &mut Report) {
    let (mut come, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        come.push(change(backend, 0, MANY, announced));
        gone.push(change(backend, MANY, 0, announced));
    }
    let (longest, name) = (come.iter().max().copied().unwrap_or_default(), backend.name());
    report.goal(
        &format!("{name}: {MANY} peers at once"),
        median(come).as_secs_f64() * 1000.0,
        MOST_MS,
        "ms",
    );
    report.note(format!(
        "{name}: of {TIMES} times the longest took {}; to remove all took {}",
        ms(longest),
        ms(median(gone))
    ));
}

/// One that comes and goes again, with few and with many others.
fn one_more(backend: Backend, node: &Node, announced: &Announced, report: &mut Report) {
    let mut latencies = CROWDS.map(|_| Vec::new());
    let mut costs = CROWDS.map(|_| Duration::ZERO);
    let mut there = 0;
    for _ in 0..TURNS {
        for ((crowd, latencies), cost) in CROWDS.into_iter().zip(&mut latencies).zip(&mut costs) {
            change(backend, there, crowd, announced);
            there = crowd;
            let before = cpu(node.agent_pid());
            for _ in 0..IN_A_ROW {
                latencies.push(change(backend, crowd, crowd + 1, announced));
                change(backend, crowd + 1, crowd, announced);
            }
            *cost += cpu(node.agent_pid()) - before;
        }
    }
    let name = backend.name();
    let times = latencies.map(median);
    let changes = u32::try_from(2 * TURNS * IN_A_ROW).expect("it is a small number");
    for ((crowd, time), cost) in CROWDS.iter().zip(&times).zip(&costs) {
        let cost = ms(*cost / changes);
        report.note(format!(
            "{name}: one more beside {crowd}: {}, median of {}; a change costs {cost} of CPU",
            ms(*time),
            TURNS * IN_A_ROW
        ));
    }
    let [first, .., last] = times.map(|time| time.as_secs_f64() * 1000.0);
    let what = format!("{name}: one more beside {MANY}, and beside one");
    report.against(&what, last, first, FLAT, "ms");
}

/// Changes the file, and waits until the kernel has announced all that follows; how long that took.
fn change(backend: Backend, before: u32, after: u32, announced: &Announced) -> Duration {
    let facts = |numbers: std::ops::RangeInclusive<u32>| numbers.flat_map(|number| facts(backend, number));
    let comes: BTreeSet<(Fact, bool)> = facts(before + 1..=after).map(|fact| (fact, true)).collect();
    let goes = facts(after + 1..=before).map(|fact| (fact, false));
    prepare(backend, after);
    let begun = Instant::now();
    put_in_place();
    announced.wait(comes.into_iter().chain(goes).collect()) - begun
}

/// What the kernel has for a peer.
fn facts(backend: Backend, number: u32) -> Vec<Fact> {
    let subnet = subnet(number);
    let route = Fact::Route(subnet);
    match backend {
        Backend::HostGw => vec![route],
        Backend::Vxlan => vec![
            Fact::Neighbor(subnet),
            Fact::Forwarding(mac(number).to_vec()),
            route,
        ],
    }
}

fn file() -> std::path::PathBuf {
    here("peers.yaml")
}

/// Writes a file with so many peers beside the one that is read: how long that takes is not the agent's doing.
fn prepare(backend: Backend, count: u32) {
    let mut text = String::new();
    for number in 1..=count {
        let (subnet, address) = (subnet(number), address(number));
        let data = match backend {
            Backend::HostGw => String::new(),
            Backend::Vxlan => {
                let [a, b, c, d, e, f] = mac(number);
                let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
                format!("backendData: {{VNI: 1, VtepMAC: {mac}}}\n")
            }
        };
        let name = backend.name();
        write!(
            text,
            "---\n{data}backendType: {name}\nname: vm-{number}\npublicIP: {address}\nsubnet: {subnet}/24\n"
        )
        .expect("a string grows");
    }
    std::fs::write(prepared(), text).expect("a private directory");
}

/// Where the agent's watch of the file's directory does not see it.
fn prepared() -> std::path::PathBuf {
    std::fs::create_dir_all(here("peers.new")).expect("a private directory");
    here("peers.new/peers.yaml")
}

/// Puts the file in place, as careful people and programs do.
fn put_in_place() {
    std::fs::rename(prepared(), file()).expect("a rename inside one file system");
}

/// The number of an address as the sum of that of the first one and a peer's part.
fn above(first: [u8; 4], more: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(first)) + more).into()
}

fn subnet(number: u32) -> IpAddr {
    above([10, 244, 0, 0], number << 8)
}

fn address(number: u32) -> IpAddr {
    above([198, 18, 1, 0], number)
}

fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [2, 0, a, b, c, d]
}
