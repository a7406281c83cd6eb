//! Setting up a volume may take long: meanwhile it is shown what is waited for.

use std::path::Path;

use crate::act::context::Work;
use crate::act::failure::abandoned;
use crate::model::outcome::StepError;
use crate::model::request::set_up_slow;
use crate::model::volume_work::{Awaited, Goal};

/// Sets up the volume that is `called` so, in its place. It is shown as worked on, and an event for this reason says after a
/// while what it waits for.
pub(super) async fn shown<T>(
    work: &Work<'_>,
    (called, place): (&str, &Path),
    (reason, awaited): (&'static str, Awaited),
    setting_up: impl Future<Output = T>,
) -> T {
    let at_work = &work.context.at_work;
    let working = at_work.begin(work.uid, place, Goal::SetUp, awaited);
    let what = || set_up_slow(called, &working.awaited());
    work.announced(reason, what, setting_up).await
}

/// As [`shown`], but given up with the plan: the programs that it runs are killed with the future.
pub(super) async fn shown_until_abandoned<T>(
    work: &Work<'_>,
    of: (&str, &Path),
    (reason, awaited): (&'static str, Awaited),
    setting_up: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let shown = shown(work, of, (reason, awaited), setting_up);
    let result = work.unless_abandoned(shown).await;
    result.unwrap_or_else(|| Err(abandoned(reason)))
}
