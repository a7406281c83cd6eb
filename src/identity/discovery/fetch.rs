//! Downloads a discovery file over TLS with the machine's own trusted authorities, as kubeadm does
//! (`cmd/kubeadm/app/discovery/https`). It comes from elsewhere, so it may refer neither to files nor to programs of
//! this machine.

use http_body_util::{BodyExt as _, Limited};
use hyper::http::{Request, StatusCode, Uri};

use std::time::Duration;

use super::super::cause::text;
use super::super::client;
use super::super::kubeconfig::{self, Stated};
use super::DiscoveryError;
use crate::model::error_chain::chain;

/// How long one answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// The largest kubeconfig.
const LONGEST: usize = 1 << 20;

/// Reads it.
pub(super) async fn fetch(url: &str) -> Result<Stated, DiscoveryError> {
    let wrong = |why: String| DiscoveryError::Unfetched {
        url: url.to_owned(),
        why,
    };
    let uri: Uri = url
        .parse()
        .map_err(|_| wrong("it is not a valid address".to_owned()))?;
    let authority = uri.authority().map(|authority| authority.as_str());
    let server: Option<Uri> = authority.and_then(|authority| format!("https://{authority}").parse().ok());
    let server = server.ok_or_else(|| wrong("it is not a valid address".to_owned()))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // Without a custom authority: those that the machine trusts.
    let mut config = kube::Config::new(server);
    config.connect_timeout = Some(ANSWER);
    config.default_retry = false;
    let client = client::client(&config).map_err(|error| wrong(chain(&error)))?;
    let request = Request::get(path).body(kube::client::Body::empty());
    let request = request.map_err(|error| wrong(error.to_string()))?;
    let asked = tokio::time::timeout(ANSWER, async {
        let answer = client.send(request).await.map_err(|error| text(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        body.map(|body| body.to_bytes())
            .map_err(|error| error.to_string())
    });
    let body = match asked.await {
        Ok(answered) => answered.map_err(wrong)?,
        Err(_) => return Err(wrong("it does not answer in time".to_owned())),
    };
    let said = std::str::from_utf8(&body).map_err(|_| wrong("it is not text".to_owned()))?;
    let stated = kubeconfig::of_text(said, url.as_ref())?;
    match stated.is_whole() {
        true => Ok(stated),
        false => Err(wrong(
            "it refers to files or programs, which is not allowed in a downloaded file; embed the data in it"
                .to_owned(),
        )),
    }
}
