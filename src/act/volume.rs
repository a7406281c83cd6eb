//! Creates the volumes of a pod.

pub mod at_work;
mod atomic;
mod bind;
pub mod csi;
mod device_files;
mod directory;
mod format;
mod huge_pages;
pub mod local;
pub mod network_disk;
pub(in crate::act) mod nfs;
mod set_up;
pub mod sweep;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use self::directory::{give_to_group, make_open_dir, set_ready};
use super::context::Work;
use super::effect::Effect;
use super::failure::failure;
use super::files::{FileError, Whose};
use super::mount;
use super::projects::ProjectIds;
use crate::model::outcome::{Done, StepError};
use crate::model::pod::HostPathKind;
use crate::model::reason;
use crate::model::request::{VolumeKind, VolumeRequest, set_up_failed};
use crate::model::resources::Bytes;
use crate::model::volume::ready_mark;
use crate::model::volume_work::Awaited;

/// Creates a volume, or finds it created.
pub(super) async fn ensure(work: &Work<'_>, request: VolumeRequest) -> Result<Effect, StepError> {
    match request.kind {
        VolumeKind::Csi(request) => return csi::ensure(work, *request).await,
        VolumeKind::Nfs(nfs) => return nfs::ensure(work, &request.called, &nfs).await,
        VolumeKind::Local(volume) => return local::ensure(work, &request.called, &volume).await,
        VolumeKind::LocalDevice(device) => {
            return local::ensure_device(work, &request.called, &device).await;
        }
        VolumeKind::NetworkDisk(volume) => {
            return network_disk::ensure(work, &request.called, &volume).await;
        }
        VolumeKind::NetworkDiskDevice(device) => {
            return network_disk::ensure_device(work, &request.called, &device).await;
        }
        _ => {}
    }
    let Some((_, path)) = place(&request.kind) else {
        return made(work, request).await;
    };
    let called = request.called.clone();
    let waits = (reason::pod::FAILED_MOUNT, Awaited::FileSystem);
    set_up::shown(work, (&called, &path), waits, made(work, request)).await
}

async fn made(work: &Work<'_>, request: VolumeRequest) -> Result<Effect, StepError> {
    let VolumeRequest { volume, called, kind } = request;
    match kind {
        VolumeKind::Missing { message } => return Err(failure(reason::pod::FAILED_MOUNT, message)),
        VolumeKind::Exhausted { message } => {
            return Err(failure(reason::pod::VOLUME_ATTACHMENT_LIMIT, message));
        }
        _ => {}
    }
    let patience = work.context.files.patience;
    let made = match place(&kind) {
        Some((whose, path)) => {
            let projects = work.context.projects.clone();
            let making = move || make(&kind, &projects).map(|()| kind);
            work.in_place(whose, &path, patience, making).await
        }
        None => make(&kind, &ProjectIds::default())
            .map(|()| kind)
            .map_err(FileError::Failed),
    };
    match made {
        Ok(VolumeKind::Files { files, .. }) => Ok(Effect {
            done: Done::Written { volume, files },
            fact: None,
        }),
        Ok(_) => Ok(Effect::PLAIN),
        Err(error) => Err(error.of_step(reason::pod::FAILED_MOUNT, |error| set_up_failed(&called, error))),
    }
}

/// The path to create; `None`: the host is not touched.
fn place(kind: &VolumeKind) -> Option<(Whose, PathBuf)> {
    match kind {
        VolumeKind::HostPath {
            kind: HostPathKind::Unchecked,
            ..
        }
        | VolumeKind::Csi(_)
        | VolumeKind::Exhausted { .. }
        | VolumeKind::Local(_)
        | VolumeKind::LocalDevice(_)
        | VolumeKind::NetworkDisk(_)
        | VolumeKind::NetworkDiskDevice(_)
        | VolumeKind::Nfs(_)
        | VolumeKind::Missing { .. } => None,
        VolumeKind::HostPath { path, .. } => Some((Whose::Host, path.clone())),
        VolumeKind::Directory { path, .. }
        | VolumeKind::Tmpfs { path, .. }
        | VolumeKind::HugePages { path, .. }
        | VolumeKind::Files { path, .. } => Some((Whose::Pod, path.clone())),
    }
}

fn make(kind: &VolumeKind, projects: &ProjectIds) -> io::Result<()> {
    match kind {
        VolumeKind::Directory { path, group } => empty_directory(path, *group, projects),
        VolumeKind::Tmpfs { path, size, group } => empty_tmpfs(path, *size, *group),
        VolumeKind::HugePages { path, page, group } => huge_pages::make(path, *page, *group),
        VolumeKind::HostPath { path, kind } => host_path(path, *kind),
        VolumeKind::Files {
            path,
            tmpfs,
            group,
            files,
        } => {
            match tmpfs {
                Some(size) => empty_tmpfs(path, *size, *group)?,
                // Its files are the agent's own and few.
                None => empty_directory(path, *group, &ProjectIds::default())?,
            }
            let group = group.map(u32::try_from).transpose().map_err(io::Error::other)?;
            atomic::write(path, files, group)
        }
        VolumeKind::Exhausted { message } | VolumeKind::Missing { message } => {
            Err(io::Error::other(message.clone()))
        }
        VolumeKind::Csi(_)
        | VolumeKind::Local(_)
        | VolumeKind::LocalDevice(_)
        | VolumeKind::NetworkDisk(_)
        | VolumeKind::NetworkDiskDevice(_)
        | VolumeKind::Nfs(_) => Err(io::Error::other("it is made with the help of programs")),
    }
}

/// An existing volume stays as its containers left it: they may have changed its mode, which is not reset when the
/// agent starts again. The marker file is the kubelet's, so either recognizes the other's volumes.
fn empty_directory(path: &Path, group: Option<i64>, projects: &ProjectIds) -> io::Result<()> {
    let ready = ready_mark(path);
    if ready.exists() && path.is_dir() {
        return Ok(());
    }
    make_open_dir(path)?;
    give_to_group(path, group)?;
    projects.assign(path);
    set_ready(&ready)
}

/// After a reboot the marker file exists but the tmpfs does not.
fn empty_tmpfs(path: &Path, size: Option<Bytes>, group: Option<i64>) -> io::Result<()> {
    let ready = ready_mark(path);
    let mounted = path.is_dir() && mount::is_tmpfs(path)?;
    if mounted && ready.exists() {
        return Ok(());
    }
    if !mounted {
        make_open_dir(path)?;
        mount::tmpfs(path, size)?;
    }
    give_to_group(path, group)?;
    set_ready(&ready)
}

/// The checks and messages of `pkg/volume/hostpath`. Links are followed: the path is the administrator's choice.
fn host_path(path: &Path, kind: HostPathKind) -> io::Result<()> {
    let is = |test: fn(&fs::Metadata) -> bool| fs::metadata(path).is_ok_and(|found| test(&found));
    let exists = || is(|_| true);
    let (right, what) = match kind {
        HostPathKind::Unchecked => return Ok(()),
        HostPathKind::DirectoryOrCreate if !exists() => {
            return fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        }
        HostPathKind::FileOrCreate if !exists() => {
            let mut options = fs::OpenOptions::new();
            return options
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                // If it is a FIFO by now, do not wait for it.
                .custom_flags(nix::libc::O_NONBLOCK)
                .open(path)
                .map(drop);
        }
        HostPathKind::DirectoryOrCreate | HostPathKind::Directory => (is(fs::Metadata::is_dir), "directory"),
        HostPathKind::FileOrCreate | HostPathKind::File => (is(fs::Metadata::is_file), "file"),
        HostPathKind::Socket => (is(|m| m.file_type().is_socket()), "socket file"),
        HostPathKind::CharDevice => (is(|m| m.file_type().is_char_device()), "character device"),
        HostPathKind::BlockDevice => (is(|m| m.file_type().is_block_device()), "block device"),
    };
    if right {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::other(format!(
        "hostPath type check failed: {path} is not a {what}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_empty_dir_is_open_to_all_and_then_left_alone() {
        let pod = tempfile::tempdir().unwrap();
        let path = pod.path().join("volumes/kubernetes.io~empty-dir/e");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        empty_directory(&path, None, &ProjectIds::default()).unwrap();
        assert_eq!(mode(), 0o777);
        assert!(
            pod.path()
                .join("plugins/kubernetes.io~empty-dir/e/ready")
                .exists()
        );
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        empty_directory(&path, None, &ProjectIds::default()).unwrap();
        assert_eq!(mode(), 0o700, "what a container set stays");
        fs::remove_dir(&path).unwrap();
        empty_directory(&path, None, &ProjectIds::default()).unwrap();
        assert_eq!(mode(), 0o777);
    }

    #[test]
    fn an_empty_dir_of_a_group() {
        let pod = tempfile::tempdir().unwrap();
        let path = pod.path().join("volumes/kubernetes.io~empty-dir/e");
        let own = nix::unistd::getegid().as_raw();
        empty_directory(&path, Some(own.into()), &ProjectIds::default()).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.gid(), found.mode() & 0o7777), (own, 0o2777));
        assert!(give_to_group(&path, Some(-1)).is_err());
    }

    #[test]
    fn an_empty_dir_in_memory_is_mounted_once_and_again_after_a_reboot() {
        let name = "act::volume::tests::an_empty_dir_in_memory_is_mounted_once_and_again_after_a_reboot";
        if !crate::disk::tests::in_own_mounts(name) {
            return;
        }
        let pod = tempfile::tempdir().unwrap();
        let path = pod.path().join("volumes/kubernetes.io~empty-dir/m");
        for _ in 0..2 {
            empty_tmpfs(&path, None, Some(0)).unwrap();
            fs::write(path.join("kept"), "").unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o3777);
        mount::unmount_beneath(pod.path()).unwrap();
        assert!(!path.join("kept").exists(), "it was mounted once only");
        empty_tmpfs(&path, None, None).unwrap();
        assert!(mount::is_tmpfs(&path).unwrap());
        mount::unmount_beneath(pod.path()).unwrap();
    }

    #[test]
    fn what_must_be_at_a_path_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let (file, socket) = (dir.path().join("file"), dir.path().join("socket"));
        fs::write(&file, "").unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let check = |path: &Path, kind, want: Option<&str>| {
            let got = host_path(path, kind).err().map(|error| error.to_string());
            let want =
                want.map(|what| format!("hostPath type check failed: {} is not a {what}", path.display()));
            assert_eq!(got, want, "{kind:?}");
        };
        let missing = dir.path().join("missing");
        check(&missing, HostPathKind::Unchecked, None);
        check(&missing, HostPathKind::Directory, Some("directory"));
        check(&missing, HostPathKind::File, Some("file"));
        check(&missing, HostPathKind::Socket, Some("socket file"));
        check(&file, HostPathKind::DirectoryOrCreate, Some("directory"));
        check(dir.path(), HostPathKind::FileOrCreate, Some("file"));
        check(dir.path(), HostPathKind::Directory, None);
        check(&link, HostPathKind::Directory, None);
        check(&file, HostPathKind::File, None);
        check(&file, HostPathKind::FileOrCreate, None);
        check(&socket, HostPathKind::Socket, None);
        check(Path::new("/dev/null"), HostPathKind::CharDevice, None);
        check(
            Path::new("/dev/null"),
            HostPathKind::BlockDevice,
            Some("block device"),
        );
        check(&file, HostPathKind::CharDevice, Some("character device"));
    }

    #[test]
    fn what_is_made_at_a_path_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let (made_dir, made_file) = (dir.path().join("a/b"), dir.path().join("a/f"));
        host_path(&made_dir, HostPathKind::DirectoryOrCreate).unwrap();
        host_path(&made_file, HostPathKind::FileOrCreate).unwrap();
        assert!(made_dir.is_dir() && made_file.is_file());
        assert!(host_path(&dir.path().join("no/f"), HostPathKind::FileOrCreate).is_err());
    }
}
