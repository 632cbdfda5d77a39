//! `scx_vnuma top`: nodes, groups and decisions of the running daemon, on a terminal.
//!
//! It asks the daemon's statistics server, as `--monitor` and `explain` do, so the daemon only writes what it has anyway. What keys
//! make it do, the caller does.

mod action;
mod draw;
mod last_line;
mod state;
mod terminal;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use ratatui::crossterm::event::{Event, KeyEventKind};
use ratatui::DefaultTerminal;

pub use self::action::{Act, TopAction};

use self::action::Actor;
use self::state::{Answer, State};
use self::terminal::{Events, News};
use super::client::{Connection, NotRunning};
use super::server::{DECISIONS, GROUPS, LINKS, NR};
use super::{GroupReport, LinksReport, Metrics};

/// Decisions asked for.
const NR_DECISIONS: usize = 24;
/// Links change slowly, and there may be a thousand of them.
const LINKS_EVERY: Duration = Duration::from_secs(10);
/// After something was done, the daemon is asked again this much later: a round may show it by then.
const AFTER_ACTION: Duration = Duration::from_millis(600);
/// A signal to end, or the end of the terminal, is noticed after this long.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Show the running daemon, or wait for one, until the user quits, the terminal is gone, or `stopped` returns true. `act` does
/// what the user asks for and confirms.
pub fn top(interval: Duration, act: Act, stopped: impl Fn() -> bool) -> Result<()> {
    ensure!(
        io::stdin().is_terminal() && io::stdout().is_terminal(),
        "top needs a terminal; --monitor 2 prints the same figures line by line"
    );
    let mut source = Source::default();
    let mut state = State::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    match source.ask() {
        Err(err) if !err.is::<NotRunning>() => return Err(err),
        answer => state.take(answer),
    }
    let mut terminal = ratatui::try_init().context("setting up the terminal")?;
    let outcome = run(&mut terminal, &mut state, &mut source, &mut Actor::new(act), interval, stopped);
    ratatui::restore();
    outcome
}

fn run(
    terminal: &mut DefaultTerminal,
    state: &mut State,
    source: &mut Source,
    actor: &mut Actor,
    interval: Duration,
    stopped: impl Fn() -> bool,
) -> Result<()> {
    let events = Events::start()?;
    let mut due = Instant::now() + interval;
    while !stopped() && !state.has_quit() {
        terminal.draw(|frame| draw::draw(frame, state)).context("drawing on the terminal")?;
        // Drawn again only after news: a key, another size of the terminal, or an answer.
        while !stopped() {
            if let Some(action) = state.take_confirmed() {
                if let Err(err) = actor.start(action) {
                    state.note_outcome(Err(err));
                }
            }
            if let Some(outcome) = actor.outcome() {
                state.note_outcome(outcome);
                // The next answer shows what has changed.
                due = Instant::now() + AFTER_ACTION.min(interval);
                break;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                due = Instant::now() + interval;
                if !state.is_paused() {
                    state.take(source.ask());
                }
                break;
            }
            match events.wait(left.min(CHECK_EVERY))? {
                News::HungUp => return Ok(()),
                News::Nothing => continue,
                News::Event(Event::Key(key)) if key.kind != KeyEventKind::Release => state.press(key),
                News::Event(_) => {}
            }
            break;
        }
    }
    Ok(())
}

/// Asks the daemon, over one connection as long as it lasts.
#[derive(Default)]
struct Source {
    connection: Option<Connection>,
    links: LinksReport,
    links_at: Option<Instant>,
}

impl Source {
    fn ask(&mut self) -> Result<Answer> {
        let had_connection = self.connection.is_some();
        let mut answer = self.try_ask();
        if answer.is_err() && had_connection {
            // The daemon at the other end has ended. Another may have come, or none has, which the error should say.
            self.connection = None;
            answer = self.try_ask();
        }
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    fn try_ask(&mut self) -> Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open("top", "there is nothing to show")?),
        };
        let metrics: Metrics = connection.ask("top", &[], "statistics")?;
        let groups: Vec<GroupReport> = connection.ask(GROUPS, &[], "groups")?;
        let decisions: Vec<String> = connection.ask(DECISIONS, &[(NR, NR_DECISIONS.to_string())], "decisions")?;
        if self.links_at.is_none_or(|at| at.elapsed() >= LINKS_EVERY) {
            self.links = connection.ask(LINKS, &[], "links")?;
            self.links_at = Some(Instant::now());
        }
        Ok(Answer { metrics, groups, decisions, links: self.links.clone() })
    }
}
