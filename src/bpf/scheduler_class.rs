//! The scheduler class in the kernel: loading it, the plan in force, its counters, its pins.

use std::collections::HashMap;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use libbpf_rs::{MapCore, MapFlags, OpenObject};
use scx_utils::{compat, scx_ops_attach, scx_ops_load, scx_ops_open, uei_exited};

use super::class::Class;
use super::counters::{KernelCounters, MappedCpuTimes};
use super::exit::{self, Exit, ExitCause};
use super::hits::Hits;
use super::pins::{pins, PINNED_TASKS, PIN_DIR};
use super::plan::{KernelPlan, Steering};
use super::quota::KernelQuota;
use super::steal::StealReader;
use super::timers::init_timers;
use super::wakeups::{self, WakeupReader};
use super::{intf, run, run_bare, BpfSkel, BpfSkelBuilder, NoPadding, Plain, CPU_IDS, NODE_IDS};
use crate::cell::NodeId;
use crate::linux::CpuSet;

/// The kernel's name of the scheduler, without the suffix for the version.
pub const OPS_NAME: &str = "vnuma";

/// How the scheduler class is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The first destination of migratable work after loading.
    pub start_node: NodeId,
    /// Take over every ordinary task, not only SCHED_EXT ones.
    pub switch_all: bool,
    /// Plans will send processes to nodes of their own ([`SchedulerClass::place`]).
    pub places_processes: bool,
    /// Plans will have limits, spread weights and fallbacks; `places_processes` is then implied.
    pub steering: Option<Steering>,
    /// Sample who wakes whom ([`SchedulerClass::wakeup_reader`]).
    pub samples_wakeups: bool,
    /// Length of the exit report's dump in bytes; 0 for the kernel's default.
    pub exit_dump_len: u32,
    /// Print the messages of libbpf and the verifier.
    pub verbose: bool,
}

/// The effects of a change of plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Retargeted {
    /// The number of the plan now in force.
    pub epoch: u64,
    /// Number of queued tasks moved to another node's queue; sleeping tasks move when they wake.
    pub nr_moved: u32,
    /// Number of CPUs that were made to reschedule.
    pub nr_kicked: u32,
}

/// A node's counters since load, as its CPUs keep them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Time that migratable tasks held a CPU of the node, ns.
    pub run_ns: u64,
    /// The part of it in which the host ran something else, ns.
    pub stolen_ns: u64,
    /// Time for which CPUs of the node gave way to others while tasks were queued, ns.
    pub rested_ns: u64,
    /// Number of times that a migratable task was put on a CPU.
    pub nr_runs: u64,
    /// Those of them in which the task may not run on its destination.
    pub nr_elsewhere: u64,
    /// Those of them in which the task was sent on at once, because the plan had changed meanwhile.
    pub nr_stragglers: u64,
    /// Number of queued tasks that changes of plan moved to this node.
    pub nr_arrived: u64,
}

impl From<&intf::vnuma_node_stats> for NodeStats {
    fn from(stats: &intf::vnuma_node_stats) -> Self {
        NodeStats {
            run_ns: stats.run_ns,
            stolen_ns: stats.stolen_ns,
            rested_ns: stats.rested_ns,
            nr_runs: stats.nr_runs,
            nr_elsewhere: stats.nr_elsewhere,
            nr_stragglers: stats.nr_stragglers,
            nr_arrived: stats.nr_arrived,
        }
    }
}

/// CPU time of a process's migratable tasks on one node, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTime {
    /// Time on a CPU, ns.
    pub run_ns: u64,
    /// The part of it in which the host ran something else, ns.
    pub stolen_ns: u64,
    /// Time for which its threads were runnable but not running before they ran on the node, ns, summed over the threads. A
    /// thread that is still waiting adds its time once it runs.
    pub wait_ns: u64,
}

impl RunTime {
    /// Time for which it really ran, ns.
    pub fn used_ns(self) -> u64 {
        self.run_ns.saturating_sub(self.stolen_ns)
    }
}

/// [`RunTime`] by process id and node.
pub type RunTimes = HashMap<(u32, NodeId), RunTime>;

/// The loaded and attached scheduler class. Dropping it detaches it: tasks continue under the fair class.
pub struct SchedulerClass<'a> {
    skel: BpfSkel<'a>,
    cpu_times: MappedCpuTimes,
    link: Option<libbpf_rs::Link>,
}

impl<'a> SchedulerClass<'a> {
    /// Loads it, pins its maps and attaches it. `nodes` are the nodes with the ids of their CPUs, also of those that are
    /// offline; ids may have gaps.
    pub fn load<'n>(
        options: &LoadOptions,
        nodes: impl Iterator<Item = (NodeId, &'n CpuSet)>,
        object: &'a mut MaybeUninit<OpenObject>,
    ) -> Result<Self> {
        let mut builder = BpfSkelBuilder::default();
        builder.obj_builder.debug(options.verbose);
        let no_options: Option<libbpf_rs::libbpf_sys::bpf_object_open_opts> = None;
        let mut skel = scx_ops_open!(builder, object, vnuma_ops, no_options)?;

        let idle_per_node = *compat::SCX_OPS_BUILTIN_IDLE_PER_NODE;
        let immediate = *compat::SCX_OPS_ALWAYS_ENQ_IMMED;
        let ops = skel.struct_ops.vnuma_ops_mut();
        ops.exit_dump_len = options.exit_dump_len;
        // A wakeup of another node's task is one interrupt there instead of a lock and a queue of that node written from here.
        let queued_wakeup = *compat::SCX_OPS_ALLOW_QUEUED_WAKEUP;
        ops.flags = *compat::SCX_OPS_ENQ_LAST | idle_per_node | immediate | queued_wakeup;
        if !options.switch_all {
            ops.flags |= *compat::SCX_OPS_SWITCH_PARTIAL;
        }
        if immediate != 0 {
            ops.cpu_release = std::ptr::null_mut();
        }

        let knobs = skel.maps.rodata_data.as_deref_mut().context("BUG: the scheduler class has no .rodata")?;
        knobs.nr_possible_cpus = libbpf_rs::num_possible_cpus()? as u32;
        knobs.idle_per_node = idle_per_node != 0;
        knobs.start_node = options.start_node.0 as i32;
        knobs.places_processes = options.places_processes || options.steering.is_some();
        knobs.takes_all = options.switch_all;
        if let Some(steering) = &options.steering {
            knobs.steers = true;
            knobs.allowed_steal = (steering.allowed_steal_share * 1024.0).round() as u64;
            knobs.allowed_giving_way = (steering.allowed_giving_way_share * 1024.0).round() as u64;
            knobs.hit_giving_way_ns = steering.giving_way_threshold.as_nanos() as u64;
            knobs.hit_threshold_ns = steering.hit_threshold.as_nanos() as u64;
            knobs.hit_interval_ns = steering.hit_interval.as_nanos() as u64;
        }
        knobs.samples_wakeups = options.samples_wakeups;
        knobs.interrupt_mask = wakeups::interrupt_mask();
        knobs.nr_nodes = 0;
        knobs.cpu_nodes.fill(intf::vnuma_sentinel_VNUMA_NO_NODE);
        let nodes: Vec<(NodeId, &CpuSet)> = nodes.collect();
        for &(node, cpus) in &nodes {
            ensure!(node.0 < NODE_IDS, "node {node} is past the {NODE_IDS} nodes that scx_vnuma is built for");
            knobs.nr_nodes = knobs.nr_nodes.max(node.0 + 1);
            for cpu in cpus {
                let slot = knobs.cpu_nodes.get_mut(cpu as usize);
                *slot.with_context(|| format!("CPU {cpu} is past the {CPU_IDS} CPUs that scx_vnuma is built for"))? =
                    node.0 as i32;
            }
        }

        let nr_cpu_ids = nr_cpu_ids()?;
        // Each of its values is a page.
        let nr_timers = if options.steering.is_some() { nr_cpu_ids.min(CPU_IDS as usize) } else { 1 };
        skel.maps.rest_timers.set_max_entries(nr_timers as u32).context("sizing the map rest_timers")?;
        skel.progs.place_at_exec.set_autoload(options.steering.is_some());

        let mut skel = scx_ops_load!(skel, vnuma_ops, uei)?;
        // Pinned before it schedules, so that what a killed daemon leaves behind can always be undone.
        pin_maps(&mut skel)?;
        let cpu_times = MappedCpuTimes::of(&skel.maps.cpu_times, nr_cpu_ids)?;
        if options.steering.is_some() {
            init_timers(skel.progs.init_node_timers.as_fd(), &nodes)?;
        }
        let link = Some(scx_ops_attach!(skel, vnuma_ops)?);
        let mut class = SchedulerClass { skel, cpu_times, link };
        class.pin_task_iterator()?;
        Ok(class)
    }

    fn pin_task_iterator(&mut self) -> Result<()> {
        let link = self.skel.links.tasks.as_mut().context("BUG: the task iterator was not attached")?;
        link.pin(PINNED_TASKS).with_context(|| format!("pinning {PINNED_TASKS}"))
    }

    /// Mark a task, or remove the mark. Returns its own policy.
    fn mark(&self, tid: i32, started_at_ns: u64, selected: bool) -> Result<Option<u32>> {
        let selected = u32::from(selected);
        let mut args = intf::vnuma_select_args { started_at_ns, tid, selected, ..Plain::zeroed() };
        match run(&self.skel.progs.select_task, &mut args) {
            Ok(()) => Ok(Some(args.own_policy)),
            Err(err) if matches!(err.raw_os_error(), Some(libc::ESRCH | libc::EBUSY)) => Ok(None),
            Err(err) => Err(err).with_context(|| format!("marking task {tid} as migratable")),
        }
    }

    /// Returns the reader of the steal time of the CPU on which it is called.
    pub fn steal_reader(&self) -> Result<StealReader> {
        StealReader::of(&self.skel.progs.read_steal)
    }

    /// Returns a reader of the sampled wakeups, if the scheduler was loaded with [`LoadOptions::samples_wakeups`].
    pub fn wakeup_reader(&self) -> Result<WakeupReader> {
        WakeupReader::of(&self.skel.maps.wakeups)
    }

    /// The queue of hits, if the scheduler was loaded with [`LoadOptions::steering`].
    pub fn hits(&self) -> Result<Hits<'_>> {
        Hits::of(&self.skel.maps.hits)
    }

    fn put_in_force(&self, plan: &KernelPlan, keeps_queues: bool) -> Result<Retargeted> {
        let mut args = plan.to_args(keeps_queues);
        run(&self.skel.progs.retarget, &mut args)
            .with_context(|| format!("sending migratable work to node {}", plan.first))?;
        Ok(Retargeted { epoch: args.epoch, nr_moved: args.nr_moved, nr_kicked: args.nr_kicked })
    }

    fn run_times_of(&self, processes: &[u32], nr_nodes: u32) -> Result<RunTimes> {
        let mut run_times = RunTimes::new();
        for &tgid in processes {
            for node in 0..nr_nodes {
                let key = intf::vnuma_process_node { tgid, node: node as i32 };
                let value = self.skel.maps.process_run_time.lookup(key.as_bytes(), MapFlags::ANY)?;
                if let Some(run_time) = value.as_deref().and_then(run_time) {
                    run_times.insert((tgid, NodeId(node)), run_time);
                }
            }
        }
        Ok(run_times)
    }

    fn all_run_times(&self) -> Result<RunTimes> {
        const BATCH: u32 = 4096;
        let entries = self.skel.maps.process_run_time.lookup_batch(BATCH, MapFlags::ANY, MapFlags::ANY)?;
        let typed = entries.filter_map(|(key, value)| {
            let key = intf::vnuma_process_node::from_bytes(&key)?;
            let node = NodeId(u32::try_from(key.node).ok()?);
            Some(((key.tgid, node), run_time(&value)?))
        });
        Ok(typed.collect())
    }

    /// Detaches it, removes the pins, and returns how it ended.
    pub fn unload(mut self) -> Exit {
        drop(self.link.take());
        pins().remove();
        let Some(data) = self.skel.maps.data_data.as_ref() else { return Exit::unloaded() };
        let (reason, message) = (exit::text(&data.uei.reason), exit::text(&data.uei.msg));
        let text = if message.is_empty() { reason } else { format!("{reason} ({message})") };
        Exit { cause: ExitCause::of(data.uei.kind, data.uei.exit_code), text, dump: exit::dump() }
    }
}

impl Class for SchedulerClass<'_> {
    fn place(&self, epoch: u64, placements: &[(u32, NodeId)]) -> Result<()> {
        if placements.is_empty() {
            return Ok(());
        }
        let keys: Vec<u8> = placements.iter().flat_map(|(tgid, _)| tgid.to_ne_bytes()).collect();
        let mut values = Vec::with_capacity(size_of_val(placements) * 2);
        for (_, node) in placements {
            let value = intf::vnuma_placement { epoch, node: node.0 as i32, ..Plain::zeroed() };
            values.extend_from_slice(value.as_bytes());
        }
        let count = placements.len() as u32;
        let map = &self.skel.maps.placement;
        map.update_batch(&keys, &values, count, MapFlags::ANY, MapFlags::ANY)
            .with_context(|| format!("placing {count} processes"))
    }

    fn placement(&self, tgid: u32) -> Result<Option<NodeId>> {
        let value = self.skel.maps.placement.lookup(&tgid.to_ne_bytes(), MapFlags::ANY)?;
        let own = value.as_deref().and_then(intf::vnuma_placement::from_bytes);
        Ok(own.and_then(|own| u32::try_from(own.node).ok()).map(NodeId))
    }

    fn retarget(&self, plan: &KernelPlan) -> Result<Retargeted> {
        self.put_in_force(plan, false)
    }

    fn update(&self, plan: &KernelPlan) -> Result<Retargeted> {
        self.put_in_force(plan, true)
    }

    fn select(&self, tid: i32, started_at_ns: u64) -> Result<Option<u32>> {
        self.mark(tid, started_at_ns, true)
    }

    fn unselect(&self, tid: i32, started_at_ns: u64) -> Result<bool> {
        Ok(self.mark(tid, started_at_ns, false)?.is_some())
    }

    fn task_records(&self) -> Result<Box<dyn Read + '_>> {
        let link = self.skel.links.tasks.as_ref().context("BUG: the task iterator was not attached")?;
        Ok(Box::new(libbpf_rs::Iter::new(link).context("starting the task iterator")?))
    }

    fn counters(&self) -> Result<KernelCounters> {
        let mut args = intf::vnuma_counters_args::zeroed();
        run(&self.skel.progs.read_counters, &mut args).context("reading the CPUs' counters")?;
        let cpu_times = (args.has_cpu_times != 0).then(|| self.cpu_times.online());
        Ok(KernelCounters {
            cpu_times,
            nr_queued: args.nr_queued.to_vec(),
            rested_ns: args.rested_ns.to_vec(),
            can_give_way: args.has_steal_times != 0 && !cannot_kick_cpus(),
        })
    }

    fn run_times(&self, processes: Option<&[u32]>) -> Result<RunTimes> {
        /// Reading the whole map takes at least as long as this many look-ups: it visits every bucket, and most are empty.
        const LOOKUPS_MAX: usize = 256;
        let nr_nodes = self.skel.maps.rodata_data.as_ref().map_or(0, |knobs| knobs.nr_nodes);
        match processes {
            Some(processes) if processes.len() * nr_nodes as usize <= LOOKUPS_MAX => {
                self.run_times_of(processes, nr_nodes)
            }
            _ => self.all_run_times(),
        }
    }

    fn keeps_quotas(&self) -> bool {
        // Where idle CPUs can't be woken for the tasks that a quota lets go, these would get a third of it.
        !cannot_kick_cpus()
    }

    fn set_quota(&self, quota: &KernelQuota) -> Result<()> {
        run(&self.skel.progs.set_quota, &mut quota.to_args())
            .with_context(|| format!("setting the CPU quota of the cgroup with id {}", quota.cgroup_id))
    }

    fn node_stats(&self, node: NodeId) -> Result<NodeStats> {
        let value = self.skel.maps.node_stats.lookup(&node.0.to_ne_bytes(), MapFlags::ANY)?;
        let stats = value.as_deref().and_then(intf::vnuma_node_stats::from_bytes);
        let stats = stats.with_context(|| format!("BUG: no counters for node {node}"))?;
        Ok(NodeStats::from(&stats))
    }

    fn note_alive(&self) -> Result<()> {
        run_bare(&self.skel.progs.note_alive).context("telling the scheduler class that the daemon is alive")
    }

    fn has_exited(&self) -> bool {
        uei_exited!(&self.skel, uei)
    }
}

/// One more than the largest id of a possible CPU. Ids may have gaps, so there may be fewer CPUs.
fn nr_cpu_ids() -> Result<usize> {
    const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

    let text = std::fs::read_to_string(POSSIBLE).with_context(|| format!("reading {POSSIBLE}"))?;
    let possible = CpuSet::from_list(&text).with_context(|| format!("reading {POSSIBLE}"))?;
    Ok(possible.iter().last().map_or(0, |cpu| cpu as usize + 1))
}

fn run_time(value: &[u8]) -> Option<RunTime> {
    let value = intf::vnuma_run_time::from_bytes(value)?;
    Some(RunTime { run_ns: value.run_ns, stolen_ns: value.stolen_ns, wait_ns: value.wait_ns })
}

fn pin_maps(skel: &mut BpfSkel<'_>) -> Result<()> {
    pins().make()?;
    let maps = &mut skel.maps;
    for (map, name) in [
        (&mut maps.target, "target"),
        (&mut maps.node_plans, "node_plans"),
        (&mut maps.node_stats, "node_stats"),
        (&mut maps.process_run_time, "process_run_time"),
        (&mut maps.placement, "placement"),
    ] {
        let path = Path::new(PIN_DIR).join(name);
        map.pin(&path).with_context(|| format!("pinning {}", path.display()))?;
    }
    Ok(())
}

/// Returns true on kernels whose BTF, generated by an old pahole, has the wrong prototype for `scx_bpf_kick_cpu`.
pub fn cannot_kick_cpus() -> bool {
    is_malformed("scx_bpf_kick_cpu")
}

/// Returns true on such kernels if they have the wrong prototype for `scx_bpf_exit_bstr`: the class can't end by itself
/// without an error, so it doesn't if the daemon is silent.
pub fn cannot_exit() -> bool {
    is_malformed("scx_bpf_exit_bstr")
}

fn is_malformed(name: &str) -> bool {
    compat::malformed_scx_kfuncs().iter().any(|kfunc| kfunc == name)
}
