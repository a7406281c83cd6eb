//! Pods with user namespaces (KEP-127).

use k8s_cri::v1;

use crate::agent::{Machine, manifest};

/// A machine whose runtime makes user namespaces.
async fn capable() -> Machine {
    let mut machine = Machine::new();
    {
        let mut world = machine.fake.world();
        world.abilities = vec![("", true)];
        world.user_namespaces = true;
    }
    machine.start().await;
    machine
}

const ALONE: &str = "hostUsers: false";

fn container(more: &str) -> String {
    format!("name: c, image: demo:1, volumeMounts: [{{name: v, mountPath: /v}}]{more}")
}

fn pod(name: &str) -> String {
    let unmasked = ", securityContext: {procMount: Unmasked}";
    manifest(
        name,
        &format!("{ALONE}\n  volumes: [{{name: v, emptyDir: {{}}}}]"),
        &[&container(unmasked)],
    )
}

/// The user namespaces of the sandboxes and of the containers of pods with that name, and the mappings of their mounts.
fn users(machine: &Machine, pod: &str) -> Vec<v1::UserNamespace> {
    let world = machine.fake.world();
    let of_pod = |labels: &std::collections::HashMap<String, String>| {
        labels
            .get("io.kubernetes.pod.name")
            .is_some_and(|name| name.starts_with(pod))
    };
    let sandboxes = world.sandboxes.values().map(|sandbox| &sandbox.config);
    let sandboxes = sandboxes.filter(|config| of_pod(&config.labels)).map(|config| {
        let linux = config.linux.clone().unwrap();
        linux.security_context.unwrap().namespace_options.unwrap()
    });
    let containers = world.containers.values().map(|container| &container.config);
    let containers = containers.filter(|config| of_pod(&config.labels)).map(|config| {
        let linux = config.linux.clone().unwrap();
        let options = linux.security_context.unwrap().namespace_options.unwrap();
        let users = options.userns_options.clone().unwrap();
        assert!(!config.mounts.is_empty());
        for mount in &config.mounts {
            assert_eq!(
                (&mount.uid_mappings, &mount.gid_mappings),
                (&users.uids, &users.gids),
                "{mount:?}"
            );
        }
        options
    });
    sandboxes
        .chain(containers)
        .map(|options| options.userns_options.unwrap())
        .collect()
}

fn range(first: u32) -> v1::UserNamespace {
    let mapping = v1::IdMapping {
        host_id: first,
        container_id: 0,
        length: 65_536,
    };
    v1::UserNamespace {
        mode: v1::NamespaceMode::Pod.into(),
        uids: vec![mapping],
        gids: vec![mapping],
    }
}

#[tokio::test]
async fn each_pod_has_ids_of_its_own_and_keeps_them_over_restarts_of_the_agent() {
    let mut machine = capable().await;
    machine.write("web.yaml", &pod("web"));
    machine.running("web").await;
    assert_eq!(users(&machine, "web"), [range(65_536), range(65_536)]);
    let paths = machine
        .fake
        .world()
        .containers
        .values()
        .next()
        .unwrap()
        .config
        .clone();
    let security = paths.linux.unwrap().security_context.unwrap();
    assert_eq!(
        (security.masked_paths, security.readonly_paths),
        (Vec::new(), Vec::new())
    );
    machine.kill().await;
    machine.start().await;
    machine.write("other.yaml", &pod("other"));
    machine.running("other").await;
    assert_eq!(users(&machine, "other"), [range(131_072), range(131_072)]);
    // A new sandbox of the same pod has the same IDs.
    let old: Vec<String> = machine.fake.world().sandboxes.keys().cloned().collect();
    for id in &old {
        machine.fake.kill_sandbox(id);
    }
    machine
        .becomes("new sandboxes", |fake| {
            let world = fake.world();
            world.containers.len() >= 2
                && world.sandboxes.values().filter(|sandbox| sandbox.ready).count() == 2
        })
        .await;
    machine.running("web").await;
    assert!(users(&machine, "web").iter().all(|users| *users == range(65_536)));
}

#[tokio::test]
async fn a_pod_that_the_runtime_cannot_give_a_user_namespace_does_not_start() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &pod("web"));
    let (message, _) = machine.event("FailedCreatePodSandBox").await;
    let why = "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    assert_eq!(message, why);
    assert!(users(&machine, "web").is_empty());
}
