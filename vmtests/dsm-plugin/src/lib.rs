//! A plugin for QEMU's emulator (TCG): memory as in a distributed virtual machine, where pages travel between nodes.
//!
//! It reports every access of the virtual CPUs to [`vnuma_dsm`], which decides what it costs. QEMU loads it by
//! `-plugin libvnuma_dsm_plugin.so,nodes=0:1,bytes=…,out=dsm.json`; [`Arguments`] has all arguments.

mod qemu;

use std::ffi::{c_int, c_uint, c_void, CStr};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use vnuma_dsm::mark::{Name, INSTRUCTION};
use vnuma_dsm::{Access, Arguments, Memory, Recorder};

/// The record is written at each mark, at the end, and otherwise this often, in case there is no end.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// QEMU refuses plugins for a version of the interface that it doesn't have.
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = qemu::VERSION;

struct Plugin {
    arguments: Arguments,
    memory: Memory,
    recording: Mutex<Recording>,
    marked: Condvar,
}

struct Recording {
    recorder: Recorder,
    /// The name of the next phase, as far as it has been spelled.
    name: Name,
    must_write: bool,
}

static PLUGIN: OnceLock<Plugin> = OnceLock::new();

/// QEMU calls it once, before the machine runs. Returns 0 if the arguments are right.
///
/// # Safety
///
/// `arguments` must be `count` C strings.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: qemu::Id,
    _info: *const qemu::Info,
    count: c_int,
    arguments: qemu::Arguments,
) -> c_int {
    let words = (0..count as usize).map(|index| {
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy().into_owned()
    });
    let words: Vec<String> = words.collect();
    match Arguments::parse(words.iter().map(String::as_str)) {
        Ok(arguments) => install(id, arguments),
        Err(err) => {
            eprintln!("vnuma-dsm: {err}");
            1
        }
    }
}

fn install(id: qemu::Id, arguments: Arguments) -> c_int {
    let memory = Memory::new(&arguments);
    let recording = Recording { recorder: Recorder::new(&memory), name: Name::default(), must_write: false };
    let plugin = Plugin { arguments, memory, recording: Mutex::new(recording), marked: Condvar::new() };
    if PLUGIN.set(plugin).is_err() {
        eprintln!("vnuma-dsm: the plugin is loaded twice");
        return 1;
    }
    if let Err(err) = spawn_recorder() {
        eprintln!("vnuma-dsm: no thread can be started: {err}");
        return 1;
    }
    // SAFETY: the identifier is QEMU's own; the callbacks have the types that it expects, and live as long as the library.
    unsafe {
        qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
        qemu::qemu_plugin_register_atexit_cb(id, on_exit, std::ptr::null_mut());
    }
    0
}

/// A block of code has been translated: has its loads and stores reported. The instruction's address is the callback's data.
unsafe extern "C" fn on_translated(_id: qemu::Id, block: *mut qemu::Block) {
    // SAFETY: the block and its instructions are QEMU's, valid during this call.
    unsafe {
        for index in 0..qemu::qemu_plugin_tb_n_insns(block) {
            let instruction = qemu::qemu_plugin_tb_get_insn(block, index);
            let code = qemu::qemu_plugin_insn_vaddr(instruction) as *mut c_void;
            let kinds = qemu::LOADS_AND_STORES;
            qemu::qemu_plugin_register_vcpu_mem_cb(instruction, on_access, qemu::NO_REGS, kinds, code);
            if is_mark(instruction) {
                qemu::qemu_plugin_register_vcpu_mem_cb(instruction, on_mark, qemu::NO_REGS, qemu::STORES, code);
            }
        }
    }
}

/// # Safety
///
/// The instruction must be QEMU's, in a callback of its translation.
unsafe fn is_mark(instruction: *const qemu::Instruction) -> bool {
    let mut bytes = [0_u8; INSTRUCTION.len()];
    // SAFETY: QEMU writes no more than the given length.
    unsafe {
        qemu::qemu_plugin_insn_size(instruction) == bytes.len()
            && qemu::qemu_plugin_insn_data(instruction, bytes.as_mut_ptr().cast(), bytes.len()) == bytes.len()
            && bytes == INSTRUCTION
    }
}

/// A virtual CPU has loaded or stored, on whose thread this runs.
unsafe extern "C" fn on_access(cpu: c_uint, info: qemu::MemInfo, address: u64, code: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let cpu = cpu as usize;
    if plugin.memory.node_of(cpu).is_none() {
        return;
    }
    // SAFETY: a callback of this access may ask for its physical address, which stays valid until it returns.
    let (address, is_store) = unsafe {
        let physical = qemu::qemu_plugin_get_hwaddr(info, address);
        if physical.is_null() {
            return;
        }
        (qemu::qemu_plugin_hwaddr_phys_addr(physical), qemu::qemu_plugin_mem_is_store(info))
    };
    plugin.memory.access(Access { cpu, address, is_store, code: code as u64 });
}

/// A virtual CPU has stored a word of a phase's name.
unsafe extern "C" fn on_mark(_cpu: c_uint, info: qemu::MemInfo, _address: u64, _code: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    // SAFETY: a callback of this access may ask for its value.
    let value = unsafe { qemu::qemu_plugin_mem_get_value(info) };
    if value.kind != qemu::VALUE_U64 {
        return;
    }
    let mut recording = plugin.recording();
    if let Some(name) = recording.name.push(value.data[0]) {
        recording.recorder.begin_phase(&plugin.memory, &name);
        recording.must_write = true;
        plugin.marked.notify_one();
    }
}

unsafe extern "C" fn on_exit(_id: qemu::Id, _userdata: *mut c_void) {
    let Some(plugin) = PLUGIN.get() else { return };
    let mut recording = plugin.recording();
    recording.recorder.end_second(&plugin.memory);
    plugin.write(&recording);
}

impl Plugin {
    /// A panic elsewhere has left counts behind that are still worth recording.
    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, recording: &Recording) {
        if let Err(err) = recording.recorder.write(&self.memory, &self.arguments) {
            eprintln!("vnuma-dsm: {}: {err}", self.arguments.out.display());
        }
    }

    fn write_metrics(&self) {
        if let Err(err) = Recorder::write_metrics(&self.memory, &self.arguments) {
            eprintln!("vnuma-dsm: the metrics beside {}: {err}", self.arguments.out.display());
        }
    }

    /// Ends a second each second, and writes the metrics; sometimes also the record.
    fn record(&self) {
        let (mut next_second, mut written) = (Instant::now() + Duration::from_secs(1), Instant::now());
        let mut recording = self.recording();
        loop {
            let left = next_second.saturating_duration_since(Instant::now());
            let woken = self.marked.wait_timeout(recording, left);
            recording = woken.unwrap_or_else(PoisonError::into_inner).0;
            if Instant::now() >= next_second {
                recording.recorder.end_second(&self.memory);
                self.write_metrics();
                next_second += Duration::from_secs(1);
            }
            if std::mem::take(&mut recording.must_write) || written.elapsed() >= WRITE_INTERVAL {
                self.write(&recording);
                written = Instant::now();
            }
        }
    }
}

/// Starts the thread that records. It inherits a mask that blocks every signal: QEMU handles them in threads of its own.
fn spawn_recorder() -> std::io::Result<()> {
    let (mut all, mut own) = (std::mem::MaybeUninit::<libc::sigset_t>::uninit(), std::mem::MaybeUninit::uninit());
    // SAFETY: sigfillset initialises the set, and pthread_sigmask the old one.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), own.as_mut_ptr());
    }
    let recorder = || PLUGIN.get().into_iter().for_each(Plugin::record);
    let spawned = std::thread::Builder::new().name("vnuma-dsm".to_string()).spawn(recorder);
    // SAFETY: the old mask was initialised above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, own.as_ptr(), std::ptr::null_mut()) };
    spawned.map(|_| ())
}
