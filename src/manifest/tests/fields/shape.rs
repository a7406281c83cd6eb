//! The fields of Kubernetes' types, from the types themselves: their deserializers name them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// The shape of a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Shape {
    /// A text, a number, a quantity, or another scalar.
    #[default]
    Scalar,
    /// A type with fields, by its name.
    Object(&'static str),
    /// A list of this shape.
    List(Box<Shape>),
    /// A map with values of this shape.
    Map(Box<Shape>),
}

/// The types by name, each with its fields by their names in JSON.
pub(super) type Types = BTreeMap<&'static str, Vec<(&'static str, Shape)>>;

/// A type and everything that can be below it.
pub(super) fn types_of<T: for<'de> Deserialize<'de>>() -> Types {
    let types = RefCell::new(Types::new());
    let shape = RefCell::new(Shape::Scalar);
    let tracer = Tracer {
        types: &types,
        shape: &shape,
    };
    T::deserialize(tracer).expect("every type takes what the tracer gives");
    types.into_inner()
}

/// Gives each requested type all of its fields, and records them.
#[derive(Clone, Copy)]
struct Tracer<'a> {
    types: &'a RefCell<Types>,
    /// Where the shape of this value is recorded.
    shape: &'a RefCell<Shape>,
}

impl Tracer<'_> {
    fn part<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Shape), Error> {
        let shape = RefCell::new(Shape::Scalar);
        let value = seed.deserialize(Tracer {
            types: self.types,
            shape: &shape,
        })?;
        Ok((value, shape.into_inner()))
    }
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // A time is a valid text, and some texts must be one.
        visitor.visit_str("2026-01-31T12:00:00Z")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(true)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(1)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(1)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(One {
            tracer: self,
            given: false,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Entry {
            tracer: self,
            given: false,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.shape.borrow_mut() = Shape::Object(name);
        let is_known = self.types.borrow_mut().insert(name, Vec::new());
        // A type that is known, or is being visited further up, gets no fields: none are required.
        let fields = match is_known {
            Some(known) => {
                self.types.borrow_mut().insert(name, known);
                &[]
            }
            None => fields,
        };
        visitor.visit_map(Fields {
            tracer: self,
            name,
            rest: fields.iter(),
            current: "",
        })
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct enum
        identifier ignored_any
    }
}

/// A list of one.
struct One<'a> {
    tracer: Tracer<'a>,
    given: bool,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if std::mem::replace(&mut self.given, true) {
            return Ok(None);
        }
        let (value, shape) = self.tracer.part(seed)?;
        *self.tracer.shape.borrow_mut() = Shape::List(Box::new(shape));
        Ok(Some(value))
    }
}

/// A map of one.
struct Entry<'a> {
    tracer: Tracer<'a>,
    given: bool,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if std::mem::replace(&mut self.given, true) {
            return Ok(None);
        }
        let key: StrDeserializer<'_, Error> = "key".into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (value, shape) = self.tracer.part(seed)?;
        *self.tracer.shape.borrow_mut() = Shape::Map(Box::new(shape));
        Ok(value)
    }
}

/// Every field of a type.
struct Fields<'a> {
    tracer: Tracer<'a>,
    name: &'static str,
    rest: std::slice::Iter<'static, &'static str>,
    current: &'static str,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(field) = self.rest.next() else {
            return Ok(None);
        };
        self.current = field;
        let key: StrDeserializer<'_, Error> = self.current.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (value, shape) = self.tracer.part(seed)?;
        let mut types = self.tracer.types.borrow_mut();
        types.entry(self.name).or_default().push((self.current, shape));
        Ok(value)
    }
}
