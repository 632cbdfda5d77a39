//! The workload: which tasks are migratable, in which groups they move, what a group asks for, and where plans have put it.

mod accesses;
mod cgroups;
mod give_back;
mod groups;
mod placements;
mod pmu;
mod quota;
mod selection;
mod selector;
mod task;

use std::collections::HashMap;

use anyhow::Result;

pub use accesses::Accesses;
pub use cgroups::CgroupPaths;
pub use give_back::give_back_all;
pub use groups::{Grouping, Groups, Members, Quotas};
pub use placements::Placements;
pub use pmu::NoPmu;
pub use selection::{make_migratable, Selection, SelectionChanges};
pub use selector::{Selector, SelectorError, DEFAULT_SELECTORS};
pub use task::{policy, read_tasks, TaskRecord};

#[cfg(test)]
pub(crate) use accesses::tests::faults as test_faults;
#[cfg(test)]
pub(crate) use task::tests::task as test_task;

use crate::bpf::{Class, Retargeted};
use crate::cell::{GroupId, NodeId, Plan};

/// The tasks of the guest, as the last round saw them.
pub struct Workload {
    selection: Selection,
    grouping: Grouping,
    tasks: Vec<TaskRecord>,
    groups: Groups,
    accesses: Accesses,
    quotas: Quotas,
    /// Only where plans place processes one by one.
    placements: Option<Placements>,
    /// Where the plan in force sends groups without a node of their own.
    destination: NodeId,
    no_homes: HashMap<GroupId, NodeId>,
}

impl Workload {
    /// None yet; all that comes up goes to `start`.
    pub fn new(
        selection: Selection,
        grouping: Grouping,
        accesses: Accesses,
        places_processes: bool,
        start: NodeId,
    ) -> Self {
        Workload {
            selection,
            grouping,
            tasks: Vec::new(),
            groups: Groups::default(),
            accesses,
            quotas: Quotas::new("/sys/fs/cgroup"),
            placements: places_processes.then(Placements::default),
            destination: start,
            no_homes: HashMap::new(),
        }
    }

    /// Reads the tasks again, and makes migratable what a selector matches and gives back what no longer does; a dry run only
    /// reads.
    pub fn refresh(&mut self, class: &dyn Class, dry_run: bool) -> Result<SelectionChanges> {
        read_tasks(class.task_records()?, &mut self.tasks)?;
        let changes =
            if dry_run { SelectionChanges::default() } else { self.selection.apply(class, &mut self.tasks)? };
        self.groups = Groups::of(&self.tasks, self.grouping);
        self.accesses.look(&self.tasks, &self.groups);
        if let Some(placements) = &mut self.placements {
            self.quotas.apply(&mut self.groups);
            let forked = |tgid| class.placement(tgid).ok().flatten();
            placements.note(&self.groups, self.destination, forked);
        }
        Ok(changes)
    }

    /// Puts the plan in force; `None` when it moves nothing.
    pub fn carry_out(&mut self, class: &dyn Class, plan: &Plan, epoch: u64) -> Result<Option<Retargeted>> {
        let Some(first) = plan.first.filter(|_| !plan.moves.is_empty()) else { return Ok(None) };
        if let Some(placements) = &mut self.placements {
            placements.carry_out(plan);
            // Without a placement a process goes to the first destination: worse, but no reason to leave.
            if let Err(err) = class.place(epoch + 1, &placements.news(&self.groups)) {
                log::warn!("some processes go to the first destination instead: {err:#}");
                placements.forget_told();
            }
        }
        let done = class.retarget(first, plan.second)?;
        self.destination = first;
        Ok(Some(done))
    }

    /// Where groups without a node of their own go.
    pub fn destination(&self) -> NodeId {
        self.destination
    }

    /// The nodes of groups that have one of their own.
    pub fn homes(&self) -> &HashMap<GroupId, NodeId> {
        self.placements.as_ref().map_or(&self.no_homes, Placements::homes)
    }

    /// The processes of the migratable groups.
    pub fn processes(&self) -> Vec<u32> {
        self.groups.iter().flat_map(|(_, members)| &members.tgids).copied().collect()
    }

    /// The migratable groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The groups' memory accesses per instruction between the last two looks.
    pub fn accesses(&self) -> &Accesses {
        &self.accesses
    }

    /// How many tasks are migratable.
    pub fn nr_migratable(&self) -> u64 {
        self.tasks.iter().filter(|task| task.is_migratable()).count() as u64
    }
}
