//! Prints a pod as the kubelet does before it hashes it into a static pod's UID: Go's spew over Kubernetes' internal
//! type (`DeepHashObject` of `pkg/util/hash`, with the settings of `k8s.io/apimachinery/pkg/util/dump`).
//!
//! A field is printed as `Name:(type)value`; a value in a list or a map, and the target of a pointer, without its type.
//! Text is printed unquoted; an absent value is `<nil>` where its type allows it, else the zero of its type.
//! `go_types.txt` lists the types.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::manifest::go_quantity::{Quantity, Rounding};

/// A field of a Go struct.
struct Field {
    name: &'static str,
    json: &'static str,
    go_type: &'static str,
    /// The underlying type: itself, or the one that its name stands for.
    made_of: &'static str,
}

static TYPES: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let mut types: HashMap<&str, Vec<Field>> = HashMap::new();
    let mut fields: &mut Vec<Field> = types.entry("").or_default();
    for line in include_str!("go_types.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        match line.strip_prefix("  ") {
            None => fields = types.entry(line).or_default(),
            Some(line) => {
                let mut words = line.split(' ');
                let mut word = || words.next().unwrap_or_default();
                let (name, json, go_type) = (word(), word(), word());
                fields.push(Field {
                    name,
                    json,
                    go_type,
                    made_of: Some(word()).filter(|word| !word.is_empty()).unwrap_or(go_type),
                });
            }
        }
    }
    types
});

/// Prints the pod in a JSON object that has its defaults.
pub(crate) fn pod(object: &Value) -> String {
    let mut out = String::from("(*core.Pod)");
    structure(&mut out, "core.Pod", object.as_object());
    out
}

fn structure(out: &mut String, name: &str, object: Option<&Map<String, Value>>) {
    out.push('{');
    for (index, field) in TYPES.get(name).into_iter().flatten().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let _ = write!(out, "{}:({})", field.name, field.go_type);
        match field.json {
            // The fields of an embedded struct are beside the others.
            "." => structure(out, field.made_of, object),
            "-" => value(out, field.made_of, None),
            json => value(out, field.made_of, object.and_then(|object| object.get(json))),
        }
    }
    out.push('}');
}

fn value(out: &mut String, made_of: &str, given: Option<&Value>) {
    let given = given.filter(|given| !given.is_null());
    let nothing = |out: &mut String| out.push_str("<nil>");
    if let Some(pointed) = made_of.strip_prefix('*') {
        return match given {
            Some(given) => value(out, pointed, Some(given)),
            None => nothing(out),
        };
    }
    if let Some(item) = made_of.strip_prefix("[]") {
        let Some(items) = given.and_then(Value::as_array) else {
            return nothing(out);
        };
        out.push('[');
        for (index, given) in items.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            value(out, item, Some(given));
        }
        return out.push(']');
    }
    if let Some(item) = made_of.strip_prefix("map:") {
        let Some(entries) = given.and_then(Value::as_object) else {
            return nothing(out);
        };
        let mut keys: Vec<&String> = entries.keys().collect();
        keys.sort_unstable();
        out.push_str("map[");
        for (index, key) in keys.into_iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            let _ = write!(out, "{key}:");
            match item {
                // The only quantities in maps are resource amounts, which are rounded when they are read.
                "resource.Quantity" => quantity(out, &entries[key], Rounding::UpToMilli),
                item => value(out, item, Some(&entries[key])),
            }
        }
        return out.push(']');
    }
    match made_of {
        "resource.Quantity" => match given {
            Some(given) => quantity(out, given, Rounding::None),
            None => Quantity::default().print(out),
        },
        "v1.Time" => {
            out.push_str("{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}")
        }
        "intstr.IntOrString" => int_or_string(out, given),
        made_of if TYPES.contains_key(made_of) => structure(out, made_of, given.and_then(Value::as_object)),
        _ => scalar(out, made_of, given),
    }
}

fn scalar(out: &mut String, made_of: &str, given: Option<&Value>) {
    match (given, made_of) {
        (Some(Value::String(text)), _) => out.push_str(text),
        (Some(Value::Bool(_) | Value::Number(_)), _) => {
            let _ = write!(out, "{}", given.unwrap_or(&Value::Null));
        }
        (_, "string") => {}
        (_, "bool") => out.push_str("false"),
        _ => out.push('0'),
    }
}

fn int_or_string(out: &mut String, given: Option<&Value>) {
    let (kind, number, text) = match given {
        Some(Value::String(text)) => (1, 0, text.as_str()),
        Some(number) => (0, number.as_i64().unwrap_or(0), ""),
        None => (0, 0, ""),
    };
    let _ = write!(
        out,
        "{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}"
    );
}

fn quantity(out: &mut String, given: &Value, rounding: Rounding) {
    let text = match given {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A value that is not a quantity has been reported as a fault, and such a pod gets no lasting UID.
    Quantity::read(&text, rounding).unwrap_or_default().print(out);
}
