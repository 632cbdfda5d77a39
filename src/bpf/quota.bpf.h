/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPU quotas of cgroups (cpu.max): the kernel leaves them to the scheduler class, so migratable tasks are held to them here.
 *
 * A quota gives run time to each period of time. Nodes fetch it in portions of a few milliseconds, so that a page which several
 * nodes write is written once per portion only. A task runs while every quota on the path to its cgroup has a portion on the
 * task's node, or time to fetch. Otherwise it is held: it waits on the DSQ of the quota that is used up until a timer, at the end of
 * the period, sends it back to its node. Time that was overrun, by up to a tick on each CPU, is a debt to the next periods.
 *
 * The daemon says which cgroups have quotas. A task that moves to another cgroup, also to a new one below, is seen when it is next
 * charged or queued.
 */
#ifndef VNUMA_QUOTA_BPF_H
#define VNUMA_QUOTA_BPF_H

#include "vnuma.bpf.h"
#include "accounting.bpf.h"
#include "fairness.bpf.h"
#include "limit.bpf.h"

/* From include/linux/sched/signal.h: the process was killed, or one of its threads ends it. */
#define SIGNAL_GROUP_EXIT 0x00000004

/* A node fetches a quarter of a period's time at once, within these bounds. */
#define PORTION_MIN_NS (NSEC_PER_MSEC / 4)
#define PORTION_MAX_NS (5 * NSEC_PER_MSEC)

/* A task is held for this long at most, well below the watchdog's 30 s: then it has a turn, which adds to the debt. */
#define HELD_MAX_NS (10 * NSEC_PER_SEC)

/* A node's debt stays within this many periods' time, about: turns of tasks that were held for too long would add up for ever. */
#define DEBT_MAX_PERIODS 16

struct quota {
	u64 cgroup_id;
	u64 period_ns;
	u64 quota_ns; /* 0: none */
	s32 parent;
	u32 has_dsq;
};

/* Written only when a quota changes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VNUMA_MAX_QUOTAS);
	__type(key, u32);
	__type(value, struct quota);
} quotas SEC(".maps");

/* Of a quota, what no node has fetched yet. */
struct quota_state {
	struct bpf_timer timer;
	s64 left_ns;
	u64 began_at; /* the period */
	u64 wakes_at; /* when the timer expires; past: it isn't set */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VNUMA_MAX_QUOTAS);
	__type(key, u32);
	__type(value, struct quota_state);
} quota_states SEC(".maps");

/* What a node has fetched of each quota and not used; negative: a debt. A page for each node. */
struct quota_portions {
	s64 left_ns[VNUMA_MAX_QUOTAS];
} __attribute__((aligned(VNUMA_PAGE_SIZE)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VNUMA_MAX_NODES);
	__type(key, u32);
	__type(value, struct quota_portions);
} quota_portions SEC(".maps");

/* The index of a cgroup's own quota. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, VNUMA_MAX_QUOTAS);
	__type(key, u64);
	__type(value, s32);
} quota_of_cgroup SEC(".maps");

static u64 held_dsq(s32 quota)
{
	return VNUMA_MAX_NODES + (u64)quota;
}

/* Let a quota grow by the time of the periods that have ended. */
static void refill_quota(const struct quota *quota, struct quota_state *state, u64 now)
{
	const u64 began_at = state->began_at;
	u64 nr_periods;
	s64 gain, over;

	if (!quota->period_ns || time_before(now, began_at + quota->period_ns))
		return;
	nr_periods = (now - began_at) / quota->period_ns;
	if (__sync_val_compare_and_swap(&state->began_at, began_at, began_at + nr_periods * quota->period_ns) !=
	    began_at)
		return;
	/* What nobody used is gone. */
	gain = (nr_periods < 1000 ? nr_periods : 1000) * quota->quota_ns;
	over = __sync_fetch_and_add(&state->left_ns, gain) + gain - (s64)quota->quota_ns;
	if (over > 0)
		__sync_fetch_and_sub(&state->left_ns, over < gain ? over : gain);
}

/* Fetch time for a node that has @left_ns in its @portion. Return what it has then. */
static s64 fetch_portion(const struct quota *quota, struct quota_state *state, s64 *portion, s64 left_ns, u64 now)
{
	s64 wanted_ns = CLAMP(quota->quota_ns / 4, PORTION_MIN_NS, PORTION_MAX_NS), short_ns;

	refill_quota(quota, state, now);
	wanted_ns -= left_ns;
	if (state->left_ns <= 0)
		return left_ns;
	short_ns = wanted_ns - __sync_fetch_and_sub(&state->left_ns, wanted_ns);
	if (short_ns > 0) {
		if (short_ns > wanted_ns)
			short_ns = wanted_ns;
		__sync_fetch_and_add(&state->left_ns, short_ns);
		wanted_ns -= short_ns;
	}
	return __sync_fetch_and_add(portion, wanted_ns) + wanted_ns;
}

/*
 * Charge the quota @index and those above it with @run_ns on @node. Return the index of one that is used up, else VNUMA_NO_QUOTA.
 * A global function, so that the verifier looks at it once.
 */
__noinline s32 charge_quotas(s32 index, s32 node, u64 run_ns, u64 now)
{
	const u32 node_key = node;
	struct quota_portions *portions = bpf_map_lookup_elem(&quota_portions, &node_key);
	s32 used_up = VNUMA_NO_QUOTA, depth;

	if (!portions)
		return VNUMA_NO_QUOTA;
	bpf_for(depth, 0, VNUMA_QUOTA_DEPTH) {
		const u32 key = index;
		const struct quota *quota = bpf_map_lookup_elem(&quotas, &key);
		struct quota_state *state = bpf_map_lookup_elem(&quota_states, &key);
		s64 *portion = MEMBER_VPTR(portions->left_ns, [index]);
		s64 left_ns;

		if (!quota || !state || !portion)
			break;
		if (quota->quota_ns) {
			left_ns = run_ns ? __sync_fetch_and_sub(portion, run_ns) - (s64)run_ns : *portion;
			if (left_ns < -DEBT_MAX_PERIODS * (s64)quota->quota_ns)
				left_ns = __sync_fetch_and_add(portion, run_ns) + run_ns;
			if (left_ns <= 0)
				left_ns = fetch_portion(quota, state, portion, left_ns, now);
			if (left_ns <= 0)
				used_up = index;
		}
		index = quota->parent;
	}
	return used_up;
}

/* Look for the nearest quota on the path to @p's cgroup, whose id is @cgroup_id. */
static __noinline s32 find_quota(const struct task_struct *p, struct task_ctx *tctx, u64 cgroup_id)
{
	const s32 level = p->cgroups->dfl_cgrp->level;
	u64 ancestors = 0; /* a number, as the verifier allows no offset to a pointer that it can't bound */
	s32 i;

	tctx->quotas_version = quotas_version;
	tctx->quota_cgroup = cgroup_id;
	tctx->quota = VNUMA_NO_QUOTA;
	bpf_probe_read_kernel(&ancestors, sizeof(ancestors), &p->cgroups->dfl_cgrp);
	ancestors += bpf_core_field_offset(struct cgroup, ancestors);
	/* The kernel allows as many levels as cgroup.max.depth says; more than these are hardly of use. */
	bpf_for(i, 0, 64) {
		const struct cgroup *ancestor;
		const s32 *index;
		u64 id;

		if (i > level)
			break;
		if (bpf_probe_read_kernel(&ancestor, sizeof(ancestor), (void *)(ancestors + (level - i) * 8)))
			break;
		id = BPF_CORE_READ(ancestor, kn, id);
		index = bpf_map_lookup_elem(&quota_of_cgroup, &id);
		if (index) {
			tctx->quota = *index;
			break;
		}
	}
	return tctx->quota;
}

/* Return the nearest quota of @p, or VNUMA_NO_QUOTA. */
static s32 task_quota(const struct task_struct *p, struct task_ctx *tctx)
{
	u64 cgroup_id;

	if (!nr_quotas)
		return VNUMA_NO_QUOTA;
	cgroup_id = p->cgroups->dfl_cgrp->kn->id;
	if (tctx->quotas_version == quotas_version && tctx->quota_cgroup == cgroup_id)
		return tctx->quota;
	return find_quota(p, tctx, cgroup_id);
}

/* Return the quota by which @p is held if it is to run on @node, or VNUMA_NO_QUOTA. */
static s32 holding_quota(const struct task_struct *p, struct task_ctx *tctx, s32 node)
{
	const s32 quota = task_quota(p, tctx);
	u64 now;

	/* A task that exits, or was killed, holds what others wait for. */
	if (quota < 0 || (p->flags & PF_EXITING) || (p->signal->flags & SIGNAL_GROUP_EXIT))
		return VNUMA_NO_QUOTA;
	now = limit_clock_ns();
	if (tctx->held_since && time_before(tctx->held_since + HELD_MAX_NS, now))
		return VNUMA_NO_QUOTA;
	return charge_quotas(quota, node, 0, now);
}

/* Set the timer of a quota to the end of its period, unless it is set. */
static void set_quota_timer(const struct quota *quota, struct quota_state *state, u64 now)
{
	const u64 before = state->wakes_at;
	u64 delay_ns = NSEC_PER_MSEC;

	if (time_before(now, before))
		return;
	if (time_before(now + delay_ns, state->began_at + quota->period_ns))
		delay_ns = state->began_at + quota->period_ns - now;
	if (__sync_val_compare_and_swap(&state->wakes_at, before, now + delay_ns) == before)
		bpf_timer_start(&state->timer, delay_ns, BPF_F_TIMER_CPU_PIN);
}

/* @p waits on the DSQ of quota @index from now on. */
static void note_held(struct task_ctx *tctx, s32 index)
{
	const u32 key = index;
	const struct quota *quota = bpf_map_lookup_elem(&quotas, &key);
	struct quota_state *state = bpf_map_lookup_elem(&quota_states, &key);
	const u64 now = limit_clock_ns();

	/* It doesn't wait for a CPU. */
	tctx->waiting_since = 0;
	if (!tctx->held_since)
		tctx->held_since = now;
	if (quota && state)
		set_quota_timer(quota, state, now);
}

/* Move tasks from the head of @node's DSQ that are held by now, so that the first one there may run. */
static void hold_queued(s32 node)
{
	struct task_struct *p;
	s32 nr_max = 32;

	if (!nr_quotas)
		return;
	bpf_rcu_read_lock();
	bpf_for_each(scx_dsq, p, node_dsq(node), 0) {
		struct task_ctx *tctx = task_ctx_of(p);
		s32 quota;

		if (!tctx || nr_max-- <= 0)
			break;
		quota = holding_quota(p, tctx, node);
		if (quota < 0)
			break;
		if (scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, held_dsq(quota), 0))
			note_held(tctx, quota);
	}
	bpf_rcu_read_unlock();
}

/*
 * Send tasks that quota @index holds back to their nodes: as many as its time is likely to do for, or all if there is no quota any
 * more, and those that were held for too long.
 */
static void release_held(s32 index, const struct quota *quota, bool has_time)
{
	const u64 now = limit_clock_ns();
	s64 nr_max = quota->quota_ns ? quota->quota_ns / (NSEC_PER_MSEC / 2) + 8 : 1 << 20;
	struct task_struct *p;

	bpf_rcu_read_lock();
	bpf_for_each(scx_dsq, p, held_dsq(index), 0) {
		struct vnuma_node_stats *stats;
		struct task_ctx *tctx = task_ctx_of(p);
		const s32 to = task_node(p);
		s32 cpu;

		if (!tctx || to < 0)
			continue;
		if (nr_max-- <= 0 || (!has_time && time_before(now, tctx->held_since + HELD_MAX_NS)))
			break;
		stats = node_stats_of(to);
		if (!stats)
			continue;
		scx_bpf_dsq_move_set_vtime(BPF_FOR_EACH_ITER, task_vtime_on(p, tctx, to, nr_queued(to)));
		if (!scx_bpf_dsq_move_vtime(BPF_FOR_EACH_ITER, p, node_dsq(to), 0))
			continue;
		tctx->vtime_node = to;
		start_waiting(tctx);
		cpu = claim_idle_cpu(p, to, scx_bpf_task_cpu(p));
		if (cpu >= 0)
			kick_cpu(cpu, SCX_KICK_IDLE);
	}
	bpf_rcu_read_unlock();
}

static int on_quota_timer(void *map, u32 *key, struct quota_state *state)
{
	const s32 index = *key;
	const struct quota *quota = bpf_map_lookup_elem(&quotas, key);
	const u64 now = limit_clock_ns();

	if (!quota || !quota->has_dsq)
		return 0;
	refill_quota(quota, state, now);
	release_held(index, quota, !quota->quota_ns || state->left_ns > 0);
	state->wakes_at = now;
	if (scx_bpf_dsq_nr_queued(held_dsq(index)) > 0)
		set_quota_timer(quota, state, now);
	return 0;
}

/* Set, change or end a quota. Tasks that the old one holds are looked at again at once. */
SEC("syscall")
int set_quota(struct vnuma_quota_args *args)
{
	const u32 key = args->index;
	struct quota *quota = bpf_map_lookup_elem(&quotas, &key);
	struct quota_state *state = bpf_map_lookup_elem(&quota_states, &key);
	const u64 now = limit_clock_ns();
	s32 index = args->index, err;

	if (!quota || !state)
		return -EINVAL;
	if (!quota->has_dsq) {
		err = scx_bpf_create_dsq(held_dsq(index), NUMA_NO_NODE);
		err = err ?: bpf_timer_init(&state->timer, &quota_states, CLOCK_MONOTONIC);
		err = err ?: bpf_timer_set_callback(&state->timer, on_quota_timer);
		if (err)
			return err;
		quota->has_dsq = true;
	}
	if (quota->quota_ns && quota->cgroup_id != args->cgroup_id)
		bpf_map_delete_elem(&quota_of_cgroup, &quota->cgroup_id);
	if (!args->quota_ns) {
		bpf_map_delete_elem(&quota_of_cgroup, &args->cgroup_id);
		if (quota->quota_ns)
			__sync_fetch_and_sub(&nr_quotas, 1);
	} else {
		err = bpf_map_update_elem(&quota_of_cgroup, &args->cgroup_id, &index, BPF_ANY);
		if (err)
			return err;
		if (!quota->quota_ns)
			__sync_fetch_and_add(&nr_quotas, 1);
	}
	quota->cgroup_id = args->cgroup_id;
	quota->parent = args->parent;
	quota->period_ns = args->period_ns;
	quota->quota_ns = args->quota_ns;
	state->began_at = now;
	state->left_ns = args->quota_ns;
	__sync_fetch_and_add(&quotas_version, 1);
	state->wakes_at = now;
	return bpf_timer_start(&state->timer, 0, 0);
}

#endif /* VNUMA_QUOTA_BPF_H */
