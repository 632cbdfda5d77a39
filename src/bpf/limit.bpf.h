/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Limits: how much CPU migratable tasks may use on a node, as whole CPUs at a time and as a share of time.
 *
 * A node with a limit has a budget, a token bucket that its CPUs fill as time passes. Work that overruns the budget leaves
 * a debt. A CPU that finds no budget takes no task and sets the node's timer, which wakes idle CPUs when there is one again:
 * the timer runs only while a node is throttled and has queued tasks.
 */
#ifndef VNUMA_LIMIT_BPF_H
#define VNUMA_LIMIT_BPF_H

#include "vnuma.bpf.h"
#include "placement.bpf.h"

#define NSEC_PER_SEC (1000 * NSEC_PER_MSEC)

/* From include/uapi/linux/time.h. */
#define CLOCK_MONOTONIC 1

/* Only the first bytes are used, so that no two nodes' timers are on the same page. */
struct node_timer {
	struct bpf_timer timer;
	u8 _pad[VNUMA_PAGE_SIZE - sizeof(struct bpf_timer)];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VNUMA_MAX_NODES);
	__type(key, u32);
	__type(value, struct node_timer);
} limit_timers SEC(".maps");

/* A turn ends at the second tick at the latest, of 4 ms at HZ 250. */
#define TURN_NS (8 * NSEC_PER_MSEC)

/*
 * The least limit of a node where @nr_queued tasks wait, so that each runs within 20 s, well before the watchdog's 30 s: a task
 * waits until the others have used max_debt_ns and had a turn each.
 */
static u64 least_limit(u64 nr_queued)
{
	const u64 wait_max_ns = 20 * NSEC_PER_SEC;

	if (nr_queued < 2)
		return VNUMA_LIMIT_MIN;
	return (max_debt_ns + nr_queued * TURN_NS) * VNUMA_LIMIT_ONE_CPU / wait_max_ns;
}

/* Return the limit of @node, or VNUMA_NO_LIMIT. */
static u32 node_limit(s32 node)
{
	const struct vnuma_target *plan;
	const struct vnuma_node_plan *node_plan;
	u64 least;

	if (!steers)
		return VNUMA_NO_LIMIT;
	plan = plan_in_force();
	if (!plan || !(plan->limited_nodes & node_bit(node)))
		return VNUMA_NO_LIMIT;
	node_plan = node_plan_of(node);
	if (!node_plan)
		return VNUMA_NO_LIMIT;
	least = least_limit(nr_queued(node));
	return node_plan->limit < least ? least : node_plan->limit;
}

/*
 * The clock of limits. Where the TSC isn't reliable, scx_bpf_now() lags in timers on idle CPUs by as long as the CPU idled.
 */
static u64 limit_clock_ns(void)
{
	return bpf_ktime_get_ns();
}

/*
 * Charge a node's budget with @used_ns. A task may have been on its CPU for long before it was charged: ticks are late on a host that
 * is short of CPU, and the guest may have been paused. If all of that were a debt, those that wait would starve. So a debt is at most
 * what the limit gives in a second, divided by the tasks that wait for their turn, or a turn of each CPU that the limit allows.
 */
static void charge_budget(struct vnuma_node_stats *stats, s32 node, u32 limit, u64 used_ns)
{
	u64 debt_max_ns = NSEC_PER_SEC / VNUMA_LIMIT_ONE_CPU * limit / (nr_queued(node) + 1);
	const u64 turns_ns = TURN_NS * ((limit + VNUMA_LIMIT_ONE_CPU - 1) / VNUMA_LIMIT_ONE_CPU);
	s64 over;

	if (debt_max_ns < turns_ns)
		debt_max_ns = turns_ns;
	over = (s64)used_ns - __sync_fetch_and_sub(&stats->budget_ns, used_ns) - (s64)debt_max_ns;
	if (over > 0)
		__sync_fetch_and_add(&stats->budget_ns, over < (s64)used_ns ? over : (s64)used_ns);
}

/* Let the budget grow with the time that has passed. Only for CPUs of the node. */
static void refill_budget(struct vnuma_node_stats *stats, u32 limit, u64 now)
{
	const u64 before = stats->refilled_at, wakes_at = stats->wakes_at;
	u64 passed_ns, kept_ns = limit_period_ns;
	s64 gain, over;

	if (!time_before(before, now) || __sync_val_compare_and_swap(&stats->refilled_at, before, now) != before)
		return;
	passed_ns = now - before;
	if (passed_ns > 10 * NSEC_PER_SEC)
		passed_ns = 10 * NSEC_PER_SEC;
	gain = passed_ns * limit / VNUMA_LIMIT_ONE_CPU;
	/* Only now has the time passed for which a CPU waited: see limit_late_max_ns. */
	if (time_before(before, wakes_at) && time_before(wakes_at, now))
		kept_ns += now - wakes_at < limit_late_max_ns ? now - wakes_at : limit_late_max_ns;
	over = __sync_fetch_and_add(&stats->budget_ns, gain) + gain - (s64)(kept_ns * limit / VNUMA_LIMIT_ONE_CPU);
	if (over > 0)
		__sync_fetch_and_sub(&stats->budget_ns, over < gain ? over : gain);
}

/* Return true if, beside @nr_running CPUs, one more CPU of the node may run a migratable task. */
static bool has_room(const struct vnuma_node_stats *stats, u32 limit, u64 nr_running)
{
	return stats->budget_ns > 0 && nr_running * VNUMA_LIMIT_ONE_CPU < limit;
}

/* Set @node's timer to when it has a budget again, unless it is set already. */
static void set_limit_timer(s32 node, struct vnuma_node_stats *stats, u32 limit, u64 now)
{
	const u32 key = node;
	const s64 budget_ns = stats->budget_ns;
	const u64 before = stats->wakes_at;
	struct node_timer *timer;
	u64 delay_ns = limit_period_ns;

	if (time_before(now, before))
		return;
	if (budget_ns <= 0)
		delay_ns = -budget_ns * VNUMA_LIMIT_ONE_CPU / limit + NSEC_PER_MSEC / 4;
	if (__sync_val_compare_and_swap(&stats->wakes_at, before, now + delay_ns) != before)
		return;
	timer = bpf_map_lookup_elem(&limit_timers, &key);
	if (timer)
		bpf_timer_start(&timer->timer, delay_ns, BPF_F_TIMER_CPU_PIN);
}

/*
 * Return true if a CPU of @node may take a task, beside @nr_running CPUs that run one. If not, the node's timer is set. Only
 * for CPUs of the node.
 */
static bool may_take_task(s32 node, struct vnuma_node_stats *stats, u32 limit, u64 nr_running)
{
	const u64 now = limit_clock_ns();

	refill_budget(stats, limit, now);
	if (has_room(stats, limit, nr_running))
		return true;
	__sync_fetch_and_add(&stats->nr_throttled, 1);
	set_limit_timer(node, stats, limit, now);
	return false;
}

/* Return true if a task that wakes up may go to an idle CPU of @node directly. */
static bool may_go_directly(s32 node)
{
	const u32 limit = node_limit(node);
	const struct vnuma_node_stats *stats;

	if (limit == VNUMA_NO_LIMIT)
		return true;
	stats = node_stats_of(node);
	return stats && has_room(stats, limit, stats->nr_running);
}

/*
 * Return true if queueing a task on @node should wake an idle CPU of it. If not, the timer will. A waker on another node
 * leaves it to the woken CPU to set the timer, so as not to write to the node's page.
 */
static bool should_wake_cpu(s32 node)
{
	const u32 limit = node_limit(node);
	struct vnuma_node_stats *stats;
	u64 now;

	if (limit == VNUMA_NO_LIMIT)
		return true;
	stats = node_stats_of(node);
	if (!stats)
		return true;
	if (has_room(stats, limit, stats->nr_running))
		return true;
	/* The timer sees what was queued at least this long before it runs. */
	now = limit_clock_ns();
	if (time_before(now + NSEC_PER_MSEC / 2, stats->wakes_at))
		return false;
	if (can_kick() && cpu_to_node(bpf_get_smp_processor_id()) != node)
		return true;
	return may_take_task(node, stats, limit, stats->nr_running);
}

/* Let up to @nr_max idle CPUs of @node take a queued task each. */
static void wake_idle_cpus(s32 node, s64 nr_max)
{
	struct task_struct *p;

	bpf_rcu_read_lock();
	bpf_for_each(scx_dsq, p, node_dsq(node), 0) {
		s32 cpu;

		if (nr_max-- <= 0)
			break;
		cpu = claim_idle_cpu(p, node, scx_bpf_task_cpu(p));
		if (cpu < 0)
			continue;
		if (can_kick())
			kick_cpu(cpu, SCX_KICK_IDLE);
		else
			scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL_ON | cpu, 0);
	}
	bpf_rcu_read_unlock();
}

static int on_limit_timer(void *map, u32 *key, struct node_timer *timer)
{
	const s32 node = *key;
	const u32 limit = node_limit(node);
	struct vnuma_node_stats *stats = node_stats_of(node);
	const u64 now = limit_clock_ns();
	u64 nr_running;

	/* A change of plan that lifts the limit wakes the CPUs itself. */
	if (!stats || limit == VNUMA_NO_LIMIT || !nr_queued(node))
		return 0;
	refill_budget(stats, limit, now);
	stats->wakes_at = now;
	nr_running = stats->nr_running;
	if (has_room(stats, limit, nr_running))
		wake_idle_cpus(node, (limit + VNUMA_LIMIT_ONE_CPU - 1) / VNUMA_LIMIT_ONE_CPU - nr_running);
	else
		set_limit_timer(node, stats, limit, now);
	return 0;
}

static s32 init_limit_timer(s32 node)
{
	const u32 key = node;
	struct node_timer *timer = bpf_map_lookup_elem(&limit_timers, &key);
	s32 err;

	if (!timer)
		return -ENOENT;
	err = bpf_timer_init(&timer->timer, &limit_timers, CLOCK_MONOTONIC);
	return err ?: bpf_timer_set_callback(&timer->timer, on_limit_timer);
}

#endif /* VNUMA_LIMIT_BPF_H */
