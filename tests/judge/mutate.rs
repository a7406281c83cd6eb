//! Manifests that are nearly right: a seed with some changes, each of which is named.

use std::collections::BTreeMap;

use super::pools::{PLAIN, QUANTITIES, TEXTS};
use super::schema::{Kind, Schema, TOP};
use super::tree::{Form, Node, Step, shown};

/// A manifest of the test.
#[derive(Debug, Clone)]
pub struct Case {
    /// The text.
    pub text: String,
    /// The seed's name and what was done to it.
    pub story: String,
}

/// Choices that follow from a seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).expect("it is below a usize")
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Everything that the generator draws from.
pub struct Source<'a> {
    /// The seeds by name.
    pub seeds: &'a [(&'static str, Node)],
    /// What fields there are.
    pub schema: &'a Schema,
    /// The values that each field has in the seeds.
    known: BTreeMap<String, Vec<Node>>,
}

impl<'a> Source<'a> {
    /// Gathers what the seeds hold.
    pub fn new(seeds: &'a [(&'static str, Node)], schema: &'a Schema) -> Source<'a> {
        let mut known: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        for (_, seed) in seeds {
            seed.walk(&mut Vec::new(), &mut |path, node| {
                if let Some(Step::Entry(_, field)) = path.last() {
                    known.entry(field.clone()).or_default().push(node.clone());
                }
            });
        }
        Source { seeds, schema, known }
    }

    /// The pods in which one more field stands, for every field that there is: with a value of its type, with nothing or
    /// a value of another type, and with an empty one.
    pub fn sweep(&self, dice: &mut Dice) -> Vec<Case> {
        let mut cases = Vec::new();
        let base = &self.seeds[0];
        let mut path = Vec::new();
        self.sweep_object(TOP, &mut path, &base.1, dice, &mut cases, base.0);
        cases
    }

    fn sweep_object(
        &self,
        object: &str,
        path: &mut Vec<Step>,
        seed: &Node,
        dice: &mut Dice,
        cases: &mut Vec<Case>,
        name: &str,
    ) {
        // The status and what the API server manages are read like the rest; they are nothing that a manifest says.
        if path.len() > 9 || matches!(object, "PodStatus" | "ManagedFieldsEntry") {
            return;
        }
        for (field, kind) in &self.schema[object] {
            path.push(Step::Entry(0, (*field).to_owned()));
            let empty = match kind {
                Kind::List(_) => Node::List(vec![Node::Plain("null".into())]),
                Kind::Map(_) => Node::Map(vec![(Node::Text("a".into()), Node::Plain("null".into()))]),
                Kind::Object(_) => Node::Map(Vec::new()),
                _ => Node::Text(String::new()),
            };
            let other = match dice.below(2) {
                0 => Node::Plain("null".into()),
                _ => self.odd(dice),
            };
            let values = [self.value(field, kind, dice), other, empty];
            for value in values {
                let mut tree = seed.clone();
                put(&mut tree, path, value.clone());
                let said = value.written(Form::Flow);
                cases.push(Case {
                    text: tree.written(Form::Block),
                    story: format!("{name}: {} = {}", shown(path), said.trim_end()),
                });
            }
            let inner = match kind {
                Kind::Object(inner) => Some((*inner, None)),
                Kind::List(item) => match &**item {
                    Kind::Object(inner) => Some((*inner, Some(Step::Item(0)))),
                    _ => None,
                },
                _ => None,
            };
            if let Some((inner, step)) = inner {
                path.extend(step.clone());
                self.sweep_object(inner, path, seed, dice, cases, name);
                if step.is_some() {
                    path.pop();
                }
            }
            path.pop();
        }
    }

    /// A seed with up to three changes.
    pub fn case(&self, dice: &mut Dice) -> Case {
        let (name, seed) = dice.of(self.seeds);
        let mut tree = seed.clone();
        let mut story = format!("{name}:");
        let changes = [1, 1, 1, 1, 1, 1, 2, 3][dice.below(8)];
        for _ in 0..changes {
            self.change(&mut tree, dice, &mut story);
        }
        let form = [Form::Block, Form::Block, Form::Block, Form::Json, Form::Flow][dice.below(5)];
        let mut text = tree.written(form);
        story += &format!(" [{form:?}]");
        if dice.below(12) == 0 {
            let (what, changed) = around(&text, dice);
            story += &format!(" {what}");
            text = changed;
        }
        Case { text, story }
    }

    fn change(&self, tree: &mut Node, dice: &mut Dice, story: &mut String) {
        let mut count = 0;
        tree.walk(&mut Vec::new(), &mut |_, _| count += 1);
        // Not the top.
        let mut left = 1 + dice.below(count - 1);
        let mut path = Vec::new();
        tree.walk(&mut Vec::new(), &mut |at, _| {
            if left == 0 && path.is_empty() {
                path = at.to_vec();
            }
            left = left.saturating_sub(1);
        });
        let kind = kind_at(self.schema, &path);
        let field = path.iter().rev().find_map(|step| match step {
            Step::Entry(_, key) => Some(key.clone()),
            Step::Item(_) => None,
        });
        let field = field.unwrap_or_default();
        let at = shown(&path);
        match dice.below(16) {
            0 | 1 => {
                let value = self.odd(dice);
                *story += &format!(" {at} = {};", value.written(Form::Flow).trim_end());
                *tree.at(&path).expect("it is there") = value;
            }
            2..=6 => {
                let value = match &kind {
                    Some(kind) => self.value(&field, kind, dice),
                    None => self.odd(dice),
                };
                *story += &format!(" {at} = {};", value.written(Form::Flow).trim_end());
                *tree.at(&path).expect("it is there") = value;
            }
            7 => self.remove(tree, &path, story),
            8 => self.twice(tree, &path, dice, story),
            9 => self.rename(tree, &path, dice, story),
            10..=12 => self.insert(tree, &path, dice, story),
            13 => self.list(tree, &path, dice, story),
            14 => self.merge(tree, &path, dice, story),
            _ => {
                *story += &format!(" {at} = null;");
                *tree.at(&path).expect("it is there") = Node::Plain("null".into());
            }
        }
    }

    fn remove(&self, tree: &mut Node, path: &[Step], story: &mut String) {
        *story += &format!(" without {};", shown(path));
        let (last, parent) = path.split_last().expect("it is not the top");
        match (tree.at(parent), last) {
            (Some(Node::Map(entries)), Step::Entry(index, _)) => drop(entries.remove(*index)),
            (Some(Node::List(items)), Step::Item(index)) => drop(items.remove(*index)),
            _ => {}
        }
    }

    fn twice(&self, tree: &mut Node, path: &[Step], dice: &mut Dice, story: &mut String) {
        let (last, parent) = path.split_last().expect("it is not the top");
        match (tree.at(parent), last) {
            (Some(Node::Map(entries)), Step::Entry(index, field)) => {
                let (key, own) = entries[*index].clone();
                let other = self.known.get(field).map(|all| dice.of(all).clone());
                let value = if dice.below(2) == 0 {
                    other.unwrap_or(own)
                } else {
                    own
                };
                *story += &format!(
                    " {} twice, then {};",
                    shown(path),
                    value.written(Form::Flow).trim_end()
                );
                let place = index + 1 + dice.below(entries.len() - index);
                entries.insert(place, (key, value));
            }
            (Some(Node::List(items)), Step::Item(index)) => {
                *story += &format!(" {} twice;", shown(path));
                let own = items[*index].clone();
                items.push(own);
            }
            _ => {}
        }
    }

    fn rename(&self, tree: &mut Node, path: &[Step], dice: &mut Dice, story: &mut String) {
        let (last, parent) = path.split_last().expect("it is not the top");
        let (Some(Node::Map(entries)), Step::Entry(index, field)) = (tree.at(parent), last) else {
            return;
        };
        let mut capital = field.clone();
        if let Some(first) = capital.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let key = match dice.below(9) {
            0 => Node::Text(field.to_uppercase()),
            1 => Node::Text(field.to_lowercase()),
            2 => Node::Text(capital),
            3 => Node::Text(format!("{field}s")),
            4 => Node::Text(format!("{field} ")),
            5 => Node::Text(String::new()),
            6 => Node::Plain((*dice.of(PLAIN)).to_owned()),
            7 => Node::Text((*dice.of(TEXTS)).to_owned()),
            _ => Node::Text(
                field
                    .trim_start_matches(|c: char| c.is_ascii_lowercase())
                    .to_owned(),
            ),
        };
        *story += &format!(
            " {} is called {};",
            shown(path),
            key.written(Form::Flow).trim_end()
        );
        entries[*index].0 = key;
    }

    /// Adds a field that the object at the path, or around it, can have.
    fn insert(&self, tree: &mut Node, path: &[Step], dice: &mut Dice, story: &mut String) {
        let object = (0..=path.len())
            .rev()
            .find_map(|length| match kind_at(self.schema, &path[..length]) {
                Some(Kind::Object(object)) => Some((length, object)),
                _ => None,
            });
        let Some((length, object)) = object else {
            return;
        };
        let (field, kind) = dice.of(&self.schema[object]);
        let value = self.value(field, kind, dice);
        if let Some(Node::Map(entries)) = tree.at(&path[..length]) {
            entries.retain(|(key, _)| key.text() != Some(*field));
            let said = value.written(Form::Flow);
            *story += &format!(" {}.{field} = {};", shown(&path[..length]), said.trim_end());
            entries.push((Node::Plain((*field).to_owned()), value));
        }
    }

    fn list(&self, tree: &mut Node, path: &[Step], dice: &mut Dice, story: &mut String) {
        let at = shown(path);
        let node = tree.at(path).expect("it is there");
        match (dice.below(4), &mut *node) {
            (0, Node::List(items)) => {
                items.push(Node::Plain("null".into()));
                *story += &format!(" {at} with null behind;");
            }
            (1, Node::List(items)) => {
                items.reverse();
                *story += &format!(" {at} the other way round;");
            }
            (2, Node::List(items)) => {
                items.clear();
                *story += &format!(" {at} empty;");
            }
            (_, Node::List(items)) => {
                if let Some(first) = items.first().cloned() {
                    *node = first;
                    *story += &format!(" {at} its first item;");
                }
            }
            (0, Node::Map(entries)) => {
                let count = entries.len();
                entries.rotate_left(dice.below(count));
                *story += &format!(" {at} in another order;");
            }
            _ => {
                let own = node.clone();
                *node = Node::List(vec![own]);
                *story += &format!(" {at} in a list;");
            }
        }
    }

    /// Merges another mapping into one, by an alias: before or behind its own keys.
    fn merge(&self, tree: &mut Node, path: &[Step], dice: &mut Dice, story: &mut String) {
        let at = shown(path);
        let own = tree.at(path).expect("it is there");
        let Node::Map(entries) = own else {
            let copy = own.clone();
            *own = Node::Alias("x".into());
            *story += &format!(" {at} an alias;");
            return self.anchor(tree, copy);
        };
        let field = match path.last() {
            Some(Step::Entry(_, field)) => field.clone(),
            _ => String::new(),
        };
        let other = self.known.get(&field).map(|all| dice.of(all).clone());
        let mut more = other.unwrap_or_else(|| Node::Map(entries.clone()));
        if let Node::Map(more) = &mut more {
            more.push((Node::Text("name".into()), Node::Text("merged".into())));
        }
        let place = dice.below(entries.len() + 1);
        let value = match dice.below(4) {
            0 => Node::List(vec![Node::Alias("x".into()), Node::Map(vec![])]),
            1 => more.clone(),
            _ => Node::Alias("x".into()),
        };
        entries.insert(place, (Node::Plain("<<".into()), value));
        *story += &format!(" {at} with a merge at {place};");
        self.anchor(tree, more);
    }

    /// The anchored value stands before everything else, under an unknown key.
    fn anchor(&self, tree: &mut Node, value: Node) {
        if let Node::Map(entries) = tree {
            let anchored = Node::Anchored("x".into(), Box::new(value));
            entries.insert(0, (Node::Plain("x-anchors".into()), anchored));
        }
    }

    /// A value that may be right for a field.
    fn value(&self, field: &str, kind: &Kind, dice: &mut Dice) -> Node {
        if dice.below(3) > 0
            && let Some(all) = self.known.get(field)
        {
            return dice.of(all).clone();
        }
        match kind {
            Kind::Text => Node::Text((*dice.of(TEXTS)).to_owned()),
            Kind::Number => Node::Plain((*dice.of(&PLAIN[..33])).to_owned()),
            Kind::Bool => Node::Plain((*dice.of(&["true", "false", "yes", "off"])).to_owned()),
            Kind::Quantity => match dice.below(2) {
                0 => Node::Plain((*dice.of(QUANTITIES)).to_owned()),
                _ => Node::Text((*dice.of(QUANTITIES)).to_owned()),
            },
            Kind::NumberOrText => self.odd(dice),
            Kind::Time => Node::Text(
                (*dice.of(&["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+01:00", "x", ""])).to_owned(),
            ),
            Kind::Any => Node::Map(vec![(Node::Text("f:a".into()), Node::Map(vec![]))]),
            Kind::List(item) => {
                let count = [1, 1, 1, 2, 3, 0][dice.below(6)];
                Node::List((0..count).map(|_| self.value(field, item, dice)).collect())
            }
            Kind::Map(value) => {
                let names = [
                    "cpu",
                    "memory",
                    "hugepages-2Mi",
                    "ephemeral-storage",
                    "a",
                    "example.com/a",
                ];
                let key = if **value == Kind::Quantity {
                    (*dice.of(&names)).to_owned()
                } else {
                    (*dice.of(TEXTS)).to_owned()
                };
                Node::Map(vec![(Node::Text(key), self.value(field, value, dice))])
            }
            Kind::Object(name) => {
                let fields = &self.schema[name];
                let count = 1 + dice.below(3);
                let mut entries: Vec<(Node, Node)> = Vec::new();
                for _ in 0..count {
                    let (field, kind) = dice.of(fields);
                    if !entries.iter().any(|(key, _)| key.text() == Some(*field)) {
                        entries.push((Node::Plain((*field).to_owned()), self.value(field, kind, dice)));
                    }
                }
                Node::Map(entries)
            }
        }
    }

    /// A value that is hardly right anywhere.
    fn odd(&self, dice: &mut Dice) -> Node {
        match dice.below(5) {
            0 | 1 => Node::Plain((*dice.of(PLAIN)).to_owned()),
            2 | 3 => Node::Text((*dice.of(TEXTS)).to_owned()),
            _ => {
                let all: Vec<&Vec<Node>> = self.known.values().collect();
                let values = *dice.of(&all);
                dice.of(values).clone()
            }
        }
    }
}

/// What is done to the text as a whole.
fn around(text: &str, dice: &mut Dice) -> (&'static str, String) {
    match dice.below(12) {
        0 => ("after ---", format!("---\n{text}")),
        1 => ("before ---", format!("{text}---\n")),
        2 => ("before another document", format!("{text}---\na: b\n")),
        3 => ("after an empty document", format!("---\n---\n{text}")),
        4 => ("after a comment", format!("# a comment\n{text}")),
        5 => ("with a byte order mark", format!("\u{feff}{text}")),
        6 => ("with CRLF", text.replace('\n', "\r\n")),
        7 => ("after %YAML 1.1", format!("%YAML 1.1\n---\n{text}")),
        8 => ("before ...", format!("{text}...\n")),
        9 => ("after spaces", format!("\n  \n{text}")),
        10 => ("cut short", {
            let mut end = dice.below(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text[..end].to_owned()
        }),
        _ => ("with a tab in front", format!("\t{text}")),
    }
}

/// What the schema says of the value at a path.
fn kind_at(schema: &Schema, path: &[Step]) -> Option<Kind> {
    path.iter()
        .try_fold(Kind::Object(TOP), |kind, step| match (kind, step) {
            (Kind::Object(name), Step::Entry(_, field)) => {
                let fields = &schema[name];
                fields
                    .iter()
                    .find(|(own, _)| own == field)
                    .map(|(_, kind)| kind.clone())
            }
            (Kind::List(item), Step::Item(_)) => Some(*item),
            (Kind::Map(value), Step::Entry(..)) => Some(*value),
            _ => None,
        })
}

/// Puts a value at a path of fields and first items, and makes what is missing on the way.
fn put(tree: &mut Node, path: &[Step], value: Node) {
    let Some((step, rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    match step {
        Step::Entry(_, field) => {
            if !matches!(tree, Node::Map(_)) {
                *tree = Node::Map(Vec::new());
            }
            let Node::Map(entries) = tree else { return };
            let place = entries.iter().position(|(key, _)| key.text() == Some(field));
            let place = place.unwrap_or_else(|| {
                entries.push((Node::Plain(field.clone()), Node::Map(Vec::new())));
                entries.len() - 1
            });
            put(&mut entries[place].1, rest, value);
        }
        Step::Item(index) => {
            if !matches!(tree, Node::List(_)) {
                *tree = Node::List(Vec::new());
            }
            let Node::List(items) = tree else { return };
            while items.len() <= *index {
                items.push(Node::Map(Vec::new()));
            }
            put(&mut items[*index], rest, value);
        }
    }
}
