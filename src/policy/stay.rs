//! Nothing moves: the baseline of comparisons.

use super::{Memory, Policy};
use crate::cell::{CellView, Plan};

/// Leaves every group where it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stay;

impl Policy for Stay {
    fn name(&self) -> &'static str {
        "none"
    }

    fn decide(&self, _view: &CellView, _memory: &Memory) -> Plan {
        Plan::default()
    }
}
