//! A policy that is a Python function.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use scx_vnuma::cell::{CellView, GroupId, Move, NodeId, Plan};
use scx_vnuma::policy::{Memory, Policy};

/// Asks a function for the moves of each round. Cells run on several threads, which take turns in Python.
pub(crate) struct PythonPolicy {
    function: Py<PyAny>,
    /// The first error. Nothing moves after it.
    error: Mutex<Option<PyErr>>,
}

impl PythonPolicy {
    pub(crate) fn new(function: Py<PyAny>) -> PythonPolicy {
        PythonPolicy { function, error: Mutex::new(None) }
    }

    /// The error of the run, if there was one.
    pub(crate) fn check(&self) -> PyResult<()> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn has_failed(&self) -> bool {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn moves(&self, py: Python<'_>, view: &CellView) -> PyResult<Vec<Move>> {
        let answer = self.function.call1(py, (pythonize::pythonize(py, view)?,))?;
        if answer.is_none(py) {
            return Ok(Vec::new());
        }
        let pairs: Vec<(u64, u32)> = answer.extract(py)?;
        let mut seen = BTreeSet::new();
        let step = |(group, node): (u64, u32)| {
            let refused = |what: &str| Err(PyValueError::new_err(format!("the move of group {group} to {node}: {what}")));
            let Some(found) = view.groups.iter().find(|it| it.id == GroupId(group)) else {
                return refused("the view has no such group");
            };
            if view.node(NodeId(node)).is_none() {
                return refused("the view has no such node");
            }
            match seen.insert(group) {
                true => Ok(Move { group: GroupId(group), from: found.node, to: NodeId(node) }),
                false => refused("the group moves twice"),
            }
        };
        pairs.into_iter().map(step).collect()
    }
}

impl Policy for PythonPolicy {
    fn name(&self) -> &'static str {
        "python"
    }

    fn decide(&self, view: &CellView, _memory: &Memory) -> Plan {
        if self.has_failed() {
            return Plan::default();
        }
        let moves = Python::attach(|py| self.moves(py, view)).unwrap_or_else(|error| {
            self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            Vec::new()
        });
        // A group that stays where it is would count as a move.
        let moves: Vec<Move> = moves.into_iter().filter(|step| step.from != step.to).collect();
        Plan { first: moves.first().map(|step| step.to), moves, ..Plan::default() }
    }
}
