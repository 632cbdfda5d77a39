//! Errors that stop the simulator. Each names the file, the line or the option, and the remedy.

use std::path::PathBuf;

use super::trace::Oddity;

/// A fatal error.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A path or pattern matches no file.
    #[error(
        "{pattern}: no such file, directory or match; give a table as files, globs or a directory of *.csv and \
         *.csv.gz parts"
    )]
    NoFile {
        /// The argument that was given.
        pattern: String,
    },
    /// A glob pattern is invalid.
    #[error("{pattern}: not a valid glob pattern")]
    Pattern {
        /// The argument that was given.
        pattern: String,
        /// The parser's error.
        source: glob::PatternError,
    },
    /// A file can't be read or written.
    #[error("{}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is truncated or damaged.
    #[error("{}:{line}: the file ends early or is damaged after this line; fetch it again", path.display())]
    Damaged {
        /// The path of the file.
        path: PathBuf,
        /// The last line that could be read, from 1.
        line: u64,
        /// The error of the decompressor or the system.
        source: std::io::Error,
    },
    /// A pipe would have to be read more than once.
    #[error("{}: a pipe can be read only once, but {why}; write it to a file first", path.display())]
    OnlyOnce {
        /// The path of the pipe.
        path: PathBuf,
        /// What would read it again.
        why: &'static str,
    },
    /// The trace has an oddity, and `--strict` makes it fatal.
    #[error("{0} (fatal with --strict)")]
    Strict(Oddity),
    /// The trace has no task to run.
    #[error(
        "no task has both an event and a usage row; are these the task_events and task_usage tables of one trace?"
    )]
    NoTasks,
    /// All tasks end before the simulated time span, or arrive after it.
    #[error("no task runs between {start_s} s and {end_s} s of the trace; change --start or --end")]
    NoTasksInSpan {
        /// t0, seconds of trace time.
        start_s: f64,
        /// t1, seconds of trace time.
        end_s: f64,
    },
    /// A file written by this program doesn't have the expected format.
    #[error("{}: {what}", path.display())]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        what: String,
    },
    /// Parameters are invalid, or invalid together.
    #[error("{0}")]
    Parameters(String),
}

impl SimError {
    /// Make an error for a file that can't be read or written.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> SimError {
        let path = path.into();
        move |source| SimError::File { path, source }
    }
}
