//! Projects of a file system (ext4, XFS): every file may have the ID of one, new files inherit it from their directory, and
//! the file system itself counts what the files of each project take (`quotactl(2)`, `PRJQUOTA`).
//!
//! The kernel is asked whether a file system counts by project; the options of its mount do not say so for each kind.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::Mode;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use super::beneath;
use super::usage::Usage;

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

/// `FS_IOC_FSGETXATTR`
const GET: Opcode = opcode::read::<Attributes>(b'X', 31);
/// `FS_IOC_FSSETXATTR`
const SET: Opcode = opcode::write::<Attributes>(b'X', 32);
/// `FS_XFLAG_PROJINHERIT`: what is made in the directory gets its project, and nothing of another project is moved there.
const INHERIT: u32 = 0x200;
/// `PRJQUOTA` of `linux/quota.h`.
const PROJECT_QUOTA: i32 = 2;

/// What a file system says of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// What its files take.
    pub used: Usage,
    /// Whether somebody has set a limit.
    pub is_limited: bool,
}

impl Quota {
    /// Whether the project has neither files nor limits.
    pub fn is_unused(&self) -> bool {
        self.used == Usage::default() && !self.is_limited
    }
}

/// What the file system that a directory lies on has counted for a project. The directory itself is not opened, so who may
/// write to it does not notice. `None`: this file system, or a kernel before 5.14, does not count by project.
pub fn quota(directory: &Path, project: u32) -> io::Result<Option<Quota>> {
    let directory = beneath::root(directory)?;
    let command = libc::QCMD(libc::Q_GETQUOTA, PROJECT_QUOTA);
    let mut found = libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    };
    // An exception to the rule: no crate here knows projects or this call.
    #[allow(unsafe_code)]
    // SAFETY: Q_GETQUOTA writes one `if_dqblk`, which is what `dqblk` is, to the address that it is given, where `found`
    // stays until the call returns; the descriptor is open while `directory` is there.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            directory.as_raw_fd(),
            command,
            project,
            &raw mut found,
        )
    };
    match Errno::result(answer) {
        Ok(_) => {}
        // XFS, of a project that was never used.
        Err(Errno::ENOENT) => {}
        // In this order: no such call; no quotas; none for projects; they are off.
        Err(Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ESRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let limits = [
        found.dqb_bhardlimit,
        found.dqb_bsoftlimit,
        found.dqb_ihardlimit,
        found.dqb_isoftlimit,
    ];
    Ok(Some(Quota {
        used: Usage {
            bytes: found.dqb_curspace,
            inodes: found.dqb_curinodes,
        },
        is_limited: limits.iter().any(|limit| *limit != 0),
    }))
}

/// The project that new files in a directory inherit; `None`: they inherit none, or the file system knows no projects.
pub fn inherited(directory: &Path) -> io::Result<Option<u32>> {
    match attributes(&open(directory)?) {
        Ok(found) => Ok((found.flags & INHERIT != 0 && found.project != 0).then_some(found.project)),
        Err(Errno::ENOTTY | Errno::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a directory to a project, which everything that is made in it from now on inherits.
pub fn assign(directory: &Path, project: u32) -> io::Result<()> {
    let directory = open(directory)?;
    let present = attributes(&directory)?;
    let wanted = Attributes {
        flags: present.flags | INHERIT,
        project,
        ..present
    };
    // An exception to the rule: no crate here has this call.
    #[allow(unsafe_code)]
    // SAFETY: FS_IOC_FSSETXATTR reads one `struct fsxattr`, which `Attributes` is.
    let done = unsafe { ioctl(&directory, Setter::<SET, Attributes>::new(wanted)) };
    Ok(done?)
}

fn attributes(directory: &OwnedFd) -> nix::Result<Attributes> {
    // An exception to the rule: no crate here has this call.
    #[allow(unsafe_code)]
    // SAFETY: FS_IOC_FSGETXATTR writes one `struct fsxattr`, which `Attributes` is.
    let found = unsafe { ioctl(directory, Getter::<GET, Attributes>::new()) };
    found.map_err(|error| Errno::from_raw(error.raw_os_error()))
}

fn open(directory: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(directory, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    // What a file system with projects answers is seen in the virtual machine's story of project quotas.

    #[test]
    fn the_structure_is_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 28);
        // As x86-64 and arm64 encode them.
        assert_eq!((GET, SET), (0x801c_581f, 0x401c_5820));
    }

    #[test]
    fn a_file_system_without_projects_counts_none_and_a_missing_directory_is_an_error() {
        assert_eq!(quota(Path::new("/proc"), 1).unwrap(), None);
        assert_eq!(inherited(Path::new("/proc")).unwrap(), None);
        assert!(assign(Path::new("/proc"), 1).is_err());
        let missing = Path::new("/none");
        assert_eq!(quota(missing, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(inherited(missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
