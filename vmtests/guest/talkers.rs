//! Pairs of processes that share memory: they pass a turn back and forth, and work while they have it.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{ensure, Result};

use super::{children, set_placements};

/// How the two pass their turn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// By a byte in a pipe.
    Pipes,
    /// By a futex in shared memory, of which each writes a part with each turn.
    SharedMemory,
}

/// Bytes that a pair shares under [`Talk::SharedMemory`].
pub const SHARED_BYTES: usize = 4 << 20;

/// Two child processes, migratable by choice; killed when dropped.
pub struct Talkers {
    pub pids: [i32; 2],
}

impl Talkers {
    /// Starts a pair on these nodes: the kernel side is told before they become migratable, and the daemon learns it from there.
    ///
    /// `work` is how much they do in each turn; 1,000 is some microseconds on a real CPU.
    pub fn start(talk: Talk, nodes: [u32; 2], work: u32) -> Result<Self> {
        let line = match talk {
            Talk::Pipes => Line::Pipes([pipe()?, pipe()?]),
            Talk::SharedMemory => Line::Memory(children::shared_memory(SHARED_BYTES)?),
        };
        let [go, say_go] = pipe()?;
        let mut pids = [0; 2];
        for (side, pid) in pids.iter_mut().enumerate() {
            *pid = children::fork(|| {
                begin(go, say_go);
                line.talk(side, work);
            })?;
        }
        line.close();
        let talkers = Talkers { pids };
        for (pid, node) in pids.into_iter().zip(nodes) {
            let pid = pid as u32;
            ensure!(set_placements(pid..pid + 1, node)? == 1, "the placement map is full");
        }
        // SAFETY: our own descriptors, not used after. When both are closed, the children begin.
        unsafe {
            libc::close(go);
            libc::close(say_go);
        }
        Ok(talkers)
    }

    /// The ids of the two, the lower first, as a link has them.
    pub fn pair(&self) -> (u32, u32) {
        let [a, b] = self.pids.map(|pid| pid as u32);
        (a.min(b), a.max(b))
    }
}

impl Drop for Talkers {
    fn drop(&mut self) {
        self.pids.into_iter().for_each(children::end);
    }
}

/// Waits until the parent has closed its end of the pipe, and becomes migratable.
fn begin(go: i32, say_go: i32) {
    let mut byte = 0u8;
    // SAFETY: our own descriptors; one byte, which outlives the call.
    unsafe {
        libc::close(say_go);
        libc::read(go, (&raw mut byte).cast(), 1);
    }
    if scx_vnuma::work::make_migratable().is_err() {
        std::process::exit(1);
    }
}

/// What the turn is passed on by.
enum Line {
    /// Each a reader and a writer: to the first side, and to the second.
    Pipes([[i32; 2]; 2]),
    /// [`SHARED_BYTES`] bytes, of which the first word says whose turn it is.
    Memory(*mut u8),
}

fn pipe() -> Result<[i32; 2]> {
    let mut ends = [0; 2];
    // SAFETY: the array outlives the call.
    ensure!(unsafe { libc::pipe(ends.as_mut_ptr()) } == 0, "pipe: {}", std::io::Error::last_os_error());
    Ok(ends)
}

impl Line {
    /// Takes turns with the other side for ever. Side 0 begins.
    fn talk(&self, side: usize, work: u32) -> ! {
        let mut has_turn = side == 0;
        for turn in 0.. {
            if !has_turn {
                self.wait(side);
            }
            do_work(work);
            self.pass_on(side, turn);
            has_turn = false;
        }
        unreachable!("the turns never end")
    }

    fn wait(&self, side: usize) {
        match self {
            Line::Pipes(pipes) => {
                let mut byte = 0u8;
                // SAFETY: one byte, which outlives the call.
                if unsafe { libc::read(pipes[side][0], (&raw mut byte).cast(), 1) } != 1 {
                    std::process::exit(1);
                }
            }
            Line::Memory(memory) => {
                let whose = whose_turn(*memory);
                while whose.load(Ordering::Acquire) != side as u32 {
                    let other = 1 - side as u32;
                    // SAFETY: the word is in memory that is never unmapped; no time-out.
                    unsafe {
                        let no_timeout = std::ptr::null::<libc::timespec>();
                        libc::syscall(libc::SYS_futex, whose.as_ptr(), libc::FUTEX_WAIT, other, no_timeout)
                    };
                }
            }
        }
    }

    fn pass_on(&self, side: usize, turn: usize) {
        match self {
            Line::Pipes(pipes) => {
                // SAFETY: one byte, which outlives the call.
                if unsafe { libc::write(pipes[1 - side][1], [0u8].as_ptr().cast(), 1) } != 1 {
                    std::process::exit(1);
                }
            }
            Line::Memory(memory) => {
                let page = 1 + turn % (SHARED_BYTES / 4096 - 1);
                // SAFETY: inside the mapping, and the other side writes only when it has the turn.
                unsafe { memory.add(page * 4096).write_volatile(turn as u8) };
                let whose = whose_turn(*memory);
                whose.store(1 - side as u32, Ordering::Release);
                // SAFETY: as in wait().
                unsafe { libc::syscall(libc::SYS_futex, whose.as_ptr(), libc::FUTEX_WAKE, 1) };
            }
        }
    }

    /// The parent needs none of it.
    fn close(self) {
        // SAFETY: our own descriptors and mapping, not used after.
        unsafe {
            match self {
                Line::Pipes(pipes) => pipes.concat().into_iter().for_each(|end| {
                    libc::close(end);
                }),
                Line::Memory(memory) => {
                    libc::munmap(memory.cast(), SHARED_BYTES);
                }
            }
        }
    }
}

fn whose_turn<'a>(memory: *mut u8) -> &'a AtomicU32 {
    // SAFETY: the start of a page, which is zeroed, aligned, mapped for as long as the process runs, and accessed atomically only.
    unsafe { &*memory.cast::<AtomicU32>() }
}

fn do_work(work: u32) {
    let mut state = 1u64;
    for _ in 0..work {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state);
}
