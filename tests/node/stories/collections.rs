//! `gantry images prune` with a real containerd.

use std::fs;
use std::path::Path;

use super::image_work::{BIG, archive, entry};
use crate::manifest;
use crate::node::{IMAGES, Node, SOON, ip, wait_http};
use crate::process::text;
use crate::wait::wait_for;

const BUSYBOX: &str = "gantry.local/busybox:1";
const DEMO: &str = "gantry.local/demo:1";

pub fn unused_images_are_removed_and_a_pods_stay(node: &mut Node) {
    fs::copy(archive(), Path::new(IMAGES).join("big.tar")).expect("a private /var/lib");
    node.flag("--minimum-image-ttl-duration=1ms");
    node.start_agent();
    node.manifest("shell.yaml", &manifest::idle("shell"));
    node.wait_running("shell");
    wait_for("the archive's image", SOON, || {
        entry(node, BIG)
            .map(drop)
            .ok_or_else(|| "it is missing".to_owned())
    });

    // Those of archives that are there stay, as they would not come back.
    let dry_run = ["--socket=/run/gantry/gantry.sock", "images", "prune", "--dry-run"];
    assert_eq!(node.prints(&dry_run), "No image can be removed.\n");
    for archive in ["demo.tar", "big.tar"] {
        fs::remove_file(Path::new(IMAGES).join(archive)).expect("it was put there");
    }
    let shown = wait_for("the removal of the archives to be noticed", SOON, || {
        let shown = node.prints(&dry_run);
        let is_all = shown.contains(BIG) && shown.contains(DEMO);
        if is_all { Ok(shown) } else { Err(shown) }
    });
    assert!(!shown.contains(BUSYBOX) && !shown.contains("pause"), "{shown}");
    assert!(shown.ends_with(" would be removed.\n"), "{shown}");
    let wide = node.prints(&["images", "-o", "wide"]);
    let row = wide.lines().find(|line| line.starts_with(BUSYBOX));
    assert!(row.is_some_and(|row| row.contains("no: in use")), "{wide}");
    // Nobody says yes.
    let output = node.gantry(&["images", "prune"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let output = node.gantry(&["images", "-o", "json", "prune", "--yes"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(entry(node, BIG).is_some());

    let said = node.prints(&["images", "prune", "--yes"]);
    assert!(said.contains(&format!("removed {BIG} (24Mi)\n")), "{said}");
    for (name, is_there) in [(BIG, false), (DEMO, false), (BUSYBOX, true)] {
        assert_eq!(entry(node, name).is_some(), is_there, "{name}: {said}");
    }
    let again = node.prints(&["images", "prune", "--yes"]);
    assert_eq!(again, "No image can be removed.\n");

    // What is used and the image of sandboxes are whole, and what was removed comes back.
    node.manifest("other.yaml", &manifest::idle("other"));
    node.wait_running("other");
    let demo = crate::world::repository().join("target/images/demo.tar");
    fs::copy(demo, Path::new(IMAGES).join("demo.tar")).expect("the demo image is made");
    let web = manifest::web("web", "back").replace("busybox:1", "demo:1");
    node.manifest("web.yaml", &web);
    let pod = node.wait_running("web");
    wait_http(&format!("{}:8080", ip(&pod)), "/", "back");
    node.wait_running("shell");
    node.assert_agent_lives();
}
