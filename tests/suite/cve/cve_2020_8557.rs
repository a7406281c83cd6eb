//! A pod's /etc/hosts was no part of the storage that a pod is evicted for, so a container that wrote to it filled the
//! node's disk.
//!
//! Here no pod is evicted for its storage yet, neither for this file nor for any other. What holds, and what a count of a
//! pod's storage needs: the file lies in the pod's own directory, on the file system whose room the node reports, each
//! start of a container cuts it back to what is the agent's, and it goes with the pod.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::agent::{Machine, manifest};

#[tokio::test]
async fn cve_2020_8557_etc_hosts_lies_in_the_pods_directory_is_cut_back_and_goes_with_the_pod() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &manifest("web", "", &["name: c, image: demo:1"]));
    let pod = machine.running("web").await;
    let seen_as = {
        let world = machine.fake.world();
        let mounts = &world.container("c").unwrap().1.config.mounts;
        let hosts = mounts.iter().find(|mount| mount.container_path == "/etc/hosts");
        PathBuf::from(&hosts.unwrap().host_path)
    };
    let own = machine.at.pods().join(pod.metadata.uid.as_deref().unwrap());
    assert_eq!(seen_as.parent(), Some(own.as_path()));
    // What the container has mounted is this very file, and it writes as much as it likes.
    let mut mounted = OpenOptions::new().append(true).open(&seen_as).unwrap();
    let ours = std::fs::read(&seen_as).unwrap();
    mounted.write_all(&vec![b'#'; 10 << 20]).unwrap();
    let id = machine.fake.world().container("c").unwrap().0.clone();
    machine.fake.exit(&id, 1);
    machine.runs_again("c", 1).await;
    assert_eq!(std::fs::read(&seen_as).unwrap(), ours);
    assert_eq!(
        mounted.metadata().unwrap().len(),
        u64::try_from(ours.len()).unwrap()
    );
    machine.delete("web.yaml");
    machine.until("the directory gone", |_| !own.exists()).await;
    // Nothing keeps the room that it took.
    let left = std::os::unix::fs::MetadataExt::nlink(&mounted.metadata().unwrap());
    assert_eq!(left, 0);
}
