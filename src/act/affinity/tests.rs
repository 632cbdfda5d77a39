//! Moves affinities below a fake root and undoes it.

use super::fake_root::FakeRoot;
use super::*;

const ALL: AffinityOptions = AffinityOptions { irqs: true, workqueues: true };
const WORKQUEUES: &str = "sys/devices/virtual/workqueue/cpumask";
const UNDO_LOG: &str = "run/scx_vnuma/saved.json";

fn mover(root: &FakeRoot, options: AffinityOptions) -> AffinityMover {
    AffinityMover::new(options, root.path()).unwrap()
}

fn all(root: &FakeRoot) -> Vec<String> {
    let workqueues = CpuSet::from_mask(&root.text(WORKQUEUES)).unwrap().to_string();
    vec![root.irq(4), root.irq(24), workqueues]
}

/// As a kill does, without an undo.
fn kill(mover: AffinityMover) {
    std::mem::forget(mover);
}

#[test]
fn all_affinities_change_with_the_destination_and_are_restored_on_drop() {
    let root = FakeRoot::new();
    root.put("proc/irq/4/smp_affinity_list", "1,3\n");
    let mut mover = mover(&root, ALL);
    mover.retarget(&[2, 3].into());
    assert_eq!(all(&root), ["2-3"; 3]);
    mover.retarget(&[0].into());
    assert_eq!(all(&root), ["0"; 3]);
    let counts = mover.counts();
    assert_eq!((counts.nr_irqs_moved, counts.nr_workqueues_moved, counts.nr_foreign), (4, 2, 0));
    drop(mover);
    assert_eq!(all(&root), ["1,3", "0-3", "0-3"]);
    assert!(!root.path().join("run/scx_vnuma").exists());
}

#[test]
fn only_the_requested_affinities_are_set() {
    let root = FakeRoot::new();
    let mut none = mover(&root, AffinityOptions::default());
    none.retarget(&[2].into());
    assert_eq!(all(&root), ["0-3"; 3]);
    assert!(!root.path().join("run").exists());
    let mut workqueues = mover(&root, AffinityOptions { irqs: false, ..ALL });
    workqueues.retarget(&[2].into());
    assert_eq!(all(&root), ["0-3", "0-3", "2"]);
    drop(workqueues);
    let mut irqs = mover(&root, AffinityOptions { workqueues: false, ..ALL });
    irqs.retarget(&[2].into());
    assert_eq!(all(&root), ["2", "2", "0-3"]);
}

#[test]
fn only_online_cpus_are_set_and_without_any_nothing_moves() {
    let root = FakeRoot::new();
    root.put("sys/devices/system/cpu/online", "0-2\n");
    let mut mover = mover(&root, ALL);
    mover.retarget(&[3].into());
    assert_eq!(all(&root), ["0-3"; 3]);
    mover.retarget(&[2, 3].into());
    assert_eq!(all(&root), ["2"; 3]);
}

#[test]
fn isolated_cpus_get_neither_irqs_nor_workqueues() {
    let root = FakeRoot::new();
    // A partition has isolated CPU 3 since the workqueues were set to all CPUs.
    root.put("sys/devices/virtual/workqueue/cpumask_isolated", "8\n");
    root.put("sys/devices/virtual/workqueue/cpumask_requested", "f\n");
    root.put(WORKQUEUES, "7\n");
    let mut mover = mover(&root, ALL);
    mover.retarget(&[3].into());
    assert_eq!(all(&root), ["0-3", "0-3", "0-2"], "there is no other CPU");
    mover.retarget(&[2, 3].into());
    assert_eq!(all(&root), ["2"; 3]);
    // The kernel does so at a write.
    root.put("sys/devices/virtual/workqueue/cpumask_requested", "4\n");
    drop(mover);
    assert_eq!(all(&root), ["0-3"; 3], "the workqueues get all CPUs back, isolated or not");
}

#[test]
fn all_affinities_are_restored_after_a_kill() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[2, 3].into());
    mover.retarget(&[0, 1].into());
    kill(mover);
    assert_eq!(all(&root), ["0-1"; 3]);
    let restored = undo_after_kill(root.path()).unwrap().unwrap();
    assert_eq!(restored, RestoredAffinities { nr_restored: 3, nr_foreign: 0, nr_failed: 0 });
    assert_eq!(all(&root), ["0-3"; 3]);
    assert!(!root.path().join("run/scx_vnuma").exists());
    assert_eq!(undo_after_kill(root.path()).unwrap(), None);
}

#[test]
fn affinities_that_an_earlier_release_has_set_are_restored() {
    let root = FakeRoot::new();
    root.put("proc/irq/24/smp_affinity_list", "2\n");
    root.put(WORKQUEUES, "4\n");
    root.put(UNDO_LOG, r#"{"version":1,"found":{"irq 24":[0,1],"workqueues":[3]},"wrote":[[2]]}"#);
    let restored = undo_after_kill(root.path()).unwrap().unwrap();
    assert_eq!(restored, RestoredAffinities { nr_restored: 2, nr_foreign: 0, nr_failed: 0 });
    assert_eq!(all(&root), ["0-3", "0-1", "3"]);
}

#[test]
fn nothing_is_set_unless_the_original_affinities_are_on_file() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    // A file where the directory should be, so the undo log can't be stored.
    root.put("run", "");
    mover.retarget(&[2].into());
    assert_eq!(all(&root), ["0-3"; 3]);
    assert_eq!(mover.counts().nr_irqs_moved, 0);
}

#[test]
fn an_irq_that_is_requested_later_is_restored_too() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[2].into());
    root.put("proc/irq/30/smp_affinity_list", "1\n");
    mover.retarget(&[0].into());
    assert_eq!(root.irq(30), "0");
    kill(mover);
    undo_after_kill(root.path()).unwrap();
    assert_eq!(root.irq(30), "1");
    assert_eq!(all(&root), ["0-3"; 3]);
}

#[test]
fn a_freed_irq_is_forgotten() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[2].into());
    std::fs::remove_dir_all(root.path().join("proc/irq/24")).unwrap();
    mover.retarget(&[0].into());
    // Another one with its number, and an affinity of its own.
    root.put("proc/irq/24/smp_affinity_list", "1\n");
    mover.retarget(&[2].into());
    assert_eq!(root.irq(24), "2");
    drop(mover);
    assert_eq!(all(&root), ["0-3", "1", "0-3"]);
}

#[test]
fn an_affinity_that_someone_else_has_set_stays() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[2, 3].into());
    root.put("proc/irq/24/smp_affinity_list", "1\n");
    mover.retarget(&[0, 1].into());
    assert_eq!(all(&root), ["0-1", "1", "0-1"]);
    assert_eq!(mover.counts().nr_foreign, 1);
    root.put(WORKQUEUES, "8\n");
    kill(mover);
    let restored = undo_after_kill(root.path()).unwrap().unwrap();
    assert_eq!(restored, RestoredAffinities { nr_restored: 1, nr_foreign: 2, nr_failed: 0 });
    assert_eq!(all(&root), ["0-3", "1", "3"]);
}

#[test]
fn an_irq_that_the_kernel_moved_off_an_offline_cpu_is_still_ours() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[3].into());
    root.put("sys/devices/system/cpu/online", "0-2\n");
    root.put("proc/irq/24/smp_affinity_list", "0-2\n");
    mover.retarget(&[2].into());
    assert_eq!(root.irq(24), "2");
    drop(mover);
    assert_eq!(all(&root), ["0-3"; 3]);
}

#[test]
fn a_refusal_is_counted_and_the_others_move() {
    let root = FakeRoot::new();
    // Nobody can write this file of the running kernel.
    let refusing = root.path().join("proc/irq/30");
    std::fs::create_dir(&refusing).unwrap();
    std::os::unix::fs::symlink("/sys/devices/system/cpu/possible", refusing.join("smp_affinity_list")).unwrap();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[3].into());
    mover.retarget(&[2].into());
    assert_eq!(all(&root), ["2"; 3]);
    let counts = mover.counts();
    assert_eq!((counts.nr_irqs_moved, counts.nr_irqs_refused, counts.nr_irqs_skipped), (4, 2, 0));
    drop(mover);
    assert_eq!(all(&root), ["0-3"; 3]);
    assert!(!root.path().join("run/scx_vnuma").exists());
}

#[test]
fn an_affinity_that_could_not_be_restored_is_tried_again() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[2].into());
    kill(mover);
    // A directory can't be read as a file.
    let affinity = root.path().join("proc/irq/24/smp_affinity_list");
    std::fs::remove_file(&affinity).unwrap();
    std::fs::create_dir(&affinity).unwrap();
    let restored = undo_after_kill(root.path()).unwrap().unwrap();
    assert_eq!(restored, RestoredAffinities { nr_restored: 2, nr_foreign: 0, nr_failed: 1 });
    assert!(root.path().join(UNDO_LOG).exists());

    std::fs::remove_dir(&affinity).unwrap();
    root.put("proc/irq/24/smp_affinity_list", "2\n");
    // The next daemon takes over the undo log.
    let mut next = AffinityMover::new(ALL, root.path()).unwrap();
    next.retarget(&[1].into());
    drop(next);
    assert_eq!(all(&root), ["0-3"; 3]);
}

#[test]
fn with_a_damaged_undo_log_nothing_is_restored_and_the_next_start_works() {
    let root = FakeRoot::new();
    let mut mover = mover(&root, ALL);
    mover.retarget(&[2].into());
    kill(mover);
    root.put(UNDO_LOG, "{\"version\":1,\"original\":{\"irq 4\":[0,");
    assert!(undo_after_kill(root.path()).unwrap_err().to_string().contains("damaged"));
    assert_eq!(all(&root), ["2"; 3]);
    let mut next = AffinityMover::new(ALL, root.path()).unwrap();
    next.retarget(&[1].into());
    drop(next);
    assert_eq!(all(&root), ["2"; 3]);
    assert!(!root.path().join(UNDO_LOG).exists());
}
