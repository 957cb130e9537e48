//! The record of one call while it is under way. It ends with exactly one last word, also when the call is dropped.

use std::future::{Ready, ready};
use std::sync::Arc;

use futures_util::future::{BoxFuture, Either};
use tokio::time::Instant;

use super::truncate::Reader;
use super::{Artifacts, CallError, CallSpan, ErrorKind, Event, Outcome, Output, Report, Stage, Teller, Voice};
use crate::call::{AcceptedCall, Call, CallId};
use crate::catalog::Tool;
use crate::check::approve::Decision;
use crate::check::repeat::Remembered;
use crate::guard::cache::Fill;
use crate::guard::usage::Bill;
use crate::limits::Limits;

/// The end of a call: at once, or when all of its result is kept.
pub(crate) type End = Either<Ready<Outcome>, BoxFuture<'static, Outcome>>;

pub(crate) struct Trail {
    call: CallId,
    tool: String,
    started: Instant,
    told: bool,
    pub(crate) span: CallSpan,
    pub(crate) teller: Teller,
    pub(crate) report: Report,
    /// Where the session's memory waits for how the call ends.
    pub(crate) repeats: Option<Remembered>,
    /// Where it is written down what the call uses, once it may use something.
    pub(crate) bill: Option<Bill>,
    /// Where the cache waits for what the call comes to.
    pub(crate) fill: Option<Fill>,
    reader: Reader,
    /// Whether the tool around it reads the result, and so all of it: what is cut for people is no answer for a program.
    is_inside: bool,
}

impl Trail {
    /// `tool` is the one that is asked for, where there is one.
    pub(crate) fn start(
        call: &Call,
        tool: Option<&Arc<Tool>>,
        voice: Arc<Voice>,
        artifacts: Option<Arc<dyn Artifacts>>,
    ) -> Self {
        let shown = voice.secrets().masker().call(call, tool.map(|tool| &**tool));
        let call = shown.as_ref().unwrap_or(call);
        let span = CallSpan::start(call);
        let teller = span.within(|| Teller::start(call, voice));
        Trail {
            call: call.id.clone(),
            tool: call.tool.clone(),
            started: Instant::now(),
            told: false,
            span,
            teller,
            report: Report::default(),
            repeats: None,
            bill: None,
            fill: None,
            reader: Reader { bytes_max: Limits::default().reader_bytes_max, artifacts },
            is_inside: call.inside.is_some(),
        }
    }

    /// How a call ends for which nobody waits any more.
    pub(crate) fn gone() -> CallError {
        CallError::new(ErrorKind::Cancelled, Stage::Run, "the caller went away")
    }

    /// How a call ends that somebody has cancelled who waits for its outcome.
    pub(crate) fn cancelled() -> CallError {
        CallError::new(ErrorKind::Cancelled, Stage::Run, "the call was cancelled")
    }

    /// The arguments fit; said again where they were edited.
    pub(crate) fn accepted(&mut self, call: &AcceptedCall) {
        let shown = self.teller.masker().accepted(call);
        let call = shown.as_ref().unwrap_or(call);
        self.span.accepted(call);
        self.teller.tell(&Event::CallAccepted { call });
        self.report.cast = call.cast.clone();
        self.report.narrowed = call.tool.grants.narrowed_to(&call.arguments);
        self.reader.bytes_max = call.tool.limits.reader_bytes_max;
    }

    /// The call needs not run: an earlier one has come to this.
    pub(crate) fn cached(&mut self, output: Output) -> Output {
        self.report.cached = true;
        output
    }

    /// The call is over: what came of it is masked, remembered, kept whole, and then cut for its reader. A tool that called it
    /// gets all of it, up to what `limits.result` lets any tool answer.
    ///
    /// # Cancel safety
    /// Dropping the future is as if the caller had gone away before.
    pub(crate) fn end(mut self, mut result: Result<Output, CallError>) -> End {
        // The result of an attempt was masked already; an error of a check, or an answer that was stored long ago, was not.
        self.teller.masker().result_in(&mut result);
        if let (Some(fill), Ok(output)) = (self.fill.take(), &result) {
            let without_effect = self.report.effects.is_empty() && self.report.effects_unlisted == 0;
            fill.settle(without_effect.then_some(output));
        }
        let again = self.repeats.take().and_then(|repeats| repeats.end(&result));
        let errors = self.report.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut());
        errors.for_each(|error| self.reader.cut_error(error));
        if self.is_inside || self.reader.has_room_for(&result) {
            return Either::Left(ready(self.noted(result, again)));
        }
        // Boxed, because few calls need it, and calls inside of one another need little room.
        Either::Right(Box::pin(async move {
            self.report.truncated = self.reader.cut(&self.tool, &mut result).await;
            self.noted(result, again)
        }))
    }

    fn noted(&mut self, mut result: Result<Output, CallError>, again: Option<String>) -> Outcome {
        if let Ok(output) = &mut result {
            output.notes.extend(again);
        }
        self.last_word(result)
    }

    /// Tells and writes down what was decided.
    pub(crate) fn decided(&mut self, decision: Decision) {
        self.teller.tell(&Event::Decision { decision: &decision });
        self.report.decisions.push(decision);
    }

    fn last_word(&mut self, result: Result<Output, CallError>) -> Outcome {
        self.told = true;
        let mut report = std::mem::take(&mut self.report);
        report.time = self.started.elapsed();
        let output_bytes = result.as_ref().map_or(0, Output::bytes);
        report.usage = self.bill.take().map(|bill| bill.close(output_bytes)).unwrap_or_default();
        let outcome = Outcome { call: self.call.clone(), tool: std::mem::take(&mut self.tool), result, report };
        self.span.ended(&outcome);
        self.teller.tell(&Event::CallEnded { outcome: &outcome });
        outcome
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if !self.told {
            self.last_word(Err(Self::gone()));
        }
    }
}
