//! The path of a volume's part was put between quotes in a command line, and what it held was run. A path is a path here,
//! whatever is in it.

use std::fs;

use gantry::manifest::ManifestContext;
use gantry::manifest::read_api_pod;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::agent::{Machine, manifest};

/// Parts of paths that a shell, or PowerShell, would act on: each would make a file `run`.
const HOSTILE: &[&str] = &[
    "$(touch run)",
    "`touch run`",
    "; touch run;",
    "& touch run &",
    "| touch run",
    "\n touch run\n",
    "' ; touch run; '",
    "\" ; touch run; \"",
    "$((1))${IFS}",
    "-rf",
    "*",
    "~",
    "a\tb \\ c",
];

#[tokio::test]
async fn cve_2023_3676_a_path_of_the_host_is_made_and_mounted_as_it_is_written() {
    for hostile in HOSTILE {
        let machine = Machine::started().await;
        let paths = machine.at.root.path().join("paths");
        let path = paths.join(hostile);
        let volume = json!([{"name": "v", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}]);
        let c = "name: c, image: demo:1, volumeMounts: [{name: v, mountPath: /v}]";
        machine.write("web.yaml", &manifest("web", &format!("volumes: {volume}"), &[c]));
        machine.running("web").await;
        let made: Vec<_> = fs::read_dir(&paths).unwrap().collect();
        assert_eq!(made.len(), 1, "{hostile:?}: {made:?}");
        assert_eq!(made[0].as_ref().unwrap().path(), path);
        let world = machine.fake.world();
        let mounts = &world.container("c").unwrap().1.config.mounts;
        let mount = mounts.iter().find(|mount| mount.container_path == "/v").unwrap();
        assert_eq!(mount.host_path, path.to_str().unwrap());
        assert!(fs::remove_file("run").is_err(), "{hostile:?} was run");
    }
}

#[test]
fn cve_2023_3676_a_name_that_a_shell_would_act_on_is_refused() {
    for hostile in HOSTILE {
        for pointer in ["/spec/volumes/0/name", "/spec/containers/0/name"] {
            let mut object = json!({
                "metadata": {"namespace": "ns", "name": "p", "uid": "25b0d2a4-5f1c-4f6e-9c5a-1e6a1f1f2b11"},
                "spec": {
                    "containers": [{"name": "c", "image": "i"}],
                    "volumes": [{"name": "v", "emptyDir": {}}],
                },
            });
            *object.pointer_mut(pointer).unwrap() = json!(hostile);
            let object: Pod = serde_json::from_value(object).unwrap();
            let read = read_api_pod(object, &ManifestContext::default(), Timestamp::UNIX_EPOCH);
            assert!(read.is_err(), "{pointer}: {hostile:?}");
        }
    }
}
