//! Where migratable work should run: pure functions of a [`CellView`].

mod coarse;
mod fine;

pub use coarse::Coarse;
pub use fine::{Fine, Order, UnknownOrder};

use crate::cell::{CellView, Plan};

/// Decides where migratable work should run. Implementations are pure: the same view gives the same plan.
pub trait Policy: Send + Sync {
    /// Its name, as in `--policy`.
    fn name(&self) -> &'static str;

    /// One round for one cell.
    fn decide(&self, cell: &CellView) -> Plan;
}
