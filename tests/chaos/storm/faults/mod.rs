//! What is done to the node. Each fault says when it can be inflicted, what it does, whom it may harm, and how what was
//! taken away is given back: by what an administrator or a service manager would do, never by the agent's own work.

mod cgroups;
mod disks;
mod files;
mod images;
mod machine;
mod mounts;
mod network;
mod plugins;
mod processes;
mod upgrade;
mod victims;

use std::collections::BTreeSet;

use super::pods::Wanted;
use super::{Storm, World};

/// One thing that can happen to the node.
pub struct Fault<W> {
    /// What it is called.
    pub name: &'static str,
    /// How often it is drawn, compared with the others.
    pub weight: usize,
    /// Whether it can be inflicted now.
    pub may: fn(&Storm<W>) -> bool,
    /// Inflicts it.
    pub inflict: fn(&mut Storm<W>) -> Inflicted<W>,
}

/// What is done to the storm's node once, later.
type Later<W> = Box<dyn FnOnce(&mut Storm<W>)>;

/// A fault that was inflicted.
pub struct Inflicted<W> {
    /// What was hit.
    pub what: String,
    /// Whom it may have harmed.
    pub harm: Harm,
    /// Gives back what was taken away; then the node has to come to rest.
    pub heal: Later<W>,
    /// Ends what the node has to come to rest beside.
    pub end: Later<W>,
}

/// Which containers may be others than before. All others must be the same.
#[derive(Debug, Clone)]
pub enum Harm {
    /// None: whatever runs goes on, and whatever starts starts once.
    Nothing,
    /// Those that were being started: the runtime gave up a start, which has to be repeated. It does so when it is killed, and
    /// when the agent is: a request ends with the connection that it came by.
    Starts,
    /// Those of these pods.
    Pods(BTreeSet<String>),
    /// All.
    All,
}

impl Harm {
    /// Of one pod.
    pub fn of(pod: &Wanted) -> Harm {
        Harm::Pods(BTreeSet::from([pod.name.clone()]))
    }

    /// Whether containers of this pod may be others than before.
    pub fn may_restart(&self, pod: &Wanted) -> bool {
        match self {
            Harm::Nothing => false,
            Harm::Starts => !pod.has_rested(),
            Harm::Pods(names) => names.contains(&pod.name),
            Harm::All => true,
        }
    }

    /// Whether containers of this pod were surely ended.
    pub fn restarts(&self, pod: &Wanted) -> bool {
        self.may_restart(pod) && !matches!(self, Harm::Starts)
    }
}

impl<W> Inflicted<W> {
    /// One that leaves nothing to give back.
    pub fn done(what: impl Into<String>, harm: Harm) -> Inflicted<W> {
        Inflicted {
            what: what.into(),
            harm,
            heal: Box::new(|_| {}),
            end: Box::new(|_| {}),
        }
    }

    /// One after which something has to be given back.
    pub fn until(
        what: impl Into<String>,
        harm: Harm,
        heal: impl FnOnce(&mut Storm<W>) + 'static,
    ) -> Inflicted<W> {
        Inflicted {
            what: what.into(),
            harm,
            heal: Box::new(heal),
            end: Box::new(|_| {}),
        }
    }

    /// The same, and something ends only when the node is at rest.
    pub fn beside(self, end: impl FnOnce(&mut Storm<W>) + 'static) -> Inflicted<W> {
        Inflicted {
            end: Box::new(end),
            ..self
        }
    }
}

/// A fault that can always be inflicted.
fn always<W>(_: &Storm<W>) -> bool {
    true
}

/// A fault that needs a pod to hit.
fn with_victim<W: World>(storm: &Storm<W>) -> bool {
    storm.has_victim()
}

/// Every fault of a node.
pub fn all<W: World>() -> Vec<Fault<W>> {
    let mut faults = Vec::new();
    faults.extend(processes::all());
    faults.extend(victims::all());
    faults.extend(files::all());
    faults.extend(cgroups::all());
    faults.extend(network::all());
    faults.extend(plugins::all());
    faults.extend(images::all());
    faults.extend(disks::all());
    faults.extend(mounts::all());
    faults.extend(machine::all());
    faults.extend(upgrade::all());
    faults
}
