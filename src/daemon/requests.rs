//! Requests to a daemon that runs: from signals and from `scx_vnuma reload`, `drain` and `undrain`.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

/// How long an answer is waited for. Rounds look for requests every quarter of a second.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a daemon is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Read the configuration file again.
    Reload,
    /// Read again which nodes are drained.
    Drained,
    /// Begin a dry run, or end it.
    DryRun(bool),
}

/// What was done, or why nothing was.
pub type Answer = Result<String, String>;

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked for.
    pub request: Request,
    /// Nobody may be waiting for it any more.
    pub answer: Option<Sender<Answer>>,
}

/// Asks a daemon, from any thread.
#[derive(Clone, Debug)]
pub struct Requests(Sender<Asked>);

impl Requests {
    /// Both ends.
    pub fn channel() -> (Requests, Receiver<Asked>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Requests(sender), receiver)
    }

    /// Ask without waiting for an answer, which goes to the log.
    pub fn post(&self, request: Request) {
        // Without a receiver the daemon is about to end.
        let _ = self.0.send(Asked { request, answer: None });
    }

    /// Ask and wait.
    pub fn ask(&self, request: Request) -> Answer {
        let (answer, answers) = crossbeam_channel::bounded(1);
        let sent = self.0.send(Asked { request, answer: Some(answer) });
        sent.map_err(|_| "scx_vnuma is about to end".to_string())?;
        let late = |_| "scx_vnuma is busy: it will do this when it can, and its log says so".to_string();
        answers.recv_timeout(PATIENCE).map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_gets_the_answer_and_a_signal_wants_none() {
        let (requests, asked) = Requests::channel();
        let asker = std::thread::spawn({
            let requests = requests.clone();
            move || requests.ask(Request::Reload)
        });
        let first = asked.recv().unwrap();
        assert_eq!(first.request, Request::Reload);
        first.answer.unwrap().send(Err("no".into())).unwrap();
        assert_eq!(asker.join().unwrap(), Err("no".into()));
        requests.post(Request::Drained);
        assert!(asked.recv().unwrap().answer.is_none());
        drop(asked);
        assert_eq!(requests.ask(Request::Reload), Err("scx_vnuma is about to end".into()));
    }
}
