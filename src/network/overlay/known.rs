//! What is known of a file of peers, so that a change of one node costs what that node costs: a file that is read again is
//! compared with what it was, and only the documents that differ are parsed. Pure.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::entry;
use crate::model::overlay::Peer;
use crate::model::yaml::document::{self, show};

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Read {
    pub(super) peers: Vec<Arc<Peer>>,
    /// Entries that are wrong, each with its line, its field and a remedy.
    pub(super) problems: Vec<String>,
    /// The names of those that have one: what was known of these nodes stays.
    pub(super) wrong: Vec<String>,
}

/// Reads the entries of a file, one document for each node. `Err`: it is no YAML.
pub(super) fn read(text: &str) -> Result<Read, String> {
    Known::default().read_again(text.into())
}

/// A file as it was read last, in the parts that can be read each for itself.
#[derive(Debug, Default)]
pub(super) struct Known {
    text: Arc<str>,
    /// In the file's order and without a gap.
    parts: Vec<Arc<Part>>,
    /// How many entries there are for each node and IP family.
    counts: HashMap<Key, usize>,
    /// How many of those have several.
    repeated: usize,
}

/// What there may be one entry of: a node's name, and whether its subnet is one of IPv4.
type Key = (String, bool);

/// What a part of a file says. Its lines are counted from its own beginning, so that it may move within the file.
#[derive(Debug, Default)]
struct Part {
    length: usize,
    lines: usize,
    /// The sound entries, each with the line of its name.
    entries: Vec<(usize, Arc<Peer>)>,
    /// What is wrong with the others, each with its line.
    problems: Vec<(usize, String)>,
    /// The names of the others, as far as they have one.
    wrong: Vec<String>,
}

/// What two texts have in common: so many parts at the beginning and at the end.
struct Common {
    first: usize,
    last: usize,
    /// Where the rest of the new text is.
    rest: Range<usize>,
}

impl Known {
    /// Reads the entries of a file as [`read`] does. `Err`: it is no YAML, and what was known stays known.
    pub(super) fn read_again(&mut self, text: Arc<str>) -> Result<Read, String> {
        let common = self.common(&text);
        let (common, cut) = match cut(&text[common.rest.clone()]) {
            Some(cut) => (common, cut),
            // Directives belong to the document after them: such a text stays whole.
            None => (Common::nothing(&text), vec![text.len()]),
        };
        let replaced = common.first..self.parts.len() - common.last;
        let parts = self.parse(&text[common.rest.clone()], &cut, &common)?;
        for part in &parts {
            part.keys().for_each(|key| self.count(key));
        }
        let removed: Vec<_> = self.parts.splice(replaced, parts).collect();
        removed
            .iter()
            .flat_map(|part| part.keys())
            .for_each(|key| self.discount(key));
        self.text = text;
        Ok(self.read())
    }

    /// The parts that begin and end where they did, seen from the beginning or the end of the text.
    fn common(&self, text: &str) -> Common {
        let (before, now) = (self.text.as_bytes(), text.as_bytes());
        let (mut first, mut begin) = (0_usize, 0);
        // The last part may go on now, where it ended with the file.
        for part in self.parts.iter().rev().skip(1).rev() {
            let range = begin..begin + part.length;
            if now.get(range.clone()) != before.get(range.clone()) {
                break;
            }
            (first, begin) = (first + 1, range.end);
        }
        // The mark that ended the last one of them is in the next part, which may be another now.
        if let Some(part) = first.checked_sub(1).and_then(|last| self.parts.get(last)) {
            (first, begin) = (first - 1, begin - part.length);
        }
        let (mut last, mut old_end, mut end) = (0, before.len(), now.len());
        for part in self.parts[first..].iter().skip(1).rev() {
            let (Some(old), Some(new)) = (old_end.checked_sub(part.length), end.checked_sub(part.length))
            else {
                break;
            };
            // A part begins with a mark, which is one at the beginning of a line only.
            let is_line = new > begin && now[new - 1] == b'\n' || new == begin && first > 0;
            if new < begin || !is_line || now[new..end] != before[old..old_end] {
                break;
            }
            (last, old_end, end) = (last + 1, old, new);
        }
        Common {
            first,
            last,
            rest: begin..end,
        }
    }

    /// What is between the common parts, now: parts that are only somewhere else stay what they are.
    fn parse(&self, rest: &str, cut: &[usize], common: &Common) -> Result<Vec<Arc<Part>>, String> {
        let lengths = |parts: &[Arc<Part>]| parts.iter().map(|part| part.length).sum::<usize>();
        let mut at = lengths(&self.parts[..common.first]);
        let mut moved = HashMap::new();
        for part in &self.parts[common.first..self.parts.len() - common.last] {
            moved.insert(&self.text[at..at + part.length], part);
            at += part.length;
        }
        let mut before: usize = self.parts[..common.first].iter().map(|part| part.lines).sum();
        let (mut parts, mut begin) = (Vec::new(), 0);
        for end in cut {
            let text = &rest[begin..*end];
            let part = match moved.get(text) {
                Some(part) => Arc::clone(part),
                None => Arc::new(Part::parse(text, before)?),
            };
            before += part.lines;
            begin = *end;
            parts.push(part);
        }
        Ok(parts)
    }

    fn count(&mut self, key: Key) {
        let count = self.counts.entry(key).or_default();
        *count += 1;
        self.repeated += usize::from(*count == 2);
    }

    fn discount(&mut self, key: Key) {
        let Some(count) = self.counts.get_mut(&key) else {
            return;
        };
        *count -= 1;
        match *count {
            0 => drop(self.counts.remove(&key)),
            1 => self.repeated -= 1,
            _ => {}
        }
    }

    /// What all parts say together: of several entries for one node the first counts.
    fn read(&self) -> Read {
        let (mut read, mut before) = (Read::default(), 0);
        read.peers.reserve(self.parts.len());
        let mut names = HashSet::new();
        for part in &self.parts {
            for (line, problem) in &part.problems {
                read.problems.push(format!("line {}: {problem}", before + line));
            }
            read.wrong.extend_from_slice(&part.wrong);
            for (line, peer) in &part.entries {
                if self.repeated == 0 || names.insert((&peer.name, peer.subnet.addr().is_ipv4())) {
                    read.peers.push(Arc::clone(peer));
                } else {
                    read.problems.push(format!(
                        "line {}: name: there is another entry for node {} with a subnet of the same IP family; remove one",
                        before + line,
                        peer.name
                    ));
                }
            }
            before += part.lines;
        }
        read
    }
}

impl Common {
    fn nothing(text: &str) -> Common {
        Common {
            first: 0,
            last: 0,
            rest: 0..text.len(),
        }
    }
}

impl Part {
    /// Parses a part that begins after so many lines.
    fn parse(text: &str, before: usize) -> Result<Part, String> {
        let documents = document::read(text).map_err(|mut error| {
            error.line += before;
            error.to_string()
        })?;
        let mut part = Part {
            length: text.len(),
            lines: text.split_inclusive('\n').count(),
            ..Part::default()
        };
        for document in documents {
            match entry::peer(&document) {
                Ok(peer) => {
                    let line = document.line_of(&["name".to_owned()]);
                    part.entries.push((line, Arc::new(peer)));
                }
                Err((path, problem)) => {
                    let field = match path.is_empty() {
                        true => String::new(),
                        false => format!("{}: ", show(&path)),
                    };
                    part.problems
                        .push((document.line_of(&path), format!("{field}{problem}")));
                    let name = document.value.get("name").and_then(Value::as_str);
                    part.wrong.extend(name.map(str::to_owned));
                }
            }
        }
        Ok(part)
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let peers = self.entries.iter().map(|(_, peer)| peer);
        peers.map(|peer| (peer.name.clone(), peer.subnet.addr().is_ipv4()))
    }
}

/// Where the documents of a text end: within none is a line with the mark between two (YAML 1.2, 9.1.2). Absent for a text
/// with directives or ends of documents.
fn cut(text: &str) -> Option<Vec<usize>> {
    let is_mark = |line: &str| {
        let rest = line.strip_prefix("---");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    };
    let (mut ends, mut at) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        if line.starts_with('%') || line.starts_with("...") {
            return None;
        }
        if is_mark(line) && at > 0 {
            ends.push(at);
        }
        at += line.len();
    }
    if at > 0 {
        ends.push(at);
    }
    Some(ends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(number: u8) -> String {
        format!(
            "---\nbackendType: host-gw\nname: vm-{number}\npublicIP: 192.0.2.{number}\nsubnet: 10.244.{number}.0/24\n"
        )
    }

    /// What files are put together from: sound and wrong entries, one that may be a second one of its node, marks and what
    /// only looks like one, directives, and what is no YAML.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            12 => (1..6u8).prop_map(entry),
            2 => (1..6u8).prop_map(|number| entry(number).replace("192.0.2.", "198.51.100.")),
            2 => (1..6u8).prop_map(|number| entry(number).replace("host-gw", "pigeon")),
            2 => (1..6u8).prop_map(|number| entry(number).replace("---\n", "")),
            1 => (1..6u8).prop_map(|number| entry(number).replace('\n', "\r\n")),
            1 => (1..6u8).prop_map(|number| entry(number).trim_end().to_owned()),
            2 => prop::sample::select(vec![
                "---", "---\n", "--- # ours\n", "---x: 1\n", "# ours\n", "\n", "x: 1\n", "...\n", "%YAML 1.2\n", "a: [\n",
                "\u{feff}", "- é\n",
            ])
            .prop_map(str::to_owned),
        ]
    }

    proptest! {
        /// Whatever a file said before, it says what it says.
        #[test]
        fn a_file_is_read_again_as_if_for_the_first_time(
            first in prop::collection::vec(piece(), 0..8),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3usize, prop::collection::vec(piece(), 0..3)), 1..8),
        ) {
            let (mut pieces, mut known) = (first, Known::default());
            for (at, removed, added) in edits {
                let text = pieces.concat();
                prop_assert_eq!(known.read_again(text.as_str().into()), read(&text), "{}", text);
                let at = at.index(pieces.len() + 1);
                let end = (at + removed).min(pieces.len());
                pieces.splice(at..end, added);
            }
        }

        /// Cutting a text changes nothing of what it says.
        #[test]
        fn the_parts_say_what_the_whole_says(pieces in prop::collection::vec(piece(), 0..8)) {
            let text = pieces.concat();
            // The whole text as one says nothing of entries that are there twice.
            let mut names = HashSet::new();
            let whole = Part::parse(&text, 0).map(|part| {
                let peers = part.entries.into_iter().map(|(_, peer)| peer);
                let first = peers.filter(|peer| names.insert(peer.name.clone()));
                (first.collect::<Vec<_>>(), part.wrong)
            });
            let read = super::read(&text).map(|read| (read.peers, read.wrong));
            // Where something is wrong with the YAML itself, it need not be found in the same place.
            prop_assert_eq!(read.ok(), whole.ok(), "{}", text);
        }
    }

    #[test]
    fn what_has_not_changed_is_the_same_value() {
        let mut known = Known::default();
        let mut read = |numbers: &[u8]| {
            let text: String = numbers.iter().map(|number| entry(*number)).collect();
            known.read_again(text.into()).unwrap().peers
        };
        let before = read(&[1, 2, 3, 4]);
        for numbers in [&[1, 2, 3, 4, 5][..], &[2, 3, 4], &[4, 6, 3, 2], &[7, 2, 8, 3, 4]] {
            let now = read(numbers);
            for peer in &now {
                let former = before.iter().find(|former| former.name == peer.name);
                let is_same = former.is_none_or(|former| Arc::ptr_eq(former, peer));
                assert!(is_same || peer.name == "vm-1", "{} in {numbers:?}", peer.name);
            }
        }
    }

    #[test]
    fn problems_name_the_lines_where_they_are_now() {
        let wrong = entry(9).replace("host-gw", "udp");
        let mut known = Known::default();
        let mut read = |text: String| known.read_again(text.into()).unwrap();
        let first = read(entry(1) + &wrong + &entry(1));
        assert_eq!(first.wrong, ["vm-9"]);
        let problem = "backendType: \"udp\" is not one of vxlan and host-gw";
        let twice =
            "name: there is another entry for node vm-1 with a subnet of the same IP family; remove one";
        assert_eq!(
            first.problems,
            [format!("line 7: {problem}"), format!("line 13: {twice}")]
        );
        let later = read("# ours\n".to_owned() + &entry(2) + &entry(1) + &wrong + &entry(1));
        assert_eq!(
            later.problems,
            [format!("line 13: {problem}"), format!("line 19: {twice}")]
        );
    }
}
