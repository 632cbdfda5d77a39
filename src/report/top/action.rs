//! What keys of `top` make the daemon do: after a question, and in a thread of its own, so that the screen never waits.

use std::sync::mpsc::{sync_channel, Receiver, TryRecvError};
use std::sync::Arc;

use anyhow::{anyhow, Context, Result};

use crate::linux::thread;

/// What a user of `top` asks the daemon to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopAction {
    /// Let work leave this node, and none come.
    Drain(u32),
    /// Take this node back into service.
    Undrain(u32),
    /// Begin or end a dry run.
    DryRun(bool),
}

impl TopAction {
    /// What is asked before it is done.
    pub(super) fn question(self) -> String {
        match self {
            TopAction::Drain(node) => {
                format!("drain node {node}: its work leaves, and none comes, also after a restart?")
            }
            TopAction::Undrain(node) => format!("take node {node} back into service?"),
            TopAction::DryRun(true) => "begin a dry run: plans are made and shown, but nothing is moved?".to_owned(),
            TopAction::DryRun(false) => "end the dry run: plans are carried out?".to_owned(),
        }
    }
}

/// Does an action, and returns what was done.
pub type Act = Arc<dyn Fn(TopAction) -> Result<String> + Send + Sync>;

/// Does actions, one after the other.
pub(super) struct Actor {
    act: Act,
    outcome: Option<Receiver<Result<String>>>,
}

impl Actor {
    pub fn new(act: Act) -> Self {
        Actor { act, outcome: None }
    }

    /// Begin to do something.
    pub fn start(&mut self, action: TopAction) -> Result<()> {
        const STACK_BYTES: usize = 512 << 10;

        let (sender, outcome) = sync_channel(1);
        let act = self.act.clone();
        // Nobody may be there anymore to hear of it.
        let work = move || drop(sender.send(act(action)));
        thread::spawn("action", STACK_BYTES, work).context("starting the thread that does it")?;
        self.outcome = Some(outcome);
        Ok(())
    }

    /// What became of it, once.
    pub fn outcome(&mut self) -> Option<Result<String>> {
        let outcome = match self.outcome.as_ref()?.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(anyhow!("it is not known whether it was done")),
        };
        self.outcome = None;
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_done_elsewhere_and_its_outcome_is_told_once() {
        let mut actor = Actor::new(Arc::new(|action| match action {
            TopAction::Drain(node) => Ok(format!("node {node} is drained")),
            _ => Err(anyhow!("must be done as root")),
        }));
        let mut outcome_of = |action| {
            actor.start(action).unwrap();
            loop {
                if let Some(outcome) = actor.outcome() {
                    assert!(actor.outcome().is_none());
                    return outcome.map_err(|err| err.to_string());
                }
                std::thread::yield_now();
            }
        };
        assert_eq!(outcome_of(TopAction::Drain(1)), Ok("node 1 is drained".to_owned()));
        assert_eq!(outcome_of(TopAction::DryRun(true)), Err("must be done as root".to_owned()));
    }

    #[test]
    fn a_question_fits_on_a_narrow_screen_with_its_answers() {
        for action in [TopAction::Drain(63), TopAction::Undrain(63), TopAction::DryRun(true), TopAction::DryRun(false)]
        {
            assert!(action.question().len() <= 74, "{}", action.question());
        }
    }
}
