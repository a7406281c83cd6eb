//! Durations on the command line.

use std::time::Duration;

use crate::model::duration::{NotADuration, Span};

/// A duration as Go writes it, like `1h30m`, that is not negative.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|error: NotADuration| error.to_string())?;
    if span < Span(0) {
        Err("must not be negative".to_owned())
    } else {
        Ok(span.unsigned())
    }
}
