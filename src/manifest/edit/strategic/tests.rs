use proptest::prelude::*;
use serde_json::json;

use super::*;

fn applied(object: Value, patch: Value) -> Result<Value, String> {
    let Value::Object(patch) = patch else {
        panic!("{patch}")
    };
    apply(object, patch).map_err(|error| error.to_string())
}

fn check(object: Value, patch: Value, expected: Value) {
    assert_eq!(applied(object, patch.clone()), Ok(expected), "{patch}");
}

/// A pod with these in its spec.
fn spec(spec: Value) -> Value {
    json!({"kind": "Pod", "spec": spec})
}

/// A pod with one container with these in it.
fn container(mut container: Value) -> Value {
    container["name"] = "c".into();
    spec(json!({"containers": [container]}))
}

#[test]
fn maps_are_merged_and_nulls_remove() {
    check(
        json!({"data": {"a": "1", "b": "2"}}),
        json!({"data": {"b": null, "c": "3", "none": null}}),
        json!({"data": {"a": "1", "c": "3"}}),
    );
    check(
        json!({}),
        json!({"data": {"a": null, "b": "1"}}),
        json!({"data": {"b": "1"}}),
    );
    check(
        json!({"data": {"a": "1"}}),
        json!({"data": {"$patch": "replace", "b": "2"}}),
        json!({"data": {"b": "2"}}),
    );
    check(
        json!({"data": {"a": "1"}}),
        json!({"data": {"$patch": "delete"}}),
        json!({"data": {}}),
    );
    check(
        json!({"data": "text"}),
        json!({"data": {"a": "1"}}),
        json!({"data": {"a": "1"}}),
    );
}

#[test]
fn some_lists_are_merged_by_a_key() {
    check(
        spec(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]})),
        spec(json!({"containers": [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]})),
        spec(json!({"containers": [
            {"name": "a", "image": "1"}, {"name": "b", "image": "3"}, {"name": "c", "image": "4"},
        ]})),
    );
    check(
        container(json!({"env": [{"name": "A", "value": "1"}], "args": ["x", "y"]})),
        container(json!({"env": [{"name": "B", "value": "2"}], "args": ["z"]})),
        container(json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["z"]})),
    );
    check(
        container(
            json!({"ports": [{"containerPort": 80}], "volumeMounts": [{"mountPath": "/a", "name": "v"}]}),
        ),
        container(
            json!({"ports": [{"containerPort": 80, "name": "web"}], "volumeMounts": [{"mountPath": "/a", "readOnly": true}]}),
        ),
        container(json!({
            "ports": [{"containerPort": 80, "name": "web"}],
            "volumeMounts": [{"mountPath": "/a", "name": "v", "readOnly": true}],
        })),
    );
    // Tolerations have no key.
    check(
        spec(json!({"tolerations": [{"key": "a"}]})),
        spec(json!({"tolerations": [{"key": "b"}]})),
        spec(json!({"tolerations": [{"key": "b"}]})),
    );
    let error = applied(
        spec(json!({"containers": [{"name": "a"}]})),
        spec(json!({"containers": [{"image": "1"}]})),
    );
    assert_eq!(
        error.unwrap_err(),
        "an item of containers has no name, by which the list is merged"
    );
}

#[test]
fn directives_delete_replace_and_retain() {
    let two = || spec(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    check(
        two(),
        spec(json!({"containers": [{"name": "a", "$patch": "delete"}]})),
        spec(json!({"containers": [{"name": "b"}]})),
    );
    check(
        two(),
        spec(json!({"containers": [{"$patch": "replace"}, {"name": "c"}]})),
        spec(json!({"containers": [{"name": "c"}]})),
    );
    check(
        spec(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        spec(
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}, "$retainKeys": ["name", "hostPath"]}]}),
        ),
        spec(json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]})),
    );
    check(
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c", "b"]}}),
        json!({"metadata": {"finalizers": ["b", "c"]}}),
    );
    let unknown = applied(json!({}), json!({"data": {"$patch": "x"}}));
    assert_eq!(unknown, Ok(json!({"data": {}})), "what is new has no directives");
    let unknown = applied(json!({"data": {}}), json!({"data": {"$patch": "x"}}));
    assert_eq!(
        unknown.unwrap_err(),
        "data has an unknown $patch directive: use replace, delete or merge"
    );
    let wrong = applied(json!({}), json!({"$retainKeys": "a"}));
    assert_eq!(wrong.unwrap_err(), "$retainKeys must be a list");
}

#[test]
fn the_order_of_a_list_is_the_clients_and_the_servers_own_items_keep_their_place() {
    let list = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        Value::Array(items)
    };
    let ordered = |before: &[&str], order: &[&str], expected: &[&str]| {
        check(
            spec(json!({"containers": list(before)})),
            spec(json!({"$setElementOrder/containers": list(order)})),
            spec(json!({"containers": list(expected)})),
        );
    };
    ordered(&["a", "b", "c"], &["c", "a", "b"], &["c", "a", "b"]);
    ordered(&["a", "own", "b"], &["b", "a"], &["own", "b", "a"]);
    ordered(&["a", "b", "own"], &["b", "a"], &["b", "a", "own"]);
    ordered(&["a"], &["x", "a", "y"], &["a"]);
    check(
        spec(json!({"containers": [{"name": "a"}]})),
        spec(json!({"$setElementOrder/containers": list(&["b", "a"]), "containers": [{"name": "b"}]})),
        spec(json!({"containers": list(&["b", "a"])})),
    );
}

/// Some JSON whose maps have no directives and no nulls.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The patch that makes one value of the other, where no list is merged.
fn difference(from: &Object, to: &Object) -> Object {
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let mut patch: Object = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in to {
        match (from.get(key), value) {
            (Some(before), value) if before == value => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                patch.insert(key.clone(), Value::Object(difference(before, after)));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    patch
}

proptest! {
    #[test]
    fn a_difference_that_is_applied_gives_the_wanted_value(from in value(), to in value()) {
        if let (Value::Object(from), Value::Object(to)) = (&from, &to) {
            let patch = difference(from, to);
            prop_assert_eq!(apply(Value::Object(from.clone()), patch.clone()), Ok(Value::Object(to.clone())));
            // A second time changes nothing.
            prop_assert_eq!(apply(Value::Object(to.clone()), patch), Ok(Value::Object(to.clone())));
        }
    }

    #[test]
    fn no_patch_makes_it_panic_and_what_comes_out_has_no_directives(from in value(), patch in value()) {
        if let Value::Object(patch) = patch {
            let applied = apply(spec(from), [("spec".to_owned(), Value::Object(patch))].into_iter().collect());
            prop_assert!(!applied.map_or(String::new(), |value| value.to_string()).contains('$'));
        }
    }
}
