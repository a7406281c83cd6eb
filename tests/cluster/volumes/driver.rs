//! A CSI driver of the stories (tests/control-plane/csi-driver): started, steered, and asked which calls it had.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::node::{LONG, SOON, here};
use crate::process::{kill, logged, run, stop};
use crate::wait::wait_for;
use crate::world::control_plane;

/// Where drivers listen, as on any node.
const PLUGINS: &str = "/var/lib/kubelet/plugins";
/// Where they register.
const REGISTRY: &str = "/var/lib/kubelet/plugins_registry";
/// Below the world's directory: what every driver keeps, a directory each.
pub const STATES: &str = "csi";

/// A running driver. It is killed with this value, and its volumes' loop devices are detached.
pub struct Driver {
    pub name: String,
    flags: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let child = self.take();
        if child.is_some() {
            kill(child);
        }
        // Otherwise the agent would look for somebody behind them for ever; they may be gone already.
        for socket in [self.registration(), self.socket()] {
            let _ = std::fs::remove_file(socket);
        }
    }
}

impl Driver {
    /// Starts a driver and waits until it listens. Whether it registers is the agent's matter.
    pub fn start(short: &str, flags: &[&str]) -> Driver {
        let driver = Driver {
            name: format!("{short}.csi.gantry.local"),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            child: Mutex::new(None),
        };
        driver.run();
        driver
    }

    /// Starts it again.
    pub fn run(&self) {
        let mut command = Command::new(control_plane("csi-driver"));
        command
            .args(["--name", &self.name, "--node", "node-1", "--registry", REGISTRY])
            .arg("--socket")
            .arg(self.socket())
            .arg("--state")
            .arg(self.state())
            .args(&self.flags);
        let child = logged(&mut command, &self.log());
        *self.child.lock().expect("never poisoned") = Some(child);
        wait_for(
            "the driver to listen",
            SOON,
            || match std::os::unix::net::UnixStream::connect(self.registration()) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        );
    }

    /// Ends it as a crash would: its sockets stay.
    pub fn kill(&self) {
        kill(self.take());
    }

    fn take(&self) -> Option<Child> {
        self.child.lock().expect("never poisoned").take()
    }

    /// Asks it to end: its sockets go with it.
    pub fn stop(&self) {
        let child = self.take().expect("the driver runs");
        stop(child, nix::sys::signal::Signal::SIGTERM);
    }

    pub fn socket(&self) -> PathBuf {
        Path::new(PLUGINS).join(&self.name).join("csi.sock")
    }

    pub fn registration(&self) -> PathBuf {
        Path::new(REGISTRY).join(format!("{}-reg.sock", self.name))
    }

    fn log(&self) -> String {
        format!("{}.log", self.name)
    }

    fn state(&self) -> PathBuf {
        here(STATES).join(&self.name)
    }

    /// Where the data of a volume are: the directory, or the image of the device.
    pub fn data(&self, volume: &str) -> PathBuf {
        let volume_directory = self.state().join("volumes").join(volume);
        match volume_directory.join(format!("{volume}.img")) {
            image if image.exists() => image,
            _ => volume_directory.join("data"),
        }
    }

    /// Makes a volume that no claim has asked for.
    pub fn volume(&self, id: &str) {
        self.add(id, false);
        std::fs::create_dir_all(self.data(id)).expect("a private directory");
    }

    /// The same as a block device.
    pub fn block_volume(&self, id: &str) {
        self.add(id, true);
        let image = self.state().join("volumes").join(id).join(format!("{id}.img"));
        let file = std::fs::File::create(image).expect("a private directory");
        file.set_len(1 << 20).expect("a file can be made longer");
    }

    fn add(&self, id: &str, block: bool) {
        let directory = self.state().join("volumes").join(id);
        std::fs::create_dir_all(&directory).expect("a private directory");
        let known = json!({"id": id, "name": id, "capacity": 1 << 20, "block": block});
        std::fs::write(directory.join("meta.json"), known.to_string()).expect("a private directory");
    }

    /// Ends all that `fail` and `hang` have begun.
    pub fn pass_all(&self) {
        for how in ["fail", "hang"] {
            let entries = std::fs::read_dir(self.state().join(how)).expect("the driver has made it");
            for file in entries.flatten() {
                std::fs::remove_file(file.path()).expect("our own file");
            }
        }
    }

    /// The volumes that the driver has.
    pub fn volumes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state().join("volumes")).expect("the driver has made it");
        let names = entries.flatten().map(|entry| entry.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// Has every call of this name (`CALL`, or `CALL@VOLUME`) fail (`Unavailable not today`), until `pass`.
    pub fn fail(&self, call: &str, how: &str) {
        std::fs::write(self.state().join("fail").join(call), how).expect("the driver has made it");
    }

    /// Has every call of this name wait, until `pass`; `after-CALL`: once it has taken effect.
    pub fn hang(&self, call: &str) {
        std::fs::write(self.state().join("hang").join(call), "").expect("the driver has made it");
    }

    /// Waits until a call waits as `hang` asks for.
    #[track_caller]
    pub fn wait_hung(&self, call: &str) {
        let waiting = self.state().join("waiting").join(call);
        wait_for(&format!("{call} to be made"), LONG, || match waiting.exists() {
            true => Ok(()),
            false => Err(format!(
                "the last calls: {:#?}",
                self.calls().iter().rev().take(6).collect::<Vec<_>>()
            )),
        });
    }

    /// How many volumes it says the node can have from now on.
    pub fn has_room_for(&self, volumes: usize) {
        let path = self.state().join("max-volumes");
        std::fs::write(path, volumes.to_string()).expect("the driver has made the directory");
    }

    /// Ends what `fail` and `hang` have begun.
    pub fn pass(&self, call: &str) {
        for how in ["fail", "hang"] {
            // Only one of them was made.
            let _ = std::fs::remove_file(self.state().join(how).join(call));
        }
    }

    /// Every call that was answered, in their order, the questions for capabilities left out.
    pub fn calls(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(here(&self.log())).unwrap_or_default();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| {
                let call = line["call"].as_str().unwrap_or_default();
                !call.ends_with("Capabilities") && call != "Probe" && call != "GetPluginInfo"
            })
            .collect()
    }

    /// How often an agent has registered the driver.
    pub fn registrations(&self) -> usize {
        let calls = self.calls();
        let registered = calls
            .iter()
            .filter(|call| call["call"] == "NotifyRegistrationStatus");
        registered.count()
    }

    /// Waits until an agent has registered the driver once more.
    #[track_caller]
    pub fn wait_registered_after(&self, before: usize) {
        wait_for("the driver to be registered again", LONG, || {
            match self.registrations() {
                now if now > before => Ok(()),
                now => Err(format!("{now} times, as before")),
            }
        });
    }

    /// The requests of the successful calls of this name about a volume.
    pub fn requests(&self, call: &str, volume: &str) -> Vec<Value> {
        let calls = self.calls().into_iter();
        let succeeded = calls.filter(|line| line["call"] == call && line["error"].is_null());
        succeeded
            .map(|line| line["request"].clone())
            .filter(|request| request["volume_id"] == volume)
            .collect()
    }

    /// The names of the successful calls about a volume, in their order.
    pub fn sequence(&self, volume: &str) -> Vec<String> {
        let calls = self.calls().into_iter();
        let about = calls.filter(|line| line["error"].is_null() && line["request"]["volume_id"] == volume);
        about
            .map(|line| line["call"].as_str().unwrap_or_default().to_owned())
            .filter(|call| call != "NodeGetVolumeStats")
            .collect()
    }
}

/// Detaches the loop devices of a world that has ended: they are the machine's, and stay when the world's processes are
/// killed. The kubelet has one of its own on each of the driver's.
pub fn detach_loop_devices(world: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let drivers = world.join(STATES);
    if !drivers.exists() {
        return;
    }
    let images = run(&["find", &drivers.display().to_string(), "-name", "*.img"]);
    let inode = |path: &str| Some(std::fs::metadata(path).ok()?.ino().to_string());
    let wanted: Vec<String> = images.lines().filter_map(inode).collect();
    let listed = run(&[
        "losetup",
        "--list",
        "--noheadings",
        "--raw",
        "--output",
        "NAME,BACK-INO",
    ]);
    let devices: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
    // First those of the images, then those that hold them.
    let below = devices
        .iter()
        .filter(|(_, inode)| wanted.iter().any(|one| one == inode));
    let below: Vec<&str> = below.map(|(name, _)| *name).collect();
    let inodes: Vec<String> = below.iter().filter_map(|name| inode(name)).collect();
    let above = devices
        .iter()
        .filter(|(_, inode)| inodes.iter().any(|one| one == inode));
    for name in above.map(|(name, _)| *name).chain(below.iter().copied()) {
        run(&["losetup", "--detach", name]);
    }
}
