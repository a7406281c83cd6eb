//! The Ethernet address of this node's tunnel endpoint. Others remember it, so it is kept in a file, on disk before anybody
//! hears of it, and stays when the device is made anew or the machine restarts.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;

use super::own::device_name;
use crate::disk::write::{self, Writing};
use crate::model::overlay::{Mac, Transport};

/// Below the agent's state directory.
pub(super) const FILE: &str = "overlay-mac";
/// The bit of an address that was not given by a manufacturer (IEEE 802).
const LOCAL: u8 = 0x02;
/// The bit of a group's address.
const GROUP: u8 = 0x01;

/// Whether this node is or was one of several.
pub fn is_stored(state_dir: &Path) -> bool {
    state_dir.join(FILE).exists()
}

/// The address in the file.
pub(super) fn stored(file: &Path) -> Option<Mac> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The address in the file; else that of the device that is there, which flannel's daemon may have made; else a new one.
pub(super) async fn address(state_dir: &Path, transport: Transport) -> Mac {
    let file = state_dir.join(FILE);
    let stored = std::fs::read_to_string(&file);
    match stored.as_deref().map(|text| text.trim().parse::<Mac>()) {
        Ok(Ok(mac)) => return mac,
        Ok(Err(error)) => {
            tracing::warn!(path = %file.display(), %error, "cannot read the address of the tunnel endpoint: it gets another one");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %file.display(), %error, "cannot read the address of the tunnel endpoint: it gets another one");
        }
    }
    let mac = existing(transport).unwrap_or_else(draw);
    let written = std::fs::create_dir_all(state_dir)
        .and_then(|()| write::write(&file, format!("{mac}\n").as_bytes(), Writing::within_umask()));
    if let Err(error) = written {
        tracing::warn!(path = %file.display(), %error, "cannot keep the address of the tunnel endpoint: it is another one after a restart");
    }
    mac
}

fn existing(transport: Transport) -> Option<Mac> {
    let Transport::Vxlan { vni, .. } = transport else {
        return None;
    };
    let name = device_name(vni, std::net::Ipv4Addr::UNSPECIFIED.into());
    std::fs::read_to_string(format!("/sys/class/net/{name}/address"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// A random one; the hash's keys are from the system's generator.
fn draw() -> Mac {
    let [a, b, c, d, e, f, ..] = RandomState::new().hash_one(FILE).to_be_bytes();
    Mac([(a | LOCAL) & !GROUP, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_address_stays_when_the_agent_is_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = address(&state, Transport::HostGw).await;
        assert_eq!(address(&state, Transport::HostGw).await, first);
        std::fs::write(state.join(FILE), "nonsense").unwrap();
        let second = address(&state, Transport::HostGw).await;
        assert_ne!(second, first);
        assert_eq!(address(&state, Transport::HostGw).await, second);
        assert_eq!(second.to_string().parse(), Ok(second));
    }
}
