//! The user's terminal while a program in a container uses it.

use std::io::{self, stderr, stdin, stdout};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether standard input is a terminal.
pub(crate) fn is_terminal() -> bool {
    isatty(stdin())
}

/// Columns and rows; `None` if the terminal does not report them.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// The columns of the terminal that is written to; `None` if it is none, or does not report them.
pub(crate) fn output_width() -> Option<usize> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// The columns of the terminal that messages go to, 80 if it does not report them; `None` if they go to no terminal.
pub(crate) fn message_width() -> Option<usize> {
    if !isatty(stderr()) {
        return None;
    }
    let columns = tcgetwinsize(stderr()).map_or(0, |size| usize::from(size.ws_col));
    Some(if columns > 0 { columns } else { 80 })
}

/// Raw mode, which passes every key on; restored when this is dropped.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Sets standard input, a terminal, to raw mode.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone need not be restored.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
