//! Loop devices (loop(4)).

use std::fs::File;
use std::io;

use rustix::ioctl::{NoArg, ioctl};

/// `LOOP_CLR_FD` of `linux/loop.h`.
const CLEAR: rustix::ioctl::Opcode = 0x4c01;

/// Takes the file from a loop device; while somebody has it open, as soon as it is closed.
pub fn detach(device: &File) -> io::Result<()> {
    // An exception to the rule: no crate here has this call.
    #[allow(unsafe_code)]
    // SAFETY: LOOP_CLR_FD takes no argument.
    let done = unsafe { ioctl(device, NoArg::<CLEAR>::new()) };
    Ok(done?)
}
