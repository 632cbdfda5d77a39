//! The C structs of `intf.h` as bytes, which is how maps and syscall programs exchange them.

use super::intf;

/// A type for which every bit pattern is a valid value: an integer, or an array or C struct of such types.
///
/// # Safety
/// Every bit pattern must be valid, and there must be no references. Use `plain!` for structs.
pub unsafe trait Plain: Copy {
    /// The value whose bytes are all 0.
    fn zeroed() -> Self {
        // SAFETY: every bit pattern is valid (the trait's contract).
        unsafe { std::mem::zeroed() }
    }

    /// The value at the start of `bytes`, or `None` if `bytes` is too short.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        // SAFETY: long enough, read unaligned, and every bit pattern is valid.
        Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
    }
}

/// A [`Plain`] type without padding. Padding is uninitialised memory, which must not be given to the kernel.
///
/// # Safety
/// The type must have no padding. Use `plain!` for structs.
pub unsafe trait NoPadding: Plain {
    /// Its bytes, for the kernel to read: a map's key or value.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: all bytes are initialised (the trait's contract), and the slice borrows self.
        unsafe { std::slice::from_raw_parts((self as *const Self).cast(), size_of::<Self>()) }
    }

    /// Its bytes, for the kernel to read and write: a syscall program's argument.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: all bytes are initialised (the trait's contract), every bit pattern is valid, the slice borrows self.
        unsafe { std::slice::from_raw_parts_mut((self as *mut Self).cast(), size_of::<Self>()) }
    }
}

/// Implements [`Plain`] for structs of `intf.h` with all their fields given, and [`NoPadding`] for those marked `packed`.
///
/// It doesn't compile if a field is missing or isn't [`Plain`], or if a struct marked `packed` has padding.
macro_rules! plain {
    (@ padded $name:ident) => {};
    (@ packed $name:ident) => {
        // SAFETY: all fields are integers or arrays or structs of them, for which 0 is valid.
        const ZEROED: intf::$name = unsafe { std::mem::MaybeUninit::zeroed().assume_init() };
        assert!(
            size_of_fields(&ZEROED) == size_of::<intf::$name>(),
            concat!(stringify!($name), " has padding: add _pad members to it in intf.h")
        );
        // SAFETY: asserted above; fields that are structs are checked where they implement the trait themselves.
        unsafe impl NoPadding for intf::$name {}
    };
    ($($kind:ident $name:ident { $($field:ident),+ })+) => {$(
        const _: () = {
            #[allow(dead_code)]
            const fn size_of_fields(value: &intf::$name) -> usize {
                const fn size<T: Plain>(_: &T) -> usize {
                    size_of::<T>()
                }
                let intf::$name { $($field),+ } = value;
                0 $(+ size($field))+
            }
            plain!(@ $kind $name);
        };
        // SAFETY: size_of_fields() has every field, and takes only fields of plain types.
        unsafe impl Plain for intf::$name {}
    )+};
}

plain! {
    packed vnuma_destination { first, second }
    packed vnuma_node_plan { limit, spread_weight, fallback, flags }
    packed vnuma_target {
        epoch, version, limited_nodes, hit_nodes, left_nodes, resting_nodes, nr_destinations, destination, spread_total
    }
    packed vnuma_placement { epoch, node, _pad }
    packed vnuma_process_node { tgid, node }
    packed vnuma_run_time { run_ns, stolen_ns, wait_ns }
    packed vnuma_retarget_args {
        nr_destinations, destination, keeps_queues, known_hits, resting_nodes, nodes, nr_moved, nr_kicked, epoch
    }
    packed vnuma_node_args { node }
    packed vnuma_hit { at_ns, run_ns, stolen_ns, node, is_left }
    packed vnuma_counters_args { rested_ns, nr_queued, has_cpu_times, has_steal_times }
    packed vnuma_steal_args { steal_ns }
    packed vnuma_select_args { started_at_ns, tid, selected, own_policy, _pad }
    packed vnuma_quota_args { cgroup_id, period_ns, quota_ns, index, parent }
    packed vnuma_task_record {
        version, size, cgroup_id, run_ns, rss_pages, nr_faults, started_at_ns, tid, tgid, parent_tgid, uid, nice, policy, own_policy, flags,
        placed_node, _pad, comm
    }
    packed vnuma_wakeup_pair { waker, wakee, count, seen_at }
    packed vnuma_wakeups { nr_skip, _pad, pairs }
    padded vnuma_node_stats {
        vtime_now, run_ns, stolen_ns, nr_runs, nr_elsewhere, nr_stragglers, nr_arrived, nr_running, nr_execs, budget_ns,
        refilled_at, wakes_at, nr_throttled, rested_ns, nr_rests, excess_ns, excess_run_ns, excess_stolen_ns, hit_at, nr_hits
    }
}

/// Implements [`Plain`] for integers. C's `char` is `i8` or `u8`, depending on the architecture.
macro_rules! plain_integers {
    ($($integer:ty)+) => {$(
        // SAFETY: every bit pattern of an integer is valid.
        unsafe impl Plain for $integer {}
    )+};
}

plain_integers! { i8 u8 i32 u32 i64 u64 }

// SAFETY: every bit pattern of each element is valid, and an array consists of its elements only.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_has_its_fields_and_zeros_between() {
        let value = intf::vnuma_placement { epoch: 7, node: 2, ..Plain::zeroed() };
        let bytes = [&7u64.to_ne_bytes()[..], &2i32.to_ne_bytes(), &[0; 4]].concat();
        assert_eq!(value.as_bytes(), bytes);
        let read = intf::vnuma_placement::from_bytes(&bytes).unwrap();
        assert_eq!((read.epoch, read.node), (7, 2));
    }

    #[test]
    fn too_few_bytes_are_no_value() {
        assert!(intf::vnuma_run_time::from_bytes(&[0; 23]).is_none());
        assert!(intf::vnuma_run_time::from_bytes(&[0; 24]).is_some());
    }
}
