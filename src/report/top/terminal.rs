//! What the terminal says: keys, another size, and that it is gone.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, Event};

use crate::linux::{thread, wait};

/// Reads the terminal in a thread of its own.
///
/// crossterm reads a terminal that is gone again and again, and never returns. So what decides to end is another thread,
/// which looks at the terminal itself; the reader then ends with the process.
pub(super) struct Events(Receiver<io::Result<Event>>);

/// What came in within some time.
pub(super) enum News {
    Event(Event),
    Nothing,
    /// Nobody can see the terminal anymore.
    HungUp,
}

impl Events {
    /// Start to read.
    pub fn start() -> Result<Self> {
        const STACK_BYTES: usize = 256 << 10;

        let (sender, events) = channel();
        let read = move || loop {
            let event = event::read();
            let is_last = event.is_err();
            if sender.send(event).is_err() || is_last {
                return;
            }
        };
        thread::spawn("terminal", STACK_BYTES, read).context("starting the thread that reads the terminal")?;
        Ok(Events(events))
    }

    /// Wait for the next event, for at most `at_most`.
    pub fn wait(&self, at_most: Duration) -> Result<News> {
        if wait::is_hung_up(io::stdin().as_fd()).context("looking at the terminal")? {
            return Ok(News::HungUp);
        }
        match self.0.recv_timeout(at_most) {
            Ok(event) => Ok(News::Event(event.context("reading the terminal")?)),
            Err(RecvTimeoutError::Timeout) => Ok(News::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(News::HungUp),
        }
    }
}
