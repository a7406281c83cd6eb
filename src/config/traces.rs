//! `tracing`: where traces of pods go.

use super::checks::Checks;
use super::raw::KubeletConfiguration;
use crate::model::collector::{Address, Collector, Rate};

/// `None`: no traces are sent.
pub(super) fn traces(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> Option<Collector> {
    let tracing = written.tracing.as_ref()?;
    let rate = tracing.sampling_rate_per_million;
    checks.within(
        "tracing.samplingRatePerMillion",
        rate.map(i64::from),
        0..=1_000_000,
    );
    let address = match tracing.endpoint.as_deref().map(str::parse::<Address>) {
        None => Address::default(),
        Some(Ok(address)) => address,
        Some(Err(bad)) => {
            checks.wrong("tracing.endpoint", bad.to_string());
            return None;
        }
    };
    let rate = u32::try_from(rate.unwrap_or(0)).ok().and_then(Rate::per_million);
    if rate.is_none() {
        checks.warn(
            "tracing.samplingRatePerMillion",
            "no traces are sent unless it is above 0",
        );
    }
    Some(Collector { address, rate: rate? })
}
