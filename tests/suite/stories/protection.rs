//! What a pod asks to be held to is enforced, or the pod does not run: nothing of it is dropped or reported falsely.

use k8s_cri::v1;
use k8s_openapi::api::core::v1::Pod;

use crate::agent::{Machine, container, manifest, message, phase, state};

/// A pod with one volume, mounted read-only in that mode.
fn mounting(mode: &str) -> String {
    let mount = format!("{{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: {mode}}}");
    manifest(
        "web",
        "volumes: [{name: v, emptyDir: {}}]",
        &[&format!("name: c, image: demo:1, volumeMounts: [{mount}]")],
    )
}

/// A machine whose runtime says that of its default handler.
async fn with_handler(recursive_read_only: bool) -> Machine {
    let mut machine = Machine::new();
    machine.fake.world().abilities = vec![("other", !recursive_read_only), ("", recursive_read_only)];
    machine.start().await;
    machine
}

/// What the status says of the mount `v`, and what the runtime was asked for.
fn mounted(machine: &Machine, pod: &Pod) -> (Option<String>, Option<bool>) {
    let mounts = container(pod, "c").unwrap().volume_mounts.clone().unwrap();
    let world = machine.fake.world();
    let made = world.container("c").map(|(_, made)| made.config.mounts.clone());
    let mount = |mounts: Vec<v1::Mount>| mounts.into_iter().find(|mount| mount.container_path == "/v");
    let asked = made.and_then(mount).map(|mount| mount.recursive_read_only);
    (mounts[0].recursive_read_only.clone(), asked)
}

#[tokio::test]
async fn a_mount_is_recursively_read_only_where_the_runtime_makes_it_so_and_nowhere_else() {
    for (supported, mode, status) in [
        (true, "Enabled", "Enabled"),
        (true, "IfPossible", "Enabled"),
        (true, "Disabled", "Disabled"),
        (false, "IfPossible", "Disabled"),
    ] {
        let machine = with_handler(supported).await;
        machine.write("web.yaml", &mounting(mode));
        let pod = machine.running("web").await;
        let asked = status == "Enabled";
        assert_eq!(
            mounted(&machine, &pod),
            (Some(status.to_owned()), Some(asked)),
            "{supported} {mode}"
        );
    }
}

#[tokio::test]
async fn a_mount_that_must_be_recursively_read_only_and_cannot_is_not_made() {
    let machine = with_handler(false).await;
    machine.write("web.yaml", &mounting("Enabled"));
    let pod = machine
        .pod_told("web", "refused", |pod| {
            state(pod, "c") == "Waiting: CreateContainerConfigError"
        })
        .await;
    let want = "failed to resolve recursive read-only mode: volume \"v\" requested recursive read-only mode, but it is \
                not supported by the runtime";
    assert_eq!(message(&pod, "c"), want);
    assert_eq!(mounted(&machine, &pod), (Some("Disabled".to_owned()), None));
    assert_eq!(machine.fake.count("CreateContainer"), 0);
}

/// Phase, reason and message of a pod whose specification has that line.
async fn reported(machine: &Machine, spec: &str) -> (String, String, String) {
    machine.write("web.yaml", &manifest("web", spec, &["name: c, image: demo:1"]));
    let pod = machine
        .pod_told("web", "an end or a start", |pod| phase(pod) != "Pending")
        .await;
    let status = pod.status.clone().unwrap();
    let text = Option::unwrap_or_default;
    (text(status.phase), text(status.reason), text(status.message))
}

#[tokio::test]
async fn groups_that_only_the_pod_may_give_are_refused_where_the_runtime_adds_the_images() {
    const STRICT: &str = "securityContext: {supplementalGroupsPolicy: Strict}";
    for (runtime, runs) in [(None, false), (Some(false), false), (Some(true), true)] {
        let mut machine = Machine::new();
        machine.fake.world().strict_groups = runtime;
        machine.start().await;
        let (phase, reason, message) = reported(&machine, STRICT).await;
        match runs {
            true => assert_eq!(
                (phase.as_str(), machine.fake.count("RunPodSandbox")),
                ("Running", 1)
            ),
            false => {
                assert_eq!(phase, "Failed", "{runtime:?}");
                assert_eq!(reason, "SupplementalGroupsPolicyNotSupported");
                let want = "Pod was rejected: SupplementalGroupsPolicy=Strict is not supported in this node";
                assert_eq!((message.as_str(), machine.fake.count("RunPodSandbox")), (want, 0));
            }
        }
    }
}

#[tokio::test]
async fn an_apparmor_profile_is_refused_where_the_kernel_enforces_none() {
    const PROFILE: &str = "securityContext: {appArmorProfile: {type: RuntimeDefault}}";
    let mut machine = Machine::new();
    machine.apparmor = false;
    machine.start().await;
    let (phase, reason, message) = reported(&machine, PROFILE).await;
    let want = "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host";
    assert_eq!(
        (phase.as_str(), reason.as_str(), message.as_str()),
        ("Failed", "AppArmor", want)
    );
    assert_eq!(machine.fake.count("RunPodSandbox"), 0);
    let mut machine = Machine::new();
    machine.start().await;
    assert_eq!(reported(&machine, PROFILE).await.0, "Running");
}
