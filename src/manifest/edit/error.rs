//! Why a patch cannot be applied. Pure.

/// Why a patch cannot be applied. It names fields and repeats no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A list is merged by a field that an item lacks.
    #[error("an item of {field} has no {key}, by which the list is merged")]
    NoKey {
        /// The list.
        field: String,
        /// The field of its items.
        key: &'static str,
    },
    /// A directive is unknown.
    #[error("{field} has an unknown $patch directive: use replace, delete or merge")]
    Directive {
        /// Where it stands.
        field: String,
    },
    /// A directive's value has the wrong type.
    #[error("{0} must be a list")]
    NoList(String),
    /// The patch has the wrong type.
    #[error("the patch must be {0}")]
    Type(&'static str),
    /// An operation of a JSON patch is wrong.
    #[error("operation {number} of the patch: {why}")]
    Operation {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// A test of a JSON patch failed.
    #[error("operation {0} of the patch: the test failed")]
    Test(usize),
}
