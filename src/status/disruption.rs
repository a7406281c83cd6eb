//! The condition of a pod that the node has ended in favor of something else: `DisruptionTarget`
//! (`pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`, `pkg/kubelet/preemption/preemption.go`). Controllers tell by it that the pod did not fail by itself.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::condition::observed_generation;
use super::format::time;
use crate::model::end::End;
use crate::model::foreign_status::{DISRUPTION_TARGET, TERMINATION_BY_KUBELET};
use crate::model::pod::Pod;

/// Adds it where the pod's end is reported; one that another writer has set gives way to it.
pub(super) fn mark(
    status: &mut api::PodStatus,
    pod: &Pod,
    ended: Option<&End>,
    previous: Option<&api::PodStatus>,
    now: Timestamp,
) {
    let Some((end, message)) = ended.and_then(|end| Some((end, end.disruption()?))) else {
        return;
    };
    if end.reason() != status.reason.as_deref().unwrap_or_default() {
        return;
    }
    let of_kind = |condition: &&api::PodCondition| condition.type_ == DISRUPTION_TARGET;
    let since = |status: &api::PodStatus| {
        let found = status.conditions.iter().flatten().find(of_kind);
        found
            .filter(|found| found.status == "True")?
            .last_transition_time
            .clone()
    };
    let since = since(status).or_else(|| previous.and_then(since));
    let condition = api::PodCondition {
        type_: DISRUPTION_TARGET.to_owned(),
        status: "True".to_owned(),
        reason: Some(TERMINATION_BY_KUBELET.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since.or_else(|| Some(time(now))),
        observed_generation: observed_generation(pod),
        last_probe_time: None,
    };
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| !of_kind(&condition));
    conditions.push(condition);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::checkpoint::Checkpoint;
    use crate::model::event::EventType;
    use crate::model::memory::{PodMemory, Remains};
    use crate::model::pod::{RestartPolicy, Source};
    use crate::model::runtime::ObservedName;
    use crate::model::sample::{self, at, exited, instance, observed, running, sandbox};
    use crate::status::end_events::making_room;
    use crate::status::pod::pod_status;

    fn told(
        pod: &Pod,
        seen: &ObservedName,
        ended: Option<End>,
        previous: Option<&api::PodStatus>,
    ) -> api::PodStatus {
        let mut memory = PodMemory::new(pod.uid.clone(), at(0));
        memory.remains = match ended {
            Some(_) => Remains::Containers,
            None => Remains::Everything,
        };
        memory.ended = ended;
        let now = at(100);
        pod_status(pod, seen, Some(&memory), previous, &sample::policy(), &[], now)
    }

    fn outline(status: &api::PodStatus) -> String {
        let conditions = status.conditions.iter().flatten();
        let own = conditions.filter(|condition| condition.type_ == DISRUPTION_TARGET);
        let own: Vec<_> = own
            .map(|own| (own.status.as_str(), own.reason.as_deref().unwrap_or_default()))
            .collect();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {} {own:?}", text(&status.phase), text(&status.reason))
    }

    #[test]
    fn it_comes_with_the_end_and_goes_when_a_static_pod_runs_again() {
        let mut pod = sample::pod(RestartPolicy::Never, &[], &["c"]);
        let lives = observed(vec![sandbox(0, true, 0)], vec![instance("c", 0, 1, running(1))]);
        let dead = observed(
            vec![sandbox(0, false, 0)],
            vec![instance("c", 0, 1, exited(1, 5, 143))],
        );
        let shut_down = Some(End::Shutdown);
        let before = told(&pod, &lives, None, None);
        assert_eq!(outline(&before), "Running  []");
        // The end is reported when nothing runs any more.
        let ends = told(&pod, &lives, shut_down.clone(), Some(&before));
        assert_eq!(outline(&ends), "Running  []");
        let ended = told(&pod, &dead, shut_down.clone(), Some(&ends));
        let all = r#"Failed Terminated [("True", "TerminationByKubelet")]"#;
        assert_eq!(outline(&ended), all);
        assert_eq!(outline(&told(&pod, &dead, shut_down.clone(), None)), all);
        // What the API server has of another writer gives way, and does not come twice.
        Arc::make_mut(&mut pod.object).status = Some(api::PodStatus {
            conditions: Some(vec![api::PodCondition {
                type_: DISRUPTION_TARGET.to_owned(),
                status: "True".to_owned(),
                reason: Some("DeletionByTaintManager".to_owned()),
                ..api::PodCondition::default()
            }]),
            ..api::PodStatus::default()
        });
        assert_eq!(outline(&told(&pod, &dead, shut_down, Some(&ended))), all);

        pod.object = sample::pod(RestartPolicy::Never, &[], &["c"]).object;
        assert_eq!(
            outline(&told(&pod, &lives, None, Some(&ended))),
            "Failed Terminated []"
        );
        pod.source = Source::File {
            path: "/etc/kubernetes/manifests/p.yaml".into(),
            document: 1,
        };
        assert_eq!(outline(&told(&pod, &lives, None, Some(&ended))), "Running  []");
    }

    #[test]
    fn a_preempted_pod_has_its_reason_its_condition_and_one_event() {
        let mut pod = sample::pod(RestartPolicy::Never, &[], &["c"]);
        let lives = observed(vec![sandbox(0, true, 0)], vec![instance("c", 0, 1, running(1))]);
        let dead = observed(
            vec![sandbox(0, false, 0)],
            vec![instance("c", 0, 1, exited(1, 5, 143))],
        );
        let preempted = Some(End::Preempted);
        assert_eq!(
            outline(&told(&pod, &lives, preempted.clone(), None)),
            "Running  []"
        );
        let ended = told(&pod, &dead, preempted.clone(), None);
        assert_eq!(
            outline(&ended),
            r#"Failed Preempting [("True", "TerminationByKubelet")]"#
        );
        assert_eq!(
            ended.message.as_deref(),
            Some("Preempted in order to admit critical pod")
        );
        let memory = |ended| PodMemory {
            ended,
            ..PodMemory::new(pod.uid.clone(), at(0))
        };
        let [before, after] = [memory(None), memory(preempted.clone())];
        let event = making_room(&pod, Some(&before), &after, &lives).unwrap();
        assert_eq!(
            (event.kind, event.reason.as_str()),
            (EventType::Warning, "Preempting")
        );
        assert_eq!(making_room(&pod, Some(&after), &after, &lives), None);
        let shut_down = memory(Some(End::Shutdown));
        assert_eq!(making_room(&pod, Some(&before), &shut_down, &lives), None);
        // An agent that has just been started knows by what is on disk, or in the API server, whether it decided that.
        assert!(making_room(&pod, None, &after, &lives).is_some());
        let mut saved = lives.clone();
        saved.uids.get_mut(&pod.uid).unwrap().checkpoint = Some(Arc::new(Checkpoint {
            ended: preempted,
            ..Checkpoint::default()
        }));
        assert_eq!(making_room(&pod, None, &after, &saved), None);
        Arc::make_mut(&mut pod.object).status = Some(ended);
        assert_eq!(making_room(&pod, None, &after, &lives), None);
    }
}
