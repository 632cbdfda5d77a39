//! The workload: which tasks are migratable, how they form groups, what a group requests, and where plans have placed
//! it.

mod accesses;
mod cgroups;
#[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod give_back;
mod glob;
mod groups;
mod kept_quotas;
mod placements;
mod pmu;
mod policy_change;
mod quota;
mod selection;
mod selector;
mod selectors;
mod task;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::Result;

pub use accesses::Accesses;
pub use cgroups::CgroupPaths;
pub use give_back::give_back_all;
pub use groups::{Grouping, Groups, Members};
pub use kept_quotas::KeptQuotas;
pub use placements::Placements;
pub use pmu::NoPmu;
pub use policy_change::make_migratable;
pub use quota::{Quota, Quotas};
pub use selection::{Selection, SelectionChanges};
pub use selector::{Selector, SelectorError, DEFAULT_SELECTORS};
pub use task::{policy, read_tasks, TaskRecord};

#[cfg(test)]
pub(crate) use accesses::tests::faults as test_faults;
#[cfg(test)]
pub(crate) use task::tests::task as test_task;

use crate::bpf::{Class, KernelPlan, Retargeted};
use crate::cell::{GroupId, NodeId, Plan};

/// The guest's tasks as of the last round, and the nodes of the migratable ones.
pub struct Workload {
    selection: Selection,
    grouping: Grouping,
    tasks: Vec<TaskRecord>,
    groups: Groups,
    accesses: Accesses,
    quotas: Quotas,
    /// Only if the scheduler class can place processes one by one.
    placements: Option<Placements>,
    /// The policy's plans place groups one by one. Otherwise a plan that moves any sends all to the first destination.
    places_groups: bool,
    /// Where the current plan sends groups without a node of their own.
    destination: NodeId,
    no_homes: HashMap<GroupId, NodeId>,
    /// Nodes that work leaves and that get none.
    drained: BTreeSet<NodeId>,
    /// What the kernel side was last told.
    in_force: Option<KernelPlan>,
}

impl Workload {
    /// Start without tasks. New migratable tasks go to `start`. `cgroup_root` is where the v2 hierarchy is mounted, for
    /// quotas.
    pub fn new(
        selection: Selection,
        grouping: Grouping,
        accesses: Accesses,
        places_processes: bool,
        start: NodeId,
        cgroup_root: Option<&Path>,
    ) -> Self {
        Workload {
            selection,
            grouping,
            tasks: Vec::new(),
            groups: Groups::default(),
            accesses,
            quotas: Quotas::new(cgroup_root),
            placements: places_processes.then(Placements::default),
            places_groups: places_processes,
            destination: start,
            no_homes: HashMap::new(),
            drained: BTreeSet::new(),
            in_force: None,
        }
    }

    /// Select by other selectors from the next round on.
    pub fn set_selection(&mut self, selection: Selection) {
        self.selection.replace_by(selection);
    }

    /// Count memory accesses in another way from the next round on.
    pub fn set_accesses(&mut self, accesses: Accesses) {
        self.accesses = accesses;
    }

    /// Let nothing run on these nodes from the next round on.
    pub fn set_drained(&mut self, drained: BTreeSet<NodeId>) {
        self.drained = drained;
    }

    /// Carry out the plans of another policy from the next round on. Groups stay where they are until a plan moves them.
    pub fn set_places_groups(&mut self, places_groups: bool) {
        self.places_groups = places_groups;
    }

    /// Read the tasks again, make those migratable that match a selector, and restore those that no longer match. A dry
    /// run only reads.
    pub fn refresh(&mut self, class: &dyn Class, dry_run: bool) -> Result<SelectionChanges> {
        read_tasks(class.task_records()?, &mut self.tasks)?;
        self.quotas.begin_round();
        let changes = match dry_run {
            true => SelectionChanges::default(),
            false => self.selection.apply(class, &mut self.tasks, &mut self.quotas)?,
        };
        self.groups = Groups::of(&self.tasks, self.grouping);
        self.accesses.look(&self.tasks, &self.groups);
        if let Some(placements) = &mut self.placements {
            self.groups.request_quotas(&mut self.quotas);
            placements.note(&self.groups, self.destination);
        }
        Ok(changes)
    }

    /// Put a plan into effect; `None` if it moves nothing. `hits` are the nodes that the plan knows to be hit, whose work the
    /// kernel side has sent to their fallbacks until this plan.
    pub fn carry_out(
        &mut self,
        class: &dyn Class,
        plan: &Plan,
        epoch: u64,
        hits: &BTreeSet<NodeId>,
    ) -> Result<Option<Retargeted>> {
        let first = self.destination_under(plan);
        let kernel_plan = kernel_plan(plan, first);
        // Groups that sleep on a drained node, and those yet to come, are in no plan's moves.
        let vacates = plan.first.is_some_and(|first| !self.drained.contains(&first)) && self.is_on_drained();
        let moves = !plan.moves.is_empty() || vacates;
        // A policy that doesn't steer may have followed one that did.
        let lifts = !plan.steers() && self.in_force.as_ref().is_some_and(KernelPlan::steers);
        let is_news = !hits.is_empty() || self.in_force.as_ref() != Some(&kernel_plan);
        let is_told = moves || lifts || (plan.steers() && is_news);
        if !is_told {
            return Ok(None);
        }
        let told = KernelPlan { known_hits: hits.clone(), ..kernel_plan.clone() };
        if moves || first != self.destination {
            self.place(class, plan, epoch);
        }
        if !moves {
            // Such a plan costs no retarget.
            class.update(&told)?;
            self.destination = first;
            self.in_force = Some(kernel_plan);
            return Ok(None);
        }
        let done = class.retarget(&told)?;
        self.destination = first;
        self.in_force = Some(kernel_plan);
        Ok(Some(done))
    }

    /// The first destination under a plan. It stays while nothing moves and the present one has work, or is among those for
    /// new processes: which of several idle nodes is the least loaded changes with every round.
    fn destination_under(&self, plan: &Plan) -> NodeId {
        let present = self.destination;
        let has_work = || self.homes().values().any(|&home| home == present);
        match !self.drained.contains(&present)
            && plan.moves.is_empty()
            && (plan.spread.contains_key(&present) || has_work())
        {
            true => present,
            false => plan.first.unwrap_or(present),
        }
    }

    /// Return true if work is sent to a drained node, or has its home there.
    fn is_on_drained(&self) -> bool {
        self.drained.contains(&self.destination) || self.homes().values().any(|home| self.drained.contains(home))
    }

    /// Name the node of each process whose node the kernel side doesn't know, before the first destination changes.
    fn place(&mut self, class: &dyn Class, plan: &Plan, epoch: u64) {
        let Some(placements) = &mut self.placements else { return };
        match self.places_groups {
            true => placements.carry_out(plan),
            false => placements.gather(plan.first.unwrap_or(self.destination)),
        }
        if let Some(first) = plan.first.filter(|first| !self.drained.contains(first)) {
            placements.vacate(&self.drained, first);
        }
        // A process without a placement goes to the first destination, which is worse but no reason to stop.
        if let Err(err) = class.place(epoch + 1, &placements.news(&self.groups)) {
            log::warn!("some processes go to the first destination instead: {err:#}");
            placements.resend_all();
        }
    }

    /// The destination of groups without a node of their own.
    pub fn destination(&self) -> NodeId {
        self.destination
    }

    /// The groups that have a node of their own, and that node.
    pub fn homes(&self) -> &HashMap<GroupId, NodeId> {
        self.placements.as_ref().map_or(&self.no_homes, Placements::homes)
    }

    /// The node that the plan has for a group.
    pub fn node_of(&self, id: GroupId) -> NodeId {
        self.homes().get(&id).copied().unwrap_or(self.destination)
    }

    /// The names of the migratable processes: those of their first threads.
    pub fn names(&self) -> HashMap<u32, String> {
        let firsts = self.tasks.iter().filter(|task| task.is_migratable() && task.tid == task.tgid);
        firsts.map(|task| (task.tgid as u32, task.comm().into_owned())).collect()
    }

    /// The ids of the migratable groups' processes.
    pub fn processes(&self) -> Vec<u32> {
        self.groups.iter().flat_map(|(_, members)| &members.tgids).copied().collect()
    }

    /// The migratable groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The groups' memory accesses per instruction over the last round.
    pub fn accesses(&self) -> &Accesses {
        &self.accesses
    }

    /// The selectors that have matched no task for a while.
    pub fn idle_selectors(&self) -> Vec<String> {
        self.selection.idle_selectors()
    }

    /// Number of migratable tasks.
    pub fn nr_migratable(&self) -> u64 {
        self.tasks.iter().filter(|task| task.is_migratable()).count() as u64
    }
}

/// A plan as the kernel side carries it out.
fn kernel_plan(plan: &Plan, first: NodeId) -> KernelPlan {
    /// Weights are whole numbers there.
    const WEIGHT_ONE: f64 = 1000.0;

    let weight = |(&node, &weight): (&NodeId, &f64)| (node, (weight * WEIGHT_ONE).round().max(1.0) as u32);
    KernelPlan {
        first,
        second: plan.second,
        limits: plan.limits.clone(),
        spread: plan.spread.iter().filter(|(_, weight)| **weight > 0.0).map(weight).collect(),
        overflow: plan.spread.iter().filter(|(_, weight)| **weight == 0.0).map(|(&node, _)| node).collect(),
        fallback: plan.fallback.clone(),
        gives_way: plan.gives_way.clone(),
        has_others: plan.has_others.clone(),
        known_hits: BTreeSet::new(),
    }
}
