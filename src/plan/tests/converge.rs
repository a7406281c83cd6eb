//! Whatever happens, plans reach the desired state and then do nothing: random pods and random events in the
//! [`super::world`], which checks every step.

use std::fmt;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;

use super::node::{self, Labels};
use super::world::{ADDED, Exits, Fate, STOPPED, World};
use crate::model::pod::{Container, Mount, Pod, Propagation, RestartPolicy, Source, Volume, VolumeSource};
use crate::model::restart::{ExitCodes, RestartAction, RestartRule};
use crate::model::runtime::{ContainerState, ObservedPod};
use crate::model::sample;

/// The exit code after which some containers restart all of their pod.
const RESTARTS_ALL: i32 = 42;

/// What happens between two plans.
#[derive(Debug, Clone)]
enum Event {
    Turns(u8),
    Time(u16),
    Dies(u8, i32),
    Forgotten(u8),
    SandboxDies,
    Reboot,
    AgentRestarts,
    Replaced,
    Removed,
    Edited(u8),
    Debugged,
    Lost(u8),
    Wiped,
    MadeAgain,
    ImageThere(bool),
    NetworkReady(bool),
    Fates(Vec<Fate>),
    OtherComes(i64),
    OtherGoes,
    Labelled(Labels),
    ShutsDown(bool),
    Requests(i64),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Done),
        2 => Just(Fate::Fails),
        1 => Just(Fate::FailsLate),
        1 => Just(Fate::Unreachable),
        1 => Just(Fate::Killed),
        1 => Just(Fate::KilledLate),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1..6_u8).prop_map(Event::Turns),
        3 => (0..700_u16).prop_map(Event::Time),
        3 => (any::<u8>(), prop_oneof![Just(0), Just(1), Just(RESTARTS_ALL)]).prop_map(|(which, code)| Event::Dies(which, code)),
        1 => any::<u8>().prop_map(Event::Forgotten),
        1 => Just(Event::SandboxDies),
        1 => Just(Event::Reboot),
        2 => Just(Event::AgentRestarts),
        1 => Just(Event::Replaced),
        1 => Just(Event::Removed),
        1 => any::<u8>().prop_map(Event::Edited),
        1 => Just(Event::Debugged),
        1 => any::<u8>().prop_map(Event::Lost),
        1 => Just(Event::Wiped),
        1 => Just(Event::MadeAgain),
        1 => any::<bool>().prop_map(Event::ImageThere),
        1 => any::<bool>().prop_map(Event::NetworkReady),
        5 => vec(fate(), 1..14).prop_map(Event::Fates),
        2 => (1..2000_i64).prop_map(Event::OtherComes),
        1 => Just(Event::OtherGoes),
        1 => prop_oneof![Just(Labels::Unknown), Just(Labels::Without), Just(Labels::With)].prop_map(Event::Labelled),
        2 => (1..2500_i64).prop_map(Event::Requests),
        2 => any::<bool>().prop_map(Event::ShutsDown),
    ]
}

fn restart() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::Always),
        Just(RestartPolicy::OnFailure),
        Just(RestartPolicy::Never)
    ]
}

/// A pod of up to three init containers and three containers, the behavior of each, and perhaps a deadline. It is of a
/// manifest or of the API, takes part of the node's room, and may require a label.
struct Story {
    pod: Pod,
    programs: Vec<(String, Exits)>,
    /// What another pod requests that runs before this one is wanted.
    first: Option<i64>,
    events: Vec<Event>,
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.pod.all_containers().map(|c| (&c.name, c.sidecar)).collect();
        let pod = (
            self.pod.restart_policy,
            self.pod.active_deadline,
            &self.pod.source,
        );
        let pod = (
            pod,
            &self.pod.containers[0].resources.requests.cpu,
            !self.pod.placement.selector.is_empty(),
        );
        write!(
            f,
            "{:?} {pod:?} {names:?} {:?} {:?}",
            self.first, self.programs, self.events
        )
    }
}

fn story() -> impl Strategy<Value = Story> {
    let init = prop::sample::subsequence(vec!["i1", "+s2", "i3"], 0..=3);
    let containers = prop::sample::subsequence(vec!["a", "b", "c"], 1..=3);
    let deadline = proptest::option::weighted(0.1, 5..2000_u64);
    let exits = vec(
        proptest::option::of((0..30_u32, prop_oneof![3 => Just(0), 1 => Just(1)])),
        3,
    );
    // The restart policies that containers set themselves.
    let own = vec(proptest::option::weighted(0.2, self::restart()), 6);
    (
        restart(),
        init,
        containers,
        deadline,
        exits,
        own,
        (
            1..2000_i64,
            proptest::bool::weighted(0.3),
            proptest::bool::weighted(0.3),
            proptest::option::weighted(0.3, 1..2000_i64),
        ),
        (vec(proptest::bool::weighted(0.2), 6), vec(event(), 0..24)),
    )
        .prop_map(
            |(restart, init, containers, deadline, exits, own, on_node, (rules, events))| {
                let mut pod = sample::pod(restart, &init, &containers);
                let stated = pod
                    .init_containers
                    .iter_mut()
                    .filter(|container| !container.sidecar);
                for (container, own) in stated.chain(&mut pod.containers).zip(own) {
                    container.restart = own.unwrap_or(restart);
                }
                let all = pod.init_containers.iter_mut().chain(&mut pod.containers);
                for (container, _) in all.zip(rules).filter(|(_, has_rule)| *has_rule) {
                    container.restart_rules = vec![RestartRule {
                        codes: ExitCodes::In(vec![RESTARTS_ALL]),
                        action: RestartAction::RestartAllContainers,
                    }];
                }
                pod.active_deadline = deadline.map(std::time::Duration::from_secs);
                pod.volumes.push(Volume {
                    name: "v".to_owned(),
                    source: VolumeSource::EmptyDir {
                        medium: Default::default(),
                        size_limit: None,
                    },
                });
                pod.containers[0].mounts.push(Mount {
                    volume: "v".to_owned(),
                    sub_path: None,
                    path: "/v".to_owned(),
                    read_only: false,
                    recursive_read_only: Default::default(),
                    propagation: Propagation::None,
                });
                let mut programs: Vec<_> = pod
                    .init_containers
                    .iter()
                    .filter(|container| !container.sidecar)
                    .map(|container| (container.name.clone(), Exits { after: 1, code: 0 }))
                    .collect();
                for (container, exit) in pod.containers.iter().zip(exits) {
                    if let Some((after, code)) = exit.filter(|_| container.restart != RestartPolicy::Always) {
                        programs.push((container.name.clone(), Exits { after, code }));
                    }
                }
                let (milli, is_choosy, is_static, first) = on_node;
                pod = node::requesting(pod, milli);
                if is_choosy {
                    pod = node::choosy(pod);
                }
                if is_static {
                    pod = node::of_file(pod);
                }
                Story {
                    pod,
                    programs,
                    first,
                    events,
                }
            },
        )
}

/// Plays the story; returns the desired pod at its end.
fn live(world: &mut World, pod: &Pod, events: &[Event]) -> Option<Pod> {
    let mut desired = Some(pod.clone());
    let mut versions = 1;
    for event in events {
        let all = desired.as_ref().unwrap_or(pod).all_containers();
        let names: Vec<_> = all.map(|c| c.name.clone()).collect();
        let name = |which: u8| names[usize::from(which) % names.len()].as_str();
        match event {
            Event::Turns(count) => (0..*count).for_each(|_| {
                world.turn(desired.as_ref());
            }),
            Event::Time(seconds) => world.advance(i64::from(*seconds)),
            Event::Dies(which, code) => world.dies(name(*which), *code),
            Event::Forgotten(which) => world.forgets(name(*which)),
            Event::SandboxDies => world.sandbox_dies(),
            Event::Reboot => world.reboots(),
            Event::AgentRestarts => world.agent_restarts(),
            Event::Removed => desired = None,
            Event::Replaced => {
                versions += 1;
                let uid = sample::uid(&format!("u{versions}"));
                desired = Some(Pod { uid, ..pod.clone() });
            }
            Event::Edited(which) => {
                if let Some(pod) = &mut desired {
                    let index = usize::from(*which) % pod.containers.len();
                    pod.containers[index].hash += 1;
                }
            }
            Event::Debugged => {
                if let Some(pod) = &mut desired {
                    let added = &mut pod.ephemeral_containers;
                    let name = format!("{ADDED}{}", added.len());
                    added.push(Container {
                        restart: RestartPolicy::Never,
                        ..sample::container(&name)
                    });
                }
            }
            Event::Lost(which) => {
                let lost = name(*which).to_owned();
                // An ephemeral container is never started again, which is counted here.
                if !lost.starts_with(ADDED) {
                    world.loses(&lost);
                }
            }
            Event::Wiped => world.is_wiped(),
            Event::MadeAgain => {
                // Static pods cannot get ephemeral containers.
                if let Some(pod) = desired.as_mut().filter(|pod| pod.ephemeral_containers.is_empty()) {
                    pod.incarnation += 1;
                }
            }
            Event::ImageThere(there) => world.image_there = *there,
            Event::NetworkReady(ready) => world.network_ready = *ready,
            Event::Fates(fates) => world.fates = fates.clone(),
            Event::OtherComes(milli) => world.other_comes(*milli),
            Event::OtherGoes => world.other_goes(),
            Event::Labelled(labels) => world.node.labels = *labels,
            Event::ShutsDown(begins) => world.shuts_down(*begins),
            Event::Requests(milli) => {
                // A static pod that asks for something else is another pod.
                if let Some(pod) = desired.take_if(|pod| pod.source == Source::Api) {
                    desired = Some(node::requesting(pod, *milli));
                }
            }
        }
    }
    desired
}

/// From here on nothing fails, and programs run to completion.
fn calm(world: &mut World) {
    world.fates.clear();
    world.image_there = true;
    world.network_ready = true;
    world.node.labels = Labels::With;
    world.shuts_down(false);
    for program in world.programs.values_mut() {
        program.code = 0;
    }
}

/// The desired state has been reached, and nothing else exists.
fn assert_is(world: &World, desired: Option<&Pod>) {
    let uid = desired.map(|pod| pod.uid.0.as_str());
    let foreign = |path: &&PathBuf| uid.is_none_or(|uid| !path.to_string_lossy().contains(uid));
    // After a kill, the agent does not know the log directory of a pod that never got a sandbox.
    let logs = |path: &&PathBuf| world.killed && path.starts_with("/var/log");
    assert_eq!(
        world.disk.iter().find(|path| foreign(path) && !logs(path)),
        None,
        "left behind"
    );
    let Some(pod) = desired else {
        assert!(
            world.observed.uids.is_empty(),
            "left behind: {:?}",
            world.observed
        );
        assert!(world.cgroups.is_empty(), "left behind: {:?}", world.cgroups);
        return;
    };
    assert!(world.observed.uids.keys().all(|uid| *uid == pod.uid));
    let nothing = ObservedPod::default();
    let seen = world.observed.uids.get(&pod.uid).unwrap_or(&nothing);
    for container in pod.all_containers() {
        let dead = seen
            .containers
            .iter()
            .filter(|c| c.name == container.name && !c.may_run());
        assert!(
            dead.count() <= 1,
            "more than one dead instance of {}: {seen:?}",
            container.name
        );
    }
    if world.is_rejected(pod) {
        return assert_rejected(world, pod, seen);
    }
    match seen.usable_sandbox(false) {
        Some(_) => assert_runs(world, pod, seen),
        None => assert_ended(world, pod, seen),
    }
}

/// What the node does not take leaves nothing; a static pod is taken as soon as it fits.
fn assert_rejected(world: &World, pod: &Pod, seen: &ObservedPod) {
    assert!(seen.ready_sandboxes().next().is_none() && !seen.containers.iter().any(|c| c.may_run()));
    assert!(world.cgroups.is_empty(), "a rejected pod has a cgroup");
    assert!(
        pod.source == Source::Api || !world.fits(pod),
        "a static pod that fits is rejected"
    );
}

/// A pod has what it asks for where there is room for it.
fn assert_allotted(world: &World, pod: &Pod, seen: &ObservedPod) {
    if pod.source != Source::Api {
        return;
    }
    let saved = seen.allocation.as_ref().expect("what runs has its allocation");
    let has_it = saved.satisfies(pod) && saved.behind.is_empty();
    let waits = world
        .memory
        .as_ref()
        .is_some_and(|memory| memory.resize.is_some());
    assert!(has_it || waits && !world.has_room(pod), "{saved:?}");
}

fn assert_runs(world: &World, pod: &Pod, seen: &ObservedPod) {
    assert_allotted(world, pod, seen);
    let runs = |name: &str| {
        let live = seen
            .containers
            .iter()
            .filter(|c| c.name == name && c.may_run())
            .count();
        assert!(live <= 1, "{name} is running twice");
        live == 1
    };
    let mut one = false;
    for container in &pod.containers {
        let instance = seen
            .container(&container.name)
            .expect("every container was started");
        one |= runs(&container.name);
        if let ContainerState::Exited { code, .. } = instance.state {
            // A container that was stopped in a running pod was stopped to be started again.
            let was_ended = code == STOPPED && !world.not_saved;
            let stays_down = !container.restarts_after(code) && !was_ended;
            assert!(stays_down, "{} is not restarted: {seen:?}", container.name);
        } else {
            assert!(runs(&container.name) && instance.hash == container.hash);
        }
    }
    for added in &pod.ephemeral_containers {
        assert!(
            seen.container(&added.name).is_some(),
            "{} was never started",
            added.name
        );
    }
    assert!(one, "no container runs in a pod with a sandbox: {seen:?}");
    for sidecar in pod.init_containers.iter().filter(|c| c.sidecar) {
        assert!(runs(&sidecar.name), "{} does not run: {seen:?}", sidecar.name);
    }
}

fn assert_ended(world: &World, pod: &Pod, seen: &ObservedPod) {
    let has_deadline = pod.active_deadline.is_some();
    let mut own = pod.own_containers().filter(|container| !container.sidecar);
    // A static pod runs again when the machine does.
    let was_shut_down = world.was_shut_down && pod.source == Source::Api;
    assert!(
        has_deadline
            || was_shut_down
            || pod.restart_policy != RestartPolicy::Always
            || own.any(|container| container.restart != RestartPolicy::Always),
        "the pod ended although nothing required it: {seen:?}"
    );
    assert!(seen.ready_sandboxes().next().is_none() && !seen.containers.iter().any(|c| c.may_run()));
    assert!(world.cgroups.is_empty(), "an ended pod still has a cgroup");
    let volume = |path: &&PathBuf| path.to_string_lossy().contains("/volumes/");
    assert_eq!(
        world.disk.iter().find(volume),
        None,
        "an ended pod still has volumes"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_story_ends_as_desired(Story { pod, programs, first, events } in story()) {
        let mut world = World::new();
        world.programs = programs.into_iter().collect();
        if let Some(milli) = first {
            world.other_comes(milli);
            world.turn(None);
        }
        let desired = live(&mut world, &pod, &events);
        calm(&mut world);
        world.settle(desired.as_ref());
        assert_is(&world, desired.as_ref());
        // Nothing more to do, even for an agent without memory; an end may be repeated once.
        prop_assert!(!world.turn(desired.as_ref()));
        // The exception is a pod that ended without a trace, or in a shutdown of which the disk took none: to such an agent
        // it is new, unless the API server has its end, which it has not here.
        let is_without_trace = world.observed.uids.is_empty() || world.was_shut_down && world.not_saved;
        if !is_without_trace {
            world.agent_restarts();
            let before = world.observed.clone();
            world.settle(desired.as_ref());
            prop_assert_eq!(&before, &world.observed);
            assert_is(&world, desired.as_ref());
        }
        // A pod that is no longer desired leaves nothing behind.
        world.settle(None);
        assert_is(&world, None);
    }

    #[test]
    fn a_pod_whose_manifest_is_made_again_begins_anew(
        Story { pod, programs, .. } in story(),
        fates in vec(fate(), 0..14),
        seconds in 0..100_i64,
    ) {
        let mut world = World::new();
        world.programs = programs.into_iter().collect();
        calm(&mut world);
        world.settle(Some(&pod));
        world.advance(seconds);
        let made = world.made();
        let again = Pod { incarnation: 1, ..pod.clone() };
        // Fates are taken from the end: the end of the old incarnation is recorded first, so whatever happens next is
        // based on it.
        world.fates = fates;
        world.fates.push(Fate::Done);
        (0..20).for_each(|_| {
            world.turn(Some(&again));
        });
        calm(&mut world);
        world.settle(Some(&again));
        assert_is(&world, Some(&again));
        let seen = &world.observed.uids[&pod.uid];
        let is_new = |id: &str| id[1..].parse::<u32>().unwrap() > made;
        for container in &pod.containers {
            let newest = seen.container(&container.name).expect("every container was started");
            prop_assert!(is_new(&newest.id), "{} belongs to the previous life of the pod: {:?}", container.name, seen);
            prop_assert!(newest.restart_count > 0);
        }
    }

    #[test]
    fn an_agent_killed_after_any_step_finishes_what_it_began(
        Story { pod, programs, .. } in story(),
        steps in 0..40_usize,
        late in any::<bool>(),
        removing in any::<bool>(),
    ) {
        let mut world = World::new();
        world.programs = programs.into_iter().collect();
        calm(&mut world);
        let mut desired = Some(&pod);
        if removing {
            world.settle(desired);
            desired = None;
        }
        // Taken from the end.
        world.fates = vec![Fate::Done; steps];
        world.fates.insert(0, if late { Fate::KilledLate } else { Fate::Killed });
        world.settle(desired);
        assert_is(&world, desired);
    }
}
