//! The record of one call while it is under way. It ends with exactly one last word, also when the call is dropped.

use std::sync::Arc;

use tokio::time::Instant;

use super::{CallError, ErrorKind, Event, Outcome, Output, Report, Stage, Teller, Voice};
use crate::call::{Call, CallId};
use crate::check::approve::Decision;
use crate::check::repeat::Remembered;
use crate::guard::usage::Bill;

pub(crate) struct Trail {
    call: CallId,
    tool: String,
    started: Instant,
    told: bool,
    pub(crate) teller: Teller,
    pub(crate) report: Report,
    /// Where the session's memory waits for how the call ends.
    pub(crate) repeats: Option<Remembered>,
    /// Where it is written down what the call uses, once it may use something.
    pub(crate) bill: Option<Bill>,
}

impl Trail {
    pub(crate) fn start(call: &Call, voice: Arc<Voice>) -> Self {
        let teller = Teller::new(call.id.clone(), voice);
        teller.tell(&Event::CallStarted { call });
        Trail {
            call: call.id.clone(),
            tool: call.tool.clone(),
            started: Instant::now(),
            told: false,
            teller,
            report: Report::default(),
            repeats: None,
            bill: None,
        }
    }

    pub(crate) fn end(mut self, mut result: Result<Output, CallError>) -> Outcome {
        let again = self.repeats.take().and_then(|repeats| repeats.end(&result));
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
        self.teller.tell(&Event::CallEnded { outcome: &outcome });
        outcome
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if !self.told {
            let gone = CallError::new(ErrorKind::Cancelled, Stage::Run, "the caller went away");
            self.last_word(Err(gone));
        }
    }
}
