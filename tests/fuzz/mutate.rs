//! Inputs that no one would write, derived from some that people do write.

use serde_json::{Map, Number, Value};

use crate::seeded_random::SeededRandom;

/// Texts that readers stumble over.
const TEXTS: &[&str] = &[
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/",
    "\0",
    "\u{1b}[2J\u{7}",
    "\u{feff}",
    "🦀",
    "\n",
    "$(A)",
    "$(A",
    "$$",
    "*",
    "*a*a*a*a*b",
    "-1",
    "0",
    "1e309",
    "1e-400",
    "0x10",
    "0o17",
    "1_000",
    "64Mi",
    "100m",
    "9999999999Ei",
    "-1Gi",
    ".5",
    "1.",
    "true",
    "null",
    "~",
    "<<",
    "&a",
    "*a",
    "!!binary",
    "|",
    "---",
    "2026-11-28T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "-009999-01-01T00:00:00Z",
    "metadata.annotations['k']",
    "limits.hugepages-2Mi",
    "99999999999999999999h",
    "-2562047h47m16.854775808s",
    "10.0.0.0/33",
    "::ffff:1.2.3.4",
    "0.0.0.0/0",
    "[::1]:99999",
    "localhost:5000/a@sha256:0",
    "Always",
    "Localhost",
    "Memory",
];

/// An input made of a seed, or of two.
pub(crate) fn input(seeds: &[Vec<u8>], dice: &mut SeededRandom) -> Vec<u8> {
    let seed = &seeds[dice.number(seeds.len())];
    let tree: Option<Value> = serde_json::from_slice(seed).ok();
    let mut bytes = match tree {
        Some(mut tree) if dice.number(8) > 0 => {
            for _ in 0..=dice.number(4) {
                let other = serde_json::from_slice(&seeds[dice.number(seeds.len())]).ok();
                change(&mut tree, other.as_ref(), dice);
            }
            tree.to_string().into_bytes()
        }
        _ => seed.clone(),
    };
    // What is no JSON is changed as text always, what is JSON now and then.
    if serde_json::from_slice::<serde::de::IgnoredAny>(seed).is_err() || dice.number(4) == 0 {
        for _ in 0..=dice.number(3) {
            change_text(&mut bytes, &seeds[dice.number(seeds.len())], dice);
        }
    }
    bytes
}

/// A number that is seldom large: what is large costs as much as a hundred small inputs.
fn seldom(many: [usize; 4], dice: &mut SeededRandom) -> usize {
    match dice.number(100) {
        0 => many[3],
        1..=3 => many[2],
        4..=20 => many[1],
        _ => many[0],
    }
}

/// Changes one value of a tree.
fn change(tree: &mut Value, other: Option<&Value>, dice: &mut SeededRandom) {
    let at = dice.number(count(tree));
    let graft = other.map(|other| {
        let from = dice.number(count(other));
        nth(other, from).clone()
    });
    let value = nth_mut(tree, at);
    match dice.number(12) {
        0 | 1 => *value = scalar(dice),
        2 | 3 => *value = Value::String(text(dice)),
        4 => *value = graft.unwrap_or(Value::Null),
        5 => {
            for _ in 0..seldom([1, 5, 70, 100], dice) {
                *value = Value::Array(vec![value.take()]);
            }
        }
        6 => *value = Value::Object(Map::from_iter([(text(dice), value.take())])),
        _ => change_inside(value, graft, dice),
    }
}

fn change_inside(value: &mut Value, graft: Option<Value>, dice: &mut SeededRandom) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = dice.number(items.len());
            match dice.number(4) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, graft.unwrap_or_else(|| scalar(dice))),
                2 => items.swap(0, at),
                _ => {
                    let many = seldom([1, 10, 600, 5000], dice);
                    // What is large is not made larger: a few rounds would fill the memory.
                    let many = many.min(200_000 / (1 + count(&items[at])));
                    items.extend(std::iter::repeat_n(items[at].clone(), many));
                }
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            let key = fields.keys().nth(dice.number(fields.len())).cloned().unwrap();
            match dice.number(4) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert(key, graft.unwrap_or_else(|| scalar(dice)))),
                2 => {
                    let moved = fields.remove(&key).unwrap();
                    fields.insert(text(dice), moved);
                }
                _ => {
                    let copied = fields[&key].clone();
                    let many = seldom([1, 3, 100, 2000], dice).min(100_000 / (1 + count(&copied)));
                    fields.extend((0..many).map(|n| (format!("{key}{n}"), copied.clone())));
                }
            }
        }
        Value::String(own) => {
            let more = text(dice);
            let longest = 100_000 / (1 + own.len() + more.len());
            let many = seldom([1, 2, 20, 2000], dice).min(longest.max(1));
            *own = format!("{own}{more}").repeat(many);
        }
        other => *other = scalar(dice),
    }
}

fn scalar(dice: &mut SeededRandom) -> Value {
    let numbers = [
        0,
        -1,
        1,
        63,
        255,
        65_535,
        65_536,
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN,
    ];
    match dice.number(6) {
        0 => Value::Null,
        1 => Value::Bool(dice.number(2) == 0),
        2 => Value::Number(Number::from(u64::MAX)),
        3 => Number::from_f64([1e308, -0.0, 0.1, 1e-308][dice.number(4)]).map_or(Value::Null, Value::Number),
        4 => Value::String(text(dice)),
        _ => Value::Number(numbers[dice.number(numbers.len())].into()),
    }
}

fn text(dice: &mut SeededRandom) -> String {
    let text = TEXTS[dice.number(TEXTS.len())];
    let many = seldom([1, 70, 300, 3000], dice);
    text.repeat(many)
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

fn nth(value: &Value, at: usize) -> &Value {
    let mut left = at;
    if left == 0 {
        return value;
    }
    left -= 1;
    let below: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    for child in below {
        let size = count(child);
        if left < size {
            return nth(child, left);
        }
        left -= size;
    }
    value
}

fn nth_mut(value: &mut Value, at: usize) -> &mut Value {
    if at == 0 {
        return value;
    }
    let mut left = at - 1;
    let below: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => unreachable!("a scalar counts as one"),
    };
    for child in below {
        let size = count(child);
        if left < size {
            return nth_mut(child, left);
        }
        left -= size;
    }
    unreachable!("the place was counted")
}

/// Changes some bytes of a text, or its lines.
fn change_text(bytes: &mut Vec<u8>, other: &[u8], dice: &mut SeededRandom) {
    let place = |bytes: &[u8], dice: &mut SeededRandom| dice.number(bytes.len() + 1);
    let (from, to) = {
        let (a, b) = (place(bytes, dice), place(bytes, dice));
        (a.min(b), a.max(b))
    };
    match dice.number(10) {
        0 => bytes.truncate(from),
        1 => drop(bytes.drain(from..to)),
        2 if !bytes.is_empty() => {
            let at = dice.number(bytes.len());
            bytes[at] ^= 1 << dice.number(8);
        }
        3 => drop(bytes.splice(from..from, text(dice).into_bytes())),
        4 => {
            let part = bytes[from..to.min(from + 2000)].to_vec();
            let many = seldom([1, 2, 10, 1000], dice);
            drop(bytes.splice(from..from, part.repeat(many)));
        }
        5 => {
            let (a, b) = (place(other, dice), place(other, dice));
            drop(bytes.splice(from..to, other[a.min(b)..a.max(b)].iter().copied()));
        }
        6 => {
            let opening = [&b"["[..], b"{", b"{\"a\":", b"- ", b"a:\n ", b"&a [*a,"][dice.number(6)];
            drop(bytes.splice(from..from, opening.repeat(seldom([1, 10, 200, 20_000], dice))));
        }
        7 => drop(bytes.splice(from..from, bomb())),
        _ => change_lines(bytes, dice),
    }
}

fn change_lines(bytes: &mut Vec<u8>, dice: &mut SeededRandom) {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let (from, to) = (dice.number(lines.len()), dice.number(lines.len()));
    match dice.number(4) {
        0 => drop(lines.remove(from)),
        1 => lines.swap(from, to),
        2 => lines.insert(to, lines[from]),
        _ => {
            let many = seldom([1, 2, 100, 5000], dice);
            let line = lines[from];
            drop(lines.splice(from..from, std::iter::repeat_n(line, many)));
        }
    }
    *bytes = lines.join(&b'\n');
}

/// Aliases of aliases, ten of each: more values than there is memory (CVE-2019-11253).
fn bomb() -> Vec<u8> {
    let mut text = String::from("\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            below.trim_end_matches(", ")
        ));
    }
    text.into_bytes()
}
