/* SPDX-License-Identifier: GPL-2.0-only */
/* Placement: the nodes and CPUs where a task may run, and the one where it should. */
#ifndef VNUMA_PLACEMENT_BPF_H
#define VNUMA_PLACEMENT_BPF_H

#include "vnuma.bpf.h"

static bool is_allowed_cpu(const struct task_struct *p, s32 cpu)
{
	return cpu >= 0 && bpf_cpumask_test_cpu(cpu, p->cpus_ptr);
}

/*
 * Return true if @p may run on some online CPU of @node. The caller must be in an RCU read-side critical section, as
 * callbacks are.
 */
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

/* Return a node where @p may run, preferably the one it is on. */
static s32 fallback_node(const struct task_struct *p)
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

/*
 * Return where work of @node goes until the next plan: to its fallback once it was hit. No node is left for one that is left
 * already, so this ends; two nodes hit at the same moment may name each other.
 */
static s32 follow_fallbacks(const struct vnuma_target *plan, s32 node)
{
	const struct vnuma_node_plan *node_plan;
	s32 nr_steps;

	bpf_for(nr_steps, 0, 3) {
		if (!(plan->left_nodes & node_bit(node)))
			break;
		node_plan = node_plan_of(node);
		if (!node_plan || node_plan->fallback < 0)
			break;
		node = node_plan->fallback;
	}
	return node;
}

/* Return the node that @plan assigns to a process, whether or not its tasks may run there. */
static s32 planned_node(const struct vnuma_target *plan, u32 tgid)
{
	const struct vnuma_placement *own;
	s32 node = plan->destination.first;

	if (places_processes) {
		own = bpf_map_lookup_elem(&placement, &tgid);
		if (own)
			node = own->node;
	}
	return steers && plan->left_nodes ? follow_fallbacks(plan, node) : node;
}

/*
 * Return the node to queue @p on: the planned one, or one where @p may run if its affinity or an offline node rules
 * that out. We only ever read the affinity, which belongs to the user.
 */
static s32 task_node(const struct task_struct *p)
{
	struct vnuma_target *plan = plan_in_force();
	struct vnuma_destination to;
	s32 own;

	if (!plan)
		return fallback_node(p);
	own = planned_node(plan, p->tgid);
	if (may_run_on(p, own))
		return own;
	to = plan->destination;
	if (own != to.first && may_run_on(p, to.first))
		return to.first;
	if (plan->nr_destinations > 1 && may_run_on(p, to.second))
		return to.second;
	return fallback_node(p);
}

/* Claim an idle CPU of @node for @p, preferably @prev_cpu. Return the CPU, or a negative number if there is none. */
static s32 claim_idle_cpu(const struct task_struct *p, s32 node, s32 prev_cpu)
{
	s32 cpu;

	if (cpu_to_node(prev_cpu) == node && is_allowed_cpu(p, prev_cpu) && scx_bpf_test_and_clear_cpu_idle(prev_cpu))
		return prev_cpu;

	if (idle_per_node && bpf_ksym_exists(scx_bpf_pick_idle_cpu_node))
		return scx_bpf_pick_idle_cpu_node(p->cpus_ptr, node, SCX_PICK_IDLE_IN_NODE);

	/* Kernels before 6.15 have a single idle mask: walk the node's part of it. */
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		if (cpu_to_node(cpu) == node && is_allowed_cpu(p, cpu) && scx_bpf_test_and_clear_cpu_idle(cpu))
			return cpu;
	}
	return -EBUSY;
}

/* Return a busy CPU of @node for @p to wake up on, so that its runqueue is of that node; else @prev_cpu. */
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

/*
 * Return true if @p must run on its current CPU, for kernels before 6.14, which leave that check to us. Running this
 * program itself disables the migration of the current task once.
 */
static bool is_stuck_on_cpu(struct task_struct *p)
{
	if (bpf_core_enum_value_exists(enum scx_ops_flags, SCX_OPS_ENQ_MIGRATION_DISABLED))
		return false;
	return p->migration_disabled > (p == bpf_get_current_task_btf() ? 1 : 0);
}

/* Give a new process its parent's node until the plan places it. Return true if it now has one of its own. */
static bool inherit_placement(u32 tgid, u32 parent_tgid)
{
	struct vnuma_placement *theirs, own;

	if (tgid == parent_tgid)
		return false;
	theirs = bpf_map_lookup_elem(&placement, &parent_tgid);
	if (!theirs)
		return false;
	own = *theirs;
	/* If the map is full, the process goes to the first destination and the daemon places it in the next round. */
	return !bpf_map_update_elem(&placement, &tgid, &own, BPF_ANY);
}

/* Create the DSQ and the empty set of online CPUs of @node. */
static s32 init_node(s32 node)
{
	const u32 key = node;
	struct node_cpus *cpus = bpf_map_lookup_elem(&node_cpus, &key);
	struct vnuma_node_plan *node_plan = node_plan_of(node);
	struct bpf_cpumask *mask;
	s32 err;

	if (!cpus || !node_plan)
		return -ENOENT;
	node_plan->limit = VNUMA_NO_LIMIT;
	node_plan->fallback = VNUMA_NO_NODE;
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

/* Add @cpu to the online CPUs of @node, or remove it. Doing so twice changes nothing. */
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

#endif /* VNUMA_PLACEMENT_BPF_H */
