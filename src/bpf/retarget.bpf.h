/* SPDX-License-Identifier: GPL-2.0-only */
/* What follows a change of plan or of the online CPUs: queued tasks move, and CPUs reschedule. */
#ifndef VNUMA_RETARGET_BPF_H
#define VNUMA_RETARGET_BPF_H

#include "vnuma.bpf.h"
#include "fairness.bpf.h"
#include "placement.bpf.h"

/* Where CPUs can't be kicked, move a queued task directly to an idle CPU of @node. */
static bool move_to_idle_cpu(struct bpf_iter_scx_dsq *it, struct task_struct *p, s32 node)
{
	s32 cpu;

	if (can_kick())
		return false;
	cpu = claim_idle_cpu(p, node, scx_bpf_task_cpu(p));
	return cpu >= 0 && scx_bpf_dsq_move(it, p, SCX_DSQ_LOCAL_ON | cpu, 0);
}

/*
 * Move the tasks on @node's DSQ that no longer belong there to the DSQs of their nodes, and wake an idle CPU for each if
 * @wakes_cpus. Return how many moved.
 */
static u32 drain_node_dsq(s32 node, bool wakes_cpus)
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
		if (wakes_cpus && can_kick()) {
			s32 cpu = claim_idle_cpu(p, to, scx_bpf_task_cpu(p));

			if (cpu >= 0)
				kick_cpu(cpu, SCX_KICK_IDLE);
		}
	}
	bpf_rcu_read_unlock();
	return nr_moved;
}

static u32 drain_all_dsqs(void)
{
	u32 nr_moved = 0;
	s32 node;

	bpf_for(node, 0, nr_nodes) {
		if (nr_queued(node))
			nr_moved += drain_node_dsq(node, false);
	}
	return nr_moved;
}

/* Preempt tasks of ours that run elsewhere than planned, and wake idle CPUs that have work. Return how many CPUs. */
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

#endif /* VNUMA_RETARGET_BPF_H */
