#!/usr/bin/env python3
"""The model of docs/simulation.md as a plain event-driven program, to compare speeds with (and figures: policy none or coarse).

plain.py EVENTS.csv.gz USAGE.csv.gz [none|coarse]
"""
import collections, csv, gzip, heapq, json, sys

MASK, EPS, N, C, CELL, INTERVAL, MEMORY = (1 << 64) - 1, 1e-7, 800, 0.5, 4, 60.0, 128 << 30


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def rows(path):
    with gzip.open(path, "rt") as file:
        yield from csv.reader(file)


def number(text):
    return float(text) if text else 0.0


class Task:
    __slots__ = ("submit", "work", "request", "priority", "windows", "machine", "rank", "done_at", "next", "cpu", "key", "visit")


def load(events_path, usage_path):
    lives, usage = {}, collections.defaultdict(list)
    for row in rows(events_path):
        time, kind = int(row[0]), int(row[5])
        life = lives.setdefault((int(row[2]), int(row[3])), [None, None, None, 0.0, 0])
        if kind == 0 and life[0] is None:
            life[0] = time
        elif kind == 1 and life[1] is None:
            life[1] = time
        elif 2 <= kind <= 6 and life[1] is not None and life[2] is None:
            life[2] = time
        if row[9]:
            life[3] = float(row[9])
        if row[8]:
            life[4] = int(row[8])
    first, last = MASK, 0
    for row in rows(usage_path):
        start, end = int(row[0]), int(row[1])
        first, last = min(first, start), max(last, end)
        usage[int(row[2]), int(row[3])].append((start, end, number(row[5]), number(row[13]), number(row[7])))
    tasks = []
    for name in sorted(lives.keys() & usage.keys()):
        submit, schedule, end, request, priority = lives[name]
        windows = sorted(usage[name])
        if schedule is None or schedule > windows[0][0]:
            schedule = windows[0][0]
        submit = max(schedule if submit is None else submit, first)
        base, end = max(schedule, first), last if end is None else end
        if submit >= last or end <= base:
            continue
        task = Task()
        task.submit, task.work, task.request, task.priority = (submit - first) / 1e6, (end - base) / 1e6, request, priority
        task.windows = [((w[0] - base) / 1e6,) + w[2:] for w in windows]
        task.machine, task.rank, task.visit = mix(mix(mix(1) ^ name[0]) ^ name[1]) % N, len(tasks), 0
        tasks.append(task)
    return tasks, (last - first) / 1e6


class Machine:
    def __init__(self):
        self.now = self.lag = self.load = self.reserved = self.busy = self.over = 0.0
        self.running, self.waiting, self.heap, self.arrivals, self.next = {}, [], [], [], 0

    def advance(self, to):
        dt = to - self.now
        if dt > 0:
            self.busy += min(self.load, C) * dt
            if self.load > C:
                self.over += (self.load - C) * dt
                self.lag += dt * (1 - C / self.load)
            self.now = to

    def plan_change(self, task):
        window = task.windows[task.next][0] if task.next < len(task.windows) else task.work
        task.key = task.done_at + min(window, task.work)
        heapq.heappush(self.heap, (task.key, task.rank, task.visit, task))

    def enter(self, task, done):
        task.done_at = self.now - self.lag - done
        self.running[task.rank] = task
        self.load += task.cpu
        self.reserved += task.request
        self.plan_change(task)

    def leave(self, task):
        task.visit += 1
        del self.running[task.rank]
        self.load -= task.cpu
        self.reserved -= task.request
        if not self.running:
            self.load = self.reserved = 0.0

    def admit(self, task):
        if self.running and self.reserved + task.request > C + 1e-9:
            return False
        task.next = 0
        while task.next < len(task.windows) and task.windows[task.next][0] <= 0:
            task.next += 1
        task.cpu = task.windows[task.next - 1][1] if task.next else 0.0
        self.enter(task, 0.0)
        return True

    def start_waiting(self):
        self.waiting = [task for task in self.waiting if not self.admit(task)]

    def run(self, until, last_due, finished):
        heap = self.heap
        while True:
            while heap and heap[0][2] != heap[0][3].visit:
                heapq.heappop(heap)
            change = arrival = float("inf")
            if heap:
                due = heap[0][0]
                change = due + self.lag if self.load <= C else self.now + (due - self.now + self.lag) * self.load / C
            if self.next < len(self.arrivals):
                arrival = self.arrivals[self.next].submit
            due = min(change, arrival)
            if due > last_due:
                break
            self.advance(min(due, until))
            if change <= due + EPS:
                instant, released = self.now - self.lag + EPS * min(1.0, C / self.load if self.load else 1.0), False
                while heap and heap[0][0] <= instant:
                    _, _, visit, task = heapq.heappop(heap)
                    if visit != task.visit:
                        continue
                    if task.next >= len(task.windows) or task.windows[task.next][0] >= task.work:
                        finished.append((self.now - task.submit, task.work))
                        self.leave(task)
                        released = True
                    else:
                        self.load += task.windows[task.next][1] - task.cpu
                        task.cpu = task.windows[task.next][1]
                        task.next += 1
                        self.plan_change(task)
                if released:
                    self.start_waiting()
            while self.next < len(self.arrivals) and self.arrivals[self.next].submit <= due + EPS:
                task = self.arrivals[self.next]
                self.next += 1
                if not self.admit(task):
                    self.waiting.append(task)
        self.advance(until)


def coarse(cell):
    """Algorithm 4-1; what moved, tasks and bytes."""
    low = min(cell, key=lambda machine: machine.load)
    loads, moved, memory = {id(machine): machine.load for machine in cell}, 0, 0.0
    for machine in cell:
        if machine is low:
            continue
        tasks = [
            task
            for task in machine.running.values()
            if task.priority < 2 and (task.windows[task.next - 1][2] if task.next else 0.0) <= 0.025
        ]
        cpu, load = sum(task.cpu for task in tasks), loads[id(machine)]
        if loads[id(low)] + cpu > load or cpu > 0.8 * load or loads[id(low)] + cpu > C:
            continue
        loads[id(low)] += cpu
        for task in tasks:
            done = machine.now - machine.lag - task.done_at
            machine.leave(task)
            low.enter(task, done)
            moved += 1
            memory += task.windows[task.next - 1][3] * MEMORY if task.next else 0.0
    for machine in cell:
        machine.start_waiting()
    return moved, memory


def main():
    tasks, length = load(sys.argv[1], sys.argv[2])
    machines = [Machine() for _ in range(N)]
    for task in sorted(tasks, key=lambda task: task.submit):
        machines[task.machine].arrivals.append(task)
    finished, moved, memory = [], 0, 0.0
    rounds = int(length / INTERVAL) if sys.argv[3:] == ["coarse"] else 0
    for at in range(0, N, CELL):
        cell = machines[at : at + CELL]
        for number_of_round in range(1, rounds + 1):
            for machine in cell:
                machine.run(number_of_round * INTERVAL, number_of_round * INTERVAL + EPS, finished)
            result = coarse(cell)
            moved, memory = moved + result[0], memory + result[1]
        for machine in cell:
            machine.run(length, length - EPS, finished)
    busy = sorted(machine.busy / (length * C) for machine in machines)
    print(
        json.dumps(
            {
                "cpu_utilisation": sum(busy) / N,
                "gini": sum((2 * i - N - 1) * x for i, x in enumerate(busy, 1)) / (N * sum(busy)),
                "overcommit": sum(machine.over for machine in machines) / (length * N * C),
                "duration_s": sum(turnaround for turnaround, _ in finished) / len(finished),
                "migrations": moved,
                "network_bytes_per_s": memory / length,
                "tasks": len(tasks),
                "finished": len(finished),
            }
        )
    )


main()
