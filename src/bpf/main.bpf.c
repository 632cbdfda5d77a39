/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scx_vnuma: schedules a guest whose vNUMA nodes run on different physical hosts.
 *
 * Each node has a DSQ, and a CPU consumes only its own node's. A migratable task is queued on the node that the daemon's
 * current plan names, so work moves between nodes only when the plan changes. A change of plan costs
 * O(queued tasks + CPUs): sleeping tasks follow when they wake up.
 *
 * Page discipline: in a distributed VM, a page that CPUs of two nodes write bounces between their hosts. No callback
 * writes memory that another node's CPUs write: clocks and counters are per node, each on a page of its own, or per CPU.
 */
#include <scx/common.bpf.h>
#include "intf.h"
#include "vnuma.bpf.h"
#include "placement.bpf.h"
#include "fairness.bpf.h"
#include "accounting.bpf.h"
#include "retarget.bpf.h"
#include "limit.bpf.h"
#include "reflex.bpf.h"
#include "give_way.bpf.h"
#include "quota.bpf.h"
#include "charge.bpf.h"
#include "exec.bpf.h"
#include "sharing.bpf.h"
#include "heartbeat.bpf.h"
#include "daemon.bpf.h"

char _license[] SEC("license") = "GPL";

UEI_DEFINE(uei);

/* A task wakes up, is queued, runs, and stops running. */

s32 BPF_STRUCT_OPS(vnuma_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *tctx = task_ctx_of(p);
	s32 node = task_node(p), cpu = -EBUSY;
	u64 nr;

	sample_wakeup(p, wake_flags);
	if (tctx && may_go_directly(node) && holding_quota(p, tctx, node) < 0)
		cpu = claim_idle_cpu(p, node, prev_cpu);
	if (cpu < 0 || !tctx || claimed_cpu_rests(cpu, node))
		return busy_cpu(p, node, prev_cpu);
	nr = nr_queued(node);
	scx_bpf_task_set_dsq_vtime(p, task_vtime_on(p, tctx, node, nr));
	tctx->vtime_node = node;
	start_waiting(tctx);
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, task_slice_ns(nr, effective_weight(p, tctx)), 0);
	return cpu;
}

void BPF_STRUCT_OPS(vnuma_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *tctx = task_ctx_of(p);
	u64 vtime, slice_ns, nr;
	s32 node, cpu, quota;

	if (!tctx || is_stuck_on_cpu(p)) {
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, slice_min_ns, enq_flags);
		return;
	}

	node = task_node(p);
	quota = holding_quota(p, tctx, node);
	if (quota >= 0) {
		scx_bpf_dsq_insert(p, held_dsq(quota), slice_min_ns, enq_flags);
		note_held(tctx, quota);
		return;
	}
	start_waiting(tctx);
	nr = nr_queued(node);
	vtime = task_vtime_on(p, tctx, node, nr);
	tctx->vtime_node = node;
	slice_ns = task_slice_ns(nr, effective_weight(p, tctx));
	if (!can_kick() && may_go_directly(node)) {
		cpu = claim_idle_cpu(p, node, scx_bpf_task_cpu(p));
		if (cpu >= 0) {
			scx_bpf_task_set_dsq_vtime(p, vtime);
			scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, slice_ns, enq_flags);
			return;
		}
	}
	scx_bpf_dsq_insert_vtime(p, node_dsq(node), slice_ns, vtime, enq_flags);
	if (!should_wake_cpu(node) || !can_kick())
		return;

	cpu = claim_idle_cpu(p, node, scx_bpf_task_cpu(p));
	if (cpu >= 0) {
		kick_cpu(cpu, SCX_KICK_IDLE);
		return;
	}
	cpu = scx_bpf_task_cpu(p);
	if ((enq_flags & SCX_ENQ_WAKEUP) && cpu_to_node(cpu) == node && preempts_current(cpu, vtime, nr))
		kick_cpu(cpu, SCX_KICK_PREEMPT);
}

/*
 * Return true if @cpu may take or keep a task, as its @node's limit and others on the host allow. @prev is its current task, if
 * it's ours.
 */
static bool may_take(s32 cpu, s32 node, struct task_struct *prev)
{
	const u32 limit = node_limit(node);
	const bool yields = gives_way(node);
	struct vnuma_node_stats *stats;
	struct cpu_ctx *cctx;
	struct task_ctx *tctx;
	u64 nr_running;

	if (limit == VNUMA_NO_LIMIT && !yields)
		return true;
	stats = node_stats_of(node);
	cctx = cpu_ctx_of(cpu);
	if (!stats || !cctx)
		return true;
	nr_running = stats->nr_running;
	if (cctx->is_running && nr_running) {
		nr_running--;
		tctx = prev ? task_ctx_of(prev) : NULL;
		if (tctx)
			charge_current(prev, tctx, cctx, scx_bpf_now());
	}
	if (yields && is_resting(cpu, node, &cctx->rest, prev))
		return false;
	return limit == VNUMA_NO_LIMIT || may_take_task(node, stats, limit, nr_running);
}

void BPF_STRUCT_OPS(vnuma_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *tctx;
	struct cpu_ctx *cctx;
	s32 node = cpu_to_node(cpu);

	/* If the node's limit is used up or the CPU rests, SCX_OPS_ENQ_LAST makes the kernel enqueue @prev too. */
	if (node < 0 || !may_take(cpu, node, prev))
		return;
	hold_queued(node);
	if (scx_bpf_dsq_move_to_local(node_dsq(node), 0))
		return;
	/*
	 * @prev is the only task and still belongs here: refill its slice. Otherwise SCX_OPS_ENQ_LAST makes the kernel
	 * enqueue it, which sends it to its node.
	 */
	if (!prev || !(prev->scx.flags & SCX_TASK_QUEUED) || task_node(prev) != node)
		return;
	tctx = task_ctx_of(prev);
	if (!tctx || holding_quota(prev, tctx, node) >= 0)
		return;
	/* It isn't stopped, so stopping() won't charge it. */
	cctx = cpu_ctx_of(cpu);
	if (cctx && cctx->is_running)
		charge_current(prev, tctx, cctx, scx_bpf_now());
	scx_bpf_task_set_slice(prev, task_slice_ns(nr_queued(node), effective_weight(prev, tctx)));
}

void BPF_STRUCT_OPS(vnuma_running, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p), node = cpu_to_node(cpu);
	struct vnuma_node_stats *stats = node_stats_of(node);
	struct vnuma_target *plan = plan_in_force();
	struct cpu_ctx *cctx = cpu_ctx_of(cpu);
	struct task_ctx *tctx = task_ctx_of(p);

	if (!stats || !plan || !cctx || !tctx)
		return;
	cctx->started_at = scx_bpf_now();
	cctx->stolen_at = kvm_stolen_ns(cpu);
	cctx->vtime = p->scx.dsq_vtime;
	cctx->awake_ns = tctx->awake_ns;
	cctx->tgid = p->tgid;
	if (steers && !cctx->is_running)
		__sync_fetch_and_add(&stats->nr_running, 1);
	cctx->is_running = true;
	stop_waiting(p, tctx, node, cctx->started_at);
	tctx->held_since = 0;
	tctx->quota_charged_ns = p->se.sum_exec_runtime;
	__sync_fetch_and_add(&stats->nr_runs, 1);
	if (time_before(stats->vtime_now, p->scx.dsq_vtime))
		stats->vtime_now = p->scx.dsq_vtime;
	if (node == planned_node(plan, p->tgid))
		return;

	if (task_node(p) == node) {
		__sync_fetch_and_add(&stats->nr_elsewhere, 1);
		return;
	}
	/*
	 * A straggler: the plan changed after this CPU was chosen. Preempt a task only once per plan: one that the kernel
	 * keeps here without asking us, such as an exiting or migration-disabled task, would otherwise make no progress.
	 */
	if (tctx->sent_on_version == plan->version + 1)
		return;
	tctx->sent_on_version = plan->version + 1;
	__sync_fetch_and_add(&stats->nr_stragglers, 1);
	kick_cpu(cpu, SCX_KICK_PREEMPT);
}

/*
 * Charge the current task at once if plans steer or there are quotas: limits, quotas and the reflex can't wait for the end of
 * its slice.
 *
 * Ending the slice makes the kernel enqueue the task, for SCX_OPS_ENQ_LAST even if it's the only one, which sends it to its
 * node.
 */
void BPF_STRUCT_OPS(vnuma_tick, struct task_struct *p)
{
	const s32 cpu = scx_bpf_task_cpu(p), node = cpu_to_node(cpu);

	if (steers || nr_quotas) {
		const struct vnuma_node_stats *stats = node_stats_of(node);
		struct cpu_ctx *cctx = cpu_ctx_of(cpu);
		struct task_ctx *tctx = task_ctx_of(p);

		if (!stats || !cctx || !tctx || !cctx->is_running)
			return;
		charge_current(p, tctx, cctx, scx_bpf_now());
		if ((node_limit(node) != VNUMA_NO_LIMIT && stats->budget_ns <= 0) ||
		    (cctx->rest.until && gives_way(node)) || holding_quota(p, tctx, node) >= 0)
			scx_bpf_task_set_slice(p, 0);
	}
	if (!can_kick() && task_node(p) != node)
		scx_bpf_task_set_slice(p, 0);
}

void BPF_STRUCT_OPS(vnuma_stopping, struct task_struct *p, bool runnable)
{
	const s32 cpu = scx_bpf_task_cpu(p);
	struct cpu_ctx *cctx = cpu_ctx_of(cpu);
	struct task_ctx *tctx = task_ctx_of(p);
	const u64 now = scx_bpf_now();
	struct vnuma_node_stats *stats;

	if (!cctx || !tctx || !cctx->is_running)
		return;
	charge_current(p, tctx, cctx, now);
	cctx->is_running = false;
	tctx->waiting_since = runnable ? now : 0;
	if (!runnable)
		tctx->awake_ns = 0;
	if (!steers)
		return;
	stats = node_stats_of(cpu_to_node(cpu));
	if (stats)
		__sync_fetch_and_sub(&stats->nr_running, 1);
}

/*
 * Kernels before 7.1 leave tasks on a CPU's local DSQ when the fair class takes the CPU. Later ones re-enqueue them
 * under SCX_OPS_ALWAYS_ENQ_IMMED, and the daemon removes this callback.
 */
void BPF_STRUCT_OPS(vnuma_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	scx_bpf_reenqueue_local();
}

/* A task is forked or taken over, enters our class, and exits. */

s32 BPF_STRUCT_OPS(vnuma_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *parent, *tctx = bpf_task_storage_get(&task_ctxs, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!tctx)
		return -ENOMEM;
	tctx->vtime_node = VNUMA_NO_NODE;
	tctx->quota = VNUMA_NO_QUOTA;
	tctx->own_policy = p->policy;
	tctx->flags |= VNUMA_TASK_RECORDED;

	/* The child of a migratable task is migratable too, and returns to the same policy. */
	if (!args->fork || p->policy != SCHED_EXT)
		return 0;
	parent = task_ctx_of(bpf_get_current_task_btf());
	if (parent) {
		tctx->own_policy = parent->own_policy;
		tctx->flags |= parent->flags & VNUMA_TASK_SELECTED;
	}
	if (places_processes && inherit_placement(p->tgid, bpf_get_current_task_btf()->tgid))
		tctx->leaves_entries = true;
	return 0;
}

void BPF_STRUCT_OPS(vnuma_enable, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx_of(p), *leader = task_ctx_of(p->group_leader);

	if (leader)
		leader->leaves_entries = true;
	if (!tctx)
		return;
	tctx->leaves_entries = true;
	tctx->waiting_since = 0;
	tctx->vtime_node = VNUMA_NO_NODE;
}

void BPF_STRUCT_OPS(vnuma_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct task_ctx *tctx = task_ctx_of(p), *leader = task_ctx_of(p->group_leader);

	if (tctx && tctx->unsummed.run_ns)
		add_to_process(p, tctx);
	/* The last thread removes its process's totals and placement. A cancelled fork never counts live down. */
	if (args->cancelled ? p->pid != p->tgid : BPF_CORE_READ(p, signal, live.counter) > 0)
		return;
	/* Most processes of the guest have none, and a deletion writes to the map even if it finds nothing. */
	if ((tctx && tctx->leaves_entries) || (leader && leader->leaves_entries))
		delete_entries(p->tgid);
}

/* CPUs come and go. */

void BPF_STRUCT_OPS(vnuma_cpu_online, s32 cpu)
{
	s32 node = cpu_to_node(cpu);

	/* The CPU's node is unknown: restart, so that the daemon reads the topology again. */
	if (node < 0) {
		if (bpf_ksym_exists(scx_bpf_exit_bstr))
			scx_bpf_exit(SCX_ECODE_RSN_HOTPLUG | SCX_ECODE_ACT_RESTART, "CPU %d is new", cpu);
		else
			scx_bpf_error("CPU %d is new: start scx_vnuma again", cpu);
		return;
	}
	set_cpu_online(cpu, node, true);
	drain_all_dsqs();
	kick_cpus();
}

void BPF_STRUCT_OPS(vnuma_cpu_offline, s32 cpu)
{
	set_cpu_online(cpu, cpu_to_node(cpu), false);
	drain_all_dsqs();
	kick_cpus();
}

/* The scheduler is loaded, unloaded, and dumped. */

s32 BPF_STRUCT_OPS_SLEEPABLE(vnuma_init)
{
	struct vnuma_target *plan = plan_in_force();
	const struct cpumask *online;
	s32 node, cpu, err;

	if (!plan)
		return -ENOENT;
	bpf_for(node, 0, nr_nodes) {
		err = init_node(node);
		if (err) {
			scx_bpf_error("node %d could not be set up: error %d", node, err);
			return err;
		}
	}
	/* The kernel holds off hotplug meanwhile. */
	online = scx_bpf_get_online_cpumask();
	bpf_for(cpu, 0, scx_bpf_nr_cpu_ids()) {
		if (cpu_to_node(cpu) >= 0 && bpf_cpumask_test_cpu(cpu, online))
			set_cpu_online(cpu, cpu_to_node(cpu), true);
	}
	scx_bpf_put_cpumask(online);
	plan->destination.first = start_node;
	plan->destination.second = VNUMA_NO_NODE;
	plan->nr_destinations = 1;
	return 0;
}

void BPF_STRUCT_OPS(vnuma_exit, struct scx_exit_info *ei)
{
	UEI_RECORD(uei, ei);
}

void BPF_STRUCT_OPS(vnuma_dump, struct scx_dump_ctx *dctx)
{
	struct vnuma_target *plan = plan_in_force();
	s32 node;

	if (!plan)
		return;
	scx_bpf_dump("plan: epoch %llu, first %d, second %d\n", plan->epoch, plan->destination.first,
		     plan->destination.second);
	bpf_for(node, 0, nr_nodes) {
		struct vnuma_node_stats *stats = node_stats_of(node);
		const u32 *online = MEMBER_VPTR(nr_online, [node]);

		if (!stats || !online)
			continue;
		scx_bpf_dump("node %d: %u CPUs online, %llu queued, ran %llu ms, %llu ms of it stolen, vtime %llu\n",
			     node, *online, nr_queued(node), stats->run_ns / NSEC_PER_MSEC,
			     stats->stolen_ns / NSEC_PER_MSEC, stats->vtime_now);
		scx_bpf_dump("        %llu runs, %llu elsewhere, %llu stragglers, %llu arrived\n", stats->nr_runs,
			     stats->nr_elsewhere, stats->nr_stragglers, stats->nr_arrived);
	}
}

void BPF_STRUCT_OPS(vnuma_dump_task, struct scx_dump_ctx *dctx, struct task_struct *p)
{
	struct task_ctx *tctx = task_ctx_of(p);

	if (tctx)
		scx_bpf_dump("vnuma: own policy %u, %s, ran %llu ms, vtime of node %d", tctx->own_policy,
			     tctx->flags & VNUMA_TASK_SELECTED ? "selected" : "not selected",
			     tctx->run_ns / NSEC_PER_MSEC, tctx->vtime_node);
}

/* clang-format off */
SCX_OPS_DEFINE(vnuma_ops,
	       .select_cpu	= (void *)vnuma_select_cpu,
	       .enqueue		= (void *)vnuma_enqueue,
	       .dispatch	= (void *)vnuma_dispatch,
	       .running		= (void *)vnuma_running,
	       .stopping	= (void *)vnuma_stopping,
	       .tick		= (void *)vnuma_tick,
	       .cpu_release	= (void *)vnuma_cpu_release,
	       .init_task	= (void *)vnuma_init_task,
	       .enable		= (void *)vnuma_enable,
	       .exit_task	= (void *)vnuma_exit_task,
	       .cpu_online	= (void *)vnuma_cpu_online,
	       .cpu_offline	= (void *)vnuma_cpu_offline,
	       .init		= (void *)vnuma_init,
	       .exit		= (void *)vnuma_exit,
	       .dump		= (void *)vnuma_dump,
	       .dump_task	= (void *)vnuma_dump_task,
	       .timeout_ms	= 30000,
	       .name		= "vnuma");
/* clang-format on */
