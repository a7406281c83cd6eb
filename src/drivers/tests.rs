use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;
use crate::csi::plugin::{self, Plugin};
use crate::model::driver::{Ability, Publication};

const NAME: &str = "csi.example.com";

/// The loop over a directory of its own.
struct Place {
    root: tempfile::TempDir,
    drivers: watch::Receiver<Arc<Drivers>>,
    task: JoinHandle<()>,
    cancel: CancellationToken,
}

impl Place {
    /// A directory with the kubelet's two, in which nothing runs yet.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("plugins_registry")).unwrap();
        root
    }

    fn over(root: tempfile::TempDir, published: Option<watch::Receiver<Publications>>) -> Place {
        let (out, drivers) = watch::channel(Arc::default());
        let cancel = CancellationToken::new();
        let settings = Settings {
            root: root.path().to_owned(),
            published,
            counters: Arc::default(),
        };
        let task = tokio::spawn(run(settings, out, cancel.clone()));
        Place {
            root,
            drivers,
            task,
            cancel,
        }
    }

    fn start() -> Place {
        Place::over(Place::root(), None)
    }

    fn at(&self, socket: &str) -> PathBuf {
        self.root.path().join("plugins_registry").join(socket)
    }

    async fn wait(&mut self, what: &str, is_so: impl Fn(&Drivers) -> bool) -> Arc<Drivers> {
        let waiting = self.drivers.wait_for(|drivers| is_so(drivers));
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        let waited = waited.map(|found| found.unwrap().clone());
        waited.unwrap_or_else(|_| panic!("{what}: {:?}", self.drivers.borrow()))
    }

    async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

fn is_registered(drivers: &Drivers) -> bool {
    drivers.by_name.contains_key(NAME)
}

#[tokio::test]
async fn a_driver_is_registered_as_long_as_its_socket_is_there() {
    let mut place = Place::start();
    place.wait("nothing is there", |drivers| drivers.are_known).await;
    let plugin = Plugin::start(&place.at("a.sock"), NAME);
    let drivers = place.wait("registered", is_registered).await;
    let driver = &drivers.by_name[NAME];
    assert_eq!(driver.endpoint, plugin.socket);
    assert_eq!(driver.node_id, "n1");
    assert_eq!(driver.max_volumes, None);
    assert_eq!(
        driver.topology,
        BTreeMap::from([(format!("topology.{NAME}/node"), "n1".to_owned())])
    );
    assert!(driver.can(Ability::Stage) && driver.can(Ability::Measure) && !driver.can(Ability::Expand));
    assert_eq!(plugin.told(1).await, [(true, String::new())]);
    let asked = [
        "GetInfo",
        "NodeGetInfo",
        "NodeGetCapabilities",
        "NotifyRegistrationStatus",
    ];
    assert_eq!(plugin.content().calls, asked);
    drop(plugin);
    place.wait("gone", |drivers| !is_registered(drivers)).await;
    // In a directory that is made for it.
    std::fs::create_dir(place.at("below")).unwrap();
    let plugin = Plugin::start(&place.at("below/a.sock"), NAME);
    place.wait("registered again", is_registered).await;
    assert_eq!(plugin.told(1).await, [(true, String::new())]);
    place.end().await;
}

#[tokio::test]
async fn the_driver_may_be_behind_another_socket() {
    let mut place = Place::start();
    let driver = Plugin::start(&place.root.path().join("csi.sock"), NAME);
    let registrar = Plugin::start(&place.root.path().join("reg.sock"), NAME);
    registrar.content().info.endpoint = driver.socket.display().to_string();
    std::fs::rename(&registrar.socket, place.at("a.sock")).unwrap();
    let drivers = place.wait("registered", is_registered).await;
    assert_eq!(drivers.by_name[NAME].endpoint, driver.socket);
    registrar.told(1).await;
    assert_eq!(driver.content().calls, ["NodeGetInfo", "NodeGetCapabilities"]);
    assert_eq!(registrar.content().calls, ["GetInfo", "NotifyRegistrationStatus"]);
    place.end().await;
}

/// A plugin that was there before the loop, with these answers.
async fn begun_with(change: impl Fn(&mut plugin::Content)) -> (Place, Plugin) {
    let root = Place::root();
    let plugin = Plugin::start(&root.path().join("plugins_registry/a.sock"), NAME);
    change(&mut plugin.content());
    (Place::over(root, None), plugin)
}

#[tokio::test]
async fn a_plugin_that_is_not_registered_is_told_why() {
    let endpoint = |plugin: &Plugin| plugin.socket.display().to_string();
    type Change = fn(&mut plugin::Content);
    type Want = fn(&str) -> String;
    let wrong: [(Change, Want); 6] = [
        (
            |content| content.info.kind = "DRAPlugin".to_owned(),
            |at| {
                format!(
                    "RegisterPlugin error -- no handler registered for plugin type: DRAPlugin at socket {at}"
                )
            },
        ),
        (
            |content| content.info.supported_versions.clear(),
            |at| {
                format!(
                    "RegisterPlugin error -- plugin validation failed with err: validation failed for CSI Driver \
                     {NAME} at endpoint {at}: kubernetes.io/csi: ValidatePlugin for CSI driver \"{NAME}\" failed. \
                     Plugin returned an empty list for supported versions"
                )
            },
        ),
        (
            |content| content.info.supported_versions = vec!["0.3.0".to_owned()],
            |at| {
                format!(
                    "RegisterPlugin error -- plugin validation failed with err: validation failed for CSI Driver \
                     {NAME} at endpoint {at}: kubernetes.io/csi: ValidatePlugin for CSI driver \"{NAME}\" failed. None \
                     of the versions specified [\"0.3.0\"] are supported. err=highest supported version reported by \
                     plugin is 0.3.0, must be v1.x"
                )
            },
        ),
        (
            |content| content.info.name = "../../etc".to_owned(),
            |at| {
                format!(
                    "RegisterPlugin error -- plugin validation failed with err: validation failed for CSI Driver \
                     ../../etc at endpoint {at}: kubernetes.io/csi: the name of CSI driver \"../../etc\" is not a domain \
                     name of at most 63 letters, digits, dashes and dots"
                )
            },
        ),
        (
            |content| {
                content
                    .fails
                    .insert("NodeGetInfo", (Code::Unavailable, "not today"));
            },
            |_| {
                "RegisterPlugin error -- plugin registration failed with err: rpc error: code = Unavailable desc = not \
                 today"
                    .to_owned()
            },
        ),
        (
            |content| content.node.node_id.clear(),
            |_| {
                "RegisterPlugin error -- plugin registration failed with err: error adding CSI driver node info: \
                 driverNodeID must not be empty"
                    .to_owned()
            },
        ),
    ];
    for (change, want) in wrong {
        let (mut place, plugin) = begun_with(change).await;
        let told = plugin.told(1).await;
        assert_eq!(told[0], (false, want(&endpoint(&plugin))));
        let drivers = place.wait("tried once", |drivers| drivers.are_known).await;
        assert_eq!(drivers.by_name, BTreeMap::new());
        place.end().await;
    }
}

#[tokio::test]
async fn a_plugin_that_fails_is_asked_again() {
    let (mut place, plugin) = begun_with(|content| {
        content.fails.insert("NodeGetInfo", (Code::Internal, "broken"));
    })
    .await;
    plugin.told(2).await;
    plugin.content().fails.clear();
    place.wait("registered", is_registered).await;
    place.end().await;
}

#[tokio::test]
async fn a_plugin_that_hangs_holds_up_nothing_but_itself() {
    let (mut place, hanging) = begun_with(|content| {
        content.hangs.insert("GetInfo");
    })
    .await;
    let plugin = Plugin::start(&place.at("b.sock"), NAME);
    let drivers = place.wait("registered", is_registered).await;
    assert_eq!(drivers.by_name[NAME].endpoint, plugin.socket);
    place
        .wait("the other was tried once", |drivers| {
            drivers.are_known && drivers.unregistered == 1
        })
        .await;
    drop(hanging);
    place
        .wait("the other is gone", |drivers| drivers.unregistered == 0)
        .await;
    place.end().await;
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_no_driver_until_somebody_does() {
    let root = Place::root();
    let path = root.path().join("plugins_registry/a.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut place = Place::over(root, None);
    let drivers = place.wait("tried once", |drivers| drivers.are_known).await;
    assert_eq!((drivers.by_name.len(), drivers.unregistered), (0, 1));
    std::fs::remove_file(&path).unwrap();
    let _plugin = Plugin::start(&path, NAME);
    place.wait("registered", is_registered).await;
    place.end().await;
}

#[tokio::test]
async fn the_second_socket_of_a_name_speaks_for_it_when_the_first_is_gone() {
    let (mut place, first) = begun_with(|_| {}).await;
    place.wait("registered", is_registered).await;
    let second = Plugin::start(&place.at("b.sock"), NAME);
    let told = second.told(1).await;
    let want = format!(
        "RegisterPlugin error -- plugin validation failed with err: validation failed for CSI Driver {NAME} at endpoint \
         {}: kubernetes.io/csi: ValidatePlugin for CSI driver \"{NAME}\" failed. Another driver with the same name is \
         already registered with a higher supported version: \"1.0.0\"",
        second.socket.display()
    );
    assert_eq!(told, [(false, want)]);
    let socket = second.socket.clone();
    drop(first);
    let is_second = |drivers: &Drivers| {
        drivers
            .by_name
            .get(NAME)
            .is_some_and(|driver| driver.endpoint == socket)
    };
    place.wait("the second is registered", is_second).await;
    second
        .wait("told so", |content| {
            content.told.last() == Some(&(true, String::new()))
        })
        .await;
    place.end().await;
}

#[tokio::test]
async fn a_plugin_is_told_when_the_api_server_has_its_driver() {
    let (publish, published) = watch::channel(Publications::new());
    let mut place = Place::over(Place::root(), Some(published));
    let plugin = Plugin::start(&place.at("a.sock"), NAME);
    let of = |drivers: &Drivers, result: Result<(), String>| {
        let driver = drivers.by_name[NAME].clone();
        Publications::from([(NAME.to_owned(), Publication { driver, result })])
    };
    let drivers = place.wait("registered", is_registered).await;
    assert_eq!(plugin.content().told, []);
    publish.send_replace(of(&drivers, Err("no room".to_owned())));
    let message = "RegisterPlugin error -- plugin registration failed with err: no room".to_owned();
    assert_eq!(plugin.told(1).await, [(false, message)]);
    let again = |now: &Drivers| {
        now.by_name
            .get(NAME)
            .is_some_and(|now| !Arc::ptr_eq(now, &drivers.by_name[NAME]))
    };
    let drivers = place.wait("registered anew", again).await;
    // What became of the registration before says nothing of this one.
    assert_eq!(plugin.content().told.len(), 1);
    publish.send_replace(of(&drivers, Ok(())));
    assert_eq!(plugin.told(2).await[1], (true, String::new()));
    place.end().await;
}

#[tokio::test]
async fn the_directories_are_made_when_they_are_missing() {
    let mut place = Place::over(tempfile::tempdir().unwrap(), None);
    place.wait("nothing is there", |drivers| drivers.are_known).await;
    assert!(place.root.path().join("plugins").is_dir());
    assert!(place.root.path().join("plugins_registry").is_dir());
    place.end().await;
}
