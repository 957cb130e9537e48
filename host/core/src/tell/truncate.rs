//! How much of a result does its reader get? All of it, or its beginning and its end, and a last line that says how much is
//! missing and how to get it.
//!
//! The whole result is kept first, as an artifact; only then is it cut. Text is cut between characters, pictures and sounds
//! are left out whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::artifact::{Artifacts, Whole, json_bytes};
use super::{CallError, Content, Output};

/// Stands where something was cut out.
const GAP: &str = "[...]";

/// The longest that keeping an artifact may take.
const KEEP_TIME_MAX: Duration = Duration::from_secs(10);

/// What was cut off a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Truncated {
    /// Its length, in bytes.
    pub bytes: u64,
    /// So much of it is shown.
    pub shown_bytes: u64,
    /// The artifact that holds all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
}

impl Truncated {
    /// What the reader is told.
    fn line(&self) -> String {
        let missing = self.bytes - self.shown_bytes;
        let how = match &self.artifact {
            Some(name) => format!("`toolpost artifact {name}` prints all of them"),
            None => "raise `limits.reader` to get all of them".into(),
        };
        format!("[{missing} of {} bytes are missing; {how}]", self.bytes)
    }
}

/// Who reads the result of a call: how much, and where the whole of it is kept.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) bytes_max: u64,
    pub(crate) artifacts: Option<Arc<dyn Artifacts>>,
}

impl Reader {
    /// Whether the reader gets all of a result.
    pub(crate) fn has_room_for(&self, result: &Result<Output, CallError>) -> bool {
        let most = self.bytes_max;
        match result {
            Ok(Output { value, content, .. }) if content.is_empty() => size(value, most) <= most,
            Ok(output) => {
                let mut left = most;
                let mut fits = |bytes: u64| left.checked_sub(bytes).map(|rest| left = rest).is_some();
                output.content.iter().all(|part| fits(part_size(part, most)))
            }
            Err(error) => {
                let fits = |detail: &Value| size(detail, most) <= most;
                error.message.len() as u64 <= most && error.detail.as_ref().is_none_or(fits)
            }
        }
    }

    /// Cuts a result that is too long, after all of it was kept.
    pub(crate) async fn cut(&self, tool: &str, result: &mut Result<Output, CallError>) -> Option<Truncated> {
        match result {
            Ok(output) => Some(self.cut_output(tool, output).await),
            Err(error) => {
                self.cut_message(error);
                let detail = error.detail.take_if(|detail| size(detail, self.bytes_max) > self.bytes_max)?;
                let mut output = Output { value: detail, ..Output::default() };
                let truncated = self.cut_output(tool, &mut output).await;
                error.detail = Some(output.value);
                Some(truncated)
            }
        }
    }

    /// Cuts an error that stands in a report, where nobody looks for all of it.
    pub(crate) fn cut_error(&self, error: &mut CallError) {
        self.cut_message(error);
        if let Some(detail) = error.detail.as_mut().filter(|detail| size(detail, self.bytes_max) > self.bytes_max) {
            *detail = cut_text(std::mem::take(detail), self.bytes_max).with_line(None);
        }
    }

    fn cut_message(&self, error: &mut CallError) {
        if error.message.len() as u64 > self.bytes_max {
            let message = cut_text(std::mem::take(&mut error.message).into(), self.bytes_max).with_line(None);
            error.message = message.as_str().unwrap_or_default().to_owned();
        }
    }

    async fn cut_output(&self, tool: &str, output: &mut Output) -> Truncated {
        let whole = Arc::new(std::mem::take(output));
        let artifact = self.keep(Whole::new(tool, whole.clone())).await;
        // Nobody else holds it any more, unless keeping it took too long.
        let whole = Arc::unwrap_or_clone(whole);
        output.notes = whole.notes;
        if !whole.content.is_empty() {
            let cut = Cut::of(whole.content.into(), self.bytes_max);
            let truncated = cut.truncated(artifact);
            output.value = truncated.line().into();
            output.content = cut.with_line_as_part(&truncated);
            return truncated;
        }
        if !whole.value.is_string() {
            output.notes.push("the result is JSON, and too long to be shown whole, so it is shown as a text".into());
        }
        let cut = cut_text(whole.value, self.bytes_max);
        let truncated = cut.truncated(artifact.clone());
        output.value = cut.with_line(artifact);
        truncated
    }

    /// Keeps all of it, where there is a place for it. Whoever keeps it says in the log why it cannot.
    async fn keep(&self, whole: Whole) -> Option<String> {
        timeout(KEEP_TIME_MAX, self.artifacts.as_ref()?.keep(whole)).await.ok()?.ok()
    }
}

/// A text, or a value as JSON, cut.
fn cut_text(value: Value, bytes_max: u64) -> Cut {
    let text = match value {
        Value::String(text) => text,
        value => value.to_string(),
    };
    Cut::of([Content::Text { text }].into(), bytes_max)
}

/// The beginning and the end of a result.
struct Cut {
    head: Vec<Content>,
    tail: VecDeque<Content>,
    bytes: u64,
    missing: u64,
}

impl Cut {
    /// Takes what fits, with the gap: half of it from the beginning, the other half from the end.
    fn of(parts: VecDeque<Content>, bytes_max: u64) -> Self {
        let mut rest: VecDeque<Content> = parts.into_iter().map(as_text).collect();
        let bytes = rest.iter().map(|part| part_size(part, u64::MAX)).sum();
        let (mut head, mut tail) = (Vec::new(), VecDeque::new());
        let left = bytes_max.saturating_sub(GAP.len() as u64 + 2);
        let mut half = left.div_ceil(2);
        while let Some(part) = take(&mut rest, half, End::First) {
            half -= part_size(&part, u64::MAX);
            head.push(part);
        }
        let mut half = left - (left.div_ceil(2) - half);
        while let Some(part) = take(&mut rest, half, End::Last) {
            half -= part_size(&part, u64::MAX);
            tail.push_front(part);
        }
        let missing = rest.iter().map(|part| part_size(part, u64::MAX)).sum();
        Cut { head, tail, bytes, missing }
    }

    fn truncated(&self, artifact: Option<String>) -> Truncated {
        Truncated { bytes: self.bytes, shown_bytes: self.bytes - self.missing, artifact }
    }

    /// As one text, with the last line.
    fn with_line(self, artifact: Option<String>) -> Value {
        let line = self.truncated(artifact).line();
        let text = |parts: &mut dyn Iterator<Item = Content>| -> String {
            parts.filter_map(|part| if let Content::Text { text } = part { Some(text) } else { None }).collect()
        };
        let (head, tail) = (text(&mut self.head.into_iter()), text(&mut self.tail.into_iter()));
        format!("{head}\n{GAP}\n{tail}\n{line}").into()
    }

    /// In parts, of which the last is the line.
    fn with_line_as_part(self, truncated: &Truncated) -> Vec<Content> {
        let said = |text: String| [Content::Text { text }];
        self.head.into_iter().chain(said(GAP.into())).chain(self.tail).chain(said(truncated.line())).collect()
    }
}

#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

/// Takes a part from one end: whole where it fits, and of a text as much as fits. Nothing where nothing fits.
fn take(rest: &mut VecDeque<Content>, left: u64, end: End) -> Option<Content> {
    let part = match end {
        End::First => rest.front_mut(),
        End::Last => rest.back_mut(),
    }?;
    if part_size(part, left) <= left {
        return match end {
            End::First => rest.pop_front(),
            End::Last => rest.pop_back(),
        };
    }
    let Content::Text { text } = part else { return None };
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let piece = match end {
        End::First => {
            let behind = text.split_off(text.floor_char_boundary(left));
            std::mem::replace(text, behind)
        }
        End::Last => text.split_off(text.ceil_char_boundary(text.len().saturating_sub(left))),
    };
    (!piece.is_empty()).then_some(Content::Text { text: piece })
}

/// JSON that is cut is a text.
fn as_text(part: Content) -> Content {
    match part {
        Content::Json { value } => Content::Text { text: value.to_string() },
        part => part,
    }
}

/// The length of a value as its reader gets it, counted no further than a little beyond `enough`.
fn size(value: &Value, enough: u64) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        value => json_bytes(value, enough),
    }
}

fn part_size(part: &Content, enough: u64) -> u64 {
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.len() as u64).sum();
    let or = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() as u64);
    match part {
        Content::Text { text } => text.len() as u64,
        Content::Json { value } => json_bytes(value, enough),
        Content::Image { mime_type, data } | Content::Audio { mime_type, data } => bytes(&[mime_type, data]),
        Content::Link { uri, name, description, mime_type } => {
            let named: u64 = bytes(&[uri, name]);
            named + or(description) + or(mime_type)
        }
    }
}
