//! Answers `/timeline/{namespace}/{name}`.

use axum::Json;
use axum::extract::{Path, State};

use super::convert;
use super::wire::PodTimeline;
use crate::model::pod::PodName;
use crate::serve::answer::Refusal;
use crate::serve::world::Served;

pub(in crate::serve) async fn answer(
    State(served): State<Served>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<PodTimeline>, Refusal> {
    let report = served.world.pods.borrow().clone();
    let node = served.world.node.borrow().metadata.name.clone();
    let exact = PodName::new(&namespace, &name);
    // A static pod that has ended can no longer be found by the name in its manifest in any other way.
    let of_static = node.map(|node| PodName::new(&namespace, format!("{name}-{node}")));
    let known = [Some(exact.clone()), of_static].into_iter().flatten();
    for name in known {
        if let Some(timeline) = report.timelines.get(&name) {
            return Ok(Json(convert::timeline(&name, timeline)));
        }
    }
    if !report.pods.contains_key(&exact) {
        return Err(Refusal::no_pod(&name));
    }
    let snapshot = served.world.snapshot.borrow();
    let why = match snapshot.pods.contains_key(&exact) {
        true => "not recorded: the pod was started by an earlier agent",
        false => "nothing has been done for the pod yet",
    };
    Err(Refusal::Conflict(why.to_owned()))
}
