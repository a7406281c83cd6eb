//! Every field of a pod's specification and how it is handled: none is dropped silently.
//!
//! Kubernetes' types list their own fields ([`shape`]), [`table`] has the decisions, and the pods of [`seeds`] prove
//! them: a supported field makes a difference when it changes, an ignored one makes none, and an unsupported one is
//! rejected with the listed message.

mod seeds;
mod shape;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{self as api, PodSpec};
use serde_json::{Map, Value, json};

use self::shape::{Shape, Types, types_of};
use self::table::{Mark, TABLE};
use super::planned::{api_pod, steps};
use super::problems;
use crate::model::node::NodePolicy;
use crate::model::pod::Pod;
use crate::model::sample;
use crate::model::step::Step;
use crate::source::checkpoint::stored::left_to_its_node;

/// Alternative values: for most fields with a choice, one of them is another option.
const CHOICES: &[&str] = &[
    "RuntimeDefault",
    "Unconfined",
    "Merge",
    "Exists",
    "NotIn",
    "Never",
    "Always",
    "OnFailure",
    "UDP",
    "HTTP",
    "memory",
    "cpu",
    "limits.memory",
    "requests.cpu",
    "NotRequired",
    "metadata.uid",
    "spec.nodeName",
    "Default",
    "Disabled",
    "HostToContainer",
    "Memory",
    "Directory",
    "",
    "Restart",
    "FallbackToLogsOnError",
    "NoSchedule",
    "windows",
    "SIGTERM",
    "spare",
    "system-node-critical",
    "8080",
    "1Gi",
    "192.0.2.9",
    "a/b",
];

fn rows() -> BTreeMap<&'static str, BTreeMap<&'static str, &'static Mark>> {
    let mut rows: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (of, fields) in TABLE {
        for (field, mark) in *fields {
            let twice = rows.entry(*of).or_default().insert(*field, mark);
            assert!(twice.is_none(), "{of}.{field} has two rows");
        }
    }
    rows
}

/// The type below a shape, if there is one.
fn object(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::Scalar => None,
        Shape::Object(name) => Some(name),
        Shape::List(of) | Shape::Map(of) => object(of),
    }
}

#[test]
fn every_field_that_kubernetes_lists_is_decided_and_no_other() {
    let (types, rows) = (types_of::<PodSpec>(), rows());
    let (mut seen, mut todo) = (BTreeSet::new(), vec!["PodSpec"]);
    let mut undecided = Vec::new();
    while let Some(of) = todo.pop() {
        if !seen.insert(of) {
            continue;
        }
        for (field, shape) in &types[of] {
            match rows.get(of).and_then(|fields| fields.get(field)) {
                None => undecided.push(format!("{of}.{field}")),
                // A field below an unsupported or ignored one is unsupported or ignored, too.
                Some(Mark::Acts(_) | Mark::Enforces(_)) => todo.extend(object(shape)),
                Some(_) => {}
            }
        }
    }
    assert!(
        undecided.is_empty(),
        "decide what becomes of these fields and say it in table.rs:\n{}",
        undecided.join("\n")
    );
    let mut stale = Vec::new();
    for (of, fields) in &rows {
        let known: BTreeSet<_> = match types.get(of) {
            Some(known) if seen.contains(of) => known.iter().map(|(field, _)| *field).collect(),
            _ => BTreeSet::new(),
        };
        stale.extend(
            fields
                .keys()
                .filter(|field| !known.contains(*field))
                .map(|field| format!("{of}.{field}")),
        );
    }
    assert!(
        stale.is_empty(),
        "rows of fields that nothing leads to:\n{}",
        stale.join("\n")
    );
    assert!(seen.len() > 50, "only {} types were found", seen.len());
}

#[test]
fn the_files_that_act_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (of, fields) in TABLE {
        for (field, mark) in *fields {
            if let Mark::Acts(file) | Mark::Enforces(file) = mark {
                assert!(root.join(file).is_file(), "{of}.{field}: there is no src/{file}");
            }
        }
    }
}

/// The result of reading a pod: the pod as this node understands it, and the steps for it.
#[derive(PartialEq)]
struct Outcome {
    pod: Pod,
    account: String,
    /// How long it stays on a node that cannot reach the API server.
    left: Option<Duration>,
    steps: Vec<Step>,
}

fn policy() -> NodePolicy {
    NodePolicy {
        limited_swap: true,
        stop_signals: true,
        ..sample::policy()
    }
}

fn outcome(spec: &Value) -> Result<Outcome, Vec<String>> {
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u1", "labels": {"app": "web"}});
    let object = json!({"metadata": metadata, "spec": spec});
    // A change may turn a number into one that no pod can have.
    serde_json::from_value::<api::Pod>(object.clone()).map_err(|error| vec![error.to_string()])?;
    let pod = api_pod(object)?;
    let steps = steps(&pod, &policy());
    Ok(Outcome {
        account: pod.service_account().to_owned(),
        left: left_to_its_node(&pod.object),
        steps,
        pod: Pod {
            object: Default::default(),
            ..pod
        },
    })
}

/// The places of a type's field in a value: the paths to the objects that have it.
fn places(
    value: &Value,
    shape: &Shape,
    of: &str,
    field: &str,
    types: &Types,
    at: &str,
    found: &mut Vec<String>,
) {
    match (shape, value) {
        (Shape::Object(name), Value::Object(own)) => {
            if *name == of && own.contains_key(field) {
                found.push(at.to_owned());
            }
            for (key, shape) in &types[name] {
                if let Some(value) = own.get(*key) {
                    places(value, shape, of, field, types, &format!("{at}/{key}"), found);
                }
            }
        }
        (Shape::List(shape), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                places(item, shape, of, field, types, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The object without the field, and with other values of it.
fn changed(own: &Map<String, Value>, field: &str) -> Vec<Map<String, Value>> {
    let value = &own[field];
    let mut others: Vec<Value> = Vec::new();
    match value {
        Value::Bool(is) => others.push(json!(!is)),
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            others.extend([json!(number + 1), json!(number - 1), json!(0)]);
        }
        Value::String(text) => {
            others.push(json!(format!("{text}x")));
            others.extend(CHOICES.iter().map(|choice| json!(choice)));
        }
        Value::Array(items) => {
            others.push(json!([]));
            others.extend(items.first().map(|first| json!([first, first])));
            let texts = items
                .iter()
                .filter_map(Value::as_str)
                .map(|text| format!("{text}x"));
            others.push(json!(texts.collect::<Vec<_>>()));
        }
        Value::Object(entries) => {
            let mut more = entries.clone();
            more.insert("other".to_owned(), json!("1"));
            others.extend([json!({}), Value::Object(more)]);
            let within = entries.keys().flat_map(|key| changed(entries, key));
            others.extend(within.map(Value::Object));
        }
        Value::Null => {}
    }
    let mut without = own.clone();
    without.remove(field);
    let with = others.into_iter().filter(|other| other != value).map(|other| {
        let mut with = own.clone();
        with.insert(field.to_owned(), other);
        with
    });
    [without].into_iter().chain(with).collect()
}

/// What changing a field changes, over all seeds: nothing, how the node understands the pod, or its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    None,
    Understanding,
    Steps,
}

/// The effect of a field, searched until it is this one or a greater one; and how many changes of it were accepted.
fn effect(
    of: &str,
    field: &str,
    enough: Effect,
    types: &Types,
    seeds: &[(Value, Outcome)],
) -> (Effect, usize) {
    let (mut most, mut tried) = (Effect::None, 0);
    for (seed, before) in seeds {
        let mut found = Vec::new();
        places(seed, &Shape::Object("PodSpec"), of, field, types, "", &mut found);
        for place in found {
            let own = seed.pointer(&place).unwrap().as_object().unwrap();
            for changed in changed(own, field) {
                let mut spec = seed.clone();
                *spec.pointer_mut(&place).unwrap() = Value::Object(changed);
                let Ok(after) = outcome(&spec) else {
                    continue;
                };
                tried += 1;
                let effect = if after.steps != before.steps {
                    Effect::Steps
                } else if after != *before {
                    Effect::Understanding
                } else {
                    Effect::None
                };
                most = most.max(effect);
                if most >= enough {
                    return (most, tried);
                }
            }
        }
    }
    (most, tried)
}

#[test]
fn what_is_acted_on_makes_a_difference_and_what_is_ignored_makes_none() {
    let types = types_of::<PodSpec>();
    let seeds: Vec<_> = seeds::SEEDS
        .iter()
        .map(|text| {
            let spec: Value = serde_json::from_str(text).unwrap();
            let outcome = outcome(&spec).unwrap_or_else(|why| panic!("{why:?}: {text}"));
            (spec, outcome)
        })
        .collect();
    let mut wrong = Vec::new();
    for (of, fields) in TABLE {
        for (field, mark) in *fields {
            let enough = match mark {
                Mark::Enforces(_) => Effect::Steps,
                _ => Effect::Understanding,
            };
            let (effect, tried) = effect(of, field, enough, &types, &seeds);
            let is_right = match mark {
                Mark::Enforces(_) => effect == Effect::Steps,
                Mark::Acts(_) => effect != Effect::None,
                Mark::Ignored(_) | Mark::NotHere(..) => effect == Effect::None && tried > 0,
                Mark::Defaults(_) => tried > 0,
                Mark::Refused(..) => tried == 0,
                Mark::Forbidden(_) => true,
            };
            if !is_right {
                wrong.push(format!(
                    "{of}.{field} is marked {mark:?}, and {tried} changes came to {effect:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A small pod with these fields of its specification.
fn small(fields: &str) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    let fields: Value = serde_json::from_str(fields).unwrap();
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

#[test]
fn what_is_refused_is_refused_in_these_words() {
    let (types, mut wrong) = (types_of::<PodSpec>(), Vec::new());
    for (of, fields) in TABLE {
        for (field, mark) in *fields {
            let (spec, of_manifest, of_api) = match mark {
                Mark::Refused(spec, of_manifest, of_api) => (small(spec), *of_manifest, Some(*of_api)),
                Mark::NotHere(spec, of_manifest) => (small(spec), *of_manifest, None),
                _ => continue,
            };
            let mut found = Vec::new();
            places(
                &spec,
                &Shape::Object("PodSpec"),
                of,
                field,
                &types,
                "",
                &mut found,
            );
            if found.is_empty() {
                wrong.push(format!("{of}.{field} does not stand in its example"));
            }
            let manifest =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
            let reported = problems(manifest.to_string().as_bytes());
            if !reported.contains(of_manifest) {
                wrong.push(format!(
                    "{of}.{field} in a manifest: {reported:?} without {of_manifest:?}"
                ));
            }
            let reported = outcome(&spec).err().unwrap_or_default();
            if reported.first().map(String::as_str) != of_api {
                wrong.push(format!(
                    "{of}.{field} of the API server: {reported:?} and not {of_api:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
