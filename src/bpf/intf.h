/* SPDX-License-Identifier: GPL-2.0-only */
/* What the scheduler class and the daemon share: limits, map values, arguments of syscall programs. */
#ifndef VNUMA_INTF_H
#define VNUMA_INTF_H

#ifndef __VMLINUX_H__
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;
#endif

enum vnuma_limits {
	VNUMA_MAX_NODES = 64,
	VNUMA_MAX_CPUS = 4096,
	VNUMA_PAGE_SIZE = 4096,
	VNUMA_COMM_LEN = 16,
};

/* No node: an unknown CPU's node, or a destination that a plan doesn't name. */
enum vnuma_sentinel { VNUMA_NO_NODE = -1 };

struct vnuma_destination {
	s32 first;
	s32 second;
};

/* The plan in force. Written once a plan by retarget(), with epoch last. */
struct vnuma_target {
	u64 epoch;
	u32 nr_destinations;
	struct vnuma_destination destination;
};

/* Where a process runs that the plan names itself; without one it goes to the first destination. */
struct vnuma_placement {
	u64 epoch;		/* the plan that placed it, or that placed the parent it was forked from */
	s32 node;
};

/*
 * A node's clock and counters, written only by CPUs of that node but for nr_arrived, which retarget() adds to. Each has a
 * page of its own: a page that CPUs of two nodes write travels between two hosts.
 */
struct vnuma_node_stats {
	u64 vtime_now;		/* the weighted clock of the node's queue, ns */
	u64 run_ns;		/* time that migratable tasks held a CPU of the node */
	u64 stolen_ns;		/* the part of run_ns in which the host ran something else */
	u64 nr_runs;		/* times that a migratable task was put on a CPU */
	u64 nr_elsewhere;	/* of these: tasks that may not run on their destination */
	u64 nr_stragglers;	/* of these: sent on at once, since the plan had changed under way */
	u64 nr_arrived;		/* queued tasks brought here by a change of plan */
} __attribute__((aligned(VNUMA_PAGE_SIZE)));

/* A CPU's time since boot. */
struct vnuma_cpu_time {
	u64 busy_ns;		/* spent on anything of ours: user, nice, system, irq, softirq */
	u64 steal_ns;		/* runnable, while the host ran something else */
	u64 is_online;
};

struct vnuma_process_node {
	u32 tgid;
	s32 node;
};

/* What a process ran on a node. Of each thread up to a millisecond is added only later. */
struct vnuma_run_time {
	u64 run_ns;
	u64 stolen_ns;
};

struct vnuma_retarget_args {
	/* in */
	u32 nr_destinations;
	struct vnuma_destination destination;
	/* out */
	u32 nr_moved;		/* queued tasks taken to another node's queue */
	u32 nr_kicked;		/* CPUs made to reconsider what they run */
	u64 epoch;
};

/* What read_counters() answers; the CPUs' times are in the map cpu_times. */
struct vnuma_counters_args {
	/* out */
	u32 has_cpu_times;	/* the kernel shows its programs what each CPU did */
	u32 nr_queued[VNUMA_MAX_NODES];	/* tasks that wait in each node's queue */
};

/* What read_steal() answers, for the CPU that it runs on. */
struct vnuma_steal_args {
	/* out */
	u64 steal_ns;
};

/* Marks a task as selected, which records its own policy, or takes the mark back. */
struct vnuma_select_args {
	s32 tid;
	u32 selected;
	/* out */
	u32 own_policy;
};

enum vnuma_task_flags {
	VNUMA_TASK_SELECTED = 1 << 0,	/* made migratable by the daemon */
	VNUMA_TASK_RECORDED = 1 << 1,	/* the scheduler class has known the task */
};

/* One task in the task iterator's output. */
struct vnuma_task_record {
	u64 cgroup_id;
	u64 run_ns;
	u64 rss_pages;		/* of its process; on the first thread's record only */
	u64 nr_faults;		/* page faults of the thread; the first one's has those of threads that ended, too */
	s32 tid;
	s32 tgid;
	s32 parent_tgid;
	u32 uid;
	s32 nice;
	u32 policy;		/* as the kernel has it, SCHED_EXT for a migratable task */
	u32 own_policy;		/* the one it had when it was selected */
	u32 flags;
	char comm[VNUMA_COMM_LEN];
};

#endif /* VNUMA_INTF_H */
