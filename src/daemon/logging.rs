//! The log on standard error, which never blocks a round.
//!
//! A reader that stops reading (a stopped terminal, an undrained pipe) would block a write, and with it the rounds, while
//! the scheduler class keeps an old plan. Lines therefore go through a bounded queue to a thread. If the queue is full,
//! they are dropped and counted.

use std::io::{LineWriter, Write};

use anyhow::{Context, Result};
use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Maximum number of queued lines: more than a round ever logs.
const LINES_MAX: usize = 1024;

/// Keeps the log running. Dropping it writes the queued lines, for a second at most.
pub struct Log {
    dropped: ErrorCounter,
    queue: NonBlocking,
    _writer: WorkerGuard,
}

impl Log {
    /// Start the log of this process: decisions and warnings, and with `verbose` every round.
    pub fn start(verbose: u8) -> Result<Self> {
        let level = if verbose == 0 { LevelFilter::Info } else { LevelFilter::Debug };
        let mut config = ConfigBuilder::new();
        // Debug messages of libraries are not about decisions.
        config.add_filter_allow_str("scx_vnuma").set_target_level(LevelFilter::Off);
        config.set_thread_level(LevelFilter::Off).set_location_level(LevelFilter::Off);
        let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
        let (queue, writer) = queue.thread_name("vnuma-log").finish(std::io::stderr());
        let dropped = queue.error_counter();
        WriteLogger::init(level, config.build(), LineWriter::new(queue.clone())).context("setting up the log")?;
        Ok(Log { dropped, queue, _writer: writer })
    }

    /// Print a line as it is. Like a line of the log, it is dropped if standard error isn't read.
    pub fn print(&self, line: &str) {
        let written = self.queue.clone().write_all(format!("{line}\n").as_bytes());
        debug_assert!(written.is_ok(), "a lossy queue takes or drops all");
    }

    /// Number of lines dropped so far because standard error wasn't read.
    pub fn nr_dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}
