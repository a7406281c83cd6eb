//! Volumes of storage drivers on a machine without a cluster: inline volumes of static pods.

use crate::agent::Machine;

use super::plugin::Plugin;

const NAME: &str = "csi.example.com";
const POD: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  volumes:
  - name: scratch
    csi: {driver: csi.example.com, readOnly: true, fsType: xfs, volumeAttributes: {size: small}}
  containers:
  - {name: c, image: demo:1, volumeMounts: [{name: scratch, mountPath: /v}]}
"#;

#[tokio::test]
async fn a_static_pod_waits_for_the_driver_of_its_volume_and_leaves_nothing_with_it() {
    let machine = Machine::started().await;
    let registry = machine.at.root.path().join("plugins_registry");
    std::fs::create_dir_all(&registry).unwrap();
    machine.write("web.yaml", POD);
    let missing = "MountVolume.SetUp failed for volume \"scratch\" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI \
                   client: driver name csi.example.com not found in the list of registered CSI drivers";
    assert_eq!(machine.event("FailedMount").await.0, missing);
    assert!(machine.fake.world().container("c").is_none());
    let plugin = Plugin::start(&registry.join("a.sock"), NAME);
    machine.running("web").await;
    let request = plugin.content().published[0].clone();
    assert_eq!(plugin.content().published.len(), 1);
    let mount = {
        let world = machine.fake.world();
        let config = &world.container("c").unwrap().1.config;
        let mut mounts = config.mounts.iter();
        mounts.find(|mount| mount.container_path == "/v").unwrap().clone()
    };
    assert_eq!(mount.host_path, request.target_path);
    assert!(
        mount
            .host_path
            .ends_with("/volumes/kubernetes.io~csi/scratch/mount")
    );
    assert!(request.readonly && request.staging_target_path.is_empty());
    let context = |key: &str| request.volume_context.get(key).map(String::as_str);
    assert_eq!(context("size"), Some("small"));
    assert_eq!(context("csi.storage.k8s.io/ephemeral"), Some("true"));
    assert!(context("csi.storage.k8s.io/pod.name").is_some_and(|name| name.starts_with("web-")));
    machine.delete("web.yaml");
    plugin
        .wait("it is taken down", |content| {
            content.unpublished == [mount.host_path.clone()]
        })
        .await;
    let pods = machine.at.root.path().join("pods");
    machine
        .until("the pod's directory is gone", |_| {
            std::fs::read_dir(&pods).unwrap().next().is_none()
        })
        .await;
}
