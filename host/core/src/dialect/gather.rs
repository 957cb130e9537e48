//! From the parts of a message to calls: one place where ids, names and bounds are looked at, whatever the dialect.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Number;

use super::asked::{brief, refused};
use super::{AskedCall, AskedId, Bounds, Dialect, DialectError, PassedOver, Reading};
use crate::call::Arguments;
use crate::catalog::json::Raw;
use crate::tell::{CallError, ErrorKind};

/// The most kinds of parts that are told apart, and the longest name of one, in characters. More are counted as others.
const KINDS_MAX: usize = 32;
const KIND_CHARACTERS_MAX: usize = 40;
const OTHERS: &str = "others";

/// A call as it stands in a text.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) id: Option<Raw<'a>>,
    pub(super) name: Option<Raw<'a>>,
    pub(super) arguments: Option<Raw<'a>>,
    pub(super) key: Option<Raw<'a>>,
    /// What is wrong with it beside that.
    pub(super) fault: Option<String>,
}

impl Found<'_> {
    /// What should be a call, and cannot be read as one.
    pub(super) fn broken(why: impl Into<String>) -> Self {
        Found { fault: Some(why.into()), ..Found::default() }
    }
}

/// The calls of a text while it is read.
pub(super) struct Gathering<'a> {
    bounds: &'a Bounds,
    found: Vec<Found<'a>>,
    passed_over: Vec<PassedOver>,
    /// Whether the part before was a call.
    behind_call: bool,
    messages: usize,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(bounds: &'a Bounds) -> Self {
        Gathering { bounds, found: Vec::new(), passed_over: Vec::new(), behind_call: false, messages: 0 }
    }

    /// Takes a call.
    pub(super) fn call(&mut self, found: Found<'a>) -> Result<(), DialectError> {
        let most = self.bounds.calls_max;
        if self.found.len() >= most {
            return Err(DialectError::new(format!("it has more than {most} calls; make them in several batches")));
        }
        self.found.push(found);
        self.behind_call = true;
        Ok(())
    }

    /// Counts what is no call.
    pub(super) fn pass_over(&mut self, kind: &str) {
        self.behind_call = false;
        let kind: String = kind.chars().take(KIND_CHARACTERS_MAX).collect();
        let kind = if self.passed_over.len() < KINDS_MAX { brief(&kind) } else { OTHERS.into() };
        match self.passed_over.iter_mut().find(|other| other.kind == kind) {
            Some(known) => known.count += 1,
            None => self.passed_over.push(PassedOver { kind, count: 1 }),
        }
    }

    /// Begins a message. There is one in a text: of several, all but the last were answered, or only one is meant.
    pub(super) fn message(&mut self) -> Result<(), DialectError> {
        self.messages += 1;
        if self.messages > 1 {
            return Err(DialectError::new(
                "it has several messages or alternatives; give the one whose calls are to be made, alone",
            ));
        }
        Ok(())
    }

    /// Takes the end of a message that was cut off. If that is a call, it may not be whole.
    pub(super) fn cut_off(&mut self, reason: &str) {
        if let Some(last) = self.found.last_mut().filter(|_| self.behind_call) {
            last.fault.get_or_insert_with(|| {
                format!(
                    "the model's answer was cut off (`{}`), so this call may not be whole, and was not run; make it again",
                    brief(reason)
                )
            });
        }
    }

    /// All calls, each with its fault if it has one.
    pub(super) fn reading(self, dialect: Dialect) -> Reading {
        let bounds = self.bounds;
        let calls = self.found.into_iter().enumerate().map(|(index, found)| asked(index, found, bounds));
        let mut calls: Vec<AskedCall> = calls.collect();
        find_repeated(&mut calls);
        let taken: HashSet<String> = calls.iter().filter_map(|call| Some(call.id.as_ref()?.to_string())).collect();
        for call in &mut calls {
            call.answered_as = match &call.id {
                Some(id) => id.to_string(),
                None => made(call.index, &taken),
            };
        }
        Reading { dialect, calls, passed_over: self.passed_over }
    }
}

/// An error for what belongs behind calls that were answered.
pub(super) fn answered_already(kind: &str) -> DialectError {
    DialectError::new(format!(
        "it holds answers to calls already (`{kind}`); give the message whose calls are to be made, alone"
    ))
}

fn asked(index: usize, found: Found<'_>, bounds: &Bounds) -> AskedCall {
    let invalid = |why: String| refused(ErrorKind::InvalidArguments, why);
    let (id, of_id) = id_of(found.id, bounds);
    let (tool, of_name) = name_of(found.name);
    let (key, of_key) = match found.key.map(|key| key.string().filter(|key| !key.is_empty()).ok_or(key)) {
        Some(Err(raw)) => (None, Some(format!("its `key` is {}, and no text", brief(raw.text())))),
        key => (key.and_then(Result::ok).map(Cow::into_owned), None),
    };
    // What cannot be read at all has no name either, and that says less.
    let fault = found.fault.map(invalid).or(of_id.map(invalid)).or(of_name).or(of_key.map(invalid));
    AskedCall {
        index,
        id,
        tool,
        arguments: arguments_of(found.arguments),
        key,
        refused: fault,
        repeats: None,
        repeated: 0,
        answered_as: String::new(),
    }
}

/// The id, as it goes back whatever is wrong with it. An empty one is none.
fn id_of(raw: Option<Raw<'_>>, bounds: &Bounds) -> (Option<AskedId>, Option<String>) {
    let Some(raw) = raw else { return (None, None) };
    if let Some(text) = raw.string() {
        let (is, most) = (text.len(), bounds.id_bytes_max);
        let too_long = (is > most).then(|| format!("its id is {is} bytes long; at most {most} are allowed"));
        return ((is > 0).then(|| AskedId::Text(text.into_owned())), too_long);
    }
    let text = raw.text();
    match text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)) {
        Ok(number) => (Some(AskedId::Number(number)), None),
        Err(_) => (None, Some(format!("its id is {}, and neither a text nor a whole number", brief(text)))),
    }
}

fn name_of(raw: Option<Raw<'_>>) -> (String, Option<CallError>) {
    let unknown = |why: String| Some(refused(ErrorKind::UnknownTool, why));
    match raw.map(|raw| raw.string().filter(|name| !name.is_empty()).ok_or(raw)) {
        Some(Ok(name)) => (name.into_owned(), None),
        Some(Err(raw)) => (String::new(), unknown(format!("it names no tool, but {}", brief(raw.text())))),
        None => (String::new(), unknown("it names no tool".into())),
    }
}

/// The arguments as the host reads them: the text of a string, and all else as it stands there.
fn arguments_of(raw: Option<Raw<'_>>) -> Arguments {
    let Some(raw) = raw else { return Arguments::Text(String::new()) };
    Arguments::Text(raw.string().map_or_else(|| raw.text().to_owned(), Cow::into_owned))
}

/// Of calls with the same id the first one is meant: some services send a call again without its arguments, and some models
/// give one id to several calls. Whatever it is, no call may run that nobody would hear of.
fn find_repeated(calls: &mut [AskedCall]) {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut repeated: HashMap<usize, usize> = HashMap::new();
    for call in calls.iter_mut() {
        let Some(id) = call.id.as_ref().map(ToString::to_string) else { continue };
        let shown = brief(&id);
        let of = *first.entry(id).or_insert(call.index);
        if of != call.index {
            *repeated.entry(of).or_default() += 1;
            call.repeats = Some(of);
            let why = format!(
                "the id `{shown}` is that of an earlier call, so this one was not run; give each call an id of its own"
            );
            call.refused = Some(refused(ErrorKind::InvalidArguments, why));
        }
    }
    for (of, count) in repeated {
        if let Some(call) = calls.get_mut(of) {
            call.repeated = count;
        }
    }
}

/// An id for a call without one.
fn made(index: usize, taken: &HashSet<String>) -> String {
    let mut id = format!("call_{}", index + 1);
    while taken.contains(&id) {
        id.push('_');
    }
    id
}
