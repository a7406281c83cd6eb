//! Whether the kernel keeps a tmpfs in memory.

use std::path::Path;

use nix::mount::MsFlags;
use nix::sched::CloneFlags;

use super::mount::mount_tmpfs;

/// Whether a tmpfs can be kept out of swap: by its option `noswap` (Linux `Documentation/filesystems/tmpfs.rst`, since 6.4,
/// and earlier in some distributions' kernels), which a user namespace may not set. It is tried in a mount namespace that
/// ends with its thread, so that nobody sees the mount and nothing is left of it. Where it cannot be tried, the answer is no.
pub fn is_kept_in_memory() -> bool {
    let tried = || -> nix::Result<()> {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&Path>, "/", None::<&Path>, private, None::<&Path>)?;
        mount_tmpfs(Path::new("/"), "noswap")
    };
    let tried = std::thread::spawn(tried).join();
    tried.is_ok_and(|mounted| mounted.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_the_attempt() {
        let mounts = || std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let before = mounts();
        is_kept_in_memory();
        assert_eq!(mounts(), before);
    }
}
