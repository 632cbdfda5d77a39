//! Teams of processes or threads that share memory. Sizes are those of the smallest class (S) of the NAS parallel benchmarks, so
//! that what is shared matters beside what is computed.
//!
//! Members wait for each other by futexes, without spinning, as OpenMP's programs do with `OMP_WAIT_POLICY=passive`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::record::Program;
use crate::guest::workers::{BoundTo, Setting};
use crate::guest::{children, wait_for};

const PAGE: usize = 4096;
/// The grid of a stencil: 2 x 128 KiB of it, as the 32 x 32 x 32 points of MG.
const ROWS: usize = 128;
const COLUMNS: usize = 128;
/// CG's vectors, and the nonzero elements of each row of its matrix.
const ELEMENTS: usize = 1400;
const NONZERO_PER_ROW: usize = 56;
/// Bytes that a pipeline passes on at once.
const BLOCK: usize = 16 << 10;
/// What a pair of client and server exchanges.
const VALUE: usize = 4096;
const KEYS: usize = 64;
/// Bytes of a process that shares nothing.
const OWN_BYTES: usize = 256 << 10;

/// The folder with memcached and its libraries.
const MEMCACHED: &str = "/lab/put/memcached";

/// A team; its processes are killed when dropped.
pub struct Team {
    pids: Vec<i32>,
    board: Board,
}

impl Team {
    /// Starts a team of `nr_members`, bound to `node` if there is one. Its processes are what the default selectors match.
    pub fn start(program: Program, nr_members: usize, node: Option<u32>) -> Result<Self> {
        // The processes inherit it.
        let _bound = node.map(BoundTo::node).transpose()?;
        let mut team = Team { pids: Vec::new(), board: Board::new()? };
        let board = team.board;
        match program {
            Program::StencilThreads => {
                team.fork(move || run_threads(nr_members, move |member| stencil(board, member, nr_members)))?
            }
            Program::StencilProcesses => {
                team.fork_each(nr_members, move |member| stencil(board, member, nr_members))?
            }
            Program::Solver => team.fork_each(nr_members, move |member| solve(board, member, nr_members))?,
            Program::Alone => team.fork_each(nr_members, move |_| be_alone(board))?,
            Program::Pipeline => team.start_pipeline(nr_members)?,
            Program::Memcached => team.start_memcached()?,
        }
        Ok(team)
    }

    /// Units of work done so far.
    pub fn work(&self) -> u64 {
        self.board.done().load(Ordering::Relaxed)
    }

    /// The processes.
    pub fn pids(&self) -> &[i32] {
        &self.pids
    }

    fn fork_each(&mut self, nr: usize, body: impl Fn(usize) + Copy) -> Result<()> {
        (0..nr).try_for_each(|member| self.fork(move || body(member)))
    }

    /// Starts a process that runs `body`, which does not return while all is well.
    fn fork(&mut self, body: impl FnOnce()) -> Result<()> {
        let pid = children::fork(|| {
            // SAFETY: no pointers.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, Setting::migratable().nice) };
            body();
        })?;
        self.pids.push(pid);
        Ok(())
    }

    fn start_pipeline(&mut self, nr_members: usize) -> Result<()> {
        let board = self.board;
        let mut input: Option<std::io::PipeReader> = None;
        for member in 0..nr_members {
            let is_last = member + 1 == nr_members;
            let (next_input, output) = match is_last {
                true => (None, None),
                false => std::io::pipe().map(|(reader, writer)| (Some(reader), Some(writer)))?,
            };
            let from = input.take();
            // The parent's ends are closed when this turn of the loop ends, or the next.
            self.fork(|| pass_on(board, from, output))?;
            input = next_input;
        }
        Ok(())
    }

    fn start_memcached(&mut self) -> Result<()> {
        let socket = std::env::temp_dir().join(format!("memcached-{}.{:p}", std::process::id(), self.board.0));
        let path = socket.clone();
        self.fork(move || {
            let mut command = Command::new(format!("{MEMCACHED}/memcached"));
            command.env("LD_LIBRARY_PATH", MEMCACHED);
            // One client needs one thread.
            command.args(["-u", "root", "-t", "1", "-m", "64", "-s"]).arg(&path);
            eprintln!("{MEMCACHED}: {}", command.exec());
        })?;
        wait_for("memcached listens", Duration::from_secs(30), || Ok(UnixStream::connect(&socket).is_ok()))?;
        let board = self.board;
        self.fork(move || {
            if let Err(err) = ask(board, socket) {
                eprintln!("a client of memcached: {err:#}");
            }
        })
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        // Clients end before their servers.
        self.pids.iter().rev().for_each(|&pid| children::end(pid));
        // SAFETY: this process's own mapping, which is not used after.
        unsafe { libc::munmap(self.board.0.cast(), Board::BYTES) };
    }
}

/// Memory that a team shares: a page with its count of work, one with its barrier, one with its sums, and what it computes on.
#[derive(Clone, Copy)]
struct Board(*mut u8);

// SAFETY: it is memory without an owner, accessed by the rules of its methods.
unsafe impl Send for Board {}
// SAFETY: the same.
unsafe impl Sync for Board {}

impl Board {
    const GRIDS: usize = 4 * PAGE;
    const BYTES: usize = Self::GRIDS + 2 * ROWS * COLUMNS * size_of::<f64>();

    fn new() -> Result<Self> {
        Ok(Board(children::shared_memory(Self::BYTES)?))
    }

    fn done(&self) -> &AtomicU64 {
        // SAFETY: the start of a page that is zeroed, mapped as long as the team is, and accessed atomically only.
        unsafe { &*self.0.cast::<AtomicU64>() }
    }

    fn barrier(&self) -> &Barrier {
        // SAFETY: as in done(); a barrier of zeros is a new one.
        unsafe { &*self.0.add(PAGE).cast::<Barrier>() }
    }

    /// A number that each member adds to, as bits.
    fn sum(&self, nr: usize) -> &AtomicU64 {
        // SAFETY: as in done(); there are 512 such numbers in the page.
        unsafe { &*self.0.add(2 * PAGE).cast::<AtomicU64>().add(nr % 512) }
    }

    /// `length` numbers of the grids or vectors from `from` on.
    ///
    /// # Safety
    ///
    /// Between two barriers no other member may write them.
    unsafe fn read(&self, from: usize, length: usize) -> &[f64] {
        // SAFETY: in the mapping; zeroes are numbers; the caller's promise.
        unsafe { std::slice::from_raw_parts(self.0.add(Self::GRIDS).cast::<f64>().add(from), length) }
    }

    /// The same, to write.
    ///
    /// # Safety
    ///
    /// Between two barriers no other member may access them.
    #[allow(clippy::mut_from_ref)]
    unsafe fn write(&self, from: usize, length: usize) -> &mut [f64] {
        // SAFETY: as in read().
        unsafe { std::slice::from_raw_parts_mut(self.0.add(Self::GRIDS).cast::<f64>().add(from), length) }
    }
}

/// A barrier in shared memory.
#[repr(C)]
struct Barrier {
    nr_arrived: AtomicU32,
    nr_passed: AtomicU32,
}

impl Barrier {
    /// Waits until all have arrived.
    fn wait(&self, nr_members: usize) {
        let passed = self.nr_passed.load(Ordering::Acquire);
        if self.nr_arrived.fetch_add(1, Ordering::AcqRel) + 1 == nr_members as u32 {
            self.nr_arrived.store(0, Ordering::Relaxed);
            self.nr_passed.fetch_add(1, Ordering::Release);
            // SAFETY: the word is in memory that stays mapped.
            unsafe { libc::syscall(libc::SYS_futex, self.nr_passed.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
            return;
        }
        while self.nr_passed.load(Ordering::Acquire) == passed {
            // SAFETY: the same; no time-out.
            unsafe {
                let no_timeout = std::ptr::null::<libc::timespec>();
                libc::syscall(libc::SYS_futex, self.nr_passed.as_ptr(), libc::FUTEX_WAIT, passed, no_timeout)
            };
        }
    }
}

/// The part of `length` things that is a member's.
fn share(length: usize, member: usize, nr_members: usize) -> std::ops::Range<usize> {
    length * member / nr_members..length * (member + 1) / nr_members
}

fn run_threads(nr_members: usize, body: impl Fn(usize) + Send + Copy + 'static) {
    let threads: Vec<_> = (1..nr_members).map(|member| std::thread::spawn(move || body(member))).collect();
    body(0);
    for thread in threads {
        let _ = thread.join();
    }
}

/// Sweeps over the rows of one member, again and again: a unit of work is a sweep over the grid.
fn stencil(board: Board, member: usize, nr_members: usize) {
    let rows = share(ROWS, member, nr_members);
    let (mut from, mut to) = (0, ROWS * COLUMNS);
    loop {
        // SAFETY: in a sweep all read one grid, and each writes its own rows of the other.
        let (old, new) = unsafe {
            let new = board.write(to + rows.start * COLUMNS, rows.len() * COLUMNS);
            (board.read(from, ROWS * COLUMNS), new)
        };
        for row in rows.start.max(1)..rows.end.min(ROWS - 1) {
            let new = &mut new[(row - rows.start) * COLUMNS..][..COLUMNS];
            let at = row * COLUMNS;
            for column in 1..COLUMNS - 1 {
                let around = old[at + column - 1]
                    + old[at + column + 1]
                    + old[at + column - COLUMNS]
                    + old[at + column + COLUMNS];
                new[column] = 0.25 * around + 1.0;
            }
        }
        board.barrier().wait(nr_members);
        (from, to) = (to, from);
        if member == 0 {
            board.done().fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Adds to a sum of all members, and returns it once all have.
fn sum_of_all(board: Board, nr_members: usize, nr: usize, own: f64) -> f64 {
    // The next but one is cleared here: nobody uses it between this barrier and the next.
    board.sum(nr + 2).store(0f64.to_bits(), Ordering::Relaxed);
    let add = |bits| Some((f64::from_bits(bits) + own).to_bits());
    let _ = board.sum(nr).fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    board.barrier().wait(nr_members);
    f64::from_bits(board.sum(nr).load(Ordering::Acquire))
}

/// Conjugate gradients for a diagonally dominant matrix: a unit of work is an iteration. The direction p is shared; each member
/// has its rows of the matrix and of the other vectors for itself.
fn solve(board: Board, member: usize, nr_members: usize) {
    const SOLVED: f64 = 1e-12;
    let rows = share(ELEMENTS, member, nr_members);
    let matrix = Rows::new(&rows);
    let mut nr_sums = 0;
    loop {
        let mut residual = vec![1.0; rows.len()];
        let mut found = vec![0.0; rows.len()];
        // SAFETY: each member writes its own elements, while nobody reads them: a barrier is before and after.
        unsafe { board.write(rows.start, rows.len()) }.copy_from_slice(&residual);
        let mut square = sum_of_all(board, nr_members, nr_sums, dot(&residual, &residual));
        nr_sums += 1;
        while square > SOLVED {
            // SAFETY: nobody writes p until the next barrier.
            let direction = unsafe { board.read(0, ELEMENTS) };
            let product = matrix.times(direction);
            let own = dot(&direction[rows.clone()], &product);
            let step = square / sum_of_all(board, nr_members, nr_sums, own);
            let direction = &direction[rows.clone()];
            for index in 0..rows.len() {
                found[index] += step * direction[index];
                residual[index] -= step * product[index];
            }
            let before = square;
            square = sum_of_all(board, nr_members, nr_sums + 1, dot(&residual, &residual));
            nr_sums += 2;
            // SAFETY: all have passed the barrier after their product, and only this member accesses its own elements now.
            let direction = unsafe { board.write(rows.start, rows.len()) };
            for (direction, residual) in direction.iter_mut().zip(&residual) {
                *direction = residual + square / before * *direction;
            }
            board.barrier().wait(nr_members);
            if member == 0 {
                board.done().fetch_add(1, Ordering::Relaxed);
            }
        }
        std::hint::black_box(&found);
        board.barrier().wait(nr_members);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Some rows of a symmetric sparse matrix, whose elements off the diagonal are small enough that it is positive definite.
struct Rows {
    first: usize,
    columns: Vec<u32>,
    values: Vec<f64>,
}

impl Rows {
    fn new(rows: &std::ops::Range<usize>) -> Self {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for row in rows.clone() {
            // Pairs (row, row + d) and (row, row - d) for the same distances d in all rows, so that it is symmetric.
            for nr in 0..NONZERO_PER_ROW / 2 {
                let distance = (nr * nr * 7 + nr + 1) % (ELEMENTS / 2);
                for column in [(row + distance) % ELEMENTS, (row + ELEMENTS - distance) % ELEMENTS] {
                    columns.push(column as u32);
                    values.push(0.9 / NONZERO_PER_ROW as f64);
                }
            }
        }
        Rows { first: rows.start, columns, values }
    }

    fn times(&self, vector: &[f64]) -> Vec<f64> {
        let of_row = |(nr, (columns, values)): (usize, (&[u32], &[f64]))| {
            let sum: f64 = columns.iter().zip(values).map(|(&column, value)| value * vector[column as usize]).sum();
            // Different in each row, or the system would be solved at once.
            vector[self.first + nr] * (2.0 + (self.first + nr) as f64 / ELEMENTS as f64) + sum
        };
        let rows = self.columns.chunks(NONZERO_PER_ROW).zip(self.values.chunks(NONZERO_PER_ROW));
        rows.enumerate().map(of_row).collect()
    }
}

/// Takes blocks from the member before, works on them, and passes them on; the last one counts them.
fn pass_on(board: Board, mut input: Option<std::io::PipeReader>, mut output: Option<std::io::PipeWriter>) {
    let mut block = vec![1_u8; BLOCK];
    loop {
        if input.as_mut().is_some_and(|input| input.read_exact(&mut block).is_err()) {
            return;
        }
        for byte in &mut block {
            *byte = byte.wrapping_mul(31).wrapping_add(7);
        }
        let Some(output) = &mut output else {
            board.done().fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if output.write_all(&block).is_err() {
            return;
        }
    }
}

/// Asks memcached for values, one after the other, and stores each tenth: a unit of work is an answer.
fn ask(board: Board, socket: PathBuf) -> Result<()> {
    let mut server = BufReader::new(UnixStream::connect(&socket).context("connecting to memcached")?);
    let (mut value, mut line) = (vec![b'x'; VALUE + 2], String::new());
    let store = |server: &mut BufReader<UnixStream>, key: usize, line: &mut String| -> Result<()> {
        let mut request = format!("set {key} 0 0 {VALUE}\r\n").into_bytes();
        request.extend(std::iter::repeat_n(b'x', VALUE));
        request.extend(b"\r\n");
        server.get_mut().write_all(&request)?;
        line.clear();
        server.read_line(line)?;
        ensure!(line.trim() == "STORED", "memcached answered {line:?} to a set");
        Ok(())
    };
    (0..KEYS).try_for_each(|key| store(&mut server, key, &mut line))?;
    for turn in 0.. {
        let key = turn * 7 % KEYS;
        if turn % 10 == 0 {
            store(&mut server, key, &mut line)?;
        } else {
            server.get_mut().write_all(format!("get {key}\r\n").as_bytes())?;
            line.clear();
            server.read_line(&mut line)?;
            ensure!(line.starts_with("VALUE "), "memcached answered {line:?} to a get");
            server.read_exact(&mut value)?;
            line.clear();
            server.read_line(&mut line)?;
        }
        board.done().fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Works on memory of its own: a unit of work is a pass over it.
fn be_alone(board: Board) {
    let mut own = vec![1.0_f64; OWN_BYTES / size_of::<f64>()];
    // Counted in tenths of a second or so: the count is the only thing that it shares.
    const PASSES: u64 = 16;
    loop {
        for _ in 0..PASSES {
            for index in 1..own.len() {
                own[index] = 0.5 * (own[index - 1] + own[index]) + 1.0;
            }
            std::hint::black_box(&own);
        }
        board.done().fetch_add(PASSES, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_symmetric_and_positive_whoever_has_its_rows() {
        let whole = Rows::new(&(0..ELEMENTS));
        let vector = |seed: usize| (0..ELEMENTS).map(|nr| ((nr * seed) % 17) as f64 - 8.0).collect::<Vec<_>>();
        let (one, other) = (vector(3), vector(5));
        let (by_one, by_other) = (dot(&other, &whole.times(&one)), dot(&one, &whole.times(&other)));
        assert!((by_one - by_other).abs() < 1e-6 * by_one.abs(), "{by_one} and {by_other}");
        assert!(dot(&one, &whole.times(&one)) > 0.0);
        let parts: Vec<f64> = (0..3).flat_map(|member| Rows::new(&share(ELEMENTS, member, 3)).times(&one)).collect();
        assert_eq!(parts, whole.times(&one));
    }

    #[test]
    fn nobody_passes_a_barrier_before_the_last_one_arrives() {
        const MEMBERS: usize = 3;
        let board = Board::new().unwrap();
        let arrived = |turn: u64| board.done().load(Ordering::SeqCst) >= turn * MEMBERS as u64;
        std::thread::scope(|scope| {
            for _ in 0..MEMBERS {
                scope.spawn(|| {
                    for turn in 1..=200 {
                        board.done().fetch_add(1, Ordering::SeqCst);
                        board.barrier().wait(MEMBERS);
                        assert!(arrived(turn), "turn {turn}");
                    }
                });
            }
        });
    }
}
