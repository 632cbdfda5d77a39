//! The simulator as a Python module: a trace under the built-in policies, or under a policy that is a Python function.

mod policy;

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use scx_vnuma::sim::engine::Prepared;
use scx_vnuma::sim::params::Params;
use scx_vnuma::sim::placement::Shard;
use scx_vnuma::sim::result::RunResult;
use scx_vnuma::sim::trace::{expand, from_csv, from_parquet, CsvTables, Oddities, Trace as Loaded};
use scx_vnuma::sim::{cli, repeat, sample, SimError};

use policy::PythonPolicy;

fn failed(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A cluster trace in memory. Make one with `sample`, `load` or `from_csv`.
#[pyclass(frozen, module = "vnuma_sim")]
struct Trace {
    trace: Loaded,
    is_sample: bool,
}

#[pymethods]
impl Trace {
    /// The small trace that comes with the simulator.
    #[staticmethod]
    fn sample() -> PyResult<Trace> {
        Ok(Trace { trace: sample::load(&|_| true).map_err(failed)?, is_sample: true })
    }

    /// Load a file of `vnuma-sim prepare` or `vnuma-sim synthesise`.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Trace> {
        let trace = py.detach(|| from_parquet(&path, &|_| true, &|| {})).map_err(failed)?;
        Ok(Trace { trace, is_sample: false })
    }

    /// Load parts of the tables of Google's trace of 2011: files, globs or directories.
    #[staticmethod]
    #[pyo3(signature = (events, usage, strict = false))]
    fn from_csv(py: Python<'_>, events: Vec<String>, usage: Vec<String>, strict: bool) -> PyResult<Trace> {
        let load = || -> Result<Loaded, SimError> {
            let mut oddities = Oddities::default();
            let events = expand(&events, "task_events", &mut oddities)?;
            let usage = expand(&usage, "task_usage", &mut oddities)?;
            let tables = CsvTables { events, usage, checksums: true };
            let mut trace = from_csv(&tables, strict, &|_| true, &|_| {})?;
            oddities.merge(std::mem::take(&mut trace.oddities));
            trace.oddities = oddities;
            Ok(trace)
        };
        Ok(Trace { trace: py.detach(load).map_err(failed)?, is_sample: false })
    }

    /// Number of tasks.
    fn __len__(&self) -> usize {
        self.trace.tasks.len()
    }

    /// What is odd about the files that were read, one line for each kind.
    #[getter]
    fn oddities(&self) -> Vec<String> {
        self.trace.oddities.lines().collect()
    }

    /// Run one policy: the name of a built-in one, or a function of a cell's view, which is a dict as in the decision log, that
    /// returns moves as pairs of a group's id and a node's. Further arguments are options of `vnuma-sim run`, with underscores.
    ///
    /// Returns what `vnuma-sim run --out` writes, as a dict. A function's result has the options of `fine`, and no seal.
    #[pyo3(signature = (policy, **options))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        policy: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !policy.is_callable() {
            let params = self.params(Some(policy.str()?.to_string()), options)?;
            let (trace, shape) = (&self.trace, &params);
            let result = py.detach(move || {
                let prepared = prepared(trace, shape)?;
                let outcome = prepared.run(shape, &|| {});
                Ok::<_, SimError>(RunResult::new(trace, shape, Shard::WHOLE, prepared.horizon(), outcome))
            });
            return Ok(pythonize::pythonize(py, &result.map_err(failed)?)?);
        }
        let params = self.params(None, options)?;
        let function = PythonPolicy::new(policy.clone().unbind());
        let (trace, shape, asked) = (&self.trace, &params, &function);
        let result = py.detach(move || {
            let prepared = prepared(trace, shape)?;
            let outcome = prepared.run_policy(shape, asked);
            Ok::<_, SimError>(RunResult::new(trace, shape, Shard::WHOLE, prepared.horizon(), outcome))
        });
        function.check()?;
        let mut value = serde_json::to_value(result.map_err(failed)?).map_err(failed)?;
        // It is not a result of the built-in policy that it looks like, and `merge` and `report` should not take it for one.
        if let Some(object) = value.as_object_mut() {
            object.remove("crc32");
            object.insert("format".to_owned(), "python policy".into());
        }
        Ok(pythonize::pythonize(py, &value)?)
    }

    /// Run several built-in policies with several seeds. Returns a list of dicts: policy, order, seed, and the figures.
    #[pyo3(signature = (policies, seeds = 1, **options))]
    fn compare<'py>(
        &self,
        py: Python<'py>,
        policies: Vec<String>,
        seeds: u32,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let params = policies.iter().map(|policy| self.params(Some(policy.clone()), options));
        let params = params.collect::<PyResult<Vec<Params>>>()?;
        let first = params.first().ok_or_else(|| failed("policies: the list is empty"))?.seed;
        let rows = PyList::empty(py);
        for seed in repeat::seeds(first, seeds) {
            let measured = py.detach(|| repeat::run(&self.trace, &params, seed, &|| {})).map_err(failed)?.measured;
            for (params, measured) in params.iter().zip(measured) {
                let mut row = serde_json::to_value(measured).map_err(failed)?;
                row["policy"] = serde_json::to_value(params.policy).map_err(failed)?;
                row["order"] = serde_json::to_value(params.order).map_err(failed)?;
                rows.append(pythonize::pythonize(py, &row)?)?;
            }
        }
        Ok(rows)
    }
}

impl Trace {
    /// The parameters of these options. An order may stand after the policy's name, as in `fine memory`.
    fn params(&self, policy: Option<String>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Params> {
        let mut all = Vec::new();
        if let Some(policy) = policy {
            let (name, order) = policy.split_once(' ').unwrap_or((&policy, ""));
            all.push(("policy".to_owned(), name.to_owned()));
            if !order.is_empty() {
                all.push(("order".to_owned(), order.to_owned()));
            }
        }
        for (name, value) in options.into_iter().flatten() {
            all.push((name.str()?.to_string().replace('_', "-"), value.str()?.to_string()));
        }
        let params = cli::params(&all, self.is_sample).map_err(failed)?;
        params.check_horizon(&self.trace).map_err(failed)?;
        Ok(params)
    }
}

fn prepared<'a>(trace: &'a Loaded, params: &'a Params) -> Result<Prepared<'a>, SimError> {
    let prepared = Prepared::new(trace, params, Shard::WHOLE);
    prepared.check_tasks()?;
    Ok(prepared)
}

/// Simulate a cluster under the policies of scx_vnuma, or under one of your own.
#[pymodule]
fn vnuma_sim(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<Trace>()
}
