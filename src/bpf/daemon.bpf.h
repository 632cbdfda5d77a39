/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs that the daemon runs: a change of plan, counters, task selection, and the task iterator. */
#ifndef VNUMA_DAEMON_BPF_H
#define VNUMA_DAEMON_BPF_H

#include "vnuma.bpf.h"
#include "accounting.bpf.h"
#include "limit.bpf.h"
#include "reflex.bpf.h"
#include "give_way.bpf.h"
#include "retarget.bpf.h"

/* From include/linux/sched/prio.h: static_prio of nice 0. */
#define DEFAULT_PRIO 120

/*
 * Write what the new plan says of @node, if it changes: all nodes have a copy of that page. Return true if its limit changes,
 * and set @is_limited if it is one.
 */
static bool set_node_plan(s32 node, const struct vnuma_node_plan *new, bool *is_limited)
{
	struct vnuma_node_plan *old = node_plan_of(node);
	const u32 *online = MEMBER_VPTR(nr_online, [node]);
	u32 limit = new->limit, weight = new->spread_weight;
	s32 fallback = new->fallback;
	bool changes;

	if (!old || !online)
		return false;
	if (limit < VNUMA_LIMIT_MIN)
		limit = VNUMA_LIMIT_MIN;
	if (limit >= *online * VNUMA_LIMIT_ONE_CPU)
		limit = VNUMA_NO_LIMIT;
	*is_limited = limit != VNUMA_NO_LIMIT;
	changes = old->limit != limit;
	if (changes)
		old->limit = limit;
	if (old->flags != new->flags)
		old->flags = new->flags;
	if (old->spread_weight != weight)
		old->spread_weight = weight;
	if (old->fallback != fallback)
		old->fallback = fallback;
	return changes;
}

/* Write what the new plan says of each node. Return true if a node holds work back in another way. */
static bool set_node_plans(struct vnuma_target *plan, struct vnuma_retarget_args *args)
{
	bool changes = false;
	u32 spread_total = 0;
	u64 limited = 0;
	s32 node;

	bpf_for(node, 0, nr_nodes) {
		const struct vnuma_node_plan *new = MEMBER_VPTR(args->nodes, [node]);
		bool is_limited = false;

		if (!new)
			break;
		changes |= set_node_plan(node, new, &is_limited);
		if (is_limited)
			limited |= node_bit(node);
		spread_total += new->spread_weight;
	}
	if (plan->limited_nodes != limited)
		plan->limited_nodes = limited;
	if (plan->spread_total != spread_total)
		plan->spread_total = spread_total;
	if (plan->resting_nodes != args->resting_nodes) {
		plan->resting_nodes = args->resting_nodes;
		changes = true;
	}
	return changes;
}

/*
 * Put a plan in force. It forgets the hits that it knows of: one that came while it was made stays in force until the next
 * plan, which the daemon makes at once. With keeps_queues it is a new plan, with an epoch of its own, only if the destination
 * changes.
 */
SEC("syscall")
int retarget(struct vnuma_retarget_args *args)
{
	struct vnuma_target *plan = plan_in_force();
	bool is_new, limits_change, returns;

	if (!plan)
		return -ENOENT;
	if (args->destination.first < 0 || args->destination.first >= nr_nodes)
		return -EINVAL;
	is_new = !args->keeps_queues || plan->nr_destinations != args->nr_destinations ||
		 plan->destination.first != args->destination.first ||
		 plan->destination.second != args->destination.second;
	limits_change = steers && set_node_plans(plan, args);
	returns = plan->left_nodes & args->known_hits;
	if (is_new) {
		plan->destination = args->destination;
		plan->nr_destinations = args->nr_destinations;
	}
	if (returns)
		__sync_fetch_and_and(&plan->left_nodes, ~args->known_hits);
	if (plan->hit_nodes & args->known_hits)
		__sync_fetch_and_and(&plan->hit_nodes, ~args->known_hits);
	/* The adds are fully ordered, so a reader that sees the new epoch or version sees the new plan. */
	if (is_new || returns)
		__sync_fetch_and_add(&plan->version, 1);
	args->epoch = is_new ? __sync_fetch_and_add(&plan->epoch, 1) + 1 : plan->epoch;

	args->nr_moved = is_new || returns ? drain_all_dsqs() : 0;
	args->nr_kicked = is_new || returns || limits_change ? kick_cpus() : 0;
	return 0;
}

/* Set up a node's timers. The caller runs on a CPU of the node, so that they are in its memory. */
SEC("syscall")
int init_node_timers(struct vnuma_node_args *args)
{
	s32 err = init_limit_timer(args->node);

	err = err ?: init_leave_timer(args->node);
	return err ?: init_rest_timers(args->node);
}

/* Read the length of each node's DSQ, and each CPU's time into the map cpu_times. */
SEC("syscall")
int read_counters(struct vnuma_counters_args *args)
{
	const struct cpumask *online;
	s32 node;
	u32 cpu;

	bpf_for(node, 0, nr_nodes) {
		u32 *nr = MEMBER_VPTR(args->nr_queued, [node]);
		u64 *rested = MEMBER_VPTR(args->rested_ns, [node]);

		if (nr)
			*nr = nr_queued(node);
		if (rested && gives_way(node)) {
			const struct vnuma_node_stats *stats = node_stats_of(node);

			*rested = stats ? stats->rested_ns : 0;
		}
	}
	args->has_cpu_times = args->has_steal_times = 0;
	if (!bpf_ksym_exists(&kernel_cpustat))
		return 0;
	online = scx_bpf_get_online_cpumask();
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		const struct kernel_cpustat *stat = bpf_per_cpu_ptr(&kernel_cpustat, cpu);
		struct vnuma_cpu_time *time = bpf_map_lookup_elem(&cpu_times, &cpu);

		if (!stat || !time)
			continue;
		if (kvm_stolen_ns(cpu))
			args->has_steal_times = 1;
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

/* Read the steal time of the current CPU, for a probe that is pinned to it. */
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

/* Return true if the policy is one that the daemon may change to SCHED_EXT and back. */
static bool is_fair_policy(u32 policy)
{
	return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

/*
 * Mark a task as selected, or remove the mark. The daemon selects from what the iterator showed a while ago: -ESRCH if the
 * task has exited, also if another one has its id, and -EBUSY if its policy is no longer a fair one.
 */
SEC("syscall")
int select_task(struct vnuma_select_args *args)
{
	struct task_struct *p = bpf_task_from_pid(args->tid);
	struct task_ctx *tctx;
	u32 policy;
	int err = 0;

	if (!p)
		return -ESRCH;
	if (p->start_boottime != args->started_at_ns) {
		bpf_task_release(p);
		return -ESRCH;
	}
	/* Read once: the task may change it now. */
	policy = READ_ONCE(p->policy);
	tctx = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!tctx) {
		err = -ENOMEM;
	} else if (args->selected && !is_fair_policy(policy)) {
		err = -EBUSY;
	} else if (args->selected) {
		tctx->own_policy = policy;
		tctx->flags |= VNUMA_TASK_SELECTED | VNUMA_TASK_RECORDED;
	} else {
		tctx->flags &= ~VNUMA_TASK_SELECTED;
	}
	if (tctx)
		args->own_policy = tctx->own_policy;
	bpf_task_release(p);
	return err;
}

/* Return true if @p can be selected: alive, and not a kernel thread, a real-time or a deadline task. */
static bool may_migrate(const struct task_struct *p)
{
	if ((p->flags & (PF_KTHREAD | PF_EXITING)) || p->exit_state)
		return false;
	return is_fair_policy(p->policy) || p->policy == SCHED_EXT;
}

static u64 rss_pages_of_kind(const struct mm_struct *mm, int kind)
{
	const s64 count = mm->rss_stat[kind].count;

	return count > 0 ? count : 0;
}

/* The CPUs' pending per-CPU deltas, a few pages each, are left out. */
static u64 process_rss_pages(const struct task_struct *p)
{
	const struct mm_struct *mm = p->mm;

	if (!mm)
		return 0;
	return rss_pages_of_kind(mm, MM_FILEPAGES) + rss_pages_of_kind(mm, MM_ANONPAGES) +
	       rss_pages_of_kind(mm, MM_SHMEMPAGES);
}

static s32 placed_node(u32 tgid)
{
	const struct vnuma_placement *own = bpf_map_lookup_elem(&placement, &tgid);

	return own ? own->node : VNUMA_NO_NODE;
}

/* Runs for every task of the system, so fields are read directly instead of through helpers. */
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *p = ctx->task;
	struct vnuma_task_record record = {};
	struct task_ctx *tctx;

	if (!p || !may_migrate(p))
		return 0;
	record.version = VNUMA_RECORD_VERSION;
	record.size = sizeof(record);
	record.tid = p->pid;
	record.tgid = p->tgid;
	record.parent_tgid = p->real_parent->tgid;
	record.uid = p->cred->euid.val;
	record.nice = p->static_prio - DEFAULT_PRIO;
	record.policy = p->policy;
	record.own_policy = p->policy;
	record.started_at_ns = p->start_boottime;
	record.placed_node = VNUMA_NO_NODE;
	record.cgroup_id = p->cgroups->dfl_cgrp->kn->id;
	__builtin_memcpy(record.comm, p->comm, sizeof(record.comm));
	if (p->policy == SCHED_EXT) {
		record.placed_node = placed_node(p->tgid);
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

#endif /* VNUMA_DAEMON_BPF_H */
