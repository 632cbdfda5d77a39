//! A synthetic trace of any size, drawn from distributions measured on real ones.
//!
//! Every job is drawn from the seed and its number alone, so a trace of any size can be written in parts, in any order, in
//! bounded memory.

mod calibration;
mod csv;
mod random;

use std::path::Path;

pub use csv::write_csv;
use rayon::prelude::*;

use self::calibration::{Tier, TIERS};
use self::random::Random;
use super::error::SimError;
use super::placement::{Placement, Shard};
use super::trace::{Input, ParquetWriter, TaskId, Trace, TracedTask, UsageWindow};

/// Traces begin ten minutes after time 0, as the published one does.
const START_US: i64 = 600 * SECOND_US;
const SECOND_US: i64 = 1_000_000;
/// Usage is reported every five minutes.
const WINDOW_US: i64 = 300 * SECOND_US;
/// Windows in memory at a time, about.
const PART_WINDOWS: usize = 4 << 20;
/// Tasks drawn side by side.
const BATCH_TASKS: usize = 256;

/// What to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// Machines whose tasks are drawn.
    pub machines: u32,
    /// Length of the trace.
    pub hours: f64,
    /// Seed of everything.
    pub seed: u64,
}

/// A job: tasks that arrive together and ask for the same.
#[derive(Clone, Copy)]
struct Job {
    id: u64,
    tasks: u32,
    /// None: it runs since before the trace.
    submit_us: Option<i64>,
    tier: &'static Tier,
    priority: u32,
    request_cpus: f64,
    request_memory: f64,
}

impl Synthetic {
    /// What a reader must know of the data.
    pub fn provenance(&self) -> String {
        format!(
            "Synthetic: all of it drawn by vnuma-sim {} synthesise --machines {} --hours {} --seed {}, from distributions \
             measured on Google's cluster-usage traces (Reiss, Wilkes, Hellerstein 2011; Wilkes et al. 2019), licensed \
             CC-BY 4.0.",
            env!("CARGO_PKG_VERSION"),
            self.machines,
            self.hours,
            self.seed
        )
    }

    fn end_us(&self) -> i64 {
        START_US + (self.hours * 3600.0 * 1e6) as i64
    }

    /// All jobs: those that run at the start, then those submitted later.
    fn jobs(&self) -> impl Iterator<Item = Job> + '_ {
        let running = (calibration::RUNNING_PER_MACHINE * f64::from(self.machines)).round() as u64;
        let submitted =
            (calibration::SUBMITTED_PER_MACHINE_HOUR * f64::from(self.machines) * self.hours).round() as u64;
        let later = self.jobs_of(1 << 40, submitted, false);
        self.jobs_of(1, running, true).chain(later)
    }

    fn jobs_of(&self, first_id: u64, nr_tasks: u64, running: bool) -> impl Iterator<Item = Job> + '_ {
        // No job is more than a twentieth of a small cluster's.
        let most = (nr_tasks / 20).max(1);
        let mut left = nr_tasks;
        (first_id..).map_while(move |id| {
            if left == 0 {
                return None;
            }
            let job = self.job(id, left.min(most), running);
            left -= u64::from(job.tasks);
            Some(job)
        })
    }

    fn job(&self, id: u64, most_tasks: u64, running: bool) -> Job {
        let mut random = Random::of(self.seed, id, 0);
        let size = calibration::TASKS_PER_JOB.draw(&mut random).round() as u64;
        let share = |tier: &Tier| if running { tier.running_share } else { tier.submitted_share };
        let tier =
            random.choose(TIERS.iter().map(|tier| (tier, share(tier)))).expect("BUG: there is at least one tier");
        let at = (random.share() * (self.end_us() - START_US) as f64) as i64;
        Job {
            id,
            tasks: size.clamp(1, most_tasks) as u32,
            submit_us: (!running).then_some(START_US + at),
            tier,
            priority: random.choose(tier.priorities.iter().copied()).unwrap_or(0),
            request_cpus: four_digits(tier.cpu_request.draw(&mut random)),
            request_memory: four_digits(tier.memory_request.draw(&mut random)),
        }
    }

    /// One task of a job, its windows appended to `windows`; none if it has no time to run.
    fn task(&self, job: &Job, index: u32, windows: &mut Vec<UsageWindow>) -> Option<TracedTask> {
        let mut random = Random::of(self.seed, job.id, u64::from(index) + 1);
        let end_us = self.end_us();
        let wait_us = (random.share() * 2e6) as i64;
        let schedule_us = job.submit_us.map_or(0, |submit_us| submit_us + wait_us);
        let duration_s =
            if job.submit_us.is_some() { job.tier.duration_s(&mut random) } else { job.tier.remaining_s(&mut random) };
        let first_us = schedule_us.max(START_US);
        let task_end_us = first_us.saturating_add((duration_s * 1e6) as i64 + SECOND_US);
        if first_us >= end_us {
            return None;
        }
        let first_window = windows.len();
        self.usage(job, first_us, task_end_us.min(end_us), &mut random, windows);
        Some(TracedTask {
            id: TaskId { job: job.id, index },
            submit_us: Some(job.submit_us.unwrap_or(0)),
            schedule_us: Some(schedule_us),
            end_us: (task_end_us < end_us).then_some(task_end_us),
            request_cpus: job.request_cpus,
            priority: job.priority,
            windows: first_window..windows.len(),
        })
    }

    fn usage(&self, job: &Job, first_us: i64, last_us: i64, random: &mut Random, windows: &mut Vec<UsageWindow>) {
        let tier = job.tier;
        let mean_cpus = job.request_cpus * tier.cpu_over_request.draw(random);
        let memory = job.request_memory * tier.memory_over_request.draw(random);
        let mai = (tier.mai_log.0 + tier.mai_log.1 * random.normal()).exp();
        let fresh = (1.0 - calibration::WINDOW_MEMORY.powi(2)).sqrt();
        let mut deviation = random.normal();
        let mut start_us = first_us;
        while start_us < last_us {
            // So that the mean over windows is the task's mean.
            let factor = (calibration::WINDOW_SD_LOG * deviation - calibration::WINDOW_SD_LOG.powi(2) / 2.0).exp();
            let cpu_mean = (mean_cpus * factor).min(1.0);
            windows.push(UsageWindow {
                start_us,
                cpu_mean: four_digits(cpu_mean) as f32,
                cpu_max: four_digits((cpu_mean * tier.max_over_mean_cpu.draw(random)).min(1.0)) as f32,
                memory: four_digits(memory) as f32,
                accesses_per_instruction: four_digits(mai) as f32,
            });
            deviation = calibration::WINDOW_MEMORY * deviation + fresh * random.normal();
            start_us = (start_us / WINDOW_US + 1) * WINDOW_US;
        }
    }

    /// Draw tasks side by side, in order, each with its windows; those that have no time to run are left out.
    fn draw(&self, batch: &[(Job, u32)]) -> Vec<(TracedTask, Vec<UsageWindow>)> {
        let draw = |(job, index): &(Job, u32)| {
            let mut windows = Vec::new();
            self.task(job, *index, &mut windows).map(|task| (task, windows))
        };
        batch.par_iter().filter_map(draw).collect()
    }

    /// Write the trace as one Parquet file, laid out for `shards` shards of `placement`. `done` is told of each shard.
    pub fn write_parquet(
        &self,
        path: &Path,
        placement: Placement,
        shards: u32,
        done: &dyn Fn(),
    ) -> Result<(), SimError> {
        let mut writer = ParquetWriter::create(path)?;
        let mut part = Trace { first_us: START_US, last_us: self.end_us(), ..Trace::default() };
        for index in 0..shards {
            let shard = Shard { index, of: shards };
            let names = self.jobs().flat_map(|job| (0..job.tasks).map(move |index| (job, index)));
            let mut names = names.filter(|&(job, index)| shard.has_cell(placement.cell(TaskId { job: job.id, index })));
            loop {
                let batch: Vec<(Job, u32)> = names.by_ref().take(BATCH_TASKS).collect();
                if batch.is_empty() {
                    break;
                }
                for (task, windows) in self.draw(&batch) {
                    let first = part.windows.len();
                    part.tasks.push(TracedTask { windows: first..first + windows.len(), ..task });
                    part.windows.extend(windows);
                    if part.windows.len() >= PART_WINDOWS {
                        flush(&mut writer, &mut part)?;
                    }
                }
            }
            flush(&mut writer, &mut part)?;
            done();
        }
        part.provenance = Some(self.provenance());
        let name = format!("--machines {} --hours {} --seed {}", self.machines, self.hours, self.seed);
        part.inputs.push(Input { table: "synthesised".to_owned(), name, sha256: String::new() });
        writer.finish(&part)
    }
}

fn flush(writer: &mut ParquetWriter<'_>, part: &mut Trace) -> Result<(), SimError> {
    writer.add(part, &part.tasks)?;
    part.tasks.clear();
    part.windows.clear();
    Ok(())
}

/// The published tables have four significant digits.
fn four_digits(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(synthetic: Synthetic) -> (Vec<TracedTask>, Vec<UsageWindow>) {
        let mut windows = Vec::new();
        let tasks = synthetic
            .jobs()
            .flat_map(|job| (0..job.tasks).map(|index| synthetic.task(&job, index, &mut windows)).collect::<Vec<_>>());
        (tasks.flatten().collect(), windows)
    }

    #[test]
    fn a_trace_has_as_many_tasks_as_were_measured() {
        let (tasks, _) = tasks(Synthetic { machines: 4000, hours: 1.0, seed: 1 });
        let wanted = 4000.0 * (10.648 + 2.4933);
        assert!((tasks.len() as f64 / wanted - 1.0).abs() < 0.01, "{} tasks, {wanted} wanted", tasks.len());
        let free = tasks.iter().filter(|task| task.priority < 2).count() as f64 / tasks.len() as f64;
        // Jobs are large, so shares of tasks scatter around 0.41.
        assert!((0.3..0.55).contains(&free), "{free} of the tasks are free");
    }

    #[test]
    fn machines_are_used_about_a_third() {
        let synthetic = Synthetic { machines: 2000, hours: 1.0, seed: 2 };
        let (_, windows) = tasks(synthetic);
        let at_us = START_US + 1800 * SECOND_US;
        let now = windows.iter().filter(|window| window.start_us <= at_us && at_us < window.start_us + WINDOW_US);
        let used: f64 = now.map(|window| f64::from(window.cpu_mean)).sum();
        let utilisation = used / (2000.0 * 0.5);
        assert!((0.2..0.5).contains(&utilisation), "{utilisation}");
    }

    #[test]
    fn numbers_have_four_digits() {
        assert_eq!(four_digits(0.012_345_6), 0.01235);
        assert_eq!(four_digits(0.0), 0.0);
    }
}
