//! Objects of the manifests directory: created, changed, removed. What was written is answered once the agent has it, so that
//! a client's next question finds it.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::request::{self, Deletion, Sent};
use super::versions;
use crate::model::manifest_edit::{Edit, EditOptions, Edited, ManifestKind, Mode, NotEdited, Target, Wrong};
use crate::model::pod_name::PodName;
use crate::model::report::PodsReport;
use crate::serve::answer::{InvalidObject, Refusal};
use crate::serve::kube::kubectl::Kubectl;
use crate::serve::kube::store::State;

/// How long an answer waits for the agent to have read what was written.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// The most warnings of an answer, and the most bytes of each.
const MOST_WARNINGS: (usize, usize) = (32, 1024);

pub(super) async fn create(kubectl: &Kubectl, target: Target, request: Request) -> Result<Response, Refusal> {
    let Sent { content, options } = request::object(request).await?;
    let mode = options.mode;
    let target = Target {
        name: metadata(&content.0, "name").to_owned(),
        ..target
    };
    let edited = edit(kubectl, target.clone(), Edit::Create(content), options).await?;
    let shown = shown(kubectl, &target, (edited, mode)).await?;
    Ok((StatusCode::CREATED, shown).into_response())
}

pub(super) async fn replace(
    kubectl: &Kubectl,
    target: Target,
    request: Request,
) -> Result<Response, Refusal> {
    let Sent { content, options } = request::object(request).await?;
    change(kubectl, target, Edit::Replace(content), options).await
}

pub(super) async fn patch(kubectl: &Kubectl, target: Target, request: Request) -> Result<Response, Refusal> {
    let Sent { content, options } = request::patch(request).await?;
    change(kubectl, target, Edit::Patch(content), options).await
}

async fn change(
    kubectl: &Kubectl,
    target: Target,
    edit: Edit,
    options: EditOptions,
) -> Result<Response, Refusal> {
    let running = running_pod(kubectl, &target);
    let mode = options.mode;
    let edited = self::edit(kubectl, target.clone(), edit, options).await;
    let edited = match (edited, running) {
        // The manifest has another name than the pod that is made of it.
        (Err(Refusal::NotFound(_)), Some(plain)) => {
            let text = format!(
                "pods {:?} runs from a manifest, which is changed under its own name: use {plain:?} instead",
                target.name
            );
            return Err(Refusal::Forbidden(text));
        }
        (edited, _) => edited?,
    };
    shown(kubectl, &target, (edited, mode)).await
}

/// The name in the manifest of a pod that runs under this name.
fn running_pod(kubectl: &Kubectl, target: &Target) -> Option<String> {
    let name = PodName::new(target.namespace.clone(), target.name.clone());
    let report = kubectl.served.world.pods.borrow();
    let pod = report
        .pods
        .get(&name)
        .filter(|_| target.kind == ManifestKind::Pod)?;
    let node = pod.spec.as_ref()?.node_name.as_ref()?.to_lowercase();
    let plain = target.name.strip_suffix(&node)?.strip_suffix('-')?;
    Some(plain.to_owned())
}

pub(super) async fn remove(
    kubectl: &Kubectl,
    target: Target,
    options: Deletion,
) -> Result<Response, Refusal> {
    let Deletion {
        preconditions, mode, ..
    } = options;
    let edited = edit(kubectl, target.clone(), Edit::Remove(preconditions), mode.into()).await?;
    let uid = edited.pod.as_ref().map(|(uid, _)| uid.clone());
    if mode == Mode::Write {
        let content = metadata(&edited.object, "resourceVersion");
        let is_gone = |state: &State| match edited.pod {
            Some(_) => !versions::has(state, &target, content),
            None => !state.objects.contains_key(&versions::key(&target)),
        };
        await_state(kubectl, is_gone).await?;
        if let Some((uid, name)) = &edited.pod {
            let name = PodName::new(target.namespace.clone(), name.clone());
            await_end(kubectl, &name, uid).await?;
        }
    }
    Ok(success(&target, uid))
}

/// The answer to a deletion that has happened.
pub(super) fn success(target: &Target, uid: Option<String>) -> Response {
    let mut details = json!({"name": target.name, "kind": target.kind.plural()});
    if let Some(uid) = uid {
        details["uid"] = uid.into();
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Json(status).into_response()
}

async fn edit(
    kubectl: &Kubectl,
    target: Target,
    edit: Edit,
    options: EditOptions,
) -> Result<Edited, Refusal> {
    let state = kubectl.feed.current().await?;
    let edit = versions::asked(&state, &target, edit);
    let editor = &kubectl.served.world.changes.editor;
    editor.edit(target, edit, options).await.map_err(refusal)
}

fn refusal(error: NotEdited) -> Refusal {
    let text = error.to_string();
    match error {
        NotEdited::NotFound(_) => Refusal::NotFound(text),
        NotEdited::Exists { .. } => Refusal::AlreadyExists(text),
        NotEdited::Conflict(_) => Refusal::Conflict(text),
        NotEdited::BadRequest(_) => Refusal::BadRequest(text),
        NotEdited::Refused(_) => Refusal::Forbidden(text),
        NotEdited::Failed(_) | NotEdited::Stopping => Refusal::Internal(text),
        NotEdited::Invalid { target, problems } => {
            // kubectl shows fields with what is wrong with them, and nothing else.
            let cause = |wrong: Wrong| match wrong.field.is_empty() {
                true => ("manifest".to_owned(), wrong.message),
                false => (wrong.field, wrong.message),
            };
            Refusal::Invalid(Box::new(InvalidObject {
                text,
                kind: target.kind.as_str(),
                name: target.name,
                causes: problems.into_iter().map(cause).collect(),
            }))
        }
    }
}

/// The object once the agent has it, with the warnings about it.
async fn shown(
    kubectl: &Kubectl,
    target: &Target,
    (edited, mode): (Edited, Mode),
) -> Result<Response, Refusal> {
    if mode == Mode::Write && edited.is_changed {
        await_new(kubectl, target, &edited).await?;
    }
    let state = kubectl.feed.current().await?;
    let run = edited.pod.as_ref().map(|(_, name)| name.as_str());
    let run = run.filter(|run| metadata(&edited.object, "name") == *run);
    let object = versions::answered(&state, target, run, edited.object);
    Ok(with_warnings(Json(object).into_response(), &edited.warnings))
}

fn metadata<'a>(object: &'a Value, field: &str) -> &'a str {
    let field = object.get("metadata").and_then(|metadata| metadata.get(field));
    field.and_then(Value::as_str).unwrap_or_default()
}

fn with_warnings(mut response: Response, warnings: &[String]) -> Response {
    let (most, most_bytes) = MOST_WARNINGS;
    for warning in warnings.iter().take(most) {
        let is_plain = |c: &char| (' '..='~').contains(c);
        let plain = warning.chars().filter(is_plain).take(most_bytes);
        let text: String = plain
            .collect::<String>()
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// Waits a moment until the agent has what was written.
async fn await_new(kubectl: &Kubectl, target: &Target, edited: &Edited) -> Result<(), Refusal> {
    let content = metadata(&edited.object, "resourceVersion");
    await_state(kubectl, |state| {
        let is_there = || state.objects.contains_key(&versions::key(target));
        versions::has(state, target, content) && (edited.pod.is_some() || is_there())
    })
    .await?;
    let Some((uid, name)) = &edited.pod else {
        return Ok(());
    };
    let name = PodName::new(target.namespace.clone(), name.clone());
    await_pods(kubectl, |report| has(report, &name, uid), Some(SEEN_WITHIN)).await
}

fn has(report: &PodsReport, name: &PodName, uid: &str) -> bool {
    let pod = report.pods.get(name);
    pod.is_some_and(|pod| pod.metadata.uid.as_deref() == Some(uid))
}

/// Waits until everything of a pod has ended, however long that takes: the client decides how long it waits.
async fn await_end(kubectl: &Kubectl, name: &PodName, uid: &str) -> Result<(), Refusal> {
    await_pods(kubectl, |report| !has(report, name, uid), None).await
}

async fn await_pods(
    kubectl: &Kubectl,
    is_so: impl Fn(&PodsReport) -> bool,
    within: Option<Duration>,
) -> Result<(), Refusal> {
    let mut pods = kubectl.served.world.pods.clone();
    let reached = async { pods.wait_for(|report| is_so(report)).await.map(drop) };
    until(kubectl, reached, within).await
}

async fn await_state(kubectl: &Kubectl, is_so: impl Fn(&State) -> bool) -> Result<(), Refusal> {
    let mut state = kubectl.feed.follow().await?;
    let reached = async { state.wait_for(|state| is_so(state)).await.map(drop) };
    until(kubectl, reached, Some(SEEN_WITHIN)).await
}

async fn until<E>(
    kubectl: &Kubectl,
    reached: impl Future<Output = Result<(), E>>,
    within: Option<Duration>,
) -> Result<(), Refusal> {
    let over = async {
        match within {
            Some(within) => tokio::time::sleep(within).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // It fails if the agent is stopping.
        reached = reached => reached.map_err(|_| stopping()),
        // What was done stays done, whether the agent has read it or not.
        () = over => Ok(()),
        () = kubectl.served.stopping.cancelled() => Err(stopping()),
    }
}

fn stopping() -> Refusal {
    Refusal::Internal("gantry is stopping; what was asked for goes on when it starts again".to_owned())
}
