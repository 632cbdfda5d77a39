//! Sweeps: options varied over their ranges, with runs for every combination. A comparison is one that varies nothing.

use std::path::Path;
use std::str::FromStr;

use super::error::SimError;
use super::params::Params;
use super::quantity::Quantity;
use super::repeat::Measured;
use super::result::{check_format, has_checksum, parse_json};
use super::spread::Spread;
use super::trace::Input;

/// Changed when a reader of older sweeps would misread newer ones.
pub const FORMAT: &str = "vnuma-sim sweep 2";
/// How [`FORMAT`] begins in all releases.
pub const NAME: &str = "vnuma-sim sweep";

/// The commands that write a sweep.
pub const WRITERS: &str = "`vnuma-sim compare`, `sweep` or `experiment`";

/// The result of a sweep or a comparison.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepResult {
    /// Equals [`FORMAT`].
    pub format: String,
    /// The simulator's version.
    pub version: String,
    /// The files that were read, with checksums.
    pub inputs: Vec<Input>,
    /// Where the data come from and which of them are synthetic, if the trace has this information.
    pub provenance: Option<String>,
    /// The parameters before the varied options are set.
    pub base: Params,
    /// The names of the varied options; none for a comparison.
    pub varied: Vec<String>,
    /// Label of the policy with which the others are compared.
    pub baseline: String,
    /// One point for each combination and policy.
    pub points: Vec<Point>,
    /// CRC-32 of the sweep without this field, as compact JSON; `None` until it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
}

impl SweepResult {
    /// Parse and check the text of the sweep at `path`.
    pub fn parse(path: &Path, text: &[u8]) -> Result<SweepResult, SimError> {
        let result: SweepResult = parse_json(path, text)?;
        check_format(path, &result.format, FORMAT)?;
        match has_checksum(result.crc32).and_then(|()| result.check()) {
            Ok(()) => Ok(result),
            Err(what) => {
                let command = if result.varied.is_empty() { "compare" } else { "sweep" };
                let what = format!("{what}; create it again with `vnuma-sim {command}` or `experiment`");
                Err(SimError::Format { path: path.into(), what })
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        for (nr, point) in self.points.iter().enumerate() {
            if point.values.len() != self.varied.len() {
                return Err(format!("point {nr} has {} values of {} options", point.values.len(), self.varied.len()));
            }
            if point.runs.is_empty() {
                return Err(format!("point {nr} has no run"));
            }
            point.runs.iter().try_for_each(Measured::check).map_err(|what| format!("point {nr}: {what}"))?;
        }
        match self.crc32.is_none_or(|crc32| crc32 == self.sum()) {
            true => Ok(()),
            false => Err("it is not as it was written: it was edited or damaged".to_owned()),
        }
    }

    /// The same with its checksum.
    pub fn sealed(self) -> SweepResult {
        SweepResult { crc32: Some(self.sum()), ..self }
    }

    fn sum(&self) -> u32 {
        let unsealed = SweepResult { crc32: None, ..self.clone() };
        crc32fast::hash(&serde_json::to_vec(&unsealed).expect("BUG: a sweep is plain data"))
    }

    /// The point with which another is compared: that of the baseline with the same values of the varied options; `None` if
    /// it is the point itself, or if there is none.
    pub fn baseline_of(&self, point: &Point) -> Option<&Point> {
        let is_baseline = |other: &&Point| other.values == point.values && other.label() == self.baseline;
        self.points.iter().find(is_baseline).filter(|_| point.label() != self.baseline)
    }
}

/// The runs of one combination under one policy.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// The values of the varied options, in their order.
    pub values: Vec<String>,
    /// All parameters of the run with the first seed.
    pub parameters: Params,
    /// What was measured with each seed.
    pub runs: Vec<Measured>,
}

impl Point {
    /// The policy's name in figures.
    pub fn label(&self) -> String {
        self.parameters.policy_label()
    }

    /// The values of a quantity, one for each seed; none if a run has no value.
    pub fn values_of(&self, quantity: &Quantity) -> Vec<f64> {
        self.runs.iter().map(quantity.of).collect::<Option<Vec<f64>>>().unwrap_or_default()
    }

    /// The spread of a quantity over the seeds.
    pub fn spread(&self, quantity: &Quantity) -> Option<Spread> {
        Spread::of(&self.values_of(quantity))
    }

    /// The spread of the differences to another point, seed by seed; `None` if its seeds are others.
    pub fn difference(&self, other: &Point, quantity: &Quantity) -> Option<Spread> {
        let seeds = |point: &Point| point.runs.iter().map(|run| run.seed).collect::<Vec<_>>();
        let same = seeds(self) == seeds(other);
        same.then(|| Spread::of_differences(&self.values_of(quantity), &other.values_of(quantity)))?
    }
}

/// An option and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Vary {
    /// Name of the option, without dashes.
    pub option: String,
    /// Values, as on the command line.
    pub values: Vec<String>,
}

/// Maximum number of values of one option: more means that the step was mistyped.
const MAX_VALUES: usize = 10_000;

impl FromStr for Vary {
    type Err = String;

    /// Parse `overcommit=0.5..1.4:0.1`, with both ends included, or `order=memory,mai`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (option, values) = text.split_once('=').ok_or("expected option=from..to:step or option=a,b,c")?;
        let values = match values.split_once("..") {
            Some((from, rest)) => range(from, rest)?,
            None => values.split(',').map(|value| value.trim().to_owned()).collect(),
        };
        Ok(Vary { option: option.trim().trim_start_matches('-').to_owned(), values })
    }
}

fn range(from: &str, rest: &str) -> Result<Vec<String>, String> {
    let (to, step) = rest.split_once(':').ok_or("a range needs a step: from..to:step")?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("'{text}' is not a number"));
    let (low, high, width) = (number(from)?, number(to)?, number(step)?);
    if !(width > 0.0 && high >= low && width.is_finite() && high.is_finite()) {
        return Err(format!(
            "{from}..{to}:{step} is not a range; the step must be above 0 and the end not below the start"
        ));
    }
    // The end is included despite rounding errors.
    let steps = ((high - low) / width + 1e-9).floor();
    if steps as usize >= MAX_VALUES {
        return Err(format!("{from}..{to}:{step} has more than {MAX_VALUES} values"));
    }
    let decimals = decimals(from).max(decimals(step));
    Ok((0..=steps as u32).map(|at| format!("{:.decimals$}", low + f64::from(at) * width)).collect())
}

fn decimals(number: &str) -> usize {
    number.trim().split_once('.').map_or(0, |(_, decimals)| decimals.len())
}

/// Every combination of the options' values. The first option changes slowest.
pub fn combinations(varies: &[Vary]) -> Vec<Vec<String>> {
    varies.iter().fold(vec![Vec::new()], |combinations, vary| {
        let longer = |combination: &Vec<String>| {
            let combination = combination.clone();
            vary.values.iter().map(move |value| [combination.as_slice(), std::slice::from_ref(value)].concat())
        };
        combinations.iter().flat_map(longer).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyName;
    use crate::sim::mutants::{self, Fate};
    use crate::sim::{repeat, sample};

    /// A comparison of two policies on the sample.
    fn comparison() -> SweepResult {
        let base = Params { machines: sample::MACHINES, interval_s: 3600.0, ..Params::default() };
        let trace = sample::load(&|_| true).unwrap();
        let policies = [PolicyName::NONE, PolicyName::COARSE].map(|policy| base.with_policy(policy, None));
        let measured = repeat::run(&trace, &policies, 1, &|| {}).unwrap().measured;
        let points = policies.into_iter().zip(measured);
        SweepResult {
            format: FORMAT.to_owned(),
            version: "0".to_owned(),
            inputs: Vec::new(),
            provenance: None,
            base,
            varied: Vec::new(),
            baseline: "none".to_owned(),
            points: points.map(|(parameters, run)| Point { values: Vec::new(), parameters, runs: vec![run] }).collect(),
            crc32: None,
        }
        .sealed()
    }

    fn read(bytes: &[u8]) -> Option<SweepResult> {
        SweepResult::parse(Path::new("mutant.json"), bytes).ok()
    }

    #[test]
    fn no_mutant_of_a_comparison_changes_unnoticed() {
        let good = comparison();
        let file = serde_json::to_vec(&good).unwrap();
        assert_eq!(read(&file).as_ref(), Some(&good));
        mutants::check(&[file], |_, bytes| match read(&bytes) {
            None => Fate::Refused,
            Some(found) if found == good => Fate::Same,
            Some(_) => Fate::Changed,
        });
    }

    #[test]
    fn a_comparison_is_refused_if_it_was_edited_or_has_no_checksum() {
        let good = comparison();
        let mut value = serde_json::to_value(&good).unwrap();
        value["points"][1]["runs"][0]["cpu_utilisation"] = 0.9.into();
        let read_error = |text: &[u8]| SweepResult::parse(Path::new("compare.json"), text).unwrap_err().to_string();
        let error = read_error(value.to_string().as_bytes());
        assert!(error.contains("edited or damaged; create it again with `vnuma-sim compare`"), "{error}");
        let text = serde_json::to_vec(&SweepResult { crc32: None, ..good }).unwrap();
        let error = read_error(&text);
        assert!(
            error.contains("compare.json") && error.contains("no checksum") && error.contains("`vnuma-sim compare`"),
            "{error}"
        );
        let varied = SweepResult { varied: vec!["cell".to_owned()], crc32: None, ..comparison() };
        let error = read_error(&serde_json::to_vec(&varied).unwrap());
        assert!(error.contains("`vnuma-sim sweep` or `experiment`"), "{error}");
    }

    #[test]
    fn a_range_includes_both_ends() {
        let vary: Vary = "overcommit=0.5..1.4:0.1".parse().unwrap();
        assert_eq!(vary.option, "overcommit");
        assert_eq!(vary.values.len(), 10);
        assert_eq!((vary.values[0].as_str(), vary.values[9].as_str()), ("0.5", "1.4"));
        assert_eq!("machines=700..900:50".parse::<Vary>().unwrap().values, ["700", "750", "800", "850", "900"]);
        assert_eq!("order=memory, mai".parse::<Vary>().unwrap().values, ["memory", "mai"]);
    }

    #[test]
    fn an_invalid_range_is_refused() {
        for text in ["a=1..0:1", "a=0..1:0", "a=0..1", "a", "a=0..x:1", "a=0..1e9:1e-9"] {
            assert!(text.parse::<Vary>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_options_give_all_combinations() {
        let vary = |text: &str| text.parse::<Vary>().unwrap();
        let combinations = combinations(&[vary("a=1,2"), vary("b=x,y")]);
        assert_eq!(combinations, [["1", "x"], ["1", "y"], ["2", "x"], ["2", "y"]]);
    }
}
