//! Any hosts, cut off and mended at any time, with anybody cancelling: each task ends, is done once, or is told what it may
//! have done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use tokio::time::sleep;
use toolpost_core::task::How;
use toolpost_core::{Attempt, CallError, EffectClass, ErrorKind, Stage, Task, Tool};

use crate::work::{Desk, Ground, call, change, seconds, tool};

/// How often each task has changed something.
type Changes = Arc<Mutex<BTreeMap<u64, u32>>>;

fn changes_something(n: u64) -> bool {
    !n.is_multiple_of(4)
}

/// A tool that changes something now and then, in any order with waiting and failing, by the number that it is called with.
fn any(changes: &Changes, seed: u64) -> Tool {
    let changes = changes.clone();
    let act = move |_, attempt: Attempt| {
        let changes = changes.clone();
        async move {
            let n = attempt.call.arguments["n"].as_u64().unwrap();
            let mut rng = Rng::with_seed(seed ^ n);
            sleep(seconds(rng.u64(0..20))).await;
            if changes_something(n) {
                change(&attempt, &n.to_string()).await?;
                *changes.lock().unwrap().entry(n).or_default() += 1;
                sleep(seconds(rng.u64(0..20))).await;
            }
            match n % 7 {
                0 => Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, "no")),
                _ => Ok(json!(n)),
            }
        }
    };
    tool(EffectClass::Writes, json!({"breaker": "none"}), act).0
}

async fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let ground = Ground::with(json!({"parallel": 6, "reruns": 1_000}));
    let changes = Changes::default();
    let mut hosts: Vec<Desk> = Vec::new();
    let mut tasks: Vec<Task> = Vec::new();
    for step in 0..60 {
        if hosts.len() < 3 {
            hosts.push(ground.host(any(&changes, seed)));
            hosts.last().unwrap().host.run_tasks();
        }
        match rng.u32(..10) {
            0..=5 => tasks.push(ground.host(any(&changes, seed)).host.file(call(step)).await.unwrap()),
            6 => rng.choice(&hosts).unwrap().wire.cut(),
            7 => rng.choice(&hosts).unwrap().wire.mend(),
            8 => {
                // Gone for good, and one in its place.
                let gone = hosts.swap_remove(rng.usize(..hosts.len()));
                gone.wire.cut();
                gone.host.tasks().stop(Duration::ZERO).await;
            }
            _ => {
                let client = ground.host(any(&changes, seed)).host;
                if let Some(task) = rng.choice(&tasks) {
                    client.tasks().cancel(task.id(), "bob").await.unwrap();
                }
            }
        }
        sleep(Duration::from_millis(rng.u64(0..15_000))).await;
    }
    hosts.iter().for_each(|desk| desk.wire.mend());
    let last = ground.host(any(&changes, seed));
    last.host.run_tasks();
    for task in &tasks {
        last.host.tasks().wait(task.id()).await.unwrap().expect("it is there");
    }
    // Whatever comes late changes nothing any more, but for what was not known.
    sleep(seconds(200)).await;
    let changes = changes.lock().unwrap().clone();
    for task in &tasks {
        let sheet = ground.sheet(task.id()).await;
        let n: u64 =
            serde_json::from_str::<serde_json::Value>(&sheet.record.request.shown).unwrap()["n"].as_u64().unwrap();
        let changed = changes.get(&n).copied().unwrap_or_default();
        let shown = format!("seed {seed}, {n}: {:?}, changed {changed}, {:?}", sheet.standing(), sheet.notes.effects);
        let listed = sheet.notes.effects.len() as u32;
        assert!(changed <= 1 && listed <= 1 && changed <= listed, "{shown}");
        let ended = sheet.record.ended().unwrap();
        match ended.how() {
            // The store did not answer before the change, and so there was none.
            How::Failed if ended.result().unwrap().unwrap_err().kind == ErrorKind::Internal => {
                assert_eq!(changed, 0, "{shown}");
            }
            How::Done | How::Failed => assert_eq!(changed, u32::from(changes_something(n)), "{shown}"),
            How::Cancelled => assert_eq!((changed, listed), (0, 0), "{shown}"),
            How::Unknown => assert_eq!(listed, 1, "{shown}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_the_hosts_every_task_ends_once_or_is_unknown_with_its_effects_listed() {
    for seed in 0..30 {
        run(seed).await;
    }
}
