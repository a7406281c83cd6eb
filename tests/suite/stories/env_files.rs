//! Environment variables from files that init containers write into emptyDirs (KEP-3721).

use std::path::PathBuf;

use crate::agent::{Machine, full_name};

const POD: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  volumes:
  - {name: v, emptyDir: {}}
  initContainers:
  - {name: writer, image: demo:1, volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - name: c
    image: demo:1
    args: [--mode=$(MODE), --color=$(COLOR)]
    env:
    - {name: MODE, valueFrom: {fileKeyRef: {volumeName: v, path: sub/env, key: MODE}}}
    - {name: COLOR, valueFrom: {fileKeyRef: {volumeName: v, path: sub/env, key: COLOR, optional: true}}}
    - {name: TEXT, value: <$(MODE)>}
"#;

/// A machine on which the init container is about to write, and the file.
async fn writing() -> (Machine, PathBuf) {
    let machine = Machine::started().await;
    machine.write("web.yaml", POD);
    machine.called("StartContainer", 1).await;
    let volume = {
        let world = machine.fake.world();
        let config = &world.container("writer").unwrap().1.config;
        config
            .mounts
            .iter()
            .find(|mount| mount.container_path == "/v")
            .unwrap()
            .host_path
            .clone()
    };
    let directory = PathBuf::from(volume).join("sub");
    std::fs::create_dir(&directory).unwrap();
    (machine, directory.join("env"))
}

fn end_writer(machine: &Machine) {
    let id = machine.fake.world().container("writer").unwrap().0.clone();
    machine.fake.exit(&id, 0);
}

#[tokio::test]
async fn a_container_has_the_variables_that_its_init_container_wrote() {
    let (machine, file) = writing().await;
    std::fs::write(file, "# made\nMODE='fast'\n").unwrap();
    end_writer(&machine);
    machine.running("web").await;
    let world = machine.fake.world();
    let config = &world.container("c").unwrap().1.config;
    let envs = config.envs.iter().map(|env| format!("{}={}", env.key, env.value));
    assert_eq!(envs.collect::<Vec<_>>(), ["MODE=fast", "TEXT=<fast>"]);
    assert_eq!(config.args, ["--mode=fast", "--color=$(COLOR)"]);
}

#[tokio::test]
async fn a_variable_that_the_file_lacks_is_reported_as_by_the_kubelet() {
    let waits_with = |content: Option<&'static str>, message: &'static str| async move {
        let (machine, file) = writing().await;
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            // What it leads to has the variable.
            None => {
                let outside = machine.at.root.path().join("outside");
                std::fs::write(&outside, "MODE='x'").unwrap();
                std::os::unix::fs::symlink(outside, &file).unwrap();
            }
        }
        end_writer(&machine);
        let waits = |report: &gantry::model::report::PodsReport| {
            let pod = report.pods.get(&full_name("web"))?;
            let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
            let waiting = status.state.as_ref()?.waiting.as_ref()?;
            let is_it = waiting.reason.as_deref() == Some("CreateContainerConfigError");
            is_it.then(|| waiting.message.clone()).flatten()
        };
        let told = machine.reported("the error", waits).await;
        let message = message.replace("FILE", &file.display().to_string());
        assert_eq!(told, message);
        assert!(machine.fake.world().container("c").is_none());
    };
    let lacking = "environment variable key \"MODE\" not found in file \"FILE\"";
    waits_with(Some("COLOR='red'\n"), lacking).await;
    waits_with(Some("MODE=fast\n"), "couldn't parse env file").await;
    waits_with(None, "couldn't parse env file").await;
}
