//! What the live view shows, and how keys change it. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::filter;
use super::rows::{ContainerRow, PodRow, Rows};
use super::sort::{self, Order};
use crate::cli::top::SortKey;

/// How many lines the page keys move.
const PAGE: usize = 10;
/// The longest filter; more would not fit on a line.
const LONGEST_FILTER: usize = 40;

/// Whether the containers of pods that are not opened are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// They are not.
    Hidden,
    /// They are.
    Shown,
}

/// What keys mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Commands.
    Commands,
    /// Text of the filter.
    Filter,
}

/// What follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The view is drawn again.
    Drawn,
    /// The view is left.
    Left,
}

/// A line of the list.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line<'a> {
    Pod(&'a PodRow),
    Container(&'a PodRow, &'a ContainerRow),
}

/// The selected line, by the pod's UID and the container's name, so that it stays selected when the order changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    uid: String,
    container: Option<String>,
}

/// The view's state.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) rows: Rows,
    pub(super) interval: Duration,
    pub(super) sort: SortKey,
    pub(super) order: Order,
    pub(super) filter: String,
    pub(super) input: Input,
    /// Why the numbers are old.
    pub(super) trouble: Option<String>,
    containers: Containers,
    /// The UIDs of pods whose containers are shown, or hidden while those of others are shown.
    turned: BTreeSet<String>,
    cursor: Option<Cursor>,
}

impl State {
    pub(super) fn new(rows: Rows, sort: SortKey, containers: Containers, interval: Duration) -> State {
        State {
            rows,
            interval,
            sort,
            order: Order::Usual,
            filter: String::new(),
            input: Input::Commands,
            trouble: None,
            containers,
            turned: BTreeSet::new(),
            cursor: None,
        }
    }

    /// Shows newer rows.
    pub(super) fn show(&mut self, rows: Rows) {
        self.turned
            .retain(|uid| rows.pods.iter().any(|pod| pod.uid == *uid));
        (self.rows, self.trouble) = (rows, None);
    }

    /// The lines in their order.
    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        let mut pods: Vec<&PodRow> = self.rows.pods.iter().collect();
        pods.retain(|pod| filter::is_match(pod, &self.filter));
        sort::sort(&mut pods, self.sort, self.order);
        let mut lines = Vec::new();
        for pod in pods {
            lines.push(Line::Pod(pod));
            if self.is_open(pod) {
                lines.extend(pod.containers.iter().map(|one| Line::Container(pod, one)));
            }
        }
        lines
    }

    /// Whether a pod's containers are shown.
    pub(super) fn is_open(&self, pod: &PodRow) -> bool {
        (self.containers == Containers::Shown) != self.turned.contains(&pod.uid)
    }

    /// The index of the selected line; the first one if the selected one is gone.
    pub(super) fn selected(&self, lines: &[Line<'_>]) -> usize {
        let Some(cursor) = &self.cursor else { return 0 };
        let exact = lines.iter().position(|line| cursor_of(line) == *cursor);
        let pod = || lines.iter().position(|line| cursor_of(line).uid == cursor.uid);
        exact.or_else(pod).unwrap_or(0)
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Effect {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (self.input, key.code) {
            (_, KeyCode::Char('c')) if is_control => return Effect::Left,
            (_, KeyCode::Char(_)) if is_control => {}
            (Input::Filter, code) => self.edit(code),
            (Input::Commands, KeyCode::Char('q')) => return Effect::Left,
            (Input::Commands, KeyCode::Char(letter)) => self.command(letter),
            (Input::Commands, KeyCode::Esc) => self.filter.clear(),
            (Input::Commands, KeyCode::Enter) => self.turn(),
            (Input::Commands, code) => self.go(code),
        }
        Effect::Drawn
    }

    fn edit(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.input = Input::Commands,
            KeyCode::Esc => {
                self.filter.clear();
                self.input = Input::Commands;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if !letter.is_control() && self.filter.chars().count() < LONGEST_FILTER => {
                self.filter.push(letter);
            }
            _ => {}
        }
    }

    fn command(&mut self, letter: char) {
        match letter {
            'c' => self.sort_by(SortKey::Cpu),
            'm' => self.sort_by(SortKey::Memory),
            't' => self.sort_by(SortKey::Throttling),
            'r' => self.sort_by(SortKey::Restarts),
            'p' => self.sort_by(SortKey::Pressure),
            'w' => self.sort_by(SortKey::Network),
            'n' => self.sort_by(SortKey::Name),
            'a' => {
                self.turned.clear();
                self.containers = match self.containers {
                    Containers::Hidden => Containers::Shown,
                    Containers::Shown => Containers::Hidden,
                };
            }
            '/' => self.input = Input::Filter,
            ' ' => self.turn(),
            'j' => self.go(KeyCode::Down),
            'k' => self.go(KeyCode::Up),
            _ => {}
        }
    }

    /// A second time turns the order round.
    fn sort_by(&mut self, key: SortKey) {
        self.order = match (self.sort == key, self.order) {
            (true, Order::Usual) => Order::Reversed,
            _ => Order::Usual,
        };
        self.sort = key;
    }

    /// Shows or hides the containers of the selected pod.
    fn turn(&mut self) {
        let lines = self.lines();
        let Some(cursor) = lines.get(self.selected(&lines)).map(cursor_of) else {
            return;
        };
        if !self.turned.remove(&cursor.uid) {
            self.turned.insert(cursor.uid.clone());
        }
        self.cursor = Some(Cursor {
            container: None,
            ..cursor
        });
    }

    fn go(&mut self, code: KeyCode) {
        let lines = self.lines();
        let (now, last) = (self.selected(&lines), lines.len().saturating_sub(1));
        let next = match code {
            KeyCode::Up => now.saturating_sub(1),
            KeyCode::Down => (now + 1).min(last),
            KeyCode::PageUp => now.saturating_sub(PAGE),
            KeyCode::PageDown => (now + PAGE).min(last),
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => return,
        };
        self.cursor = lines.get(next).map(cursor_of);
    }
}

fn cursor_of(line: &Line<'_>) -> Cursor {
    let (pod, container) = match line {
        Line::Pod(pod) => (pod, None),
        Line::Container(pod, container) => (pod, Some(container.name.clone())),
    };
    Cursor {
        uid: pod.uid.clone(),
        container,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::top::{rows, sample};

    fn state() -> State {
        let now = "2026-11-29T00:00:00Z".parse().unwrap();
        let rows = rows::rows(Some(&sample::top(0)), &sample::top(1000), &sample::pods(), now);
        State::new(rows, SortKey::Cpu, Containers::Hidden, Duration::from_secs(2))
    }

    fn press(state: &mut State, keys: &str) {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{8}' => KeyCode::Backspace,
                '\u{1b}' => KeyCode::Esc,
                '↓' => KeyCode::Down,
                '↑' => KeyCode::Up,
                '⇟' => KeyCode::PageDown,
                '⇱' => KeyCode::Home,
                letter => KeyCode::Char(letter),
            };
            assert_eq!(state.press(KeyEvent::from(code)), Effect::Drawn, "{keys:?}");
        }
    }

    /// The lines after these keys, with a star before the selected one.
    fn check(keys: &str, expected: &[&str]) {
        let mut state = state();
        press(&mut state, keys);
        assert_eq!(shown(&state), expected, "{keys:?}");
    }

    fn shown(state: &State) -> Vec<String> {
        let lines = state.lines();
        let selected = state.selected(&lines);
        let text = lines.iter().enumerate().map(|(at, line)| {
            let name = match line {
                Line::Pod(pod) => &pod.name,
                Line::Container(_, container) => &container.name,
            };
            format!("{}{name}", if at == selected { "*" } else { "" })
        });
        text.collect()
    }

    #[test]
    fn keys_sort_and_sort_the_other_way_round() {
        check("", &["*web-vm", "crashing-vm"]);
        // What is not known stays behind.
        check("c", &["*web-vm", "crashing-vm"]);
        check("r", &["*crashing-vm", "web-vm"]);
        check("rr", &["*web-vm", "crashing-vm"]);
        check("rrr", &["*crashing-vm", "web-vm"]);
        check("rrn", &["*crashing-vm", "web-vm"]);
        check("nn", &["*web-vm", "crashing-vm"]);
        for key in ["m", "t", "p", "w"] {
            check(key, &["*web-vm", "crashing-vm"]);
        }
    }

    #[test]
    fn the_selected_pod_stays_selected() {
        check("↓", &["web-vm", "*crashing-vm"]);
        check("↓r", &["*crashing-vm", "web-vm"]);
        check("↓↓↓↑", &["*web-vm", "crashing-vm"]);
        check("⇟", &["web-vm", "*crashing-vm"]);
        check("⇟⇱", &["*web-vm", "crashing-vm"]);
        check("jjk", &["*web-vm", "crashing-vm"]);
        // It is not shown: the first one is selected.
        check("↓/web\n", &["*web-vm"]);
        check("/nothing\n↓\n", &[]);
    }

    #[test]
    fn a_pod_is_opened_and_closed() {
        check("\n", &["*web-vm", "main", "proxy", "crashing-vm"]);
        check(" ↓↓", &["web-vm", "main", "*proxy", "crashing-vm"]);
        check(" ↓↓ ", &["*web-vm", "crashing-vm"]);
        check("a", &["*web-vm", "main", "proxy", "crashing-vm", "main"]);
        check("a\n", &["*web-vm", "crashing-vm", "main"]);
        check("\na", &["*web-vm", "main", "proxy", "crashing-vm", "main"]);
        check("aa", &["*web-vm", "crashing-vm"]);
    }

    #[test]
    fn a_filter_is_typed_and_its_letters_are_no_commands() {
        check("/q", &[]);
        check("/crash\n", &["*crashing-vm"]);
        check("/crasx\u{8}", &["*crashing-vm"]);
        check("/web\u{1b}", &["*web-vm", "crashing-vm"]);
        check("/web\n\u{1b}", &["*web-vm", "crashing-vm"]);
        let mut state = state();
        press(&mut state, &format!("/{}", "x".repeat(2 * LONGEST_FILTER)));
        assert_eq!(state.filter.len(), LONGEST_FILTER);
    }

    #[test]
    fn q_and_control_c_leave() {
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let mut state = state();
        assert_eq!(state.press(KeyEvent::from(KeyCode::Char('q'))), Effect::Left);
        assert_eq!(state.press(control), Effect::Left);
        press(&mut state, "/");
        assert_eq!(state.press(control), Effect::Left);
        assert_eq!(
            state.press(KeyEvent::new(KeyCode::Char('x'), KeyModifiers::CONTROL)),
            Effect::Drawn
        );
        assert_eq!(state.filter, "");
    }

    #[test]
    fn newer_rows_end_the_trouble_and_forget_pods_that_are_gone() {
        let mut state = state();
        state.trouble = Some("gantry does not answer".to_owned());
        press(&mut state, "\n");
        let mut rows = state.rows.clone();
        rows.pods.retain(|pod| pod.name != "web-vm");
        state.show(rows);
        assert_eq!((state.trouble.as_deref(), state.turned.len()), (None, 0));
        assert_eq!(shown(&state), ["*crashing-vm"]);
    }
}
