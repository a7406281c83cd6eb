//! Objects as the rows of a table (`meta.k8s.io` Table), with the columns that an API server prints
//! (`pkg/printers/internalversion/printers.go`). All columns are sent: kubectl leaves out those of priority 1 without
//! `-o wide`. Pure.

mod cells;
mod columns;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::accept::TableVersion;
use super::kind::Kind;
use super::object::Object;
use super::options::Include;
use super::path::Api;
use super::store::Entry;
use columns::columns;

/// How a table is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printing {
    pub(super) version: TableVersion,
    pub(super) include: Include,
    pub(super) api: Api,
}

impl Printing {
    /// The table of these objects. `metadata`: that of the list or of the single object.
    pub(super) fn table<'a>(
        self,
        kind: Kind,
        metadata: Value,
        entries: impl Iterator<Item = &'a Entry>,
        now: Timestamp,
    ) -> Value {
        let rows: Vec<Value> = entries.map(|entry| self.row(entry, now)).collect();
        json!({
            "kind": "Table",
            "apiVersion": self.version.api_version(),
            "metadata": metadata,
            "columnDefinitions": columns(kind),
            "rows": rows,
        })
    }

    fn row(self, entry: &Entry, now: Timestamp) -> Value {
        let mut row = json!({ "cells": cells::cells(&entry.object, now) });
        if let Some(condition) = ended(&entry.object) {
            row["conditions"] = json!([condition]);
        }
        let object = || entry.object.json(self.api, entry.version);
        match self.include {
            Include::None => {}
            Include::Object => row["object"] = object(),
            Include::Metadata => {
                row["object"] = json!({
                    "kind": "PartialObjectMetadata",
                    "apiVersion": self.version.api_version(),
                    "metadata": object()["metadata"].take(),
                });
            }
        }
        row
    }
}

/// The condition of a pod's row that tells clients it has ended.
fn ended(object: &Object) -> Option<Value> {
    let Object::Pod(pod) = object else { return None };
    let phase = pod.status.as_ref()?.phase.as_deref()?;
    let is_over = ["Succeeded", "Failed"].contains(&phase);
    is_over.then(|| json!({"type": "Completed", "status": "True", "reason": phase}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::fixture;

    fn table(include: Include, version: TableVersion) -> Value {
        let printing = Printing {
            version,
            include,
            api: Api::Core,
        };
        let object = Object::Pod(fixture::pod("default", "web-vm").into());
        let entry = Entry { version: 7, object };
        let now = "2026-11-21T00:01:00Z".parse().unwrap();
        let metadata = json!({"resourceVersion": "9"});
        printing.table(Kind::Pod, metadata, [&entry].into_iter(), now)
    }

    #[test]
    fn a_row_has_as_much_of_its_object_as_is_asked_for() {
        let with_metadata = table(Include::Metadata, TableVersion::V1beta1);
        assert_eq!(with_metadata["apiVersion"], "meta.k8s.io/v1beta1");
        assert_eq!(with_metadata["metadata"]["resourceVersion"], "9");
        let row = &with_metadata["rows"][0];
        assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(row["object"]["metadata"]["resourceVersion"], "7");
        assert_eq!(row["object"]["spec"], Value::Null);
        let whole = table(Include::Object, TableVersion::V1);
        assert_eq!(whole["rows"][0]["object"]["spec"]["nodeName"], "vm");
        assert_eq!(
            table(Include::None, TableVersion::V1)["rows"][0]["object"],
            Value::Null
        );
    }

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let table = table(Include::None, TableVersion::V1);
        let names: Vec<&str> = table["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|column| column["name"].as_str())
            .collect();
        let cells = table["rows"][0]["cells"].as_array().unwrap();
        assert_eq!(names.len(), cells.len());
        assert_eq!(names[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    }
}
