/* SPDX-License-Identifier: GPL-2.0-only */
/* Fairness between the tasks of a node: weights, slices, vtimes, wakeup preemption. */
#ifndef VNUMA_FAIRNESS_BPF_H
#define VNUMA_FAIRNESS_BPF_H

#include "vnuma.bpf.h"

/*
 * Weight beyond this (about nice -7) has no further effect, or max_debt_ns would not bound the wait. Migratable tasks
 * are best-effort work.
 */
#define WEIGHT_MAX  500
#define WEIGHT_BASE 100

static u64 effective_weight(const struct task_struct *p, const struct task_ctx *tctx)
{
	/* While its policy is SCHED_EXT, a task's weight doesn't show that its own policy was SCHED_IDLE. */
	if (tctx->own_policy == SCHED_IDLE)
		return 1;
	return CLAMP(p->scx.weight, 1, WEIGHT_MAX);
}

/* Return the slice for a task of @weight. Light tasks get less, so that one slice leaves them near the debt bound. */
static u64 task_slice_ns(u64 nr_queued, u64 weight)
{
	u64 slice_ns = CLAMP(sched_latency_ns / (nr_queued + 1), slice_min_ns, slice_max_ns);

	if (weight < WEIGHT_BASE)
		slice_ns = slice_ns * weight / WEIGHT_BASE;
	return slice_ns < slice_min_ns ? slice_min_ns : slice_ns;
}

/*
 * Convert @p's vtime to the clock of @node, where @nr_queued tasks wait. The lag behind the clock of the node it comes
 * from is kept, within bounds.
 */
static u64 task_vtime_on(const struct task_struct *p, struct task_ctx *tctx, s32 node, u64 nr_queued)
{
	struct vnuma_node_stats *here = node_stats_of(node), *there = node_stats_of(tctx->vtime_node);
	s64 credit_max = slice_max_ns, debt_max = max_debt_ns / (nr_queued + 1), lag = 0;

	if (!here)
		return p->scx.dsq_vtime;
	if (there)
		lag = p->scx.dsq_vtime - there->vtime_now;
	return here->vtime_now + CLAMP(lag, -credit_max, debt_max);
}

/*
 * Return true if a waking task with @vtime should preempt @cpu's current task, while @nr_queued tasks wait. The current
 * task's vtime is advanced by the wall clock, whatever its weight: a lower bound for most tasks, which have less than
 * the normal weight.
 */
static bool preempts_current(s32 cpu, u64 vtime, u64 nr_queued)
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

#endif /* VNUMA_FAIRNESS_BPF_H */
