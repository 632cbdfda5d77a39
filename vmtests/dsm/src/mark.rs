//! Marks: how a program in the machine tells the plugin that a phase begins.
//!
//! A mark is a store of an ordinary program to its own memory, by an instruction that no compiler makes: its displacement is a
//! number of ours. The plugin recognises the instruction when it translates it, and reads the stored words, which spell the phase's
//! name. So a mark needs no device and no privilege, takes effect between two instructions, and does nothing on a machine without
//! the plugin, or on a real one.

/// The instruction: `mov %rcx, -0x5eadbee0(%rax)`.
pub const INSTRUCTION: [u8; 7] = [0x48, 0x89, 0x88, 0x20, 0x41, 0x52, 0xa1];

/// Bytes of a name that are kept.
pub const NAME_BYTES_MAX: usize = 64;

/// Begins a phase in the plugin's counts, and ends the one before it. Names have up to 64 bytes of ASCII; the rest is cut off.
/// Two programs must not do so at the same time.
#[cfg(target_arch = "x86_64")]
pub fn begin_phase(name: &str) {
    for word in words(name) {
        let mut place = 0_u64;
        // SAFETY: the instruction stores 8 bytes at rax minus the displacement, which is `place`; it changes no register and no
        // flag.
        unsafe {
            std::arch::asm!(
                "mov qword ptr [rax - 0x5eadbee0], rcx",
                in("rax") (&raw mut place).wrapping_byte_add(0x5ead_bee0),
                in("rcx") word,
                options(nostack, preserves_flags),
            );
        }
        std::hint::black_box(place);
    }
}

/// Without the instruction there is no mark.
#[cfg(not(target_arch = "x86_64"))]
pub fn begin_phase(_name: &str) {}

/// A name as the words that are stored: its bytes, and at least one zero byte after them, which is in the last word.
fn words(name: &str) -> Vec<u64> {
    let mut bytes: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(NAME_BYTES_MAX).collect();
    bytes.resize(bytes.len() / 8 * 8 + 8, 0);
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("BUG: chunks have 8 bytes"))).collect()
}

/// Puts a name together from the words that were stored.
#[derive(Default)]
pub struct Name(Vec<u8>);

impl Name {
    /// Adds a word. Returns the name with its last word, and is empty again then.
    pub fn push(&mut self, word: u64) -> Option<String> {
        let bytes = word.to_le_bytes();
        let length = bytes.iter().position(|byte| *byte == 0);
        self.0.extend(&bytes[..length.unwrap_or(bytes.len())]);
        self.0.truncate(NAME_BYTES_MAX);
        length.map(|_| String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_arrive() {
        let mut name = Name::default();
        for text in ["", "idle", "8 bytes.", "a phase with a longer name"] {
            let words = words(text);
            let (last, first) = words.split_last().unwrap();
            assert!(first.iter().all(|word| name.push(*word).is_none()));
            assert_eq!(name.push(*last).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_off() {
        let mut name = Name::default();
        let arrived = words(&"x".repeat(200)).into_iter().find_map(|word| name.push(word));
        assert_eq!(arrived, Some("x".repeat(NAME_BYTES_MAX)));
        assert_eq!((0..100).find_map(|_| name.push(u64::MAX)), None);
        assert_eq!(name.push(0).map(|name| name.len()), Some("\u{fffd}".len() * NAME_BYTES_MAX));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_mark_is_the_instruction_that_the_plugin_looks_for_and_does_nothing_else() {
        begin_phase("a phase with a longer name");
        let function: fn(&str) = begin_phase;
        // SAFETY: the function's own code, which is readable, and what follows it in the same section.
        let code = unsafe { std::slice::from_raw_parts(function as *const u8, 512) };
        assert!(code.windows(INSTRUCTION.len()).any(|bytes| bytes == INSTRUCTION));
    }
}
