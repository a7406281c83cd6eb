//! Hundreds of broken manifests: each gets its problem, none does harm.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{problems, read_bytes};

#[path = "../../../tests/support/broken_manifests.rs"]
mod broken_manifests;

#[test]
fn the_manifest_that_is_broken_in_every_way_is_right_before() {
    assert_eq!(problems(broken_manifests::WHOLE.as_bytes()), "");
}

#[test]
fn every_broken_manifest_has_a_problem_and_no_pod() {
    let all = broken_manifests::all();
    assert!(all.len() >= 250, "{}", all.len());
    let mut wrong = Vec::new();
    for (name, content) in all {
        let began = Instant::now();
        let (pods, problems) = read_bytes(&content);
        let lines = content.split(|b| *b == b'\n').count();
        let right = problems.iter().all(|problem| {
            let line = problem.line.is_none_or(|line| (1..=lines + 1).contains(&line));
            line && !problem.message.is_empty() && problem.to_string().len() < 1000
        });
        // Without optimization, on a busy machine.
        let fast = began.elapsed() < Duration::from_secs(10);
        if problems.is_empty() || !pods.is_empty() || !right || !fast {
            let start = String::from_utf8_lossy(&content[..content.len().min(1500)]).into_owned();
            wrong.push(format!("{name} {:?} {problems:?}\n{start}", began.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_dubious_manifest_is_taken_with_a_warning() {
    for content in broken_manifests::dubious() {
        let text = String::from_utf8(content).unwrap();
        let (pods, problems) = read_bytes(text.as_bytes());
        let reported = super::problems(text.as_bytes());
        assert!(problems.is_empty() && pods.len() == 1, "{reported}\n{text}");
        assert!(reported.starts_with("warning:"), "{reported}\n{text}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_bytes(&bytes);
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(text in "([-?:,&*!|>'\"%@`{}\\[\\]# \n\ta0~<.]|- |: |\n  |---\n){0,120}") {
        let _ = read_bytes(text.as_bytes());
    }

    #[test]
    fn a_damaged_manifest_is_read_or_refused(
        at in 0..broken_manifests::WHOLE.len(),
        length in 0..20_usize,
        put in "[-?:,&*!|>'\"%{}\\[\\]# \n\ta0~]{0,6}",
    ) {
        let whole = broken_manifests::WHOLE.as_bytes();
        let end = (at + length).min(whole.len());
        let damaged = [&whole[..at], put.as_bytes(), &whole[end..]].concat();
        let (pods, problems) = read_bytes(&damaged);
        prop_assert!(pods.len() <= 1 || problems.is_empty());
    }
}
