//! What the guest records: a line of JSON for each turn.

use serde::{Deserialize, Serialize};

/// File with the guest's record, a [`Turn`] per line.
pub const TURNS_FILE: &str = "turns.jsonl";

/// What decides where the programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// The guest's fair class without NUMA balancing.
    Fair,
    /// The fair class with NUMA balancing, the default of most distributions.
    FairBalancing,
    /// The fair class, each team bound to a node of its own by hand: the best that a scheduler can do which knows who shares.
    ByHand,
    /// scx_vnuma, `--policy coarse`.
    Coarse,
    /// scx_vnuma, `--policy fine`.
    Fine,
    /// scx_vnuma, `--policy auto`, told by `--page-cost` what a page costs.
    Auto,
    /// The same, which learns it from the hosts' counters of faults (`--dsm`).
    AutoCounters,
}

impl Arm {
    /// In the order in which they take turns.
    pub const ALL: [Arm; 7] =
        [Arm::Fair, Arm::FairBalancing, Arm::ByHand, Arm::Coarse, Arm::Fine, Arm::Auto, Arm::AutoCounters];

    /// Its name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Arm::Fair => "fair class",
            Arm::FairBalancing => "with NUMA balancing",
            Arm::ByHand => "bound by hand",
            Arm::Coarse => "coarse",
            Arm::Fine => "fine",
            Arm::Auto => "auto",
            Arm::AutoCounters => "auto, counters",
        }
    }
}

/// What the teams do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// A five-point stencil over a grid; each team is a process, its members are threads.
    StencilThreads,
    /// The same grid, in memory that the processes of a team share.
    StencilProcesses,
    /// Conjugate gradients with a sparse matrix, by processes that share the vectors.
    Solver,
    /// Each process works on blocks of bytes and passes them on to the next by a pipe.
    Pipeline,
    /// memcached and a client that waits for each answer.
    Memcached,
    /// Processes that share nothing.
    Alone,
}

impl Program {
    /// In the order in which they run.
    pub const ALL: [Program; 6] = [
        Program::StencilThreads,
        Program::StencilProcesses,
        Program::Solver,
        Program::Pipeline,
        Program::Memcached,
        Program::Alone,
    ];

    /// Its name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Program::StencilThreads => "stencil, threads",
            Program::StencilProcesses => "stencil, processes",
            Program::Solver => "conjugate gradients",
            Program::Pipeline => "pipeline",
            Program::Memcached => "memcached",
            Program::Alone => "nothing shared",
        }
    }
}

/// A program's run under an arm, after it has settled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// From 0.
    pub round: u32,
    /// What ran.
    pub program: Program,
    /// Under what.
    pub arm: Arm,
    /// For how long work was counted.
    pub lasted_s: f64,
    /// Units of work, by team.
    pub work: Vec<u64>,
    /// CPU time that the members got, s.
    pub cpu_s: f64,
}

impl Turn {
    /// The phase of the machine's record that has its pages.
    pub fn phase(round: u32, program: Program, arm: Arm) -> String {
        format!("{round} {} {}", program.label(), arm.label())
    }

    /// Units of work per second, of all teams.
    pub fn work_per_s(&self) -> f64 {
        self.work.iter().sum::<u64>() as f64 / self.lasted_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_phases_are_unique_and_fit() {
        let names = Program::ALL.iter().flat_map(|&program| Arm::ALL.map(|arm| Turn::phase(99, program, arm)));
        let names: std::collections::BTreeSet<String> = names.collect();
        assert_eq!(names.len(), Program::ALL.len() * Arm::ALL.len());
        assert!(names.iter().all(|name| name.len() <= vnuma_dsm::mark::NAME_BYTES_MAX));
    }
}
