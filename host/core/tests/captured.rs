//! What is kept of what a tool writes: a beginning, cut between characters, and a count of the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;
use toolpost_core::catalog::settings::{Bytes, LimitSettings};
use toolpost_core::run::Capture;
use toolpost_core::{Call, Catalog, EffectClass, Host, Level, Native};

/// Written in these pieces under that limit, this is kept and so many bytes are not.
fn check(limit: u64, pieces: &[&[u8]], text: &str, dropped: u64) {
    let capture = Capture::new(limit);
    pieces.iter().for_each(|piece| capture.write(piece));
    let captured = capture.captured();
    assert_eq!((captured.text.as_str(), captured.dropped_bytes), (text, dropped), "{pieces:?}");
    assert_eq!(captured.is_empty(), text.is_empty() && dropped == 0);
}

#[test]
fn the_beginning_is_kept_and_the_rest_is_counted() {
    check(8, &[], "", 0);
    check(8, &[b"12345678"], "12345678", 0);
    check(8, &[b"123456789"], "12345678", 1);
    check(8, &[b"12345", b"6789", b"0"], "12345678", 2);
    check(0, &[b"12"], "", 2);
    check(u64::MAX, &[b"12"], "12", 0);
}

#[test]
fn a_character_is_kept_whole_or_not_at_all() {
    check(5, &["abcdé".as_bytes()], "abcd", 2);
    check(6, &["abcdé".as_bytes()], "abcdé", 0);
    check(6, &["abcd".as_bytes(), "€".as_bytes(), b"x"], "abcd", 4);
    check(3, &["😀".as_bytes()], "", 4);
    // A character may come in two pieces.
    check(8, &[&"é".as_bytes()[..1], &"é".as_bytes()[1..]], "é", 0);
}

#[test]
fn what_is_no_text_is_shown_as_such() {
    check(8, &[b"a\xffb"], "a\u{fffd}b", 0);
    // Cut by the tool itself, not by the limit.
    check(8, &[b"a\xe2\x82"], "a\u{fffd}", 0);
    check(8, &[b"a\xe2\x82", b"b"], "a\u{fffd}b", 0);
    // Cut by the limit, behind something that is no text.
    check(3, &[b"\xffa\xe2\x82\xac"], "\u{fffd}a", 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_of_a_text_is_lost_uncounted(pieces in prop::collection::vec(".{0,8}", 0..6), limit in 0_u64..40) {
        let capture = Capture::new(limit);
        pieces.iter().for_each(|piece| capture.write(piece.as_bytes()));
        let (whole, captured) = (pieces.concat(), capture.captured());
        prop_assert!(whole.starts_with(&captured.text), "{captured:?}");
        prop_assert_eq!(captured.text.len() as u64 + captured.dropped_bytes, whole.len() as u64);
        prop_assert!(captured.text.len() as u64 <= limit);
        // Nothing is dropped that would have fitted.
        let next = whole[captured.text.len()..].chars().next().map_or(0, char::len_utf8);
        prop_assert!(next == 0 || (captured.text.len() + next) as u64 > limit, "{captured:?}");
    }
}

/// Written in these pieces under that limit, this is its end.
fn check_tail(limit: u64, pieces: &[&[u8]], end: &str) {
    let capture = Capture::new(limit);
    pieces.iter().for_each(|piece| capture.write(piece));
    assert_eq!(capture.tail(), end, "{limit} bytes of {} pieces", pieces.len());
}

#[test]
fn the_end_is_kept_beside_the_beginning() {
    check_tail(8, &[], "");
    check_tail(8, &[b"12345678"], "12345678");
    check_tail(8, &[b"12345678", b"9"], "123456789");
    check_tail(0, &[b"12"], "12");
    let (flood, end) = ("x".repeat(100_000), "panicked at `café`");
    let last = format!("{}{end}", "x".repeat(1024 - end.len()));
    for limit in [0, 8, 1 << 16, 100_010, u64::MAX] {
        check_tail(limit, &[flood.as_bytes(), end.as_bytes()], &last);
        check_tail(limit, &[format!("{flood}{end}").as_bytes()], &last);
    }
}

#[test]
fn the_end_begins_with_a_whole_character() {
    let text = "😀".repeat(300);
    check_tail(8, &[text.as_bytes()], &"😀".repeat(256));
    check_tail(8, &[text.as_bytes(), b"!"], &format!("{}!", "😀".repeat(255)));
    // What is no text is shown as such, and gets no longer.
    check_tail(8, &[b"a\xff"], "a\u{fffd}");
    check_tail(8, &[&[0xff; 2000]], &"\u{fffd}".repeat(341));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_end_is_the_end_however_it_was_written(
        pieces in prop::collection::vec(".{0,200}", 0..20),
        limit in 0_u64..3_000,
    ) {
        let capture = Capture::new(limit);
        pieces.iter().for_each(|piece| capture.write(piece.as_bytes()));
        let whole = pieces.concat();
        let from = whole.ceil_char_boundary(whole.len().saturating_sub(1024));
        prop_assert_eq!(capture.tail(), &whole[from..]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_a_tool_hold_for_its_log_and_its_output() {
    let limits = LimitSettings { log: Some(Bytes(12)), stdio: Some(Bytes(5)), ..LimitSettings::default() };
    let tool = Native::new("work", "").effect(EffectClass::Pure).limits(limits).run(|attempt| async move {
        attempt.log(Level::Info, "äöü");
        attempt.log(Level::Error, "lost");
        attempt.meter.stdout.write("12345".as_bytes());
        attempt.meter.stderr.write("1234é".as_bytes());
        Ok(json!(null))
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let outcome = Host::new(catalog).call(Call::new("work", json!({}))).await;
    let attempt = serde_json::to_value(&outcome.report.attempts[0]).unwrap();
    assert_eq!(attempt["log"], json!({"text": "info: äöü", "dropped_bytes": 13}));
    assert_eq!(attempt["stdout"], json!({"text": "12345"}));
    assert_eq!(attempt["stderr"], json!({"text": "1234", "dropped_bytes": 2}));
}

/// Counts what it is told, by kind.
#[derive(Default)]
struct Counts(std::sync::Mutex<(usize, usize, usize)>);

impl toolpost_core::Sink for Counts {
    fn tell(&self, told: &toolpost_core::Told<'_>) {
        use toolpost_core::Event;
        let mut counts = self.0.lock().unwrap();
        match told.event {
            Event::Progress { message, .. } => counts.0 += message.unwrap_or_default().len(),
            Event::Partial { text } => counts.1 += text.len(),
            Event::Log { message, .. } => counts.2 += message.len(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn listeners_are_told_no_more_than_may_be_kept() {
    let tool = Native::new("loud", "").effect(EffectClass::Pure).run(|attempt| async move {
        let words = "w".repeat(100_000);
        for at in 0..20_000 {
            attempt.progress(at, None, Some(&words));
            attempt.emit(&words[..1_000]).await;
            attempt.log(Level::Info, &words[..100]);
        }
        attempt.log(Level::Info, &words);
        Ok(json!(null))
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let told = std::sync::Arc::new(Counts::default());
    let outcome = Host::new(catalog).with_sink(told.clone()).call(Call::new("loud", json!({}))).await;
    assert!(outcome.result.is_ok());
    let (progress, parts, log) = *told.0.lock().unwrap();
    assert_eq!(progress, 10_000 << 10);
    assert_eq!(parts, (8 << 20) / 1_000 * 1_000);
    assert!(log <= 64 << 10 && log > 55 << 10, "{log}");
}

#[tokio::test]
async fn a_message_of_several_lines_does_not_look_like_several_messages() {
    let tool = Native::new("sly", "").run(|attempt| async move {
        attempt.log(Level::Info, "one\nerror: two");
        Ok(json!(null))
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let outcome = Host::new(catalog).call(Call::new("sly", json!({}))).await;
    assert_eq!(outcome.report.attempts[0].log.text, "info: one\n  error: two\n");
}
