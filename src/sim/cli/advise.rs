//! `vnuma-sim advise`

use std::io::{BufReader, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::say::say;
use super::table::aligned;
use crate::decision_log::LogReader;
use crate::sim::advise::{advise, Advice, Judged, Verdict};
use crate::sim::trace;

/// Options of `advise`.
#[derive(Args)]
pub struct Advise {
    /// Decision log of the daemon, written with --log; plain or .gz
    log: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Advise {
    pub fn run(self) -> anyhow::Result<()> {
        let name = || self.log.display().to_string();
        let log = LogReader::new(BufReader::new(trace::open(&self.log)?)).with_context(name)?;
        let header = log.header.clone();
        let mut rounds = log.whole_rounds();
        let logged = rounds.by_ref().collect::<Result<Vec<_>, _>>().with_context(name)?;
        if let Some(line) = rounds.torn_line {
            say(format_args!("vnuma-sim: {}: line {line} is cut short and left out", self.log.display()));
        }
        let advice = advise(&header, &logged).with_context(name)?;
        let text = if self.json { serde_json::to_string_pretty(&advice)? + "\n" } else { text(&advice) };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

fn text(advice: &Advice) -> String {
    let head = ["settings", "work got", "more than the log's", "on busy nodes", "groups moved", "MiB", ""];
    let head = head.map(ToOwned::to_owned).to_vec();
    let table = aligned(&std::iter::once(head).chain(advice.settings.iter().map(row)).collect::<Vec<_>>());
    let Advice { rounds, seconds, policy, used_cpus, error_cpus, same_rounds, blind_rounds, .. } = advice;
    let wanted_cpus = advice.settings[0].wanted_cpus;
    let mut text = format!(
        "{rounds} rounds in {seconds:.0} s under {policy}: the work used {used_cpus:.2} CPU of {wanted_cpus:.2} that it wanted\n\n\
         {table}\n{}\n\nWhat this can't know:\n",
        conclusion(advice)
    );
    text += &format!(
        "- How others would have reacted. The first figure is for others that keep what they took in the log, the second for others \
         that share a\n  full node with the work by what each wants.\n\
         - How good the simulation is where the log has nothing to compare with. For the log's own settings it is {error_cpus:.2} CPU \
         off from what was\n  measured; smaller differences are called unclear.\n\
         - What the work would have wanted had it got more or less: it wants what it used and waited for in the log, also at other \
         times.\n"
    );
    if same_rounds < rounds {
        text += &format!(
            "- Some settings of the log: as far as it has them, they decide as it did in {same_rounds} of {rounds} rounds. --order, \
             --warning and\n  --threshold-ticks are taken to be the defaults.\n"
        );
    }
    if *blind_rounds > 0 {
        text += &format!("- What others took in {blind_rounds} rounds, in which that of a node was unknown.\n");
    }
    text + "- Another time than that of the log, shorter intervals, and other selectors.\n"
}

fn row(judged: &Judged) -> Vec<String> {
    let gain = judged.gain_cpus.map_or_else(String::new, |[least, most]| format!("{least:+.2} to {most:+.2}"));
    let verdict = match judged.verdict {
        Verdict::Own => "",
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Unclear => "unclear",
    };
    let [least, most] = judged.got_cpus;
    vec![
        judged.name.clone(),
        format!("{least:.2} to {most:.2} CPU"),
        gain,
        format!("{:.2} CPU", judged.pressed_cpus),
        judged.moved_groups.to_string(),
        format!("{:.1}", judged.moved_bytes / f64::from(1 << 20)),
        verdict.to_owned(),
    ]
}

/// What follows for an operator.
fn conclusion(advice: &Advice) -> String {
    let best = advice.best.map(|at| &advice.settings[at]);
    match best {
        Some(Judged { name, gain_cpus: Some([least, most]), .. }) => format!(
            "Try {name}: the work would have got {least:.2} to {most:.2} CPU more. Compare a log of that with this one."
        ),
        _ if advice.settings.iter().all(|judged| matches!(judged.verdict, Verdict::Own | Verdict::Unclear)) => {
            "This log tells no setting from the log's own. A longer one, with busy hosts in it, may.".to_owned()
        }
        _ => "Keep the log's settings: none of the others is better by more than this log can tell.".to_owned(),
    }
}
