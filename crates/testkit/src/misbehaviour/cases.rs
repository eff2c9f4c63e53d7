//! The troubles, and what is right to make of each.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use larder_destination::Operation::{CreateFolder, Delete, Get, List, Put};
use larder_destination::{Error, ErrorKind, LONGEST_WAIT, Operation, RetryClass};

use super::{Bench, Effect};
use crate::simulators::Trouble;

/// One trouble for one verb.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    verb: Operation,
    what: What,
    name: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// No trouble: the dialect itself is tried.
    Good,
    /// Refused with this status at every attempt.
    Refused(u16),
    /// Refused once with this status.
    RefusedOnce(u16),
    /// Refused at every attempt in the service's own words for this kind of error.
    Says(&'static ErrorKind),
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
    /// The answer comes with pauses that are shorter than the time-outs, and longer together.
    Slow,
    /// Nothing comes.
    Stalled,
    /// The server is well, and the content to send breaks off.
    ShortSource,
    /// The answer, good or bad, does not end.
    EndlessAnswer,
    EndlessRefusal,
    /// A page for people instead of an answer.
    Html,
    /// The same page again, two in turn, ever new ones without files.
    RepeatedPage,
    PagesInACircle,
    EndlessPages,
    /// Ever new ones, and the listing is given up.
    PagesGivenUp,
    /// The server sends the secrets back with this status.
    Echo(u16),
}

/// What can happen, its name, and the verbs that it can happen to. `cargo xtask contract` reads it.
const TROUBLES: &[(What, &str, &[Operation])] = &[
    (What::Good, "good answer", VERBS),
    (What::Refused(401), "401", VERBS),
    (What::Refused(403), "403", VERBS),
    (What::Refused(404), "404", VERBS),
    (What::Refused(409), "409", VERBS),
    (What::Refused(429), "429", VERBS),
    (What::Refused(500), "500", VERBS),
    (What::Refused(503), "503", VERBS),
    (What::RefusedOnce(500), "500 once", VERBS),
    (What::Says(&ErrorKind::Archived), "archived", &[Get]),
    (What::Says(&ErrorKind::Quota), "full", &[Put]),
    (What::Says(&ErrorKind::Locked), "locked", &[Delete]),
    (What::Says(&ErrorKind::Denied), "denied", &[CreateFolder]),
    (
        What::Says(&ErrorKind::Exists),
        "taken by another",
        &[CreateFolder],
    ),
    (What::Busy, "429 with a wait", VERBS),
    (What::BusyForYears, "429 with a wait of years", VERBS),
    (What::ClosedOnce, "closed once", VERBS),
    (What::Closed, "closed", VERBS),
    // What the other verbs answer with is empty, or need not be read.
    (What::CutOnce, "cut once", &[List, Get]),
    (What::Cut, "cut", &[List, Get]),
    (What::CutInside, "cut inside", &[List]),
    (What::Slow, "slow", &[List]),
    (What::Stalled, "stalled", VERBS),
    (What::ShortSource, "short source", &[Put]),
    (What::EndlessAnswer, "endless answer", &[List]),
    (What::EndlessRefusal, "endless refusal", VERBS),
    (What::Html, "page for people", &[List]),
    (What::RepeatedPage, "repeated page", &[List]),
    (What::PagesInACircle, "pages in a circle", &[List]),
    (What::EndlessPages, "endless pages", &[List]),
    (What::PagesGivenUp, "pages given up", &[List]),
    (What::Echo(400), "400 with the secrets", VERBS),
    (What::Echo(401), "401 with the secrets", VERBS),
    (What::Echo(403), "403 with the secrets", VERBS),
    (What::Echo(500), "500 with the secrets", VERBS),
];

/// The verbs that every destination has.
const VERBS: &[Operation] = &[List, Get, Put, Delete, CreateFolder];

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.verb, self.name)
    }
}

/// All cases: each trouble with each verb that it can happen to.
pub(super) fn all() -> Vec<Case> {
    let of_each = TROUBLES.iter().copied().flat_map(|(what, name, verbs)| {
        let case = move |verb: &Operation| Case {
            verb: *verb,
            what,
            name,
        };
        verbs.iter().map(case)
    });
    of_each.collect()
}

impl Case {
    /// Runs the case.
    pub(super) async fn run(self, bench: &Bench) -> Result<(), String> {
        if let Some(pages) = self.pages() {
            if bench.order.dialect.page.is_none() {
                return Ok(());
            }
            bench.order(self.verb, usize::MAX, Effect::Pages(pages));
        } else if let What::Says(kind) = self.what {
            let says = bench.order.dialect.says.iter();
            let mut says = says.filter(|(verb, says, ..)| *verb == self.verb && says == kind);
            let Some((_, _, status, code)) = says.next() else {
                return Err(format!(
                    "the dialect has no words for {kind:?}, nor a reason in skips"
                ));
            };
            bench.order(self.verb, usize::MAX, Effect::Says(*status, code));
        } else if let Some((times, trouble)) = self.trouble(bench) {
            bench.order(self.verb, times, Effect::Trouble(trouble));
        }
        if self.what == What::PagesGivenUp {
            return give_up_pages(bench).await;
        }
        let begun = Instant::now();
        let outcome = match self.what {
            What::ShortSource => bench.put(Some(3)).await,
            _ => bench.call(self.verb).await,
        };
        let took = begun.elapsed();
        let asked = bench.server.journal().len();
        let applied = bench.applied();
        if self.what == What::ShortSource {
            // A provider that reads the content first asks nothing at all.
            if bench.puts() > 0 {
                return Err("it came to the server as a whole".to_owned());
            }
        } else if self.what != What::Good && applied == 0 {
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
            What::EndlessPages | What::PagesGivenUp => Some(0),
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
            What::Good
            | What::Says(_)
            | What::ShortSource
            | What::RepeatedPage
            | What::PagesInACircle
            | What::EndlessPages
            | What::PagesGivenUp => return None,
            What::Slow => (usize::MAX, Trouble::Slow { milliseconds: 500 }),
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
            What::Good
            | What::Busy
            | What::RefusedOnce(_)
            | What::ClosedOnce
            | What::CutOnce
            | What::Slow => true,
            // What is not there is as good as deleted, and a folder that exists is as good as created.
            What::Refused(404) => self.verb == Operation::Delete,
            What::Refused(409) => self.verb == Operation::CreateFolder,
            _ => false,
        };
        if !may_succeed {
            return Err(format!("it succeeded and gave {found:?}"));
        }
        if self.what == What::Slow && took < Duration::from_millis(1500) {
            return Err(format!("the answer took only {} ms", took.as_millis()));
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
            What::Good | What::Slow => return Err(format!("it failed: {error}")),
            What::Says(kind) => std::slice::from_ref(kind),
            What::ShortSource => &[ErrorKind::Other],
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
            What::RepeatedPage | What::PagesInACircle | What::EndlessPages | What::PagesGivenUp => {
                &[ErrorKind::Other]
            }
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

/// Pages are asked for as long as somebody reads, and no longer.
async fn give_up_pages(bench: &Bench) -> Result<(), String> {
    let moment = Duration::from_millis(200);
    let _ = tokio::time::timeout(moment, bench.store.list().next()).await;
    // A request may be on its way.
    tokio::time::sleep(moment).await;
    let asked = bench.applied();
    tokio::time::sleep(moment).await;
    match bench.applied() {
        0 => Err("its main request was never seen".to_owned()),
        now if now > asked => Err(format!(
            "{} pages are fetched that nobody reads",
            now - asked
        )),
        _ => Ok(()),
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
