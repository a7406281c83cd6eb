//! Strategic merge patches, which `kubectl apply` and `kubectl edit` send: JSON merge patches that merge some lists item by
//! item, with directives beside the values (`k8s.io/apimachinery/pkg/util/strategicpatch`). Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::error::PatchError;
use super::shape::{Lists, Shape};

type Object = Map<String, Value>;

/// Says what becomes of the map or the item that it stands in.
const DIRECTIVE: &str = "$patch";
/// The keys that a map keeps.
const RETAIN: &str = "$retainKeys";
/// The order of a list: `$setElementOrder/<list>`.
const ORDER: &str = "$setElementOrder/";
/// What a list of plain values loses: `$deleteFromPrimitiveList/<list>`.
const DELETE: &str = "$deleteFromPrimitiveList/";

/// The object with the patch applied.
pub(super) fn apply(object: Value, patch: Object) -> Result<Value, PatchError> {
    let object = match object {
        Value::Object(object) => object,
        _ => Object::new(),
    };
    merge(object, patch, Shape::Whole, "the object").map(Value::Object)
}

/// What a directive says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

/// Takes the directive out of a map.
fn directive(map: &mut Object, at: &str) -> Result<Directive, PatchError> {
    match map.remove(DIRECTIVE).as_ref().map(Value::as_str) {
        None | Some(Some("merge")) => Ok(Directive::Merge),
        Some(Some("replace")) => Ok(Directive::Replace),
        Some(Some("delete")) => Ok(Directive::Delete),
        Some(_) => Err(PatchError::Directive { field: at.to_owned() }),
    }
}

fn merge(mut object: Object, mut patch: Object, shape: Shape, at: &str) -> Result<Object, PatchError> {
    match directive(&mut patch, at)? {
        Directive::Replace => return Ok(plain_map(patch)),
        Directive::Delete => return Ok(Object::new()),
        Directive::Merge => {}
    }
    if let Some(retained) = patch.remove(RETAIN) {
        let retained = strings(retained, RETAIN)?;
        object.retain(|key, _| retained.contains(key));
    }
    let mut orders = BTreeMap::new();
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(ORDER) {
            orders.insert(list.to_owned(), items(value, &key)?);
        } else if let Some(list) = key.strip_prefix(DELETE) {
            let gone: BTreeSet<String> = items(value, &key)?.iter().map(Value::to_string).collect();
            if let Some(Value::Array(present)) = object.get_mut(list) {
                present.retain(|item| !gone.contains(&item.to_string()));
            }
        } else if value.is_null() {
            object.remove(&key);
        } else {
            let before = object.remove(&key);
            let (lists, inner) = shape.field(&key);
            let after = match (before, value, lists) {
                (Some(Value::Object(before)), Value::Object(value), _) => {
                    Value::Object(merge(before, value, inner, &key)?)
                }
                (Some(Value::Array(before)), Value::Array(value), Lists::Keyed(by)) => {
                    Value::Array(merge_items(before, value, (by, inner), &key)?)
                }
                (Some(Value::Array(before)), Value::Array(value), Lists::Set) => {
                    Value::Array(union(before, value))
                }
                // A new list may have items with directives, too.
                (_, Value::Array(value), Lists::Keyed(by)) => {
                    Value::Array(merge_items(Vec::new(), value, (by, inner), &key)?)
                }
                (_, value, _) => plain(value),
            };
            object.insert(key, after);
        }
    }
    for (list, order) in orders {
        if let Some(Value::Array(present)) = object.get_mut(&list) {
            let by = shape.field(&list).0;
            *present = in_order(std::mem::take(present), &order, by);
        }
    }
    Ok(object)
}

fn items(value: Value, at: &str) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(PatchError::NoList(at.to_owned())),
    }
}

fn strings(value: Value, at: &str) -> Result<BTreeSet<String>, PatchError> {
    let items = items(value, at)?.into_iter();
    Ok(items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect())
}

/// Merges lists whose items are known by the field `by`.
fn merge_items(
    before: Vec<Value>,
    patch: Vec<Value>,
    (by, shape): (&'static str, Shape),
    at: &str,
) -> Result<Vec<Value>, PatchError> {
    let replaces = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str) == Some("replace");
    let before = match patch.iter().any(replaces) {
        true => Vec::new(),
        false => before,
    };
    let mut merged: Vec<Option<Value>> = before.into_iter().map(Some).collect();
    let key_of = |item: &Value| item.get(by).map(Value::to_string);
    let place = |(index, item): (usize, &Option<Value>)| Some((key_of(item.as_ref()?)?, index));
    let mut places: BTreeMap<String, usize> = merged.iter().enumerate().filter_map(place).collect();
    for item in patch {
        let no_key = || PatchError::NoKey {
            field: at.to_owned(),
            key: by,
        };
        let key = key_of(&item);
        let Value::Object(mut item) = item else {
            return Err(no_key());
        };
        match directive(&mut item, at)? {
            // It stands beside the items that replace the others.
            Directive::Replace if key.is_none() => {}
            Directive::Delete => {
                if let Some(index) = places.remove(&key.ok_or_else(no_key)?) {
                    merged[index] = None;
                }
            }
            Directive::Merge | Directive::Replace => {
                let key = key.ok_or_else(no_key)?;
                match places.get(&key) {
                    Some(index) => {
                        let before = match merged[*index].take() {
                            Some(Value::Object(before)) => before,
                            _ => Object::new(),
                        };
                        merged[*index] = Some(Value::Object(merge(before, item, shape, at)?));
                    }
                    None => {
                        places.insert(key, merged.len());
                        let item = merge(Object::new(), item, shape, at)?;
                        merged.push(Some(Value::Object(item)));
                    }
                }
            }
        }
    }
    Ok(merged.into_iter().flatten().collect())
}

fn union(mut before: Vec<Value>, patch: Vec<Value>) -> Vec<Value> {
    let mut known: BTreeSet<String> = before.iter().map(Value::to_string).collect();
    before.extend(patch.into_iter().filter(|item| known.insert(item.to_string())));
    before
}

/// The list with the items that `order` names in that order. Each of the others stays before the items that it stood before.
fn in_order(list: Vec<Value>, order: &[Value], by: Lists) -> Vec<Value> {
    let key = |item: &Value| match by {
        Lists::Keyed(by) => item.get(by).map(Value::to_string).unwrap_or_default(),
        _ => item.to_string(),
    };
    let ranks = order.iter().enumerate().map(|(rank, item)| (key(item), rank));
    let ranks: BTreeMap<String, usize> = ranks.collect();
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for (index, item) in list.into_iter().enumerate() {
        match ranks.get(&key(&item)) {
            Some(rank) => named.push((*rank, index, item)),
            None => others.push((index, item)),
        }
    }
    named.sort_by_key(|(rank, index, _)| (*rank, *index));
    let mut others = others.into_iter().peekable();
    let mut ordered = Vec::new();
    for (_, index, item) in named {
        while let Some((_, other)) = others.next_if(|(other, _)| *other < index) {
            ordered.push(other);
        }
        ordered.push(item);
    }
    ordered.extend(others.map(|(_, other)| other));
    ordered
}

/// A value without the directives in it, and without nulls, which remove.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(plain_map(map)),
        Value::Array(items) => {
            let is_item = |item: &Value| item.get(DIRECTIVE).is_none();
            Value::Array(items.into_iter().filter(is_item).map(plain).collect())
        }
        value => value,
    }
}

fn plain_map(map: Object) -> Object {
    let is_value =
        |key: &str| key != DIRECTIVE && key != RETAIN && !key.starts_with(ORDER) && !key.starts_with(DELETE);
    map.into_iter()
        .filter(|(key, value)| is_value(key) && !value.is_null())
        .map(|(key, value)| (key, plain(value)))
        .collect()
}

#[cfg(test)]
mod tests;
