//! The emulated machine and the channel into it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::wait::wait_for;

/// The longest boot: some 15 s on an idle machine, more where other tests run beside it.
const BOOT: Duration = Duration::from_secs(240);
/// The longest that one script inside may take; the channel itself ends it after 120 s.
const SCRIPT: Duration = Duration::from_secs(150);

/// A running machine. Dropped, it is pulled from the mains.
pub struct Vm {
    purpose: Purpose,
    /// Where its kernel is.
    system: PathBuf,
    qemu: Child,
    channel: BufReader<UnixStream>,
    directory: tempfile::TempDir,
    sockets: tempfile::TempDir,
}

/// What a script inside came to.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub output: String,
}

/// What a machine is for.
#[derive(Clone, Copy, PartialEq)]
pub enum Purpose {
    /// It runs pods of its own, and reaches no network.
    Standalone,
    /// It joins a cluster, which it reaches through this link of the world that the test is in.
    Member(&'static str),
    /// Its pods and those of other machines reach each other, by this link of the world that the test is in. The number
    /// tells the machines apart.
    Peer { link: &'static str, number: u8 },
}

impl Purpose {
    fn name(self) -> String {
        match self {
            Purpose::Standalone | Purpose::Member(_) => "gantry-vm".to_owned(),
            Purpose::Peer { number, .. } => format!("vm-{number}"),
        }
    }

    /// What qemu connects the machine's link with.
    fn network(self) -> String {
        match self {
            Purpose::Standalone => "user,id=net,restrict=on,net=192.0.2.0/24,host=192.0.2.2".to_owned(),
            Purpose::Member(link) | Purpose::Peer { link, .. } => {
                format!("tap,id=net,ifname={link},script=no,downscript=no")
            }
        }
    }

    fn mac(self) -> String {
        match self {
            Purpose::Standalone | Purpose::Member(_) => "52:54:00:12:34:56".to_owned(),
            Purpose::Peer { number, .. } => format!("52:54:00:00:00:{number:02x}"),
        }
    }
}

impl Vm {
    /// Makes the disk, boots from it and waits until the channel answers.
    pub fn boot(release: &str, purpose: Purpose) -> Vm {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let system = repository.join("target/vm").join(release);
        let directory =
            tempfile::tempdir_in(repository.join("target/vm")).expect("make test-vm made target/vm");
        let disk = directory.path().join("disk");
        let made = Command::new(repository.join("tests/vm/disk.sh"))
            .arg(release)
            .arg(&disk)
            .args(match purpose {
                Purpose::Standalone => None,
                Purpose::Member(_) | Purpose::Peer { .. } => Some("fresh"),
            })
            .stdin(Stdio::null())
            .status()
            .expect("bash is there");
        assert!(made.success(), "the disk was not made");
        // A socket's path is at most 108 bytes long, and nothing says how deep the repository lies.
        let sockets = tempfile::tempdir().expect("a temporary directory");
        let (qemu, channel) = start(&system, directory.path(), sockets.path(), purpose);
        let mut vm = Vm {
            purpose,
            system,
            qemu,
            channel,
            directory,
            sockets,
        };
        vm.await_ready();
        vm
    }

    /// Waits for the word that a boot ends with.
    fn await_ready(&mut self) {
        self.limit(BOOT);
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            if let Err(error) = self.channel.read_line(&mut line) {
                panic!(
                    "the machine did not boot: {error}; its console ended with:\n{}",
                    self.console()
                );
            }
            assert!(
                !line.is_empty(),
                "the machine went away; its console ended with:\n{}",
                self.console()
            );
        }
    }

    fn limit(&self, longest: Duration) {
        self.channel
            .get_ref()
            .set_read_timeout(Some(longest))
            .expect("a socket takes a timeout");
    }

    fn send(&mut self, script: &str) {
        let line = BASE64.encode(script) + "\n";
        self.channel
            .get_mut()
            .write_all(line.as_bytes())
            .expect("the machine listens");
    }

    /// Runs a script inside.
    pub fn run(&mut self, script: &str) -> Told {
        self.send(script);
        self.limit(SCRIPT);
        let mut line = String::new();
        if let Err(error) = self.channel.read_line(&mut line) {
            panic!(
                "no answer to {script:?}: {error}; the console ended with:\n{}",
                self.console()
            );
        }
        let (code, output) = line
            .trim_end_matches('\n')
            .split_once(' ')
            .expect("a code and an output");
        let output = BASE64.decode(output).expect("the channel speaks base64");
        Told {
            code: code.parse().expect("the channel tells the exit code"),
            output: String::from_utf8_lossy(&output).into_owned(),
        }
    }

    /// Runs a script that has to succeed, for what it prints.
    #[track_caller]
    pub fn prints(&mut self, script: &str) -> String {
        let reported = self.run(script);
        assert_eq!(reported.code, 0, "{script}: {}", reported.output);
        reported.output
    }

    /// The pods that the agent reports.
    pub fn pods(&mut self) -> Result<Vec<Value>, String> {
        let reported = self.run("gantry get pods -o json");
        let list: Value = serde_json::from_str(&reported.output)
            .map_err(|error| format!("{error}: {}", reported.output))?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a pod is as asked, and returns it.
    #[track_caller]
    pub fn wait_pod(&mut self, name: &str, what: &str, asked: impl Fn(&Value) -> bool) -> Value {
        let full = format!("{name}-{}", self.purpose.name());
        wait_for(
            &format!("pod {name} to be {what}"),
            Duration::from_secs(240),
            || {
                let pods = self.pods()?;
                let pod = pods
                    .into_iter()
                    .find(|pod| pod["metadata"]["name"] == full.as_str());
                let pod = pod.ok_or_else(|| format!("no pod {full}"))?;
                if asked(&pod) {
                    Ok(pod)
                } else {
                    Err(pod["status"].to_string())
                }
            },
        )
    }

    /// Restarts the machine and waits until it is up again.
    pub fn reboot(&mut self) {
        self.send("systemctl reboot");
        // Shutting down and booting: the longest silence is the pods' that do not listen to SIGTERM.
        self.await_ready();
    }

    /// Cuts the machine's power off, switches it on again, and waits until it is up. What its kernel had not written to the
    /// disk is lost.
    pub fn cut_power(&mut self) {
        self.qemu.kill().expect("our own child");
        self.qemu.wait().expect("our own child");
        let (disk, sockets) = (self.directory.path(), self.sockets.path());
        (self.qemu, self.channel) = start(&self.system, disk, sockets, self.purpose);
        self.await_ready();
    }

    /// Shuts the machine down as a person would.
    pub fn power_off(mut self) -> Result<(), String> {
        self.send("systemctl poweroff");
        let end = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            match self.qemu.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("qemu ended with {status}")),
                None if std::time::Instant::now() > end => return Err(self.console()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// What helps to see why a story failed.
    pub fn diagnosis(&mut self) -> String {
        self.run(
            "systemctl --no-pager --full status gantry containerd; journalctl --no-pager -u gantry -n 60; \
             gantry get pods -o wide",
        )
        .output
    }

    fn console(&self) -> String {
        let path: PathBuf = self.directory.path().join("console");
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// Switches a machine on whose disk is in `directory`: its process, and the channel into it.
fn start(
    system: &Path,
    directory: &Path,
    sockets: &Path,
    purpose: Purpose,
) -> (Child, BufReader<UnixStream>) {
    let socket = sockets.join("channel");
    // One of a former life would be taken for the new one.
    let _ = std::fs::remove_file(&socket);
    let qemu = Command::new("qemu-system-x86_64")
        .current_dir(directory)
        .args([
            "-machine",
            "q35,accel=tcg",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2G",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "file:console",
        ])
        .arg("-kernel")
        .arg(system.join("kernel"))
        .arg("-initrd")
        .arg(system.join("initrd"))
        .arg("-append")
        .arg(format!(
            "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 systemd.hostname={}",
            purpose.name()
        ))
        .args(["-drive", "file=disk,format=raw,if=virtio,cache=unsafe"])
        .args(["-device", "virtio-serial", "-chardev"])
        .arg(format!(
            "socket,id=channel,path={},server=on,wait=off",
            socket.display()
        ))
        .args(["-device", "virtserialport,chardev=channel,name=gantry.channel"])
        .arg("-netdev")
        .arg(purpose.network())
        .arg("-device")
        .arg(format!("virtio-net-pci,netdev=net,mac={}", purpose.mac()))
        .stdin(Stdio::null())
        .spawn()
        .expect("qemu is installed");
    let channel = wait_for("qemu to open the channel", Duration::from_secs(20), || {
        UnixStream::connect(&socket).map_err(|error| error.to_string())
    });
    (qemu, BufReader::new(channel))
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.qemu.kill(); // it may have ended by itself
        let _ = self.qemu.wait();
    }
}
