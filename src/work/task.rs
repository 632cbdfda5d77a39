//! The guest's tasks, as listed by the scheduler class's BPF task iterator.

use std::borrow::Cow;
use std::io::{self, Read};

use crate::bpf::{intf, Plain};
use crate::cell::NodeId;

/// Scheduling policies by number (include/uapi/linux/sched.h).
pub mod policy {
    /// The default policy.
    pub const NORMAL: u32 = 0;
    /// CPU-bound batch work.
    pub const BATCH: u32 = 3;
    /// Runs only when nothing else does.
    pub const IDLE: u32 = 5;
    /// Scheduled by the sched_ext scheduler, if one is loaded.
    pub const EXT: u32 = 7;
}

/// A user task that can be migratable: not a kernel thread, not a real-time or deadline task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// Thread id.
    pub tid: i32,
    /// Process id.
    pub tgid: i32,
    /// The parent's process id.
    pub parent_tgid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Nice value, which a change of policy keeps.
    pub nice: i32,
    /// Current policy ([`policy`]).
    pub policy: u32,
    /// Policy when the task was selected; equals `policy` for a task that isn't SCHED_EXT.
    pub own_policy: u32,
    /// True if the daemon made the task migratable.
    pub is_selected: bool,
    /// True if the scheduler class has a record of the task; false for tasks forked after it was unloaded.
    pub is_recorded: bool,
    /// Cgroup id (v2).
    pub cgroup_id: u64,
    /// CPU time as a migratable task, ns.
    pub run_ns: u64,
    /// Resident memory of the process, on the first thread of a migratable process only; otherwise 0.
    pub rss_bytes: u64,
    /// Page faults so far, for migratable tasks. The first thread's include those of threads that ended.
    pub nr_faults: u64,
    /// Start time, ns of CLOCK_BOOTTIME.
    pub started_at_ns: u64,
    /// The node on which the kernel side has placed its process, if it has placed it.
    pub placed_node: Option<NodeId>,
    /// Name, padded with zeros.
    pub(crate) comm: [u8; 16],
}

impl TaskRecord {
    /// The task's name, to show it.
    pub fn comm(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.comm_bytes())
    }

    /// The task's name as the kernel has it: any bytes. The kernel keeps the first 15, and may cut within a character.
    pub fn comm_bytes(&self) -> &[u8] {
        let len = self.comm.iter().position(|&byte| byte == 0).unwrap_or(self.comm.len());
        &self.comm[..len]
    }

    /// Return true if the scheduler class schedules the task.
    pub fn is_migratable(&self) -> bool {
        self.policy == policy::EXT
    }

    /// Return true if the task became migratable by `scx_vnuma exec` or by its own call, not by selection.
    pub fn is_migratable_by_choice(&self) -> bool {
        self.is_migratable() && !self.is_selected
    }
}

impl From<intf::vnuma_task_record> for TaskRecord {
    fn from(raw: intf::vnuma_task_record) -> Self {
        let has = |flag| raw.flags & flag != 0;
        TaskRecord {
            tid: raw.tid,
            tgid: raw.tgid,
            parent_tgid: raw.parent_tgid,
            uid: raw.uid,
            nice: raw.nice,
            policy: raw.policy,
            own_policy: raw.own_policy,
            is_selected: has(intf::vnuma_task_flags_VNUMA_TASK_SELECTED),
            is_recorded: has(intf::vnuma_task_flags_VNUMA_TASK_RECORDED),
            cgroup_id: raw.cgroup_id,
            run_ns: raw.run_ns,
            rss_bytes: raw.rss_pages.saturating_mul(procfs::page_size()),
            nr_faults: raw.nr_faults,
            started_at_ns: raw.started_at_ns,
            placed_node: u32::try_from(raw.placed_node).ok().map(NodeId),
            comm: raw.comm.map(|c| c as u8),
        }
    }
}

/// Read all records of the iterator into `tasks`, which is cleared first. The iterator may be that of another release.
pub fn read_tasks(mut iterator: impl Read, tasks: &mut Vec<TaskRecord>) -> io::Result<()> {
    const BUFFER_LEN: usize = 256 * RECORD_LEN;

    let mut buffer = [0u8; BUFFER_LEN];
    let mut filled = 0;
    tasks.clear();
    loop {
        let len = iterator.read(&mut buffer[filled..])?;
        if len == 0 {
            return if filled == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        filled += len;
        let mut taken = 0;
        // A read may end in the middle of a record.
        while let Some((record, record_len)) = first_record(&buffer[taken..filled])? {
            tasks.push(record);
            taken += record_len;
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
}

const RECORD_LEN: usize = size_of::<intf::vnuma_task_record>();

/// The record at the start of `bytes`, and its length there; `None` if it isn't whole.
fn first_record(bytes: &[u8]) -> io::Result<Option<(TaskRecord, usize)>> {
    /// Records of later releases may be longer.
    const RECORD_LEN_MAX: usize = 4096;

    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (Some(version), Some(len)) = (word(0), word(4)) else { return Ok(None) };
    let len = len as usize;
    if version != intf::vnuma_record_VNUMA_RECORD_VERSION || !(RECORD_LEN..=RECORD_LEN_MAX).contains(&len) {
        let reason = "the records are of another release of scx_vnuma; run `scx_vnuma restore` of that one";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let record = bytes.get(..len).and_then(intf::vnuma_task_record::from_bytes);
    Ok(record.map(|record| (TaskRecord::from(record), len)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bpf::NoPadding;

    /// A normal task of nice value 0, named `comm`, for tests to modify.
    pub(crate) fn task(tid: i32, comm: impl AsRef<[u8]>) -> TaskRecord {
        let (mut name, comm) = ([0; 16], comm.as_ref());
        name[..comm.len()].copy_from_slice(comm);
        TaskRecord {
            tid,
            tgid: tid,
            parent_tgid: 1,
            uid: 0,
            nice: 0,
            policy: policy::NORMAL,
            own_policy: policy::NORMAL,
            is_selected: false,
            is_recorded: true,
            cgroup_id: 1,
            run_ns: 0,
            rss_bytes: 0,
            nr_faults: 0,
            started_at_ns: 0,
            placed_node: None,
            comm: name,
        }
    }

    #[test]
    fn a_name_is_shown_though_it_is_cut_within_a_character() {
        assert_eq!(task(7, &"verschlüsselung".as_bytes()[..8]).comm(), "verschl\u{fffd}");
        assert_eq!(task(7, "grün").comm(), "grün");
        assert_eq!(task(7, [b'x'; 16]).comm_bytes(), [b'x'; 16]);
    }

    /// Returns its bytes in reads of at most `step` bytes.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            let (now, rest) = self.0.split_at(len);
            buffer[..len].copy_from_slice(now);
            self.0 = rest;
            Ok(len)
        }
    }

    #[test]
    fn records_split_over_reads_are_put_together() {
        let raw: Vec<u8> = (1..=700)
            .flat_map(|tid| {
                let record = intf::vnuma_task_record { tid, ..intf::vnuma_task_record::empty() };
                record.as_bytes().to_vec()
            })
            .collect();
        let mut tasks = Vec::new();
        read_tasks(Trickle(&raw, 37), &mut tasks).unwrap();
        assert_eq!(tasks.len(), 700);
        assert!(tasks.iter().zip(1..).all(|(task, tid)| task.tid == tid));
    }

    #[test]
    fn an_impossible_size_is_the_largest_one() {
        let record = intf::vnuma_task_record { rss_pages: u64::MAX, ..intf::vnuma_task_record::empty() };
        let mut tasks = Vec::new();
        read_tasks(record.as_bytes(), &mut tasks).unwrap();
        assert_eq!(tasks[0].rss_bytes, u64::MAX);
    }

    #[test]
    fn half_a_record_at_the_end_is_an_error() {
        let raw = intf::vnuma_task_record::empty();
        let half = &raw.as_bytes()[..40];
        assert!(read_tasks(half, &mut Vec::new()).is_err());
    }

    #[test]
    fn longer_records_of_a_later_release_are_read_and_others_are_refused() {
        let of_len = |size: usize, tid| {
            let record = intf::vnuma_task_record { tid, size: size as u32, ..intf::vnuma_task_record::empty() };
            [record.as_bytes(), &[0xff; 16]].concat()[..size.min(RECORD_LEN + 16)].to_vec()
        };
        let mut tasks = Vec::new();
        let longer = [of_len(RECORD_LEN + 16, 1), of_len(RECORD_LEN + 16, 2)].concat();
        read_tasks(Trickle(&longer, 50), &mut tasks).unwrap();
        assert_eq!(tasks.iter().map(|task| task.tid).collect::<Vec<_>>(), [1, 2]);

        let other = intf::vnuma_task_record { version: 7, ..intf::vnuma_task_record::empty() };
        for bytes in [other.as_bytes(), &of_len(RECORD_LEN - 8, 1), &of_len(1 << 20, 1)] {
            let message = read_tasks(bytes, &mut tasks).unwrap_err().to_string();
            assert!(message.contains("another release"), "{message}");
        }
    }
}
