//! Answers `/top`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::convert;
use super::wire::Top;
use crate::serve::answer::Refusal;
use crate::serve::world::Served;
use crate::stats::Depth;

/// How old the counters may be: several people that look at the same time cause two samples a second at most.
const FRESH: Duration = Duration::from_millis(500);

pub(in crate::serve) async fn answer(State(served): State<Served>) -> Result<Json<Top>, Refusal> {
    let world = &served.world;
    let sample = world.stats.sample(FRESH, Depth::Counters).await;
    let sample = sample.map_err(|stopped| Refusal::Internal(stopped.to_string()))?;
    let Some(sample) = sample else {
        return Err(Refusal::Internal(
            "the kernel shows no counters of the whole machine".to_owned(),
        ));
    };
    let node = world.node.borrow().metadata.name.clone().unwrap_or_default();
    Ok(Json(convert::top(&node, &sample)))
}
