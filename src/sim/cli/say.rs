//! Messages on standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// Print one line. That it can't be printed is no reason to end, or to panic as `eprintln!` would.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
