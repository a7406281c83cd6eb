//! Writes on the wire, with a source that answers as it is told.

use std::sync::Arc;

use axum::http::HeaderMap;
use tokio::sync::mpsc;

use super::*;
use crate::model::changes::{ChangeRequests, changes};
use crate::model::manifest_edit::{
    Edit, Edited, Hidden, ManifestKind, Mode, NotEdited, Preconditions, Target, Wrong,
};
use crate::model::object::content::Content;
use crate::model::object::{self, Known, ObjectKey, ObjectKind, Reference, kinds};
use crate::model::pod::SourceSet;
use crate::model::stated::Stated;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

type Answer = Result<Edited, NotEdited>;
/// What the source was asked for.
type Asked = mpsc::UnboundedReceiver<(Target, Edit, Mode)>;

fn edited(object: Value) -> Edited {
    Edited {
        object,
        pod: None,
        warnings: Vec::new(),
        is_changed: false,
    }
}

/// An endpoint whose source gives this answer to everything.
fn writable(answer: Answer) -> (Endpoint, Asked) {
    let mut changing = fixture::changing();
    let (changes, requests) = changes();
    changing.world.changes = changes;
    let (note, asked) = mpsc::unbounded_channel();
    let ChangeRequests { mut edits, .. } = requests;
    tokio::spawn(async move {
        while let Some(request) = edits.0.recv().await {
            let _ = note.send((request.target, request.edit, request.options.mode));
            let _ = request.answer.send(answer.clone());
        }
    });
    (endpoint_of(changing), asked)
}

async fn send(
    endpoint: &Endpoint,
    (method, path): (Method, &str),
    kind: &str,
    body: Value,
) -> (u16, HeaderMap, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", "Bearer token")
        .header("content-type", kind)
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = endpoint.router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status.as_u16(),
        parts.headers,
        serde_json::from_slice(&body).unwrap(),
    )
}

#[tokio::test]
async fn a_request_reaches_the_source_and_its_answer_the_client() {
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "a"}});
    let warned = Edited {
        warnings: vec!["field: a \"word\"\n".to_owned()],
        ..edited(map.clone())
    };
    let (endpoint, mut asked) = writable(Ok(warned));
    let check = async |method: Method, path: String, kind: &str, code: u16| {
        let (is, headers, body) = send(&endpoint, (method, &path), kind, json!({})).await;
        assert_eq!(is, code, "{path}: {body}");
        (headers, body)
    };
    let (headers, body) = check(
        Method::POST,
        format!("{MAPS}?dryRun=All"),
        "application/json",
        201,
    )
    .await;
    assert_eq!(body, map);
    assert_eq!(headers["warning"], r#"299 - "field: a \"word\"""#);
    let (target, edit, mode) = asked.recv().await.unwrap();
    assert_eq!((target.kind, target.name.as_str()), (ManifestKind::ConfigMap, ""));
    assert!(
        matches!(edit, Edit::Create(_)) && mode == Mode::DryRun,
        "{edit:?}"
    );
    check(Method::PUT, format!("{MAPS}/a"), "application/json", 200).await;
    let patch = "application/merge-patch+json";
    check(Method::PATCH, format!("{MAPS}/a"), patch, 200).await;
    let (_, body) = check(Method::DELETE, format!("{MAPS}/a"), "application/json", 200).await;
    assert_eq!(
        (&body["status"], &body["details"]["name"]),
        (&json!("Success"), &json!("a"))
    );
    for expected in ["Replace", "Patch", "Remove"] {
        let (target, edit, mode) = asked.recv().await.unwrap();
        assert_eq!((target.name.as_str(), mode), ("a", Mode::Write));
        assert!(format!("{edit:?}").starts_with(expected), "{edit:?}");
    }
    let (_, body) = check(
        Method::PATCH,
        format!("{MAPS}/a"),
        "application/apply-patch+yaml",
        415,
    )
    .await;
    assert_eq!(body["reason"], "UnsupportedMediaType");
    // Everything else is not for the source.
    check(
        Method::POST,
        "/api/v1/namespaces".to_owned(),
        "application/json",
        405,
    )
    .await;
    check(Method::DELETE, MAPS.to_owned(), "application/json", 405).await;
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn a_refusal_has_the_reason_that_clients_know() {
    let target = || Target {
        kind: ManifestKind::ConfigMap,
        namespace: "default".to_owned(),
        name: "a".to_owned(),
    };
    let check = async |error: NotEdited, code: u16, reason: &str| {
        let (endpoint, _asked) = writable(Err(error));
        let (is, _, status) = send(&endpoint, (Method::POST, MAPS), "", json!({})).await;
        assert_eq!((is, &status["reason"]), (code, &json!(reason)), "{status}");
        status
    };
    check(NotEdited::NotFound(target()), 404, "NotFound").await;
    let exists = NotEdited::Exists {
        target: target(),
        file: "/m/a.yaml".to_owned(),
    };
    check(exists, 409, "AlreadyExists").await;
    check(NotEdited::Conflict(target()), 409, "Conflict").await;
    check(NotEdited::BadRequest("x".to_owned()), 400, "BadRequest").await;
    check(NotEdited::Refused("x".to_owned()), 403, "Forbidden").await;
    check(NotEdited::Failed("x".to_owned()), 500, "InternalError").await;
    let wrong = |field: &str| Wrong {
        field: field.to_owned(),
        message: "is wrong".to_owned(),
    };
    let invalid = NotEdited::Invalid {
        target: target(),
        problems: vec![wrong("data"), wrong("")],
    };
    let status = check(invalid, 422, "Invalid").await;
    assert_eq!(
        status["message"],
        "ConfigMap \"a\" is invalid: data: is wrong; is wrong"
    );
    let fields = [0, 1].map(|cause| status["details"]["causes"][cause]["field"].clone());
    assert_eq!(fields, [json!("data"), json!("manifest")]);
}

#[tokio::test]
async fn a_pod_that_runs_is_not_changed_under_the_name_of_its_run() {
    let plain = NotEdited::NotFound(Target {
        kind: ManifestKind::Pod,
        namespace: "default".to_owned(),
        name: "web-vm".to_owned(),
    });
    let (endpoint, _asked) = writable(Err(plain));
    let pods = "/api/v1/namespaces/default/pods";
    let patch = "application/merge-patch+json";
    let path = format!("{pods}/web-vm");
    let (code, _, status) = send(&endpoint, (Method::PATCH, &path), patch, json!({})).await;
    assert_eq!(code, 403);
    let message = status["message"].as_str().unwrap();
    assert!(message.ends_with("use \"web\" instead"), "{message}");
    let path = format!("{pods}/other");
    let (code, _, _) = send(&endpoint, (Method::PATCH, &path), patch, json!({})).await;
    assert_eq!(code, 404);
}

/// An endpoint whose source answers with what it was asked for, and whose manifests directory states this.
fn stating(answer: Answer, stated: &[(ManifestKind, &str, &str)]) -> (Endpoint, Asked) {
    let (endpoint, asked) = writable(answer);
    restate(&endpoint, stated);
    (endpoint, asked)
}

/// The manifests directory states this: objects with the versions of their contents.
fn restate(endpoint: &Endpoint, stated: &[(ManifestKind, &str, &str)]) {
    let objects = stated
        .iter()
        .filter(|(kind, ..)| *kind == ManifestKind::ConfigMap);
    let objects = objects.map(|(_, name, content)| {
        let map = kinds::ConfigMap {
            data: [("a".to_owned(), Content::from(*content))].into(),
            ..kinds::ConfigMap::default()
        };
        let key = ObjectKey {
            kind: ObjectKind::ConfigMap,
            namespace: "default".to_owned(),
            name: (*name).to_owned(),
        };
        let found = Known::Found(Arc::new(object::Object::ConfigMap(map)));
        (Reference::Object(key), found)
    });
    let each = stated.iter().map(|(kind, name, content)| {
        let manifest = json!({"kind": kind.as_str(), "metadata": {"name": name, "resourceVersion": content}});
        let stated = Stated {
            version: Some((*content).to_owned()),
            labels: [("app".to_owned(), (*name).to_owned())].into(),
            annotations: std::collections::BTreeMap::new(),
            created: "2026-11-20T00:00:00Z".parse().unwrap(),
            manifest: (*kind == ManifestKind::Pod).then(|| Arc::new(Hidden(manifest))),
        };
        (target(*kind, name), Arc::new(stated))
    });
    let set = SourceSet {
        objects: objects.collect(),
        stated: Arc::new(each.collect()),
        ..SourceSet::default()
    };
    let desired = Desired {
        files: Some(Arc::new(set)),
        ..Desired::default()
    };
    endpoint.desired.send_replace(Arc::new(desired));
}

fn target(kind: ManifestKind, name: &str) -> Target {
    Target {
        kind,
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn a_read_by_name_does_not_ask_the_source() {
    let refused = Err(NotEdited::Failed("asked".to_owned()));
    let stated = [
        (ManifestKind::Pod, "web", "7"),
        (ManifestKind::ConfigMap, "a", "8"),
    ];
    let (endpoint, mut asked) = stating(refused, &stated);
    let pods = "/api/v1/namespaces/default/pods";
    // The manifest of a pod is shown under its own name, and the run under the other.
    let web = endpoint.get(&format!("{pods}/web")).await;
    assert_eq!(web["metadata"]["name"], "web");
    assert_ne!(web["metadata"]["resourceVersion"], "7");
    let run = endpoint.get(&format!("{pods}/web-vm")).await;
    assert_eq!(run["metadata"]["name"], "web-vm");
    let map = endpoint.get(&format!("{MAPS}/a")).await;
    assert_eq!(
        (&map["data"]["a"], &map["metadata"]["labels"]["app"]),
        (&json!("8"), &json!("a"))
    );
    let listed = endpoint.get(&format!("{MAPS}?labelSelector=app%3Da")).await;
    assert_eq!(listed["items"], json!([map]));
    let names = endpoint.get(pods).await;
    assert_eq!(names["items"].as_array().unwrap().len(), 1, "{names}");
    for path in [format!("{MAPS}/b"), format!("{pods}/b")] {
        assert_eq!(endpoint.refused(Method::GET, &path).await.0, 404);
    }
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn the_version_that_a_client_knows_becomes_that_of_the_content() {
    let unchanged = json!({"kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "8"}});
    let (endpoint, mut asked) = stating(Ok(edited(unchanged)), &[(ManifestKind::ConfigMap, "a", "8")]);
    let map = endpoint.get(&format!("{MAPS}/a")).await;
    let path = format!("{MAPS}/a");
    let (code, _, answer) = send(&endpoint, (Method::PUT, &path), "", map.clone()).await;
    // With what clients know of it.
    let own = |field: &str| answer["metadata"][field] == map["metadata"][field];
    assert!(
        code == 200 && own("resourceVersion") && own("creationTimestamp") && own("uid"),
        "{answer}"
    );
    let (_, edit, _) = asked.recv().await.unwrap();
    let Edit::Replace(Hidden(sent)) = edit else {
        panic!("{edit:?}")
    };
    assert_eq!(sent["metadata"]["resourceVersion"], "8");
    // A version of yesterday stays what it is, and the source refuses it.
    restate(&endpoint, &[(ManifestKind::ConfigMap, "a", "9")]);
    send(&endpoint, (Method::PUT, &path), "", map.clone()).await;
    let (_, edit, _) = asked.recv().await.unwrap();
    let Edit::Replace(Hidden(sent)) = edit else {
        panic!("{edit:?}")
    };
    assert_eq!(
        sent["metadata"]["resourceVersion"],
        map["metadata"]["resourceVersion"]
    );
    let options = json!({"preconditions": {"uid": map["metadata"]["uid"], "resourceVersion": "1"}});
    let dry = format!("{path}?dryRun=All");
    send(&endpoint, (Method::DELETE, &dry), "application/json", options).await;
    let (_, edit, _) = asked.recv().await.unwrap();
    let expected = Preconditions {
        uid: None,
        version: Some("1".to_owned()),
    };
    assert_eq!(edit, Edit::Remove(expected));
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_until_the_agent_has_read_what_was_written() {
    let written = Edited {
        is_changed: true,
        ..edited(json!({"kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "9"}}))
    };
    let (endpoint, _asked) = stating(Ok(written), &[(ManifestKind::ConfigMap, "a", "8")]);
    let before = endpoint.get(&format!("{MAPS}/a")).await;
    let path = format!("{MAPS}/a");
    let patch = "application/merge-patch+json";
    let change = send(&endpoint, (Method::PATCH, &path), patch, json!({}));
    tokio::pin!(change);
    tokio::select! {
        biased;
        answer = &mut change => panic!("{answer:?}"),
        () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
    }
    restate(&endpoint, &[(ManifestKind::ConfigMap, "a", "9")]);
    let (code, _, answer) = change.await;
    let now = endpoint.get(&path).await;
    assert_eq!(
        (code, &answer["metadata"]["resourceVersion"]),
        (200, &now["metadata"]["resourceVersion"])
    );
    assert_ne!(
        before["metadata"]["resourceVersion"],
        now["metadata"]["resourceVersion"]
    );
    assert_eq!(before["metadata"]["uid"], now["metadata"]["uid"]);
}

#[tokio::test]
async fn a_deleted_pod_is_restarted_and_answered_when_its_past_run_has_ended() {
    let mut changing = fixture::changing();
    let (changes, requests) = changes();
    changing.world.changes = changes;
    let ChangeRequests { mut restarts, .. } = requests;
    let snapshot = changing.snapshot.clone();
    let endpoint = endpoint_of(changing);
    let path = "/api/v1/namespaces/default/pods/web-vm";
    let restarter = async {
        let request = restarts.0.recv().await.unwrap();
        assert_eq!(request.grace, Some(std::time::Duration::from_secs(7)));
        request.answer.send(Ok(())).unwrap();
        let ended = fixture::snapshot_of(vec![fixture::exited(fixture::running("c1", "web", ""))]);
        let mut ended = (*ended).clone();
        for observed in ended.pods.values_mut() {
            let observed = std::sync::Arc::make_mut(observed);
            for pod in observed.uids.values_mut() {
                pod.sandboxes[0].ready = false;
            }
        }
        snapshot.send_replace(std::sync::Arc::new(ended));
    };
    let options = json!({"gracePeriodSeconds": 7});
    let deletion = send(&endpoint, (Method::DELETE, path), "application/json", options);
    let ((code, _, status), ()) = tokio::join!(deletion, restarter);
    assert_eq!(code, 200, "{status}");
    assert!(status["details"]["uid"].is_null(), "no UID has to go");
    let dry = json!({"dryRun": ["All"]});
    let (code, _, _) = send(&endpoint, (Method::DELETE, path), "application/json", dry).await;
    assert_eq!(code, 200);
    let other = json!({"preconditions": {"uid": "other"}});
    let (code, _, _) = send(&endpoint, (Method::DELETE, path), "application/json", other).await;
    assert_eq!(code, 409);
    assert!(restarts.0.try_recv().is_err());
}
