//! Follows the kernel's log (`/dev/kmsg`, Linux `Documentation/ABI/testing/dev-kmsg`) for processes that were killed because
//! the machine was out of memory.
//!
//! It begins at the end of the log: what is in it was logged while an earlier agent ran, or none. (The kubelet reads the log
//! from its beginning and reports old kills again at each start.)

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::system_kills::SystemKills;
use crate::model::error_chain::chain;
use crate::model::system_kill::SystemKill;

/// The longest record (`CONSOLE_EXT_LOG_MAX`, later `PRINTK_MESSAGE_MAX`). The kernel refuses to read one into less.
const LONGEST_RECORD: usize = 8192;

/// Why the log is not read any further.
#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error("cannot open it")]
    Open(#[source] io::Error),
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it has ended")]
    Ended,
}

/// Sends each kill until canceled. A log that cannot be read is logged once; nothing else depends on it.
pub async fn run(path: PathBuf, out: mpsc::Sender<SystemKill>, cancel: CancellationToken) {
    // Cancel-safe: what was read is of no use to anyone after that.
    let failed = tokio::select! {
        () = cancel.cancelled() => return,
        failed = follow(&path, &out) => failed,
    };
    if let Err(error) = failed {
        tracing::warn!(
            path = %path.display(),
            "the kernel's log is not read, so that no event reports which processes are killed when the machine is out of \
             memory (SystemOOM): {}; the agent needs the capability CAP_SYSLOG",
            chain(&error)
        );
    }
    cancel.cancelled().await;
}

/// Returns without an error when nobody receives what is sent.
async fn follow(path: &Path, out: &mpsc::Sender<SystemKill>) -> Result<(), LogError> {
    let log = open(path)?;
    let mut kills = SystemKills::default();
    let mut record = [0; LONGEST_RECORD];
    loop {
        let mut ready = log.readable().await.map_err(LogError::Read)?;
        let Ok(read) = ready.try_io(|log| log.get_ref().read(&mut record)) else {
            continue;
        };
        let length = match read {
            Ok(0) => return Err(LogError::Ended),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The kernel has overwritten records that were not read; the next one is what is left.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                kills.forget();
                continue;
            }
            Err(error) => return Err(LogError::Read(error)),
        };
        for line in record[..length].split(|byte| *byte == b'\n') {
            if let Some(kill) = kills.take(line)
                && out.send(kill).await.is_err()
            {
                return Ok(());
            }
        }
    }
}

/// Opens the log at its end.
fn open(path: &Path) -> Result<AsyncFd<File>, LogError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let mut file = options.open(path).map_err(LogError::Open)?;
    match file.seek(SeekFrom::End(0)) {
        Ok(_) => {}
        // A pipe has no past.
        Err(error) if error.kind() == io::ErrorKind::NotSeekable => {}
        Err(error) => return Err(LogError::Open(error)),
    }
    // An exception to the rule: tokio takes a descriptor in no other way.
    #[allow(unsafe_code)]
    // SAFETY: the `File` owns its descriptor, which is the same and open until it is dropped.
    let log = unsafe { AsyncFd::register(file) };
    log.map_err(|error| LogError::Open(error.into()))
}
