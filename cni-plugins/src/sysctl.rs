//! Settings under /proc/sys/net, in the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

/// Why a setting could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {} to {value}: {error}; check whether /proc/sys is mounted read-only", path.display())]
pub struct SysctlError {
    path: PathBuf,
    value: &'static str,
    error: io::Error,
}

/// Sets `name` (as in `net/ipv4/ip_forward`; slashes, because interface names may contain dots) unless it has that
/// value already. Reading first matters: writing `ip_forward` iterates over all interfaces.
pub fn ensure(name: &str, value: &'static str) -> Result<(), SysctlError> {
    let path = PathBuf::from("/proc/sys").join(name);
    let set = || {
        if fs::read_to_string(&path)?.trim() == value {
            return Ok(());
        }
        fs::write(&path, value)
    };
    set().map_err(|error| SysctlError {
        path: path.clone(),
        value,
        error,
    })
}

/// Like [`ensure`], for settings that a kernel may lack (IPv6 turned off) and without which the network still works.
pub fn prefer(name: &str, value: &'static str) {
    let _ = ensure(name, value);
}
