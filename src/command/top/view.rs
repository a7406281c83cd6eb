//! Draws the state: the node above, the pods below, the keys in the last line. Pure: what is drawn depends on the state and
//! the size of the frame. ASCII only, since consoles of machines have little else.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::Paragraph;

use super::amounts::{bytes, cpu, percent, share};
use super::columns::{self, Column, Level};
use super::rows::NodeRow;
use super::state::{Input, Line, State};
use crate::cli::top::SortKey;
use crate::command::table::in_line;

/// The width of a bar.
const BAR: usize = 20;
/// Below this height the node has no lines of its own.
const LOW: u16 = 10;

/// Draws everything.
pub(super) fn render(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let width = usize::from(area.width);
    let lines = state.lines();
    let selected = state.selected(&lines);
    let mut text = vec![title(state, width)];
    if area.height >= LOW {
        text.extend(node(&state.rows.node, width));
        text.push(selection(lines.get(selected), width));
    }
    let columns = columns::columns(width);
    text.push(headings(&columns, state.sort));
    // The last line has the keys.
    let room = usize::from(area.height).saturating_sub(text.len() + 1);
    // The selected line is in the middle, as far as the ends of the list permit.
    let first = selected
        .saturating_sub(room / 2)
        .min(lines.len().saturating_sub(room));
    let shown = lines.iter().enumerate().skip(first).take(room);
    text.extend(shown.map(|(at, line)| row(state, line, &columns, at == selected)));
    frame.render_widget(Paragraph::new(text), area);
    if let Some(bottom) = area.height.checked_sub(1) {
        let last = Rect::new(area.x, area.y + bottom, area.width, 1);
        frame.render_widget(Paragraph::new(footer(state, width)), last);
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn styled(level: Level) -> Style {
    match level {
        Level::Usual => Style::new(),
        Level::High => Style::new().fg(Color::Yellow),
        Level::Critical => Style::new().fg(Color::Red),
    }
}

fn title(state: &State, width: usize) -> Text<'static> {
    let pods = state.rows.pods.len();
    let node = in_line(&state.rows.node.name);
    let mut text = format!(
        "gantry top  {node}  {pods} pods  every {}s",
        state.interval.as_secs()
    );
    let sorted = match state.sort {
        SortKey::Cpu => "CPU",
        SortKey::Memory => "memory",
        SortKey::Throttling => "throttling",
        SortKey::Restarts => "restarts",
        SortKey::Pressure => "pressure",
        SortKey::Network => "network",
        SortKey::Name => "name",
    };
    text += &format!("  by {sorted}");
    if !state.filter.is_empty() && state.input == Input::Commands {
        text += &format!("  /{}", state.filter);
    }
    Text::styled(cut(&text, width), bold())
}

fn node(node: &NodeRow, width: usize) -> [Text<'static>; 2] {
    let measures = &node.measures;
    let pressure = measures.pressure;
    let cpu = gauge(
        "CPU",
        (&cpu(measures.cpu_nano_cores), &cpu(measures.cpu_limit_nano_cores)),
        share(measures.cpu_nano_cores, measures.cpu_limit_nano_cores),
        &format!(
            "PSI cpu {} mem {} io {}",
            percent(pressure.cpu),
            percent(pressure.memory),
            percent(pressure.io)
        ),
        width,
    );
    let memory = gauge(
        "MEM",
        (&bytes(measures.memory_bytes), &bytes(measures.memory_limit_bytes)),
        share(measures.memory_bytes, measures.memory_limit_bytes),
        &busiest(node),
        width,
    );
    [cpu, memory]
}

/// The interface with the most traffic: a bridge and what is behind it count the same bytes, so there is no sum.
fn busiest(node: &NodeRow) -> String {
    let busiest = node.network.iter().max_by_key(|one| {
        one.traffic
            .received_bytes_per_second
            .saturating_add(one.traffic.sent_bytes_per_second)
    });
    busiest.map_or_else(String::new, |one| {
        format!(
            "{} rx {}/s tx {}/s",
            in_line(&one.name),
            bytes(Some(one.traffic.received_bytes_per_second)),
            bytes(Some(one.traffic.sent_bytes_per_second))
        )
    })
}

/// `CPU [||||||    ] 900m of 2000m 45%`, and more if there is room.
fn gauge(
    name: &'static str,
    (used, whole): (&str, &str),
    percentage: Option<f64>,
    more: &str,
    width: usize,
) -> Text<'static> {
    let full = percentage.map_or(0, filled);
    let bar = format!("{:BAR$}", "|".repeat(full));
    let rest = format!("] {used} of {whole} {}", percent(percentage));
    let before = name.len() + 2 + BAR;
    let rest = match before + rest.len() + 2 + more.len() <= width {
        true => format!("{rest:26}  {more}"),
        false => rest,
    };
    Text::from(vec![
        Span::styled(name, bold()),
        Span::raw(" ["),
        Span::styled(bar, styled(Level::of_share(percentage))),
        Span::raw(cut(&rest, width.saturating_sub(before))),
    ])
}

/// How much of a bar is full.
fn filled(percentage: f64) -> usize {
    let step = 100.0 / BAR as f64;
    (1..=BAR)
        .take_while(|number| *number as f64 * step - step / 2.0 <= percentage)
        .count()
}

/// What the selected line is, in full.
fn selection(line: Option<&Line<'_>>, width: usize) -> Text<'static> {
    let text = line.map(|line| match line {
        Line::Pod(pod) => format!(
            "{}/{}  {}  {} ready",
            pod.namespace,
            pod.name,
            pod.status.as_deref().unwrap_or("-"),
            pod.ready.as_deref().unwrap_or("-")
        ),
        Line::Container(pod, container) => format!(
            "{}/{}  container {}  {}",
            pod.namespace,
            pod.name,
            container.name,
            container.status.as_deref().unwrap_or("-")
        ),
    });
    let text = text.unwrap_or_else(|| "no pod".to_owned());
    Text::styled(cut(&in_line(&text), width), Style::new().fg(Color::Cyan))
}

fn headings(columns: &[(Column, usize)], sort: SortKey) -> Text<'static> {
    in_columns(columns, |column| {
        let style = match column.is_sorted_by(sort) {
            true => reversed().add_modifier(Modifier::BOLD),
            false => bold(),
        };
        (column.heading().to_owned(), style)
    })
}

fn row(state: &State, line: &Line<'_>, columns: &[(Column, usize)], is_selected: bool) -> Text<'static> {
    let is_open = match line {
        Line::Pod(pod) => state.is_open(pod),
        Line::Container(..) => false,
    };
    let row = in_columns(columns, |column| {
        let (text, level) = columns::cell(line, column, is_open);
        (text, styled(level))
    });
    match is_selected {
        true => row.style(reversed()),
        false => row,
    }
}

/// A line with a cell for each column.
fn in_columns(columns: &[(Column, usize)], cell: impl Fn(Column) -> (String, Style)) -> Text<'static> {
    let cells = columns.iter().flat_map(|(column, width)| {
        let (text, style) = cell(*column);
        [
            Span::styled(fitted(&text, *width, *column), style),
            Span::raw(" "),
        ]
    });
    Text::from(cells.collect::<Vec<_>>())
}

fn footer(state: &State, width: usize) -> Text<'static> {
    if state.input == Input::Filter {
        return Text::raw(cut(&format!("/{}_  Enter apply  Esc clear", state.filter), width));
    }
    if let Some(trouble) = &state.trouble {
        let text = format!("old numbers: {}", in_line(trouble));
        return Text::styled(cut(&text, width), styled(Level::Critical));
    }
    let keys = "q quit  / filter  Enter open  a all  sort: c m t r n p w";
    let long = "q quit  / filter  Enter open  a all  sort: c cpu m mem t thr r rst n name p psi w net";
    let keys = if long.len() <= width { long } else { keys };
    Text::raw(cut(keys, width))
}

/// A text in a column: cut, or filled up with blanks.
fn fitted(text: &str, width: usize, column: Column) -> String {
    let text = cut(text, width);
    match column.is_text() {
        true => format!("{text:width$}"),
        false => format!("{text:>width$}"),
    }
}

/// A text of at most this many characters; a tilde shows that something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let begin = text.chars().take(width.saturating_sub(1));
    begin.chain((width > 0).then_some('~')).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::{Expect, expect};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent};

    use super::*;
    use crate::command::top::state::Containers;
    use crate::command::top::{rows, sample};

    fn state() -> State {
        let now = "2026-11-29T00:00:00Z".parse().unwrap();
        let rows = rows::rows(Some(&sample::top(0)), &sample::top(1000), &sample::pods(), now);
        State::new(rows, SortKey::Cpu, Containers::Shown, Duration::from_secs(2))
    }

    fn check((width, height): (u16, u16), state: &State, expected: Expect) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| render(frame, state)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content.chunks(usize::from(width)).map(|cells| {
            let text: String = cells.iter().map(|cell| cell.symbol()).collect();
            text.trim_end().to_owned() + "\n"
        });
        expected.assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn eighty_columns() {
        check(
            (80, 24),
            &state(),
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            CPU [|||||||||           ] 900m of 2000m 45%         PSI cpu 1.5% mem 0% io 12%
            MEM [|||||||||||||||     ] 3.0Gi of 4.0Gi 75%        eth0 rx 977Ki/s tx 488Ki/s
            default/web-vm  Running  2/2 ready
            NAME              STATUS        RST    CPU  CPU%  THR%    MEM  MEM%  PSI  NET/s
            - web-vm          Running         3   250m   62%   50%   50Mi   25%   12  1.5Ki
                main          Running         3   200m  100%   50%   50Mi   25%   12
                proxy         Running         0    50m   25%   50%   50Mi   25%   12
            - crashing-vm     CrashLoopBa~   12      -     -     -      -     -    -      -
                main          CrashLoopBa~   12      -     -     -      -     -    -













            q quit  / filter  Enter open  a all  sort: c m t r n p w
        "#]],
        );
    }

    #[test]
    fn a_wide_terminal_has_more_columns() {
        check(
            (120, 40),
            &state(),
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            CPU [|||||||||           ] 900m of 2000m 45%         PSI cpu 1.5% mem 0% io 12%
            MEM [|||||||||||||||     ] 3.0Gi of 4.0Gi 75%        eth0 rx 977Ki/s tx 488Ki/s
            default/web-vm  Running  2/2 ready
            NAMESPACE    NAME                        STATUS        RST    CPU  CPU%  THR%    MEM  MEM% PSIc PSIm PSIi   RX/s   TX/s
            default      - web-vm                    Running         3   250m   62%   50%   50Mi   25%  1.5    0   12   1000    500
                             main                    Running         3   200m  100%   50%   50Mi   25%  1.5    0   12
                             proxy                   Running         0    50m   25%   50%   50Mi   25%  1.5    0   12
            default      - crashing-vm               CrashLoopBa~   12      -     -     -      -     -    -    -    -      -      -
                             main                    CrashLoopBa~   12      -     -     -      -     -    -    -    -





























            q quit  / filter  Enter open  a all  sort: c cpu m mem t thr r rst n name p psi w net
        "#]],
        );
    }

    #[test]
    fn a_narrow_terminal_has_fewer() {
        check(
            (60, 15),
            &state(),
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            CPU [|||||||||           ] 900m of 2000m 45%
            MEM [|||||||||||||||     ] 3.0Gi of 4.0Gi 75%
            default/web-vm  Running  2/2 ready
            NAME            STATUS        RST    CPU  CPU%    MEM  MEM%
            - web-vm        Running         3   250m   62%   50Mi   25%
                main        Running         3   200m  100%   50Mi   25%
                proxy       Running         0    50m   25%   50Mi   25%
            - crashing-vm   CrashLoopBa~   12      -     -      -     -
                main        CrashLoopBa~   12      -     -      -     -




            q quit  / filter  Enter open  a all  sort: c m t r n p w
        "#]],
        );
    }

    #[test]
    fn a_tiny_terminal_has_what_fits() {
        check(
            (30, 6),
            &state(),
            expect![[r#"
            gantry top  vm  2 pods  every~
            NAME               CPU    MEM
            - web-vm          250m   50Mi
                main          200m   50Mi
                proxy          50m   50Mi
            q quit  / filter  Enter open ~
        "#]],
        );
        check(
            (3, 1),
            &state(),
            expect![[r#"
            q ~
        "#]],
        );
    }

    #[test]
    fn nothing_is_known_before_the_second_answer() {
        let mut state = state();
        let now = "2026-11-29T00:00:00Z".parse().unwrap();
        state.show(rows::rows(None, &sample::top(0), &sample::pods(), now));
        check(
            (80, 10),
            &state,
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            CPU [                    ] - of 2000m -              PSI cpu 1.5% mem 0% io 12%
            MEM [|||||||||||||||     ] 3.0Gi of 4.0Gi 75%
            default/crashing-vm  CrashLoopBackOff  0/1 ready
            NAME              STATUS        RST    CPU  CPU%  THR%    MEM  MEM%  PSI  NET/s
            - crashing-vm     CrashLoopBa~   12      -     -     -      -     -    -      -
                main          CrashLoopBa~   12      -     -     -      -     -    -
            - web-vm          Running         3      -     -     -   50Mi   25%   12      -
                main          Running         3      -     -     -   50Mi   25%   12
            q quit  / filter  Enter open  a all  sort: c m t r n p w
        "#]],
        );
    }

    #[test]
    fn the_filter_is_in_the_last_line_while_it_is_typed() {
        let mut state = state();
        for key in "/web".chars() {
            state.press(KeyEvent::from(KeyCode::Char(key)));
        }
        check(
            (60, 10),
            &state,
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            CPU [|||||||||           ] 900m of 2000m 45%
            MEM [|||||||||||||||     ] 3.0Gi of 4.0Gi 75%
            default/web-vm  Running  2/2 ready
            NAME            STATUS        RST    CPU  CPU%    MEM  MEM%
            - web-vm        Running         3   250m   62%   50Mi   25%
                main        Running         3   200m  100%   50Mi   25%
                proxy       Running         0    50m   25%   50Mi   25%

            /web_  Enter apply  Esc clear
        "#]],
        );
        state.press(KeyEvent::from(KeyCode::Enter));
        check(
            (60, 10),
            &state,
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU  /web
            CPU [|||||||||           ] 900m of 2000m 45%
            MEM [|||||||||||||||     ] 3.0Gi of 4.0Gi 75%
            default/web-vm  Running  2/2 ready
            NAME            STATUS        RST    CPU  CPU%    MEM  MEM%
            - web-vm        Running         3   250m   62%   50Mi   25%
                main        Running         3   200m  100%   50Mi   25%
                proxy       Running         0    50m   25%   50Mi   25%

            q quit  / filter  Enter open  a all  sort: c m t r n p w
        "#]],
        );
    }

    #[test]
    fn trouble_is_in_the_last_line() {
        let mut state = state();
        state.trouble = Some("gantry does not answer\u{1b}[2J".to_owned());
        check(
            (60, 8),
            &state,
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            NAME            STATUS        RST    CPU  CPU%    MEM  MEM%
            - web-vm        Running         3   250m   62%   50Mi   25%
                main        Running         3   200m  100%   50Mi   25%
                proxy       Running         0    50m   25%   50Mi   25%
            - crashing-vm   CrashLoopBa~   12      -     -      -     -
                main        CrashLoopBa~   12      -     -      -     -
            old numbers: gantry does not answer␛[2J
        "#]],
        );
    }

    #[test]
    fn the_list_is_scrolled_so_that_the_selected_line_is_shown() {
        let mut state = state();
        state.press(KeyEvent::from(KeyCode::End));
        check(
            (60, 5),
            &state,
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            NAME            STATUS        RST    CPU  CPU%    MEM  MEM%
            - crashing-vm   CrashLoopBa~   12      -     -      -     -
                main        CrashLoopBa~   12      -     -      -     -
            q quit  / filter  Enter open  a all  sort: c m t r n p w
        "#]],
        );
    }

    #[test]
    fn cve_2021_25743_names_command_no_terminal() {
        let mut state = state();
        let pod = &mut state.rows.pods[0];
        (pod.name, pod.namespace) = ("\u{1b}[2Jx\ny".to_owned(), "n\u{9b}".to_owned());
        pod.status = Some("\u{202e}S".to_owned());
        pod.containers[0].name = "\u{1b}]0;t\u{7}".to_owned();
        check(
            (130, 14),
            &state,
            expect![[r#"
            gantry top  vm  2 pods  every 2s  by CPU
            CPU [|||||||||           ] 900m of 2000m 45%         PSI cpu 1.5% mem 0% io 12%
            MEM [|||||||||||||||     ] 3.0Gi of 4.0Gi 75%        eth0 rx 977Ki/s tx 488Ki/s
            default/web-vm  Running  2/2 ready
            NAMESPACE    NAME                                  STATUS        RST    CPU  CPU%  THR%    MEM  MEM% PSIc PSIm PSIi   RX/s   TX/s
            default      - web-vm                              Running         3   250m   62%   50%   50Mi   25%  1.5    0   12   1000    500
                             main                              Running         3   200m  100%   50%   50Mi   25%  1.5    0   12
                             proxy                             Running         0    50m   25%   50%   50Mi   25%  1.5    0   12
            n�           - ␛[2Jx␊y                             �S             12      -     -     -      -     -    -    -    -      -      -
                             ␛]0;t␇                            CrashLoopBa~   12      -     -     -      -     -    -    -    -



            q quit  / filter  Enter open  a all  sort: c cpu m mem t thr r rst n name p psi w net
        "#]],
        );
    }

    #[test]
    fn a_bar_is_full_at_a_hundred_per_cent() {
        for (percentage, expected) in [(0.0, 0), (2.4, 0), (2.5, 1), (50.0, 10), (97.6, 20), (300.0, 20)] {
            assert_eq!(filled(percentage), expected, "{percentage}");
        }
    }
}
