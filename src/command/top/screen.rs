//! The terminal while the live view has it: another screen without echo, given back however the view ends.

use std::io::{self, IsTerminal as _};

use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

/// How many keys may wait.
const KEYS: usize = 16;

/// The terminal; it is as before when this is dropped. A panic gives it back before it prints its message.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Whether there is a terminal.
    pub(super) fn is_possible() -> bool {
        io::stdout().is_terminal()
    }

    pub(super) fn enter() -> io::Result<Screen> {
        // It also installs the panic hook.
        let entered = ratatui::try_init();
        if entered.is_err() {
            // Raw mode may have been entered before it failed.
            let _ = ratatui::try_restore();
        }
        entered.map(|terminal| Screen { terminal })
    }

    pub(super) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(render).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone need not be restored.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Keys and changes of the terminal's size; closed when the terminal is gone. A thread, because a read from a terminal
/// cannot be canceled; it ends with the process.
pub(super) fn events() -> mpsc::Receiver<Event> {
    let (events, receiver) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if events.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}
