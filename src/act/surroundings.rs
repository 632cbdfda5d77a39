//! What follows the work beside tasks: IRQs and unbound workqueues; and how it is undone.
//!
//! At each change of the first destination, IRQs and workqueues are set to its online CPUs. Before the first write, what
//! was found is saved under /run/scx_vnuma, and so is every set of CPUs before it is written. So whoever undoes it, this
//! daemon or the next, can tell for each whether it is as found, as we set it, or as somebody else did; what somebody
//! else has set is left alone, with a warning.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::irqs;
use super::knob::{Knob, OpenKnobs};
use super::saved::{Saved, SavedError, SavedFile};
use crate::linux::CpuSet;

/// What follows the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SurroundingsOptions {
    /// IRQ affinities.
    pub irqs: bool,
    /// The unbound workqueues' mask.
    pub workqueues: bool,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SurroundingsCounts {
    /// Times that an IRQ was moved.
    pub nr_irqs_moved: u64,
    /// IRQs that nobody may move: bound to a CPU, or managed by the kernel.
    pub nr_irqs_skipped: u64,
    /// Times that the kernel refused to move an IRQ that it may move another time.
    pub nr_irqs_refused: u64,
    /// Times that the unbound workqueues were moved.
    pub nr_workqueues_moved: u64,
    /// Times that the kernel refused to move them.
    pub nr_workqueues_refused: u64,
    /// IRQs and workqueues that somebody else has set meanwhile; they are left alone.
    pub nr_left: u64,
}

/// IRQs and unbound workqueues. All is as found once this is dropped.
pub struct Surroundings {
    root: PathBuf,
    options: SurroundingsOptions,
    open: OpenKnobs,
    file: SavedFile,
    saved: Saved,
    /// What this one has put in the file.
    stored: Option<Saved>,
    /// The kernel lets nobody move these; not tried again.
    skipped: BTreeSet<Knob>,
    /// Somebody else has set these.
    left: BTreeSet<Knob>,
    counts: SurroundingsCounts,
}

impl Surroundings {
    /// Below `root`, usually `/`. Writes nothing yet.
    pub fn new(options: SurroundingsOptions, root: impl Into<PathBuf>) -> Result<Self, SurroundingsError> {
        let root = root.into();
        if options.irqs && irqs::irqbalance_runs(&root) {
            log::warn!(
                "irqbalance runs and moves IRQs too; those that it moves are left to it: stop it, or run with \
                 --move-irqs=false"
            );
        }
        let file = SavedFile::new(&root);
        // What an earlier one could not put back is still to be put back.
        let saved =
            if options.irqs || options.workqueues { file.load()?.unwrap_or_default() } else { Saved::default() };
        Ok(Surroundings {
            open: OpenKnobs::new(&root),
            root,
            options,
            file,
            saved,
            stored: None,
            skipped: BTreeSet::new(),
            left: BTreeSet::new(),
            counts: SurroundingsCounts::default(),
        })
    }

    /// Sets IRQs and workqueues to those of `cpus`, the first destination's, that are online. A failure is logged and
    /// leaves things where they are until the next change.
    pub fn follow(&mut self, cpus: &CpuSet) {
        if !self.options.irqs && !self.options.workqueues {
            return;
        }
        if let Err(err) = self.try_follow(cpus) {
            log::warn!("IRQs and workqueues don't follow: {err}");
        }
    }

    /// What was done so far.
    pub fn counts(&self) -> SurroundingsCounts {
        SurroundingsCounts {
            nr_irqs_skipped: self.skipped.len() as u64,
            nr_left: self.left.len() as u64,
            ..self.counts
        }
    }

    /// Puts back all that was found, as far as nobody else has set it, and removes the file.
    pub fn restore(&mut self) {
        if self.saved.found.is_empty() {
            return;
        }
        match put_back(&self.root, &self.file, std::mem::take(&mut self.saved)) {
            Ok(done) => log::info!("{done}"),
            Err(err) => log::warn!("IRQs and workqueues: {err}"),
        }
    }

    fn try_follow(&mut self, cpus: &CpuSet) -> Result<(), SurroundingsError> {
        let online = online_cpus(&self.root)?;
        let to = cpus.and(&online);
        if to.is_empty() {
            log::debug!("none of the destination's CPUs is online: IRQs and workqueues stay");
            return Ok(());
        }
        let due = self.due(&online, &to)?;
        if due.is_empty() {
            return Ok(());
        }
        self.saved.wrote.insert(to.clone());
        self.store()?;
        for &knob in &due {
            self.turn(knob, &to);
        }
        self.store()?;
        let SurroundingsCounts { nr_irqs_skipped, nr_irqs_refused, .. } = self.counts();
        log::debug!(
            "{} IRQs and workqueues to CPUs {to}; {nr_irqs_skipped} IRQs can't move, {nr_irqs_refused} refusals",
            due.len()
        );
        Ok(())
    }

    /// Has all that is saved in the file.
    fn store(&mut self) -> Result<(), SurroundingsError> {
        if self.stored.as_ref() != Some(&self.saved) {
            self.file.store(&self.saved)?;
            self.stored = Some(self.saved.clone());
        }
        Ok(())
    }

    /// What is to be set to other CPUs. What was never seen before is taken down as found.
    fn due(&mut self, online: &CpuSet, to: &CpuSet) -> Result<Vec<Knob>, SurroundingsError> {
        let knobs = self.knobs()?;
        // An IRQ that is gone may come again as another one.
        let gone = |knob: &Knob| self.options.irqs && matches!(knob, Knob::Irq(_)) && !knobs.contains(knob);
        self.skipped.retain(|knob| !gone(knob));
        self.left.retain(|knob| !gone(knob));
        self.saved.found.retain(|knob, _| !gone(knob));
        self.open.retain(|knob| !gone(knob));
        let mut due = Vec::new();
        for knob in knobs {
            if self.skipped.contains(&knob) || self.left.contains(&knob) {
                continue;
            }
            let now = match self.open.read(knob) {
                Ok(now) => now,
                Err(err) => {
                    // An IRQ may end between the listing and the reading.
                    log::debug!("{knob} can't be read: {err}");
                    continue;
                }
            };
            match state(&self.saved, knob, &now, online) {
                None => drop(self.saved.found.insert(knob, now.clone())),
                Some(State::AsFound | State::Ours) => {}
                Some(State::OfAnother) => {
                    log::warn!("somebody has set {knob} to CPUs {now}: it no longer follows, and stays so");
                    self.left.insert(knob);
                    continue;
                }
            }
            if now != *to {
                due.push(knob);
            }
        }
        Ok(due)
    }

    fn knobs(&self) -> Result<BTreeSet<Knob>, SurroundingsError> {
        let mut knobs = BTreeSet::new();
        if self.options.irqs {
            let list = irqs::list(&self.root).map_err(at(&self.root, "proc/irq"))?;
            knobs.extend(list.into_iter().map(Knob::Irq));
        }
        if self.options.workqueues {
            knobs.insert(Knob::Workqueues);
        }
        Ok(knobs)
    }

    fn turn(&mut self, knob: Knob, to: &CpuSet) {
        let refused = match self.open.write(knob, to) {
            Ok(()) => {
                match knob {
                    Knob::Irq(_) => self.counts.nr_irqs_moved += 1,
                    Knob::Workqueues => self.counts.nr_workqueues_moved += 1,
                }
                // The kernel may take only some of them; that is ours too.
                if let Ok(now) = self.open.read(knob) {
                    self.saved.wrote.insert(now);
                }
                return;
            }
            Err(refused) => refused,
        };
        log::debug!("the kernel refused to set {knob} to CPUs {to}: {refused}");
        match knob {
            Knob::Irq(_) if refused.kind() == io::ErrorKind::NotFound => {}
            Knob::Irq(_) if irqs::is_for_good(&refused) => drop(self.skipped.insert(knob)),
            Knob::Irq(_) => self.counts.nr_irqs_refused += 1,
            Knob::Workqueues => self.counts.nr_workqueues_refused += 1,
        }
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        self.restore();
    }
}

/// How something stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AsFound,
    Ours,
    OfAnother,
}

/// `None` when it was never seen before.
fn state(saved: &Saved, knob: Knob, now: &CpuSet, online: &CpuSet) -> Option<State> {
    let found = saved.found.get(&knob)?;
    // What the kernel does with an IRQ when all its CPUs have gone offline (kernel/irq/cpuhotplug.c).
    let is_fallback = || now == online && saved.wrote.iter().any(|set| set.and(online).is_empty());
    Some(if now == found {
        State::AsFound
    } else if saved.wrote.contains(now) || is_fallback() {
        State::Ours
    } else {
        State::OfAnother
    })
}

/// What came of putting things back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// IRQs and workqueues that are set again as they were found.
    pub nr_put_back: u64,
    /// Somebody else had set them, so they stay.
    pub nr_left: u64,
    /// The kernel refused; they are still in the file, for another try.
    pub nr_failed: u64,
}

impl fmt::Display for PutBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IRQs and workqueues: {} went back", self.nr_put_back)?;
        if self.nr_left > 0 {
            write!(f, ", {} stay as somebody else has set them", self.nr_left)?;
        }
        if self.nr_failed > 0 {
            write!(f, ", {} could not go back; `scx_vnuma restore` tries again", self.nr_failed)?;
        }
        Ok(())
    }
}

/// Undoes what a killed daemon left below `root`, usually `/`. Returns `None` when it left nothing.
pub fn put_back_after_kill(root: &Path) -> Result<Option<PutBack>, SurroundingsError> {
    let file = SavedFile::new(root);
    match file.load()? {
        Some(saved) => put_back(root, &file, saved).map(Some),
        None => {
            file.remove()?;
            Ok(None)
        }
    }
}

fn put_back(root: &Path, file: &SavedFile, mut saved: Saved) -> Result<PutBack, SurroundingsError> {
    let online = online_cpus(root)?;
    let mut done = PutBack::default();
    let found = saved.found.clone();
    for (knob, found) in found {
        let settled = match knob.read(root) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => true,
            Err(err) => failed(knob, &found, &err),
            Ok(now) => match state(&saved, knob, &now, &online) {
                None | Some(State::AsFound) => true,
                Some(State::OfAnother) => {
                    done.nr_left += 1;
                    log::warn!("somebody has set {knob} to CPUs {now}: it stays so; it was {found} before");
                    true
                }
                Some(State::Ours) => match knob.write(root, &found) {
                    Ok(()) => {
                        done.nr_put_back += 1;
                        true
                    }
                    Err(err) => failed(knob, &found, &err),
                },
            },
        };
        if settled {
            saved.found.remove(&knob);
        } else {
            done.nr_failed += 1;
        }
    }
    match saved.found.is_empty() {
        true => file.remove()?,
        false => file.store(&saved)?,
    }
    Ok(done)
}

/// Says so, and that it isn't settled.
fn failed(knob: Knob, found: &CpuSet, err: &io::Error) -> bool {
    log::warn!("{knob} can't be set back to CPUs {found}: {err}");
    false
}

fn online_cpus(root: &Path) -> Result<CpuSet, SurroundingsError> {
    const ONLINE: &str = "sys/devices/system/cpu/online";
    let text = std::fs::read_to_string(root.join(ONLINE)).map_err(at(root, ONLINE))?;
    CpuSet::from_list(&text).map_err(|err| at(root, ONLINE)(io::Error::new(io::ErrorKind::InvalidData, err)))
}

/// Why IRQs or workqueues can't be seen to.
#[derive(Debug, thiserror::Error)]
pub enum SurroundingsError {
    /// The saved state.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// A file of the kernel.
    #[error("reading {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn at(root: &Path, path: &str) -> impl FnOnce(io::Error) -> SurroundingsError {
    let path = root.join(path);
    move |source| SurroundingsError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::fake_root::FakeRoot;

    const ALL: SurroundingsOptions = SurroundingsOptions { irqs: true, workqueues: true };
    const WORKQUEUES: &str = "sys/devices/virtual/workqueue/cpumask";
    const SAVED: &str = "run/scx_vnuma/saved.json";

    fn surroundings(root: &FakeRoot, options: SurroundingsOptions) -> Surroundings {
        Surroundings::new(options, root.path()).unwrap()
    }

    fn all(root: &FakeRoot) -> Vec<String> {
        let workqueues = CpuSet::from_mask(&root.text(WORKQUEUES)).unwrap().to_string();
        vec![root.irq(4), root.irq(24), workqueues]
    }

    /// As a kill does: nothing is put back.
    fn kill(surroundings: Surroundings) {
        std::mem::forget(surroundings);
    }

    #[test]
    fn all_follow_the_destination_and_are_as_found_in_the_end() {
        let root = FakeRoot::new();
        root.put("proc/irq/4/smp_affinity_list", "1,3\n");
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[2, 3].into());
        assert_eq!(all(&root), ["2-3"; 3]);
        surroundings.follow(&[0].into());
        assert_eq!(all(&root), ["0"; 3]);
        let counts = surroundings.counts();
        assert_eq!((counts.nr_irqs_moved, counts.nr_workqueues_moved, counts.nr_left), (4, 2, 0));
        drop(surroundings);
        assert_eq!(all(&root), ["1,3", "0-3", "0-3"]);
        assert!(!root.path().join("run/scx_vnuma").exists());
    }

    #[test]
    fn only_what_is_asked_for_follows() {
        let root = FakeRoot::new();
        let mut none = surroundings(&root, SurroundingsOptions::default());
        none.follow(&[2].into());
        assert_eq!(all(&root), ["0-3"; 3]);
        assert!(!root.path().join("run").exists());
        let mut workqueues = surroundings(&root, SurroundingsOptions { irqs: false, ..ALL });
        workqueues.follow(&[2].into());
        assert_eq!(all(&root), ["0-3", "0-3", "2"]);
        drop(workqueues);
        let mut irqs = surroundings(&root, SurroundingsOptions { workqueues: false, ..ALL });
        irqs.follow(&[2].into());
        assert_eq!(all(&root), ["2", "2", "0-3"]);
    }

    #[test]
    fn offline_cpus_are_left_out_and_without_any_nothing_moves() {
        let root = FakeRoot::new();
        root.put("sys/devices/system/cpu/online", "0-2\n");
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[3].into());
        assert_eq!(all(&root), ["0-3"; 3]);
        surroundings.follow(&[2, 3].into());
        assert_eq!(all(&root), ["2"; 3]);
    }

    #[test]
    fn after_a_kill_all_goes_back() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[2, 3].into());
        surroundings.follow(&[0, 1].into());
        kill(surroundings);
        assert_eq!(all(&root), ["0-1"; 3]);
        let done = put_back_after_kill(root.path()).unwrap().unwrap();
        assert_eq!(done, PutBack { nr_put_back: 3, nr_left: 0, nr_failed: 0 });
        assert_eq!(all(&root), ["0-3"; 3]);
        assert!(!root.path().join("run/scx_vnuma").exists());
        assert_eq!(put_back_after_kill(root.path()).unwrap(), None);
    }

    #[test]
    fn what_was_found_is_on_file_before_the_first_write() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        // A file where the folder should be, so nothing can be saved.
        root.put("run", "");
        surroundings.follow(&[2].into());
        assert_eq!(all(&root), ["0-3"; 3]);
        assert_eq!(surroundings.counts().nr_irqs_moved, 0);
    }

    #[test]
    fn an_irq_that_comes_later_is_saved_before_it_moves() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[2].into());
        root.put("proc/irq/30/smp_affinity_list", "1\n");
        surroundings.follow(&[0].into());
        assert_eq!(root.irq(30), "0");
        kill(surroundings);
        put_back_after_kill(root.path()).unwrap();
        assert_eq!(root.irq(30), "1");
        assert_eq!(all(&root), ["0-3"; 3]);
    }

    #[test]
    fn an_irq_that_ends_is_forgotten() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[2].into());
        std::fs::remove_dir_all(root.path().join("proc/irq/24")).unwrap();
        surroundings.follow(&[0].into());
        // Another one under its number, with an affinity of its own.
        root.put("proc/irq/24/smp_affinity_list", "1\n");
        surroundings.follow(&[2].into());
        assert_eq!(root.irq(24), "2");
        drop(surroundings);
        assert_eq!(all(&root), ["0-3", "1", "0-3"]);
    }

    #[test]
    fn what_somebody_else_has_set_stays() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[2, 3].into());
        root.put("proc/irq/24/smp_affinity_list", "1\n");
        surroundings.follow(&[0, 1].into());
        assert_eq!(all(&root), ["0-1", "1", "0-1"]);
        assert_eq!(surroundings.counts().nr_left, 1);
        root.put(WORKQUEUES, "8\n");
        kill(surroundings);
        let done = put_back_after_kill(root.path()).unwrap().unwrap();
        assert_eq!(done, PutBack { nr_put_back: 1, nr_left: 2, nr_failed: 0 });
        assert_eq!(all(&root), ["0-3", "1", "3"]);
    }

    #[test]
    fn an_irq_that_the_kernel_took_off_an_offline_cpu_is_still_ours() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[3].into());
        root.put("sys/devices/system/cpu/online", "0-2\n");
        root.put("proc/irq/24/smp_affinity_list", "0-2\n");
        surroundings.follow(&[2].into());
        assert_eq!(root.irq(24), "2");
        drop(surroundings);
        assert_eq!(all(&root), ["0-3"; 3]);
    }

    #[test]
    fn a_refusal_is_counted_and_the_others_move() {
        let root = FakeRoot::new();
        // A file of the real kernel that nobody can write.
        let refusing = root.path().join("proc/irq/30");
        std::fs::create_dir(&refusing).unwrap();
        std::os::unix::fs::symlink("/sys/devices/system/cpu/possible", refusing.join("smp_affinity_list")).unwrap();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[3].into());
        surroundings.follow(&[2].into());
        assert_eq!(all(&root), ["2"; 3]);
        let counts = surroundings.counts();
        assert_eq!((counts.nr_irqs_moved, counts.nr_irqs_refused, counts.nr_irqs_skipped), (4, 2, 0));
        drop(surroundings);
        assert_eq!(all(&root), ["0-3"; 3]);
        assert!(!root.path().join("run/scx_vnuma").exists());
    }

    #[test]
    fn what_cannot_go_back_now_is_tried_again() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[2].into());
        kill(surroundings);
        // Nobody can read it.
        let affinity = root.path().join("proc/irq/24/smp_affinity_list");
        std::fs::remove_file(&affinity).unwrap();
        std::fs::create_dir(&affinity).unwrap();
        let done = put_back_after_kill(root.path()).unwrap().unwrap();
        assert_eq!(done, PutBack { nr_put_back: 2, nr_left: 0, nr_failed: 1 });
        assert!(root.path().join(SAVED).exists());

        std::fs::remove_dir(&affinity).unwrap();
        root.put("proc/irq/24/smp_affinity_list", "2\n");
        // The next daemon takes over what is still to be put back.
        let mut next = Surroundings::new(ALL, root.path()).unwrap();
        next.follow(&[1].into());
        drop(next);
        assert_eq!(all(&root), ["0-3"; 3]);
    }

    #[test]
    fn with_a_damaged_file_nothing_is_written_and_the_next_start_works() {
        let root = FakeRoot::new();
        let mut surroundings = surroundings(&root, ALL);
        surroundings.follow(&[2].into());
        kill(surroundings);
        root.put(SAVED, "{\"version\":1,\"found\":{\"irq 4\":[0,");
        assert!(put_back_after_kill(root.path()).unwrap_err().to_string().contains("damaged"));
        assert_eq!(all(&root), ["2"; 3]);
        let mut next = Surroundings::new(ALL, root.path()).unwrap();
        next.follow(&[1].into());
        drop(next);
        assert_eq!(all(&root), ["2"; 3]);
        assert!(!root.path().join(SAVED).exists());
    }

    #[test]
    fn irqbalance_is_known_by_its_name() {
        let root = FakeRoot::new();
        assert!(!irqs::irqbalance_runs(root.path()));
        root.put("proc/77/comm", "irqbalance\n");
        assert!(irqs::irqbalance_runs(root.path()));
    }
}
