//! Problems and warnings of a configuration, with who said the key. Pure.

use super::error::Problem;
use super::layers::Layer;
use crate::model::duration::Span;
use crate::model::yaml::document;

/// Collects problems with the origin of their keys.
pub struct Checks<'a> {
    layer: &'a Layer,
    /// What was found.
    pub problems: Vec<Problem>,
    /// Valid settings that may not do what their author expects.
    pub warnings: Vec<String>,
}

impl<'a> Checks<'a> {
    /// Nothing found yet.
    pub fn new(layer: &'a Layer) -> Self {
        Checks {
            layer,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a warning about a key, given as a path with dots.
    pub fn warn(&mut self, key: &str, text: impl std::fmt::Display) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.warn_at(&path, key, text);
    }

    /// Adds a warning about one entry of a map or list.
    pub fn warn_entry(&mut self, key: &str, entry: &str, text: impl std::fmt::Display) {
        let path = vec![key.to_owned(), entry.to_owned()];
        self.warn_at(&path, &document::show(&path), text);
    }

    fn warn_at(&mut self, path: &[String], key: &str, text: impl std::fmt::Display) {
        let origin = self.layer.origin(path);
        let origin = origin.map(|origin| format!("{origin}: ")).unwrap_or_default();
        self.warnings.push(format!("{origin}{key}: {text}"));
    }

    /// Adds a problem of a key, given as a path with dots.
    pub fn wrong(&mut self, key: &str, problem: impl Into<String>) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.wrong_at(&path, key.to_owned(), problem.into());
    }

    /// Adds a problem of one entry of a map or list.
    pub fn wrong_entry(&mut self, key: &str, entry: &str, problem: impl Into<String>) {
        let path = vec![key.to_owned(), entry.to_owned()];
        self.wrong_at(&path, document::show(&path), problem.into());
    }

    pub(super) fn wrong_at(&mut self, path: &[String], key: String, problem: String) {
        let origin = self.layer.origin(path).cloned();
        self.problems.push(Problem { key, origin, problem });
    }

    /// Whether the key is set explicitly, not by a default.
    pub fn is_stated(&self, key: &str) -> bool {
        self.layer.is_stated(key)
    }

    pub(super) fn within(&mut self, key: &str, value: Option<i64>, range: std::ops::RangeInclusive<i64>) {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let (low, high) = (range.start(), range.end());
            let allowed = match (*low, *high) {
                (low, i64::MAX) => format!("must be {low} or more"),
                (low, high) => format!("must be between {low} and {high}"),
            };
            self.wrong(key, format!("{value} {allowed}"));
        }
    }

    pub(super) fn lasts(&mut self, key: &str, value: Option<Span>, range: std::ops::RangeInclusive<Span>) {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let (low, high) = (range.start(), range.end());
            let allowed = match *high {
                LONGEST => format!("must be {low} or longer"),
                high => format!("must be between {low} and {high}"),
            };
            self.wrong(key, format!("{value} {allowed}"));
        }
    }

    pub(super) fn one_of(&mut self, key: &str, value: Option<&String>, allowed: &[&str]) {
        if let Some(value) = value.filter(|value| !allowed.contains(&value.as_str())) {
            self.wrong(key, format!("{value:?} is not one of {}", allowed.join(", ")));
        }
    }
}

/// The upper end of durations that have none.
pub(super) const LONGEST: Span = Span(i64::MAX);
