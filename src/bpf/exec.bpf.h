/* SPDX-License-Identifier: GPL-2.0-only */
/* Exec: a process is sent to a node when it has next to no memory, so that it costs nothing to move. */
#ifndef VNUMA_EXEC_BPF_H
#define VNUMA_EXEC_BPF_H

#include "vnuma.bpf.h"
#include "placement.bpf.h"

/* 2^32 divided by the golden ratio: its multiples, modulo 2^32, are spread evenly whatever their number. */
#define GOLDEN 2654435769U

/*
 * Return the node for the next process that execs on @node, or VNUMA_NO_NODE. Any number of successive calls share out
 * processes by the plan's weights. The cursor is @node's own, so that no page is written by two nodes.
 */
static s32 next_spread_node(const struct vnuma_target *plan, s32 node)
{
	struct vnuma_node_stats *stats = node_stats_of(node);
	u64 slot;
	s32 to;

	if (!stats)
		return VNUMA_NO_NODE;
	/* The nodes' cursors don't start at the same place, or the first process of each would go to the same node. */
	slot = (u32)(__sync_fetch_and_add(&stats->nr_execs, 1) + 37 * node) * GOLDEN;
	slot = slot * plan->spread_total >> 32;
	bpf_for(to, 0, nr_nodes) {
		const struct vnuma_node_plan *node_plan = node_plan_of(to);

		if (!node_plan)
			break;
		if (slot < node_plan->spread_weight)
			return to;
		slot -= node_plan->spread_weight;
	}
	return VNUMA_NO_NODE;
}

/* Where the kernel's idle masks can't be read, a CPU counts as idle if none of our tasks runs on it. */
static bool has_idle_cpu(s32 node)
{
	const struct cpumask *idle, *mask = node_cpumask(node);
	const struct vnuma_node_stats *stats = node_stats_of(node);
	const u32 *online = MEMBER_VPTR(nr_online, [node]);
	bool has_one;

	if (!mask || !stats || !online)
		return false;
	if (idle_per_node && bpf_ksym_exists(scx_bpf_get_idle_cpumask_node___compat))
		idle = scx_bpf_get_idle_cpumask_node___compat(node);
	else if (!idle_per_node && bpf_ksym_exists(scx_bpf_get_idle_cpumask___compat))
		idle = scx_bpf_get_idle_cpumask___compat();
	else
		return stats->nr_running < *online;
	has_one = bpf_cpumask_intersects(idle, mask);
	scx_bpf_put_idle_cpumask(idle);
	return has_one;
}

/*
 * Return a node with an idle CPU for a process whose turn is @node's, where all CPUs are busy: one with a weight if there is
 * one, else one that takes overflow, else @node. Other nodes' idle masks may be remote memory, so they are read only then.
 */
static s32 overflow_node(s32 node)
{
	s32 other, spare = node;

	bpf_for(other, 0, nr_nodes) {
		const struct vnuma_node_plan *node_plan = node_plan_of(other);
		bool overflows;

		if (!node_plan)
			break;
		overflows = node_plan->flags & VNUMA_TAKES_OVERFLOW;
		if (other == node || (overflows && spare != node) || !(overflows || node_plan->spread_weight) ||
		    !has_idle_cpu(other))
			continue;
		if (!overflows)
			return other;
		spare = other;
	}
	return spare;
}

/* Loaded only if plans steer. After exec, @p is its process's only thread. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(place_at_exec, struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
{
	struct vnuma_target *plan = plan_in_force();
	const s32 cpu = bpf_get_smp_processor_id(), node = cpu_to_node(cpu);
	struct task_ctx *tctx = task_ctx_of(p);
	struct vnuma_placement own = {};
	u32 tgid = p->tgid;
	s32 to;

	if (!plan || !plan->spread_total || !tctx || !(takes_all || p->policy == SCHED_EXT))
		return 0;
	to = next_spread_node(plan, node);
	/* Where it is, it has a CPU, which somebody may be waiting for. */
	if (to >= 0 && !(to == node && !nr_queued(node)) && !has_idle_cpu(to))
		to = overflow_node(to);
	if (to < 0 || !may_run_on(p, to))
		return 0;
	own.epoch = plan->epoch;
	own.node = to;
	tctx->leaves_entries = true;
	/* If the map is full, the process stays where its parent is. */
	if (!bpf_map_update_elem(&placement, &tgid, &own, BPF_ANY) && to != node)
		kick_cpu(cpu, SCX_KICK_PREEMPT);
	return 0;
}

#endif /* VNUMA_EXEC_BPF_H */
