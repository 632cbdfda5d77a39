//! The HTML page: the setup, the results, and their limits.

use std::fmt::Write;

use anyhow::Result;
use scx_vnuma::html::{self, escape};

use super::data::{Figure, Run};
use super::prediction::Prediction;
use super::tables::{self, Table};
use super::{figures, heat};
use crate::experiments::colocation::load_map::nr_busy;
use crate::experiments::colocation::record::{Arm, Demand};

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
figure { margin: 0 0 1.5em; break-inside: avoid; } figure div { display: flex; flex-wrap: wrap; gap: 6px; }
figure svg { max-width: 100%; height: auto; } figcaption, p { max-width: 65em; } figcaption { color: #444; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.85em; margin: 0.5em 0 1.5em; }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
.limits { border-left: 4px solid #e69f00; padding-left: 1em; }
@media print { body { margin: 0; max-width: none; } }
";

/// The whole page.
pub fn html(run: &Run, predictions: &[Prediction]) -> Result<String> {
    let mut page = "<h1>Latency-critical hosts, best-effort guest</h1>\n".to_owned();
    introduction(&mut page, run);
    heading(&mut page, "What was measured");
    let rounds = format!("Medians of {} rounds; in brackets the lowest and the highest.", run.nr_rounds());
    paragraph(&mut page, "", &rounds);
    table(&mut page, &tables::trade(run));
    paragraph(
        &mut page,
        "",
        "The harvest is the CPU time of the guest's vCPUs, as a share of the CPU time that LC work leaves idle on all hosts when \
         it runs alone in the same round. In LC only it is what the idle guest uses; with scx_vnuma it includes the daemon and \
         its probes.",
    );
    table(&mut page, &tables::verdicts(run));
    table(&mut page, &tables::figures(run));
    heading(&mut page, "As ratios, round by round");
    table(&mut page, &tables::ratios(run, Arm::LcOnly));
    table(&mut page, &tables::ratios(run, Arm::Unbound));
    table(&mut page, &tables::ratios(run, Arm::Rebalance));
    heading(&mut page, "The same experiment as published");
    paragraph(
        &mut page,
        "",
        "Four hosts of 16 cores, a guest of 32 vCPUs, 32 memcached threads on each host. Shapes can be compared with what is \
         above, numbers can't.",
    );
    table(&mut page, &tables::published());
    add_figures(&mut page, run)?;
    simulator(&mut page, predictions);
    Ok(html::page("scx_vnuma: co-location", STYLE, &page))
}

fn introduction(page: &mut String, run: &Run) {
    let setup = &run.setup;
    let nr_hosts = setup.nr_hosts;
    let cpus = match setup.cpus_per_host {
        1 => "one CPU".to_string(),
        nr => format!("{nr} CPUs"),
    };
    let light = match nr_hosts {
        2 => ", and none to the other",
        _ => ", an eighth of that to another, and none to the rest",
    };
    let load = format!(
        "{nr_hosts} hosts run memcached, each on {cpus}, for as many clients as CPUs. A client sends a batch of writes every \
         {} ms (Gaussian, deviation {} ms): {} requests to a busy host, of which there are {} at a time{light}. A CPU answers \
         {:.0} requests/s. Which hosts are busy shifts every {} s.",
        setup.mean_ms, setup.deviation_ms, setup.batch, nr_busy(nr_hosts), setup.capacity_per_s, setup.phase_s
    );
    let work = match setup.demand {
        Demand::Node => "four processes make ECDSA signatures, together as many as one node's CPUs can",
        Demand::All => "two processes for each vCPU make as many ECDSA signatures as they can",
    };
    let work = format!(
        "In the guest, which has a vNUMA node on each host, {work}. The arms take turns in one boot of everything, and within a \
         round each sees the same load (seed {}).",
        setup.seed
    );
    paragraph(page, "", &load);
    paragraph(page, "", &work);
    paragraph(
        page,
        "",
        "A request's latency counts from when it was due, not from when it was sent; due times were fixed before the run. So \
         a server that falls behind can't hide requests by delaying the clients that send them (coordinated omission).",
    );
    paragraph(
        page,
        "limits",
        "What this can't show: all CPUs are emulated, on fewer real ones, so only ratios within this run mean something. Each \
         emulated CPU has a fixed share of a real one, so that hosts don't slow each other down unseen. The thesis's script starts a program for each task that it \
         binds; emulation makes that slower than it is on real CPUs, compared with everything else here. Memory is one \
         machine's: a move costs the guest no traffic between hosts.",
    );
}

fn add_figures(page: &mut String, run: &Run) -> Result<()> {
    let of_first = |arm: Arm| run.turns(arm).first().map(|turn| heat::draw(arm.label(), turn)).unwrap_or_default();
    figure(
        page,
        "The load (as figure 5-1 of the thesis)",
        &[of_first(Arm::LcOnly)],
        "How busy each host was with LC work alone in the first round: white is idle, dark is full.",
    );
    let latency =
        [Figure::LatencyMean, Figure::LatencyP95, Figure::LatencyP99, Figure::LatencyP999, Figure::RequestsPerS];
    let bars =
        |figures: &[Figure]| figures.iter().map(|&figure| figures::bars(run, figure)).collect::<Result<Vec<_>>>();
    figure(
        page,
        "What LC work suffers (as figure 5-2)",
        &bars(&latency)?,
        "Bars are medians over the rounds, lines go from the lowest to the highest.",
    );
    figure(
        page,
        "Latency second by second",
        &[figures::latency_over_time(run)?],
        "First round. BE work that stays on a busy host shows as long as it stays; work that leaves shows for as long as it \
         takes to leave. The axis is logarithmic.",
    );
    figure(
        page,
        "What the hosts' CPUs do (as figure 5-3)",
        &bars(&[Figure::Utilisation, Figure::Gini, Figure::SignsPerS, Figure::Harvest])?,
        "Utilisation is over all hosts; the Gini coefficient is 0 when all hosts are equally busy.",
    );
    let turns: Vec<String> = Arm::ALL.into_iter().filter(|&arm| arm != Arm::LcOnly).map(of_first).collect();
    figure(
        page,
        "Host by host",
        &turns,
        "How busy each host was in the first round, LC and BE work together. Rings mark the nodes that did BE \
         work in that second; a ring's area is the node's share of it.",
    );
    Ok(())
}

fn simulator(page: &mut String, predictions: &[Prediction]) {
    if predictions.is_empty() {
        return;
    }
    heading(page, "Simulated and measured");
    paragraph(
        page,
        "",
        "The simulator replays the daemon's decision log of each turn of coarse and fine under the same policy and guards (vnuma-sim replay \
         --follow): it takes from the log the CPU that others and fixed tasks used on each node in each round and the CPU that \
         the work wanted, and makes its own decisions where the work goes. Measured utilisation is the CPU time of the hosts' \
         servers and vCPUs. It does not simulate auto's limits yet, so auto's arms are left out.",
    );
    table(page, &tables::simulated(predictions));
    let far = predictions.iter().filter(|prediction| prediction.off_by().abs() > 10.0).count();
    let text = format!(
        "{far} of {} predictions of utilisation are off by more than 10 %. There are two reasons. The daemon knows LC's part \
         only from its sources: a probe reports the worse of two short spins, which is more than LC takes on average, and the \
         hosts' metrics count ticks, some of which an emulated CPU loses. It knows the work's part only as the time that ran in \
         the guest; a host also spends time on leaving and entering the guest, which is a lot in emulation.",
        predictions.len()
    );
    paragraph(page, "", &text);
}

fn figure(page: &mut String, title: &str, drawings: &[String], caption: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(
        page,
        "<figure><h2>{}</h2><div>{}</div><figcaption>{}</figcaption></figure>",
        escape(title),
        drawings.concat(),
        escape(caption)
    );
}

fn table(page: &mut String, table: &Table) {
    let row = |(at, cells): (usize, &Vec<String>)| {
        let tag = if at == 0 { "th" } else { "td" };
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = table.iter().enumerate().map(row).collect();
    let _ = writeln!(page, "<table>{rows}</table>");
}

fn heading(page: &mut String, text: &str) {
    let _ = writeln!(page, "<h2>{}</h2>", escape(text));
}

fn paragraph(page: &mut String, class: &str, text: &str) {
    let _ = writeln!(page, "<p class=\"{class}\">{}</p>", escape(text));
}

#[cfg(test)]
mod tests {
    use super::super::data::tests::run;
    use super::*;

    #[test]
    fn the_page_has_every_arm_and_no_outside_resource() {
        let page = html(&run(), &[]).unwrap();
        for arm in Arm::ALL {
            assert!(page.contains(arm.label()), "{}", arm.label());
        }
        assert!(page.contains("does not hold"));
        assert!(!page.contains("src=") && !page.contains("href="), "something would be fetched");
    }
}
