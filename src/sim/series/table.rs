//! A table in memory, by columns.

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name, which is also that of its file.
    pub name: &'static str,
    /// Its columns, all of the same length.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, which ends in the unit if there is one.
    pub name: &'static str,
    /// One value for each row.
    pub values: Values,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers.
    Whole(Vec<u64>),
    /// Numbers.
    Number(Vec<f64>),
    /// Numbers, some of which are missing.
    Optional(Vec<Option<f64>>),
}

impl Values {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Values::Whole(values) => values.len(),
            Values::Number(values) => values.len(),
            Values::Optional(values) => values.len(),
        }
    }

    /// Return true if there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// Add a column of whole numbers.
    pub(super) fn whole(mut self, name: &'static str, values: impl Iterator<Item = u64>) -> Table {
        self.columns.push(Column { name, values: Values::Whole(values.collect()) });
        self
    }

    /// Add a column of numbers.
    pub(super) fn number(mut self, name: &'static str, values: impl Iterator<Item = f64>) -> Table {
        self.columns.push(Column { name, values: Values::Number(values.collect()) });
        self
    }

    /// Add a column of numbers, some of which are missing.
    pub(super) fn optional(mut self, name: &'static str, values: impl Iterator<Item = Option<f64>>) -> Table {
        self.columns.push(Column { name, values: Values::Optional(values.collect()) });
        self
    }
}
