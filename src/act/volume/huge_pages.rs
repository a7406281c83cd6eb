//! An emptyDir of huge pages (`setupHugepages` in `pkg/volume/emptydir`).

use std::io;
use std::path::Path;

use nix::mount::MsFlags;
use nix::sys::statfs::{HUGETLBFS_MAGIC, statfs};

use super::directory::{give_to_group, make_open_dir, set_ready};
use crate::act::mount;
use crate::model::resources::Bytes;
use crate::model::volume::ready_mark;

/// Makes a volume of pages of that size, or finds it made. What is in it counts against the limits of the containers that
/// have written it, so it needs no size of its own.
pub(super) fn make(path: &Path, page: Bytes, group: Option<i64>) -> io::Result<()> {
    let ready = ready_mark(path);
    let mounted = path.is_dir() && mount::is_mount_point(path)?;
    if mounted {
        check(path, page)?;
        if ready.exists() {
            return Ok(());
        }
    } else {
        make_open_dir(path)?;
        mount_pages(path, page)?;
    }
    give_to_group(path, group)?;
    set_ready(&ready)
}

/// Like every emptyDir it has mode 0777, which the kubelet gives only to the directory below the mount.
fn mount_pages(path: &Path, page: Bytes) -> io::Result<()> {
    let options = format!("pagesize={},mode=0777", page.0);
    let mounted = nix::mount::mount(
        Some("nodev"),
        path,
        Some("hugetlbfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    );
    mounted.map_err(|errno| {
        let size = page.quantity();
        io::Error::new(
            io::Error::from(errno).kind(),
            format!("mounting huge pages of {size}: {errno}; this kernel may have none of that size"),
        )
    })
}

/// What is mounted there already must be what is requested.
fn check(path: &Path, page: Bytes) -> io::Result<()> {
    let found = statfs(path)?;
    if found.filesystem_type() != HUGETLBFS_MAGIC {
        return Err(io::Error::other(format!(
            "something else than huge pages is mounted at {}",
            path.display()
        )));
    }
    // The block of this file system is the page.
    let size = Bytes(found.block_size());
    match size == page {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "mounted dir {} pagesize '{}' and requested medium size '{}' differ",
            path.display(),
            size.quantity(),
            page.quantity()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::in_own_mounts;

    /// The kernel lets nobody but root mount huge pages: that they are used is seen in a story with a real node.
    #[test]
    fn what_is_mounted_there_is_not_taken_for_huge_pages() {
        let name = "act::volume::huge_pages::tests::what_is_mounted_there_is_not_taken_for_huge_pages";
        if !in_own_mounts(name) {
            return;
        }
        let pod = tempfile::tempdir().unwrap();
        let path = pod.path().join("volumes/kubernetes.io~empty-dir/v");
        make_open_dir(&path).unwrap();
        mount::tmpfs(&path, None).unwrap();
        let error = make(&path, Bytes(2 << 20), None).unwrap_err().to_string();
        assert!(
            error.starts_with("something else than huge pages is mounted at "),
            "{error}"
        );
        mount::unmount_beneath(pod.path()).unwrap();
        let error = make(&path, Bytes(2 << 20), None).unwrap_err().to_string();
        assert!(error.starts_with("mounting huge pages of 2Mi: "), "{error}");
    }
}
