//! The driver of the stories is judged by csi-sanity, the specification's own tests.

use std::process::Command;

use serde_json::json;

use super::place::Place;
use crate::node::here;
use crate::process::printed;
use crate::world::control_plane;

pub fn the_driver_of_the_stories_keeps_to_the_specification(place: &mut Place) {
    let driver = place.driver("sanity", &["--attaches"], json!({"attachRequired": true}));
    let mut command = Command::new(control_plane("csi-sanity"));
    command
        .arg("--ginkgo.no-color")
        .arg(format!("--csi.endpoint={}", driver.socket().display()))
        .arg(format!("--csi.mountdir={}", here("sanity-target").display()))
        .arg(format!("--csi.stagingdir={}", here("sanity-staging").display()))
        .arg("--csi.testvolumesize=1048576")
        .arg("--csi.testvolumeexpandsize=2097152");
    let said = printed(&mut command, &["csi-sanity"]);
    assert!(said.contains("Passed"), "{said}");
}
