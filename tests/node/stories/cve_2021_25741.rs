//! A part of a volume (`subPath`) that its containers swap for a link out of the volume while it is mounted. The mounting
//! itself is raced thousands of times in src/act/tests/cve_2021_25741.rs; here containers say what they got.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::node::{LONG, Node, SOON, container, is_ready};
use crate::wait::wait_for;

/// How many containers mount the part.
const CONTAINERS: usize = 20;
const VOLUME: &str = "/run/node/volume";
const OUTSIDE: &str = "/run/node/outside";

/// Exchanges the part and the link for as long as `work` takes.
fn swapping<T>(work: impl FnOnce() -> T) -> T {
    /// Ends the other thread also when `work` panics.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = AtomicBool::new(false);
    let (part, link) = (Path::new(VOLUME).join("part"), Path::new(VOLUME).join("link"));
    std::thread::scope(|scope| {
        let _end = End(&ended);
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &part, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE)
                    .expect("both are there");
            }
        });
        work()
    })
}

pub fn cve_2021_25741_containers_see_their_volume_or_are_not_made(node: &mut Node) {
    for (dir, content) in [
        (format!("{VOLUME}/part"), "volume"),
        (OUTSIDE.to_owned(), "outside"),
    ] {
        fs::create_dir_all(&dir).expect("a private directory");
        fs::write(format!("{dir}/file"), content).expect("a private directory");
    }
    symlink(OUTSIDE, format!("{VOLUME}/link")).expect("a private directory");
    let names: Vec<String> = (0..CONTAINERS).map(|index| format!("c{index}")).collect();
    let containers: String = names
        .iter()
        .map(|name| {
            format!(
                r#"
  - name: {name}
    image: gantry.local/busybox:1
    command: [sh, -c, "echo $(cat /v/file); exec sleep 1000000"]
    volumeMounts: [{{name: v, mountPath: /v, subPath: part}}]"#
            )
        })
        .collect();
    let manifest = format!(
        r#"apiVersion: v1
kind: Pod
metadata: {{name: raced}}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{{name: v, hostPath: {{path: {VOLUME}}}}}]
  containers:{containers}
"#
    );
    node.start_agent();
    // One that was refused is tried again, and may run before the last one has been tried. All may be refused at first: on a
    // busy machine whoever swaps them pauses for longer than they take.
    let mut refused = BTreeSet::new();
    let ran = swapping(|| {
        node.manifest("raced.yaml", &manifest);
        wait_for(
            "each container to run or to be refused, and one to run",
            LONG,
            || {
                let pod = node.pod("raced")?;
                let (mut ran, mut waiting) = (0, None);
                for name in &names {
                    let state = &container(&pod, name)["state"];
                    let reason = state["waiting"]["reason"].as_str().unwrap_or_default();
                    match (state["running"].is_object(), reason) {
                        (true, _) => ran += 1,
                        (false, "CreateContainerConfigError") => drop(refused.insert(name.clone())),
                        _ => waiting = Some(format!("{name}: {state}")),
                    }
                }
                match waiting {
                    Some(waiting) => Err(waiting),
                    None if ran == 0 => Err("all are refused".to_owned()),
                    None => Ok(ran),
                }
            },
        )
    });
    // Left alone, the part lies where it was or behind the link's name.
    let part = Path::new(VOLUME).join("part");
    if part.is_symlink() {
        fs::remove_file(&part).expect("the link");
        fs::rename(Path::new(VOLUME).join("link"), &part).expect("the part");
        symlink(OUTSIDE, Path::new(VOLUME).join("link")).expect("a free name");
    }
    wait_for("every container to run", LONG, || {
        let pod = node.pod("raced")?;
        match is_ready(&pod) {
            true => Ok(()),
            false => Err(pod["status"]["containerStatuses"].to_string()),
        }
    });
    for name in &names {
        let what = format!("{name} to say what it reads");
        let read = wait_for(&what, SOON, || {
            match node.prints(&["logs", "-c", name, "raced-node-1"]) {
                said if said.is_empty() => Err("nothing".to_owned()),
                said => Ok(said),
            }
        });
        assert_eq!(read, "volume\n", "{name}");
    }
    // Else nothing was raced.
    assert!(
        ran > 0 && !refused.is_empty(),
        "{ran} ran and {refused:?} were refused"
    );
    swapping(|| {
        node.remove("raced.yaml");
        wait_for("the pod to be gone", LONG, || match node.pods()?.as_slice() {
            [] => Ok(()),
            pods => Err(format!("{} pods", pods.len())),
        });
    });
    let left = [
        OUTSIDE.to_owned(),
        format!("{VOLUME}/part"),
        format!("{VOLUME}/link"),
    ];
    for dir in left {
        assert!(Path::new(&dir).join("file").exists(), "{dir} was emptied");
    }
}
