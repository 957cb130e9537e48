//! Calls that are read while they run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep};
use toolpost_core::tell::{Piece, Streaming};
use toolpost_core::{Call, Catalog, EffectClass, ErrorKind, Host, Native};

/// A host with a tool that hands out so many parts of so many bytes; and how many it has handed out.
fn host(class: EffectClass, parts: u32, bytes: usize) -> (Host, Arc<AtomicU32>) {
    let emitted = Arc::new(AtomicU32::new(0));
    let count = emitted.clone();
    let guard = serde_json::from_value(json!({"retry": {"max_attempts": 1}})).unwrap();
    let tool = Native::new("talk", "").effect(class).guard(guard).run(move |attempt| {
        let count = count.clone();
        async move {
            let words = "é".repeat(bytes / 2);
            for part in 0..parts {
                attempt.progress(part.into(), Some(parts.into()), Some("on"));
                attempt.emit(&words).await;
                count.fetch_add(1, SeqCst);
            }
            Ok(json!("done"))
        }
    });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    (Host::new(catalog), emitted)
}

fn talk(host: &Host) -> Streaming {
    host.stream(Call::new("talk", json!({})))
}

#[tokio::test(start_paused = true)]
async fn every_part_comes_in_order_and_whole_and_the_outcome_last() {
    let (host, _) = host(EffectClass::Pure, 20, 100_000);
    let pieces: Vec<Piece> = talk(&host).collect().await;
    let Some((Piece::Ended(outcome), before)) = pieces.split_last() else { panic!("{pieces:?}") };
    assert_eq!(outcome.result.as_ref().unwrap().value, json!("done"));
    let parts = before.iter().filter_map(|piece| match piece {
        Piece::Partial { text, attempt: 1 } => Some(text.as_str()),
        _ => None,
    });
    let text: String = parts.clone().collect();
    assert_eq!(text, "é".repeat(1_000_000));
    assert!(parts.clone().all(|part| part.len() <= 16 << 10));
}

#[tokio::test(start_paused = true)]
async fn a_tool_waits_for_a_slow_reader_and_keeps_no_more_than_a_few_parts() {
    let (host, emitted) = host(EffectClass::Pure, 400, 16 << 10);
    let mut streaming = talk(&host);
    let mut read = 0;
    while read < 5 {
        if let Some(Piece::Partial { .. }) = streaming.next().await {
            read += 1;
        }
    }
    sleep(Duration::from_secs(5)).await;
    let ahead = emitted.load(SeqCst) - read;
    assert!(ahead <= 16, "{ahead} parts wait");
    assert!(streaming.any(|piece| async move { matches!(piece, Piece::Ended(_)) }).await);
    assert_eq!(emitted.load(SeqCst), 400);
}

#[tokio::test(start_paused = true)]
async fn a_tool_whose_reader_never_reads_ends_at_its_deadline() {
    let (host, emitted) = host(EffectClass::Writes, 400, 16 << 10);
    let mut streaming = talk(&host);
    sleep(Duration::from_secs(60)).await;
    assert!(emitted.load(SeqCst) <= 16);
    let mut last = None;
    while let Some(piece) = streaming.next().await {
        last = Some(piece);
    }
    let Some(Piece::Ended(outcome)) = last else { panic!("{last:?}") };
    assert_eq!((outcome.failed(), outcome.report.time), (Some(ErrorKind::TimedOut), Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_has_gone_keeps_nobody_waiting() {
    let (host, emitted) = host(EffectClass::Writes, 400, 16 << 10);
    let mut streaming = talk(&host);
    let begun = Instant::now();
    while !matches!(streaming.next().await, Some(Piece::Partial { .. })) {}
    drop(streaming);
    sleep(Duration::from_secs(1)).await;
    // What may change something goes on to its own end.
    assert_eq!((emitted.load(SeqCst), begun.elapsed()), (400, Duration::from_secs(1)));
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_cancels_what_only_reads() {
    let (host, emitted) = host(EffectClass::Reads, 400, 16 << 10);
    let mut streaming = talk(&host);
    while !matches!(streaming.next().await, Some(Piece::Partial { .. })) {}
    drop(streaming);
    sleep(Duration::from_secs(1)).await;
    assert!(emitted.load(SeqCst) < 40);
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test]
async fn a_call_of_no_tool_has_an_outcome_and_nothing_else() {
    let (host, _) = host(EffectClass::Pure, 1, 1);
    let pieces: Vec<Piece> = host.stream(Call::new("tolk", json!({}))).collect().await;
    let [Piece::Ended(outcome)] = &pieces[..] else { panic!("{pieces:?}") };
    assert_eq!(outcome.failed(), Some(ErrorKind::UnknownTool));
}
