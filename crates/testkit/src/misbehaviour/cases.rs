//! The troubles, and what is right to make of each.

use std::fmt;
use std::time::{Duration, Instant};

use larder_destination::{Error, ErrorKind, LONGEST_WAIT, Operation, RetryClass};

use super::{Bench, Effect, VERBS};
use crate::simulators::Trouble;

/// One trouble for one verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    verb: Operation,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// No trouble: the dialect itself is tried.
    Good,
    /// Refused with this status at every attempt.
    Refused(u16),
    /// Refused once with this status.
    RefusedOnce(u16),
    /// Asked to wait a second, once.
    Busy,
    /// Asked to wait for 136 years.
    BusyForYears,
    /// The connection closes before the answer, once or always.
    ClosedOnce,
    Closed,
    /// The answer breaks off, once or always.
    CutOnce,
    Cut,
    /// The answer breaks off after its first words, always.
    CutInside,
    /// Nothing comes.
    Stalled,
    /// The answer, good or bad, does not end.
    EndlessAnswer,
    EndlessRefusal,
    /// A page for people instead of an answer.
    Html,
    /// The same page again, two in turn, ever new ones without files.
    RepeatedPage,
    PagesInACircle,
    EndlessPages,
    /// The server sends the secrets back with this status.
    Echo(u16),
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.verb)?;
        match self.what {
            What::Good => f.write_str("good answer"),
            What::Refused(status) => write!(f, "{status}"),
            What::RefusedOnce(status) => write!(f, "{status} once"),
            What::Busy => f.write_str("429 with a wait"),
            What::BusyForYears => f.write_str("429 with a wait of years"),
            What::ClosedOnce => f.write_str("closed once"),
            What::Closed => f.write_str("closed"),
            What::CutOnce => f.write_str("cut once"),
            What::Cut => f.write_str("cut"),
            What::CutInside => f.write_str("cut inside"),
            What::Stalled => f.write_str("stalled"),
            What::EndlessAnswer => f.write_str("endless answer"),
            What::EndlessRefusal => f.write_str("endless refusal"),
            What::Html => f.write_str("page for people"),
            What::RepeatedPage => f.write_str("repeated page"),
            What::PagesInACircle => f.write_str("pages in a circle"),
            What::EndlessPages => f.write_str("endless pages"),
            What::Echo(status) => write!(f, "{status} with the secrets"),
        }
    }
}

/// All cases: each verb with what can happen to it.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for verb in VERBS.iter().copied() {
        let mut whats = vec![
            What::Good,
            What::Refused(401),
            What::Refused(403),
            What::Refused(404),
            What::Refused(409),
            What::Refused(429),
            What::Refused(500),
            What::Refused(503),
            What::RefusedOnce(500),
            What::Busy,
            What::BusyForYears,
            What::ClosedOnce,
            What::Closed,
            What::Stalled,
            What::EndlessRefusal,
            What::Echo(400),
            What::Echo(401),
            What::Echo(403),
            What::Echo(500),
        ];
        // What the other verbs answer with is empty, or need not be read.
        if matches!(verb, Operation::List | Operation::Get) {
            whats.extend([What::CutOnce, What::Cut]);
        }
        if verb == Operation::List {
            whats.extend([
                What::CutInside,
                What::EndlessAnswer,
                What::Html,
                What::RepeatedPage,
                What::PagesInACircle,
                What::EndlessPages,
            ]);
        }
        cases.extend(whats.into_iter().map(|what| Case { verb, what }));
    }
    cases
}

impl Case {
    /// Runs the case.
    pub(super) async fn run(self, bench: &Bench) -> Result<(), String> {
        if let Some(pages) = self.pages() {
            if bench.order.dialect.page.is_none() {
                return Ok(());
            }
            bench.order(self.verb, usize::MAX, Effect::Pages(pages));
        } else if let Some((times, trouble)) = self.trouble(bench) {
            bench.order(self.verb, times, Effect::Trouble(trouble));
        }
        let begun = Instant::now();
        let outcome = bench.call(self.verb).await;
        let took = begun.elapsed();
        let asked = bench.server.journal().len();
        let applied = bench.applied();
        if self.what != What::Good && applied == 0 {
            return Err("its main request was never seen".to_owned());
        }
        if asked > MOST_REQUESTS && self.what != What::EndlessPages {
            return Err(format!("{asked} requests were sent"));
        }
        if took > LONGEST {
            return Err(format!("it took {} s", took.as_secs()));
        }
        match outcome {
            Ok(found) => self.check_success(&found, took),
            Err(error) => {
                self.check_error(bench, &error)?;
                check_secrets(bench, &error)
            }
        }
    }

    fn pages(self) -> Option<usize> {
        match self.what {
            What::RepeatedPage => Some(1),
            What::PagesInACircle => Some(2),
            What::EndlessPages => Some(0),
            _ => None,
        }
    }

    fn trouble(self, bench: &Bench) -> Option<(usize, Trouble)> {
        let refuse = |status, reason: &str, wait: Option<&str>| Trouble::Refuse {
            status,
            reason: reason.to_owned(),
            retry_after: wait.map(str::to_owned),
        };
        Some(match self.what {
            What::Good | What::RepeatedPage | What::PagesInACircle | What::EndlessPages => {
                return None;
            }
            What::Refused(status) => (usize::MAX, refuse(status, "no.", None)),
            What::RefusedOnce(status) => (1, refuse(status, "no.", None)),
            What::Busy => (1, refuse(429, "wait.", Some("1"))),
            What::BusyForYears => (usize::MAX, refuse(429, "wait.", Some("4294967295"))),
            What::ClosedOnce => (1, Trouble::Close),
            What::Closed => (usize::MAX, Trouble::Close),
            What::CutOnce => (1, Trouble::CutReply { after: 0 }),
            What::Cut => (usize::MAX, Trouble::CutReply { after: 0 }),
            What::CutInside => (usize::MAX, Trouble::CutReply { after: 30 }),
            What::Stalled => (
                usize::MAX,
                Trouble::Stall {
                    milliseconds: 60_000,
                },
            ),
            What::EndlessAnswer => (usize::MAX, Trouble::Endless { status: 200 }),
            What::EndlessRefusal => (usize::MAX, Trouble::Endless { status: 400 }),
            What::Html => (usize::MAX, Trouble::Html),
            What::Echo(status) => {
                let secrets = bench.order.dialect.secrets.join(" and ");
                let reason = format!("you sent {secrets}, which is not right");
                (usize::MAX, refuse(status, &reason, None))
            }
        })
    }

    /// A success must be a true one.
    fn check_success(self, found: &str, took: Duration) -> Result<(), String> {
        let may_succeed = match self.what {
            What::Good | What::Busy | What::RefusedOnce(_) | What::ClosedOnce | What::CutOnce => {
                true
            }
            // What is not there is as good as deleted, and a folder that exists is as good as created.
            What::Refused(404) => self.verb == Operation::Delete,
            What::Refused(409) => self.verb == Operation::CreateFolder,
            _ => false,
        };
        if !may_succeed {
            return Err("it succeeded".to_owned());
        }
        if self.what == What::Busy && took < Duration::from_secs(1) {
            return Err(format!("it waited only {} ms", took.as_millis()));
        }
        let expected = match self.verb {
            Operation::List => "a",
            Operation::Get => "x",
            _ => "",
        };
        if found != expected {
            return Err(format!("it gave {found:?} instead of {expected:?}"));
        }
        Ok(())
    }

    /// An error must be allowed, and of a kind that leads to the right help.
    fn check_error(self, bench: &Bench, error: &Error) -> Result<(), String> {
        let kind = error.kind();
        let kinds: &[ErrorKind] = match self.what {
            What::Good => return Err(format!("it failed: {error}")),
            // Requests that change nothing, or the same thing again, are tried again where that is sure to help.
            What::Busy | What::RefusedOnce(_) | What::ClosedOnce if self.verb != Operation::Put => {
                return Err(format!("it was not tried again: {error}"));
            }
            What::CutOnce if self.verb == Operation::List => {
                return Err(format!("it was not tried again: {error}"));
            }
            What::Refused(status) | What::RefusedOnce(status) | What::Echo(status) => {
                let mut also = bench.order.dialect.also.iter();
                if also.any(|(verb, of, also)| {
                    (*verb, *of) == (self.verb, status) && alike(also, kind)
                }) {
                    return Ok(());
                }
                usual(self.verb, status)
            }
            What::Busy => &[ErrorKind::Busy(None)],
            What::BusyForYears => match error.retry_class() {
                RetryClass::After(wait) if wait <= LONGEST_WAIT => return Ok(()),
                class => return Err(format!("it is to be repeated {class:?}: {error}")),
            },
            What::ClosedOnce | What::Closed | What::Stalled => &[ErrorKind::Network],
            What::CutOnce | What::Cut | What::CutInside => {
                &[ErrorKind::Network, ErrorKind::Corrupt]
            }
            // What cannot be read now may be readable the next time; what is too long, or has no end, will not be.
            What::Html => &[ErrorKind::Network],
            What::EndlessAnswer => &[ErrorKind::Network, ErrorKind::Other],
            What::RepeatedPage | What::PagesInACircle | What::EndlessPages => &[ErrorKind::Other],
            What::EndlessRefusal => usual(self.verb, 400),
        };
        if kinds.iter().any(|usual| alike(usual, kind)) {
            return Ok(());
        }
        Err(format!(
            "it failed with {kind:?} instead of {kinds:?}: {error}"
        ))
    }
}

/// The kinds that are right for a status, whatever the service.
fn usual(verb: Operation, status: u16) -> &'static [ErrorKind] {
    use ErrorKind::{
        Busy, Config, Denied, Exists, FolderMissing, Locked, Network, NotFound, Other, Quota,
        SignInNeeded, Unsupported,
    };
    match (status, verb) {
        (400, _) => &[Config, Other, Unsupported],
        (401, _) => &[SignInNeeded],
        (403, _) => &[Denied, SignInNeeded, Quota, Locked],
        (404, Operation::Get | Operation::Delete) => &[NotFound, FolderMissing],
        (404, Operation::CreateFolder) => &[NotFound, FolderMissing, Denied, Other],
        (404, _) => &[FolderMissing],
        (409, _) => &[Exists, FolderMissing, Locked, Busy(None), Network, Other],
        (429, _) => &[Busy(None)],
        (503, _) => &[Network, Busy(None)],
        _ => &[Network, Other],
    }
}

/// Equal but for the time that a busy server names.
fn alike(a: &ErrorKind, b: &ErrorKind) -> bool {
    matches!((a, b), (ErrorKind::Busy(_), ErrorKind::Busy(_))) || a == b
}

/// Looks for secrets in the sentence, in its causes, and in the form for people who look for faults.
fn check_secrets(bench: &Bench, error: &Error) -> Result<(), String> {
    let mut text = format!("{error}\n{error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        text.push_str(&format!("\n{found}\n{found:?}"));
        cause = found.source();
    }
    match bench
        .secrets()
        .iter()
        .find(|secret| text.contains(secret.as_str()))
    {
        Some(_) => Err(format!("a secret shows in: {error}")),
        None => Ok(()),
    }
}

/// One operation may not ask more often, whatever it is answered.
const MOST_REQUESTS: usize = 20;
const LONGEST: Duration = Duration::from_secs(20);
