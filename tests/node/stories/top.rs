//! `gantry top` on a terminal.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::manifest;
use crate::node::{Node, SOON};
use crate::process::run;
use crate::wait::wait_for;
use crate::world::program;

/// The sequences with which another screen is entered and left (`smcup` and `rmcup` of xterm).
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// A shell on a terminal of 80 columns and 24 lines, which prints the terminal's settings before and after the command.
pub(super) struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub(super) fn run(arguments: &str) -> Terminal {
        let gantry = program("gantry");
        let inside = format!(
            "stty rows 24 cols 80; stty -g; {} {arguments}; echo code $?; stty -g",
            gantry.display()
        );
        let mut script = Command::new("script")
            .args(["--quiet", "--command", &inside, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts");
        let keyboard = script.stdin.take().expect("it is piped");
        let mut output = script.stdout.take().expect("it is piped");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let into = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(size @ 1..) = output.read(&mut buffer) {
                into.lock().expect("no panic").extend_from_slice(&buffer[..size]);
            }
        });
        Terminal {
            script,
            keyboard,
            shown,
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    pub(super) fn wait_for(&self, wanted: &str) {
        wait_for(&format!("{wanted:?} on the terminal"), SOON, || {
            let text = self.text();
            if text.contains(wanted) { Ok(()) } else { Err(text) }
        });
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("script reads it");
    }

    /// The exit code, after the terminal was given back with the settings that it had before.
    fn assert_given_back(mut self, code: &str) {
        // The settings are what the shell prints last, on a line of its own.
        wait_for("the shell to end", SOON, || match self.script.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}: {}", self.text())),
        });
        let text = self.text().replace('\r', "");
        let (before, view) = text
            .split_once(ENTER)
            .unwrap_or_else(|| panic!("no screen: {text:?}"));
        let (_, after) = view
            .rsplit_once(LEAVE)
            .unwrap_or_else(|| panic!("not left: {text:?}"));
        let lines: Vec<&str> = after.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, [code, before.trim()], "{text:?}");
    }
}

pub fn the_live_view_shows_pods_and_gives_the_terminal_back(node: &mut Node) {
    node.start_agent();
    node.manifest("idle.yaml", &manifest::idle("idle"));
    node.wait_running("idle");

    let mut terminal = Terminal::run("top --interval 1s");
    terminal.wait_for("idle-node-1");
    terminal.wait_for("Running");
    // Its container, once it is opened.
    terminal.press("\r");
    terminal.wait_for("main");
    terminal.press("q");
    terminal.assert_given_back("code 0");

    let terminal = Terminal::run("top --interval 1s");
    terminal.wait_for("idle-node-1");
    run(&["kill", "-TERM", &process_of("gantry top").to_string()]);
    terminal.assert_given_back("code 143");

    let piped = node.gantry(&["top"]);
    assert_eq!(piped.status.code(), Some(1));
    let error = String::from_utf8_lossy(&piped.stderr);
    assert!(error.contains("use `gantry top --once`"), "{error}");
}

/// The process that runs this command itself, not the shell or `script` around it.
fn process_of(command: &str) -> u32 {
    let table = run(&["ps", "-eo", "pid=,args="]);
    table
        .lines()
        .filter(|line| line.contains(command) && !line.contains("stty"))
        .find_map(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no process runs {command:?}:\n{table}"))
}
