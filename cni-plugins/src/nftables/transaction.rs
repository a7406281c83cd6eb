//! Changes to nf_tables, all or nothing, and the listings that they are computed from.

use nix::errno::Errno;
use nix::libc;

use super::family::{Family, TableFamily};
use super::ruleset::{Chain, Comments, Element, Rule, Set, Table};
use crate::netlink::message::{Message, attributes, find, text};
use crate::netlink::socket::{NetlinkError, Socket};

/// linux/netfilter/nfnetlink.h `NFNL_SUBSYS_NFTABLES`
pub const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
const GET_GENERATION: u16 = 16;

const SET_IS_MAP: u32 = 8;
/// In all objects used here the first attribute is the table's name.
pub const TABLE_NAME: u16 = 1;
const TABLE: u16 = TABLE_NAME;

/// How often a change is computed again because the rule set has changed meanwhile. Each rejection means that another
/// writer succeeded, so this bounds the number of concurrent writers.
const ATTEMPTS: usize = 1000;

/// A list of changes to be made in one step.
#[derive(Debug, Default)]
pub struct Transaction {
    messages: Vec<Message>,
    sets: u32,
}

impl Transaction {
    /// Creates the table, its sets and chains unless they exist, and rewrites the chains whose rules differ.
    pub fn ensure(&mut self, table: &Table, found: &Comments) {
        self.push(table.family, NEW_TABLE, libc::NLM_F_CREATE, |message| {
            message.attr_str(TABLE, &table.name);
        });
        table.sets.iter().for_each(|set| self.add_set(table, set));
        table.chains.iter().for_each(|chain| self.add_chain(table, chain));
        for chain in table.differing_chains(found) {
            if found.contains_key(&chain.name) {
                self.push(table.family, DELETE_RULE, 0, |message| {
                    message.attr_str(TABLE, &table.name).attr_str(2, &chain.name);
                });
            }
            chain
                .rules
                .iter()
                .for_each(|rule| self.rule(table.family, &table.name, &chain.name, libc::NLM_F_APPEND, rule));
        }
    }

    /// Deletes a table with everything in it.
    pub fn delete_table(&mut self, family: impl Into<TableFamily>, name: &str) {
        self.push(family.into(), DELETE_TABLE, 0, |message| {
            message.attr_str(TABLE, name);
        });
    }

    /// Adds an element to a set of `table`.
    pub fn add_element(&mut self, family: impl Into<TableFamily>, table: &str, element: &Element) {
        self.element(
            family.into(),
            table,
            element,
            NEW_ELEMENT,
            libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        );
    }

    /// Deletes an element from a set of `table`.
    pub fn delete_element(&mut self, family: impl Into<TableFamily>, table: &str, element: &Element) {
        self.element(family.into(), table, element, DELETE_ELEMENT, 0);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Commits the changes, provided that nothing has changed since `generation`.
    pub fn commit(
        self,
        socket: &mut Socket,
        action: &str,
        generation: Option<u32>,
    ) -> Result<(), NetlinkError> {
        let mut messages = self.messages;
        // The kernel acknowledges after the commit; an acknowledgement of BATCH_END exists since Linux 6.10 only.
        let Some(last) = messages.last_mut() else {
            return Ok(());
        };
        last.add_flags(libc::NLM_F_ACK);
        let mut begin = batch_mark(BATCH_BEGIN);
        if let Some(generation) = generation {
            begin.attr_be32(1, generation);
        }
        messages.insert(0, begin);
        messages.push(batch_mark(BATCH_END));
        socket.execute_batch(action, messages)
    }

    fn push(&mut self, family: TableFamily, kind: u16, flags: i32, fill: impl FnOnce(&mut Message)) {
        let mut message = request(family, kind, flags);
        fill(&mut message);
        self.messages.push(message);
    }

    fn add_chain(&mut self, table: &Table, chain: &Chain) {
        self.push(table.family, NEW_CHAIN, libc::NLM_F_CREATE, |message| {
            message.attr_str(TABLE, &table.name).attr_str(3, &chain.name);
            if let Some(hook) = chain.hook {
                message.nest(4, |nested| {
                    nested
                        .attr_be32(1, hook.number)
                        .attr_be32(2, hook.priority.cast_unsigned());
                });
                message.attr_str(7, hook.kind);
            }
        });
    }

    /// Inserts a rule before all others of a chain that may belong to another program.
    pub fn insert_rule(&mut self, family: Family, table: &str, chain: &str, rule: &Rule) {
        self.rule(family.into(), table, chain, 0, rule);
    }

    /// Deletes one rule.
    pub fn delete_rule(&mut self, family: Family, table: &str, rule: &FoundRule) {
        self.push(family.into(), DELETE_RULE, 0, |message| {
            message
                .attr_str(TABLE, table)
                .attr_str(2, &rule.chain)
                .attr(3, &rule.handle);
        });
    }

    fn rule(&mut self, family: TableFamily, table: &str, chain: &str, place: i32, rule: &Rule) {
        self.push(family, NEW_RULE, libc::NLM_F_CREATE | place, |message| {
            message.attr_str(TABLE, table).attr_str(2, chain);
            message.nest(4, |list| rule.exprs.iter().for_each(|expr| expr.encode(list)));
            message.attr(7, &comment_bytes(&rule.comment));
        });
    }

    fn add_set(&mut self, table: &Table, set: &Set) {
        self.sets += 1;
        let id = self.sets;
        // A type put together from parts is written six bits per part.
        let number =
            |types: &[super::ruleset::Type]| types.iter().fold(0, |sum, part| sum << 6 | part.number());
        let length = |types: &[super::ruleset::Type]| types.iter().map(|part| part.length()).sum();
        self.push(table.family, NEW_SET, libc::NLM_F_CREATE, |message| {
            message.attr_str(TABLE, &table.name).attr_str(2, &set.name);
            message.attr_be32(3, if set.value.is_empty() { 0 } else { SET_IS_MAP });
            message
                .attr_be32(4, number(&set.key))
                .attr_be32(5, length(&set.key));
            if !set.value.is_empty() {
                message
                    .attr_be32(6, number(&set.value))
                    .attr_be32(7, length(&set.value));
            }
            message.attr_be32(10, id);
        });
    }

    fn element(&mut self, family: TableFamily, table: &str, element: &Element, kind: u16, flags: i32) {
        self.push(family, kind, flags, |message| {
            message
                .attr_str(TABLE, table)
                .attr_str(2, &element.set)
                .nest(3, |list| {
                    list.nest(1, |one| {
                        one.nest(1, |key| {
                            key.attr(1, &element.key);
                        });
                        if kind == NEW_ELEMENT && !element.value.is_empty() {
                            one.nest(2, |data| {
                                data.attr(1, &element.value);
                            });
                        }
                        if kind == NEW_ELEMENT {
                            one.attr(6, &comment_bytes(&element.comment));
                        }
                    });
                });
        });
    }
}

/// The removal of those of a table's elements whose owners are gone, and of the table with the last element. Absent if none is;
/// returned beside it are the elements.
pub fn removal(
    family: impl Into<TableFamily>,
    table: &str,
    present: Vec<Element>,
    is_gone: &impl Fn(&str) -> bool,
) -> Option<(Transaction, Vec<Element>)> {
    let (away, staying): (Vec<_>, Vec<_>) = present.into_iter().partition(|old| is_gone(&old.comment));
    if away.is_empty() {
        return None;
    }
    let (family, mut change) = (family.into(), Transaction::default());
    if staying.is_empty() {
        change.delete_table(family, table);
    } else {
        away.iter()
            .for_each(|old| change.delete_element(family, table, old));
    }
    Some((change, away))
}

/// Reads, computes a change and commits it, again and again until the change is based on the current state. `look`
/// returns `None` when there is nothing to change.
pub fn look_and_change(
    socket: &mut Socket,
    action: &str,
    mut look: impl FnMut(&mut Socket) -> Result<Option<Transaction>, NetlinkError>,
) -> Result<(), NetlinkError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let generation = generation(socket)?;
        let Some(transaction) = look(socket)? else {
            return Ok(());
        };
        match transaction.commit(socket, action, Some(generation)) {
            Err(error) if error.errno() == Some(Errno::ERESTART) && attempt < ATTEMPTS => {}
            other => return other,
        }
    }
}

fn generation(socket: &mut Socket) -> Result<u32, NetlinkError> {
    let action = "read the generation of the nftables rule set";
    let reply = socket.get(action, request(Family::V4, GET_GENERATION, 0))?;
    let number = find(reply.body.get(4..).unwrap_or_default(), 1).and_then(|value| value.try_into().ok());
    let missing = NetlinkError::Answer {
        action: action.to_string(),
        missing: "generation",
    };
    number.map(u32::from_be_bytes).ok_or(missing)
}

/// A rule as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRule {
    /// Its chain.
    pub chain: String,
    /// Its handle, eight bytes as in the message.
    pub handle: Vec<u8>,
    /// Its comment; empty if it has none.
    pub comment: String,
}

/// All rules of a table; none if the table does not exist.
pub fn rules(
    socket: &mut Socket,
    family: impl Into<TableFamily>,
    table: &str,
) -> Result<Vec<FoundRule>, NetlinkError> {
    let mut message = request(family, GET_RULE, 0);
    message.attr_str(TABLE, table);
    let mut found = Vec::new();
    for reply in absent_is_empty(socket.dump(&format!("list the rules of table {table}"), message))? {
        let attributes = reply.body.get(4..).unwrap_or_default();
        // Kernels before 4.5 list the rules of all tables.
        if find(attributes, TABLE).map(text).as_deref() == Some(table) {
            found.push(FoundRule {
                chain: find(attributes, 2).map(text).unwrap_or_default(),
                handle: find(attributes, 3).unwrap_or_default().to_vec(),
                comment: find(attributes, 7).map(read_comment).unwrap_or_default(),
            });
        }
    }
    Ok(found)
}

/// The comments of all rules of a table by chain. Chains without rules do not show up.
pub fn comments(
    socket: &mut Socket,
    family: impl Into<TableFamily>,
    table: &str,
) -> Result<Comments, NetlinkError> {
    let mut found = Comments::new();
    for rule in rules(socket, family, table)? {
        found.entry(rule.chain).or_default().push(rule.comment);
    }
    Ok(found)
}

/// The elements of a set; none if the set or its table does not exist.
pub fn elements(
    socket: &mut Socket,
    family: impl Into<TableFamily>,
    table: &str,
    set: &str,
) -> Result<Vec<Element>, NetlinkError> {
    let mut message = request(family, GET_ELEMENT, 0);
    message.attr_str(TABLE, table).attr_str(2, set);
    let mut found = Vec::new();
    for reply in
        absent_is_empty(socket.dump(&format!("list the elements of {set} in table {table}"), message))?
    {
        let list = find(reply.body.get(4..).unwrap_or_default(), 3).unwrap_or_default();
        for (_, element) in attributes(list) {
            let data = |kind| {
                find(element, kind)
                    .and_then(|data| find(data, 1))
                    .unwrap_or_default()
                    .to_vec()
            };
            let comment = find(element, 6).map(read_comment).unwrap_or_default();
            found.push(Element {
                set: set.to_string(),
                key: data(1),
                value: data(2),
                comment,
            });
        }
    }
    Ok(found)
}

/// Deletes a table. A missing table is not an error.
pub fn delete_table(
    socket: &mut Socket,
    family: impl Into<TableFamily>,
    name: &str,
) -> Result<(), NetlinkError> {
    let mut transaction = Transaction::default();
    transaction.delete_table(family, name);
    match transaction.commit(socket, &format!("delete nftables table {name}"), None) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

fn absent_is_empty<T>(listing: Result<Vec<T>, NetlinkError>) -> Result<Vec<T>, NetlinkError> {
    match listing {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(Vec::new()),
        other => other,
    }
}

/// `struct nfgenmsg`: family, version, resource.
pub(super) fn request(family: impl Into<TableFamily>, kind: u16, flags: i32) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[family.into().number(), 0, 0, 0])
}

fn batch_mark(kind: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low])
}

/// The kernel stores comments in the format that `nft` uses: type 0, length, text, zero.
fn comment_bytes(comment: &str) -> Vec<u8> {
    // nft shows 128 bytes (NFTNL_UDATA_COMMENT_MAXLEN); all comments must be shorter.
    let length = u8::try_from(comment.len() + 1).expect("comments are below 128 bytes");
    let mut bytes = vec![0, length];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

fn read_comment(userdata: &[u8]) -> String {
    match userdata {
        [0, length, rest @ ..] => text(rest.get(..usize::from(*length)).unwrap_or_default()),
        _ => String::new(),
    }
}
