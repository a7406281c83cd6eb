//! A storm: faults at random, one after the other, on a node whose pods come and go meanwhile. After each fault the node
//! has to come to rest: every wanted pod is as it should be, nothing else is there, and what was running before still is,
//! unless the fault itself has ended it.
//!
//! [`faults`] are what is done to the node, [`pods`] what runs there, [`ledger`] knows which containers may be others than
//! before, [`truth`] compares what the agent reports with what the runtime has, and [`leaks`] looks for what belongs to no
//! pod. Everything random follows from one seed.

pub mod disk;
pub mod faults;
pub mod hung;
mod kernel;
mod leaks;
mod ledger;
pub mod pods;
mod truth;
mod vitals;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::node::Node;
use crate::seeded_random::SeededRandom;
use crate::wait::STEP;
use faults::{Fault, Harm};
use ledger::Ledger;
use pods::{From, Pods, Wanted};
use vitals::Vitals;

/// The longest until the node is at rest again: a second back-off is 20 s, and two may follow each other.
const REST: Duration = Duration::from_secs(90);
/// The longest pause between two things that happen to the node.
const PAUSE: Duration = Duration::from_millis(400);
/// The most pods that are added or removed around a fault.
const CHANGES: usize = 3;

/// Where the storm rages: a node by itself, or one of a cluster.
pub trait World: Sized + 'static {
    /// The node.
    fn node(&self) -> &Node;
    /// The node, to do something to it.
    fn node_mut(&mut self) -> &mut Node;
    /// Asks for a pod.
    fn add(&mut self, pod: &Wanted);
    /// Asks for the end of a pod.
    fn remove(&mut self, pod: &Wanted);
    /// Who describes the next pod. The number is random.
    fn draws(&self, number: usize) -> From;
    /// Whether these pods can be asked for, and their end, at the moment.
    fn can_change(&self, from: From) -> bool;
    /// Whether others agree with what the agent reports; `Err` says what they have instead.
    fn agrees(&self, reported: &[Value]) -> Result<(), String>;
    /// What is done to this world alone.
    fn own_faults() -> Vec<Fault<Self>>;
}

/// What has become of a storm.
pub struct Storm<W> {
    /// Where it rages.
    pub world: W,
    /// Moments and choices.
    pub random: SeededRandom,
    /// What should run.
    pub pods: Pods,
    /// The pods as the agent reported them when the node was at rest.
    pub reported: BTreeMap<String, Value>,
    ledger: Ledger,
    vitals: Vitals,
}

impl<W: World> Storm<W> {
    /// A node at rest, with its first pods. The agent is started already.
    pub fn begin(world: W, random: SeededRandom) -> Storm<W> {
        let mut storm = Storm {
            world,
            random,
            pods: Pods::default(),
            reported: BTreeMap::new(),
            ledger: Ledger::default(),
            vitals: Vitals::default(),
        };
        pods::write_common();
        for _ in 0..pods::LEAST {
            storm.add();
        }
        storm
            .settle(&Harm::Nothing)
            .unwrap_or_else(|why| panic!("before the first fault: {why}"));
        storm
    }

    /// Inflicts so many faults, of those whose names have `only` in them. `Err` says after which of them the node did not
    /// come to rest, and why.
    pub fn rage(&mut self, count: usize, only: &str) -> Result<(), String> {
        let faults: Vec<Fault<W>> = faults::all::<W>()
            .into_iter()
            .chain(W::own_faults())
            .filter(|fault| fault.name.contains(only))
            .collect();
        let mut counts: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
        let mut outcome = Ok(());
        for number in 1..=count {
            let Some(fault) = self.choose(&faults) else {
                return Err(format!("no fault whose name has {only:?} in it can be inflicted"));
            };
            let begun = Instant::now();
            outcome = self.suffer(fault, number);
            let (times, took) = counts.entry(fault.name).or_default();
            *times += 1;
            *took += begun.elapsed();
            if outcome.is_err() {
                break;
            }
        }
        println!("faults by kind, with the mean time from the fault until the node was at rest:");
        for (name, (times, took)) in &counts {
            println!("{times:>6} {name} ({:.1} s)", took.as_secs_f64() / *times as f64);
        }
        println!("{}", self.vitals.summary());
        println!(
            "{} shims were forgotten by containerd itself",
            kernel::orphaned_shims().len()
        );
        outcome.and_then(|()| self.vitals.verdict())
    }

    /// Of the faults that can be inflicted now, one, each as often as it weighs.
    fn choose<'a>(&mut self, faults: &'a [Fault<W>]) -> Option<&'a Fault<W>> {
        let possible: Vec<&Fault<W>> = faults.iter().filter(|fault| (fault.may)(self)).collect();
        let total: usize = possible.iter().map(|fault| fault.weight).sum();
        let mut drawn = self.random.number(total.max(1));
        possible
            .into_iter()
            .find(|fault| match drawn.checked_sub(fault.weight) {
                Some(rest) => {
                    drawn = rest;
                    false
                }
                None => true,
            })
    }

    fn suffer(&mut self, fault: &Fault<W>, number: usize) -> Result<(), String> {
        let begun = Instant::now();
        let before = self.change();
        self.pause();
        let inflicted = (fault.inflict)(self);
        let during = self.change();
        self.pause();
        (inflicted.heal)(self);
        let healed = begun.elapsed();
        let rest = self.settle(&inflicted.harm);
        (inflicted.end)(self);
        println!(
            "{number} {} {}: {} pods; before {before}; during {during}; healed after {:.1} s, at rest after {:.1} s",
            fault.name,
            inflicted.what,
            self.pods.len(),
            healed.as_secs_f64(),
            begun.elapsed().as_secs_f64(),
        );
        rest.map_err(|why| format!("fault {number}, {} {}: {why}", fault.name, inflicted.what))
    }

    /// Adds and removes some pods; says which. Those that a fault has harmed go first.
    pub fn change(&mut self) -> String {
        let mut said = Vec::new();
        for _ in 0..self.random.number(CHANGES + 1) {
            let drawn = self.random.number(usize::MAX);
            let world = &self.world;
            match self.pods.leaving(drawn, |from| world.can_change(from)) {
                Some(pod) => {
                    self.world.remove(&pod);
                    said.push(format!("-{}", pod.name));
                }
                None => said.push(format!("+{}", self.add())),
            }
        }
        match said.is_empty() {
            true => "nothing".to_owned(),
            false => said.join(" "),
        }
    }

    fn add(&mut self) -> String {
        let drawn = self.random.number(usize::MAX);
        let from = self.world.draws(self.random.number(usize::MAX));
        let pod = self.pods.coming(drawn, from);
        self.world.add(&pod);
        format!("{}:{:?}", pod.name, pod.kind)
    }

    pub fn pause(&mut self) {
        std::thread::sleep(self.random.next(PAUSE)); // the random moment
    }

    /// A random one of the pods that run for good and were at rest before this fault.
    pub fn victim(&mut self) -> Option<Wanted> {
        let drawn = self.random.number(usize::MAX);
        self.pods.victim(drawn)
    }

    /// Whether there is such a pod.
    pub fn has_victim(&self) -> bool {
        self.pods.victim(0).is_some()
    }

    /// Removes a pod that is of no use any more, as an administrator would.
    pub fn give_up(&mut self, pod: &Wanted) {
        if self.pods.remove(pod) {
            self.world.remove(pod);
        }
    }

    /// Waits until the node is at rest, and checks that it is as it should be after this harm.
    fn settle(&mut self, harm: &Harm) -> Result<(), String> {
        let begun = Instant::now();
        self.pods.suffer(harm);
        let settled = loop {
            if let Some(status) = self.world.node_mut().agent_end() {
                return Err(format!("the agent ended by itself: {status}"));
            }
            let looked = truth::look(self).and_then(|settled| {
                self.ledger.has_successors(&self.pods, &settled, harm)?;
                Ok(settled)
            });
            match looked {
                Ok(settled) => break settled,
                Err(seen) if begun.elapsed() > REST => {
                    return Err(format!("not at rest after {} s: {seen}", REST.as_secs()));
                }
                Err(_) => std::thread::sleep(STEP),
            }
        };
        self.vitals.take(self.world.node().agent_pid())?;
        self.ledger.check(&self.pods, &settled, harm)?;
        self.reported = settled.reported;
        self.pods.rested();
        Ok(())
    }
}
