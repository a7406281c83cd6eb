//! Answers `/stats/summary`.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::summary::{self, Context, Kept};
use crate::serve::query::values;
use crate::serve::world::Served;
use crate::stats::{Depth, HOUSEKEEPING};

/// The kubelet's parameter; it counts only if it is given once.
const CPU_AND_MEMORY: &str = "only_cpu_and_memory";

pub(in crate::serve) async fn answer(State(served): State<Served>, RawQuery(query): RawQuery) -> Response {
    let world = &served.world;
    let sample = match world.stats.sample(HOUSEKEEPING, Depth::Counters).await {
        Ok(Some(sample)) => sample,
        Ok(None) => {
            return failed(
                "failed to get root cgroup stats: the kernel shows no counters of the whole machine",
            );
        }
        Err(stopped) => return (StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()).into_response(),
    };
    let node = world.node.borrow().metadata.name.clone().unwrap_or_default();
    let context = Context {
        node: &node,
        started: world.offered.program.started,
    };
    if wants_cpu_and_memory(query.as_deref().unwrap_or_default()) {
        return Json(summary::cpu_and_memory(&context, &sample)).into_response();
    }
    let (storage, mounted) = match tokio::join!(world.storage.get(&sample), world.mounted.get()) {
        (Ok(storage), Ok(mounted)) => (storage, mounted),
        (Err(stopped), _) | (_, Err(stopped)) => {
            return (StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()).into_response();
        }
    };
    let desired = world.desired.borrow().clone();
    let kept = Kept {
        storage: &storage,
        mounted: &mounted,
        desired: &desired,
    };
    Json(summary::whole(&context, &sample, &kept)).into_response()
}

fn failed(why: &str) -> Response {
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("Internal Error: {why}"),
    )
        .into_response()
}

fn wants_cpu_and_memory(query: &str) -> bool {
    let mut given = values(query, CPU_AND_MEMORY);
    let first = given.next();
    first.is_some_and(|value| value == "true") && given.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_true_counts() {
        let check = |query, wanted| assert_eq!(wants_cpu_and_memory(query), wanted, "{query}");
        check("", false);
        check("only_cpu_and_memory=true", true);
        check("x=1&only_cpu_and_memory=true", true);
        check("only_cpu_and_memory=True", false);
        check("only_cpu_and_memory", false);
        check("only_cpu_and_memory=true&only_cpu_and_memory=true", false);
    }
}
