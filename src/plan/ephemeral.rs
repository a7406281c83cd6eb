//! Ephemeral containers, added to a running pod (`kubectl debug`): which of them are started, and in which process
//! namespace (`getTargetID` in `pkg/kubelet/kuberuntime/kuberuntime_container.go`).

use k8s_cri::v1::NamespaceMode;

use crate::model::pod::{Container, Pod};
use crate::model::request::ContainerRequest;
use crate::model::runtime::{ContainerState, ObservedPod};

/// The ones that were never started. One that has ended, or whose state is unknown, is never started again, not even in
/// another sandbox.
pub(super) fn due<'a>(pod: &'a Pod, seen: &ObservedPod) -> impl Iterator<Item = &'a Container> {
    pod.ephemeral_containers.iter().filter(|container| {
        let instance = seen.container(&container.name);
        instance.is_none_or(|instance| instance.state == ContainerState::Created)
    })
}

/// Puts the container into the process namespace of its target, unless the pod's containers share one anyway.
pub(super) fn aim(request: &mut ContainerRequest, container: &Container, seen: &ObservedPod) {
    let Some(target) = &container.target else {
        return;
    };
    let Some(instance) = seen.container(target) else {
        request
            .refusal
            .get_or_insert(format!("unable to find target container {target}"));
        return;
    };
    let linux = request.config.linux.as_mut();
    let security = linux.and_then(|linux| linux.security_context.as_mut());
    let namespaces = security.and_then(|security| security.namespace_options.as_mut());
    if let Some(namespaces) = namespaces.filter(|own| own.pid == i32::from(NamespaceMode::Container)) {
        namespaces.pid = NamespaceMode::Target.into();
        namespaces.target_id = instance.id.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::request::SandboxRef;
    use crate::model::runtime::ObservedContainer;
    use crate::model::sample::{self, at, exited, instance, running};
    use crate::plan::container::{self, Home};
    use crate::plan::content::Origin;
    use crate::plan::environment::Room;

    fn seen(containers: Vec<ObservedContainer>) -> ObservedPod {
        ObservedPod {
            sandboxes: vec![sample::sandbox(0, true, 0)],
            containers,
            ..ObservedPod::default()
        }
    }

    #[test]
    fn each_is_started_once() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.ephemeral_containers = vec![sample::container("dbg")];
        let is_due = |state| {
            let dbg = ObservedContainer {
                created: at(1),
                ..instance("dbg", 0, 1, state)
            };
            due(&pod, &seen(vec![dbg])).count() == 1
        };
        assert_eq!(due(&pod, &seen(vec![])).count(), 1);
        assert!(is_due(ContainerState::Created));
        assert!(!is_due(running(1)));
        assert!(!is_due(exited(1, 2, 1)));
        assert!(!is_due(ContainerState::Unknown));
    }

    /// The namespace mode, the target, and the error, if any.
    fn aimed(share_pid: bool, target: Option<&str>) -> (i32, String, Option<String>) {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.namespaces.share_pid = share_pid;
        let container = Container {
            target: target.map(str::to_owned),
            ..sample::container("dbg")
        };
        let origin = Origin::sample(&pod);
        let home = Home {
            sandbox: SandboxRef::Made,
            config: Default::default(),
            recursive_read_only: false,
        };
        let mut request = container::request(origin, &container, 0, &home, &mut Room::of_plan());
        aim(
            &mut request,
            &container,
            &seen(vec![instance("c", 3, 1, running(1))]),
        );
        let linux = request.config.linux.unwrap();
        let namespaces = linux.security_context.unwrap().namespace_options.unwrap();
        (namespaces.pid, namespaces.target_id, request.refusal)
    }

    #[test]
    fn the_target_is_the_newest_instance_of_a_container_that_there_is() {
        let own = i32::from(NamespaceMode::Container);
        let none = String::new;
        assert_eq!(
            aimed(false, Some("c")),
            (NamespaceMode::Target.into(), "c3".to_owned(), None)
        );
        assert_eq!(aimed(false, None), (own, none(), None));
        // They share a process namespace already.
        assert_eq!(aimed(true, Some("c")), (NamespaceMode::Pod.into(), none(), None));
        let missing = Some("unable to find target container d".to_owned());
        assert_eq!(aimed(false, Some("d")), (own, none(), missing));
    }
}
