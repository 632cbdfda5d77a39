//! The part of QEMU's plugin interface that is used: version 4, of QEMU 10.0 (`include/plugins/qemu-plugin.h`).

use std::ffi::{c_char, c_int, c_uint, c_void};

/// The version of the interface that is used.
pub const VERSION: c_int = 4;

/// `qemu_plugin_id_t`.
pub type Id = u64;
/// `qemu_plugin_meminfo_t`.
pub type MemInfo = u32;

/// An opaque type of QEMU's.
macro_rules! opaque {
    ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
}
// A plugin's information, a block of code that is translated at once, an instruction of it, and a physical address.
opaque!(Info Block Instruction HwAddr);

/// `enum qemu_plugin_cb_flags`: the callback reads no registers.
pub const NO_REGS: c_int = 0;
/// `enum qemu_plugin_mem_rw`.
pub const STORES: c_int = 2;
/// Loads and stores.
pub const LOADS_AND_STORES: c_int = 3;

/// `qemu_plugin_mem_value`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MemValue {
    pub kind: c_int,
    pub data: [u64; 2],
}

/// `enum qemu_plugin_mem_value_type`: `data[0]` is the value.
pub const VALUE_U64: c_int = 3;

pub type TranslatedCallback = unsafe extern "C" fn(Id, *mut Block);
pub type MemCallback = unsafe extern "C" fn(c_uint, MemInfo, u64, *mut c_void);
pub type ExitCallback = unsafe extern "C" fn(Id, *mut c_void);

unsafe extern "C" {
    pub fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: TranslatedCallback);
    pub fn qemu_plugin_register_atexit_cb(id: Id, callback: ExitCallback, userdata: *mut c_void);
    pub fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        callback: MemCallback,
        flags: c_int,
        accesses: c_int,
        userdata: *mut c_void,
    );
    pub fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    pub fn qemu_plugin_insn_data(instruction: *const Instruction, to: *mut c_void, length: usize) -> usize;
    pub fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    pub fn qemu_plugin_mem_is_store(info: MemInfo) -> bool;
    pub fn qemu_plugin_mem_get_value(info: MemInfo) -> MemValue;
    pub fn qemu_plugin_get_hwaddr(info: MemInfo, address: u64) -> *const HwAddr;
    pub fn qemu_plugin_hwaddr_phys_addr(address: *const HwAddr) -> u64;
}

/// `qemu_plugin_install`'s arguments.
pub type Arguments = *const *const c_char;
