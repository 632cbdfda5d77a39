/* SPDX-License-Identifier: GPL-2.0-only */
/* Knobs, maps, per-task and per-CPU contexts, and the look-ups that every other part builds on. */
#ifndef VNUMA_BPF_H
#define VNUMA_BPF_H

#include <scx/common.bpf.h>
#include "intf.h"

/*
 * Kernels built with pahole before 1.26 give these kfuncs an extra argument in BTF, which no program can pass. As a weak
 * symbol of the usual type, libbpf treats the mismatch as an absent kfunc: see can_kick().
 */
void scx_bpf_kick_cpu___compat(s32 cpu, u64 flags) __ksym __weak;
const struct cpumask *scx_bpf_get_idle_cpumask_node___compat(int node) __ksym __weak;
const struct cpumask *scx_bpf_get_idle_cpumask___compat(void) __ksym __weak;

#define NSEC_PER_MSEC	 1000000ULL
#define CLAMP(x, lo, hi) ((x) < (lo) ? (lo) : (x) > (hi) ? (hi) : (x))

/* Knobs: set by the daemon before load. */

const volatile u32 nr_nodes = 1;
const volatile u32 nr_possible_cpus = 1;
const volatile bool idle_per_node;

/* The node of each CPU that was present when the daemon loaded us, online or not, else VNUMA_NO_NODE. Node ids may have gaps. */
const volatile s32 cpu_nodes[VNUMA_MAX_CPUS];

/* The initial plan sends all migratable tasks to this node. */
const volatile s32 start_node;

/* Plans may place individual processes (the placement map), not only name a destination for all. */
const volatile bool places_processes;

/* Every ordinary task is ours, not only those of policy SCHED_EXT. */
const volatile bool takes_all;

/*
 * Plans steer more than destinations: they may limit nodes, spread processes at exec and name fallbacks. If not, the verifier
 * drops all of that from the callbacks.
 */
const volatile bool steers;

/* Wakeups are sampled, for policies that keep tasks together that share memory. If not, the verifier drops all of that. */
const volatile bool samples_wakeups;

/* The bits of a CPU's preemption count that are set in an interrupt or softirq. Their places differ between kernels. */
const volatile u32 interrupt_mask;

/* A node's budget is at most what its limit allows in this time. */
const volatile u64 limit_period_ns = 10 * NSEC_PER_MSEC;

/* A CPU that waited for budget may resume this much too late, as vCPUs do on busy hosts, without losing any. */
const volatile u64 limit_late_max_ns = 100 * NSEC_PER_MSEC;

/*
 * A node is hit once the steal time beyond an allowed share of its run time, in 1/1024, sums up to the threshold for each CPU
 * that runs migratable tasks. Sums below 0 are 0: a CUSUM test, which notices a lasting change and forgets noise.
 */
const volatile u64 allowed_steal = 102;
/*
 * Where work gives way, others have what they want of a CPU within a few ms, so only those are evidence that want it for most of the
 * time: after three time slices of their host and the rests between them they add up to the threshold.
 */
const volatile u64 allowed_giving_way = 512;
const volatile u64 hit_giving_way_ns = 5 * NSEC_PER_MSEC;
const volatile u64 hit_threshold_ns = 10 * NSEC_PER_MSEC;
const volatile u64 hit_interval_ns = 250 * NSEC_PER_MSEC;

/*
 * On a node that gives way, a CPU that loses rest_stolen_ns at once rests for as long as that was, which is about a time slice of its
 * host. It rests twice as long, and then again, if the same burst of others seems to go on: if they took rest_slice_ns or more before
 * tasks had run undisturbed for rest_calm_ns, or for one and a half times of what they took. Then it begins anew: otherwise bursts
 * that keep following shortly on long rests would never be told from one that goes on, which is the daemon's business.
 */
const volatile u64 rest_stolen_ns = NSEC_PER_MSEC;
const volatile u64 rest_slice_ns = 2 * NSEC_PER_MSEC;
const volatile u64 rest_calm_ns = 9 * NSEC_PER_MSEC / 2;
const volatile u64 rest_min_ns = 2 * NSEC_PER_MSEC;
const volatile u64 rest_max_ns = 64 * NSEC_PER_MSEC;
const volatile u32 rest_doublings = 2;

/*
 * Steal time that exceeds the time passed by more than this can't be true. By less it can: where the TSC isn't reliable, the
 * clock stands still until the tick that follows a pause of the CPU. A task on a CPU for pause_min_ns was paused with the
 * guest, as tasks are charged at each tick.
 */
const volatile u64 steal_slack_ns = 1000 * NSEC_PER_MSEC;
const volatile u64 pause_min_ns = 5000 * NSEC_PER_MSEC;

/* The time in which every task queued on a node should get to run once; the slice is a fair part of it. */
const volatile u64 sched_latency_ns = 400 * NSEC_PER_MSEC;
const volatile u64 slice_min_ns = 1 * NSEC_PER_MSEC;
const volatile u64 slice_max_ns = 20 * NSEC_PER_MSEC;

/*
 * Bound of a task's debt, by which its vtime is ahead of its node's clock: the whole queue works the debt off in at most
 * this time, whatever the weights. (A sleeper's credit is bounded by one slice.) With sched_latency_ns added, on a CPU
 * that the fair class keeps busy and of which the ext server leaves us 5%, a task waits at most 24 s, less than the
 * watchdog's 30 s.
 */
const volatile u64 max_debt_ns = 800 * NSEC_PER_MSEC;

/*
 * Wakeup preemption granularity: a waking task preempts the current one only if its vtime is at least this far behind.
 * A smaller gain isn't worth a context switch.
 */
const volatile u64 preempt_lag_ns = 2 * NSEC_PER_MSEC;

/* A task that has run less than this since it woke up isn't preempted: tasks that wake each other would only switch. */
const volatile u64 preempt_after_ns = 5 * NSEC_PER_MSEC;

/*
 * Nor is a task preempted this soon after it was put on the CPU, times the number of queued tasks, like the fair
 * class's slice protection: a task that writes to many others without sleeping would be switched out at every write.
 */
const volatile u64 protect_per_queued_ns = NSEC_PER_MSEC / 2;
const volatile u64 protect_max_ns = 2 * NSEC_PER_MSEC;

/*
 * A task's run time is added to its process's totals once it reaches this much, which saves tasks that sleep often a
 * hash look-up per slice.
 */
const volatile u64 flush_threshold_ns = 1 * NSEC_PER_MSEC;

/* From include/uapi/linux/sched.h: macros there, so not in vmlinux.h. */
#define SCHED_NORMAL 0
#define SCHED_BATCH  3
#define SCHED_IDLE   5
#define SCHED_EXT    7

/* Maps. */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct vnuma_target);
} target SEC(".maps");

/* Maps a process id to its node, for plans that place processes. Read at every wakeup, written once per plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, struct vnuma_placement);
} placement SEC(".maps");

/* What the plan says of each node. Written only by retarget(), where it changes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VNUMA_MAX_NODES);
	__type(key, u32);
	__type(value, struct vnuma_node_plan);
} node_plans SEC(".maps");

/* Mappable, so that its values start on a page boundary. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VNUMA_MAX_NODES);
	__type(key, u32);
	__type(value, struct vnuma_node_stats);
} node_stats SEC(".maps");

_Static_assert(sizeof(struct vnuma_node_stats) == VNUMA_PAGE_SIZE, "each node's counters need a page of their own");
_Static_assert(sizeof(struct vnuma_target) <= 64, "the plan is read at every wakeup: keep it in one cache line");

/* Elements are allocated on first use, so the element of a process and a node is in that node's memory. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct vnuma_process_node);
	__type(value, struct vnuma_run_time);
} process_run_time SEC(".maps");

/* Written only by read_counters(). The daemon maps it and reads it there. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VNUMA_MAX_CPUS);
	__type(key, u32);
	__type(value, struct vnuma_cpu_time);
} cpu_times SEC(".maps");

struct task_ctx {
	u64 run_ns;
	u64 awake_ns;			/* run time since the last wakeup */
	struct vnuma_run_time unsummed; /* run time not yet added to the process's totals */
	s32 unsummed_node;		/* the node of that run time */
	u64 waiting_since;		/* when the task began to wait for a CPU, 0 if it doesn't */
	u32 leaves_entries;		/* its process may have entries in process_run_time and placement */
	u64 sent_on_version;		/* 1 + the plan's version when the task was last sent on as a straggler */
	s32 vtime_node;			/* the node whose clock the task's vtime belongs to */
	u32 own_policy;
	u32 flags;
	s32 quota;	      /* the nearest quota on the path to the cgroup… */
	u64 quota_cgroup;     /* …with this id… */
	u64 quotas_version;   /* …when quotas had this version */
	u64 quota_charged_ns; /* the kernel's count of its run time up to which quotas were charged */
	u64 held_since;	      /* when the task was first held by a quota, 0 if it has run since */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

/* How a CPU gives way to others: see give_way.bpf.h. Times are of limit_clock_ns(). */
struct cpu_rest {
	u64 until;     /* it takes no task before; 0: it doesn't rest */
	u64 waited_at; /* since when a task has waited for its end, not yet counted; 0: none does */
	u64 length_ns; /* of the last rest */
	u64 stolen_at; /* the CPU's steal time when the rest began or was last extended */
	u64 calm_ns;   /* time that tasks have run since, undisturbed */
	u32 doubled;   /* times that it was doubled for the same burst */
};

/* A CPU's current task, as of when it was put on the CPU, and its rest. */
struct cpu_ctx {
	u64 started_at;	 /* the time then */
	u64 vtime;	 /* the task's vtime */
	u64 awake_ns;	 /* the task's run time since its last wakeup */
	u64 stolen_at;	 /* the CPU's steal time */
	u32 tgid;	 /* the task's process */
	bool is_running; /* the current task is ours; the above is valid only then */
	struct cpu_rest rest;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu_ctx);
} cpu_ctxs SEC(".maps");

/* A node's online CPUs, written only on hotplug. */
struct node_cpus {
	struct bpf_cpumask __kptr *mask;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VNUMA_MAX_NODES);
	__type(key, u32);
	__type(value, struct node_cpus);
} node_cpus SEC(".maps");

static u32 nr_online[VNUMA_MAX_NODES];

/* CPU quotas in force, and the number of times that one changed. */
static u32 nr_quotas;
static u64 quotas_version;

/* Look-ups. */

static u64 node_dsq(s32 node)
{
	return (u64)node;
}

static u64 nr_queued(s32 node)
{
	s32 nr = scx_bpf_dsq_nr_queued(node_dsq(node));

	return nr < 0 ? 0 : nr;
}

static s32 cpu_to_node(s32 cpu)
{
	const volatile s32 *node = MEMBER_VPTR(cpu_nodes, [cpu]);

	return node ? *node : VNUMA_NO_NODE;
}

static struct vnuma_target *plan_in_force(void)
{
	const u32 zero = 0;

	return bpf_map_lookup_elem(&target, &zero);
}

static struct vnuma_node_stats *node_stats_of(s32 node)
{
	const u32 key = node;

	return bpf_map_lookup_elem(&node_stats, &key);
}

static struct vnuma_node_plan *node_plan_of(s32 node)
{
	const u32 key = node;

	return bpf_map_lookup_elem(&node_plans, &key);
}

static u64 node_bit(s32 node)
{
	return node < 0 || node >= VNUMA_MAX_NODES ? 0 : 1ULL << node;
}

/*
 * The context of the CPU that a callback is about. That needn't be the one it is called on: when a running task changes its
 * policy, the kernel calls running() or stopping() on the CPU of whoever changes it, and it ticks for CPUs without a tick.
 */
static struct cpu_ctx *cpu_ctx_of(s32 cpu)
{
	const u32 zero = 0;

	if (cpu == bpf_get_smp_processor_id())
		return bpf_map_lookup_elem(&cpu_ctxs, &zero);
	return bpf_map_lookup_percpu_elem(&cpu_ctxs, &zero, cpu);
}

static struct task_ctx *task_ctx_of(struct task_struct *p)
{
	return bpf_task_storage_get(&task_ctxs, p, NULL, 0);
}

static const struct cpumask *node_cpumask(s32 node)
{
	const u32 key = node;
	struct node_cpus *cpus = bpf_map_lookup_elem(&node_cpus, &key);

	return cpus ? cast_mask(cpus->mask) : NULL;
}

/*
 * Return true if we can make a CPU reschedule. If not, tasks go directly to idle CPUs, and the tick ends the slice of a
 * task that should move.
 */
static bool can_kick(void)
{
	return bpf_ksym_exists(scx_bpf_kick_cpu___compat);
}

static void kick_cpu(s32 cpu, u64 flags)
{
	if (can_kick())
		scx_bpf_kick_cpu___compat(cpu, flags);
}

#endif /* VNUMA_BPF_H */
