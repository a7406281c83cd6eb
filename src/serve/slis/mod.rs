//! `/metrics/slis`: how often each health check succeeded and failed
//! (`staging/src/k8s.io/component-base/metrics/prometheus/slis`). Availability is computed from it.
//!
//! [`endpoint`] answers with what [`results`] counts.

pub(super) mod endpoint;
pub(super) mod results;
