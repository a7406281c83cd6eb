//! JSON patches (RFC 6902). Pure.

use serde::Deserialize;
use serde_json::Value;

use super::error::PatchError;
use super::pointer::{Place, Pointer};

/// The most operations of a patch, as the API server's (`maxJSONPatchOperations`).
const MOST: usize = 10_000;
/// The most values that `copy` may add in all, so that copies of copies stay small.
const MOST_COPIED: usize = 100_000;

#[derive(Deserialize)]
struct Operation {
    op: String,
    path: String,
    #[serde(default)]
    from: Option<String>,
    // A stated null is a value.
    #[serde(default, deserialize_with = "stated")]
    value: Option<Value>,
}

fn stated<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

pub(super) fn apply(mut object: Value, operations: Vec<Value>) -> Result<Value, PatchError> {
    if operations.len() > MOST {
        return Err(PatchError::Type("a list of at most 10000 operations"));
    }
    let mut copied = 0;
    for (index, operation) in operations.into_iter().enumerate() {
        let number = index + 1;
        let done = step(&mut object, operation, &mut copied);
        done.map_err(|failed| match failed {
            Failed::Wrong(why) => PatchError::Operation { number, why },
            Failed::Test => PatchError::Test(number),
        })?;
    }
    Ok(object)
}

/// Why an operation is not done.
enum Failed {
    Wrong(&'static str),
    Test,
}

const MISSING: Failed = Failed::Wrong("there is nothing at its path");

fn step(object: &mut Value, operation: Value, copied: &mut usize) -> Result<(), Failed> {
    let Ok(operation) = serde_json::from_value::<Operation>(operation) else {
        return Err(Failed::Wrong("needs op and path as text"));
    };
    let path = Pointer::parse(&operation.path).ok_or(Failed::Wrong("path is not a JSON pointer"))?;
    let from = operation.from.as_deref().and_then(Pointer::parse);
    let from = from.ok_or(Failed::Wrong("from is not a JSON pointer"));
    let value = operation.value.ok_or(Failed::Wrong("needs a value"));
    match operation.op.as_str() {
        "add" => add(object, &path, value?).ok_or(MISSING),
        "remove" => remove(object, &path).map(drop).ok_or(MISSING),
        "replace" => replace(object, &path, value?).ok_or(MISSING),
        "move" => {
            let from = from?;
            if from.contains(&path) && from != path {
                return Err(Failed::Wrong("moves a value into itself"));
            }
            let moved = remove(object, &from).ok_or(MISSING)?;
            add(object, &path, moved).ok_or(MISSING)
        }
        "copy" => {
            let copy = from?.get(object).ok_or(MISSING)?.clone();
            *copied += size(&copy);
            match *copied > MOST_COPIED {
                true => Err(Failed::Wrong("the patch copies too much")),
                false => add(object, &path, copy).ok_or(MISSING),
            }
        }
        "test" => match path.get(object) == Some(&value?) {
            true => Ok(()),
            false => Err(Failed::Test),
        },
        _ => Err(Failed::Wrong(
            "op is not add, remove, replace, move, copy or test",
        )),
    }
}

fn replace(object: &mut Value, path: &Pointer, value: Value) -> Option<()> {
    if path.is_whole() {
        *object = value;
        return Some(());
    }
    let present = match path.place(object)? {
        Place::Field(map, key) => map.get_mut(key)?,
        Place::Index(list, at) => list.get_mut(at)?,
    };
    *present = value;
    Some(())
}

fn add(object: &mut Value, path: &Pointer, value: Value) -> Option<()> {
    if path.is_whole() {
        *object = value;
        return Some(());
    }
    match path.place(object)? {
        Place::Field(map, key) => drop(map.insert(key.to_owned(), value)),
        Place::Index(list, at) => list.insert(at, value),
    }
    Some(())
}

fn remove(object: &mut Value, path: &Pointer) -> Option<Value> {
    match path.place(object)? {
        Place::Field(map, key) => map.remove(key),
        Place::Index(list, at) => (at < list.len()).then(|| list.remove(at)),
    }
}

/// How many values it has.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_done_in_order() {
        let check = |object: Value, operations: Value, expected: Result<Value, &str>| {
            let Value::Array(list) = operations.clone() else {
                panic!("{operations}")
            };
            let applied = apply(object, list).map_err(|error| error.to_string());
            assert_eq!(applied, expected.map_err(str::to_owned), "{operations}");
        };
        check(
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            Ok(json!({"baz": "qux", "foo": "bar"})),
        );
        check(
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}, {"op": "add", "path": "/foo/-", "value": null}]),
            Ok(json!({"foo": ["bar", "qux", "baz", null]})),
        );
        check(
            json!({"foo": ["bar", "qux"], "a/b": 1}),
            json!([{"op": "remove", "path": "/foo/1"}, {"op": "replace", "path": "/a~1b", "value": 2}]),
            Ok(json!({"foo": ["bar"], "a/b": 2})),
        );
        check(
            json!({"a": {"b": 1}, "c": {}}),
            json!([{"op": "move", "from": "/a/b", "path": "/c/d"}, {"op": "copy", "from": "/c", "path": "/e"}]),
            Ok(json!({"a": {}, "c": {"d": 1}, "e": {"d": 1}})),
        );
        check(
            json!({"a": 1}),
            json!([{"op": "test", "path": "/a", "value": 1}]),
            Ok(json!({"a": 1})),
        );
        let fails = |operation: Value, why: &str| {
            check(json!({"a": [1], "b": {"c": 1}}), json!([operation]), Err(why));
        };
        fails(
            json!({"op": "test", "path": "/a", "value": 1}),
            "operation 1 of the patch: the test failed",
        );
        let missing = "operation 1 of the patch: there is nothing at its path";
        fails(json!({"op": "remove", "path": "/x"}), missing);
        fails(json!({"op": "add", "path": "/a/2", "value": 1}), missing);
        fails(json!({"op": "add", "path": "/a/01", "value": 1}), missing);
        fails(json!({"op": "replace", "path": "/x", "value": 1}), missing);
        fails(json!({"op": "remove", "path": ""}), missing);
        fails(
            json!({"op": "add", "path": "/a"}),
            "operation 1 of the patch: needs a value",
        );
        fails(
            json!({"op": "add", "path": "a", "value": 1}),
            "operation 1 of the patch: path is not a JSON pointer",
        );
        fails(
            json!({"op": "move", "from": "/b", "path": "/b/c"}),
            "operation 1 of the patch: moves a value into itself",
        );
        fails(
            json!({"op": "x", "path": "/a"}),
            "operation 1 of the patch: op is not add, remove, replace, move, copy or test",
        );
        fails(json!([]), "operation 1 of the patch: needs op and path as text");
    }

    #[test]
    fn copies_of_copies_are_bounded() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let applied = apply(json!({"a": [1]}), vec![double; 64]);
        let error = applied.unwrap_err().to_string();
        assert!(error.ends_with("the patch copies too much"), "{error}");
    }
}
