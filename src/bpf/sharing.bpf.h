/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sharing: a sample of who wakes whom. Tasks that wake each other up pass something on by memory that both write, so it would
 * travel if they were on different nodes.
 */
#ifndef VNUMA_SHARING_BPF_H
#define VNUMA_SHARING_BPF_H

#include "vnuma.bpf.h"

/* The preemption count of a CPU (arch/x86/include/asm/preempt.h). Absent on other architectures, and before kernel 6.15. */
extern const int __preempt_count __ksym __weak;

/* Only its CPU writes it, so it is in the memory of the CPU's node. The daemon reads it and writes nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct vnuma_wakeups);
} wakeups SEC(".maps");

/*
 * Return true if the current task is what wakes a task up, not an interrupt that came while it ran. Softirqs count as interrupts,
 * so what comes by TCP, also over the loopback, isn't seen.
 */
static bool wakes_by_itself(void)
{
	if (!bpf_ksym_exists(&__preempt_count))
		return false;
	return !(*(const int *)bpf_this_cpu_ptr(&__preempt_count) & interrupt_mask);
}

/* Return true if it is time for a sample, after one in VNUMA_WAKEUP_PERIOD wakeups on average. */
static bool is_wakeup_sampled(struct vnuma_wakeups *sampled)
{
	if (sampled->nr_skip) {
		sampled->nr_skip--;
		return false;
	}
	/* At a steady distance, tasks that are woken in turns would be sampled always or never. */
	sampled->nr_skip = bpf_get_prandom_u32() % (2 * VNUMA_WAKEUP_PERIOD - 1);
	return true;
}

/* Count a wakeup of process @wakee by process @waker, in place of the pair of its set that was seen least recently. */
static void count_wakeup(struct vnuma_wakeups *sampled, u32 waker, u32 wakee)
{
	const u32 set = ((waker * 0x9e3779b1U) ^ (wakee * 0x85ebca77U)) >> (32 - VNUMA_WAKEUP_SET_BITS);
	const u32 now = scx_bpf_now() >> 20;
	struct vnuma_wakeup_pair *pair, *oldest = NULL;
	u32 way;

	/* Unrolled: an iterator costs a call for each step. */
#pragma unroll
	for (way = 0; way < VNUMA_WAKEUP_WAYS; way++) {
		pair = MEMBER_VPTR(sampled->pairs, [set * VNUMA_WAKEUP_WAYS + way]);
		if (!pair)
			return;
		if (pair->waker == waker && pair->wakee == wakee) {
			pair->seen_at = now;
			pair->count++;
			return;
		}
		if (!oldest || (s32)(pair->seen_at - oldest->seen_at) < 0)
			oldest = pair;
	}
	if (!oldest)
		return;
	oldest->waker = waker;
	oldest->wakee = wakee;
	oldest->seen_at = now;
	oldest->count = 1;
}

/*
 * @p is being woken up. The pair counts only if both tasks are user tasks of ours: only then a plan can move both. A task that
 * exits wakes its parent, which shares nothing any more.
 */
static void sample_wakeup(const struct task_struct *p, u64 wake_flags)
{
	const u32 zero = 0;
	const struct task_struct *waker;
	struct vnuma_wakeups *sampled;

	if (!samples_wakeups || !(wake_flags & SCX_WAKE_TTWU))
		return;
	sampled = bpf_map_lookup_elem(&wakeups, &zero);
	if (!sampled || !is_wakeup_sampled(sampled) || !wakes_by_itself())
		return;
	waker = bpf_get_current_task_btf();
	if (waker->tgid == p->tgid || !(takes_all || waker->policy == SCHED_EXT) ||
	    ((waker->flags | p->flags) & (PF_KTHREAD | PF_EXITING)))
		return;
	count_wakeup(sampled, waker->tgid, p->tgid);
}

#endif /* VNUMA_SHARING_BPF_H */
