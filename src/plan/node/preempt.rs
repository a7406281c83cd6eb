//! Which pods leave for a critical pod that the node has no room for (`pkg/kubelet/preemption/preemption.go`): as few as
//! possible of the best QoS class, then of the next, and of two that do equally well the one that requests less.
//!
//! A pod that ends already makes room as well. So nobody is chosen twice, and nobody else while the chosen ones end. It takes
//! a pass over the pods for each one that is chosen.

use std::fmt;
use std::sync::Arc;

use super::occupants::Occupants;
use crate::model::pod::Pod;
use crate::model::resources::{Amounts, Qos};
use crate::plan::admit::Refusal;
use crate::plan::cgroup::is_critical;
use crate::plan::shortage::{self, Resource, Shortage};

/// The pods that have to end so that so much becomes free. `None` are needed where enough ends already.
pub(super) fn victims(
    pod: &Pod,
    lacking: &[Shortage],
    occupants: &Occupants,
) -> Result<Vec<Arc<Pod>>, Refusal> {
    let leaving: Vec<_> = occupants.leaving.iter().map(Candidate::of).collect();
    let requirements = Requirements::of(lacking).without(&leaving);
    let of_class = |qos: Qos| {
        let staying = occupants.staying.iter();
        let displaced = staying.filter(move |other| other.qos == qos && may_displace(pod, other));
        displaced.map(Candidate::of).collect::<Vec<_>>()
    };
    let classes = [Qos::BestEffort, Qos::Burstable, Qos::Guaranteed].map(of_class);
    choose(requirements, classes).map_err(|unmet| unmet.refusal())
}

/// Whether a pod may take the room of another one (`Preemptable` in `pkg/kubelet/types/pod_update.go`).
pub fn may_displace(pod: &Pod, other: &Pod) -> bool {
    is_critical(pod) && (!is_critical(other) || pod.priority.zip(other.priority).is_some_and(|(a, b)| a > b))
}

/// A pod, and what it requests.
#[derive(Debug, Clone)]
struct Candidate<'a> {
    pod: &'a Arc<Pod>,
    requests: Amounts,
}

impl<'a> Candidate<'a> {
    fn of(pod: &'a Arc<Pod>) -> Candidate<'a> {
        let requests = shortage::requests(pod);
        Candidate { pod, requests }
    }

    fn size(&self) -> (i64, i64) {
        (self.requests.memory_or_zero(), self.requests.cpu_or_zero())
    }
}

/// How much of which resources has to become free; each amount is more than 0 (`admissionRequirementList`).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirements(Vec<(Resource, i64)>);

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (resource, amount) in &self.0 {
            write!(f, "(res: {resource}, q: {amount}), ")?;
        }
        f.write_str("]")
    }
}

impl Requirements {
    fn of(lacking: &[Shortage]) -> Requirements {
        let each = lacking
            .iter()
            .map(|shortage| (shortage.resource.clone(), shortage.amount()));
        Requirements(each.collect())
    }

    fn are_met(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of them without these pods.
    fn without(&self, pods: &[Candidate<'_>]) -> Requirements {
        let left = |(resource, amount): &(Resource, i64)| {
            let given = pods.iter().map(|pod| resource.of(&pod.requests));
            let left = given.fold(*amount, i64::saturating_sub);
            (left > 0).then(|| (resource.clone(), left))
        };
        Requirements(self.0.iter().filter_map(left).collect())
    }

    /// How far a pod is from meeting them: of each the fraction that is left, squared, so that all count the same.
    fn distance(&self, pod: &Candidate<'_>) -> f64 {
        let each = self.0.iter().map(|(resource, amount)| {
            let left = amount.saturating_sub(resource.of(&pod.requests)).max(0);
            (left as f64 / *amount as f64).powi(2)
        });
        each.sum()
    }

    fn refusal(&self) -> Refusal {
        Refusal {
            reason: "UnexpectedAdmissionError".to_owned(),
            message: format!(
                "Unexpected error while attempting to recover from admission failure: preemption: error finding a set \
                 of pods to preempt: no set of running pods found to reclaim resources: {self}"
            ),
        }
    }
}

/// Chooses among pods of the classes best-effort, burstable and guaranteed: of each class only for what those before it
/// do not give all together, then again without those that are not needed (`getPodsToPreempt`). What is left, where all of
/// them do not suffice.
fn choose(
    requirements: Requirements,
    [best_effort, burstable, guaranteed]: [Vec<Candidate<'_>>; 3],
) -> Result<Vec<Arc<Pod>>, Requirements> {
    let without_first = requirements.without(&best_effort);
    let guaranteed = nearest(guaranteed, without_first.without(&burstable))?;
    let burstable = nearest(burstable, without_first.without(&guaranteed))?;
    let rest = requirements.without(&burstable).without(&guaranteed);
    let best_effort = nearest(best_effort, rest)?;
    let chosen = best_effort.into_iter().chain(burstable).chain(guaranteed);
    Ok(chosen.map(|candidate| candidate.pod.clone()).collect())
}

/// Chooses those that come nearest to what is required, one after the other (`getPodsToPreemptByDistance`). What is left,
/// where all of them do not suffice.
fn nearest<'a>(
    mut pods: Vec<Candidate<'a>>,
    mut requirements: Requirements,
) -> Result<Vec<Candidate<'a>>, Requirements> {
    let mut chosen = Vec::new();
    while !requirements.are_met() {
        let ranked = pods.iter().map(|pod| (requirements.distance(pod), pod.size()));
        let best = ranked
            .enumerate()
            .min_by(|(_, (near, small)), (_, (far, large))| near.total_cmp(far).then(small.cmp(large)));
        let Some((best, _)) = best else {
            return Err(requirements);
        };
        let pod = pods.swap_remove(best);
        requirements = requirements.without(std::slice::from_ref(&pod));
        chosen.push(pod);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::pod::{PodName, RestartPolicy};
    use crate::model::resources::{Bytes, MilliCpu, Resources};
    use crate::model::sample;

    fn pod(name: &str, cpu: i64, memory: i64) -> Arc<Pod> {
        let requests = Amounts {
            cpu: Some(MilliCpu(cpu)),
            memory: Some(Bytes(memory)),
            ..Amounts::default()
        };
        let resources = Resources {
            requests,
            limits: Amounts::default(),
        };
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]).with_resources(&[resources]);
        pod.name = PodName::new("ns", name);
        Arc::new(pod)
    }

    fn needs(cpu: i64, memory: i64, pods: i64) -> Requirements {
        let all = [
            (Resource::Cpu, cpu),
            (Resource::Memory, memory),
            (Resource::Pods, pods),
        ];
        Requirements(all.into_iter().filter(|(_, amount)| *amount > 0).collect())
    }

    fn chosen(requirements: Requirements, classes: [&[Arc<Pod>]; 3]) -> Result<Vec<String>, String> {
        let classes = classes.map(|pods| pods.iter().map(Candidate::of).collect());
        let chosen = choose(requirements, classes);
        chosen
            .map(|pods| pods.iter().map(|pod| pod.name.name.clone()).collect())
            .map_err(|left| left.to_string())
    }

    #[test]
    fn the_better_classes_leave_only_for_what_the_others_cannot_give() {
        let none: &[Arc<Pod>] = &[];
        let best_effort = [pod("e1", 0, 0), pod("e2", 0, 0)];
        let burstable = [pod("b1", 100, 100), pod("b2", 300, 100), pod("b3", 300, 50)];
        let guaranteed = [pod("g1", 500, 500), pod("g2", 200, 900)];
        let all = [&best_effort[..], &burstable, &guaranteed];
        let check = |requirements, classes, names: &[&str]| {
            assert_eq!(
                chosen(requirements, classes),
                Ok(names.iter().map(|name| (*name).to_owned()).collect())
            );
        };
        check(needs(0, 0, 0), all, &[]);
        // One place: the best-effort pods request nothing.
        check(needs(0, 0, 1), all, &["e1"]);
        // The one that suffices, and of those the smaller one.
        check(needs(250, 0, 0), all, &["b3"]);
        check(needs(250, 60, 0), all, &["b2"]);
        check(needs(50, 100, 0), all, &["b1"]);
        // The nearest first, then what is left.
        check(needs(650, 0, 0), all, &["b3", "b2", "b1"]);
        // The burstable ones give 700 in all. With a guaranteed one most of them may stay.
        check(needs(800, 0, 0), all, &["b3", "g1"]);
        check(needs(900, 1000, 0), all, &["b2", "b3", "b1", "g2"]);
        let left = chosen(needs(1500, 300, 9), all);
        assert_eq!(left, Err("[(res: cpu, q: 100), (res: pods, q: 2), ]".to_owned()));
        assert_eq!(
            chosen(needs(1, 0, 0), [none, none, none]),
            Err("[(res: cpu, q: 1), ]".to_owned())
        );
    }

    /// The same choice, written down once more for three numbers: CPU, memory and places.
    fn naive(mut need: [i64; 3], classes: &[Vec<[i64; 3]>; 3]) -> Option<Vec<(usize, usize)>> {
        let total = |class: usize| {
            let of = |which: usize| classes[class].iter().map(|pod| pod[which]).sum::<i64>();
            [of(0), of(1), of(2)]
        };
        let less = |need: [i64; 3], given: [i64; 3]| [0, 1, 2].map(|i| (need[i] - given[i]).max(0));
        let pick = |class: usize, mut need: [i64; 3]| {
            let mut order: Vec<usize> = (0..classes[class].len()).collect();
            let mut picked = Vec::new();
            while need != [0; 3] {
                let mut best: Option<(f64, i64, i64, usize)> = None;
                for (place, index) in order.iter().enumerate() {
                    let pod = classes[class][*index];
                    let mut distance = 0.0;
                    for i in 0..3 {
                        if need[i] > pod[i] {
                            distance += ((need[i] - pod[i]) as f64 / need[i] as f64).powi(2);
                        }
                    }
                    let is_better = best.is_none_or(|(far, memory, cpu, _)| {
                        distance < far || distance == far && (pod[1], pod[0]) < (memory, cpu)
                    });
                    if is_better {
                        best = Some((distance, pod[1], pod[0], place));
                    }
                }
                let (.., place) = best?;
                let index = order.swap_remove(place);
                need = less(need, classes[class][index]);
                picked.push((class, index));
            }
            Some(picked)
        };
        let given = |picked: &[(usize, usize)]| {
            let mut sum = [0; 3];
            for (class, index) in picked {
                for i in 0..3 {
                    sum[i] += classes[*class][*index][i];
                }
            }
            sum
        };
        let guaranteed = pick(2, less(less(need, total(0)), total(1)))?;
        let burstable = pick(1, less(less(need, total(0)), given(&guaranteed)))?;
        need = less(less(need, given(&guaranteed)), given(&burstable));
        let best_effort = pick(0, need)?;
        Some([best_effort, burstable, guaranteed].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn the_choice_suffices_spares_the_better_classes_and_is_the_kubelets(
            sizes in proptest::array::uniform3(proptest::collection::vec((0..8_i64, 0..8_i64), 0..6)),
            need in (0..30_i64, 0..30_i64, 0..6_i64),
        ) {
            let named = |class: usize| {
                let pods = sizes[class].iter().enumerate();
                pods.map(|(i, (cpu, memory))| pod(&format!("{class}{i}"), *cpu, *memory)).collect::<Vec<_>>()
            };
            let pods = [0, 1, 2].map(named);
            let got = chosen(needs(need.0, need.1, need.2), [&pods[0], &pods[1], &pods[2]]);
            let numbers = [0, 1, 2].map(|class| sizes[class].iter().map(|(cpu, memory)| [*cpu, *memory, 1]).collect());
            let want = naive([need.0, need.1, need.2], &numbers);
            let names = want.map(|all| all.iter().map(|(class, i)| format!("{class}{i}")).collect::<Vec<_>>());
            prop_assert_eq!(got.clone().ok(), names);
            let enough = |names: &mut dyn Iterator<Item = &String>| {
                let mut left = [need.0, need.1, need.2];
                for name in names {
                    let class: usize = name[..1].parse().unwrap();
                    let (cpu, memory) = sizes[class][name[1..].parse::<usize>().unwrap()];
                    left = [left[0] - cpu, left[1] - memory, left[2] - 1];
                }
                left.iter().all(|left| *left <= 0)
            };
            let all: Vec<String> = pods.iter().flatten().map(|pod| pod.name.name.clone()).collect();
            // It suffices, wherever all of them would.
            prop_assert_eq!(got.is_ok(), enough(&mut all.iter()));
            let Ok(got) = got else { return Ok(()) };
            prop_assert!(enough(&mut got.iter()));
            // Without the last one of any class it would not: those before it were needed as well as those after it.
            for class in ["0", "1", "2"] {
                let last = got.iter().rposition(|name| name.starts_with(class));
                let others = got.iter().enumerate().filter(|(i, _)| Some(*i) != last).map(|(_, name)| name);
                let lower = all.iter().filter(|name| name[..1] < *class);
                prop_assert!(last.is_none() || !enough(&mut others.filter(|name| name[..1] >= *class).chain(lower)));
            }
        }
    }
}
