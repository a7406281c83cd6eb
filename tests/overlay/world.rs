//! Nodes as network namespaces, each with an uplink on one link, a bridge and a pod behind it. Everything is in namespaces
//! of the test's own process and goes with it.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gantry::model::overlay::{Peer, Peers, Transport};
use gantry::network::overlay::{self, Inputs, Settings, Standing};
use gantry_cni::netns;
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::isolation;
use crate::wait::wait_for;

/// How long anything may take on a busy machine.
pub const LONG: Duration = Duration::from_secs(20);

/// Runs a story in a process of its own, in new namespaces.
pub fn isolated(name: &str, story: impl FnOnce()) {
    isolation::isolated(name, || {
        // Names of namespaces are mounts below /run.
        run("mount", &["-t", "tmpfs", "none", "/run"]);
        story();
    });
}

/// Runs a program that must succeed; what it prints.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("it is installed");
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The link that connects the nodes. Nodes are numbered from 1.
pub struct Lan;

impl Lan {
    pub fn new() -> Lan {
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", "lan", "type", "bridge"]);
        run("ip", &["link", "set", "lan", "up"]);
        Lan
    }
}

/// One node with a pod.
pub struct Node {
    pub number: u8,
    pub peers: watch::Sender<Peers>,
    pub addresses: watch::Sender<Arc<[IpAddr]>>,
    standing: watch::Receiver<Standing>,
    inputs: Inputs,
    agent: Option<(CancellationToken, JoinHandle<()>)>,
    _state: TempDir,
}

/// Which IP family a world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// A node's address on the link, with its prefix.
    fn uplink(self, number: u8) -> IpNet {
        match self {
            Family::V4 => format!("192.0.2.{number}/24"),
            Family::V6 => format!("2001:db8::{number}/64"),
        }
        .parse()
        .unwrap()
    }

    pub fn network(self) -> IpNet {
        match self {
            Family::V4 => "10.244.0.0/16",
            Family::V6 => "fd00:10:244::/56",
        }
        .parse()
        .unwrap()
    }

    pub fn subnet(self, number: u8) -> IpNet {
        match self {
            Family::V4 => format!("10.244.{number}.0/24"),
            Family::V6 => format!("fd00:10:244:{number}::/64"),
        }
        .parse()
        .unwrap()
    }

    /// An address in a node's subnet.
    fn of_pods(self, number: u8, host: u8) -> IpAddr {
        match self {
            Family::V4 => format!("10.244.{number}.{host}"),
            Family::V6 => format!("fd00:10:244:{number}::{host}"),
        }
        .parse()
        .unwrap()
    }
}

impl Node {
    /// A node whose agent does not run yet.
    pub fn new(number: u8, family: Family, transport: Transport) -> Node {
        let (node, pod) = (namespace(number), pod_namespace(number));
        let (uplink, gateway, own) = (
            family.uplink(number),
            family.of_pods(number, 1),
            family.of_pods(number, 2),
        );
        let prefix = family.subnet(number).prefix_len();
        let port = format!("port{number}");
        for name in [&node, &pod] {
            run("ip", &["netns", "add", name]);
            inside(name, &["ip", "link", "set", "lo", "up"]);
            // Duplicate address detection takes a second.
            sysctl(name, "net/ipv6/conf/default/accept_dad", "0");
        }
        run(
            "ip",
            &[
                "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &node,
            ],
        );
        run("ip", &["link", "set", &port, "master", "lan", "up"]);
        inside(
            &node,
            &["ip", "address", "add", &uplink.to_string(), "dev", "eth0"],
        );
        inside(&node, &["ip", "link", "set", "eth0", "up"]);
        inside(&node, &["ip", "link", "add", "gantry0", "type", "bridge"]);
        inside(
            &node,
            &[
                "ip",
                "address",
                "add",
                &format!("{gateway}/{prefix}"),
                "dev",
                "gantry0",
            ],
        );
        inside(&node, &["ip", "link", "set", "gantry0", "up"]);
        inside(
            &node,
            &[
                "ip", "link", "add", "veth1", "type", "veth", "peer", "name", "eth0", "netns", &pod,
            ],
        );
        inside(&node, &["ip", "link", "set", "veth1", "master", "gantry0", "up"]);
        inside(
            &pod,
            &["ip", "address", "add", &format!("{own}/{prefix}"), "dev", "eth0"],
        );
        inside(&pod, &["ip", "link", "set", "eth0", "up"]);
        inside(
            &pod,
            &["ip", "route", "add", "default", "via", &gateway.to_string()],
        );
        sysctl(&node, "net/ipv4/ip_forward", "1");
        sysctl(&node, "net/ipv6/conf/all/forwarding", "1");

        let state = tempfile::tempdir().unwrap();
        let (peers, of_peers) = watch::channel(Peers::Known([].into()));
        let (addresses, of_addresses) = watch::channel([uplink.addr()].into());
        let (out, standing) = watch::channel(Standing::default());
        let inputs = Inputs {
            settings: Settings {
                name: format!("n{number}"),
                network: family.network(),
                transport,
                state_dir: state.path().to_owned(),
            },
            subnets: watch::channel(vec![family.subnet(number)]).1,
            addresses: of_addresses,
            peers: of_peers,
            out,
        };
        Node {
            number,
            peers,
            addresses,
            standing,
            inputs,
            agent: None,
            _state: state,
        }
    }

    /// Tells it of all nodes.
    pub fn know(&self, all: Vec<Peer>) {
        self.peers
            .send_replace(Peers::Known(all.into_iter().map(Arc::new).collect()));
    }

    /// Starts the agent's part in the node's namespace.
    pub fn start(&mut self) {
        assert!(self.agent.is_none(), "it runs already");
        let inputs = Inputs {
            settings: self.inputs.settings.clone(),
            subnets: self.inputs.subnets.clone(),
            addresses: self.inputs.addresses.clone(),
            peers: self.inputs.peers.clone(),
            out: self.inputs.out.clone(),
        };
        let (cancel, namespace) = (CancellationToken::new(), open(&namespace(self.number)));
        let canceled = cancel.clone();
        let thread = std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(overlay::run(inputs, canceled));
        });
        self.agent = Some((cancel, thread));
    }

    /// Ends it, as a stopped agent does.
    pub fn stop(&mut self) {
        if let Some((cancel, thread)) = self.agent.take() {
            cancel.cancel();
            let _ = thread.join();
        }
        self.inputs.out.send_replace(Standing::default());
    }

    /// Records each change of a route or neighbor from now on.
    pub fn watch_routes(&self) -> Monitor {
        let file = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &namespace(self.number),
                "ip",
                "monitor",
                "route",
                "neigh",
            ])
            .stdout(file.reopen().unwrap())
            .spawn()
            .expect("iproute2 is installed");
        let monitor = Monitor {
            namespace: namespace(self.number),
            child,
            file,
        };
        monitor.mark("203.0.113.0/24");
        monitor
    }

    /// Its own entry, once the overlay stands.
    #[track_caller]
    pub fn entry(&self) -> Peer {
        wait_for("the overlay to stand", LONG, || {
            let standing = self.standing.borrow().clone();
            match standing {
                Standing {
                    own: Some(own),
                    is_ready: true,
                    ..
                } => Ok(own),
                other => Err(format!("{other:?}")),
            }
        })
    }

    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Runs a program in the node's namespace.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        inside(&namespace(self.number), arguments)
    }

    /// Waits until a program in the node's namespace prints what is looked for.
    #[track_caller]
    pub fn wait_until(&self, what: &str, arguments: &[&str], is_there: impl Fn(&str) -> bool) {
        wait_for(what, LONG, || {
            let printed = self.run(arguments);
            if is_there(&printed) { Ok(()) } else { Err(printed) }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What `ip monitor` prints.
pub struct Monitor {
    namespace: String,
    child: Child,
    file: tempfile::NamedTempFile,
}

impl Monitor {
    /// Makes a route of its own come and go until it is recorded: all that was before is recorded, too.
    fn mark(&self, route: &str) {
        wait_for("the monitor to record", LONG, || {
            inside(&self.namespace, &["ip", "route", "add", "blackhole", route]);
            inside(&self.namespace, &["ip", "route", "del", "blackhole", route]);
            let recorded = self.recorded();
            if recorded.contains(route) {
                Ok(())
            } else {
                Err(recorded)
            }
        });
    }

    fn recorded(&self) -> String {
        std::fs::read_to_string(self.file.path()).unwrap()
    }

    /// All that was recorded until now.
    pub fn stop(self) -> String {
        self.mark("203.0.113.128/25");
        self.recorded()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells every node of all nodes.
pub fn introduce(nodes: &[Node]) {
    let all: Vec<Peer> = nodes.iter().map(Node::entry).collect();
    for node in nodes {
        node.know(all.clone());
    }
}

/// Waits until the pods of two nodes hear each other, over TCP from one to the other.
#[track_caller]
pub fn wait_connected(from: &Node, to: &Node, family: Family) {
    let what = format!("a pod of n{} to reach one of n{}", from.number, to.number);
    wait_for(&what, LONG, || connect(from, to, family));
}

/// One attempt, which takes a second at most.
pub fn connect(from: &Node, to: &Node, family: Family) -> Result<(), String> {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let address = SocketAddr::new(family.of_pods(to.number, 2), PORT.fetch_add(1, Ordering::Relaxed));
    let (source, target) = (open(&pod_namespace(from.number)), open(&pod_namespace(to.number)));
    let listener = netns::with(&target, || TcpListener::bind(address))
        .unwrap()
        .unwrap();
    let connected = netns::with(&source, || {
        TcpStream::connect_timeout(&address, Duration::from_secs(1))
    })
    .unwrap();
    let stream = connected.map_err(|error| error.to_string())?;
    let (_, seen) = listener.accept().unwrap();
    // Nothing on the way changes who it comes from.
    assert_eq!(seen.ip(), family.of_pods(from.number, 2));
    drop(stream);
    Ok(())
}

/// Sends a packet of this size, IP header and all, that must not be fragmented, from pod to pod; whether it arrives whole.
pub fn send_whole(from: &Node, to: &Node, size: usize) -> Result<(), String> {
    let family = Family::V4;
    let (source, target) = (open(&pod_namespace(from.number)), open(&pod_namespace(to.number)));
    let address = SocketAddr::new(family.of_pods(to.number, 2), 9);
    let receiver = netns::with(&target, || UdpSocket::bind(address))
        .unwrap()
        .unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let sender = netns::with(&source, || UdpSocket::bind((family.of_pods(from.number, 2), 0)))
        .unwrap()
        .unwrap();
    set_ip_mtu_discover(&sender, Ipv4PathMtuDiscovery::DO).unwrap();
    let packet = vec![7; size - 28];
    sender
        .send_to(&packet, address)
        .map_err(|error| error.to_string())?;
    let mut got = vec![0; 65_536];
    let count = receiver
        .recv(&mut got)
        .map_err(|error| format!("not received: {error}"))?;
    assert_eq!(count, packet.len());
    Ok(())
}

fn namespace(number: u8) -> String {
    format!("n{number}")
}

fn pod_namespace(number: u8) -> String {
    format!("p{number}")
}

fn open(namespace: &str) -> File {
    File::open(format!("/run/netns/{namespace}")).unwrap()
}

#[track_caller]
fn inside(namespace: &str, arguments: &[&str]) -> String {
    run("ip", &[&["netns", "exec", namespace], arguments].concat())
}

fn sysctl(namespace: &str, name: &str, value: &str) {
    let file = format!("/proc/sys/{name}");
    netns::with(&open(namespace), || std::fs::write(&file, value))
        .unwrap()
        .unwrap();
}
