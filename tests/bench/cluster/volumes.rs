//! Start and end of a pod with volumes of a CSI driver: with one and with ten of a driver that attaches nothing, and with
//! one that the control plane attaches, by Kubernetes' own attacher.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};

use super::side::{SIDES, Side};
use super::{REST, ROUNDS, Sitting, load, millis, names, rest};
use crate::api::Api;
use crate::control_plane::ADMIN;
use crate::driver::Driver;
use crate::node::SOON;
use crate::process::logged;
use crate::report::{Report, median, ms};
use crate::volume_objects::{claim, csi_driver, of_claim, of_driver};
use crate::world::control_plane;

/// How many pods of each kind an agent is given each time it is started.
const SINGLES: usize = 5;
/// What the issue asks for, as a ratio to the kubelet.
const GOAL: f64 = 0.5;

/// What a pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// So many volumes that need not be attached: the same for each pod, taken down before the next starts.
    Plain(usize),
    /// One that is attached, a new one for each pod: when a volume is detached is another matter.
    Attached,
}

const KINDS: [Kind; 3] = [Kind::Plain(1), Kind::Plain(10), Kind::Attached];

/// What was seen of one agent with one kind of pod.
#[derive(Default)]
struct Seen {
    ready: Vec<Duration>,
    gone: Vec<Duration>,
}

/// The drivers and their volumes.
struct Volumes {
    api: Api,
    plain: Driver,
    attaching: Driver,
    /// How many volumes that are attached there have been.
    attached: usize,
    /// It dies with the process namespace that it was started in.
    _attacher: Child,
}

/// Measures both.
pub fn measure(report: &mut Report) {
    let mut sitting = Sitting::begin();
    let mut volumes = Volumes::begin();
    let mut seen: BTreeMap<(Kind, Side), Seen> = BTreeMap::new();
    for round in 0..ROUNDS {
        for side in SIDES {
            let before = volumes.registrations();
            sitting.with(side, |sitting, _| {
                let drivers = [&volumes.plain, &volumes.attaching].into_iter();
                drivers
                    .zip(before)
                    .for_each(|(driver, before)| driver.wait_registered_after(before));
                for kind in KINDS {
                    let seen = seen.entry((kind, side)).or_default();
                    volumes.singles(&sitting.load, kind, seen);
                    let (ready, gone) = (median(seen.ready.clone()), median(seen.gone.clone()));
                    let (round, name) = (round + 1, side.name());
                    println!(
                        "round {round}, {name}, {kind:?}: ready {}, gone {}",
                        ms(ready),
                        ms(gone)
                    );
                }
            });
        }
    }
    for kind in KINDS {
        let [ours, theirs] = SIDES.map(|side| &seen[&(kind, side)]);
        let middle = |all: &Vec<Duration>| millis(median(all.clone()));
        let mut tell = |what: &str, ours: &Vec<Duration>, theirs: &Vec<Duration>| {
            let what = format!("{}, {what}", kind.name());
            report.against(&what, middle(ours), middle(theirs), GOAL, "ms");
        };
        tell("created → Ready", &ours.ready, &theirs.ready);
        tell("deleted → gone", &ours.gone, &theirs.gone);
    }
    report.note(format!(
        "Medians of {} pods, bound by their maker; a driver whose volumes are directories that it binds.",
        ROUNDS * SINGLES
    ));
}

impl Kind {
    fn name(self) -> String {
        match self {
            Kind::Plain(1) => "pod with 1 volume".to_owned(),
            Kind::Plain(count) => format!("pod with {count} volumes"),
            Kind::Attached => "pod with 1 attached volume".to_owned(),
        }
    }
}

impl Volumes {
    fn begin() -> Volumes {
        let api = Api::new(Path::new(ADMIN));
        let start = |short: &str, flags: &[&str], attaches: bool| {
            let driver = Driver::start(short, flags);
            let object = csi_driver(&driver, json!({"attachRequired": attaches}));
            api.create("/apis/storage.k8s.io/v1/csidrivers", &object);
            driver
        };
        let plain = start("plain", &[], false);
        let attaching = start("attaching", &["--attaches"], true);
        let mut attacher = Command::new(control_plane("csi-attacher"));
        attacher
            .arg(format!("--csi-address={}", attaching.socket().display()))
            .arg(format!("--kubeconfig={ADMIN}"));
        let volumes = Volumes {
            _attacher: logged(&mut attacher, "csi-attacher.log"),
            api,
            plain,
            attaching,
            attached: 0,
        };
        for name in names("plain", 10) {
            volumes.make(&volumes.plain, &name);
        }
        volumes
    }

    /// Makes a volume with its PersistentVolume and claim, and waits until they are bound.
    fn make(&self, driver: &Driver, name: &str) {
        driver.volume(name);
        let mut spec = of_driver(driver, name);
        spec["capacity"] = json!({"storage": "1Mi"});
        spec["accessModes"] = json!(["ReadWriteOnce"]);
        spec["claimRef"] = json!({"namespace": "bench", "name": name});
        let volume = json!({"metadata": {"name": name}, "spec": spec});
        self.api.create("/api/v1/persistentvolumes", &volume);
        let mut claim = claim(name, "");
        claim["spec"]["volumeName"] = json!(name);
        let claims = "/api/v1/namespaces/bench/persistentvolumeclaims";
        self.api.create(claims, &claim);
        self.api
            .wait(&format!("{claims}/{name}"), "bound", SOON, |claim| {
                claim["status"]["phase"] == "Bound"
            });
    }

    fn registrations(&self) -> [usize; 2] {
        [&self.plain, &self.attaching].map(Driver::registrations)
    }

    fn singles(&mut self, load: &load::Load, kind: Kind, seen: &mut Seen) {
        for name in names("single", SINGLES) {
            let claims = match kind {
                Kind::Plain(count) => names("plain", count),
                Kind::Attached => {
                    self.attached += 1;
                    let name = format!("attached-{}", self.attached);
                    self.make(&self.attaching, &name);
                    vec![name]
                }
            };
            let name = [name];
            seen.ready
                .push(load.up_as(&name, |name| with_claims(load::object(name), &claims)));
            rest(REST);
            seen.gone.push(load.down(&name));
            rest(REST);
        }
    }
}

/// A pod with these claims, each mounted.
fn with_claims(mut pod: Value, claims: &[String]) -> Value {
    let volumes = claims.iter().map(|name| {
        let mut volume = of_claim(name);
        volume["name"] = json!(name);
        volume
    });
    pod["spec"]["volumes"] = volumes.collect();
    let mounts = claims
        .iter()
        .map(|name| json!({"name": name, "mountPath": format!("/{name}")}));
    pod["spec"]["containers"][0]["volumeMounts"] = mounts.collect();
    pod
}
