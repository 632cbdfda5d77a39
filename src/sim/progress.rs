//! Progress bars on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar that counts steps. It draws nothing if standard error is not a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Make a bar of `steps` steps.
    pub fn new(what: &'static str, steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{msg:>10} [{bar:40}] {pos}/{len} {eta}")
            .expect("BUG: the progress template is valid");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what);
        Progress(bar)
    }

    /// Count one step. May be called from any thread.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
