/* SPDX-License-Identifier: GPL-2.0-only */
/* Accounting: the CPUs' steal time, and each process's run time per node. */
#ifndef VNUMA_ACCOUNTING_BPF_H
#define VNUMA_ACCOUNTING_BPF_H

#include "vnuma.bpf.h"

/* A CPU's steal time, as KVM writes it into the guest's memory (arch/x86/kernel/kvm.c). Absent elsewhere. */
extern const struct kvm_steal_time steal_time __ksym __weak;

/* A CPU's time by kind, in ns; /proc/stat shows it in ticks (include/linux/kernel_stat.h). */
extern const struct kernel_cpustat kernel_cpustat __ksym __weak;

/* A CPU's steal time by KVM's own count, or 0 if there is none. */
static u64 kvm_stolen_ns(s32 cpu)
{
	const struct kvm_steal_time *steal;

	if (!bpf_ksym_exists(&steal_time))
		return 0;
	steal = bpf_per_cpu_ptr(&steal_time, cpu);
	return steal ? steal->steal : 0;
}

static u64 cpu_stolen_ns(s32 cpu, const struct kernel_cpustat *stat)
{
	/* KVM's own value is preferred: the kernel updates its copy only on ticks, which idle CPUs don't have. */
	const u64 stolen_ns = kvm_stolen_ns(cpu);

	return stolen_ns ?: stat ? stat->cpustat[CPUTIME_STEAL] : 0;
}

/* Add @p's unsummed run time to its process's totals. */
static void add_to_process(const struct task_struct *p, struct task_ctx *tctx)
{
	struct vnuma_process_node key = { .tgid = p->tgid, .node = tctx->unsummed_node };
	struct vnuma_run_time added = tctx->unsummed, *sum = bpf_map_lookup_elem(&process_run_time, &key);

	tctx->unsummed = (struct vnuma_run_time){};
	if (!sum) {
		/* If the map is full, or another thread inserted first, only the node's counters have this run time. */
		bpf_map_update_elem(&process_run_time, &key, &added, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&sum->run_ns, added.run_ns);
	__sync_fetch_and_add(&sum->stolen_ns, added.stolen_ns);
	__sync_fetch_and_add(&sum->wait_ns, added.wait_ns);
}

/* Assign @tctx's unsummed time to @node from now on. */
static void sum_on_node(const struct task_struct *p, struct task_ctx *tctx, s32 node)
{
	if (tctx->unsummed_node == node)
		return;
	if (tctx->unsummed.run_ns)
		add_to_process(p, tctx);
	tctx->unsummed_node = node;
}

static void start_waiting(struct task_ctx *tctx)
{
	/* A waiting task may be queued more than once. */
	if (!tctx->waiting_since)
		tctx->waiting_since = scx_bpf_now();
}

/* Count the time that @p waited before it was put on a CPU of @node at @now. */
static void stop_waiting(const struct task_struct *p, struct task_ctx *tctx, s32 node, u64 now)
{
	sum_on_node(p, tctx, node);
	/* The clocks of two CPUs differ a little. */
	if (tctx->waiting_since && time_before(tctx->waiting_since, now))
		tctx->unsummed.wait_ns += now - tctx->waiting_since;
	tctx->waiting_since = 0;
}

static void add_run_time(const struct task_struct *p, struct task_ctx *tctx, s32 node, u64 run_ns, u64 stolen_ns)
{
	sum_on_node(p, tctx, node);
	tctx->run_ns += run_ns;
	tctx->unsummed.run_ns += run_ns;
	tctx->unsummed.stolen_ns += stolen_ns;
	if (tctx->unsummed.run_ns >= flush_threshold_ns)
		add_to_process(p, tctx);
}

/* Remove what the maps have of a process that has exited. */
static void delete_entries(u32 tgid)
{
	struct vnuma_process_node key = { .tgid = tgid };

	if (bpf_map_lookup_elem(&placement, &tgid))
		bpf_map_delete_elem(&placement, &tgid);
	bpf_for(key.node, 0, nr_nodes) {
		if (bpf_map_lookup_elem(&process_run_time, &key))
			bpf_map_delete_elem(&process_run_time, &key);
	}
}

#endif /* VNUMA_ACCOUNTING_BPF_H */
