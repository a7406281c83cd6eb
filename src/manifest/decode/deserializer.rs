//! Decodes a tree to Kubernetes types, strictly: every unknown field and every value of a wrong type is reported with
//! its path and line, all at once.
//!
//! Deserializing stops at the first error, so a value of a wrong type is set aside and the document is read
//! again without it, until no error is left.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::error::{Error, Place};
use super::suggestion::nearest;
use crate::manifest::path::{Fault, FieldPath, MOST_FAULTS};
use crate::manifest::yaml::tree::{Entry, Node, Value};
use crate::model::pod::ProblemKind;
use crate::model::quantity;
use crate::model::yaml::scalar::{self, Scalar};

/// The most values of a wrong type that are reported: each costs another reading.
const MOST_READINGS: usize = 20;

/// The result of decoding.
pub(crate) struct Decoded<T> {
    /// The value without the parts that were set aside; `None` if all of it has the wrong type.
    pub(crate) value: Option<T>,
    /// What is wrong.
    pub(crate) faults: Vec<Fault>,
    /// The paths that were set aside: a later check cannot judge values there, present or missing.
    pub(crate) aside: Vec<FieldPath>,
}

/// Decodes the tree at a path.
pub(crate) fn decode<T: de::DeserializeOwned>(node: &Rc<Node>, path: &FieldPath) -> Decoded<T> {
    let mut aside = HashSet::new();
    let mut type_faults: Vec<Fault> = Vec::new();
    loop {
        let shared = Shared {
            aside: &aside,
            unknown: RefCell::default(),
        };
        let reader = Reader {
            node,
            line: node.line,
            path: path.clone(),
            siblings: None,
            shared: &shared,
        };
        let outcome = T::deserialize(reader);
        let unknown = shared.unknown.into_inner();
        let (value, give_up) = match outcome {
            Ok(value) => (Some(value), true),
            Err(error) => {
                let place = error.place.unwrap_or_else(|| Place {
                    path: path.clone(),
                    line: node.line,
                    id: Rc::as_ptr(node),
                });
                // An alias may have placed one value several times: it is set aside everywhere.
                let again = !aside.insert(place.id) || place.id == Rc::as_ptr(node);
                type_faults.push(Fault {
                    path: place.path,
                    line: Some(place.line),
                    message: error.message,
                    kind: ProblemKind::Invalid,
                });
                (None, again || type_faults.len() >= MOST_READINGS)
            }
        };
        if give_up {
            let aside = type_faults.iter().map(|fault| fault.path.clone()).collect();
            type_faults.extend(unknown);
            return Decoded {
                value,
                faults: type_faults,
                aside,
            };
        }
    }
}

struct Shared<'a> {
    aside: &'a HashSet<*const Node>,
    unknown: RefCell<Vec<Fault>>,
}

/// Reads one value.
struct Reader<'a> {
    node: &'a Rc<Node>,
    /// The line of its key, or else its own.
    line: usize,
    path: FieldPath,
    /// The fields of the enclosing object, to suggest what an unknown one may have meant.
    siblings: Option<&'static [&'static str]>,
    shared: &'a Shared<'a>,
}

impl<'a> Reader<'a> {
    fn located<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|mut error| {
            error.place.get_or_insert_with(|| Place {
                path: self.path.clone(),
                line: self.line,
                id: Rc::as_ptr(self.node),
            });
            error
        })
    }

    fn any<'de, V: Visitor<'de>>(
        &self,
        visitor: V,
        fields: Option<&'static [&'static str]>,
    ) -> Result<V::Value, Error> {
        let result = match &self.node.value {
            Value::Scalar(Scalar::Null) => visitor.visit_unit(),
            Value::Scalar(Scalar::Bool(value)) => visitor.visit_bool(*value),
            Value::Scalar(Scalar::Int(value)) => visitor.visit_i64(*value),
            Value::Scalar(Scalar::Uint(value)) => visitor.visit_u64(*value),
            Value::Scalar(Scalar::Float(value, _)) => match scalar::whole(*value) {
                Some(whole) => visitor.visit_i64(whole),
                None => visitor.visit_f64(*value),
            },
            Value::Scalar(Scalar::Decimal(value, _)) => visitor.visit_f64(*value),
            Value::Scalar(Scalar::Str(text)) => visitor.visit_str(text),
            Value::Sequence(items) => visitor.visit_seq(Items {
                parent: self,
                items: items.iter().enumerate(),
            }),
            Value::Mapping(entries) => visitor.visit_map(Entries {
                parent: self,
                fields,
                entries: entries.iter(),
                value: None,
            }),
        };
        self.located(result)
    }
}

/// A null leaves a field as it is in Go; in a list or a map it is the zero value.
macro_rules! zero_where_nothing {
    ($($method:ident => $visit:ident($zero:expr),)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if self.node.is_null() {
                let result = visitor.$visit($zero);
                return self.located(result);
            }
            self.any(visitor, None)
        }
    )*};
}

/// An empty collection.
struct Nothing;

impl<'de> de::SeqAccess<'de> for Nothing {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, _seed: T) -> Result<Option<T::Value>, Error> {
        Ok(None)
    }
}

impl<'de> de::MapAccess<'de> for Nothing {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _seed: K) -> Result<Option<K::Value>, Error> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _seed: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("the value is missing"))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.any(visitor, None)
    }

    zero_where_nothing! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_i64(0),
        deserialize_i16 => visit_i64(0),
        deserialize_i32 => visit_i64(0),
        deserialize_i64 => visit_i64(0),
        deserialize_u8 => visit_i64(0),
        deserialize_u16 => visit_i64(0),
        deserialize_u32 => visit_i64(0),
        deserialize_u64 => visit_i64(0),
        deserialize_f32 => visit_i64(0),
        deserialize_f64 => visit_i64(0),
        deserialize_str => visit_str(""),
        deserialize_string => visit_str(""),
        deserialize_seq => visit_seq(Nothing),
        deserialize_map => visit_map(Nothing),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.node.is_null() {
            let result = visitor.visit_map(Nothing);
            return self.located(result);
        }
        self.any(visitor, Some(fields))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A quantity that is written as a number is its JSON text (`cpu: 0.1`); null is 0.
        if name == "Quantity" {
            let text = match &self.node.value {
                Value::Scalar(Scalar::Float(value, _)) => Some(scalar::json_of_float(*value)),
                Value::Scalar(Scalar::Uint(value)) => Some(value.to_string()),
                Value::Scalar(Scalar::Null) => Some("0".to_owned()),
                Value::Scalar(Scalar::Str(text) | Scalar::Decimal(_, text)) => Some(text.trim().to_owned()),
                _ => None,
            };
            if let Some(text) = text {
                let result = match quantity::parse(&text) {
                    Ok(_) => visitor.visit_str(&text),
                    Err(complaint) => Err(de::Error::custom(format_args!(
                        "{text:?} is not a quantity: {complaint}"
                    ))),
                };
                return self.located(result);
            }
        }
        let place = Place {
            path: self.path.clone(),
            line: self.line,
            id: Rc::as_ptr(self.node),
        };
        visitor.visit_newtype_struct(self).map_err(|mut error| {
            error.place.get_or_insert(place);
            error
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut unknown = self.shared.unknown.borrow_mut();
        if let Some(known) = self.siblings
            && unknown.len() < MOST_FAULTS
        {
            let message = match self.path.last_field().and_then(|own| nearest(own, known)) {
                Some(meant) => {
                    format!(
                        "is not a field in this version of Kubernetes and is ignored: did you mean {meant}?"
                    )
                }
                None => "is not a field in this version of Kubernetes and is ignored: remove it".into(),
            };
            unknown.push(Fault {
                path: self.path.clone(),
                line: Some(self.line),
                message,
                kind: ProblemKind::UnknownField,
            });
        }
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items<'r, 'a> {
    parent: &'r Reader<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Rc<Node>>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let shared = self.parent.shared;
        let next = self
            .items
            .find(|(_, node)| !shared.aside.contains(&Rc::as_ptr(node)));
        let Some((index, node)) = next else {
            return Ok(None);
        };
        let reader = Reader {
            node,
            line: node.line,
            path: self.parent.path.index(index),
            siblings: None,
            shared,
        };
        seed.deserialize(reader).map(Some)
    }
}

struct Entries<'r, 'a> {
    parent: &'r Reader<'a>,
    /// The possible fields of the object; `None` for a map.
    fields: Option<&'static [&'static str]>,
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let shared = self.parent.shared;
        self.value = self
            .entries
            .find(|entry| !shared.aside.contains(&Rc::as_ptr(&entry.value)));
        let Some(entry) = self.value else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let entry = self.value.take().expect("a value is read after its key");
        let path = match self.fields {
            Some(_) => self.parent.path.field(entry.key.clone()),
            None => self.parent.path.key(entry.key.clone()),
        };
        seed.deserialize(Reader {
            node: &entry.value,
            line: entry.line,
            path,
            siblings: self.fields,
            shared: self.parent.shared,
        })
    }
}
