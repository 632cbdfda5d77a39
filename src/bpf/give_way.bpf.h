/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Giving way: on a node whose host others use in bursts, a CPU takes no task while they need it.
 *
 * A CPU that was stolen from rests, idle, so that others have all of its host's CPU for the rest of their burst, and lose only the
 * time until the host preempted us. Its timer ends the rest. If others still run then, the CPU may be stolen from before the timer
 * is served, and rests on; otherwise it takes tasks again.
 */
#ifndef VNUMA_GIVE_WAY_BPF_H
#define VNUMA_GIVE_WAY_BPF_H

#include "vnuma.bpf.h"
#include "accounting.bpf.h"
#include "limit.bpf.h"

/* Set up for the CPUs that the nodes have, by init_node_timers(). The daemon sizes it by the CPUs' ids. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VNUMA_MAX_CPUS);
	__type(key, u32);
	__type(value, struct node_timer);
} rest_timers SEC(".maps");

static bool gives_way(s32 node)
{
	const struct vnuma_target *plan;

	if (!steers)
		return false;
	plan = plan_in_force();
	return plan && (plan->resting_nodes & node_bit(node)) && can_kick();
}

/* A rest may be so long that each of the queued tasks still gets a turn well before the watchdog looks. */
static u64 longest_rest_ns(s32 node)
{
	const u64 wait_max_ns = 20 * NSEC_PER_SEC, fair_ns = wait_max_ns / (nr_queued(node) + 1);

	return CLAMP(fair_ns, rest_min_ns, rest_max_ns);
}

static void rest_for(struct cpu_rest *rest, s32 node, u64 length_ns, u64 stolen_now, u64 now)
{
	rest->length_ns = CLAMP(length_ns, rest_min_ns, longest_rest_ns(node));
	rest->until = now + rest->length_ns;
	rest->stolen_at = stolen_now;
	rest->calm_ns = 0;
}

/*
 * @cpu ran a task for @run_ns, of which @stolen_ns were stolen. Begin to rest if others want the CPU. Return the length of the last
 * rest if they still do, as they had the CPU meanwhile.
 */
static u64 watch_others(s32 cpu, s32 node, struct cpu_rest *rest, u64 run_ns, u64 stolen_ns)
{
	struct vnuma_node_stats *stats;
	u64 rested_ns, calm_ns = stolen_ns * 3 / 2;
	bool goes_on;

	if (stolen_ns < rest_stolen_ns) {
		rest->calm_ns += run_ns - stolen_ns;
		return 0;
	}
	if (calm_ns < rest_calm_ns)
		calm_ns = rest_calm_ns;
	goes_on = rest->calm_ns < calm_ns && stolen_ns >= rest_slice_ns;
	rested_ns = goes_on ? rest->length_ns : 0;
	rest->doubled = rested_ns && rest->doubled < rest_doublings ? rest->doubled + 1 : 0;
	rest->waited_at = 0;
	rest_for(rest, node, stolen_ns << rest->doubled, kvm_stolen_ns(cpu), limit_clock_ns());
	stats = node_stats_of(node);
	if (stats)
		__sync_fetch_and_add(&stats->nr_rests, 1);
	return rested_ns;
}

static bool rests_at(const struct cpu_rest *rest, u64 now)
{
	return rest->until && time_before(now, rest->until);
}

/* Count the time until @until for which a task has waited for the end of the rest. */
static void count_rested(struct vnuma_node_stats *stats, struct cpu_rest *rest, u64 until)
{
	if (stats && rest->waited_at && time_before(rest->waited_at, until))
		__sync_fetch_and_add(&stats->rested_ns, until - rest->waited_at);
	rest->waited_at = 0;
}

/*
 * Return true if @cpu rests. If so, and if a task waits or @prev, its current task, will, its timer is set. Only for the current CPU.
 */
static bool is_resting(s32 cpu, s32 node, struct cpu_rest *rest, struct task_struct *prev)
{
	const u32 key = cpu;
	struct node_timer *timer;
	u64 now;

	if (!rest->until)
		return false;
	now = limit_clock_ns();
	if (!rests_at(rest, now)) {
		/* Its timer is late. */
		count_rested(node_stats_of(node), rest, rest->until);
		rest->until = 0;
		return false;
	}
	if (nr_queued(node) || (prev && (prev->scx.flags & SCX_TASK_QUEUED))) {
		if (!rest->waited_at)
			rest->waited_at = now;
		timer = bpf_map_lookup_elem(&rest_timers, &key);
		if (timer)
			bpf_timer_start(&timer->timer, rest->until - now, BPF_F_TIMER_CPU_PIN);
	}
	return true;
}

/* An idle @cpu of @node was claimed for a task. Return true if it rests: the task is to be queued, and the CPU will see it. */
static bool claimed_cpu_rests(s32 cpu, s32 node)
{
	const struct cpu_ctx *cctx;

	if (!gives_way(node))
		return false;
	cctx = cpu_ctx_of(cpu);
	if (!cctx || !cctx->rest.until || !rests_at(&cctx->rest, limit_clock_ns()))
		return false;
	/* It goes idle again, and counts as such. */
	kick_cpu(cpu, SCX_KICK_IDLE);
	return true;
}

static int on_rest_timer(void *map, u32 *key, struct node_timer *timer)
{
	const s32 cpu = *key, node = cpu_to_node(cpu);
	struct vnuma_node_stats *stats = node_stats_of(node);
	struct cpu_ctx *cctx = cpu_ctx_of(cpu);
	const u64 now = limit_clock_ns(), stolen_now = kvm_stolen_ns(cpu);
	struct cpu_rest *rest;

	if (!stats || !cctx)
		return 0;
	rest = &cctx->rest;
	if (!rest->until || !nr_queued(node)) {
		rest->until = 0;
		return 0;
	}
	/* It was set for an earlier rest. */
	if (time_before(now, rest->until)) {
		bpf_timer_start(&timer->timer, rest->until - now, BPF_F_TIMER_CPU_PIN);
		return 0;
	}
	count_rested(stats, rest, now);
	if (stolen_now - rest->stolen_at >= rest_slice_ns && rest->doubled < rest_doublings && gives_way(node)) {
		rest->doubled++;
		rest->waited_at = now;
		rest_for(rest, node, 2 * rest->length_ns, stolen_now, now);
		bpf_timer_start(&timer->timer, rest->length_ns, BPF_F_TIMER_CPU_PIN);
		return 0;
	}
	rest->until = 0;
	kick_cpu(cpu, 0);
	return 0;
}

static s32 init_rest_timers(s32 node)
{
	u32 cpu;

	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		struct node_timer *timer;
		s32 err;

		if (cpu_to_node(cpu) != node)
			continue;
		timer = bpf_map_lookup_elem(&rest_timers, &cpu);
		if (!timer)
			return -ENOENT;
		err = bpf_timer_init(&timer->timer, &rest_timers, CLOCK_MONOTONIC);
		err = err ?: bpf_timer_set_callback(&timer->timer, on_rest_timer);
		if (err)
			return err;
	}
	return 0;
}

#endif /* VNUMA_GIVE_WAY_BPF_H */
