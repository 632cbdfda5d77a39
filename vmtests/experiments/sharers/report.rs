//! The report: work and pages of each program under each arm, relative to the fair class in the same round.

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use clap::Args;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use vnuma_dsm::Record;

use super::record::{Arm, Program, Turn, TURNS_FILE};
use crate::bench::report::ratios::spread;
use crate::picture::{Area, NODE_COLOURS};

/// Tables and a picture of what programs that share memory did
#[derive(Args)]
pub struct Options {
    /// The folder with the records: turns.jsonl and dsm.json
    pub folder: PathBuf,
    /// Writes a picture
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Prints the tables, and draws the picture.
pub fn run(options: &Options) -> Result<()> {
    let run = Run::read(&options.folder)?;
    for program in Program::ALL {
        run.print(program);
    }
    if let Some(svg) = &options.svg {
        std::fs::write(svg, run.draw()?).with_context(|| format!("writing {}", svg.display()))?;
        println!("As a picture: {}", svg.display());
    }
    Ok(())
}

struct Run {
    page_cost_us: f64,
    turns: Vec<(Turn, Pages)>,
}

/// What a turn made travel, per second.
#[derive(Clone, Copy)]
pub struct Pages {
    /// Pages.
    pub moved: f64,
    /// Pages, and round trips for the right to write to a page.
    pub faults: f64,
}

/// The lowest value, the median and the highest.
type Spread = (f64, f64, f64);

/// The turns in a folder, with what they made travel.
pub fn turns(folder: &Path) -> Result<Vec<(Turn, Pages)>> {
    Ok(Run::read(folder)?.turns)
}

impl Run {
    fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let record: Record = serde_json::from_str(&read("dsm.json")?).context("reading dsm.json")?;
        let turn = |(nr, line): (usize, &str)| -> Result<(Turn, Pages)> {
            let turn: Turn = serde_json::from_str(line).with_context(|| format!("{TURNS_FILE}: line {}", nr + 1))?;
            let name = Turn::phase(turn.round, turn.program, turn.arm);
            let phase = record.phase(&name).with_context(|| format!("dsm.json has no phase {name:?}"))?;
            let (counts, lasted_s) = (&phase.span.counts, phase.to_s - phase.from_s);
            let pages =
                Pages { moved: counts.transfers() as f64 / lasted_s, faults: counts.faults() as f64 / lasted_s };
            Ok((turn, pages))
        };
        let turns = read(TURNS_FILE)?.lines().enumerate().map(turn).collect::<Result<Vec<_>>>()?;
        ensure!(!turns.is_empty(), "{TURNS_FILE} in {} is empty", folder.display());
        Ok(Run { page_cost_us: record.page_cost_ns as f64 / 1000.0, turns })
    }

    /// A value of an arm over the rounds.
    fn over_rounds(&self, program: Program, arm: Arm, value: impl Fn(&(Turn, Pages)) -> Option<f64>) -> Option<Spread> {
        let of_arm = self.turns.iter().filter(|(turn, _)| turn.program == program && turn.arm == arm);
        let values: Vec<f64> = of_arm.filter_map(value).collect();
        (!values.is_empty()).then(|| spread(values))
    }

    /// Work relative to the fair class's in the same round.
    fn work_ratio(&self, program: Program, arm: Arm) -> Option<Spread> {
        self.over_rounds(program, arm, |(turn, _)| {
            let is_base = |base: &Turn| base.round == turn.round && base.program == program && base.arm == Arm::Fair;
            let (base, _) = self.turns.iter().find(|(base, _)| is_base(base))?;
            Some(turn.work_per_s() / base.work_per_s()).filter(|ratio| ratio.is_finite())
        })
    }

    fn print(&self, program: Program) {
        if self.turns.iter().all(|(turn, _)| turn.program != program) {
            return;
        }
        println!("{}, a page costs {} us", program.label(), self.page_cost_us);
        println!(
            "    {:22} {:>22} {:>6} {:>10} {:>10} {:>12}",
            "", "work / fair class", "CPUs", "pages/s", "faults/s", "pages/unit"
        );
        for arm in Arm::ALL {
            let Some((_, per_s, _)) = self.over_rounds(program, arm, |(turn, _)| Some(turn.work_per_s())) else {
                continue;
            };
            let median = |value: fn(&(Turn, Pages)) -> f64| {
                self.over_rounds(program, arm, |turn| Some(value(turn))).map_or(f64::NAN, |(_, median, _)| median)
            };
            let ratio = self.work_ratio(program, arm).map_or("-".to_string(), |(lowest, median, highest)| {
                format!("{median:.2} ({lowest:.2} to {highest:.2})")
            });
            let (cpus, pages) = (median(|(turn, _)| turn.cpu_s / turn.lasted_s), median(|(_, pages)| pages.moved));
            let faults = median(|(_, pages)| pages.faults);
            println!(
                "    {:22} {ratio:>22} {cpus:>6.2} {pages:>10.0} {faults:>10.0} {:>12.2}",
                arm.label(),
                pages / per_s
            );
        }
    }

    fn draw(&self) -> Result<String> {
        const SIZE: (u32, u32) = (1100, 520);
        let programs: Vec<Program> =
            Program::ALL.into_iter().filter(|&program| self.work_ratio(program, Arm::Fair).is_some()).collect();
        ensure!(!programs.is_empty(), "there are no turns of the fair class to compare with");
        let mut svg = String::new();
        {
            let page = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            page.fill(&WHITE)?;
            self.draw_bars(&page, &programs)?;
            page.present()?;
        }
        Ok(svg)
    }

    /// A group of bars for each program, a bar for each arm.
    fn draw_bars(&self, area: &Area, programs: &[Program]) -> Result<()> {
        /// A group is 1 wide, of which this is its bars.
        const BARS_WIDTH: f64 = 0.84;
        let highest = programs.iter().flat_map(|&program| Arm::ALL.map(|arm| self.work_ratio(program, arm)));
        let highest = highest.flatten().map(|(_, _, highest)| highest).fold(1.0, f64::max);
        let caption = format!("Work done, as a multiple of the fair class's; a page costs {} us", self.page_cost_us);
        let mut chart = ChartBuilder::on(area)
            .caption(caption, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..programs.len() as f64, 0.0..highest * 1.25)?;
        let mesh = &mut chart.configure_mesh();
        mesh.disable_x_mesh().disable_x_axis().max_light_lines(1).draw()?;
        for (at, program) in programs.iter().enumerate() {
            let (x, y) = chart.plotting_area().map_coordinate(&(at as f64 + 0.5, 0.0));
            let centred = Pos::new(HPos::Center, VPos::Top);
            area.draw(&Text::new(program.label(), (x, y + 10), ("sans-serif", 15).into_text_style(area).pos(centred)))?;
        }
        chart.draw_series([PathElement::new([(0.0, 1.0), (programs.len() as f64, 1.0)], BLACK.mix(0.5))])?;
        let has_run = |arm: &Arm| programs.iter().any(|&program| self.work_ratio(program, *arm).is_some());
        // An arm has the same colour in every picture.
        let arms: Vec<(Arm, RGBColor)> =
            Arm::ALL.into_iter().zip(NODE_COLOURS).filter(|(arm, _)| has_run(arm)).collect();
        let width = BARS_WIDTH / arms.len() as f64;
        for (nr, (arm, colour)) in arms.into_iter().enumerate() {
            let ratios =
                programs.iter().enumerate().filter_map(|(at, &program)| Some((at, self.work_ratio(program, arm)?)));
            let ratios: Vec<(f64, Spread)> =
                ratios.map(|(at, ratio)| (at as f64 + (1.0 - BARS_WIDTH) / 2.0 + nr as f64 * width, ratio)).collect();
            let bars = ratios.iter().map(|&(from, (_, median, _))| {
                Rectangle::new([(from, 0.0), (from + width * 0.9, median)], colour.filled())
            });
            chart
                .draw_series(bars)?
                .label(arm.label())
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
            let lines = ratios.iter().map(|&(from, (lowest, _, highest))| {
                let middle = from + width * 0.45;
                PathElement::new([(middle, lowest), (middle, highest)], BLACK)
            });
            chart.draw_series(lines)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperMiddle)
            .background_style(WHITE.mix(0.9))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }
}
