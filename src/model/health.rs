//! The probe results of a container.

use super::probe::ProbeKind;

/// The probe results of one container instance. A restarted instance starts without results.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    startup: Probed,
    liveness: Probed,
    readiness: Probed,
}

impl Health {
    /// The result of the probe of this kind.
    pub fn get(&self, kind: ProbeKind) -> &Probed {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, kind: ProbeKind) -> &mut Probed {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }
}

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probed {
    /// What it has come to.
    pub verdict: Verdict,
    /// The number of runs that had something to report.
    pub troubles: u64,
    /// The last complaint.
    pub last: Option<Trouble>,
}

/// The result of a probe, with its thresholds applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// No result yet: the container counts as not started, not ready, and alive.
    #[default]
    Unknown,
    /// Success.
    Success,
    /// Failure.
    Failure,
}

/// A probe failure, as the event reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `Unhealthy`, or `ProbeWarning`.
    pub reason: &'static str,
    /// `Liveness probe failed: …`
    pub message: String,
}
