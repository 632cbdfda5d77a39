//! `scx_vnuma top` on a terminal that goes away, or whose user ends it. No daemon runs, so `top` waits for one.
#![cfg(feature = "daemon")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `top` in a session of its own, on the slave of the returned terminal. The terminal doesn't control it: it gets no SIGHUP.
fn top(interval: &str) -> (Child, File) {
    /// A child that is started meanwhile would hold the master open.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut master, mut slave) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the integers and the size outlive the call; name and attributes may be null.
    let made = unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(made, 0, "{}", io::Error::last_os_error());
    // SAFETY: new descriptors that nothing else owns.
    let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    // SAFETY: a descriptor of ours. The child must not hold the master open.
    unsafe { libc::fcntl(master.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    let mut command = Command::new(env!("CARGO_BIN_EXE_scx_vnuma"));
    command.args(["top", "--interval", interval]).env("TERM", "xterm");
    command.stdin(slave.try_clone().expect("a copy of the descriptor")).stdout(slave).stderr(Stdio::null());
    let own_session = || {
        // SAFETY: no pointers; may be called after fork(2).
        match unsafe { libc::setsid() } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure only calls setsid(2).
    unsafe { command.pre_exec(own_session) };
    let child = command.spawn().expect("can't start scx_vnuma");
    drop(command);
    (child, File::from(master))
}

/// Read what was drawn until `wanted` is among it, for at most ten seconds between two pieces.
fn read_until(terminal: &mut File, wanted: &str) -> String {
    let mut shown = Vec::new();
    let mut part = [0; 4096];
    while !String::from_utf8_lossy(&shown).contains(wanted) {
        let mut polled = libc::pollfd { fd: terminal.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        let is_ready = unsafe { libc::poll(&mut polled, 1, 10_000) } > 0;
        let len = if is_ready { terminal.read(&mut part).unwrap_or(0) } else { 0 };
        assert!(len > 0, "no {wanted:?} in {:?}", String::from_utf8_lossy(&shown));
        shown.extend(&part[..len]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

/// The status with which it ends, within ten seconds; it is killed after that.
fn end_of(mut child: Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    None
}

/// On the last line. ratatui skips the blanks between words.
const LAST_DRAWN: &str = "pause";
const SCREEN_IS_BACK: &str = "\u{1b}[?1049l";

#[test]
fn top_ends_when_its_terminal_goes_away() {
    // It draws nothing meanwhile, which would fail.
    let (child, mut terminal) = top("60s");
    read_until(&mut terminal, LAST_DRAWN);
    drop(terminal);
    assert!(end_of(child).is_some(), "it outlived its terminal");
}

#[test]
fn top_ends_at_sigterm_and_gives_the_screen_back() {
    let (child, mut terminal) = top("100ms");
    read_until(&mut terminal, LAST_DRAWN);
    // SAFETY: no pointers; a child of ours that hasn't been waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    read_until(&mut terminal, SCREEN_IS_BACK);
    assert_eq!(end_of(child).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_key_that_quits_gives_the_screen_back() {
    let (child, mut terminal) = top("100ms");
    read_until(&mut terminal, LAST_DRAWN);
    terminal.write_all(b"q").unwrap();
    read_until(&mut terminal, SCREEN_IS_BACK);
    assert_eq!(end_of(child).and_then(|status| status.code()), Some(0));
}
