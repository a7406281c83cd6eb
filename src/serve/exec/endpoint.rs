//! `/exec`: runs a command in a container and carries its input and output over the upgraded connection. `/run`: the
//! same for a command without input, whose output is the answer.

use std::borrow::Cow;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::process::ExecRequest;
use super::session;
use super::task::ExecPlace;
use crate::serve::answer::Refusal;
use crate::serve::query::values;
use crate::serve::stream::command::Parts;
use crate::serve::stream::endpoint::{self, Address};
use crate::serve::stream::upgrade::NotUpgraded;
use crate::serve::world::Served;

/// `/exec` of the node API.
pub(crate) async fn answer(
    State(served): State<Served>,
    Path(address): Path<Address>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = query.as_deref().unwrap_or_default();
    endpoint::answer(parse(query).and_then(|(parts, command)| {
        let id = address.running_container(&served)?;
        begin(&served, id, (parts, command), request)
    }))
}

/// `/exec` of the agent's socket.
pub(crate) async fn answer_locally(
    State(served): State<Served>,
    Path(address): Path<Address>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let id = address.running_locally(&served, "exec")?.0;
    let query = query.as_deref().unwrap_or_default();
    if values(query, "command").next().is_none() {
        return Err(Refusal::BadRequest("exec requires a command".to_owned()));
    }
    let wanted = parse(query);
    Ok(endpoint::answer(
        wanted.and_then(|wanted| begin(&served, id, wanted, request)),
    ))
}

fn parse(query: &str) -> Result<(Parts, Vec<String>), NotUpgraded> {
    let parts = endpoint::parts(query)?;
    let command: Vec<String> = values(query, "command").map(Cow::into_owned).collect();
    match command.is_empty() {
        true => Err(NotUpgraded::new(
            StatusCode::BAD_REQUEST,
            "you must specify at least one command for the container",
        )),
        false => Ok((parts, command)),
    }
}

/// Begins the streams of a command in the running container of that ID.
pub(in crate::serve) fn begin(
    served: &Served,
    id: String,
    (parts, command): (Parts, Vec<String>),
    request: Request,
) -> Result<Response, NotUpgraded> {
    let command = ExecRequest {
        command,
        stdin: parts.stdin,
        tty: parts.tty,
    };
    let place = ExecPlace {
        runtime: served.world.runtime.clone(),
        dir: served.world.exec_dir.clone(),
    };
    endpoint::command(request, served, parts, async move |client, lifetime| {
        session::run(client, &place, &id, &command, &lifetime).await;
    })
}

/// `/run`: the command is one parameter, its words are separated by spaces (`getRun` in `pkg/kubelet/server/server.go`).
pub(crate) async fn run(
    State(served): State<Served>,
    Path(address): Path<Address>,
    RawQuery(query): RawQuery,
) -> Response {
    let id = match address.running_container(&served) {
        Ok(id) => id,
        Err(refused) => return refused.into_response(),
    };
    let command = values(query.as_deref().unwrap_or_default(), "cmd").next();
    let command = command.unwrap_or_default();
    let words = command.split(' ').map(str::to_owned);
    let failed = |text: String| (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
    // It ends with the command; a client that disconnects drops the call, which ends the command, too.
    match served.world.runtime.exec_sync(&id, words.collect(), None).await {
        Ok(ended) if ended.exit_code == 0 => {
            let output = [ended.stdout, ended.stderr].concat();
            ([("content-type", "application/json")], output).into_response()
        }
        Ok(ended) => {
            let output = String::from_utf8_lossy(&ended.stderr).into_owned();
            failed(format!(
                "command '{command}' exited with {}: {output}",
                ended.exit_code
            ))
        }
        Err(error) => failed(error.grpc_text()),
    }
}
