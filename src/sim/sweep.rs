//! One option or several varied over their ranges, every combination run.

use std::str::FromStr;

use super::figures::Figures;
use super::params::Params;
use super::trace::Input;

/// Raised when a reader of older sweeps would misread newer ones.
pub const FORMAT: &str = "vnuma-sim sweep 1";

/// All points of a sweep.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SweepResult {
    /// [`FORMAT`].
    pub format: String,
    /// The simulator's version.
    pub version: String,
    /// The files read, with checksums.
    pub inputs: Vec<Input>,
    /// Where the data come from and which of them are synthetic, if the trace says so.
    pub provenance: Option<String>,
    /// What wasn't varied.
    pub base: Params,
    /// The options varied.
    pub varied: Vec<String>,
    /// Every combination under every policy.
    pub points: Vec<Point>,
}

/// One combination under one policy.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// The values of the varied options.
    pub values: Vec<String>,
    /// All parameters.
    pub parameters: Params,
    /// The figures.
    pub figures: Figures,
}

/// An option and the values it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Vary {
    /// The option, without dashes.
    pub option: String,
    /// Its values, as they would be written on the command line.
    pub values: Vec<String>,
}

/// Most values of one option: beyond, a step was mistyped.
const MAX_VALUES: usize = 10_000;

impl FromStr for Vary {
    type Err = String;

    /// `overcommit=0.5..1.4:0.1`, both ends included, or `order=memory,mai`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (option, values) = text.split_once('=').ok_or("write it as option=from..to:step or option=a,b,c")?;
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
        return Err(format!("{from}..{to}:{step} goes nowhere; a step is above 0 and the end is not below the start"));
    }
    // The end belongs to it, whatever rounding says.
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

/// Every combination of the options' values, the first option changing slowest.
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

    #[test]
    fn a_range_has_both_its_ends() {
        let vary: Vary = "overcommit=0.5..1.4:0.1".parse().unwrap();
        assert_eq!(vary.option, "overcommit");
        assert_eq!(vary.values.len(), 10);
        assert_eq!((vary.values[0].as_str(), vary.values[9].as_str()), ("0.5", "1.4"));
        assert_eq!("machines=700..900:50".parse::<Vary>().unwrap().values, ["700", "750", "800", "850", "900"]);
        assert_eq!("order=memory, mai".parse::<Vary>().unwrap().values, ["memory", "mai"]);
    }

    #[test]
    fn a_range_that_goes_nowhere_is_refused() {
        for text in ["a=1..0:1", "a=0..1:0", "a=0..1", "a", "a=0..x:1", "a=0..1e9:1e-9"] {
            assert!(text.parse::<Vary>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_options_give_their_product() {
        let vary = |text: &str| text.parse::<Vary>().unwrap();
        let combinations = combinations(&[vary("a=1,2"), vary("b=x,y")]);
        assert_eq!(combinations, [["1", "x"], ["1", "y"], ["2", "x"], ["2", "y"]]);
    }
}
