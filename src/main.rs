//! The program `gantry`, and `kubelet` if it is installed under that name.

use std::io::Write as _;
use std::process::ExitCode;

use gantry::cli::{self, Stop};
use gantry::command;

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Stop::Show(text)) => {
            // A closed pipe is not an error.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Stop::Wrong(text)) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            return ExitCode::from(2);
        }
    };
    let verbose = cli.verbose;
    match command::run(cli) {
        Ok(code) => code,
        Err(error) => {
            let chain = error.chain().skip(1).map(|cause| format!("\n  because: {cause}"));
            // One line to act on; with -v each cause on a line of its own.
            let text = if verbose {
                format!("{error}{}", chain.collect::<String>())
            } else {
                format!("{error:#}")
            };
            let _ = writeln!(std::io::stderr(), "gantry: {}", command::printable(&text));
            ExitCode::FAILURE
        }
    }
}
