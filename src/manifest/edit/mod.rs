//! Changes of an object as clients send them: the three kinds of patches. Pure.
//!
//! What comes out is JSON that is read as any manifest afterwards, so nothing here knows what is valid.

mod error;
mod json;
mod merge;
mod pointer;
mod shape;
mod strategic;

use serde_json::Value;

pub use self::error::PatchError;
use crate::model::manifest_edit::{Hidden, Patch};

/// The object with the patch applied.
pub fn apply(object: Value, patch: Patch) -> Result<Value, PatchError> {
    match patch {
        Patch::Strategic(Hidden(Value::Object(patch))) => strategic::apply(object, patch),
        Patch::Strategic(_) | Patch::Merge(Hidden(Value::Array(_))) => Err(PatchError::Type("an object")),
        Patch::Merge(Hidden(patch)) => Ok(merge::apply(object, patch)),
        Patch::Json(Hidden(Value::Array(operations))) => json::apply(object, operations),
        Patch::Json(_) => Err(PatchError::Type("a list of operations")),
    }
}
