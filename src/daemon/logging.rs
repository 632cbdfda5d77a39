//! The log on standard error, which never makes a round wait.
//!
//! A reader that stops reading (a stopped terminal, a pipe that nobody drains) would block a write, and with it the rounds,
//! while the scheduler class runs on an old plan. So lines go through a bounded queue to a thread; when it is full they are
//! dropped and counted.

use std::io::LineWriter;

use anyhow::{Context, Result};
use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

/// Lines that wait to be written. More than a round ever logs.
const LINES_MAX: usize = 1024;

/// Keeps the log going. Dropping it writes what still waits, for a second at most.
pub struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Log {
    /// Starts the log of this process: decisions and warnings, with `verbose` also every round.
    pub fn start(verbose: u8) -> Result<Self> {
        let level = if verbose == 0 { LevelFilter::Info } else { LevelFilter::Debug };
        let mut config = ConfigBuilder::new();
        // What libraries log at debug level is not about decisions.
        config.add_filter_allow_str("scx_vnuma").set_target_level(LevelFilter::Off);
        config.set_thread_level(LevelFilter::Off).set_location_level(LevelFilter::Off);
        let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
        let (queue, writer) = queue.thread_name("vnuma-log").finish(std::io::stderr());
        let dropped = queue.error_counter();
        WriteLogger::init(level, config.build(), LineWriter::new(queue)).context("setting up the log")?;
        Ok(Log { dropped, _writer: writer })
    }

    /// Log lines dropped so far because nobody read standard error.
    pub fn nr_dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}
