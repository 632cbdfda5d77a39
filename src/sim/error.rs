//! What can stop the simulator, each with the file, the line or the option that did, and what to do.

use std::path::PathBuf;

use super::trace::Oddity;

/// A fatal error.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A path or pattern matches no file.
    #[error("{pattern}: no such file, directory or match; a table is given by files, globs or a directory of *.csv and *.csv.gz parts")]
    NoFile {
        /// As it was given.
        pattern: String,
    },
    /// A glob that isn't one.
    #[error("{pattern}: not a glob pattern")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        source: glob::PatternError,
    },
    /// A file can't be read.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file ends early or is damaged.
    #[error("{}:{line}: the file ends early or is damaged after this line; fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The last line that could be read.
        line: u64,
        /// The decompressor's or the system's word.
        source: std::io::Error,
    },
    /// An oddity, with `--strict`.
    #[error("{0} (fatal with --strict)")]
    Strict(Oddity),
    /// A trace without a single task to run.
    #[error(
        "no task has both an event and a usage row; are these the task_events and task_usage tables of one trace?"
    )]
    NoTasks,
    /// A file of ours that isn't what it should be.
    #[error("{}: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Parameters that make no sense, or not together.
    #[error("{0}")]
    Parameters(String),
}

impl SimError {
    /// A file can't be read or written.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> SimError {
        let path = path.into();
        move |source| SimError::File { path, source }
    }
}
