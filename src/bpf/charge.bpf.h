/* SPDX-License-Identifier: GPL-2.0-only */
/* Charging a running task's time to it, to its process and to its node. */
#ifndef VNUMA_CHARGE_BPF_H
#define VNUMA_CHARGE_BPF_H

#include "vnuma.bpf.h"
#include "accounting.bpf.h"
#include "fairness.bpf.h"
#include "limit.bpf.h"
#include "reflex.bpf.h"
#include "give_way.bpf.h"
#include "quota.bpf.h"

/* Charge @p, the current task of its CPU, whose context is @cctx, with its time since it was put there or last charged. */
static void charge_current(struct task_struct *p, struct task_ctx *tctx, struct cpu_ctx *cctx, u64 now)
{
	const s32 cpu = scx_bpf_task_cpu(p), node = cpu_to_node(cpu);
	struct vnuma_node_stats *stats = node_stats_of(node);
	const u64 stolen_now = kvm_stolen_ns(cpu);
	u64 run_ns = now - cctx->started_at, stolen_ns = stolen_now - cctx->stolen_at, left_ns = 0;
	s32 quota;
	u32 limit;

	if (!stats)
		return;
	/* Steal time that goes back, or on by far more than time passed, as after a live migration, tells nothing. */
	if (stolen_now < cctx->stolen_at || stolen_ns > run_ns + steal_slack_ns)
		stolen_ns = 0;
	else if (stolen_ns > run_ns)
		stolen_ns = run_ns;
	cctx->started_at = now;
	cctx->stolen_at = stolen_now;

	__sync_fetch_and_add(&stats->run_ns, run_ns);
	__sync_fetch_and_add(&stats->stolen_ns, stolen_ns);
	add_run_time(p, tctx, node, run_ns, stolen_ns);
	tctx->awake_ns += run_ns;
	cctx->awake_ns = tctx->awake_ns;

	/* Steal time isn't charged to the task. */
	scx_bpf_task_set_dsq_vtime(p,
				   p->scx.dsq_vtime + (run_ns - stolen_ns) * WEIGHT_BASE / effective_weight(p, tctx));
	cctx->vtime = p->scx.dsq_vtime;
	quota = task_quota(p, tctx);
	if (quota >= 0) {
		/* As the fair class does, by the kernel's own count, which leaves out interrupts and is up to date in all callers. */
		const u64 counted_ns = p->se.sum_exec_runtime;

		charge_quotas(quota, node, counted_ns - tctx->quota_charged_ns, limit_clock_ns());
		tctx->quota_charged_ns = counted_ns;
	}
	if (!steers)
		return;
	limit = node_limit(node);
	if (limit != VNUMA_NO_LIMIT)
		charge_budget(stats, node, limit, run_ns - stolen_ns);
	if (gives_way(node)) {
		left_ns = watch_others(cpu, node, &cctx->rest, run_ns, stolen_ns);
		watch_steal(stats, node, true, run_ns + left_ns, stolen_ns + left_ns);
	} else {
		watch_steal(stats, node, false, run_ns, stolen_ns);
	}
}

#endif /* VNUMA_CHARGE_BPF_H */
