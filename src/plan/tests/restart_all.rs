//! The restart of all containers of a pod, in the [`super::world`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Exits, Fate, World};
use crate::model::pod::{Container, Pod, RestartPolicy};
use crate::model::restart::{ExitCodes, RestartAction, RestartRule};
use crate::model::runtime::{ContainerState, ObservedPod};
use crate::model::sample;

use RestartPolicy::{Always, Never, OnFailure};

/// An init container, a sidecar and two containers, with an ephemeral one; the end of `source` with 42 restarts all.
fn pod(restart: RestartPolicy, source: &str) -> Pod {
    let mut pod = sample::pod(restart, &["i", "+s"], &["a", "b"]);
    pod.ephemeral_containers = vec![Container {
        restart: Never,
        ..sample::container("debug0")
    }];
    let all = pod.init_containers.iter_mut().chain(&mut pod.containers);
    for container in all {
        if !container.sidecar {
            container.restart = restart;
        }
        if container.name == source {
            container.restart_rules = vec![RestartRule {
                codes: ExitCodes::In(vec![42]),
                action: RestartAction::RestartAllContainers,
            }];
        }
    }
    pod
}

/// The running pod, ten seconds after its start.
fn runs(pod: &Pod) -> World {
    let mut world = World::new();
    world.programs = [("i".to_owned(), Exits { after: 1, code: 0 })].into();
    world.settle(Some(pod));
    world.advance(10);
    world
}

fn seen<'a>(world: &'a World, pod: &Pod) -> &'a ObservedPod {
    &world.observed.uids[&pod.uid]
}

/// How often the newest instance of each container was restarted.
fn restarts(world: &World, pod: &Pod) -> BTreeMap<String, u32> {
    let all = pod.all_containers();
    all.map(|container| {
        let newest = seen(world, pod).container(&container.name).unwrap();
        (container.name.clone(), newest.restart_count)
    })
    .collect()
}

fn once() -> BTreeMap<String, u32> {
    let counts = [("i", 1), ("s", 1), ("a", 1), ("b", 1), ("debug0", 0)];
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn all_containers_but_the_ephemeral_ones_are_restarted_in_the_same_sandbox() {
    for (restart, source) in [(Never, "a"), (OnFailure, "b"), (Always, "a"), (Never, "s")] {
        let pod = pod(restart, source);
        let mut world = runs(&pod);
        let before = seen(&world, &pod).clone();
        world.dies(source, 42);
        world.settle(Some(&pod));
        let after = seen(&world, &pod);
        assert_eq!(after.sandboxes, before.sandboxes);
        assert_eq!(restarts(&world, &pod), once(), "{restart:?} {source}");
        // What ran before is gone, except for what was added.
        let stays = |id: &str| before.containers.iter().any(|old| old.id == id);
        let old: Vec<_> = after.containers.iter().filter(|c| stays(&c.id)).collect();
        assert_eq!(old.len(), 1);
        assert_eq!(old[0].name, "debug0");
        let running = |name: &str| {
            let state = &after.container(name).unwrap().state;
            matches!(state, ContainerState::Running { .. })
        };
        assert!(["s", "a", "b", "debug0"].into_iter().all(running), "{after:?}");
    }
}

#[test]
fn what_has_completed_for_good_runs_again() {
    let pod = pod(Never, "a");
    let mut world = runs(&pod);
    world.dies("b", 0);
    world.settle(Some(&pod));
    assert_eq!(restarts(&world, &pod)["b"], 0);
    world.dies("a", 42);
    world.settle(Some(&pod));
    assert_eq!(restarts(&world, &pod), once());
}

#[test]
fn an_agent_killed_at_any_step_of_the_restart_goes_on_with_it() {
    for source in ["a", "s"] {
        for (steps, fate) in (0..24).flat_map(|steps| [(steps, Fate::Killed), (steps, Fate::KilledLate)]) {
            let pod = pod(Never, source);
            let mut world = runs(&pod);
            let sandboxes = seen(&world, &pod).sandboxes.clone();
            world.dies(source, 42);
            // Taken from the end.
            world.fates = vec![Fate::Done; steps];
            world.fates.insert(0, fate);
            world.settle(Some(&pod));
            assert_eq!(seen(&world, &pod).sandboxes, sandboxes);
            let restarts = restarts(&world, &pod);
            // What the killed agent has just started may have been lost before it was counted, never the restart.
            assert!(
                restarts.iter().all(|(name, count)| *count >= once()[name]),
                "{source} {steps}: {restarts:?}"
            );
        }
    }
}

#[test]
fn another_exit_code_is_for_the_policy() {
    let pod = pod(Never, "a");
    let mut world = runs(&pod);
    world.dies("a", 41);
    world.settle(Some(&pod));
    assert_eq!(restarts(&world, &pod).values().sum::<u32>(), 0);
}

#[test]
fn a_pod_that_has_ended_stays_ended_whatever_its_sidecars_return() {
    let pod = pod(Never, "s");
    let mut world = runs(&pod);
    world.dies("a", 0);
    world.dies("b", 1);
    world.dies("s", 42);
    world.settle(Some(&pod));
    assert_eq!(restarts(&world, &pod).values().sum::<u32>(), 0);
    assert!(!seen(&world, &pod).lives());
}

#[test]
fn a_container_that_ends_at_once_restarts_its_pod_once_a_second() {
    let pod = pod(Never, "a");
    let mut world = runs(&pod);
    let began = world.now;
    world
        .programs
        .insert("a".to_owned(), Exits { after: 0, code: 42 });
    world.dies("a", 42);
    while restarts_of(&world, &pod, "a") < 5 {
        if !world.turn(Some(&pod)) {
            world.advance(1);
        }
    }
    let took = Duration::try_from(world.now.duration_since(began)).unwrap();
    // The init container takes a second, too.
    assert!((8..=12).contains(&took.as_secs()), "{took:?}");
}

fn restarts_of(world: &World, pod: &Pod, name: &str) -> u32 {
    let newest = seen(world, pod).container(name);
    newest.map_or(0, |newest| newest.restart_count)
}
