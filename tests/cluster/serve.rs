//! `make cluster`: the cluster kept for a person, who reaches its API server from outside its namespaces.
//!
//! Inside, a socket file in the story's directory leads to the API server; outside, a port of 127.0.0.1 leads to that
//! file. So nothing of the machine's network is touched, and TLS goes from one end to the other.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Cluster;
use crate::control_plane::{ADMIN, PORT};
use crate::ending;
use crate::node::here;
use crate::wait::wait_for;
use crate::world::{World, control_plane, repository};

/// The socket file and the kubeconfig, below the story's directory.
const SOCKET: &str = "api.sock";
const KUBECONFIG: &str = "admin.conf";
/// What the inside says when it is ready.
const READY: &str = "ready";

/// Starts the cluster, reports that it is ready, and passes connections on until it is killed.
pub fn inside() -> ExitCode {
    let _cluster = Cluster::start();
    std::fs::copy(ADMIN, here(KUBECONFIG)).expect("kubeadm has written it");
    block_on(async {
        let listener = UnixListener::bind(here(SOCKET)).expect("a private directory");
        println!("{READY}");
        loop {
            let (near, _) = listener.accept().await.expect("the socket stays");
            tokio::spawn(pass(near, TcpStream::connect(("127.0.0.1", PORT))));
        }
    })
}

/// Has the cluster until Ctrl-C.
pub fn outside() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("A cluster needs root: sudo make cluster");
        return ExitCode::FAILURE;
    }
    let begun = Instant::now();
    let world = match World::new("served") {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let kubeconfig = Kubeconfig::reserve();
    block_on(async {
        // From here on no signal ends this process before it has ended what it started.
        let mut interrupt = signal(SignalKind::interrupt()).expect("a handler can be set");
        let mut terminate = signal(SignalKind::terminate()).expect("a handler can be set");
        // In a process group of its own: Ctrl-C is for this process alone.
        let mut child = world
            .command(&["--inside", "serve"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let code = tokio::select! {
            _ = interrupt.recv() => ExitCode::SUCCESS,
            _ = terminate.recv() => ExitCode::SUCCESS,
            why = serve(&world, &mut child, &kubeconfig, begun) => {
                eprintln!("{why}{}", crate::world::log_ends(&world.dir, LOGS));
                ExitCode::FAILURE
            }
        };
        let _ = child.kill(); // unshare takes everything inside with it (--kill-child)
        child.wait().expect("our own child");
        code
    })
}

/// Whose ends are shown where the cluster did not start, or ended by itself.
const LOGS: &[&str] = &["apiserver.log", "controllers.log", "agent.log", "containerd.log"];

/// Waits until the cluster is ready, prints so, and passes connections on. Returns if it ended by itself.
async fn serve(world: &World, child: &mut Child, kubeconfig: &Kubeconfig, begun: Instant) -> String {
    let output = child.stdout.take().expect("a pipe was asked for");
    let (said, mut lines) = tokio::sync::mpsc::unbounded_channel();
    // A thread that waits for a line cannot be cut off; it ends with the child.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    while let Some(line) = lines.recv().await {
        if line == READY {
            break;
        }
        println!("{line}");
    }
    let listener = match TcpListener::bind("127.0.0.1:0").await {
        Ok(listener) => listener,
        Err(error) => return format!("no port of 127.0.0.1 can be had: {error}"),
    };
    let port = listener.local_addr().expect("a bound socket").port();
    let Ok(inner) = std::fs::read_to_string(world.dir.join(KUBECONFIG)) else {
        return "the cluster did not start".to_owned();
    };
    kubeconfig.write(&inner.replace(&format!(":{PORT}"), &format!(":{port}")));
    greet(&kubeconfig.0, begun);
    let socket = world
        .dir
        .strip_prefix(repository())
        .unwrap_or(&world.dir)
        .join(SOCKET);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    tokio::spawn(pass(near, UnixStream::connect(socket.clone())));
                }
            }
            line = lines.recv() => match line {
                Some(line) => println!("{line}"),
                None => return "the cluster ended by itself".to_owned(),
            },
        }
    }
}

fn greet(kubeconfig: &Path, begun: Instant) {
    println!(
        "\nA Kubernetes v1.36 with one node, which is gantry, after {:.0} s. Nothing of it is on the machine itself.

  export KUBECONFIG={}
  {} get nodes

Images: gantry.local/demo:1 (a web server), gantry.local/busybox:1.
Ctrl-C takes it down.",
        begun.elapsed().as_secs_f64(),
        kubeconfig.display(),
        control_plane("kubectl").display(),
    );
}

/// The kubeconfig for the person; gone with this value.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn reserve() -> Kubeconfig {
        Kubeconfig(repository().join("target/cluster.kubeconfig"))
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("target/ can be written");
        // Under sudo it is for the person who called.
        let owner = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        std::os::unix::fs::chown(&self.0, owner, None).expect("root may give it away");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&self.0, mode).expect("our own file");
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn pass<Near, Far>(mut near: Near, far: impl Future<Output = std::io::Result<Far>>)
where
    Near: AsyncRead + AsyncWrite + Unpin,
    Far: AsyncRead + AsyncWrite + Unpin,
{
    if let Ok(mut far) = far.await {
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime in a test")
        .block_on(what)
}

/// A story that runs outside the namespaces: its name, and what it does.
pub type Outside = (&'static str, fn() -> Result<(), String>);

/// Those that there are.
pub const STORIES: &[Outside] = &[(
    "serve::make_cluster_is_there_for_a_person_until_ctrl_c",
    make_cluster_is_there_for_a_person_until_ctrl_c,
)];

fn make_cluster_is_there_for_a_person_until_ctrl_c() -> Result<(), String> {
    let reported = std::panic::catch_unwind(|| {
        let log = repository().join("target/test-logs/make-cluster.log");
        std::fs::create_dir_all(log.parent().expect("it has one")).expect("target/ can be written");
        let output = std::fs::File::create(&log).expect("target/ can be written");
        let hold = ending::Hold::new();
        let child = Command::new("make")
            .arg("cluster")
            .current_dir(repository())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of an open file"))
            .stderr(output)
            .spawn()
            .expect("make is there");
        let made = Made { child, _hold: hold };
        let kubeconfig = wait_for(
            "make cluster to say how it is reached",
            Duration::from_secs(120),
            || {
                assert!(!ending::is_asked(), "the run is asked to end");
                let said = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
                let line = said
                    .lines()
                    .find_map(|line| line.trim().strip_prefix("export KUBECONFIG="));
                line.map(str::to_owned).ok_or(said)
            },
        );
        use_as_a_person(&kubeconfig);
        made.interrupt();
        assert!(!Path::new(&kubeconfig).exists(), "the kubeconfig stays");
    });
    reported.map_err(|_| "it failed, as told above; more in target/test-logs/make-cluster.log".to_owned())
}

fn use_as_a_person(kubeconfig: &str) {
    let kubectl = control_plane("kubectl").display().to_string();
    let run = |arguments: &[&str]| {
        let command = [&[kubectl.as_str(), "--kubeconfig", kubeconfig], arguments].concat();
        crate::process::run(&command)
    };
    let nodes: Value =
        serde_json::from_str(&run(&["get", "nodes", "-o", "json"])).expect("kubectl prints JSON");
    assert_eq!(nodes["items"][0]["metadata"]["name"], "node-1");
    run(&["run", "web", "--image=gantry.local/demo:1"]);
    run(&["wait", "--for=condition=Ready", "pod/web", "--timeout=30s"]);
}

/// `make cluster` as it runs: however the story ends, it is interrupted as by Ctrl-C, and waited for.
struct Made {
    child: Child,
    _hold: ending::Hold,
}

impl Made {
    fn interrupt(self) {
        drop(self);
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).expect("the kernel's process ids are small");
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), Signal::SIGINT);
        let _ = self.child.wait();
    }
}
