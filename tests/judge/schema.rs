//! Which fields there are, as k8s-openapi knows them: found by decoding a pod from a reader that has every field.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// true or false
    Bool,
    /// A quantity.
    Quantity,
    /// A number or a name.
    NumberOrText,
    /// A point in time.
    Time,
    /// Anything (managed fields).
    Any,
    /// A list of something.
    List(Box<Kind>),
    /// A map from texts to something.
    Map(Box<Kind>),
    /// An object; its fields are those of its name.
    Object(&'static str),
}

/// The fields of each object by the object's name.
pub type Schema = BTreeMap<&'static str, Vec<(&'static str, Kind)>>;

/// The name of the object at the top.
pub const TOP: &str = "Pod";

/// All objects that a pod can hold.
pub fn of_pod() -> Schema {
    let schema = RefCell::default();
    let mut kind = Kind::Any;
    Pod::deserialize(Probe {
        schema: &schema,
        kind: &mut kind,
    })
    .expect("a pod can be read");
    let mut schema: Schema = schema.into_inner();
    // k8s-openapi reads the kind and the version beside the fields.
    let pod = schema.get_mut(TOP).expect("it was read");
    pod.retain(|(field, _)| !matches!(*field, "kind" | "apiVersion"));
    schema
}

struct Probe<'a> {
    schema: &'a RefCell<Schema>,
    kind: &'a mut Kind,
}

/// Reading from a probe cannot fail but by a fault in this file.
#[derive(Debug)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Failed(message.to_string())
    }
}

macro_rules! number {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            *self.kind = Kind::Number;
            visitor.visit_i8(1)
        }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Failed;

    number! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
    deserialize_u64 deserialize_f32 deserialize_f64 }

    /// Only what may be a number or a text does not say what it is.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        *self.kind = Kind::NumberOrText;
        visitor.visit_i32(1)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        *self.kind = Kind::Bool;
        visitor.visit_bool(true)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        *self.kind = Kind::Text;
        visitor.visit_str("v1")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let (kind, text) = match name {
            "Quantity" => (Kind::Quantity, "1"),
            "Time" | "MicroTime" => (Kind::Time, "2026-01-31T12:00:00Z"),
            _ => (Kind::Any, "1"),
        };
        *self.kind = kind.clone();
        let inner: StrDeserializer<'_, Failed> = text.into_deserializer();
        visitor.visit_newtype_struct(inner)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let mut kind = Kind::Any;
        let value = visitor.visit_seq(One {
            schema: self.schema,
            kind: &mut kind,
            left: true,
        });
        *self.kind = Kind::List(Box::new(kind));
        value
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let mut kind = Kind::Any;
        let value = visitor.visit_map(One {
            schema: self.schema,
            kind: &mut kind,
            left: true,
        });
        *self.kind = Kind::Map(Box::new(kind));
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        *self.kind = Kind::Object(name);
        let mut found = Vec::new();
        let value = visitor.visit_map(Fields {
            schema: self.schema,
            fields: fields.iter(),
            of: name,
            found: &mut found,
        })?;
        self.schema.borrow_mut().insert(name, found);
        Ok(value)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// A collection of one.
struct One<'a> {
    schema: &'a RefCell<Schema>,
    kind: &'a mut Kind,
    left: bool,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Failed;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failed> {
        let probe = Probe {
            schema: self.schema,
            kind: self.kind,
        };
        match std::mem::take(&mut self.left) {
            true => seed.deserialize(probe).map(Some),
            false => Ok(None),
        }
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failed> {
        let key: StrDeserializer<'_, Failed> = "k".into_deserializer();
        match std::mem::take(&mut self.left) {
            true => seed.deserialize(key).map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        seed.deserialize(Probe {
            schema: self.schema,
            kind: self.kind,
        })
    }
}

/// An object with all its fields.
struct Fields<'a> {
    schema: &'a RefCell<Schema>,
    fields: std::slice::Iter<'static, &'static str>,
    of: &'static str,
    found: &'a mut Vec<(&'static str, Kind)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failed> {
        let Some(field) = self.fields.next() else {
            return Ok(None);
        };
        self.found.push((field, Kind::Any));
        let key: StrDeserializer<'_, Failed> = (*field).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        let last = self.found.last_mut().expect("a value comes after its key");
        if self.of == TOP && last.0 == "kind" {
            let kind: StrDeserializer<'_, Failed> = "Pod".into_deserializer();
            return seed.deserialize(kind);
        }
        seed.deserialize(Probe {
            schema: self.schema,
            kind: &mut last.1,
        })
    }
}
