//! How do those who ask write it? Calls and answers as the model providers write them, and as the host does itself; and the
//! definitions by which models know the tools.
//!
//! [`Dialect::read`] makes calls of what a model has sent, [`Dialect::answer`] and [`Dialect::answers`] write what came of them in
//! the words of the same dialect, or of another. Nothing runs here, and nothing is judged that the host judges itself:
//! arguments stay as they were written, and are repaired, cast and refused when their call is accepted, so that broken ones
//! fail their call alone.
//!
//! What is decided here, because a provider would otherwise refuse all answers for the sake of one:
//!
//! - **An id that stands twice.** The first call that has it runs; those behind it do not, and fail with `InvalidArguments`. Where
//!   answers find their calls by id (OpenAI, Anthropic), a provider takes one answer to an id: it is that of the first call,
//!   with a note for the model that the others did not run. Where they find them by their order (Gemini) or place (ours), each
//!   call has its own answer.
//! - **No id.** Such a call is answered by its order and its name where the dialect knows that (Gemini, ours), and elsewhere under
//!   an id that is made from its place and that no other call has.
//! - **Other parts** of a message (text, thoughts, tools that the provider runs itself, kinds of calls that are not the host's)
//!   are passed over and counted, never answered.
//! - **Alternatives and whole conversations.** A response with several choices, or a list with several messages, is refused as a
//!   whole: of alternatives only one is meant, and calls of earlier messages were answered before.
//! - **An answer that was cut off** by its length ends in a call that may not be whole. Where the provider sends arguments as a
//!   value, or nothing of their text has come yet, nobody can see that, so the last call of such an answer does not run.
//!
//! ```
//! use toolpost_core::dialect::{Bounds, Dialect};
//!
//! let message = r#"{"role": "assistant", "content": null, "tool_calls": [
//!     {"id": "call_1", "type": "function", "function": {"name": "text_echo", "arguments": "{\"text\": \"hi\"}"}}
//! ]}"#;
//! let dialect = Dialect::detect(message)?;
//! assert_eq!(dialect, Dialect::OpenAi);
//! let calls = dialect.read(message, &Bounds::default())?.calls;
//! assert_eq!(calls[0].tool, "text_echo");
//! # Ok::<(), toolpost_core::dialect::DialectError>(())
//! ```

// Whose words are these?
mod detect;

// From text to calls
mod asked;
mod gather;

// From outcomes to answers
mod words;

// The dialects
mod anthropic;
mod gemini;
mod openai;
mod ours;
mod responses;

// How models know the tools
pub mod definition;
mod size;
mod strict;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

pub use self::asked::{AskedCall, AskedId, Bounds, DialectError, PassedOver, Reading};
use self::gather::Gathering;
use crate::catalog::json::Raw;
use crate::tell::Outcome;

/// How calls and their answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The host's own: a JSON object on each line, `{"id": "1", "tool": "text_echo", "arguments": {"text": "hi"}}`.
    Ours,
    /// Chat Completions of OpenAI, which many others speak: `tool_calls` of a message.
    OpenAi,
    /// Responses of OpenAI: items of the type `function_call`.
    OpenAiResponses,
    /// Messages of Anthropic: blocks of the type `tool_use`.
    Anthropic,
    /// Gemini of Google: parts with a `functionCall`.
    Gemini,
}

impl Dialect {
    /// All dialects.
    pub const ALL: [Dialect; 5] =
        [Dialect::Ours, Dialect::OpenAi, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini];

    /// The name by which it is asked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Ours => "ours",
            Dialect::OpenAi => "openai",
            Dialect::OpenAiResponses => "openai-responses",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
        }
    }

    /// The dialect of a text.
    ///
    /// # Errors
    /// It is no JSON, or nothing in it shows whose it is.
    pub fn detect(text: &str) -> Result<Self, DialectError> {
        detect::detect(text)
    }

    /// The calls of a text: a whole response, the message in it, a list of calls, or one call; in our own dialect also one
    /// on each line.
    ///
    /// What is wrong with one call stands in that call, as [`AskedCall::refused`].
    ///
    /// # Errors
    /// The text as a whole cannot be read, is too long, or has too many calls.
    pub fn read(self, text: &str, bounds: &Bounds) -> Result<Reading, DialectError> {
        bounds.take(text)?;
        let mut gathering = Gathering::new(bounds);
        if self == Dialect::Ours {
            ours::read(text, &mut gathering)?;
            return Ok(gathering.reading(self));
        }
        let document = Raw::document(text)?;
        match self {
            Dialect::Ours => {}
            Dialect::OpenAi => openai::read(document, &mut gathering)?,
            Dialect::OpenAiResponses => responses::read(document, &mut gathering)?,
            Dialect::Anthropic => anthropic::read(document, &mut gathering)?,
            Dialect::Gemini => gemini::read(document, &mut gathering)?,
        }
        Ok(gathering.reading(self))
    }

    /// The answer to one call, by itself: a message, an item, a block or a part, or an object for a line of its own. Nothing for
    /// a call to whose id another call's answer goes.
    #[must_use]
    pub fn answer(self, asked: &AskedCall, outcome: &Outcome) -> Option<Value> {
        let by_id = matches!(self, Dialect::OpenAi | Dialect::OpenAiResponses | Dialect::Anthropic);
        if by_id && asked.repeats.is_some() {
            return None;
        }
        Some(match self {
            Dialect::Ours => ours::answer(asked, outcome),
            Dialect::OpenAi => openai::answer(asked, outcome),
            Dialect::OpenAiResponses => responses::answer(asked, outcome),
            Dialect::Anthropic => anthropic::answer(asked, outcome),
            Dialect::Gemini => gemini::answer(asked, outcome),
        })
    }

    /// The answers to all calls, in the order of the calls, as they go back to the provider: the messages, the items, or the
    /// one message that holds them all. Ours is a list of what stands on the lines.
    pub fn answers<'o>(self, answered: impl IntoIterator<Item = (&'o AskedCall, &'o Outcome)>) -> Value {
        let mut answered: Vec<_> = answered.into_iter().collect();
        answered.sort_by_key(|(asked, _)| asked.index);
        let answers = answered.into_iter().filter_map(|(asked, outcome)| self.answer(asked, outcome)).collect();
        match self {
            Dialect::Ours | Dialect::OpenAi | Dialect::OpenAiResponses => Value::Array(answers),
            Dialect::Anthropic => anthropic::message_of(answers),
            Dialect::Gemini => gemini::message_of(answers),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = DialectError;

    fn from_str(name: &str) -> Result<Self, DialectError> {
        let known = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
        known.ok_or_else(|| DialectError::unknown(name, Dialect::ALL.map(Dialect::name)))
    }
}
