//! The condition of a pod that the node has ended in favor of something else: `DisruptionTarget`
//! (`pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`). Controllers tell by it that the pod did not fail by itself.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::condition::observed_generation;
use super::format::time;
use crate::model::end::{End, EvictionCause};
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
    let Some(
        end @ (End::Shutdown
        | End::Evicted {
            cause: EvictionCause::Pressure,
            ..
        }),
    ) = ended
    else {
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
        message: Some(end.message().into_owned()),
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
    use crate::model::memory::{PodMemory, Remains};
    use crate::model::pod::{RestartPolicy, Source};
    use crate::model::runtime::ObservedName;
    use crate::model::sample::{self, at, exited, instance, observed, running, sandbox};
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
}
