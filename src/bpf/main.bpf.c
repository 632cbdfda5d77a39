/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler class of a guest whose vNUMA nodes run on different hosts.
 *
 * Migratable tasks are queued per node, on the node that the plan in force names; a CPU serves its own node's queue and no
 * other, so between nodes only the plan moves work. A change of plan costs O(queued tasks + CPUs): sleeping tasks follow
 * when they wake.
 *
 * Page discipline: in a distributed VM a page that CPUs of two nodes write travels between hosts, so no callback writes
 * memory that another node's CPUs write. Clocks and counters are per node, on pages of their own, or per CPU.
 */
#include <scx/common.bpf.h>
#include "intf.h"

char _license[] SEC("license") = "GPL";

/*
 * Kernels that were built with a pahole before 1.26 have this kfunc in their BTF with an argument too many, which no
 * program can give. To libbpf a weak one that doesn't fit isn't there; there are other ways then (can_kick()).
 */
void scx_bpf_kick_cpu___compat(s32 cpu, u64 flags) __ksym __weak;

UEI_DEFINE(uei);

#define NSEC_PER_MSEC	1000000ULL
#define NSEC_PER_SEC	1000000000ULL
#define CLAMP(x, lo, hi) ((x) < (lo) ? (lo) : (x) > (hi) ? (hi) : (x))

/* Knobs: set by the daemon before load. */

const volatile u32 nr_nodes = 1;
const volatile u32 nr_possible_cpus = 1;
const volatile bool idle_per_node;

/* The node of each CPU that was online when the daemon looked, else VNUMA_NO_NODE; ids may have gaps. */
const volatile s32 cpu_nodes[VNUMA_MAX_CPUS];

/* The first plan: all migratable work goes here. */
const volatile s32 start_node;

/* The plan may name processes' nodes one by one. */
const volatile bool places_processes;

/* A slice is a fair part of this, so that long queues turn quickly. */
const volatile u64 queue_turn_ns = 400 * NSEC_PER_MSEC;
const volatile u64 slice_min_ns = 1 * NSEC_PER_MSEC;
const volatile u64 slice_max_ns = 20 * NSEC_PER_MSEC;

/*
 * Bounds of a task's lag behind its node's clock. A sleeper's credit is one slice. A debt is at most what the whole queue
 * works off in this time, whatever the weights. Together with the queue's turn, and with the kernel's ext server giving 5 %
 * under a busy fair class, that is 24 s, inside the watchdog's 30 s.
 */
const volatile u64 debt_turn_ns = 800 * NSEC_PER_MSEC;

/* A task that wakes so far behind one of ours that runs on its CPU takes its place: less isn't worth a switch. */
const volatile u64 preempt_lag_ns = 2 * NSEC_PER_MSEC;

/* But not of one that itself has run less than this since it woke: tasks that wake each other would do little but switch. */
const volatile u64 preempt_after_ns = 5 * NSEC_PER_MSEC;

/*
 * Nor of one that was put there so shortly ago, for each task that waits, as the fair class protects a slice: who writes to
 * many and never sleeps would be switched away from at each write.
 */
const volatile u64 protect_per_queued_ns = NSEC_PER_MSEC / 2;
const volatile u64 protect_max_ns = 2 * NSEC_PER_MSEC;

/* What a task ran is added to the sums of its process when it is so much: most slices of a task that often sleeps aren't. */
const volatile u64 sum_from_ns = 1 * NSEC_PER_MSEC;

/* Weight beyond this earns no more, or the debt bound would not hold: about nice -7, for work that is best-effort. */
#define WEIGHT_MAX	500
#define WEIGHT_BASE	100

/* From include/uapi/linux/sched.h: macros there, so not in vmlinux.h. */
#define SCHED_NORMAL	0
#define SCHED_BATCH	3
#define SCHED_IDLE	5
#define SCHED_EXT	7

/* From include/linux/sched/prio.h: static_prio of nice 0. */
#define DEFAULT_PRIO	120

/* Maps. */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct vnuma_target);
} target SEC(".maps");

/* Process ids to nodes, for plans that send processes to several nodes. Read at every wakeup, written once a plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, struct vnuma_placement);
} placement SEC(".maps");

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

/* Elements are allocated where they are first needed, so a process's element for a node lies on that node. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct vnuma_process_node);
	__type(value, struct vnuma_run_time);
} process_run_time SEC(".maps");

/* Written by read_counters() only, for the daemon, which has it mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VNUMA_MAX_CPUS);
	__type(key, u32);
	__type(value, struct vnuma_cpu_time);
} cpu_times SEC(".maps");

struct task_ctx {
	u64 run_ns;
	u64 awake_ns;		/* what of it since it last woke */
	struct vnuma_run_time unsummed;	/* what the sums of its process don't have yet */
	s32 unsummed_node;		/* where that was */
	u64 sent_on_epoch;	/* one more than the epoch in which it was sent on as a straggler */
	s32 vtime_node;		/* whose clock the task's vtime is of */
	u32 own_policy;
	u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

struct cpu_ctx {
	u64 started_at;		/* when the task on the CPU was put there */
	u64 vtime;		/* the task's vtime then */
	u64 awake_ns;		/* what it had run until then since it woke */
	u64 stolen_at;		/* the CPU's stolen time then */
	u32 tgid;		/* the task's process */
	bool is_running;	/* a task of ours is on the CPU */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu_ctx);
} cpu_ctxs SEC(".maps");

/* Online CPUs of each node: written on hotplug only. */
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

/* The stolen time of a KVM guest's CPU, as the host writes it (arch/x86/kernel/kvm.c); absent elsewhere. */
extern const struct kvm_steal_time steal_time __ksym __weak;

/* What each CPU did, as /proc/stat has it in ticks (include/linux/kernel_stat.h). */
extern const struct kernel_cpustat kernel_cpustat __ksym __weak;

/* Look-ups. */

static u64 node_dsq(s32 node)
{
	return (u64)node;
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

static struct cpu_ctx *this_cpu_ctx(void)
{
	const u32 zero = 0;

	return bpf_map_lookup_elem(&cpu_ctxs, &zero);
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

/* A CPU can be told to reconsider what it runs. Else tasks go straight to idle CPUs, and ticks end what should move. */
static bool can_kick(void)
{
	return bpf_ksym_exists(scx_bpf_kick_cpu___compat);
}

static void kick_cpu(s32 cpu, u64 flags)
{
	if (can_kick())
		scx_bpf_kick_cpu___compat(cpu, flags);
}

static u64 this_cpu_stolen_ns(void)
{
	const struct kvm_steal_time *steal;

	if (!bpf_ksym_exists(&steal_time))
		return 0;
	steal = bpf_this_cpu_ptr(&steal_time);
	return steal->steal;
}

/* Where a task may and should run. */

static bool is_allowed_cpu(const struct task_struct *p, s32 cpu)
{
	return cpu >= 0 && bpf_cpumask_test_cpu(cpu, p->cpus_ptr);
}

/* Return true if some online CPU of @node may run @p. The caller is in an RCU read-side section, as callbacks are. */
static bool may_run_on(const struct task_struct *p, s32 node)
{
	const u32 *online = MEMBER_VPTR(nr_online, [node]);
	const struct cpumask *mask;

	if (!online || !*online)
		return false;
	if (p->nr_cpus_allowed >= nr_possible_cpus)
		return true;
	mask = node_cpumask(node);
	return mask && bpf_cpumask_intersects(mask, p->cpus_ptr);
}

/* The node of some online CPU that may run @p: its own CPU's if possible. */
static s32 any_node(const struct task_struct *p)
{
	s32 node = cpu_to_node(scx_bpf_task_cpu(p));

	if (may_run_on(p, node))
		return node;
	bpf_for(node, 0, nr_nodes) {
		if (may_run_on(p, node))
			return node;
	}
	return cpu_to_node(scx_bpf_task_cpu(p));
}

/* The node that the plan has for a process. */
static s32 planned_node(const struct vnuma_target *plan, u32 tgid)
{
	const struct vnuma_placement *own;

	if (places_processes) {
		own = bpf_map_lookup_elem(&placement, &tgid);
		if (own)
			return own->node;
	}
	return plan->destination.first;
}

/*
 * The node whose queue @p belongs to: the plan's, else, where the user's affinity or an offline node forbids that, one
 * where it may run. The affinity is only ever read.
 */
static s32 task_node(const struct task_struct *p)
{
	struct vnuma_target *plan = plan_in_force();
	struct vnuma_destination to;
	s32 own;

	if (!plan)
		return any_node(p);
	own = planned_node(plan, p->tgid);
	if (may_run_on(p, own))
		return own;
	to = plan->destination;
	if (own != to.first && may_run_on(p, to.first))
		return to.first;
	if (plan->nr_destinations > 1 && may_run_on(p, to.second))
		return to.second;
	return any_node(p);
}

/* An idle CPU of @node that may run @p, claimed, or a negative number. @prev_cpu if possible. */
static s32 claim_idle_cpu(const struct task_struct *p, s32 node, s32 prev_cpu)
{
	s32 cpu;

	if (cpu_to_node(prev_cpu) == node && is_allowed_cpu(p, prev_cpu) &&
	    scx_bpf_test_and_clear_cpu_idle(prev_cpu))
		return prev_cpu;

	if (idle_per_node && bpf_ksym_exists(scx_bpf_pick_idle_cpu_node))
		return scx_bpf_pick_idle_cpu_node(p->cpus_ptr, node, SCX_PICK_IDLE_IN_NODE);

	/* Before 6.15 there is one idle mask for all: walk the node's part of it. */
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		if (cpu_to_node(cpu) == node && is_allowed_cpu(p, cpu) && scx_bpf_test_and_clear_cpu_idle(cpu))
			return cpu;
	}
	return -EBUSY;
}

/* A busy CPU of @node to wake @p on, so that its runqueue is one of that node. */
static s32 busy_cpu(const struct task_struct *p, s32 node, s32 prev_cpu)
{
	const struct cpumask *mask;
	u32 cpu = prev_cpu;

	if (cpu_to_node(prev_cpu) == node && is_allowed_cpu(p, prev_cpu))
		return prev_cpu;

	mask = node_cpumask(node);
	if (mask)
		cpu = bpf_cpumask_any_and_distribute(mask, p->cpus_ptr);
	return is_allowed_cpu(p, cpu) ? cpu : prev_cpu;
}

/* Fairness inside a node. */

static u64 effective_weight(const struct task_struct *p, const struct task_ctx *tctx)
{
	/* SCHED_EXT hides that the task's own policy was SCHED_IDLE. */
	if (tctx->own_policy == SCHED_IDLE)
		return 1;
	return CLAMP(p->scx.weight, 1, WEIGHT_MAX);
}

static u64 nr_queued(s32 node)
{
	s32 nr = scx_bpf_dsq_nr_queued(node_dsq(node));

	return nr < 0 ? 0 : nr;
}

/* A light task's slice is shorter, so that what it owes after one slice stays near the debt bound. */
static u64 task_slice_ns(u64 nr_queued, u64 weight)
{
	u64 slice_ns = CLAMP(queue_turn_ns / (nr_queued + 1), slice_min_ns, slice_max_ns);

	if (weight < WEIGHT_BASE)
		slice_ns = slice_ns * weight / WEIGHT_BASE;
	return slice_ns < slice_min_ns ? slice_min_ns : slice_ns;
}

/* @p's vtime by the clock of @node, where @nr_queued wait: the same lag as where it was, within bounds. */
static u64 task_vtime_on(const struct task_struct *p, struct task_ctx *tctx, s32 node, u64 nr_queued)
{
	struct vnuma_node_stats *here = node_stats_of(node), *there = node_stats_of(tctx->vtime_node);
	s64 credit_max = slice_max_ns, debt_max = debt_turn_ns / (nr_queued + 1), lag = 0;

	if (!here)
		return p->scx.dsq_vtime;
	if (there)
		lag = p->scx.dsq_vtime - there->vtime_now;
	return here->vtime_now + CLAMP(lag, -credit_max, debt_max);
}

/* Callbacks: a task wakes, is queued, gets a CPU, leaves it. */

s32 BPF_STRUCT_OPS(vnuma_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx_of(p);
	s32 node = task_node(p);
	s32 cpu = claim_idle_cpu(p, node, prev_cpu);
	u64 nr;

	if (cpu < 0 || !tctx)
		return busy_cpu(p, node, prev_cpu);
	nr = nr_queued(node);
	scx_bpf_task_set_dsq_vtime(p, task_vtime_on(p, tctx, node, nr));
	tctx->vtime_node = node;
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, task_slice_ns(nr, effective_weight(p, tctx)), 0);
	return cpu;
}

/*
 * Return true if @p must run on its CPU: on kernels that don't see to it themselves (before 6.14). Running this program
 * disables the migration of the current task once.
 */
static bool is_stuck_on_cpu(struct task_struct *p)
{
	if (bpf_core_enum_value_exists(enum scx_ops_flags, SCX_OPS_ENQ_MIGRATION_DISABLED))
		return false;
	return p->migration_disabled > (p == bpf_get_current_task_btf() ? 1 : 0);
}

/*
 * Return true if @cpu runs a task of ours that a waking one's @vtime is well behind of, while @nr_queued wait. What it has
 * run since it was put there counts by the wall clock, whatever its weight: a lower bound for most, who are of less than
 * normal weight.
 */
static bool runs_one_ahead_of(s32 cpu, u64 vtime, u64 nr_queued)
{
	const u32 zero = 0;
	const struct cpu_ctx *cctx = bpf_map_lookup_percpu_elem(&cpu_ctxs, &zero, cpu);
	u64 ran_ns, protected_ns = nr_queued * protect_per_queued_ns;

	if (!cctx || !cctx->is_running)
		return false;
	if (protected_ns > protect_max_ns)
		protected_ns = protect_max_ns;
	ran_ns = scx_bpf_now() - cctx->started_at;
	if (ran_ns < protected_ns || cctx->awake_ns + ran_ns < preempt_after_ns)
		return false;
	return time_before(vtime + preempt_lag_ns, cctx->vtime + ran_ns);
}

void BPF_STRUCT_OPS(vnuma_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx_of(p);
	u64 vtime, slice_ns, nr;
	s32 node, cpu;

	if (!tctx || is_stuck_on_cpu(p)) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, slice_min_ns, enq_flags);
		return;
	}

	node = task_node(p);
	nr = nr_queued(node);
	vtime = task_vtime_on(p, tctx, node, nr);
	tctx->vtime_node = node;
	slice_ns = task_slice_ns(nr, effective_weight(p, tctx));
	if (!can_kick()) {
		cpu = claim_idle_cpu(p, node, scx_bpf_task_cpu(p));
		if (cpu >= 0) {
			scx_bpf_task_set_dsq_vtime(p, vtime);
			scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, slice_ns, enq_flags);
			return;
		}
	}
	scx_bpf_dsq_insert_vtime(p, node_dsq(node), slice_ns, vtime, enq_flags);
	if (!can_kick())
		return;

	cpu = claim_idle_cpu(p, node, scx_bpf_task_cpu(p));
	if (cpu >= 0) {
		kick_cpu(cpu, SCX_KICK_IDLE);
		return;
	}
	cpu = scx_bpf_task_cpu(p);
	if ((enq_flags & SCX_ENQ_WAKEUP) && cpu_to_node(cpu) == node && runs_one_ahead_of(cpu, vtime, nr))
		kick_cpu(cpu, SCX_KICK_PREEMPT);
}

void BPF_STRUCT_OPS(vnuma_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *tctx;
	s32 node = cpu_to_node(cpu);

	if (node < 0 || scx_bpf_dsq_move_to_local(node_dsq(node), 0))
		return;
	/* Alone here, and still meant to be here: go on. Else ENQ_LAST takes it to enqueue, which sends it on. */
	if (!prev || !(prev->scx.flags & SCX_TASK_QUEUED) || task_node(prev) != node)
		return;
	tctx = task_ctx_of(prev);
	if (tctx)
		scx_bpf_task_set_slice(prev, task_slice_ns(nr_queued(node), effective_weight(prev, tctx)));
}

void BPF_STRUCT_OPS(vnuma_running, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p), node = cpu_to_node(cpu);
	struct vnuma_node_stats *stats = node_stats_of(node);
	struct vnuma_target *plan = plan_in_force();
	struct cpu_ctx *cctx = this_cpu_ctx();
	struct task_ctx *tctx = task_ctx_of(p);

	if (!stats || !plan || !cctx || !tctx)
		return;
	cctx->started_at = scx_bpf_now();
	cctx->stolen_at = this_cpu_stolen_ns();
	cctx->vtime = p->scx.dsq_vtime;
	cctx->awake_ns = tctx->awake_ns;
	cctx->tgid = p->tgid;
	cctx->is_running = true;
	__sync_fetch_and_add(&stats->nr_runs, 1);
	if (time_before(stats->vtime_now, p->scx.dsq_vtime))
		stats->vtime_now = p->scx.dsq_vtime;
	if (node == planned_node(plan, p->tgid))
		return;

	if (task_node(p) == node) {
		__sync_fetch_and_add(&stats->nr_elsewhere, 1);
		return;
	}
	/*
	 * The plan may have changed between the choice of this CPU and now. Once a plan only: a task that the kernel keeps
	 * here without asking us, as it does with exiting and migration-disabled ones, would never get anything done.
	 */
	if (tctx->sent_on_epoch == plan->epoch + 1)
		return;
	tctx->sent_on_epoch = plan->epoch + 1;
	__sync_fetch_and_add(&stats->nr_stragglers, 1);
	kick_cpu(cpu, SCX_KICK_PREEMPT);
}

/* Only where CPUs can't be kicked: what should move has no slice left. ENQ_LAST takes it to enqueue, which sends it on. */
void BPF_STRUCT_OPS(vnuma_tick, struct task_struct *p)
{
	if (task_node(p) != cpu_to_node(scx_bpf_task_cpu(p)))
		scx_bpf_task_set_slice(p, 0);
}

/* Add what the sums of @p's process don't have yet. */
static void add_to_process(const struct task_struct *p, struct task_ctx *tctx)
{
	struct vnuma_process_node key = { .tgid = p->tgid, .node = tctx->unsummed_node };
	struct vnuma_run_time added = tctx->unsummed, *sum = bpf_map_lookup_elem(&process_run_time, &key);

	tctx->unsummed.run_ns = 0;
	tctx->unsummed.stolen_ns = 0;
	if (!sum) {
		/* Full, or another thread was faster: this isn't counted for the process, only for the node. */
		bpf_map_update_elem(&process_run_time, &key, &added, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&sum->run_ns, added.run_ns);
	__sync_fetch_and_add(&sum->stolen_ns, added.stolen_ns);
}

static void add_run_time(const struct task_struct *p, struct task_ctx *tctx, s32 node, u64 run_ns, u64 stolen_ns)
{
	if (tctx->unsummed_node != node && tctx->unsummed.run_ns)
		add_to_process(p, tctx);
	tctx->run_ns += run_ns;
	tctx->unsummed_node = node;
	tctx->unsummed.run_ns += run_ns;
	tctx->unsummed.stolen_ns += stolen_ns;
	if (tctx->unsummed.run_ns >= sum_from_ns)
		add_to_process(p, tctx);
}

void BPF_STRUCT_OPS(vnuma_stopping, struct task_struct *p, bool runnable)
{
	s32 node = cpu_to_node(scx_bpf_task_cpu(p));
	struct vnuma_node_stats *stats = node_stats_of(node);
	struct cpu_ctx *cctx = this_cpu_ctx();
	struct task_ctx *tctx = task_ctx_of(p);
	u64 run_ns, stolen_ns;

	if (!stats || !cctx || !tctx || !cctx->is_running)
		return;
	cctx->is_running = false;
	run_ns = scx_bpf_now() - cctx->started_at;
	stolen_ns = this_cpu_stolen_ns() - cctx->stolen_at;
	if (stolen_ns > run_ns)
		stolen_ns = run_ns;

	__sync_fetch_and_add(&stats->run_ns, run_ns);
	__sync_fetch_and_add(&stats->stolen_ns, stolen_ns);
	add_run_time(p, tctx, node, run_ns, stolen_ns);
	tctx->awake_ns = runnable ? tctx->awake_ns + run_ns : 0;

	/* A task isn't charged for what the host took. */
	scx_bpf_task_set_dsq_vtime(p, p->scx.dsq_vtime +
				   (run_ns - stolen_ns) * WEIGHT_BASE / effective_weight(p, tctx));
}

/*
 * Before 7.1 the kernel leaves tasks on a CPU's local queue when the fair class takes the CPU; after, with
 * SCX_OPS_ALWAYS_ENQ_IMMED, it hands them back itself and the daemon takes this callback out.
 */
void BPF_STRUCT_OPS(vnuma_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	scx_bpf_reenqueue_local();
}

/* Callbacks: a task's life. */

/* A new process runs where its parent does, until the plan places it. */
static void place_beside(u32 tgid, u32 parent_tgid)
{
	struct vnuma_placement *theirs, own;

	if (tgid == parent_tgid)
		return;
	theirs = bpf_map_lookup_elem(&placement, &parent_tgid);
	if (!theirs)
		return;
	own = *theirs;
	/* Full: it goes to the first destination, and the daemon places it in the next round. */
	bpf_map_update_elem(&placement, &tgid, &own, BPF_ANY);
}

s32 BPF_STRUCT_OPS(vnuma_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *parent, *tctx = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!tctx)
		return -ENOMEM;
	tctx->vtime_node = VNUMA_NO_NODE;
	tctx->own_policy = p->policy;
	tctx->flags |= VNUMA_TASK_RECORDED;

	/* A migratable task's child is migratable and goes back to the same policy. */
	if (!args->fork || p->policy != SCHED_EXT)
		return 0;
	parent = task_ctx_of(bpf_get_current_task_btf());
	if (parent) {
		tctx->own_policy = parent->own_policy;
		tctx->flags |= parent->flags & VNUMA_TASK_SELECTED;
	}
	if (places_processes)
		place_beside(p->tgid, bpf_get_current_task_btf()->tgid);
	return 0;
}

void BPF_STRUCT_OPS(vnuma_enable, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx_of(p);

	if (tctx)
		tctx->vtime_node = VNUMA_NO_NODE;
}

void BPF_STRUCT_OPS(vnuma_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct vnuma_process_node key = { .tgid = p->tgid };
	struct task_ctx *tctx = task_ctx_of(p);

	if (tctx && tctx->unsummed.run_ns)
		add_to_process(p, tctx);
	/* The last thread of a process takes its sums and its placement along; one that never lived took none. */
	if (args->cancelled ? p->pid != p->tgid : BPF_CORE_READ(p, signal, live.counter) > 0)
		return;
	bpf_map_delete_elem(&placement, &key.tgid);
	bpf_for(key.node, 0, nr_nodes)
		bpf_map_delete_elem(&process_run_time, &key);
}

/* A change of plan, and of what is there to plan with. */

/* Where CPUs can't be kicked, a queued task wakes an idle one by going there itself. */
static bool move_to_idle_cpu(struct bpf_iter_scx_dsq *it, struct task_struct *p, s32 node)
{
	s32 cpu;

	if (can_kick())
		return false;
	cpu = claim_idle_cpu(p, node, scx_bpf_task_cpu(p));
	return cpu >= 0 && scx_bpf_dsq_move(it, p, SCX_DSQ_LOCAL_ON | cpu, 0);
}

/* Take each task in @node's queue that no longer belongs there to the queue where it does. Return how many. */
static u32 rehome_queue(s32 node)
{
	struct task_struct *p;
	u32 nr_moved = 0;

	bpf_rcu_read_lock();
	bpf_for_each(scx_dsq, p, node_dsq(node), 0) {
		struct vnuma_node_stats *stats;
		struct task_ctx *tctx;
		s32 to = task_node(p);

		if (to < 0)
			continue;
		stats = node_stats_of(to);
		tctx = task_ctx_of(p);
		if (!stats || !tctx)
			continue;
		scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, task_vtime_on(p, tctx, to, nr_queued(to)));
		if (!move_to_idle_cpu(BPF_FOR_EACH_ITER, p, to) &&
		    (to == node || !scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, node_dsq(to), 0)))
			continue;
		tctx->vtime_node = to;
		__sync_fetch_and_add(&stats->nr_arrived, 1);
		nr_moved++;
	}
	bpf_rcu_read_unlock();
	return nr_moved;
}

/* Make CPUs that run a task of ours elsewhere than planned give it back, and idle CPUs that have work take it. */
static u32 kick_cpus(void)
{
	struct vnuma_target *plan = plan_in_force();
	const u32 zero = 0;
	u32 nr_kicked = 0;
	s32 cpu;

	if (!plan || !can_kick())
		return 0;
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		s32 node = cpu_to_node(cpu);
		struct cpu_ctx *cctx;

		if (node < 0)
			continue;
		cctx = bpf_map_lookup_percpu_elem(&cpu_ctxs, &zero, cpu);
		if (!cctx)
			continue;
		if (cctx->is_running && node != planned_node(plan, cctx->tgid)) {
			kick_cpu(cpu, SCX_KICK_PREEMPT);
			nr_kicked++;
		} else if (!cctx->is_running && nr_queued(node)) {
			kick_cpu(cpu, SCX_KICK_IDLE);
			nr_kicked++;
		}
	}
	return nr_kicked;
}

static u32 rehome_all(void)
{
	u32 nr_moved = 0;
	s32 node;

	bpf_for(node, 0, nr_nodes) {
		if (nr_queued(node))
			nr_moved += rehome_queue(node);
	}
	return nr_moved;
}

SEC("syscall")
int retarget(struct vnuma_retarget_args *args)
{
	struct vnuma_target *plan = plan_in_force();

	if (!plan)
		return -ENOENT;
	if (args->destination.first < 0 || args->destination.first >= nr_nodes)
		return -EINVAL;
	plan->destination = args->destination;
	plan->nr_destinations = args->nr_destinations;
	/* Release order: who sees the epoch sees the plan. The add is fully ordered. */
	args->epoch = __sync_fetch_and_add(&plan->epoch, 1) + 1;

	args->nr_moved = rehome_all();
	args->nr_kicked = kick_cpus();
	return 0;
}

static void set_cpu_online(s32 cpu, s32 node, bool online)
{
	const u32 key = node;
	struct node_cpus *cpus = bpf_map_lookup_elem(&node_cpus, &key);
	u32 *nr = MEMBER_VPTR(nr_online, [node]);
	struct bpf_cpumask *mask;

	if (!cpus || !nr)
		return;
	bpf_rcu_read_lock();
	mask = cpus->mask;
	if (mask && online && !bpf_cpumask_test_and_set_cpu(cpu, mask))
		__sync_fetch_and_add(nr, 1);
	else if (mask && !online && bpf_cpumask_test_and_clear_cpu(cpu, mask))
		__sync_fetch_and_sub(nr, 1);
	bpf_rcu_read_unlock();
}

void BPF_STRUCT_OPS(vnuma_cpu_online, s32 cpu)
{
	s32 node = cpu_to_node(cpu);

	/* Its node isn't known: start again with a fresh look at the machine. */
	if (node < 0) {
		if (bpf_ksym_exists(scx_bpf_exit_bstr))
			scx_bpf_exit(SCX_ECODE_RSN_HOTPLUG | SCX_ECODE_ACT_RESTART, "CPU %d is new", cpu);
		else
			scx_bpf_error("CPU %d is new: start scx_vnuma again", cpu);
		return;
	}
	set_cpu_online(cpu, node, true);
	rehome_all();
	kick_cpus();
}

void BPF_STRUCT_OPS(vnuma_cpu_offline, s32 cpu)
{
	set_cpu_online(cpu, cpu_to_node(cpu), false);
	rehome_all();
	kick_cpus();
}

/* What the daemon senses. */

static u64 cpu_stolen_ns(s32 cpu, const struct kernel_cpustat *stat)
{
	const struct kvm_steal_time *steal;

	/* The kernel takes it over into its own sums only when the CPU has a tick. */
	if (bpf_ksym_exists(&steal_time)) {
		steal = bpf_per_cpu_ptr(&steal_time, cpu);
		if (steal && steal->steal)
			return steal->steal;
	}
	return stat ? stat->cpustat[CPUTIME_STEAL] : 0;
}

SEC("syscall")
int read_counters(struct vnuma_counters_args *args)
{
	const struct cpumask *online;
	s32 node;
	u32 cpu;

	bpf_for(node, 0, nr_nodes) {
		u32 *nr = MEMBER_VPTR(args->nr_queued, [node]);

		if (nr)
			*nr = nr_queued(node);
	}
	args->has_cpu_times = 0;
	if (!bpf_ksym_exists(&kernel_cpustat))
		return 0;
	online = scx_bpf_get_online_cpumask();
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		const struct kernel_cpustat *stat = bpf_per_cpu_ptr(&kernel_cpustat, cpu);
		struct vnuma_cpu_time *time = bpf_map_lookup_elem(&cpu_times, &cpu);

		if (!stat || !time)
			continue;
		time->is_online = bpf_cpumask_test_cpu(cpu, online);
		time->busy_ns = stat->cpustat[CPUTIME_USER] + stat->cpustat[CPUTIME_NICE] +
				stat->cpustat[CPUTIME_SYSTEM] + stat->cpustat[CPUTIME_IRQ] +
				stat->cpustat[CPUTIME_SOFTIRQ];
		time->steal_ns = cpu_stolen_ns(cpu, stat);
	}
	scx_bpf_put_cpumask(online);
	args->has_cpu_times = 1;
	return 0;
}

/* For a probe, which is bound to its CPU. */
SEC("syscall")
int read_steal(struct vnuma_steal_args *args)
{
	const s32 cpu = bpf_get_smp_processor_id();
	const struct kernel_cpustat *stat = NULL;

	if (bpf_ksym_exists(&kernel_cpustat))
		stat = bpf_per_cpu_ptr(&kernel_cpustat, cpu);
	args->steal_ns = cpu_stolen_ns(cpu, stat);
	return 0;
}

/* Which tasks migrate: the daemon chooses, from what the iterator shows. */

SEC("syscall")
int select_task(struct vnuma_select_args *args)
{
	struct task_struct *p = bpf_task_from_pid(args->tid);
	struct task_ctx *tctx;
	int err = 0;

	if (!p)
		return -ESRCH;
	tctx = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!tctx) {
		err = -ENOMEM;
	} else if (args->selected) {
		tctx->own_policy = p->policy;
		tctx->flags |= VNUMA_TASK_SELECTED | VNUMA_TASK_RECORDED;
	} else {
		tctx->flags &= ~VNUMA_TASK_SELECTED;
	}
	if (tctx)
		args->own_policy = tctx->own_policy;
	bpf_task_release(p);
	return err;
}

/* Return true if @p is one that may migrate: no kernel thread, no real-time or deadline task, alive. */
static bool may_migrate(const struct task_struct *p)
{
	if ((p->flags & (PF_KTHREAD | PF_EXITING)) || p->exit_state)
		return false;
	return p->policy == SCHED_NORMAL || p->policy == SCHED_BATCH || p->policy == SCHED_IDLE ||
	       p->policy == SCHED_EXT;
}

static u64 rss_pages_of_kind(const struct mm_struct *mm, int kind)
{
	const s64 count = mm->rss_stat[kind].count;

	return count > 0 ? count : 0;
}

/* Without what CPUs haven't added up yet: a few pages each. */
static u64 process_rss_pages(const struct task_struct *p)
{
	const struct mm_struct *mm = p->mm;

	if (!mm)
		return 0;
	return rss_pages_of_kind(mm, MM_FILEPAGES) + rss_pages_of_kind(mm, MM_ANONPAGES) +
	       rss_pages_of_kind(mm, MM_SHMEMPAGES);
}

/* Reads fields directly, without a helper's call for each: it runs for every task there is. */
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct vnuma_task_record record = {};
	struct task_ctx *tctx;

	if (!p || !may_migrate(p))
		return 0;
	record.tid = p->pid;
	record.tgid = p->tgid;
	record.parent_tgid = p->real_parent->tgid;
	record.uid = p->cred->euid.val;
	record.nice = p->static_prio - DEFAULT_PRIO;
	record.policy = p->policy;
	record.own_policy = p->policy;
	record.cgroup_id = p->cgroups->dfl_cgrp->kn->id;
	__builtin_memcpy(record.comm, p->comm, sizeof(record.comm));
	if (p->policy == SCHED_EXT) {
		record.nr_faults = p->min_flt + p->maj_flt;
		if (p->pid == p->tgid) {
			record.nr_faults += p->signal->min_flt + p->signal->maj_flt;
			record.rss_pages = process_rss_pages(p);
		}
	}
	tctx = task_ctx_of(p);
	if (tctx) {
		record.flags = tctx->flags;
		record.run_ns = tctx->run_ns;
		if (p->policy == SCHED_EXT)
			record.own_policy = tctx->own_policy;
	}
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

/* The scheduler's own life. */

static s32 init_node(s32 node)
{
	const u32 key = node;
	struct node_cpus *cpus = bpf_map_lookup_elem(&node_cpus, &key);
	struct bpf_cpumask *mask;
	s32 err;

	if (!cpus)
		return -ENOENT;
	err = scx_bpf_create_dsq(node_dsq(node), idle_per_node ? node : NUMA_NO_NODE);
	if (err)
		return err;
	mask = bpf_cpumask_create();
	if (!mask)
		return -ENOMEM;
	mask = bpf_kptr_xchg(&cpus->mask, mask);
	if (mask)
		bpf_cpumask_release(mask);
	return 0;
}

s32 BPF_STRUCT_OPS_SLEEPABLE(vnuma_init)
{
	struct vnuma_target *plan = plan_in_force();
	s32 node, cpu, err;

	if (!plan)
		return -ENOENT;
	bpf_for(node, 0, nr_nodes) {
		err = init_node(node);
		if (err) {
			scx_bpf_error("node %d could not be set up: error %d", node, err);
			return err;
		}
	}
	bpf_for(cpu, 0, VNUMA_MAX_CPUS) {
		if (cpu_to_node(cpu) >= 0)
			set_cpu_online(cpu, cpu_to_node(cpu), true);
	}
	plan->destination.first = start_node;
	plan->destination.second = VNUMA_NO_NODE;
	plan->nr_destinations = 1;
	return 0;
}

void BPF_STRUCT_OPS(vnuma_exit, struct scx_exit_info *ei)
{
	UEI_RECORD(uei, ei);
}

void BPF_STRUCT_OPS(vnuma_dump, struct scx_dump_ctx *dctx)
{
	struct vnuma_target *plan = plan_in_force();
	s32 node;

	if (!plan)
		return;
	scx_bpf_dump("plan: epoch %llu, first %d, second %d\n", plan->epoch, plan->destination.first,
		     plan->destination.second);
	bpf_for(node, 0, nr_nodes) {
		struct vnuma_node_stats *stats = node_stats_of(node);
		const u32 *online = MEMBER_VPTR(nr_online, [node]);

		if (!stats || !online)
			continue;
		scx_bpf_dump("node %d: %u CPUs online, %llu queued, ran %llu ms, %llu ms of it stolen, vtime %llu\n",
			     node, *online, nr_queued(node), stats->run_ns / NSEC_PER_MSEC,
			     stats->stolen_ns / NSEC_PER_MSEC, stats->vtime_now);
		scx_bpf_dump("        %llu runs, %llu elsewhere, %llu stragglers, %llu arrived\n", stats->nr_runs,
			     stats->nr_elsewhere, stats->nr_stragglers, stats->nr_arrived);
	}
}

void BPF_STRUCT_OPS(vnuma_dump_task, struct scx_dump_ctx *dctx, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx_of(p);

	if (tctx)
		scx_bpf_dump("vnuma: own policy %u, %s, ran %llu ms, vtime of node %d", tctx->own_policy,
			     tctx->flags & VNUMA_TASK_SELECTED ? "selected" : "not selected",
			     tctx->run_ns / NSEC_PER_MSEC, tctx->vtime_node);
}

SCX_OPS_DEFINE(vnuma_ops,
	       .select_cpu	= (void *)vnuma_select_cpu,
	       .enqueue		= (void *)vnuma_enqueue,
	       .dispatch	= (void *)vnuma_dispatch,
	       .running		= (void *)vnuma_running,
	       .stopping	= (void *)vnuma_stopping,
	       .tick		= (void *)vnuma_tick,
	       .cpu_release	= (void *)vnuma_cpu_release,
	       .init_task	= (void *)vnuma_init_task,
	       .enable		= (void *)vnuma_enable,
	       .exit_task	= (void *)vnuma_exit_task,
	       .cpu_online	= (void *)vnuma_cpu_online,
	       .cpu_offline	= (void *)vnuma_cpu_offline,
	       .init		= (void *)vnuma_init,
	       .exit		= (void *)vnuma_exit,
	       .dump		= (void *)vnuma_dump,
	       .dump_task	= (void *)vnuma_dump_task,
	       .timeout_ms	= 30000,
	       .name		= "vnuma");
