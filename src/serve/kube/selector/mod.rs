//! Which objects of a kind are meant. Pure.

mod fields;
mod labels;

use super::kind::Kind;
use super::object::Object;
use crate::serve::answer::Refusal;
use fields::Fields;
use labels::Labels;

/// Conditions on labels and fields; all of them must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Selector {
    labels: Labels,
    fields: Fields,
}

impl Selector {
    /// Of the parameters of a request; empty ones select everything.
    pub(super) fn parse(kind: Kind, labels: &str, fields: &str) -> Result<Selector, Refusal> {
        let bad = |name: &str, why: String| Refusal::BadRequest(format!("{name}: {why}"));
        Ok(Selector {
            labels: Labels::parse(labels).map_err(|why| bad("labelSelector", why.to_string()))?,
            fields: Fields::parse(kind, fields).map_err(|why| bad("fieldSelector", why.to_string()))?,
        })
    }

    /// Whether it selects this object.
    pub(super) fn selects(&self, object: &Object) -> bool {
        self.labels.select(object.metadata().labels.as_ref()) && self.fields.select(object)
    }

    /// Whether it selects everything.
    pub(super) fn is_empty(&self) -> bool {
        *self == Selector::default()
    }
}
