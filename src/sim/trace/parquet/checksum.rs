//! The checksums of a row and of the metadata.

use super::{Head, Sums};
use crate::sim::trace::{TracedTask, UsageWindow};

/// CRC-32 of all values of a task and its windows, in the order of the columns, little-endian. A missing time counts as
/// its absence. The memory request is the last one, where the file has it. `bytes` is reused: a checksum of one piece is much faster
/// than that of many short ones.
pub(super) fn of_task(
    task: &TracedTask,
    has_memory_request: bool,
    windows: &[UsageWindow],
    bytes: &mut Vec<u8>,
) -> u32 {
    bytes.clear();
    bytes.extend_from_slice(&task.id.job.to_le_bytes());
    bytes.extend_from_slice(&task.id.index.to_le_bytes());
    for time_us in [task.submit_us, task.schedule_us, task.end_us] {
        bytes.push(time_us.is_some().into());
        bytes.extend_from_slice(&time_us.unwrap_or(0).to_le_bytes());
    }
    bytes.extend_from_slice(&task.request_cpus.to_le_bytes());
    bytes.extend_from_slice(&task.priority.to_le_bytes());
    bytes.extend_from_slice(&(windows.len() as u64).to_le_bytes());
    windows.iter().for_each(|window| bytes.extend_from_slice(&bytes_of(window)));
    if has_memory_request {
        bytes.extend_from_slice(&task.request_memory.to_le_bytes());
    }
    crc32fast::hash(bytes)
}

fn bytes_of(window: &UsageWindow) -> [u8; 24] {
    let UsageWindow { start_us, cpu_mean, cpu_max, memory, accesses_per_instruction } = *window;
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&start_us.to_le_bytes());
    for (place, value) in bytes[8..].chunks_exact_mut(4).zip([cpu_mean, cpu_max, memory, accesses_per_instruction]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

impl Head {
    /// Set the sums, with the checksum of the head itself.
    pub(super) fn seal(&mut self, tasks: u64, windows: u64) {
        self.sums = Some(Sums { tasks, windows, head_crc32: 0 });
        let head_crc32 = self.crc32();
        self.sums = Some(Sums { tasks, windows, head_crc32 });
    }

    /// Return true if the head is as it was sealed, or never was.
    pub(super) fn is_whole(&self) -> bool {
        self.sums.is_none_or(|sums| {
            let unsealed = Head { sums: Some(Sums { head_crc32: 0, ..sums }), ..self.clone() };
            unsealed.crc32() == sums.head_crc32
        })
    }

    fn crc32(&self) -> u32 {
        crc32fast::hash(&serde_json::to_vec(self).expect("BUG: a head is plain data"))
    }
}
