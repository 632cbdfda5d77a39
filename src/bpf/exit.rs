//! How the scheduler class ended.

use std::ffi::{c_char, CStr};

use scx_utils::{ScxExitKind, SCX_ECODE_ACT_RESTART, SCX_ECODE_RSN_HOTPLUG};

use super::intf;

/// Why the scheduler class has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// The daemon unloaded it.
    Unloaded,
    /// A CPU came that the class didn't know, or CPUs came or went while it was loaded.
    Hotplug,
    /// The daemon gave no sign of life for too long.
    Silence,
    /// It asks to be loaded again for another reason.
    Restart,
    /// An error of the class, a stall that the kernel's watchdog saw, or SysRq-S.
    Error,
}

impl ExitCause {
    /// Why a class with the kernel's `kind` of exit and the exit code `code` ended.
    pub fn of(kind: i32, code: i64) -> Self {
        let has = |bit: u64| code as u64 & bit != 0;
        let by_code = [ScxExitKind::UnregBPF as i32, ScxExitKind::UnregKern as i32].contains(&kind);
        match code as u32 {
            _ if kind > ScxExitKind::UnregKern as i32 => ExitCause::Error,
            _ if !by_code => ExitCause::Unloaded,
            intf::vnuma_exit_VNUMA_EXIT_SILENCE => ExitCause::Silence,
            _ if has(*SCX_ECODE_RSN_HOTPLUG) => ExitCause::Hotplug,
            _ if has(*SCX_ECODE_ACT_RESTART) => ExitCause::Restart,
            _ => ExitCause::Unloaded,
        }
    }
}

/// How the scheduler class ended, in the kernel's words too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Why.
    pub cause: ExitCause,
    /// The kernel's reason and the class's message; empty if it has not ended by itself.
    pub text: String,
    /// The state of the scheduler and of its tasks when an error ended it, else empty.
    pub dump: String,
}

impl Exit {
    /// The daemon unloaded it, and the kernel said nothing.
    pub fn unloaded() -> Self {
        Exit { cause: ExitCause::Unloaded, text: String::new(), dump: String::new() }
    }
}

/// The text in a fixed array that C filled.
pub(super) fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|&char| char as u8).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The dump that the class recorded, empty if none.
pub(super) fn dump() -> String {
    let dump = scx_utils::UEI_DUMP_PTR_MUTEX.lock().unwrap_or_else(|err| err.into_inner());
    if dump.ptr.is_null() {
        return String::new();
    }
    // SAFETY: it points to the loaded skeleton's mapped value, which ends with a 0, as the kernel's text does.
    unsafe { CStr::from_ptr(dump.ptr) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_a_silent_daemon_from_hotplug() {
        let unreg = ScxExitKind::UnregBPF as i32;
        // As in the kernel's enum scx_exit_code.
        let (hotplug, restart) = (1 << 32, 1 << 48);
        let cause = |code: i64| ExitCause::of(unreg, code);
        assert_eq!(cause(i64::from(intf::vnuma_exit_VNUMA_EXIT_SILENCE)), ExitCause::Silence);
        assert_eq!(ExitCause::of(ScxExitKind::ErrorStall as i32, 0), ExitCause::Error);
        assert_eq!(ExitCause::of(ScxExitKind::Unreg as i32, 0), ExitCause::Unloaded);
        assert_eq!(ExitCause::of(ScxExitKind::SysRq as i32, 0), ExitCause::Error);
        // Read from the running kernel's BTF, if it has sched_ext.
        if *SCX_ECODE_RSN_HOTPLUG != 0 {
            assert_eq!(cause(hotplug | restart), ExitCause::Hotplug);
            assert_eq!(cause(restart), ExitCause::Restart);
        }
    }

    #[test]
    fn text_ends_at_the_first_zero() {
        assert_eq!(text(&[b'a' as c_char, b'b' as c_char, 0, b'c' as c_char]), "ab");
        assert_eq!(text(&[b'x' as c_char]), "x");
    }
}
