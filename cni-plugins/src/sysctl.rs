//! Settings under /proc/sys/net, in the calling thread's network namespace.
//!
//! A path there is looked up among the directories that any namespace has shown before (`proc_sys_compare` in
//! fs/proc/proc_sysctl.c), so on a node with hundreds of pods opening a setting takes longer than all else about it. What
//! netlink shows is asked by netlink, and several settings of a directory are set through one look at it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

const ROOT: &str = "/proc/sys";

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
    let path = Path::new(ROOT).join(name);
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

/// Sets `name` of something that is new and so hardly has that value, where that is possible.
pub fn prefer_new(name: &str, value: &'static str) {
    // Without O_CREAT and O_TRUNC, which mean nothing here.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(Path::new(ROOT).join(name));
    let _ = file.and_then(|mut file| file.write_all(value.as_bytes()));
}

/// A directory of settings, looked up once.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    directory: io::Result<OwnedFd>,
}

impl Directory {
    /// Opens the directory `name`, as in `net/ipv6/conf`. One that a kernel lacks has no settings.
    pub fn open(name: &str) -> Self {
        let path = Path::new(ROOT).join(name);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(&path, flags, Mode::empty()).map_err(io::Error::from);
        Directory { path, directory }
    }

    /// Sets `name`. One that cannot be written but has that value is no error.
    pub fn set(&self, name: &str, value: &'static str) -> Result<(), SysctlError> {
        let set = || match self
            .file(name, OFlag::O_WRONLY)
            .and_then(|mut file| file.write_all(value.as_bytes()))
        {
            Err(error) => {
                let mut present = String::new();
                let is_set = self
                    .file(name, OFlag::O_RDONLY)?
                    .read_to_string(&mut present)
                    .is_ok();
                if is_set && present.trim() == value {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            written => written,
        };
        set().map_err(|error| SysctlError {
            path: self.path.join(name),
            value,
            error,
        })
    }

    /// Like [`Directory::set`], where that is possible.
    pub fn prefer(&self, name: &str, value: &'static str) {
        let _ = self.set(name, value);
    }

    fn file(&self, name: &str, access: OFlag) -> io::Result<File> {
        let directory = match &self.directory {
            Ok(directory) => directory,
            Err(error) => return Err(io::Error::from(error.kind())),
        };
        Ok(openat(directory, name, access | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }
}
