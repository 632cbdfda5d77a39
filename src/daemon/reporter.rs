//! Reports each round: a log line, the statistics, the decision history and the decision log.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::service;
use crate::act::{AffinityCounts, MemoryCounts};
use crate::bpf::Class;
use crate::cell::{NodeId, Plan};
use crate::decision_log::{Header, LogWriter};
use crate::linux::memory;
use crate::report::{self, Decision, DecisionHistory, GroupReport, LinksReport, Metrics, Round, Setup, Visibility};
use crate::work::SelectionChanges;

/// The decision log of `--log`. It spans restarts of the scheduler class.
pub struct DecisionLog(Option<LogWriter<File>>);

impl DecisionLog {
    /// Create the log at `path`, which must not exist: an existing file may be somebody's record. Without a path,
    /// nothing is written.
    pub fn create(path: Option<&Path>, header: &Header) -> Result<Self> {
        let Some(path) = path else { return Ok(DecisionLog(None)) };
        let file = File::create_new(path);
        let file =
            file.with_context(|| format!("--log {}: it must be a new file in an existing directory", path.display()))?;
        let log = LogWriter::new(file, header).with_context(|| format!("writing {}", path.display()))?;
        Ok(DecisionLog(Some(log)))
    }

    /// Append a round. If the disk is full, the log ends but scheduling continues.
    fn append(&mut self, round: &Round) {
        let Some(log) = &mut self.0 else { return };
        if let Err(err) = log.append(round.number, &round.view, &round.plan, round.observed.as_deref()) {
            log::warn!("the decision log of --log ends here: {err}");
            self.0 = None;
        }
    }
}

/// Reports rounds to operators and programs.
pub struct Reporter<'a> {
    history: &'a Arc<DecisionHistory>,
    log: &'a mut DecisionLog,
    metrics: Metrics,
    visibility: Visibility,
    last_plan: Option<Plan>,
    page_faults: u64,
}

impl<'a> Reporter<'a> {
    /// Start before the first round, with all migratable work sent to `start`.
    pub fn new(history: &'a Arc<DecisionHistory>, log: &'a mut DecisionLog, interval: Duration, start: NodeId) -> Self {
        Reporter {
            history,
            log,
            metrics: Metrics::new(start),
            visibility: Visibility::new(interval),
            last_plan: None,
            page_faults: memory::page_faults(),
        }
    }

    /// The number of the current plan.
    pub fn epoch(&self) -> u64 {
        self.metrics.epoch
    }

    /// The number of the current round, from 1.
    pub fn round_number(&self) -> u64 {
        self.metrics.nr_rounds + 1
    }

    /// The daemon's page faults since the last call.
    pub fn new_page_faults(&mut self) -> u64 {
        let now = memory::page_faults();
        now - std::mem::replace(&mut self.page_faults, now)
    }

    /// Count a round that failed.
    pub fn note_failed_round(&mut self) {
        self.metrics.nr_failed_rounds += 1;
        self.history.publish_metrics(self.metrics.clone());
    }

    /// Report who shares memory with whom.
    pub fn publish_links(&self, links: LinksReport) {
        self.history.publish_links(links);
    }

    /// Report how the daemon is set up.
    pub fn publish_setup(&self, setup: Setup) {
        self.history.publish_setup(setup);
    }

    /// Report whether plans are carried out.
    pub fn note_dry_run(&mut self, is_dry_run: bool) {
        self.metrics.is_dry_run = is_dry_run.into();
    }

    /// Report which selectors have matched no task for a while.
    pub fn publish_idle_selectors(&self, selectors: Vec<String>) {
        self.history.publish_unmatched_selectors(selectors);
    }

    /// Report the busiest groups.
    pub fn publish_groups(&self, groups: Vec<GroupReport>) {
        self.history.publish_groups(groups);
    }

    /// Report the tasks whose policy a round changed.
    pub fn note_selection(&mut self, changes: SelectionChanges, nr_migratable: u64) {
        let SelectionChanges { nr_selected, nr_given_back, nr_refused } = changes;
        // Refused tasks are tried in every round. Their reason is logged once, elsewhere.
        if nr_selected > 0 || nr_given_back > 0 {
            log::info!(
                "{nr_selected} tasks became migratable, {nr_given_back} got their own policy back, \
                 {nr_refused} were refused"
            );
        }
        self.metrics.nr_selected += nr_selected;
        self.metrics.nr_given_back += nr_given_back;
        self.metrics.nr_refused += nr_refused;
        self.metrics.nr_migratable = nr_migratable;
    }

    /// Report a completed round. `destination` is where migratable work goes from now on.
    pub fn report(
        &mut self,
        round: &Round,
        destination: NodeId,
        class: &dyn Class,
        affinity: &AffinityCounts,
        memory: &MemoryCounts,
    ) -> Result<()> {
        self.visibility.note(&round.view, Instant::now());
        let decision = Decision::of(round);
        self.metrics.note(round, &decision, destination, |node| class.node_stats(node))?;
        self.metrics.note_affinity(affinity);
        self.metrics.note_memory(memory);
        let text = &self.metrics.decision;
        if report::is_news(self.last_plan.as_ref(), &round.plan) {
            log::info!("{text}");
            service::status(&decision.summary());
        } else {
            log::debug!("{text}");
        }
        self.history.publish(self.metrics.clone(), decision);
        self.log.append(round);
        self.last_plan = Some(round.plan.clone());
        Ok(())
    }
}
