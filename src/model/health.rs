//! What probes have found out about a container.

use super::probe::ProbeKind;

/// What the probes of one instance of a container say. An instance that was restarted begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    startup: Probed,
    liveness: Probed,
    readiness: Probed,
}

impl Health {
    /// What the probe of that kind says.
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

/// What one probe says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probed {
    /// What it has come to.
    pub verdict: Verdict,
    /// How many runs gave a reason to complain.
    pub troubles: u64,
    /// The last complaint.
    pub last: Option<Trouble>,
}

/// What a probe has come to, its thresholds considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Nothing yet: one that has not started, is not ready, and works.
    #[default]
    Unknown,
    /// All is well.
    Success,
    /// It is not.
    Failure,
}

/// A complaint, as the event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `Unhealthy`, or `ProbeWarning`.
    pub reason: &'static str,
    /// `Liveness probe failed: …`
    pub message: String,
}
