/* SPDX-License-Identifier: GPL-2.0-only */
/* The reflex: a node whose host takes its CPU time is left at once, before the daemon's next round. */
#ifndef VNUMA_REFLEX_BPF_H
#define VNUMA_REFLEX_BPF_H

#include "vnuma.bpf.h"
#include "limit.bpf.h"
#include "retarget.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VNUMA_MAX_NODES);
	__type(key, u32);
	__type(value, struct node_timer);
} leave_timers SEC(".maps");

/* Of struct vnuma_hit. Every event wakes the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, VNUMA_PAGE_SIZE);
} hits SEC(".maps");

/*
 * Send the node's work to its fallback until the next plan. Callbacks that hold a runqueue's lock may not move queued tasks,
 * so a timer does. Return true if the node has a fallback that isn't left itself.
 */
static bool leave_node(struct vnuma_target *plan, s32 node)
{
	const u32 key = node;
	const struct vnuma_node_plan *node_plan = node_plan_of(node);
	struct node_timer *timer = bpf_map_lookup_elem(&leave_timers, &key);

	if (!node_plan || !timer || node_plan->fallback < 0 || node_plan->fallback == node ||
	    (plan->left_nodes & node_bit(node_plan->fallback)))
		return false;
	__sync_fetch_and_or(&plan->left_nodes, node_bit(node));
	__sync_fetch_and_add(&plan->version, 1);
	bpf_timer_start(&timer->timer, 0, BPF_F_TIMER_CPU_PIN);
	return true;
}

/* @node is hit: once per plan, and not again within hit_interval_ns. */
static void hit_node(struct vnuma_target *plan, struct vnuma_node_stats *stats, s32 node, u64 now)
{
	struct vnuma_hit *hit;

	if (stats->hit_at && now - stats->hit_at < hit_interval_ns)
		return;
	/* A hit that the daemon never hears of would stay in force for ever. */
	hit = bpf_ringbuf_reserve(&hits, sizeof(*hit), 0);
	if (!hit)
		return;
	if (__sync_fetch_and_or(&plan->hit_nodes, node_bit(node)) & node_bit(node)) {
		bpf_ringbuf_discard(hit, 0);
		return;
	}
	stats->hit_at = now;
	__sync_fetch_and_add(&stats->nr_hits, 1);
	hit->at_ns = now;
	hit->run_ns = stats->excess_run_ns;
	hit->stolen_ns = stats->excess_stolen_ns;
	hit->node = node;
	hit->is_left = leave_node(plan, node);
	bpf_ringbuf_submit(hit, BPF_RB_FORCE_WAKEUP);
	stats->excess_ns = stats->excess_run_ns = stats->excess_stolen_ns = 0;
}

/* Where others are known to be, or work is held to half of a node or less, what it loses is no news. */
static bool is_news(const struct vnuma_node_plan *node_plan, s32 node)
{
	const u32 *nr = MEMBER_VPTR(nr_online, [node]);

	return nr && !(node_plan->flags & VNUMA_HAS_OTHERS) && node_plan->limit > *nr * (VNUMA_LIMIT_ONE_CPU / 2);
}

/* Count what a CPU of @node, where work gives way if @yields, has run and lost. */
static void watch_steal(struct vnuma_node_stats *stats, s32 node, bool yields, u64 run_ns, u64 stolen_ns)
{
	struct vnuma_target *plan = plan_in_force();
	const struct vnuma_node_plan *node_plan = node_plan_of(node);
	const s64 change = stolen_ns - run_ns * (yields ? allowed_giving_way : allowed_steal) / 1024;
	const u64 threshold_ns = yields ? hit_giving_way_ns : hit_threshold_ns;
	u64 nr_running;
	s64 excess;

	if (!plan || !node_plan || (plan->hit_nodes & node_bit(node)) || !is_news(node_plan, node))
		return;
	/* The guest was paused, which is no reason to leave this node. */
	if (run_ns >= pause_min_ns)
		return;
	__sync_fetch_and_add(&stats->excess_run_ns, run_ns);
	__sync_fetch_and_add(&stats->excess_stolen_ns, stolen_ns);
	excess = __sync_fetch_and_add(&stats->excess_ns, change) + change;
	if (excess <= 0) {
		stats->excess_ns = stats->excess_run_ns = stats->excess_stolen_ns = 0;
		return;
	}
	/* All CPUs that run our tasks bring evidence, and noise. */
	nr_running = stats->nr_running;
	if (excess >= (s64)(threshold_ns * (nr_running ?: 1)))
		hit_node(plan, stats, node, scx_bpf_now());
}

/* Preempt tasks on @node's CPUs that belong elsewhere by now. */
static void kick_node_cpus(s32 node)
{
	struct vnuma_target *plan = plan_in_force();
	const u32 zero = 0;
	s32 cpu;

	if (!plan || !can_kick())
		return;
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		const struct cpu_ctx *cctx;

		if (cpu_to_node(cpu) != node)
			continue;
		cctx = bpf_map_lookup_percpu_elem(&cpu_ctxs, &zero, cpu);
		if (cctx && cctx->is_running && planned_node(plan, cctx->tgid) != node)
			kick_cpu(cpu, SCX_KICK_PREEMPT);
	}
}

static int on_leave_timer(void *map, u32 *key, struct node_timer *timer)
{
	drain_node_dsq(*key, true);
	kick_node_cpus(*key);
	return 0;
}

static s32 init_leave_timer(s32 node)
{
	const u32 key = node;
	struct node_timer *timer = bpf_map_lookup_elem(&leave_timers, &key);
	s32 err;

	if (!timer)
		return -ENOENT;
	err = bpf_timer_init(&timer->timer, &leave_timers, CLOCK_MONOTONIC);
	return err ?: bpf_timer_set_callback(&timer->timer, on_leave_timer);
}

#endif /* VNUMA_REFLEX_BPF_H */
