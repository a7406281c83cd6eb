//! Whether a volume may be written.

/// Whether a volume may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may.
    ReadWrite,
    /// It is mounted read-only.
    ReadOnly,
}
