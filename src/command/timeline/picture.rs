//! Spans as bars on a scale of time. Pure. ASCII only, since consoles of machines have little else.

use jiff::{SignedDuration, Timestamp};

use crate::command::table::in_line;
use crate::serve::timeline::wire::{Part, PodTimeline, Span};

/// The least width of the bars; a very narrow terminal wraps lines.
const LEAST: usize = 20;
/// What a line has beside label and bar: two columns of times of seven characters, blanks and the ends of the bar.
const REST: usize = 7 + 7 + 6 + 2;
/// The least width of labels.
const LEAST_LABEL: usize = 20;
/// After a longer pause the scale begins anew: a container that was restarted after hours would leave no room for
/// the start of its pod.
const PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// The picture for a terminal of this width.
pub(super) fn text(timeline: &PodTimeline, width: usize) -> String {
    let (namespace, name) = (in_line(&timeline.namespace), in_line(&timeline.name));
    let mut text = format!("{namespace}/{name}\n");
    // An image's name may be as long as it likes.
    let most = width.saturating_sub(REST + LEAST).max(LEAST_LABEL);
    let labels: Vec<String> = timeline.spans.iter().map(|span| label(span, most)).collect();
    let longest = labels
        .iter()
        .map(|label| label.chars().count())
        .max()
        .unwrap_or(0);
    for scene in scenes(&timeline.spans) {
        let begin = timeline.spans[scene.start].start;
        let spans = &timeline.spans[scene.clone()];
        let end = spans.iter().map(|span| span.end).max().unwrap_or(begin);
        let part = spans
            .iter()
            .map(|span| span.part)
            .find(|part| *part != Part::Status);
        let part = match part {
            Some(Part::Start) => "start",
            Some(Part::End) => "end",
            Some(Part::Status) | None => "status",
        };
        let whole = end.duration_since(begin);
        text += &format!("\n{part} at {begin:.3}, {}\n", length(whole));
        let room = width.saturating_sub(longest + REST).max(LEAST);
        for (span, label) in spans.iter().zip(&labels[scene]) {
            let offset = length(span.start.duration_since(begin));
            let took = match span.end > span.start {
                true => length(span.end.duration_since(span.start)),
                false => String::new(),
            };
            let bar = bar(span, begin, whole, room);
            let line = format!("{offset:>7}  {took:>7}  {label:longest$}  |{bar}|");
            text += &line;
            text.push('\n');
            if let Some(error) = &span.error {
                text += &format!("{:18}error: {}\n", "", in_line(error));
            }
        }
    }
    if timeline.dropped > 0 {
        text += &format!("\n{} more steps were not recorded\n", timeline.dropped);
    }
    text
}

/// A label of at most this many characters; a tilde shows that something is missing.
fn label(span: &Span, most: usize) -> String {
    let mut label = span.name.clone();
    if span.subject != "pod" {
        label += &format!(" {}", span.subject);
    }
    if let Some(detail) = &span.detail {
        label += &format!(" ({detail})");
    }
    let label = in_line(&label);
    match label.chars().count() <= most {
        true => label,
        false => label.chars().take(most - 1).chain(['~']).collect(),
    }
}

/// Which spans share a scale: those of a start or an end, up to a long pause.
fn scenes(spans: &[Span]) -> Vec<std::ops::Range<usize>> {
    let mut scenes: Vec<std::ops::Range<usize>> = Vec::new();
    let (mut end, mut part) = (Timestamp::MIN, Part::Status);
    for (at, span) in spans.iter().enumerate() {
        // A status belongs to what was done before it.
        let is_same_part = span.part == Part::Status || part == Part::Status || part == span.part;
        let is_same = at > 0 && is_same_part && span.start.duration_since(end) <= PAUSE;
        if !is_same || part == Part::Status {
            part = span.part;
        }
        match scenes.last_mut().filter(|_| is_same) {
            Some(scene) => scene.end = at + 1,
            None => {
                scenes.push(at..at + 1);
                end = span.end;
            }
        }
        end = end.max(span.end);
    }
    scenes
}

/// A bar of this many characters; a moment is a star, and what failed has exclamation marks.
fn bar(span: &Span, begin: Timestamp, whole: SignedDuration, room: usize) -> String {
    let whole = whole.as_secs_f64();
    let place = |at: Timestamp| match whole > 0.0 {
        true => at.duration_since(begin).as_secs_f64() / whole * room as f64,
        false => 0.0,
    };
    let (from, to) = (place(span.start), place(span.end));
    let letter = match (&span.error, span.end > span.start) {
        (Some(_), _) => '!',
        (None, true) => '=',
        (None, false) => '*',
    };
    // Each bar has one character at least.
    let is_full = |at: usize| (at as f64 + 1.0) > from && (at as f64) < to;
    let mut bar: Vec<char> = (0..room)
        .map(|at| if is_full(at) { letter } else { ' ' })
        .collect();
    if !bar.contains(&letter) {
        let first = (0..room).find(|at| (*at as f64 + 1.0) > from).unwrap_or(room - 1);
        bar[first] = letter;
    }
    bar.into_iter().collect()
}

/// `12ms`, `3.4s`, `125s`
fn length(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    match millis {
        ..1000 => format!("{millis}ms"),
        1000..100_000 => format!("{:.1}s", duration.as_secs_f64()),
        _ => format!("{}s", duration.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn span(name: &str, subject: &str, part: Part, (start, end): (i64, i64)) -> Span {
        Span {
            name: name.to_owned(),
            subject: subject.to_owned(),
            part,
            start: Timestamp::from_millisecond(1_796_000_000_000 + start).unwrap(),
            end: Timestamp::from_millisecond(1_796_000_000_000 + end).unwrap(),
            detail: None,
            error: None,
        }
    }

    fn check(spans: Vec<Span>, width: usize, expected: Expect) {
        let timeline = PodTimeline {
            namespace: "default".to_owned(),
            name: "web-vm".to_owned(),
            uid: "u1".to_owned(),
            spans,
            dropped: 0,
        };
        expected.assert_eq(&text(&timeline, width));
    }

    fn start() -> Vec<Span> {
        let mut sandbox = span("run sandbox", "pod", Part::Start, (5, 300));
        sandbox.detail = Some("with the pod's network".to_owned());
        let mut pull = span("pull image", "web", Part::Start, (305, 1800));
        pull.detail = Some("4096 bytes of registry.example.com/team/demo:1".to_owned());
        vec![
            span("set cgroup", "pod", Part::Start, (0, 5)),
            sandbox,
            pull,
            span("create container", "web", Part::Start, (1801, 1850)),
            span("start container", "web", Part::Start, (1850, 1900)),
            span("ready", "pod", Part::Start, (2000, 2000)),
        ]
    }

    #[test]
    fn a_start_in_eighty_columns_and_in_a_hundred_and_twenty() {
        check(
            start(),
            80,
            expect![[r#"
            default/web-vm

            start at 2026-11-30T00:53:20.000Z, 2.0s
                0ms      5ms  set cgroup                              |=                   |
                5ms    295ms  run sandbox (with the pod's network)    |===                 |
              305ms     1.5s  pull image web (4096 bytes of registr~  |   ===============  |
               1.8s     49ms  create container web                    |                  = |
               1.9s     50ms  start container web                     |                  = |
               2.0s           ready                                   |                   *|
        "#]],
        );
        check(
            start(),
            120,
            expect![[r#"
            default/web-vm

            start at 2026-11-30T00:53:20.000Z, 2.0s
                0ms      5ms  set cgroup                                                       |=                                  |
                5ms    295ms  run sandbox (with the pod's network)                             |======                             |
              305ms     1.5s  pull image web (4096 bytes of registry.example.com/team/demo:1)  |     ===========================   |
               1.8s     49ms  create container web                                             |                               ==  |
               1.9s     50ms  start container web                                              |                                == |
               2.0s           ready                                                            |                                  *|
        "#]],
        );
    }

    #[test]
    fn a_failed_step_is_drawn_with_its_error() {
        let mut spans = start();
        spans.truncate(3);
        spans[2].error = Some("no such image\nat all".to_owned());
        check(
            spans,
            80,
            expect![[r#"
            default/web-vm

            start at 2026-11-30T00:53:20.000Z, 1.8s
                0ms      5ms  set cgroup                              |=                   |
                5ms    295ms  run sandbox (with the pod's network)    |====                |
              305ms     1.5s  pull image web (4096 bytes of registr~  |   !!!!!!!!!!!!!!!!!|
                              error: no such image␊at all
        "#]],
        );
    }

    #[test]
    fn an_end_and_a_later_restart_have_scales_of_their_own() {
        let mut spans = start();
        spans.truncate(2);
        let day = 86_400_000;
        spans.push(span("create container", "web", Part::Start, (day, day + 40)));
        spans.push(span("start container", "web", Part::Start, (day + 40, day + 90)));
        spans.push(span(
            "stop container",
            "web",
            Part::End,
            (2 * day, 2 * day + 30_000),
        ));
        spans.push(span(
            "stop sandbox",
            "pod",
            Part::End,
            (2 * day + 30_000, 2 * day + 30_250),
        ));
        check(
            spans,
            80,
            expect![[r#"
            default/web-vm

            start at 2026-11-30T00:53:20.000Z, 300ms
                0ms      5ms  set cgroup                            |=                     |
                5ms    295ms  run sandbox (with the pod's network)  |======================|

            start at 2026-12-01T00:53:20.000Z, 90ms
                0ms     40ms  create container web                  |==========            |
               40ms     50ms  start container web                   |         =============|

            end at 2026-12-02T00:53:20.000Z, 30.2s
                0ms    30.0s  stop container web                    |======================|
              30.0s    250ms  stop sandbox                          |                     =|
        "#]],
        );
    }

    #[test]
    fn a_single_moment_and_nothing_at_all() {
        check(
            vec![span("ready", "pod", Part::Start, (0, 0))],
            40,
            expect![[r#"
            default/web-vm

            start at 2026-11-30T00:53:20.000Z, 0ms
                0ms           ready  |*                   |
        "#]],
        );
        check(
            vec![],
            80,
            expect![[r#"
            default/web-vm
        "#]],
        );
    }
}
