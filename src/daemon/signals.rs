//! Signals: INT and TERM end the program, HUP reloads the daemon's settings.

use std::io::{self, IsTerminal};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::requests::{Request, Requests};
use super::Shutdown;
use crate::linux::thread;

/// Handle signals from now on, in a thread of their own. Without `requests`, HUP ends the program too.
///
/// A process on a terminal gets HUP when the terminal goes away, and ends, as it always has. `scx_vnuma reload` needs no
/// signal.
pub fn handle_signals(shutdown: Shutdown, requests: Option<Requests>) -> io::Result<()> {
    const STACK_BYTES: usize = 64 << 10;

    let is_on_terminal = io::stderr().is_terminal();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let handle = move || {
        for signal in signals.forever() {
            match &requests {
                Some(requests) if signal == SIGHUP && !is_on_terminal => requests.post(Request::Reload),
                _ => shutdown.request(),
            }
        }
    };
    thread::spawn("signals", STACK_BYTES, handle).map(drop)
}
