//! What is recorded of the starts and ends of pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod as PodObject, PodStatus};

use super::Loop;
use crate::model::outcome::Outcome;
use crate::model::pod::{PodName, PodUid};
use crate::model::report::StatusWritten;
use crate::model::timeline::What;

impl Loop {
    /// Records the steps of an execution; returns whether there were any.
    pub(super) fn record_steps(&mut self, outcome: &Outcome) -> bool {
        let changed = self.report.timelines.record(outcome);
        // The outcome of a pod's last steps may come after the snapshot without it.
        if self.known_pod(&outcome.pod).is_none() {
            self.report.timelines.end(&outcome.pod);
        }
        changed
    }

    /// Records that the API server has taken a status; returns whether it was recorded.
    pub(super) fn record_write(&mut self, write: &StatusWritten) -> bool {
        let is_there = self.known_pod(&write.pod).is_some();
        let timelines = &mut self.report.timelines;
        let (pod, began, took) = (&write.pod, write.began, write.took);
        match is_there {
            true => timelines.write(pod, began, took),
            false => timelines.write_of_ended(pod, began, took),
        }
    }

    /// Records what a newer status shows for the first time.
    pub(super) fn record_progress(&mut self, name: &PodName, former: Option<&PodObject>, now: Timestamp) {
        let Some(object) = self.report.pods.get(name).cloned() else {
            return;
        };
        let uid = PodUid(object.metadata.uid.clone().unwrap_or_default());
        let former = former.filter(|former| former.metadata.uid == object.metadata.uid);
        for what in progress(former, &object) {
            self.report.timelines.observe(name, &uid, what, now);
        }
    }
}

/// Which probes have succeeded, and whether the pod is ready, that were not so before.
fn progress(former: Option<&PodObject>, object: &PodObject) -> Vec<What> {
    let (before, after) = (former.and_then(|pod| pod.status.as_ref()), object.status.as_ref());
    let spec = object.spec.as_ref();
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let mut seen = Vec::new();
    for container in init.chain(main) {
        let is_new = |has: fn(&ContainerStatus) -> bool| {
            let had = status_of(before, container).is_some_and(has);
            !had && status_of(after, container).is_some_and(has)
        };
        if container.startup_probe.is_some() && is_new(|status| status.started == Some(true)) {
            seen.push(What::Started(container.name.clone()));
        }
        if container.readiness_probe.is_some() && is_new(|status| status.ready) {
            seen.push(What::ContainerReady(container.name.clone()));
        }
    }
    if is_ready(after) && !is_ready(before) {
        seen.push(What::PodReady);
    }
    seen
}

fn status_of<'a>(status: Option<&'a PodStatus>, container: &Container) -> Option<&'a ContainerStatus> {
    let status = status?;
    let main = status.container_statuses.iter().flatten();
    let init = status.init_container_statuses.iter().flatten();
    main.chain(init).find(|status| status.name == container.name)
}

fn is_ready(status: Option<&PodStatus>) -> bool {
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(started: bool, ready: bool) -> PodObject {
        let word = if ready { "True" } else { "False" };
        let status = |name: &str| json!({"name": name, "image": "", "imageID": "", "restartCount": 0, "ready": ready, "started": started});
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [
                {"name": "probed", "startupProbe": {}, "readinessProbe": {}},
                {"name": "plain"},
            ]},
            "status": {
                "conditions": [{"type": "Ready", "status": word}],
                "containerStatuses": [status("probed"), status("plain")],
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_what_is_new_and_only_probes_that_exist() {
        let (started, ready) = (
            What::Started("probed".to_owned()),
            What::ContainerReady("probed".to_owned()),
        );
        let check = |former: Option<&PodObject>, now: PodObject, expected: &[&What]| {
            let seen = progress(former, &now);
            assert_eq!(seen.iter().collect::<Vec<_>>(), expected);
        };
        check(None, pod(false, false), &[]);
        check(Some(&pod(false, false)), pod(true, false), &[&started]);
        check(
            Some(&pod(true, false)),
            pod(true, true),
            &[&ready, &What::PodReady],
        );
        check(None, pod(true, true), &[&started, &ready, &What::PodReady]);
        check(Some(&pod(true, true)), pod(true, true), &[]);
        check(Some(&pod(true, true)), pod(false, false), &[]);
    }
}
