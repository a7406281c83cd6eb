//! Opening a path that others name, or that leads through a directory that others write to: the kernel itself makes
//! sure that it does not leave a directory (`openat2`, Linux 5.6). A check by name followed by an open would leave a
//! moment to put a link there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// How often a path is resolved again because something was renamed meanwhile.
const ATTEMPTS: usize = 64;

/// Which symbolic links a path may lead through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// None: a process that may write to the directory does not choose what is opened. The error of a link is `ELOOP`.
    Refused,
    /// Those that do not leave the directory, for a volume whose content is linked (`..data`). The error of one that
    /// does is `EXDEV`; a magic link of /proc leads anywhere, and is refused with `ELOOP`.
    Within,
}

/// Which mount points a path may lead through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountPoints {
    /// None, also no bind mounts of the same file system: what is mounted is not the directory's own, and its server may
    /// be gone. The error is `EXDEV`.
    Refused,
    /// Any.
    Crossed,
}

/// A directory to open beneath. It is trusted itself, links on its path included: an administrator may have moved it to
/// another disk. Missing it is `ENOENT`, something else in its place `ENOTDIR`.
pub fn root(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

/// Opens a relative path on which nothing leads out of `root`, neither `..` nor a link.
pub fn open<P: NixPath + ?Sized>(
    root: impl AsFd,
    path: &P,
    flags: OFlag,
    links: Links,
    mounts: MountPoints,
) -> nix::Result<OwnedFd> {
    let links = match links {
        Links::Refused => ResolveFlag::RESOLVE_NO_SYMLINKS,
        Links::Within => ResolveFlag::RESOLVE_NO_MAGICLINKS,
    };
    let mounts = match mounts {
        MountPoints::Refused => ResolveFlag::RESOLVE_NO_XDEV,
        MountPoints::Crossed => ResolveFlag::empty(),
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | links | mounts);
    resolve(root, path, how)
}

/// Makes a new file for writing, with this mode less the umask, at a relative path on which nothing leads out of `root`.
/// The error of something that is there already is `EEXIST`.
pub fn create<P: NixPath + ?Sized>(root: impl AsFd, path: &P, mode: Mode) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    resolve(root, path, how)
}

fn resolve<P: NixPath + ?Sized>(root: impl AsFd, path: &P, how: OpenHow) -> nix::Result<OwnedFd> {
    let mut attempts = 0;
    loop {
        match openat2(root.as_fd(), path, how) {
            // The kernel could not decide, because of a concurrent rename somewhere on the machine.
            Err(Errno::EAGAIN) if attempts < ATTEMPTS => attempts += 1,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::disk::tests::in_own_mounts;

    /// A directory next to one that must remain out of reach.
    fn inside(dir: &Path) -> OwnedFd {
        fs::create_dir_all(dir.join("root/a/b")).unwrap();
        fs::write(dir.join("root/a/file"), "inside").unwrap();
        fs::create_dir(dir.join("outside")).unwrap();
        fs::write(dir.join("outside/file"), "outside").unwrap();
        let link = |to: &str, from: &str| symlink(to, dir.join("root").join(from)).unwrap();
        link("a", "within");
        link("../a/file", "a/up");
        link("../outside", "out");
        link("/", "absolute");
        link("/proc/self/root", "magic");
        link("loop", "loop");
        root(&dir.join("root")).unwrap()
    }

    fn read(root: &OwnedFd, path: &str, links: Links) -> Result<String, Errno> {
        let opened = open(root, path, OFlag::O_RDONLY, links, MountPoints::Crossed)?;
        let mut text = String::new();
        File::from(opened).read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn nothing_leads_out_and_links_lead_on_only_where_they_may() {
        let dir = tempfile::tempdir().unwrap();
        let root = inside(dir.path());
        let check = |path: &str, refused: Result<&str, Errno>, within: Result<&str, Errno>| {
            assert_eq!(
                read(&root, path, Links::Refused).as_deref(),
                refused.as_ref().copied(),
                "{path}"
            );
            assert_eq!(
                read(&root, path, Links::Within).as_deref(),
                within.as_ref().copied(),
                "{path}"
            );
        };
        check("a/file", Ok("inside"), Ok("inside"));
        check("./a//b/../file", Ok("inside"), Ok("inside"));
        check("within/file", Err(Errno::ELOOP), Ok("inside"));
        check("a/up", Err(Errno::ELOOP), Ok("inside"));
        check("loop", Err(Errno::ELOOP), Err(Errno::ELOOP));
        check("nothing", Err(Errno::ENOENT), Err(Errno::ENOENT));
        for path in ["out/file", "absolute/etc", "within/../../outside/file"] {
            check(path, Err(Errno::ELOOP), Err(Errno::EXDEV));
        }
        check("../outside/file", Err(Errno::EXDEV), Err(Errno::EXDEV));
        check("/etc/hostname", Err(Errno::EXDEV), Err(Errno::EXDEV));
        assert!(read(&root, "magic/etc", Links::Refused).is_err());
        assert!(read(&root, "magic/etc", Links::Within).is_err());
    }

    #[test]
    fn the_root_may_be_a_link_and_must_be_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        inside(dir.path());
        symlink(dir.path().join("root"), dir.path().join("moved")).unwrap();
        let moved = root(&dir.path().join("moved")).unwrap();
        assert_eq!(read(&moved, "a/file", Links::Refused).as_deref(), Ok("inside"));
        let check = |path: &str, want: Errno| assert_eq!(root(&dir.path().join(path)).unwrap_err(), want);
        check("root/a/file", Errno::ENOTDIR);
        check("nothing", Errno::ENOENT);
    }

    #[test]
    fn a_mount_is_crossed_only_where_it_may_be() {
        if !in_own_mounts("disk::beneath::tests::a_mount_is_crossed_only_where_it_may_be") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = inside(dir.path());
        let (outside, place) = (dir.path().join("outside"), dir.path().join("root/a/b"));
        let bind = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(&outside), &place, None::<&str>, bind, None::<&str>).unwrap();
        let at = |mounts| open(&root, "a/b/file", OFlag::O_RDONLY, Links::Refused, mounts).map(drop);
        assert_eq!(at(MountPoints::Refused), Err(Errno::EXDEV));
        assert_eq!(at(MountPoints::Crossed), Ok(()));
        nix::mount::umount(&place).unwrap();
    }
}
