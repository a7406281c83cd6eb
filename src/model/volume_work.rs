//! What is being done with volumes at this moment, for people who ask. It is in memory only: what is done with a volume ends
//! with the agent, and the next one begins it again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::pod::PodUid;

/// All of it. Written by `act` alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeWork {
    /// The volumes of pods that are being set up or taken down: by the pod, and by the path at which its containers find
    /// the volume on the node.
    pub of_pods: BTreeMap<(PodUid, PathBuf), Wait>,
    /// The volumes of drivers that no pod uses and that are to be unstaged.
    pub unstaging: BTreeMap<Staged, Unstaging>,
}

/// What is waited for, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What is done with the volume.
    pub goal: Goal,
    /// What that waits for.
    pub awaited: Awaited,
    /// When it began.
    pub since: Timestamp,
}

/// What is done with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// It becomes available to the pod.
    SetUp,
    /// It is published again; the pod has it meanwhile.
    Refresh,
    /// It is taken from the pod.
    TakeDown,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// The file system that the volume is on.
    FileSystem,
    /// The server that has it: `host:/path`.
    Server(String),
    /// The disk of a storage network that it is.
    Disk(String),
    /// The device or directory of the node that it is.
    OfNode(PathBuf),
    /// Something about a storage driver.
    Driver {
        /// `NodePublishVolume`
        what: &'static str,
        /// The name of the driver.
        driver: String,
    },
}

impl Awaited {
    /// In words that follow `waiting for`; `path` is that of the volume.
    pub fn text(&self, path: &Path) -> String {
        match self {
            Awaited::FileSystem => format!("the file system at {}", path.display()),
            Awaited::Server(source) => format!("the NFS server of {source}"),
            Awaited::Disk(disk) => format!("the disk {disk}"),
            Awaited::OfNode(source) => format!("the device or directory {}", source.display()),
            Awaited::Driver { what, driver } => format!("{what} of driver {driver}"),
        }
    }
}

/// A volume of a driver, as it is staged on the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Staged {
    /// The name of the driver.
    pub driver: String,
    /// What the driver calls the volume.
    pub handle: String,
}

/// How far a volume is that is to be unstaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unstaging {
    /// Its driver is not registered.
    NoDriver,
    /// The call is under way.
    Calling,
    /// It failed, and is repeated.
    Failed(String),
}

impl Unstaging {
    /// Why the volume is still staged.
    pub fn text(&self, driver: &str) -> String {
        match self {
            Unstaging::NoDriver => format!("driver {driver} is not registered"),
            Unstaging::Calling => format!("waiting for NodeUnstageVolume of driver {driver}"),
            Unstaging::Failed(why) => format!("cannot unstage: {why}"),
        }
    }
}
