//! How much of a result its reader gets, and where the rest is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use serde_json::{Value, json};
use toolpost_core::catalog::settings::{Bytes, LimitSettings};
use toolpost_core::run::{Attempt, Runner};
use toolpost_core::tell::artifact::{InMemory, Whole};
use toolpost_core::tell::{ArtifactError, Truncated};
use toolpost_core::{
    Artifacts, Call, CallError, Catalog, Content, EffectClass, ErrorKind, Host, Native, Outcome, Output, Stage,
};

const LINE: &str = "` prints all of them]";

/// A tool that answers so.
struct Says(Result<Output, CallError>);

impl Runner for Says {
    fn run<'a>(&'a self, _: &'a Attempt) -> BoxFuture<'a, Result<Output, CallError>> {
        async { self.0.clone() }.boxed()
    }
}

fn host(says: Result<Output, CallError>, reader: u64) -> Host {
    let limits = LimitSettings { reader: Some(Bytes(reader)), ..LimitSettings::default() };
    let mut tool = Native::new("say", "").effect(EffectClass::Reads).limits(limits).run(|_| async { Ok(json!(null)) });
    tool.runner = Arc::new(Says(says));
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    Host::new(catalog)
}

async fn call(host: &Host) -> Outcome {
    host.call(Call::new("say", json!({}))).await
}

fn value(value: Value) -> Result<Output, CallError> {
    Ok(Output { value, ..Output::default() })
}

fn content(content: Vec<Content>) -> Result<Output, CallError> {
    Ok(Output { value: json!("the same in WIT"), content, ..Output::default() })
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

/// The result of a tool that says this, for a reader of so many bytes, with artifacts in memory.
async fn cut(says: Result<Output, CallError>, reader: u64) -> (Outcome, Arc<InMemory>) {
    let artifacts = Arc::new(InMemory::new(1 << 20));
    (call(&host(says, reader).with_artifacts(artifacts.clone())).await, artifacts)
}

#[tokio::test]
async fn store_first_then_cut_the_readers_view_the_cut_says_how_much_is_missing_and_where_the_rest_is() {
    let whole = format!("first {} last", "x".repeat(5_000));
    let (outcome, artifacts) = cut(value(json!(whole)), 1_024).await;
    let Truncated { bytes, shown_bytes, artifact } = outcome.report.truncated.unwrap();
    let name = artifact.unwrap();
    assert_eq!(artifacts.get(&name).unwrap()[..], *whole.as_bytes());
    let shown = outcome.result.unwrap().value;
    let (shown, line) = shown.as_str().unwrap().rsplit_once('\n').unwrap();
    assert!(shown.starts_with("first xx") && shown.contains("xx\n[...]\nxx") && shown.ends_with(" last"), "{shown}");
    assert_eq!((bytes, shown_bytes), (5_011, 1_017));
    assert_eq!(line, format!("[3994 of 5011 bytes are missing; `toolpost artifact {name}` prints all of them]"));
    assert_eq!(shown.len(), 1_024);
}

#[tokio::test]
async fn stored_once_streamed_to_disk_past_a_threshold() {
    /// Counts what it is asked to keep, and lets go of it.
    #[derive(Default)]
    struct Streamed(Mutex<Vec<u64>>);
    impl Artifacts for Streamed {
        fn keep(&self, whole: Whole) -> BoxFuture<'_, Result<String, ArtifactError>> {
            let mut sink = std::io::sink();
            whole.write(&mut sink).unwrap();
            self.0.lock().unwrap().push(whole.bytes());
            async { Ok("say-1.txt".into()) }.boxed()
        }
    }
    let kept = Arc::new(Streamed::default());
    let long = host(value(json!("é".repeat(500_000))), 2_048).with_artifacts(kept.clone());
    let outcome = call(&long).await;
    assert_eq!(*kept.0.lock().unwrap(), [1_000_000]);
    // What stays of the call is no longer than its reader wants it.
    assert!(format!("{outcome:?}").len() < 4_096);
    let short = host(value(json!("é".repeat(1_024))), 2_048).with_artifacts(kept.clone());
    assert_eq!(call(&short).await.report.truncated, None);
    assert_eq!(kept.0.lock().unwrap().len(), 1, "what fits is not kept");
}

#[tokio::test]
async fn cut_on_character_boundaries_a_panic_in_one_call_answers_that_call_with_internal_and_harms_no_other() {
    // At every limit some character is at the cut.
    for reader in 1_024..1_040 {
        let (outcome, _) = cut(value(json!("a€😀é".repeat(1_000))), reader).await;
        let shown = outcome.result.unwrap().value;
        assert!(!shown.as_str().unwrap().contains('\u{fffd}'));
    }
    let panics = Native::new("panics", "").effect(EffectClass::Reads).run(|_| async { panic!("at byte 200") });
    let mut catalog = host(value(json!("well")), 1_024).catalog();
    catalog.add(panics).unwrap();
    let host = Host::new(catalog);
    let (bad, good) = tokio::join!(host.call(Call::new("panics", json!({}))), call(&host));
    assert_eq!(bad.failed(), Some(ErrorKind::Internal));
    assert_eq!(good.result.unwrap().value, json!("well"));
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test]
async fn json_that_is_cut_becomes_a_text_and_a_note_says_so() {
    let whole = json!({"items": vec![7; 2_000]});
    let (outcome, artifacts) = cut(value(whole.clone()), 1_024).await;
    let output = outcome.result.unwrap();
    let shown = output.value.as_str().unwrap();
    assert!(shown.starts_with(r#"{"items":[7,7,"#) && shown.contains(",7]}\n["), "{shown}");
    assert_eq!(output.notes, ["the result is JSON, and too long to be shown whole, so it is shown as a text"]);
    let name = outcome.report.truncated.unwrap().artifact.unwrap();
    assert!(name.starts_with("say-") && name.ends_with(".json"), "{name}");
    assert_eq!(serde_json::from_slice::<Value>(&artifacts.get(&name).unwrap()).unwrap(), whole);
}

#[tokio::test]
async fn parts_are_cut_between_or_inside_of_texts_and_a_picture_is_whole_or_missing() {
    let image = Content::Image { mime_type: "image/png".into(), data: "A".repeat(4_000) };
    let parts = vec![text("begin"), image, text(&"x".repeat(900)), text("end")];
    let (outcome, artifacts) = cut(content(parts), 1_024).await;
    let output = outcome.result.unwrap();
    let Truncated { bytes, shown_bytes, artifact } = outcome.report.truncated.unwrap();
    assert_eq!((bytes, shown_bytes), (5 + 4_009 + 900 + 3, 5 + 900 + 3));
    assert_eq!(output.content[..2], [text("begin"), text("[...]")]);
    assert_eq!(output.content[2..4], [text(&"x".repeat(900)), text("end")]);
    let line = format!("[4009 of 4917 bytes are missing; `toolpost artifact {}{LINE}", artifact.clone().unwrap());
    assert_eq!((&output.content[4], &output.value), (&text(&line), &json!(line)));
    let kept: Vec<Value> = serde_json::from_slice(&artifacts.get(&artifact.unwrap()).unwrap()).unwrap();
    assert_eq!((kept.len(), &kept[1]["type"]), (4, &json!("image")));
}

#[tokio::test]
async fn without_a_place_for_artifacts_the_line_says_what_would_help() {
    let outcome = call(&host(value(json!("x".repeat(2_000))), 1_024)).await;
    let told = "\n[983 of 2000 bytes are missing; raise `limits.reader` to get all of them]";
    assert!(outcome.result.unwrap().value.as_str().unwrap().ends_with(told));
    assert_eq!(outcome.report.truncated.unwrap().artifact, None);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_fails_or_hangs_costs_the_artifact_and_not_the_result() {
    struct Broken(bool);
    impl Artifacts for Broken {
        fn keep(&self, _: Whole) -> BoxFuture<'_, Result<String, ArtifactError>> {
            if self.0 {
                futures_util::future::pending().boxed()
            } else {
                async { Err(ArtifactError("full".into())) }.boxed()
            }
        }
    }
    for hangs in [false, true] {
        let host = host(value(json!("x".repeat(2_000))), 1_024).with_artifacts(Arc::new(Broken(hangs)));
        let outcome = call(&host).await;
        assert!(outcome.result.unwrap().value.as_str().unwrap().contains("raise `limits.reader`"));
    }
}

#[tokio::test]
async fn an_error_is_no_way_around_the_limit() {
    let error = CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "m".repeat(3_000));
    let (outcome, artifacts) = cut(Err(error.with_detail(json!(["d".repeat(3_000)]))), 1_024).await;
    let error = outcome.result.unwrap_err();
    assert!(error.message.len() < 1_200 && error.message.contains("of 3000 bytes are missing"), "{error}");
    let detail = error.detail.unwrap();
    let name = outcome.report.truncated.unwrap().artifact.unwrap();
    assert!(detail.as_str().unwrap().contains(&name));
    assert_eq!(artifacts.get(&name).unwrap().len(), 3_004);
    let listed = outcome.report.attempts[0].error.as_ref().unwrap();
    assert!(serde_json::to_string(listed).unwrap().len() < 3_000);
}

#[tokio::test]
async fn the_oldest_artifacts_make_room_in_memory_and_what_is_too_large_is_not_kept() {
    let artifacts = Arc::new(InMemory::new(5_000));
    let mut names = Vec::new();
    for (letter, length) in [("a", 2_000), ("b", 2_000), ("a", 2_000), ("c", 2_000), ("d", 6_000)] {
        let host = host(value(json!(letter.repeat(length))), 1_024).with_artifacts(artifacts.clone());
        names.push(call(&host).await.report.truncated.unwrap().artifact);
    }
    assert_eq!(names[0], names[2], "the same result is kept once");
    assert_eq!(names[4], None);
    let kept: Vec<bool> = names.iter().flatten().map(|name| artifacts.get(name).is_some()).collect();
    assert_eq!(kept, [true, false, true, true]);
}

/// The two pieces that are shown and the line behind them fit the whole: nothing between is repeated, or gone uncounted.
fn check_pieces(whole: &str, head: &str, tail: &str, line: &str) -> Result<(), TestCaseError> {
    prop_assert!(whole.starts_with(head) && whole.ends_with(tail), "{head:?} {tail:?} of {whole:?}");
    let missing = whole.len() - head.len() - tail.len();
    let told = format!("[{missing} of {} bytes are missing; ", whole.len());
    prop_assert!(line.starts_with(&told), "{line}, not {told}");
    Ok(())
}

/// As `check_pieces`, for a text with its gap and its line.
fn check_text(whole: &str, shown: &str) -> Result<(), TestCaseError> {
    let (cut, line) = shown.rsplit_once('\n').unwrap();
    let (head, tail) = cut.split_once("\n[...]\n").unwrap();
    check_pieces(whole, head, tail, line)
}

fn shown_texts(parts: &[Content]) -> String {
    parts.iter().map(|part| if let Content::Text { text } = part { &**text } else { panic!("{part:?}") }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn truncation_never_splits_a_character_and_always_says_how_much_is_missing(
        texts in prop::collection::vec("[a€😀é\n]{0,120}", 1..6),
        reader in 64_u64..400,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let said = |says| runtime.block_on(cut(says, reader)).0;
        let whole = texts.concat();
        let json = json!({"texts": texts});
        let is_cut = |length: usize| length as u64 > reader;

        // One text, a value as JSON, several parts, the words of an error, and what comes with them.
        let outcome = said(value(json!(whole)));
        prop_assert_eq!(outcome.report.truncated.is_some(), is_cut(whole.len()));
        if is_cut(whole.len()) {
            check_text(&whole, outcome.result.unwrap().value.as_str().unwrap())?;
        }
        let outcome = said(value(json.clone()));
        prop_assert_eq!(outcome.report.truncated.is_some(), is_cut(json.to_string().len()));
        if is_cut(json.to_string().len()) {
            check_text(&json.to_string(), outcome.result.unwrap().value.as_str().unwrap())?;
        }
        let outcome = said(content(texts.iter().map(|said| text(said)).collect()));
        prop_assert_eq!(outcome.report.truncated.is_some(), is_cut(whole.len()));
        if is_cut(whole.len()) {
            let parts = outcome.result.unwrap().content;
            let gap = parts.iter().position(|part| *part == text("[...]")).unwrap();
            let (line, parts) = parts.split_last().unwrap();
            let line = shown_texts(std::slice::from_ref(line));
            check_pieces(&whole, &shown_texts(&parts[..gap]), &shown_texts(&parts[gap + 1..]), &line)?;
        }
        let error = CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, whole.clone());
        let error = said(Err(error.with_detail(json.clone()))).result.unwrap_err();
        if is_cut(whole.len()) {
            check_text(&whole, &error.message)?;
        } else {
            prop_assert_eq!(&error.message, &whole);
        }
        if is_cut(json.to_string().len()) {
            check_text(&json.to_string(), error.detail.unwrap().as_str().unwrap())?;
        } else {
            prop_assert_eq!(error.detail.unwrap(), json);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_and_what_is_missing_are_the_whole(whole in "[a€😀é\n]{0,400}", reader in 7_u64..600) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (outcome, artifacts) = runtime.block_on(cut(value(json!(whole)), reader));
        let shown = outcome.result.unwrap().value;
        let shown = shown.as_str().unwrap();
        let Some(Truncated { bytes, shown_bytes, artifact }) = outcome.report.truncated else {
            prop_assert!(whole.len() as u64 <= reader);
            prop_assert_eq!(shown, whole);
            return Ok(());
        };
        prop_assert!(whole.len() as u64 > reader);
        let (cut, line) = shown.rsplit_once('\n').unwrap();
        prop_assert!(cut.len() as u64 <= reader);
        let (head, tail) = cut.split_at(whole.bytes().zip(cut.bytes()).take_while(|(one, other)| one == other).count());
        // The text has no `[`: what differs first is the gap, or the line break before it.
        let (more, tail) = tail.split_once("[...]\n").unwrap();
        let head = format!("{head}{more}");
        let head = head.strip_suffix('\n').unwrap();
        prop_assert!(whole.starts_with(head) && whole.ends_with(tail), "{head:?} {tail:?}");
        prop_assert_eq!((head.len() + tail.len()) as u64, shown_bytes);
        prop_assert_eq!(bytes, whole.len() as u64);
        let missing = format!("[{} of {bytes} bytes are missing;", bytes - shown_bytes);
        prop_assert!(line.starts_with(&missing));
        // No more is missing than must be: a character at each cut may not have fitted.
        prop_assert!(shown_bytes + 7 + 6 >= reader, "{shown_bytes} of {reader}");
        prop_assert_eq!(&*artifacts.get(&artifact.unwrap()).unwrap(), whole.as_bytes());
    }
}

#[tokio::test]
async fn a_tool_that_calls_another_one_gets_all_of_its_answer_and_of_its_error_and_nothing_is_kept_of_it() {
    let text = "x".repeat(5_000);
    let failed = CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, text.clone());
    let failed = failed.with_detail(json!({"text": text}));
    for says in [value(json!(text)), content(vec![self::text(&text)]), Err(failed)] {
        let artifacts = Arc::new(InMemory::new(1 << 20));
        let told = Arc::<Mutex<Option<Outcome>>>::default();
        let keep = told.clone();
        let outer = Native::new("outer", "").effect(EffectClass::Reads).run(move |attempt| {
            let keep = keep.clone();
            async move {
                let outcome = attempt.call("say", json!({})).await;
                *keep.lock().unwrap() = Some(outcome);
                Ok(json!("y".repeat(100_000)))
            }
        });
        let mut catalog = host(says.clone(), 1_024).catalog();
        catalog.add(outer).unwrap();
        let host = Host::new(catalog).with_artifacts(artifacts.clone());
        let outer = host.call(Call::new("outer", json!({}))).await;
        let inner = told.lock().unwrap().take().unwrap();
        match (inner.result, says) {
            (Ok(output), Ok(said)) => assert_eq!((output.value, output.content), (said.value, said.content)),
            (Err(error), Err(said)) => assert_eq!((error.message, error.detail), (said.message, said.detail)),
            (result, said) => panic!("{result:?}, not {said:?}"),
        }
        assert_eq!(inner.report.truncated, None);
        // Where nobody looks for all of it, it is cut as ever.
        assert!(inner.report.attempts[0].error.as_ref().is_none_or(|error| error.message.len() < 2_048));
        let artifact = outer.report.truncated.unwrap().artifact.unwrap();
        assert!(artifact.starts_with("outer-") && artifacts.get(&artifact).is_some(), "{artifact}");
    }
}
