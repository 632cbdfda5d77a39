/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The heartbeat: the class watches the daemon. A daemon that has stopped (SIGSTOP, a hang) leaves a plan that gets older and
 * older, so the class ends then, by itself and cleanly: all tasks continue under the fair class.
 */
#ifndef VNUMA_HEARTBEAT_BPF_H
#define VNUMA_HEARTBEAT_BPF_H

#include "vnuma.bpf.h"
#include "limit.bpf.h"

/* Every sign of life sets the timer anew, so it expires only if there is none. */
struct heartbeat {
	struct bpf_timer timer;
	u32 is_set_up;
	u32 is_overdue; /* the timer has expired once since the last sign of life */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct heartbeat);
} heartbeat SEC(".maps");

/*
 * The daemon is silent. The first time, it gets as long again: when a guest that was paused as a whole goes on, its timers
 * expire before the daemon runs.
 */
static int on_silence(void *map, u32 *key, struct heartbeat *beat)
{
	if (!beat->is_overdue) {
		beat->is_overdue = true;
		bpf_timer_start(&beat->timer, VNUMA_SILENCE_MS * NSEC_PER_MSEC, 0);
		return 0;
	}
	if (bpf_ksym_exists(scx_bpf_exit_bstr))
		scx_bpf_exit(SCX_ECODE_ACT_RESTART | VNUMA_EXIT_SILENCE, "no sign of life from the daemon for %u ms",
			     2 * VNUMA_SILENCE_MS);
	return 0;
}

/* The daemon is alive. From its first call on, the class ends if it isn't called for twice VNUMA_SILENCE_MS. */
SEC("syscall")
int note_alive(void *ctx)
{
	const u32 zero = 0;
	struct heartbeat *beat = bpf_map_lookup_elem(&heartbeat, &zero);
	int err;

	if (!beat)
		return -ENOENT;
	if (!beat->is_set_up) {
		err = bpf_timer_init(&beat->timer, &heartbeat, CLOCK_MONOTONIC);
		err = err ?: bpf_timer_set_callback(&beat->timer, on_silence);
		if (err)
			return err;
		beat->is_set_up = true;
	}
	beat->is_overdue = false;
	return bpf_timer_start(&beat->timer, VNUMA_SILENCE_MS * NSEC_PER_MSEC, 0);
}

#endif /* VNUMA_HEARTBEAT_BPF_H */
