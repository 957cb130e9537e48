//! What came of a call, and what it took.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::error::{CallError, ErrorKind};
use super::truncate::Truncated;
use crate::call::CallId;
use crate::catalog::{CastReport, Lifetime};
use crate::check::approve::Decision;
use crate::effect::{EffectClass, EffectRecord};
use crate::guard::replay::LedgerReport;
use crate::guard::usage::Usage;

/// What came of a call. Every call has exactly one.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The call.
    pub call: CallId,
    /// The tool that was asked for.
    pub tool: String,
    /// What the tool answered, or why it did not.
    pub result: Result<Output, CallError>,
    /// What it took.
    pub report: Report,
}

impl Outcome {
    /// The kind of failure, if it failed.
    #[must_use]
    pub fn failed(&self) -> Option<ErrorKind> {
        self.result.as_ref().err().map(|error| error.kind)
    }

    /// What came of it in one word: `ok`, or the kind of failure.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.failed().map_or("ok", ErrorKind::name)
    }
}

/// What a tool answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The result as JSON; `null` for a tool without one.
    pub value: Value,
    /// The same in parts, where the tool answers with `content` of `toolpost:tool/types`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<Content>,
    /// What the host has to say of the result to the one who reads it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Output {
    /// The length of its value as JSON.
    pub(crate) fn bytes(&self) -> u64 {
        json_length(&self.value)
    }
}

/// The length of a value as JSON, without writing it anywhere.
pub(crate) fn json_length(value: &impl Serialize) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // A value can be written, and so can this count.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// A part of a rich result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Content {
    /// Text for the reader.
    Text {
        /// The text.
        text: String,
    },
    /// A JSON value.
    Json {
        /// The value.
        value: Value,
    },
    /// A picture.
    Image {
        /// The media type.
        mime_type: String,
        /// The bytes, in base64.
        data: String,
    },
    /// A sound.
    Audio {
        /// The media type.
        mime_type: String,
        /// The bytes, in base64.
        data: String,
    },
    /// A reference to something that is kept elsewhere.
    Link {
        /// Where it is.
        uri: String,
        /// A name to show for it.
        name: String,
        /// What it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// Its media type.
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
    },
}

/// What a call took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Time from the call to its outcome.
    #[serde(rename = "time_ms", serialize_with = "milliseconds")]
    pub time: Duration,
    /// Time that the call waited for a place.
    #[serde(rename = "waited_ms", serialize_with = "milliseconds")]
    pub waited: Duration,
    /// Time that it waited for its turn among the calls of its batch.
    #[serde(rename = "turn_ms", serialize_with = "milliseconds", skip_serializing_if = "Duration::is_zero")]
    pub turn: Duration,
    /// What was done to the arguments until they fitted.
    #[serde(skip_serializing_if = "CastReport::is_empty")]
    pub cast: CastReport,
    /// What of its tool's grants it could reach, where its arguments narrow them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub narrowed: Vec<String>,
    /// What rules and people decided about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// What the call used, as it stands on the accounts of its caller and session.
    #[serde(skip_serializing_if = "Usage::is_nothing")]
    pub usage: Usage,
    /// What the ledger had to do with it, where the call has an idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<LedgerReport>,
    /// The attempts, in order.
    pub attempts: Vec<AttemptReport>,
    /// What the call did to the world.
    pub effects: Vec<EffectRecord>,
    /// The calls that were made inside of it, by the tool itself. Each has a report of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<InnerCall>,
    /// Calls inside of it beyond those that could be listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub inside_unlisted: u64,
    /// Whether the result is that of an earlier call, which was kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// What was cut off the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
    /// Why it was not tried again, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_retried: Option<&'static str>,
    /// Effects beyond those that could be listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub effects_unlisted: u64,
}

impl Report {
    /// The fuel of all attempts.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.attempts.iter().fold(0, |sum, attempt| sum.saturating_add(attempt.fuel))
    }

    /// The most memory that an attempt held, in bytes.
    #[must_use]
    pub fn memory_bytes_peak(&self) -> u64 {
        self.attempts.iter().map(|attempt| attempt.memory_bytes_peak).max().unwrap_or(0)
    }
}

/// A call that was made inside of another one, as far as it came to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InnerCall {
    /// The call.
    pub call: CallId,
    /// Its tool.
    pub tool: String,
    /// Its effects that happened, or may have.
    pub effects: u64,
    /// How far into the world it went, with the calls inside of it; how far it may go, where it has not stopped.
    pub reach: EffectClass,
}

/// What one attempt took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AttemptReport {
    /// Its number; the first is 1.
    pub number: u32,
    /// Whether it was begun beside one that was slow.
    #[serde(skip_serializing_if = "is_false")]
    pub hedge: bool,
    /// Its time.
    #[serde(rename = "time_ms", serialize_with = "milliseconds")]
    pub time: Duration,
    /// The fuel that it used.
    pub fuel: u64,
    /// The most memory that it held, in bytes.
    pub memory_bytes_peak: u64,
    /// What it wrote to standard output.
    #[serde(skip_serializing_if = "Captured::is_empty")]
    pub stdout: Captured,
    /// What it wrote to standard error.
    #[serde(skip_serializing_if = "Captured::is_empty")]
    pub stderr: Captured,
    /// What it wrote to the log.
    #[serde(skip_serializing_if = "Captured::is_empty")]
    pub log: Captured,
    /// The instance that served it, where such ones are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceReport>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
}

/// An instance that outlives an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceReport {
    /// How long such ones live.
    pub lifetime: Lifetime,
    /// The calls that it served before this one; with none, it was made for this one.
    pub calls_before: u64,
    /// Why it serves no other call, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired: Option<&'static str>,
}

impl InstanceReport {
    /// The same in words.
    #[must_use]
    pub fn words(&self) -> String {
        let served = match self.calls_before {
            0 => "new".to_owned(),
            1 => "kept from 1 call before".to_owned(),
            many => format!("kept from {many} calls before"),
        };
        let retired = self.retired.map_or_else(String::new, |why| format!(", retired: {why}"));
        format!("{} instance, {served}{retired}", self.lifetime.name())
    }
}

/// Text that a tool wrote, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Captured {
    /// The beginning.
    pub text: String,
    /// The bytes behind it that were dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_bytes: u64,
}

impl Captured {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.dropped_bytes == 0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(said: &bool) -> bool {
    !said
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(crate) fn milliseconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((span.as_secs_f64() * 1e6).round() / 1e3)
}
