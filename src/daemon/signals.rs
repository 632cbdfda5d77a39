//! Signals: INT and TERM end the daemon, HUP reloads its settings.

use std::io::{self, IsTerminal};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::requests::{Request, Requests};
use super::Shutdown;
use crate::linux::thread;

/// Handle signals from now on, in a thread of their own.
///
/// A process on a terminal gets HUP when the terminal goes away, and ends, as it always has. `scx_vnuma reload` needs no
/// signal.
pub fn handle_signals(shutdown: Shutdown, requests: Requests) -> io::Result<()> {
    const STACK_BYTES: usize = 64 << 10;

    let is_on_terminal = io::stderr().is_terminal();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let handle = move || {
        for signal in signals.forever() {
            match signal {
                SIGHUP if !is_on_terminal => requests.post(Request::Reload),
                _ => shutdown.request(),
            }
        }
    };
    thread::spawn("signals", STACK_BYTES, handle).map(drop)
}
