//! The agent is killed two hundred times, the driver some of them, while pods with volumes start and end: at random
//! moments, and in every call, before and after it takes effect. No data is lost, nothing is mounted twice, nothing stays.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::disk;
use super::driver::Driver;
use super::objects::{of_claim, of_driver, pod};
use super::place::{Agent, Place};
use super::restarts::{both_modes, id};
use crate::node::{LONG, here};
use crate::objects::uid;
use crate::seeded_random::SeededRandom;
use crate::wait::wait_for;

const KILLS: usize = 200;
/// How many rounds there are, the whole looked at after each, and how many random kills in each.
const ROUNDS: usize = 8;
const RANDOM_KILLS: usize = 20;
/// The longest that an agent lives which is killed at a random moment.
const LIFE: Duration = Duration::from_millis(400);
const SECTOR: usize = 512;

/// A volume of a pod.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Volume {
    Files(&'static str),
    Device(&'static str),
    Inline,
}
use Volume::{Device, Files, Inline};

/// The volumes that there are before the first pod.
const STATIC: &[Volume] = &[
    Files("kill-a"),
    Files("kill-b"),
    Files("kill-c"),
    Device("kill-d"),
    Device("kill-e"),
];

/// What pods have: one of each kind at a time, beside those of before that still end.
const RANDOM: [&[Volume]; 4] = [
    &[Files("kill-a"), Inline],
    &[Files("kill-a"), Files("kill-b")],
    &[Device("kill-d")],
    &[Device("kill-d"), Files("kill-b"), Inline],
];
/// The volumes of which every call is cut off.
const CUT: [Volume; 3] = [Files("kill-c"), Device("kill-e"), Inline];

/// A pod that is to run.
struct Pod {
    number: usize,
    name: String,
    uid: String,
    volumes: Vec<Volume>,
    /// Once it has been seen running.
    container: Option<Value>,
}

struct Churn<'a, 'w> {
    place: &'a mut Place<'w>,
    driver: Arc<Driver>,
    random: SeededRandom,
    kills: usize,
    made: usize,
    running: BTreeMap<usize, Pod>,
    ending: Vec<String>,
    /// What pods that ran have written: where, and which of them.
    written: Vec<(Volume, usize, String)>,
}

pub fn two_hundred_kills_lose_nothing(place: &mut Place) {
    let driver = place.driver("kills", &[], both_modes());
    let mut churn = Churn::begin(place, driver);
    for round in 0..ROUNDS {
        (0..RANDOM_KILLS).for_each(|_| churn.kill_at_random());
        if round % 4 == 3 {
            CUT.iter().for_each(|volume| churn.cut_every_call(*volume));
        }
        churn.settle();
    }
    assert!(churn.kills >= KILLS, "{} kills", churn.kills);
    churn.end();
}

impl<'a, 'w> Churn<'a, 'w> {
    fn begin(place: &'a mut Place<'w>, driver: Arc<Driver>) -> Self {
        std::fs::create_dir_all(here("outside")).expect("a private directory");
        std::fs::write(here("outside").join("kept"), "").expect("a private directory");
        for volume in STATIC {
            let name = volume.name();
            let mut source = of_driver(&driver, name);
            if let Device(_) = volume {
                driver.block_volume(name);
                source["volumeMode"] = json!("Block");
            } else {
                driver.volume(name);
                let link = driver.data(name).join("outside");
                std::os::unix::fs::symlink(here("outside"), link).expect("an empty directory");
            }
            place.bound(name, source);
        }
        Churn {
            place,
            driver,
            random: SeededRandom::new(),
            kills: 0,
            made: 0,
            running: BTreeMap::new(),
            ending: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Makes a pod with these volumes in a slot.
    fn create(&mut self, slot: usize, volumes: &[Volume]) {
        self.made += 1;
        let (number, name) = (self.made, format!("kill-{}", self.made));
        let object = object(&name, number, volumes, &self.driver.name);
        let made = self.place.create("pods", &object);
        let pod = Pod {
            number,
            name,
            uid: uid(&made),
            volumes: volumes.to_vec(),
            container: None,
        };
        self.running.insert(slot, pod);
    }

    /// Deletes the pod of a slot.
    fn delete(&mut self, slot: usize) {
        let pod = self.running.remove(&slot).expect("there is one");
        self.place.api.delete(&self.place.at("pods", &pod.name));
        self.ending.push(pod.name);
    }

    /// Kills the agent and starts it again; `meanwhile`: what happens while there is none.
    fn kill_while(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        self.agent().kill();
        meanwhile(self);
        self.agent().spawn();
        self.kills += 1;
    }

    fn kill(&mut self) {
        self.kill_while(|_| ());
    }

    fn agent(&self) -> MutexGuard<'_, Agent> {
        self.place
            .world
            .agent
            .lock()
            .expect("no story has failed with it")
    }

    fn kill_at_random(&mut self) {
        if self.random.number(2) == 0 {
            let slot = self.random.number(RANDOM.len());
            match self.running.contains_key(&slot) {
                true => self.delete(slot),
                false => self.create(slot, RANDOM[slot]),
            }
        }
        std::thread::sleep(self.random.next(LIFE)); // the random moment
        if self.random.number(8) == 0 {
            self.driver.kill();
            self.driver.run();
            std::thread::sleep(self.random.next(LIFE)); // the random moment
        }
        self.kill();
    }

    /// Starts and ends a pod with this volume, and kills the agent in every call for it, before and after its effect.
    fn cut_every_call(&mut self, volume: Volume) {
        let slot = RANDOM.len();
        let (up, down) = match volume {
            Inline => (&["NodePublishVolume"][..], &["NodeUnpublishVolume"][..]),
            _ => (
                &["NodeStageVolume", "NodePublishVolume"][..],
                &["NodeUnpublishVolume", "NodeUnstageVolume"][..],
            ),
        };
        let mut handle = String::new();
        let driver = self.driver.clone();
        self.kill_while(|churn| {
            churn.create(slot, &[volume]);
            handle = match volume {
                Inline => disk::inline_handle(&churn.running[&slot].uid, "inline"),
                _ => volume.name().to_owned(),
            };
            driver.hang(&moments(up, &handle)[0]);
        });
        self.cut(&moments(up, &handle));
        self.see_running(slot);
        let down = moments(down, &handle);
        driver.hang(&down[0]);
        self.delete(slot);
        self.cut(&down);
    }

    /// Kills the agent in each of these calls; the first is held back already.
    fn cut(&mut self, calls: &[String]) {
        for (number, call) in calls.iter().enumerate() {
            self.driver.wait_hung(call);
            if let Some(next) = calls.get(number + 1) {
                self.driver.hang(next);
            }
            self.kill();
            self.driver.pass(call);
        }
    }

    /// Waits until the pod of a slot runs, in the container in which it ran before. One that was being started when the
    /// agent was killed may have failed, and have been followed by another.
    fn see_running(&mut self, slot: usize) {
        let pod = self.running.get_mut(&slot).expect("there is one");
        let seen = self.place.wait_running(&pod.name);
        let now = id(&seen);
        if let Some(before) = pod.container.replace(now.clone()) {
            assert_eq!(before, now, "{} was started again", pod.name);
            return;
        }
        for volume in pod.volumes.iter().filter(|volume| **volume != Inline) {
            self.written.push((*volume, pod.number, pod.name.clone()));
        }
    }

    /// Waits until all is as it should be: pods run or are gone, each volume is mounted once for each of its pods, and
    /// what was ever written is there.
    fn settle(&mut self) {
        let slots: Vec<usize> = self.running.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.see_running(slot));
        for name in std::mem::take(&mut self.ending) {
            self.place.api.wait_gone(&self.place.at("pods", &name), LONG);
        }
        let expected = self.expected_mounts();
        wait_for("each volume to be mounted once", LONG, || {
            let mut found = disk::mounts("/kubernetes.io~csi/");
            found.extend(disk::mounts("/plugins/kubernetes.io/csi/"));
            found.sort();
            match found == expected {
                true => Ok(()),
                false => Err(format!("{found:#?} and not {expected:#?}")),
            }
        });
        for (volume, number, name) in &self.written {
            wait_for(&format!("what {name} has written"), LONG, || {
                self.read(*volume, *number, name)
            });
        }
        let volumes = self.running.values().flat_map(|pod| &pod.volumes);
        let inline = volumes.filter(|volume| **volume == Inline).count();
        wait_for("no inline volume to be without its pod", LONG, || {
            match self.driver.volumes() {
                found if found.len() == STATIC.len() + inline => Ok(()),
                found => Err(format!("{found:?}")),
            }
        });
        assert!(here("outside").join("kept").exists(), "what links lead to stays");
    }

    fn expected_mounts(&self) -> Vec<String> {
        let mut expected: Vec<PathBuf> = Vec::new();
        for pod in self.running.values() {
            for volume in &pod.volumes {
                match volume {
                    Files(name) => {
                        expected.push(disk::published(&pod.uid, name));
                        expected.push(disk::staged(&self.driver, name));
                    }
                    Inline => expected.push(disk::published(&pod.uid, "inline")),
                    Device(name) => {
                        expected.push(disk::devices().join(name).join("dev").join(&pod.uid));
                        expected.push(disk::devices().join("publish").join(name).join(&pod.uid));
                    }
                }
            }
        }
        expected.sort();
        // Pods that share a volume share where it is staged.
        expected.dedup();
        expected.iter().map(|path| path.display().to_string()).collect()
    }

    /// What a pod has written to a volume, `Ok` if it is there.
    fn read(&self, volume: Volume, number: usize, name: &str) -> Result<(), String> {
        let data = self.driver.data(volume.name());
        let found = match volume {
            Device(_) => {
                let image = std::fs::read(data).map_err(|error| error.to_string())?;
                image[number * SECTOR..][..SECTOR].to_vec()
            }
            _ => std::fs::read(data.join(name)).map_err(|error| error.to_string())?,
        };
        match found.starts_with(format!("{name}\n").as_bytes()) {
            true => Ok(()),
            false => Err(format!("{:?}", String::from_utf8_lossy(&found))),
        }
    }

    /// All pods end, and nothing stays.
    fn end(mut self) {
        let slots: Vec<usize> = self.running.keys().copied().collect();
        slots.into_iter().for_each(|slot| self.delete(slot));
        self.settle();
        self.place.wait_nothing_left();
        self.place.wait_no_trace(&self.driver);
        let calls = self.driver.calls();
        let count = |call: &str| calls.iter().filter(|line| line["call"] == call).count();
        println!(
            "{} kills, {} pods, calls: {} to stage, {} to publish, {} to unpublish, {} to unstage",
            self.kills,
            self.made,
            count("NodeStageVolume"),
            count("NodePublishVolume"),
            count("NodeUnpublishVolume"),
            count("NodeUnstageVolume"),
        );
    }
}

impl Volume {
    fn name(self) -> &'static str {
        match self {
            Files(name) | Device(name) => name,
            Inline => "inline",
        }
    }
}

/// When the agent is killed in these calls of a volume, as `Driver::hang` takes it.
fn moments(calls: &[&str], handle: &str) -> Vec<String> {
    let both = |call: &&str| [format!("{call}@{handle}"), format!("after-{call}@{handle}")];
    calls.iter().flat_map(both).collect()
}

/// A pod that writes its name to each of its volumes: into a file of that name, and into a sector of its own.
fn object(name: &str, number: usize, volumes: &[Volume], driver: &str) -> Value {
    let mut script = "set -e".to_owned();
    let mut mounted = Vec::new();
    let mut devices = Vec::new();
    for volume in volumes {
        let of = volume.name();
        match volume {
            Inline => mounted.push((of, json!({"csi": {"driver": driver}}))),
            Files(_) => {
                script.push_str(&format!("; echo {name} >/{of}/{name}"));
                mounted.push((of, of_claim(of)));
            }
            Device(_) => {
                let to = format!("of=/dev/{of} bs={SECTOR} seek={number} conv=fsync");
                script.push_str(&format!("; echo {name} | dd {to}"));
                let mut volume = of_claim(of);
                volume["name"] = json!(of);
                devices.push(volume);
            }
        }
    }
    let mut object = pod(name, &script, &mounted);
    // Nothing is to wait for the scheduler.
    object["spec"]["nodeName"] = json!("node-1");
    let paths = devices
        .iter()
        .map(|device| json!({"name": device["name"], "devicePath": format!("/dev/{}", device["name"].as_str().unwrap())}));
    object["spec"]["containers"][0]["volumeDevices"] = paths.collect();
    object["spec"]["volumes"]
        .as_array_mut()
        .expect("a list")
        .extend(devices);
    object
}
