//! How fast packets of one TCP connection pass a pod's network, in the large segments that the kernel makes by itself,
//! beside a bare veth pair. All ways are measured in turns; how far the bare pair is from itself tells how exact that is.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Netns, Pod, address};
use crate::{Connect, Floor, Plugins};

/// How often each way is measured, and how long at a time.
const TURNS: usize = 100;
const TURN: Duration = Duration::from_millis(100);
/// So much of the bare pair's throughput shall remain.
const GOAL: f64 = 0.98;

/// One way from where packets are sent to where they are received. `None` is the host.
struct Way<'a> {
    name: &'static str,
    from: Option<&'a Netns>,
    to: Option<&'a Netns>,
    address: IpAddr,
    /// What is measured, and what only helps to see why.
    has_goal: bool,
}

/// Pod to pod, pod to node and node to pod.
pub(crate) fn measure(plugins: &Plugins, floor: &Floor) {
    let pods = ["one", "two"].map(Pod::new);
    let results = pods.each_ref().map(|pod| plugins.call("ADD", pod, &plugins.conf));
    let theirs = address(&results[1]);
    let gateway = results[0]["ips"][0]["gateway"].as_str().unwrap().parse().unwrap();
    let floors = ["three", "four"].map(Pod::new);
    floors
        .iter()
        .zip(0..)
        .for_each(|(pod, number)| floor.add(pod, number));
    let (near, far) = bare_pair();
    let bare = |name, has_goal| Way {
        name,
        from: Some(&near),
        to: Some(&far),
        address: [10, 4, 0, 2].into(),
        has_goal,
    };
    let way = |name, from, to, address, has_goal| Way {
        name,
        from,
        to,
        address,
        has_goal,
    };
    let [one, two] = pods.each_ref().map(|pod| Some(&pod.netns));
    let [three, four] = floors.each_ref().map(|pod| Some(&pod.netns));
    let ways = [
        bare("bare veth", false),
        bare("bare veth, again", false),
        way("pod to pod", one, two, theirs, true),
        way("pod to node", one, None, gateway, true),
        way("node to pod", None, two, theirs, true),
        // What the three cost without the plugins.
        way(
            "two bare veths and a bridge",
            three,
            four,
            [10, 3, 0, 3].into(),
            false,
        ),
        way(
            "bare veth of a bridge to node",
            three,
            None,
            [10, 3, 0, 1].into(),
            false,
        ),
        way(
            "node to bare veth of a bridge",
            None,
            four,
            [10, 3, 0, 3].into(),
            false,
        ),
    ];
    print(&ways, &in_turns(&ways));
    pods.iter().for_each(|pod| plugins.del(pod));
    floors.iter().for_each(|pod| floor.del(pod));
}

/// Two namespaces with one veth pair and nothing else.
fn bare_pair() -> (Netns, Netns) {
    let (near, far) = (Netns::new(), Netns::new());
    let pid = far.pid();
    for words in [
        &[
            "link", "add", "eth0", "type", "veth", "peer", "name", "eth1", "netns", &pid,
        ][..],
        &["addr", "add", "10.4.0.1/24", "dev", "eth0"],
        &["link", "set", "eth0", "up"],
    ] {
        near.command("ip", words);
    }
    far.command("ip", &["addr", "add", "10.4.0.2/24", "dev", "eth1"]);
    far.command("ip", &["link", "set", "eth1", "up"]);
    (near, far)
}

/// The rates of each way, one a turn. Each turn begins with another way, so that none has always the same one before it.
fn in_turns(ways: &[Way<'_>]) -> Vec<Vec<f64>> {
    let mut rates = vec![Vec::new(); ways.len()];
    for turn in 0..TURNS {
        for place in 0..ways.len() {
            let way = (turn + place) % ways.len();
            rates[way].push(throughput(&ways[way]));
        }
    }
    rates
}

/// A table with each way's rate, and its ratio to that of the bare pair in the same turn. The second way is the bare pair
/// again: what is not further from the goal than that is from itself is not told apart from the goal.
fn print(ways: &[Way<'_>], rates: &[Vec<f64>]) {
    let all: Vec<Quarters> = rates.iter().map(|own| Quarters::of(own, &rates[0])).collect();
    let noise = all[1].noise();
    eprintln!(
        "throughput, TCP, {TURNS} turns of {TURN:?}:{:>14} {:>16} {:>18}",
        "median", "of the bare veth", "half of the turns"
    );
    for ((way, own), ratio) in ways.iter().zip(rates).zip(&all) {
        let word = match ratio.middle - GOAL {
            _ if !way.has_goal => "",
            above if above.abs() < noise => "within the noise of the goal",
            0.0.. => "met",
            _ => "short of goal",
        };
        let own = sorted(own.clone());
        eprintln!(
            "  {:<34}{:>10.2} GB/s {:>14.1} % {:>7.1} to {:>5.1} %  {word}",
            way.name,
            own[own.len() / 2] / 1e9,
            ratio.middle * 100.0,
            ratio.lower * 100.0,
            ratio.upper * 100.0
        );
    }
    eprintln!(
        "  goal: at least {:.0} %; noise: {:.1} %",
        GOAL * 100.0,
        noise * 100.0
    );
}

/// How a way compares with the bare pair, turn by turn.
struct Quarters {
    lower: f64,
    middle: f64,
    upper: f64,
}

impl Quarters {
    fn of(own: &[f64], bare: &[f64]) -> Quarters {
        let ratios = sorted(own.iter().zip(bare).map(|(own, bare)| own / bare).collect());
        let [lower, middle, upper] = [1, 2, 3].map(|quarter| ratios[(ratios.len() - 1) * quarter / 4]);
        Quarters { lower, middle, upper }
    }

    /// Of what should be one: how far the median is from it, and at least how far it is likely to be from where it would
    /// be after endless turns.
    fn noise(&self) -> f64 {
        let likely = (self.upper - self.lower) / (TURNS as f64).sqrt();
        likely.max((self.middle - 1.0).abs())
    }
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

/// Bytes per second of one connection.
fn throughput(way: &Way<'_>) -> f64 {
    let listen = || TcpListener::bind((way.address, 0)).unwrap();
    let listener = match way.to {
        Some(netns) => netns.run(listen),
        None => listen(),
    };
    let at: SocketAddr = listener.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 256 << 10];
        let (begin, mut received) = (Instant::now(), 0);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return received as f64 / begin.elapsed().as_secs_f64(),
                more => received += more,
            }
        }
    });
    let connect = || TcpStream::connect(at).unwrap();
    let mut stream = match way.from {
        Some(netns) => netns.run(connect),
        None => connect(),
    };
    let buffer = vec![0; 256 << 10];
    let begin = Instant::now();
    while begin.elapsed() < TURN {
        stream.write_all(&buffer).unwrap();
    }
    drop(stream);
    reader.join().unwrap()
}
