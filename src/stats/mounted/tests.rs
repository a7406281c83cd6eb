use std::collections::BTreeMap;

use tonic::Code;

use super::*;
use crate::csi::messages;
use crate::csi::plugin::Plugin;
use crate::model::driver::{Ability, Driver};
use crate::model::pod::PodUid;
use crate::model::stats::VolumeHealth;

const NAME: &str = "csi.example.com";

/// A node's directory, a driver, and the task.
struct Place {
    root: tempfile::TempDir,
    plugin: Plugin,
    drivers: watch::Sender<Arc<Drivers>>,
    handle: MountedHandle,
    counters: Arc<Counters>,
}

impl Place {
    fn with(period: Option<Duration>, health: HealthReports, abilities: &[Ability]) -> Place {
        let root = tempfile::tempdir().unwrap();
        let plugin = Plugin::start(&root.path().join("csi.sock"), NAME);
        let driver = Driver {
            endpoint: plugin.socket.clone(),
            abilities: abilities.iter().copied().collect(),
            ..Driver::default()
        };
        let known = Drivers {
            by_name: BTreeMap::from([(NAME.to_owned(), Arc::new(driver))]),
            ..Drivers::default()
        };
        let (drivers, receiver) = watch::channel(Arc::new(known));
        let counters = Arc::new(Counters::default());
        let place = MountedPlace {
            root: root.path().to_owned(),
            drivers: receiver,
            period,
            health,
            counters: counters.clone(),
        };
        let (handle, requests) = mounted_requests();
        tokio::spawn(run_mounted(place, requests, CancellationToken::new()));
        Place {
            root,
            plugin,
            drivers,
            handle,
            counters,
        }
    }

    fn new() -> Place {
        let hour = Some(Duration::from_secs(3600));
        Place::with(hour, HealthReports::Ignored, &[Ability::Measure])
    }

    /// A volume of a pod, as it is on the disk; the driver says that so many of a hundred bytes are used.
    fn volume(&self, name: &str, used: i64) {
        let directory = self
            .root
            .path()
            .join("pods/u1/volumes/kubernetes.io~csi")
            .join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let data = format!(r#"{{"driverName":"{NAME}","specVolID":"{name}","volumeHandle":"of-{name}"}}"#);
        std::fs::write(directory.join("vol_data.json"), data).unwrap();
        let bytes = messages::VolumeUsage {
            available: 100 - used,
            total: 100,
            used,
            unit: messages::Unit::Bytes as i32,
        };
        let answer = messages::StatsResponse {
            usage: vec![bytes],
            volume_condition: None,
        };
        self.plugin.content().stats.insert(format!("of-{name}"), answer);
    }

    /// What is known: names and used bytes.
    async fn used(&self) -> Vec<(String, u64)> {
        let usages = self.handle.get().await.unwrap();
        let of_pod = usages.0.get(&PodUid("u1".to_owned()));
        let all = of_pod.into_iter().flatten();
        all.map(|usage| (usage.name.clone(), usage.numbers.used))
            .collect()
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.plugin.content().measured.clone()
    }
}

fn is(name: &str, used: u64) -> (String, u64) {
    (name.to_owned(), used)
}

#[tokio::test]
async fn a_driver_is_asked_once_in_a_period_about_each_of_its_volumes() {
    let place = Place::new();
    assert_eq!(place.used().await, []);
    place.volume("pv", 7);
    assert_eq!(place.used().await, [is("pv", 7)]);
    assert_eq!(place.used().await, [is("pv", 7)]);
    let path = place
        .root
        .path()
        .join("pods/u1/volumes/kubernetes.io~csi/pv/mount");
    assert_eq!(place.asked(), [("of-pv".to_owned(), path.display().to_string())]);
    place.volume("new", 8);
    assert_eq!(place.used().await, [is("new", 8), is("pv", 7)]);
    assert_eq!(place.asked().len(), 2);
    std::fs::remove_dir_all(place.root.path().join("pods/u1")).unwrap();
    assert_eq!(place.used().await, []);
    let families = place.counters.sample();
    let of = families
        .iter()
        .find(|family| family.name == "csi_operations_seconds")
        .unwrap();
    let labels: Vec<&str> = of.samples[0].0.iter().map(AsRef::as_ref).collect();
    assert_eq!(labels, [NAME, "/csi.v1.Node/NodeGetVolumeStats", "Ok", "false"]);
}

#[tokio::test]
async fn a_volume_that_hangs_delays_one_answer_and_no_other_volume() {
    let place = Place::new();
    place.volume("pv", 7);
    place.plugin.content().stats.remove("of-pv");
    place.volume("hung", 1);
    place.plugin.content().hangs.insert("NodeGetVolumeStats");
    let begun = Instant::now();
    assert_eq!(place.used().await, []);
    assert!(begun.elapsed() >= PATIENCE);
    place.plugin.content().hangs.clear();
    place.volume("well", 2);
    assert_eq!(place.used().await, [is("well", 2)]);
    assert!(begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_volume_that_cannot_be_measured_is_not_shown() {
    let place = Place::with(
        Some(Duration::from_millis(1)),
        HealthReports::Ignored,
        &[Ability::Measure],
    );
    place.volume("pv", 7);
    assert_eq!(place.used().await, [is("pv", 7)]);
    place
        .plugin
        .content()
        .fails
        .insert("NodeGetVolumeStats", (Code::NotFound, "not mounted"));
    loop {
        if place.used().await.is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    // Nobody can say what becomes of a volume whose driver is gone, until it is back.
    let known = place.drivers.borrow().clone();
    place.drivers.send_replace(Arc::default());
    place.plugin.content().fails.clear();
    place.volume("new", 3);
    assert_eq!(place.used().await, []);
    place.drivers.send_replace(known);
    loop {
        if place.used().await == [is("new", 3), is("pv", 7)] {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_driver_that_measures_nothing_is_not_asked() {
    let place = Place::with(
        Some(Duration::from_secs(1)),
        HealthReports::Ignored,
        &[Ability::Stage],
    );
    place.volume("pv", 7);
    assert_eq!(place.used().await, []);
    let place = Place::with(None, HealthReports::Ignored, &[Ability::Measure]);
    place.volume("pv", 7);
    assert_eq!(place.used().await, []);
    assert_eq!(place.asked(), []);
}

#[tokio::test]
async fn whether_a_volume_is_well_is_told_by_drivers_that_can() {
    let both = [Ability::Measure, Ability::Condition];
    for (health, abilities, want) in [
        (HealthReports::Asked, &both[..], Some(VolumeHealth::Abnormal)),
        (HealthReports::Asked, &both[..1], None),
        (HealthReports::Ignored, &both[..], None),
    ] {
        let place = Place::with(Some(Duration::from_secs(60)), health, abilities);
        place.volume("pv", 7);
        let condition = messages::VolumeCondition {
            abnormal: true,
            message: "a disk is gone".to_owned(),
        };
        place
            .plugin
            .content()
            .stats
            .get_mut("of-pv")
            .unwrap()
            .volume_condition = Some(condition);
        let usages = place.handle.get().await.unwrap();
        assert_eq!(
            usages.0[&PodUid("u1".to_owned())][0].numbers.health,
            want,
            "{health:?} {abilities:?}"
        );
    }
}
