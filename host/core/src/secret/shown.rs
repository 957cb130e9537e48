//! What of a call may be shown: the same values as ours, without secrets.

use std::error::Error;
use std::sync::Arc;
use std::sync::OnceLock;

use serde_json::Value;

use super::{MASK, Masker};
use crate::call::{AcceptedCall, Arguments, Call};
use crate::catalog::{CastReport, Tool};
use crate::effect::Effect;
use crate::tell::{CallError, Content, Output};

impl Masker {
    /// Masks what a tool answered.
    pub fn output_in(&self, output: &mut Output) {
        if self.is_empty() {
            return;
        }
        self.value_in(&mut output.value);
        output.notes.iter_mut().for_each(|note| self.text_in(note));
        for part in &mut output.content {
            match part {
                Content::Text { text } => self.text_in(text),
                Content::Json { value } => self.value_in(value),
                Content::Image { mime_type, data } | Content::Audio { mime_type, data } => {
                    self.text_in(mime_type);
                    self.text_in(data);
                }
                Content::Link { uri, name, description, mime_type } => {
                    self.text_in(uri);
                    self.text_in(name);
                    description.iter_mut().chain(mime_type).for_each(|text| self.text_in(text));
                }
            }
        }
    }

    /// Masks an error, also what is behind it.
    pub fn error_in(&self, error: &mut CallError) {
        if self.is_empty() {
            return;
        }
        self.text_in(&mut error.message);
        error.detail.iter_mut().for_each(|detail| self.value_in(detail));
        if let Some(source) = &error.source {
            let first: &(dyn Error + 'static) = &**source;
            let chain = std::iter::successors(Some(first), |error| (*error).source());
            let chain: Vec<String> = chain.map(ToString::to_string).collect();
            let debug = format!("{source:?}");
            if self.text(&debug) != debug || chain.iter().any(|text| self.text(text) != *text) {
                let masked: Box<dyn Error + Send + Sync> = self.text(&chain.join(": ")).into();
                error.source = Some(Arc::from(masked));
            }
        }
    }

    /// Masks what came of a call or an attempt.
    pub fn result_in(&self, result: &mut Result<Output, CallError>) {
        match result {
            Ok(output) => self.output_in(output),
            Err(error) => self.error_in(error),
        }
    }

    /// An effect as it is told and written down: the verb, and of the target all but the secret, stay.
    pub(crate) fn effect_in(&self, effect: &mut Effect) {
        self.text_in(&mut effect.target);
        effect.detail.iter_mut().for_each(|detail| self.text_in(detail));
    }

    /// A call as it came in; nothing where it can be shown as it is. Where its tool has arguments that are secret, none of the
    /// arguments are shown before they have been read.
    pub(crate) fn call(&self, call: &Call, tool: Option<&Tool>) -> Option<Call> {
        let hidden = tool.is_some_and(|tool| !tool.secret_arguments.is_empty());
        if self.is_empty() && !hidden {
            return None;
        }
        let mut shown = call.clone();
        self.text_in(&mut shown.tool);
        shown.idempotency_key.iter_mut().for_each(|key| self.text_in(key));
        match &mut shown.arguments {
            arguments if hidden => *arguments = Value::from(MASK).into(),
            Arguments::Text(text) => self.text_in(text),
            Arguments::Value(value) => self.value_in(value),
        }
        Some(shown)
    }

    /// An accepted call as it may be shown to anybody but its tool, to listeners, to the log, to a person who is asked; nothing
    /// where it can be shown as it is.
    #[must_use]
    pub fn accepted(&self, call: &AcceptedCall) -> Option<AcceptedCall> {
        if self.is_empty() && call.tool.secret_arguments.is_empty() {
            return None;
        }
        let mut arguments = call.tool.secret_arguments.replace(&call.arguments, |_| MASK.into()).into_owned();
        self.value_in(&mut arguments);
        let mut cast = call.cast.clone();
        self.cast_in(&mut cast);
        let mut made = self.call(&call.call, Some(&call.tool))?;
        made.arguments = arguments.clone().into();
        let (keyed, asks) = (call.keyed.clone(), call.asks.clone());
        Some(AcceptedCall { call: made, tool: call.tool.clone(), arguments, cast, keyed, asks, hash: OnceLock::new() })
    }

    fn cast_in(&self, cast: &mut CastReport) {
        for change in &mut cast.changes {
            self.text_in(&mut change.pointer);
            self.text_in(&mut change.from);
            self.text_in(&mut change.to);
        }
    }
}
