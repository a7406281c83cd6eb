//! The live view: draws what the agent answers and does what keys say, until it is left.

use ratatui::crossterm::event::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answers::{self, Answers};
use super::options::Options;
use super::screen::{self, Screen};
use super::state::{Effect, State};
use super::view;
use crate::command::client::Client;
use crate::command::{CommandError, signals};
use crate::model::error_chain::chain;

/// Shows the live view until a key or a signal ends it, and returns the exit code.
pub async fn run(client: &Client, options: &Options) -> Result<u8, CommandError> {
    if !Screen::is_possible() {
        return Err(CommandError::Choice(
            "the output is not a terminal: use `gantry top --once`".to_owned(),
        ));
    }
    // Before the screen is entered, so that the error of an agent that does not run can be read.
    let first = answers::ask(client, options.namespace.as_deref()).await?;
    let mut history = Answers::new(first);
    let (sender, mut answers) = mpsc::channel(1);
    // Ends with this function.
    let mut asking = JoinSet::new();
    let (client, namespace) = (client.clone(), options.namespace.clone());
    asking.spawn(answers::repeat(client, namespace, options.interval, sender));

    let mut signal = std::pin::pin!(signals::first());
    let mut state = State::new(history.rows(), options.sort, options.containers, options.interval);
    let mut screen = Screen::enter().map_err(CommandError::Output)?;
    let mut events = screen::events();
    loop {
        screen
            .draw(|frame| view::render(frame, &state))
            .map_err(CommandError::Output)?;
        // Each arm waits on a channel or on the same future again: nothing is lost when another one is taken.
        tokio::select! {
            Some(answer) = answers.recv() => match answer {
                Ok(answer) => {
                    history.add(answer);
                    state.show(history.rows());
                }
                Err(error) => state.trouble = Some(chain(&error)),
            },
            event = events.recv() => match event {
                Some(Event::Key(key)) => if state.press(key) == Effect::Left { return Ok(0) },
                // A new size: it is drawn again.
                Some(_) => {}
                None => return Err(CommandError::Choice("the terminal cannot be read any more".to_owned())),
            },
            code = &mut signal => return Ok(code),
        }
    }
}
