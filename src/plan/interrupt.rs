//! Which changes of a pod interrupt the work in progress for it (`UpdatePod` in `pkg/kubelet/pod_workers.go`).
//!
//! Any other change is planned for when the work is done. If a changed label interrupted a stop, the stop would start
//! over, with its hook and the whole grace period.

use std::time::Duration;

use crate::model::api::has_final_phase;
use crate::model::pod::Pod;

/// Whether the work for `old` must be interrupted now that `new` is desired under its name.
pub(crate) fn interrupts(old: Option<&Pod>, new: Option<&Pod>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return true;
    };
    if old.uid != new.uid {
        return true;
    }
    match (ends_within(old), ends_within(new)) {
        // The grace period of an ending pod can only become shorter.
        (Some(before), Some(after)) => after < before,
        (None, None) => old.object.spec != new.object.spec,
        _ => true,
    }
}

/// The grace period of a pod that must end; `None`: it must run.
fn ends_within(pod: &Pod) -> Option<Duration> {
    match &pod.deletion {
        Some(deletion) => Some(deletion.grace),
        None => has_final_phase(pod.object.status.as_ref()).then_some(pod.grace),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{PodCondition, PodSpec, PodStatus};

    use super::*;
    use crate::model::pod::{Deletion, RestartPolicy};
    use crate::model::sample;

    fn deleted(pod: &mut Pod, grace: u64) {
        pod.deletion = Some(Deletion {
            asked: sample::at(0),
            grace: Duration::from_secs(grace),
        });
    }

    fn status(pod: &mut Pod, change: impl FnOnce(&mut PodStatus)) {
        change(Arc::make_mut(&mut pod.object).status.get_or_insert_default());
    }

    fn check(what: &str, before: impl FnOnce(&mut Pod), change: impl FnOnce(&mut Pod), expected: bool) {
        let mut old = sample::pod(RestartPolicy::Always, &[], &["c"]);
        before(&mut old);
        let mut new = old.clone();
        change(&mut new);
        assert_eq!(interrupts(Some(&old), Some(&new)), expected, "{what}");
    }

    #[test]
    fn only_what_the_work_is_about_interrupts_it() {
        let runs = |_: &mut Pod| {};
        let label = |pod: &mut Pod| {
            pod.labels.insert("a".to_owned(), "b".to_owned());
        };
        let condition = |pod: &mut Pod| {
            status(pod, |status| {
                status.conditions = Some(vec![PodCondition::default()]);
            });
        };
        let spec = |pod: &mut Pod| {
            Arc::make_mut(&mut pod.object).spec = Some(PodSpec {
                active_deadline_seconds: Some(3),
                ..PodSpec::default()
            });
        };
        let failed = |pod: &mut Pod| status(pod, |status| status.phase = Some("Failed".to_owned()));
        let ends = |grace: u64| move |pod: &mut Pod| deleted(pod, grace);
        check("a label", runs, label, false);
        check("another's condition", runs, condition, false);
        check("the specification", runs, spec, true);
        check("a deletion", runs, ends(30), true);
        check("an end that another has written", runs, failed, true);
        check("a label of one that ends", ends(30), label, false);
        check("the specification of one that ends", ends(30), spec, false);
        check("a shorter grace", ends(30), ends(5), true);
        check("a longer grace", ends(5), ends(30), false);
        check(
            "a deletion of what has ended, with less grace",
            failed,
            ends(1),
            true,
        );
        check(
            "a deletion of what has ended, with its own",
            failed,
            ends(30),
            false,
        );
        check("another pod", runs, |pod| pod.uid = sample::uid("other"), true);
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        assert!(interrupts(Some(&pod), None) && interrupts(None, Some(&pod)));
    }
}
