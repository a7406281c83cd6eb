//! The kernel's own notice that a cgroup runs out of memory: an event when its usage crosses a number of bytes on v1
//! (`Documentation/admin-guide/cgroup-v1/memory.rst`, "Memory thresholds"), and when its processes wait for memory on v2
//! (`Documentation/accounting/psi.rst`, "Monitoring for pressure thresholds"), which has no such event.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Cgroups;
use crate::model::node::CgroupVersion;

/// That much time lost in a second is worth looking at the memory, in microseconds of both.
const STALL: &str = "some 50000 1000000";

/// A notice that was ordered. Dropping it cancels it.
#[derive(Debug)]
pub struct MemoryNotice {
    file: AsyncFd<OwnedFd>,
    interest: Interest,
}

impl Cgroups {
    /// Orders a notice for when the cgroup at this path below the mount points may have come to use more than
    /// `working_set` bytes that cannot be reclaimed easily. Must be called within a runtime with I/O.
    pub fn memory_notice(&self, path: &str, working_set: u64) -> io::Result<MemoryNotice> {
        let mount = self.hierarchy.mount("memory").ok_or(io::ErrorKind::NotFound)?;
        let directory = mount.join(path.trim_start_matches('/'));
        match self.version {
            CgroupVersion::V1 => crossing(&directory, working_set),
            CgroupVersion::V2 => stalling(&directory),
        }
    }
}

impl MemoryNotice {
    /// Waits for the notice, which comes as often as there is a reason. An error: the cgroup is gone.
    pub async fn given(&self) -> io::Result<()> {
        let mut ready = self.file.ready(self.interest).await?;
        if ready.ready().is_error() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.interest.is_readable() {
            // The counter of an event descriptor; what was read is not ready any more.
            let mut count = [0; 8];
            let _ = rustix::io::read(self.file.get_ref(), &mut count);
        }
        ready.clear_ready();
        Ok(())
    }
}

/// The kernel counts inactive files as used: they are added to the threshold, as they are now.
fn crossing(directory: &Path, working_set: u64) -> io::Result<MemoryNotice> {
    let stat = fs::read_to_string(directory.join("memory.stat"))?;
    let inactive = stat
        .lines()
        .find_map(|line| line.strip_prefix("total_inactive_file "));
    let inactive: u64 = inactive.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let usage = File::open(directory.join("memory.usage_in_bytes"))?;
    let order = format!(
        "{} {} {}",
        event.as_raw_fd(),
        usage.as_raw_fd(),
        working_set.saturating_add(inactive)
    );
    let control = OpenOptions::new()
        .write(true)
        .open(directory.join("cgroup.event_control"));
    control?.write_all(order.as_bytes())?;
    MemoryNotice::of(event, Interest::READABLE)
}

fn stalling(directory: &Path) -> io::Result<MemoryNotice> {
    let path = directory.join("memory.pressure");
    let mut pressure = OpenOptions::new().read(true).write(true).open(path)?;
    // The kernel wants the terminating zero.
    pressure.write_all(format!("{STALL}\0").as_bytes())?;
    MemoryNotice::of(pressure.into(), Interest::PRIORITY)
}

impl MemoryNotice {
    #[expect(
        unsafe_code,
        reason = "the safe constructor is deprecated, for descriptors that are not owned"
    )]
    fn of(file: OwnedFd, interest: Interest) -> io::Result<MemoryNotice> {
        // SAFETY: the owned descriptor is moved into the `AsyncFd`, which takes it out of the reactor before it is closed;
        // nothing else has its number.
        let file = unsafe { AsyncFd::register_with_interest(file, interest) }?;
        Ok(MemoryNotice { file, interest })
    }
}
