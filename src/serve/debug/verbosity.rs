//! The verbosity of the log, which changes while the agent runs.

use std::fmt;
use std::sync::Arc;

/// Changes the verbosity of the log. Cloning shares it.
#[derive(Clone)]
pub struct Verbosity(Arc<dyn Fn(i32) -> Result<(), String> + Send + Sync>);

impl Verbosity {
    /// One that is changed by this function, which says why it cannot.
    pub fn new(set: impl Fn(i32) -> Result<(), String> + Send + Sync + 'static) -> Verbosity {
        Verbosity(Arc::new(set))
    }

    /// Sets it, or says why it cannot be set.
    pub(super) fn set(&self, level: i32) -> Result<(), String> {
        (self.0)(level)
    }
}

impl fmt::Debug for Verbosity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verbosity")
    }
}
