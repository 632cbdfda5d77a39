//! Sets the affinities of IRQs and unbound workqueues at a change of destination.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::file::{AffinityFile, OpenFiles};
use super::isolated::isolated_cpus;
use super::owner::Owner;
use super::undo::undo;
use super::undo_log::{UndoLog, UndoLogFile};
use super::{irqs, online_cpus, AffinityCounts, AffinityError, AffinityOptions};
use crate::linux::{process, CpuSet};

/// Moves IRQs and unbound workqueues. Dropping it restores their original affinities, except those that someone else has set.
pub struct AffinityMover {
    root: PathBuf,
    options: AffinityOptions,
    files: OpenFiles,
    undo_file: UndoLogFile,
    undo_log: UndoLog,
    /// What this mover has stored in `undo_file`.
    stored: Option<UndoLog>,
    /// The kernel never lets anyone set these, so they are not tried again.
    immovable: BTreeSet<AffinityFile>,
    /// Someone else has set these, so they are left alone.
    foreign: BTreeSet<AffinityFile>,
    counts: AffinityCounts,
}

impl AffinityMover {
    /// For the files below `root`, usually `/`. Changes nothing yet.
    pub fn new(options: AffinityOptions, root: impl Into<PathBuf>) -> Result<Self, AffinityError> {
        let root = root.into();
        if options.irqs && process::runs(&root, "irqbalance") {
            log::warn!(
                "irqbalance is running and moves IRQs too; those that it moves are left to it: stop it, or run with \
                 --move-irqs=false"
            );
        }
        let undo_file = UndoLogFile::new(&root);
        // An earlier daemon may not have been able to restore everything: that is still to be done.
        let undo_log =
            if options.irqs || options.workqueues { undo_file.load()?.unwrap_or_default() } else { UndoLog::default() };
        Ok(AffinityMover {
            files: OpenFiles::new(&root),
            root,
            options,
            undo_file,
            undo_log,
            stored: None,
            immovable: BTreeSet::new(),
            foreign: BTreeSet::new(),
            counts: AffinityCounts::default(),
        })
    }

    /// Move IRQs and workqueues to the CPUs of `cpus` that are online and not isolated. After a failure, which is logged,
    /// they stay where they are until the next call.
    pub fn retarget(&mut self, cpus: &CpuSet) {
        if !self.options.irqs && !self.options.workqueues {
            return;
        }
        if let Err(err) = self.try_retarget(cpus) {
            log::warn!("IRQs and workqueues stay where they are: {err}");
        }
    }

    /// What has been done so far.
    pub fn counts(&self) -> AffinityCounts {
        AffinityCounts {
            nr_irqs_skipped: self.immovable.len() as u64,
            nr_foreign: self.foreign.len() as u64,
            ..self.counts
        }
    }

    fn try_retarget(&mut self, cpus: &CpuSet) -> Result<(), AffinityError> {
        let online = online_cpus(&self.root)?;
        let to = cpus.and(&online).without(&isolated_cpus(&self.root));
        if to.is_empty() {
            log::debug!(
                "no CPU of the destination is online and not isolated: IRQs and workqueues stay where they are"
            );
            return Ok(());
        }
        let due = self.due(&online, &to)?;
        if due.is_empty() {
            return Ok(());
        }
        self.undo_log.written.insert(to.clone());
        self.store()?;
        for &file in &due {
            self.set(file, &to);
        }
        self.store()?;
        let AffinityCounts { nr_irqs_skipped, nr_irqs_refused, .. } = self.counts();
        log::debug!(
            "set {} IRQs and workqueues to CPUs {to}; {nr_irqs_skipped} IRQs can't be moved, {nr_irqs_refused} refusals",
            due.len()
        );
        Ok(())
    }

    /// Store the undo log unless the file has it already.
    fn store(&mut self) -> Result<(), AffinityError> {
        if self.stored.as_ref() != Some(&self.undo_log) {
            self.undo_file.store(&self.undo_log)?;
            self.stored = Some(self.undo_log.clone());
        }
        Ok(())
    }

    /// The files that have other CPUs than `to`. The original CPUs of those that were not seen before go into the undo log.
    fn due(&mut self, online: &CpuSet, to: &CpuSet) -> Result<Vec<AffinityFile>, AffinityError> {
        let files = self.list()?;
        self.forget_missing_irqs(&files);
        let mut due = Vec::new();
        for file in files {
            if self.immovable.contains(&file) || self.foreign.contains(&file) {
                continue;
            }
            let now = match self.files.read(file) {
                Ok(now) => now,
                Err(err) => {
                    // An IRQ may be freed after it was listed.
                    log::debug!("reading {file}: {err}");
                    continue;
                }
            };
            match Owner::of(file, &now, online, &self.undo_log) {
                None => drop(self.undo_log.original.insert(file, now.clone())),
                Some(Owner::Original | Owner::Daemon) => {}
                Some(Owner::Foreign) => {
                    log::warn!("someone else has set {file} to CPUs {now}: it is left so from now on");
                    self.foreign.insert(file);
                    continue;
                }
            }
            if now != *to {
                due.push(file);
            }
        }
        Ok(due)
    }

    /// Forget IRQs that were freed: their numbers may be given to others.
    fn forget_missing_irqs(&mut self, files: &BTreeSet<AffinityFile>) {
        if !self.options.irqs {
            return;
        }
        let is_there = |file: &AffinityFile| !matches!(file, AffinityFile::Irq(_)) || files.contains(file);
        self.immovable.retain(is_there);
        self.foreign.retain(is_there);
        self.undo_log.original.retain(|file, _| is_there(file));
        self.files.retain(is_there);
    }

    fn list(&self) -> Result<BTreeSet<AffinityFile>, AffinityError> {
        let mut files = BTreeSet::new();
        if self.options.irqs {
            files.extend(irqs::list(&self.root)?.into_iter().map(AffinityFile::Irq));
        }
        if self.options.workqueues {
            files.insert(AffinityFile::Workqueues);
        }
        Ok(files)
    }

    fn set(&mut self, file: AffinityFile, to: &CpuSet) {
        let refusal = match self.files.write(file, to) {
            Ok(()) => {
                match file {
                    AffinityFile::Irq(_) => self.counts.nr_irqs_moved += 1,
                    AffinityFile::Workqueues => self.counts.nr_workqueues_moved += 1,
                }
                // The kernel may take only some of the CPUs, and that is ours as well.
                if let Ok(now) = self.files.read(file) {
                    self.undo_log.written.insert(now);
                }
                return;
            }
            Err(refusal) => refusal,
        };
        log::debug!("setting {file} to CPUs {to}: {refusal}");
        match file {
            AffinityFile::Irq(_) if refusal.kind() == io::ErrorKind::NotFound => {}
            AffinityFile::Irq(_) if irqs::is_permanent(&refusal) => drop(self.immovable.insert(file)),
            AffinityFile::Irq(_) => self.counts.nr_irqs_refused += 1,
            AffinityFile::Workqueues => self.counts.nr_workqueues_refused += 1,
        }
    }
}

impl Drop for AffinityMover {
    fn drop(&mut self) {
        if self.undo_log.original.is_empty() {
            return;
        }
        match undo(&self.root, &self.undo_file, std::mem::take(&mut self.undo_log)) {
            Ok(restored) => log::info!("{restored}"),
            Err(err) => log::warn!("restoring the affinities of IRQs and workqueues: {err}"),
        }
    }
}
