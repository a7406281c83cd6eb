//! Which answer a request gets.

use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};

use super::accept::{self, Form};
use super::access::{self, Access};
use super::kubectl::Kubectl;
use super::options::{self, Mode, Options};
use super::path::{self, Part, Place, Stream, Target};
use super::{access_review, discovery, metrics, openapi, read, streams, watch, write};
use crate::serve::answer::Refusal;
use crate::serve::health;

pub(super) fn router(kubectl: Kubectl, access: Access) -> Router {
    let checks = health::router(kubectl.served.world.health.clone());
    Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(alive))
        .fallback(answer)
        .with_state(kubectl)
        .merge(checks)
        .layer(middleware::from_fn_with_state(access, access::pass))
}

/// What `/healthz` says, under the names that newer clients ask for.
async fn alive(State(kubectl): State<Kubectl>) -> Result<&'static str, Refusal> {
    let health = kubectl.served.world.health.check();
    health.map(|()| "ok").map_err(Refusal::Internal)
}

async fn answer(State(kubectl): State<Kubectl>, request: Request) -> Response {
    let answered = match path::parse(request.uri().path()) {
        Some(target) => kubectl.answer(target, request).await,
        None => Err(unserved(request.uri())),
    };
    answered.unwrap_or_else(|refusal| refusal.into_response())
}

fn unserved(uri: &Uri) -> Refusal {
    Refusal::NotFound(format!(
        "the server could not find the requested resource: {}",
        uri.path()
    ))
}

impl Kubectl {
    async fn answer(self, target: Target, request: Request) -> Result<Response, Refusal> {
        let method = request.method();
        let reads = method == Method::GET || method == Method::HEAD;
        match target {
            Target::Objects(place) => self.objects(place, request).await,
            Target::AccessReview if method == Method::POST => access_review::answer(request).await,
            _ if !reads => {
                let path = request.uri().path();
                let text = format!("{path} can only be read: {method} is not served without a cluster");
                Err(Refusal::MethodNotAllowed(text))
            }
            Target::AccessReview => Err(unserved(request.uri())),
            Target::Version => {
                let version = &self.served.world.offered.program.kubernetes_version;
                Ok(Json(discovery::version(version)).into_response())
            }
            Target::Discovery(document) => Ok(Json(discovery::document(document)).into_response()),
            Target::OpenApi(document) => openapi::answer(document, request.headers()),
            Target::Metrics(place) => {
                let query = request.uri().query().unwrap_or_default();
                let options = options::parse(metrics::kind(&place), query)?;
                let state = self.feed.current().await?;
                metrics::answer(&self.served.world, &state, &place, &options).await
            }
        }
    }

    async fn objects(self, place: Place, request: Request) -> Result<Response, Refusal> {
        let method = request.method();
        match (place.part, method) {
            (Part::Stream(stream), &Method::GET) => {
                streams::answer(self.served, place, stream, request).await
            }
            (Part::Stream(stream), &Method::POST) if stream != Stream::Log => {
                streams::answer(self.served, place, stream, request).await
            }
            (Part::Whole, &Method::GET | &Method::HEAD) => {
                let form = accept::parse(request.headers())?;
                let query = request.uri().query().unwrap_or_default();
                let options = options::parse(place.kind, query)?;
                self.read(place, form, options).await
            }
            (Part::Unserved | Part::EphemeralContainers, &Method::GET | &Method::HEAD) => {
                Err(unserved(request.uri()))
            }
            _ => write::answer(&self, place, request).await,
        }
    }

    async fn read(self, place: Place, form: Form, options: Options) -> Result<Response, Refusal> {
        match (options.mode, place.name.as_deref()) {
            (Mode::Watch(watch), _) => {
                let state = self.feed.follow().await?;
                let asked = watch::Asked {
                    place,
                    form,
                    options,
                    watch,
                };
                Ok(watch::answer(state, asked, self.served.stopping))
            }
            (Mode::List, Some(name)) => {
                let state = self.feed.current().await?;
                read::one(&state, &place, name, (form, &options))
            }
            (Mode::List, None) => {
                let state = self.feed.current().await?;
                read::list(&state, &place, (form, &options))
            }
        }
    }
}
