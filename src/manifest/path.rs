//! The path of a field in Kubernetes notation, and the problems at such paths.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use crate::model::pod::ProblemKind;

/// The path of a field (`spec.containers[0].resources.limits[cpu]`). Cheap to extend and to copy.
#[derive(Clone, Default)]
pub(crate) struct FieldPath(Option<Rc<Link>>);

struct Link {
    parent: FieldPath,
    segment: Segment,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A field of an object.
    Field(Cow<'static, str>),
    /// An entry of a map, whose key is the author's choice.
    Key(String),
    /// An item of a list.
    Index(usize),
}

impl FieldPath {
    /// The path of a field below this one.
    pub(crate) fn field(&self, name: impl Into<Cow<'static, str>>) -> FieldPath {
        self.with(Segment::Field(name.into()))
    }

    /// The path of a map's entry below this one.
    pub(crate) fn key(&self, key: impl Into<String>) -> FieldPath {
        self.with(Segment::Key(key.into()))
    }

    /// The path of a list's item below this one.
    pub(crate) fn index(&self, index: usize) -> FieldPath {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> FieldPath {
        FieldPath(Some(Rc::new(Link {
            parent: self.clone(),
            segment,
        })))
    }

    /// The segments, from the top.
    pub(crate) fn segments(&self) -> Vec<&Segment> {
        let mut segments = Vec::new();
        let mut at = self;
        while let Some(link) = &at.0 {
            segments.push(&link.segment);
            at = &link.parent;
        }
        segments.reverse();
        segments
    }

    /// The path one step up; the top is its own parent.
    pub(crate) fn parent(&self) -> FieldPath {
        self.0
            .as_ref()
            .map(|link| link.parent.clone())
            .unwrap_or_default()
    }

    /// Whether the last step is an item of a list.
    pub(crate) fn is_item(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|link| matches!(link.segment, Segment::Index(_)))
    }

    /// The name of the field in the last step.
    pub(crate) fn last_field(&self) -> Option<&str> {
        match &self.0.as_ref()?.segment {
            Segment::Field(name) => Some(name),
            _ => None,
        }
    }

    /// Whether the last step is an entry of a map.
    pub(crate) fn is_entry(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|link| matches!(link.segment, Segment::Key(_)))
    }

    /// Whether one path is equal to or below the other.
    pub(crate) fn overlaps(&self, other: &FieldPath) -> bool {
        self.segments().iter().zip(other.segments()).all(|(a, b)| *a == b)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.segments().into_iter().enumerate() {
            match segment {
                Segment::Field(name) if position == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Key(key) => write!(f, "[{key}]")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Something that is wrong in a document.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) path: FieldPath,
    /// The line, if it is known already; else the path is looked up in the document.
    pub(crate) line: Option<usize>,
    /// What is wrong, and the remedy.
    pub(crate) message: String,
    /// What kind of finding it is.
    pub(crate) kind: ProblemKind,
}

/// The faults of one document, limited to a readable number.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    refusals: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// The most refusals that are reported for one document, and the most warnings.
pub(crate) const MOST_FAULTS: usize = 50;

impl Faults {
    /// Notes a fault at a path.
    pub(crate) fn add(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.note(path, message, ProblemKind::Invalid);
    }

    /// Notes a feature of Kubernetes that this version of gantry does not support.
    pub(crate) fn unsupported(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.note(path, message, ProblemKind::Unsupported);
    }

    /// Notes content that exceeds a limit.
    pub(crate) fn bound(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.note(path, message, ProblemKind::Bound);
    }

    /// Notes what is probably a mistake but accepted.
    pub(crate) fn warn(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.note(path, message, ProblemKind::Dubious);
    }

    fn note(&mut self, path: &FieldPath, message: impl Into<String>, kind: ProblemKind) {
        self.push(Fault {
            path: path.clone(),
            line: None,
            message: message.into(),
            kind,
        });
    }

    /// Notes the complaint about a text, if there is one.
    pub(crate) fn complain(&mut self, path: &FieldPath, text: &str, complaint: Option<String>) {
        if let Some(complaint) = complaint {
            self.add(path, format!("{text:?} {complaint}"));
        }
    }

    /// Notes a text that is not one of the allowed ones.
    pub(crate) fn one_of(&mut self, path: &FieldPath, text: &str, allowed: &[&str]) {
        if !allowed.contains(&text) {
            self.add(path, format!("{text:?} is not one of {}", allowed.join(", ")));
        }
    }

    /// Notes a fault.
    pub(crate) fn push(&mut self, fault: Fault) {
        let list = match fault.kind.is_warning() {
            true => &mut self.warnings,
            false => &mut self.refusals,
        };
        if list.len() < MOST_FAULTS {
            list.push(fault);
        }
    }

    /// Notes several.
    pub(crate) fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        for fault in faults {
            self.push(fault);
        }
    }

    /// Whether there is no rejection.
    pub(crate) fn is_empty(&self) -> bool {
        self.refusals.is_empty()
    }

    /// All of them in the order in which they were noted, the warnings last.
    pub(crate) fn into_vec(mut self) -> Vec<Fault> {
        self.refusals.append(&mut self.warnings);
        self.refusals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_kubernetes_writes_it() {
        let port = FieldPath::default()
            .field("spec")
            .field("containers")
            .index(0)
            .field("ports")
            .index(1);
        assert_eq!(
            port.field("hostPort").to_string(),
            "spec.containers[0].ports[1].hostPort"
        );
        let label = FieldPath::default()
            .field("metadata")
            .field("labels")
            .key("a.b/c");
        assert_eq!(label.to_string(), "metadata.labels[a.b/c]");
        assert_eq!(FieldPath::default().to_string(), "");
    }

    #[test]
    fn a_path_overlaps_what_is_above_and_below_it() {
        let containers = FieldPath::default().field("spec").field("containers");
        assert!(containers.overlaps(&containers.index(1).field("name")));
        assert!(containers.index(1).field("name").overlaps(&containers));
        assert!(!containers.index(1).overlaps(&containers.index(0)));
    }
}
