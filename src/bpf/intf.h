/* SPDX-License-Identifier: GPL-2.0-only */
/* The interface of the BPF scheduler and the daemon: limits, map values, arguments of the syscall programs. */
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

/* The class ends when the daemon has given no sign of life for twice this time. The daemon gives one every 250 ms. */
enum vnuma_heartbeat { VNUMA_SILENCE_MS = 5000 };

/* Exit codes of the class, below those of the kernel: the daemon was silent. */
enum vnuma_exit { VNUMA_EXIT_SILENCE = 1 };

/* Stands for no node: the node of an unknown CPU, or a destination that the plan doesn't have. */
enum vnuma_sentinel { VNUMA_NO_NODE = -1 };

/*
 * Map keys, map values and arguments are passed byte by byte, so these structs have explicit _pad members, which are 0,
 * instead of padding, which is uninitialised memory.
 */
#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

/* How much CPU migratable tasks may use on a node, in 1/1024 of a CPU. */
enum vnuma_limit {
	VNUMA_LIMIT_ONE_CPU = 1024,
	VNUMA_LIMIT_MIN = 32,
	VNUMA_NO_LIMIT = 0xffffffff,
};

enum vnuma_node_flags {
	VNUMA_TAKES_OVERFLOW =
		1 << 0,		   /* without a spread weight, but takes processes while the others have no idle CPU */
	VNUMA_HAS_OTHERS = 1 << 1, /* others are known to use it: what they take is no news */
};

/* What the plan says of a node. Read on the hot path, but only for nodes that the masks of vnuma_target name. */
struct vnuma_node_plan {
	u32 limit;
	u32 spread_weight; /* share of the processes that exec sends here; all 0: exec sends them nowhere */
	s32 fallback;	   /* where the node's work goes at once when it is hit, else VNUMA_NO_NODE */
	u32 flags;	   /* of enum vnuma_node_flags */
};

struct vnuma_destination {
	s32 first;
	s32 second;
};

/*
 * The plan in force. Written only by retarget(), with the epoch last, and once when a node is hit: hit_nodes, left_nodes and
 * version. The masks have bit N for node N.
 */
struct vnuma_target {
	u64 epoch;
	u64 version;	   /* number of times tasks' nodes have changed: by a plan or by a hit */
	u64 limited_nodes; /* nodes with a limit below their online CPUs */
	u64 hit_nodes;	   /* nodes hit under this plan */
	u64 left_nodes;	   /* of hit_nodes: those whose work goes to their fallback */
	u64 resting_nodes; /* nodes where a CPU that others take rests: see give_way.bpf.h */
	u32 nr_destinations;
	struct vnuma_destination destination;
	u32 spread_total; /* sum of the nodes' spread weights */
};

/* The node of a process that the plan places by itself. All others go to the first destination. */
struct vnuma_placement {
	u64 epoch; /* of the plan that placed the process, or the parent it inherited this from */
	s32 node;
	u32 _pad;
};

/* A CPU's time since boot, ns. */
struct vnuma_cpu_time {
	u64 busy_ns;  /* user, nice, system, irq and softirq time */
	u64 steal_ns; /* steal time: ready to run, but the host ran something else */
	u64 is_online;
};

struct vnuma_process_node {
	u32 tgid;
	s32 node;
};

/* A process's time on a node, ns. Up to a millisecond of each thread's run time is not yet included. */
struct vnuma_run_time {
	u64 run_ns;
	u64 stolen_ns; /* the part of run_ns that was steal time */
	u64 wait_ns;   /* time during which its threads were runnable, but not running, until they ran on the node */
};

struct vnuma_retarget_args {
	/* in */
	u32 nr_destinations;
	struct vnuma_destination destination;
	u32 keeps_queues; /* no process was placed since the last call: queues need no look if the destination stays */
	u64 known_hits;	  /* nodes that the plan knows to be hit; work that left others because of a hit stays away */
	u64 resting_nodes;
	struct vnuma_node_plan nodes[VNUMA_MAX_NODES];
	/* out */
	u32 nr_moved;  /* queued tasks moved to another node's DSQ */
	u32 nr_kicked; /* CPUs made to reschedule */
	u64 epoch;
};

/* Argument of init_node_timers(), which the daemon runs on a CPU of the node. */
struct vnuma_node_args {
	s32 node;
};

/* An event of the ring buffer: a node lost more CPU time than others may take. */
struct vnuma_hit {
	u64 at_ns;     /* scx_bpf_now() */
	u64 run_ns;    /* time that migratable tasks were on the node's CPUs while the evidence grew */
	u64 stolen_ns; /* the part of run_ns that was steal time */
	s32 node;
	u32 is_left; /* the node's work already goes to its fallback */
};

/* The result of read_counters(), which also fills the map cpu_times. */
struct vnuma_counters_args {
	/* out */
	u64 rested_ns[VNUMA_MAX_NODES]; /* as in vnuma_node_stats, of nodes that give way; else 0 */
	u32 nr_queued[VNUMA_MAX_NODES]; /* tasks queued on each node's DSQ */
	u32 has_cpu_times;		/* the kernel lets BPF programs read CPU times, so cpu_times is valid */
	u32 has_steal_times;		/* the hypervisor has told some CPU of steal time since boot */
};

/* The result of read_steal(), for the CPU it runs on. */
struct vnuma_steal_args {
	/* out */
	u64 steal_ns;
};

/* Selects a task, which records its own policy, or unselects it. Another one may have its id by now. */
struct vnuma_select_args {
	u64 started_at_ns; /* as in the task's record */
	s32 tid;
	u32 selected;
	/* out */
	u32 own_policy;
	u32 _pad;
};

enum vnuma_task_flags {
	VNUMA_TASK_SELECTED = 1 << 0, /* made migratable by the daemon */
	VNUMA_TASK_RECORDED = 1 << 1, /* the scheduler has seen the task: own_policy is valid */
};

/* CPU quotas of cgroups that are kept at the same time, and how many of them may be on the path to one cgroup. */
enum vnuma_quotas {
	VNUMA_MAX_QUOTAS = 256,
	VNUMA_QUOTA_DEPTH = 8,
	VNUMA_NO_QUOTA = -1,
};

/* Sets the quota with this index, changes it, or ends it. */
struct vnuma_quota_args {
	u64 cgroup_id;
	u64 period_ns;
	u64 quota_ns; /* run time in each period; 0: no quota any more */
	s32 index;
	s32 parent; /* index of the nearest quota above it, else VNUMA_NO_QUOTA */
};

/* Changes with the meaning of fields of vnuma_task_record. New fields go to its end. No id of a cgroup is as large. */
enum vnuma_record { VNUMA_RECORD_VERSION = 0x564e5501 };

/* One task in the task iterator's output. A killed daemon's iterator may be read by another release. */
struct vnuma_task_record {
	u32 version; /* VNUMA_RECORD_VERSION */
	u32 size;    /* of this struct, where it was written */
	u64 cgroup_id;
	u64 run_ns;
	u64 rss_pages;	   /* of the process, in the main thread's record only */
	u64 nr_faults;	   /* of the thread; the main thread's includes those of exited threads */
	u64 started_at_ns; /* when the thread started, ns since boot */
	s32 tid;
	s32 tgid;
	s32 parent_tgid;
	u32 uid;
	s32 nice;
	u32 policy;	/* current policy: SCHED_EXT for a migratable task */
	u32 own_policy; /* the policy it had when it was selected */
	u32 flags;
	s32 placed_node; /* the node that the plan has for the process, VNUMA_NO_NODE if none of its own */
	u32 _pad;
	char comm[VNUMA_COMM_LEN];
};

/* A sample of wakeups is kept by CPU, in a table of sets of pairs of processes. */
enum vnuma_wakeup {
	VNUMA_WAKEUP_PERIOD = 16, /* one wakeup in so many is sampled, on average */
	VNUMA_WAKEUP_WAYS = 8,	  /* pairs in a set */
	VNUMA_WAKEUP_SET_BITS = 5,
	VNUMA_WAKEUP_PAIRS = VNUMA_WAKEUP_WAYS << VNUMA_WAKEUP_SET_BITS,
};

/* A process that woke up another one. All 0 if unused. Another pair may take its place, which then counts from 1. */
struct vnuma_wakeup_pair {
	u32 waker;
	u32 wakee;
	u32 count;   /* sampled wakeups */
	u32 seen_at; /* when the last one was sampled, in units of 2^20 ns */
};

struct vnuma_wakeups {
	u32 nr_skip; /* wakeups to go until the next sample */
	u32 _pad;
	struct vnuma_wakeup_pair pairs[VNUMA_WAKEUP_PAIRS];
};

#pragma clang diagnostic pop

/*
 * A node's clock and counters. Only CPUs of the node write them, except that any CPU may add to nr_arrived. Each node has
 * a page of its own: a page that CPUs of two nodes write bounces between two hosts. The daemon only reads it, so padding
 * up to the page's end does no harm.
 */
struct vnuma_node_stats {
	u64 vtime_now;	   /* the node's virtual time: the largest vtime of a task that has run here, ns */
	u64 run_ns;	   /* time during which migratable tasks were on a CPU of the node */
	u64 stolen_ns;	   /* the part of run_ns that was steal time */
	u64 nr_runs;	   /* number of times a migratable task was put on a CPU */
	u64 nr_elsewhere;  /* of nr_runs: tasks that may not run on their destination */
	u64 nr_stragglers; /* of nr_runs: sent on at once, as the plan had changed since they were queued */
	u64 nr_arrived;	   /* queued tasks moved here by a change of plan or of the online CPUs */

	/* Kept only where plans steer more than destinations: */
	u64 nr_running; /* CPUs that run a migratable task */
	u64 nr_execs;	/* processes that exec'd here and were sent to a node */

	/* The limit. */
	s64 budget_ns;	  /* CPU time that may be used now; negative: a debt */
	u64 refilled_at;  /* when the budget last grew */
	u64 wakes_at;	  /* when the timer looks at the queue again; past: it isn't set */
	u64 nr_throttled; /* times that a CPU found work but no budget */

	/* Giving way. */
	u64 rested_ns; /* time for which CPUs rested while tasks were queued */
	u64 nr_rests;

	/* The reflex: evidence of steal time since it last was 0. */
	s64 excess_ns; /* stolen time beyond what is allowed */
	u64 excess_run_ns;
	u64 excess_stolen_ns;
	u64 hit_at; /* time of the last hit */
	u64 nr_hits;
} __attribute__((aligned(VNUMA_PAGE_SIZE)));

#endif /* VNUMA_INTF_H */
