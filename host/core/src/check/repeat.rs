//! Does it go round in circles? An agent that makes the same call again and again, and gets the same result each time, is
//! told so; then a person is asked; then it is stopped. A call whose result changes is polling, and fine.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::call::{AcceptedCall, Call};
use crate::catalog::settings::number_within;
use crate::owners::{Owners, lock};
use crate::tell::{CallError, ErrorKind, Fault, Output, Stage};

/// The most calls of a session that settings may keep in mind, and the highest threshold.
const CALLS_MOST: u64 = 10_000;

/// The longest circle that is noticed: A-B-C-A-B-C.
const CIRCLE_MAX: usize = 3;

/// When repetition is told, and when it is stopped. A count is of the times in a row that a call was made with the same
/// result, the next one included. No count is above the next one, and the window holds them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct RepeatSettings {
    /// Calls of a session that are kept in mind, 1 to 10000. Default 30.
    #[serde(deserialize_with = "count")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub window: usize,
    /// From that time on the result says that it is the same again. Default 3.
    #[serde(deserialize_with = "count")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub warn: usize,
    /// From that time on a person is asked first; where none can be asked, the call is refused. Default 5.
    #[serde(deserialize_with = "count")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub ask: usize,
    /// From that time on the call is refused. Default 8.
    #[serde(deserialize_with = "count")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub refuse: usize,
    /// Calls of one session that may fail. Default 25.
    #[serde(deserialize_with = "count")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub failures: usize,
}

impl Default for RepeatSettings {
    fn default() -> Self {
        RepeatSettings { window: 30, warn: 3, ask: 5, refuse: 8, failures: 25 }
    }
}

impl<'de> Deserialize<'de> for RepeatSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let settings = RepeatSettings::deserialize(deserializer)?;
        settings.fit().map_err(D::Error::custom)?;
        Ok(settings)
    }
}

impl RepeatSettings {
    /// Whether every count can be reached.
    ///
    /// # Errors
    /// One never is, and what would help.
    fn fit(&self) -> Result<(), String> {
        let RepeatSettings { window, warn, ask, refuse, .. } = *self;
        if warn > ask {
            return Err(format!(
                "`warn` ({warn}) is above `ask` ({ask}): nobody would be told before; raise `ask`, or lower `warn`"
            ));
        }
        if ask > refuse {
            return Err(format!(
                "`ask` ({ask}) is above `refuse` ({refuse}): nobody would ever be asked; raise `refuse`, or set both to \
                 the same to have nobody asked"
            ));
        }
        if refuse > window {
            return Err(format!(
                "`refuse` ({refuse}) is above `window` ({window}): so many calls are not kept in mind; raise `window`"
            ));
        }
        Ok(())
    }
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number_within::<_, _, 1, CALLS_MOST>(deserializer).map(Option::unwrap_or_default)
}

pub(crate) type Hash = [u8; 32];

/// One call that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    call: Hash,
    result: Hash,
}

#[derive(Debug, Default)]
struct Session {
    /// The last calls, the latest first.
    seen: VecDeque<Seen>,
    failures: usize,
}

/// Where a call is.
#[derive(Clone, Copy, Debug)]
enum At {
    Begin,
    End,
}

/// A call that is to be remembered when it has ended. It is known by the arguments that will run; until it has some, it can
/// only fail, and that counts too: a session must not fail for ever by asking for tools that there are not.
#[derive(Debug)]
pub(crate) struct Remembered {
    settings: RepeatSettings,
    session: Arc<Mutex<Session>>,
    call: Option<Hash>,
}

/// The memory of what each session did last.
#[derive(Debug, Default)]
pub struct Repetition {
    settings: RepeatSettings,
    sessions: Arc<Owners<Session>>,
}

impl Repetition {
    /// A memory with these settings, with nothing in it.
    #[must_use]
    pub fn new(settings: RepeatSettings) -> Self {
        Repetition { settings, sessions: Arc::default() }
    }

    /// The same memory, judged by other settings.
    #[must_use]
    pub fn judging_by(&self, settings: RepeatSettings) -> Self {
        Repetition { settings, sessions: self.sessions.clone() }
    }

    /// The settings by which it judges.
    #[must_use]
    pub fn settings(&self) -> RepeatSettings {
        self.settings
    }

    /// A call begins. One without a session is not judged, nor is one that a tool makes: it is the agent that goes round in
    /// circles, and its own calls show that.
    ///
    /// # Errors
    /// [`ErrorKind::RepeatedCall`]: too many calls of the session have failed.
    pub(crate) fn begin(&self, call: &Call) -> Result<Option<Remembered>, CallError> {
        let Some(session) = call.caller.session.as_deref().filter(|_| call.inside.is_none()) else { return Ok(None) };
        let session = self.sessions.of(&call.caller.id, session);
        let failed = lock(&session).failures;
        if failed >= self.settings.failures {
            return Err(stop(format!("{failed} calls of this session have failed, and no more may")));
        }
        Ok(Some(Remembered { settings: self.settings, session, call: None }))
    }
}

impl Remembered {
    /// Judges the call before it runs, with the arguments that it would run with. Says why a person has to be asked first.
    ///
    /// # Errors
    /// [`ErrorKind::RepeatedCall`]: it was made too often.
    pub(crate) fn judge(&mut self, call: &AcceptedCall) -> Result<Option<String>, CallError> {
        let hash = hash(&[call.tool.key().as_bytes(), call.arguments_hash()]);
        self.call = Some(hash);
        let RepeatSettings { ask, refuse, .. } = self.settings;
        let times = lock(&self.session).times(hash, At::Begin);
        if times + 1 >= refuse {
            return Err(stop(again(times)));
        }
        Ok((times + 1 >= ask).then(|| again(times)))
    }

    /// Remembers how the call has ended. Says what the caller should be told, if it was the same again.
    pub(crate) fn end(self, result: &Result<Output, CallError>) -> Option<String> {
        let of_result = match result {
            Ok(output) => hash(&[b"ok", &text(&output.value)]),
            // What a policy refuses for now is no result, and asking again later is what it wants.
            Err(error) if error.kind.rule().fault == Fault::Policy => return None,
            // An earlier call has failed so, and this one asked only how it stands. The one that ran has failed.
            Err(error) if (error.kind, error.stage) == (ErrorKind::OutcomeUnknown, Stage::Guard) => return None,
            Err(error) => hash(&[b"err", error.kind.name().as_bytes(), error.message.as_bytes()]),
        };
        let RepeatSettings { window, warn, .. } = self.settings;
        let mut session = lock(&self.session);
        session.failures += usize::from(result.is_err());
        let call = self.call?;
        session.seen.push_front(Seen { call, result: of_result });
        session.seen.truncate(window);
        let times = session.times(call, At::End);
        (times >= warn).then(|| again(times))
    }
}

impl Session {
    /// How often the call was made in a row with the same result, alone or in a circle with others: up to now where it has
    /// just ended, or where it is about to be made again.
    fn times(&self, call: Hash, at: At) -> usize {
        let in_circle = |circle: usize| {
            let phase = match at {
                At::End => 0,
                At::Begin => circle - 1,
            };
            if self.seen.get(phase).is_none_or(|seen| seen.call != call) {
                return 0;
            }
            let again = self.seen.iter().zip(self.seen.iter().skip(circle)).take_while(|(late, early)| late == early);
            let in_circles = (again.count() + circle).min(self.seen.len());
            (in_circles - phase).div_ceil(circle)
        };
        (1..=CIRCLE_MAX).map(in_circle).max().unwrap_or(0)
    }
}

fn again(times: usize) -> String {
    format!("this call was made {times} times in a row, with the same result each time")
}

fn stop(why: String) -> CallError {
    CallError::new(ErrorKind::RepeatedCall, Stage::Check, why)
        .with_help("try something else, or say that you are stuck")
}

/// Canonical values have their keys in one order, so equal values have equal texts.
pub(crate) fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

pub(crate) fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
