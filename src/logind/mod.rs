//! The machine's shutdown, as systemd-logind announces it: the inhibitor that delays it, and since when it is under way.
//!
//! A loop of its own ([`Loop`]): it takes a delay inhibitor when the agent starts, publishes the moment at which logind
//! announces a shutdown, and releases the inhibitor when the pods have ended, so that systemd goes on
//! (<https://systemd.io/INHIBITOR_LOCKS/>; `pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go`). Which pods end when
//! is decided elsewhere: this room knows no pods.
//!
//! [`bus`] is the wire to D-Bus, [`record`] the file from which the metrics are restored, and [`run`] puts them together.

mod bus;
mod record;
mod run;

pub use bus::Dial;
pub use run::{Channels, Loop, Settings, begin};

/// Where logind reads its drop-ins.
pub const DROP_INS: &str = "/etc/systemd/logind.conf.d";
