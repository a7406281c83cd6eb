//! Forwarding between the pods' bridge and other devices: the kernel's setting, and the host's own firewall.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::conflist;
use crate::model::last_logged::LastLogged;

/// How often the host's firewall is checked.
const LOOK_AT_FIREWALL: Duration = Duration::from_secs(60);

/// Routing between devices, without which no packet leaves a pod's network (kernel: *ip-sysctl*).
pub(super) const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
const BEFORE: &str = "ip_forward.before";

/// Allows forwarding, and keeps below `state_dir` what the setting was before where it is changed.
pub(super) fn enable(setting: &Path, state_dir: &Path) -> io::Result<()> {
    let before = std::fs::read_to_string(setting)?;
    if before.trim() == "1" {
        return Ok(());
    }
    std::fs::create_dir_all(state_dir)?;
    std::fs::write(kept(state_dir), &before)?;
    std::fs::write(setting, "1\n")
}

/// Sets back what [`enable`] has changed.
pub(super) fn restore(state_dir: &Path) -> io::Result<()> {
    let kept = kept(state_dir);
    let Ok(before) = std::fs::read_to_string(&kept) else {
        return Ok(());
    };
    std::fs::write(SETTING, before)?;
    std::fs::remove_file(&kept)
}

fn kept(state_dir: &Path) -> PathBuf {
    state_dir.join(BEFORE)
}

/// Accepts forwarded packets of the pods if the host's firewall drops them, now and periodically: another program
/// (Docker does) may close it at any time. Runs until canceled.
pub(super) async fn keep_open(cancel: CancellationToken) {
    let mut logged = LastLogged::default();
    let mut tick = tokio::time::interval(LOOK_AT_FIREWALL);
    loop {
        // Both arms only wait.
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = tick.tick() => {}
        }
        let allowed = tokio::task::spawn_blocking(|| gantry_cni::forwarding::allow(conflist::BRIDGE)).await;
        match allowed.expect("talking to the kernel does not panic") {
            Ok(forwarding) => {
                for chain in forwarding.opened {
                    tracing::info!(
                        chain,
                        "the firewall dropped forwarded packets; pod traffic is now accepted"
                    );
                }
                if forwarding.closed.is_empty() {
                    logged.clear();
                } else if logged.is_news(&forwarding.closed) {
                    tracing::warn!(
                        chains = ?forwarding.closed,
                        "these firewall chains drop forwarded packets; pods may not reach the outside until the \
                         chains accept packets from and to {}",
                        conflist::BRIDGE
                    );
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read the firewall; pods may not reach the outside")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forwarding_was_is_kept_only_when_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let setting = dir.path().join("ip_forward");
        std::fs::write(&setting, "0\n").unwrap();
        enable(&setting, dir.path()).unwrap();
        enable(&setting, dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&setting).unwrap(), "1\n");
        assert_eq!(std::fs::read_to_string(dir.path().join(BEFORE)).unwrap(), "0\n");
    }
}
