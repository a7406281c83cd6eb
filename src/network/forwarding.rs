//! Forwarding between the pods' bridge and other devices: the kernel's setting, and the host's own firewall.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::conflist;
use crate::model::last_logged::LastLogged;

/// How often the host's firewall is checked.
const LOOK_AT_FIREWALL: Duration = Duration::from_secs(60);

/// A setting that allows routing between devices, without which no packet leaves a pod's network (kernel: *ip-sysctl*).
#[derive(Debug)]
pub(super) struct Setting {
    /// Its file below `/proc/sys/net`.
    pub(super) path: &'static str,
    /// The file below the state directory that keeps what it was before.
    kept: &'static str,
}

pub(super) const IPV4: Setting = Setting {
    path: "ipv4/ip_forward",
    kept: "ip_forward.before",
};
pub(super) const IPV6: Setting = Setting {
    path: "ipv6/conf/all/forwarding",
    kept: "ipv6_forwarding.before",
};

/// Where the settings of networks are.
pub(super) const SETTINGS: &str = "/proc/sys/net";
/// Keeps the names of the links that were given another `accept_ra`.
const ROUTERS: &str = "accept_ra.before";

/// Allows forwarding, and keeps below `state_dir` what the setting was before where it is changed. `settings` is
/// [`SETTINGS`]; `is_uplink` says of a link whether a router may be behind it.
pub(super) fn enable(
    setting: &Setting,
    settings: &Path,
    state_dir: &Path,
    is_uplink: impl Fn(&str) -> bool,
) -> io::Result<()> {
    let path = settings.join(setting.path);
    let before = std::fs::read_to_string(&path)?;
    if before.trim() == "1" {
        return Ok(());
    }
    std::fs::create_dir_all(state_dir)?;
    if setting.path == IPV6.path {
        keep_routers(&settings.join("ipv6/conf"), state_dir, is_uplink)?;
    }
    std::fs::write(state_dir.join(setting.kept), &before)?;
    std::fs::write(path, "1\n")
}

/// A host that forwards IPv6 packets does not believe routers any more, and would lose its default route, unless it is told
/// to (`accept_ra` 2). That must not be told of links to pods and containers, which forwarding protects from until now
/// (CVE-2020-10749).
fn keep_routers(links: &Path, state_dir: &Path, is_uplink: impl Fn(&str) -> bool) -> io::Result<()> {
    let kept = state_dir.join(ROUTERS);
    // An agent that was killed in here has changed some of these.
    let before = std::fs::read_to_string(&kept).unwrap_or_default();
    let mut names: BTreeSet<String> = before.lines().map(str::to_owned).collect();
    for entry in std::fs::read_dir(links)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let believes = std::fs::read_to_string(links.join(&name).join("accept_ra"));
        if is_uplink(&name) && believes.is_ok_and(|text| text.trim() == "1") {
            names.insert(name);
        }
    }
    let names: Vec<String> = names.into_iter().collect();
    std::fs::write(kept, names.join("\n"))?;
    for name in names {
        ignore_missing(std::fs::write(links.join(name).join("accept_ra"), "2\n"))?;
    }
    Ok(())
}

/// A link may be gone.
fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Sets back what [`enable`] has changed.
pub(super) fn restore(settings: &Path, state_dir: &Path) -> io::Result<()> {
    for setting in [IPV4, IPV6] {
        let kept = state_dir.join(setting.kept);
        let Ok(before) = std::fs::read_to_string(&kept) else {
            continue;
        };
        std::fs::write(settings.join(setting.path), before)?;
        std::fs::remove_file(&kept)?;
    }
    let kept = state_dir.join(ROUTERS);
    let Ok(names) = std::fs::read_to_string(&kept) else {
        return Ok(());
    };
    for name in names.lines() {
        let path = settings.join("ipv6/conf").join(name).join("accept_ra");
        ignore_missing(std::fs::write(path, "1\n"))?;
    }
    std::fs::remove_file(&kept)
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
        let (settings, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |path: &str, text: &str| {
            let path = settings.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let read = |path: &str| std::fs::read_to_string(settings.path().join(path)).unwrap();
        write(IPV4.path, "0\n");
        write(IPV6.path, "0\n");
        let links = ["eth0", "eth1", "docker0"].map(|link| format!("ipv6/conf/{link}/accept_ra"));
        for (link, believes) in links.iter().zip(["1\n", "0\n", "1\n"]) {
            write(link, believes);
        }
        let enable = |setting: &Setting| {
            let is_uplink = |link: &str| link.starts_with("eth");
            super::enable(setting, settings.path(), state.path(), is_uplink).unwrap();
        };
        for _ in 0..2 {
            for setting in [IPV4, IPV6] {
                enable(&setting);
                assert_eq!(read(setting.path), "1\n");
            }
        }
        assert_eq!(links.each_ref().map(|link| read(link)), ["2\n", "0\n", "1\n"]);
        // An agent was killed after it had changed a link and before it allowed forwarding.
        write(IPV6.path, "0\n");
        enable(&IPV6);
        restore(settings.path(), state.path()).unwrap();
        assert_eq!([read(IPV4.path), read(IPV6.path)], ["0\n", "0\n"]);
        assert_eq!(links.each_ref().map(|link| read(link)), ["1\n", "0\n", "1\n"]);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    }
}
