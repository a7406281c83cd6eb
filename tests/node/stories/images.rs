//! Images without a registry.

use std::path::Path;
use std::time::Duration;

use crate::manifest;
use crate::node::{IMAGES, Node, SOON, container, ip, wait_http};
use crate::wait::wait_for;

pub fn an_archive_is_imported_when_it_appears(node: &mut Node) {
    std::fs::remove_file(Path::new(IMAGES).join("demo.tar")).expect("it was put there");
    node.start_agent();
    node.manifest(
        "web.yaml",
        &manifest::web("web", "late").replace("busybox:1", "demo:1"),
    );
    node.wait_pod("web", "waiting for its image", |pod| {
        let reason = &container(pod, "main")["state"]["waiting"]["reason"];
        reason == "ErrImagePull" || reason == "ImagePullBackOff"
    });

    let archive = crate::world::repository().join("target/images/demo.tar");
    let hidden = Path::new(IMAGES).join(".demo.tar.new");
    std::fs::copy(archive, &hidden).expect("the demo image is made");
    std::fs::rename(&hidden, Path::new(IMAGES).join("demo.tar")).expect("one directory");
    wait_for("the image to be reported", SOON, || {
        let reported = node.node()?["status"]["images"].to_string();
        if reported.contains("gantry.local/demo:1") {
            Ok(())
        } else {
            Err(reported)
        }
    });
    let pod = wait_for("the pod to run with it", Duration::from_secs(60), || {
        let pod = node.pod("web")?;
        if crate::node::is_ready(&pod) {
            Ok(pod)
        } else {
            Err(pod["status"].to_string())
        }
    });
    wait_http(&format!("{}:8080", ip(&pod)), "/", "late");

    // A file that is not an archive is reported and affects nothing else.
    std::fs::write(Path::new(IMAGES).join("broken.tar"), "not an archive").expect("a private directory");
    wait_for("the broken archive to be told of", SOON, || {
        let log = node.agent_log();
        if log.contains("broken.tar") {
            Ok(())
        } else {
            Err("nothing in the log".to_owned())
        }
    });
    node.assert_agent_lives();
}

pub fn never_pulled_and_not_there_says_so(node: &mut Node) {
    node.start_agent();
    let policy = "    imagePullPolicy: Never\n";
    let manifest = manifest::with("absent", "true", policy).replace("busybox:1", "absent:1");
    node.manifest("absent.yaml", &manifest);
    let pod = node.wait_pod("absent", "waiting", |pod| {
        container(pod, "main")["state"]["waiting"]["reason"] == "ErrImageNeverPull"
    });
    let message = &container(&pod, "main")["state"]["waiting"]["message"];
    assert_eq!(
        message,
        "Container image \"gantry.local/absent:1\" is not present with pull policy of Never"
    );
}
