//! What is a person asked, and what can be answered?
//!
//! A question has an id of its own and is bound, by a hash, to what was shown: the tool, the tools that call it, the component's
//! digest, its powers, the caller, and the arguments. An answer counts for that question and no other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::about::About;
use super::matcher::{Place, Test};
use super::rules::{Does, Rule, Subject};
use super::shown::{Shown, escaped, is_secret, masked_for, shown};
use crate::call::{AcceptedCall, Caller};
use crate::check::authorize::Pattern;
use crate::effect::{Effect, EffectClass, Intent};
use crate::secret::{MASK, Masker};

/// What a person is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its own id.
    pub id: String,
    /// What it is bound to, in hexadecimal: the answer to another question does not fit.
    pub hash: String,
    /// The call that waits.
    pub call: String,
    /// Who calls.
    pub caller: Caller,
    /// The tool.
    pub tool: String,
    /// The tools of the calls inside of which this one was made, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<String>,
    /// The digest of its component, or `native`.
    pub digest: String,
    /// What it can do to the world.
    pub effect: EffectClass,
    /// What it can reach, in words.
    pub powers: Vec<String>,
    /// What the running tool is about to do, where that is asked about and not the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<Effect>,
    /// How much there is to lose.
    pub risk: Risk,
    /// The arguments in canonical form, with secrets masked.
    pub arguments: Value,
    /// The hash of the arguments as they are, in hexadecimal.
    pub arguments_hash: String,
    /// What was cast or repaired before the arguments fitted, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub casts: Vec<String>,
    /// Why somebody is asked.
    pub why: String,
    /// What was wrong with an edit that somebody made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Whether it can be allowed for the session.
    pub session: bool,
    /// The rule that "always" writes down; none where it cannot be allowed for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always: Option<Rule>,
    /// When it was asked, in milliseconds since 1970.
    pub asked_at_ms: u64,
    /// When it expires, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// How much there is to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Nothing is changed.
    Low,
    /// Something granted may be changed.
    Medium,
    /// What is done may not be undone.
    High,
}

/// What somebody answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The answer.
    #[serde(flatten)]
    pub choice: Choice,
    /// Who answered.
    #[serde(default)]
    pub by: String,
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Choice {
    /// This call may run, once.
    Allow,
    /// The same call may run until the session ends.
    AllowSession,
    /// The same call may always run: a rule is written down.
    AllowAlways,
    /// It may run with these arguments.
    Edit {
        /// The arguments, as one object.
        arguments: Value,
    },
    /// It does not run, and this is its result.
    Answer {
        /// The result.
        value: Value,
    },
    /// It does not run.
    Deny {
        /// Why, for the one who called.
        #[serde(default)]
        reason: Option<String>,
    },
}

/// Why a call is asked about.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub(super) words: String,
    /// What was wrong with an edit before.
    pub(super) fault: Option<String>,
    /// Whether it is about what the session does, and not about the call alone.
    pub(super) doubt: bool,
    /// Whether an answer can be written down for ever.
    pub(super) lasting: bool,
}

impl Answer {
    /// The answer without what was written in it. Arguments and results are for the call that waits: who wrote them knows
    /// them, and which of them are secret is known to the tool's host alone.
    #[must_use]
    pub fn masked(&self) -> Self {
        let choice = match &self.choice {
            Choice::Edit { .. } => Choice::Edit { arguments: MASK.into() },
            Choice::Answer { .. } => Choice::Answer { value: MASK.into() },
            other => other.clone(),
        };
        Answer { choice, by: self.by.clone() }
    }
}

impl Question {
    pub(super) fn about(about: About<'_>, why: Why, timeout: Duration, masker: &Masker) -> Self {
        let (call, subject) = (about.call, about.subject());
        let arguments = masked_for(call, masker);
        let text = |text: String| masker.text(&text).into_owned();
        let whole = arguments == call.arguments && shown(&arguments).whole;
        let id = format!("ask_{:020x}", fastrand::u128(..1 << 80));
        let always = (whole && why.lasting && !why.doubt).then(|| always(&subject, &id)).flatten();
        let asked_at_ms = now_ms();
        Question {
            id,
            hash: hex(&about.binding(why.doubt)),
            call: call.call.id.to_string(),
            caller: call.call.caller.clone(),
            tool: subject.tool.to_owned(),
            inside: about.inside().into_iter().map(str::to_owned).collect(),
            digest: subject.digest.to_owned(),
            effect: subject.effect,
            powers: call.powers(&arguments).into_iter().map(text).collect(),
            doing: about.effect.map(|intent| intent.effect.clone()),
            risk: Risk::of(about.effect.map_or(subject.effect, |intent| intent.effect.class)),
            arguments,
            arguments_hash: arguments_hash(call),
            casts: casts(call).into_iter().map(text).collect(),
            why: text(why.words),
            fault: why.fault.map(text),
            session: call.call.caller.session.is_some() && about.effect.is_none_or(Intent::is_whole),
            always,
            asked_at_ms,
            expires_at_ms: asked_at_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The arguments as lines of text in which nothing is hidden.
    #[must_use]
    pub fn shown(&self) -> Shown {
        shown(&self.arguments)
    }

    /// The time until it expires, by the clock on the wall.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.expires_at_ms.saturating_sub(now_ms()))
    }
}

impl Risk {
    fn of(effect: EffectClass) -> Self {
        match effect {
            EffectClass::Pure | EffectClass::Reads => Risk::Low,
            EffectClass::Writes => Risk::Medium,
            EffectClass::Open | EffectClass::Destroys => Risk::High,
        }
    }

    /// The risk as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "high",
        }
    }
}

/// A rule that allows this very call, and nothing that differs from it; none where a settings file cannot hold it.
fn always(subject: &Subject<'_>, id: &str) -> Option<Rule> {
    let tool = Pattern::new(subject.tool).ok()?;
    let caller = literal(&subject.caller.id)?;
    let rule = Rule {
        name: Some(format!("always-{id}")),
        tools: vec![tool],
        digest: Some(subject.digest.to_owned()),
        callers: vec![caller],
        ..Rule::default()
    };
    Some(match subject.does {
        Some(intent) => Rule { does: Some(Does::exactly(intent)?), ..rule },
        None => {
            let (whole, arguments) = (Place::new("").ok()?, writable(subject.arguments)?);
            Rule { arguments: BTreeMap::from([(whole, Test::Equals(arguments))]), ..rule }
        }
    })
}

/// The pattern that only this text fits.
pub(super) fn literal(caller: &str) -> Option<Pattern> {
    let escaped: String = caller
        .chars()
        .flat_map(|c| {
            let special = matches!(c, '*' | '?' | '[' | ']' | '{' | '}');
            if special { vec!['[', c, ']'] } else { vec![c] }
        })
        .collect();
    Pattern::new(&escaped).ok().filter(|pattern| pattern.fits(caller))
}

/// The value without what is left out, if TOML can say it: it has no null in lists, and no number above 2^63.
fn writable(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Number(number) => (!number.is_u64() || number.is_i64()).then(|| value.clone()),
        Value::Array(items) => items.iter().map(writable).collect::<Option<_>>().map(Value::Array),
        Value::Object(members) => members
            .iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(key, member)| Some((key.clone(), writable(member)?)))
            .collect::<Option<_>>()
            .map(Value::Object),
        other => Some(other.clone()),
    }
}

/// What was done to the arguments before they fitted; of secrets only where.
fn casts(call: &AcceptedCall) -> Vec<String> {
    let repairs = call.cast.repairs.iter().map(|repair| format!("repaired: {}", repair.describe()));
    let changes = call.cast.changes.iter().map(|change| {
        let at = escaped(&change.pointer);
        if change.pointer.split('/').any(is_secret) || change.from.contains("://") {
            format!("`{at}` was cast")
        } else {
            format!("`{at}` was cast from {} to {}", escaped(&change.from), escaped(&change.to))
        }
    });
    let unlisted = call.cast.changes_unlisted;
    let more = (unlisted > 0).then(|| format!("and {unlisted} values more were cast"));
    repairs.chain(changes).chain(more).collect()
}

pub(super) fn arguments_hash(call: &AcceptedCall) -> String {
    hex(call.arguments_hash())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for four in [byte >> 4, byte & 15] {
            text.push(char::from(if four < 10 { b'0' + four } else { b'a' + four - 10 }));
        }
        text
    })
}

/// The time on the wall, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
