//! What goes wrong on order: which request, how often, and in what way.

use std::sync::{Mutex, PoisonError};

use super::server::Request;

/// One thing that goes wrong.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Fault {
    /// Only requests with this method; any when empty.
    #[serde(default)]
    pub method: String,
    /// Only requests whose path and query hold this text; any when empty.
    #[serde(default)]
    pub path: String,
    /// Requests that match and are still answered well.
    #[serde(default)]
    pub skip: u32,
    /// Requests that then go wrong.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens to them.
    pub trouble: Trouble,
}

/// In what way a request goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// It is refused in the words of the service and has no effect.
    Refuse {
        /// The status.
        status: u16,
        /// The reason that the service names.
        #[serde(default)]
        reason: String,
        /// The `Retry-After` header.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// A page of HTML with status 200, as a hotel's network sends it.
    Html,
    /// The connection closes before an answer; the request has no effect.
    Close,
    /// The request has its effect, but the answer never arrives.
    LoseReply,
    /// The connection breaks when so many bytes of the request's body have arrived.
    CutRequest {
        /// Bytes.
        after: u64,
    },
    /// The answer's body breaks off after so many bytes, though all were announced.
    CutReply {
        /// Bytes.
        after: u64,
    },
    /// The answer has this status, and a body that does not end.
    Endless {
        /// The status.
        status: u16,
    },
    /// The request has its effect, and the answer's body comes in four pieces, each so long after the one before.
    Slow {
        /// How long.
        milliseconds: u64,
    },
    /// Nothing happens for so long, then the connection closes.
    Stall {
        /// How long.
        milliseconds: u64,
    },
}

impl Fault {
    /// `trouble` for the next request with `method` whose path and query hold `path`.
    #[must_use]
    pub fn next(method: &str, path: &str, trouble: Trouble) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            skip: 0,
            times: 1,
            trouble,
        }
    }

    /// The same for `times` requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// The same after `skip` good answers.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn matches(&self, request: &Request) -> bool {
        let query: Vec<String> = request
            .query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let target = format!("{}?{}", request.path, query.join("&"));
        (self.method.is_empty() || request.method.as_str() == self.method)
            && target.contains(&self.path)
    }
}

fn once() -> u32 {
    1
}

/// The faults that are waiting, in the order they were added.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// What happens to `request`: the first fault that matches counts it and, when its turn has come, applies.
    pub(super) fn next(&self, request: &Request) -> Option<Trouble> {
        let mut faults = self.lock();
        let at = faults.iter().position(|fault| fault.matches(request))?;
        let fault = faults.get_mut(at)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let trouble = fault.trouble.clone();
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            faults.remove(at);
        }
        Some(trouble)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
