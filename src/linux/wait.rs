//! Waits for file descriptors, without spinning first.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// An event that one thread raises and another waits for (eventfd(2)). It stays raised.
pub fn event() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: a new descriptor that nothing else owns.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// Raise an [`event`]. Safe to call from any thread, again and again.
pub fn raise(event: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // A full counter is a raised event, too, so the result doesn't matter.
    // SAFETY: the bytes outlive the call.
    unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Wait until one of the descriptors can be read, for at most `at_most`. Returns for each whether it can be. A signal ends the
/// wait early.
pub fn until_readable<const N: usize>(fds: [BorrowedFd<'_>; N], at_most: Duration) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let timeout = libc::timespec {
        tv_sec: at_most.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    // SAFETY: polled has N entries, and both outlive the call.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), N as libc::nfds_t, &timeout, std::ptr::null()) };
    if ready < 0 {
        let err = io::Error::last_os_error();
        return if err.kind() == io::ErrorKind::Interrupted { Ok([false; N]) } else { Err(err) };
    }
    Ok(polled.map(|fd| fd.revents != 0))
}

/// Whether the other end of a terminal or a pipe is gone.
pub fn is_hung_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    match unsafe { libc::poll(&mut polled, 1, 0) } {
        ..0 => match io::Error::last_os_error() {
            err if err.kind() == io::ErrorKind::Interrupted => Ok(false),
            err => Err(err),
        },
        _ => Ok(polled.revents != 0),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_raised_event_ends_the_wait_and_the_other_is_not_readable() {
        let (raised, other) = (event().unwrap(), event().unwrap());
        let start = Instant::now();
        assert_eq!(until_readable([raised.as_fd(), other.as_fd()], Duration::from_millis(20)).unwrap(), [false, false]);
        assert!(start.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            scope.spawn(|| raise(raised.as_fd()));
            let woken = until_readable([raised.as_fd(), other.as_fd()], Duration::from_secs(60)).unwrap();
            assert_eq!(woken, [true, false]);
        });
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_pipe_hangs_up_when_its_other_end_is_closed() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_hung_up(reader.as_fd()).unwrap());
        raise(writer.as_fd());
        assert!(!is_hung_up(reader.as_fd()).unwrap(), "there is something to read");
        drop(writer);
        assert!(is_hung_up(reader.as_fd()).unwrap());
    }
}
