//! Calls with one key at the same time.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use toolpost_core::guard::replay::{How, Ledger, Memory, Standing, WAITING_MAX};
use toolpost_core::{EffectClass, ErrorKind, Host, HostLimits};

use crate::work::{failed, host, host_on, how, keyed, seconds, settled, standing, tool, works};

#[tokio::test(start_paused = true)]
async fn of_a_hundred_twins_one_runs_and_all_get_its_answer() {
    let (host, runs) = host(EffectClass::Writes, json!({}), works);
    // Nor do those that wait hold the place that their leader needs.
    let host = host.with_limits(HostLimits { max_parallel: 1, max_waiting: 0, ..HostLimits::default() });
    let outcomes = join_all((0..100).map(|_| host.call(keyed(1, "k")))).await;
    assert_eq!(runs.load(SeqCst), 1);
    for outcome in &outcomes {
        assert_eq!(outcome.result.as_ref().unwrap().value, json!(1));
        let ran = how(outcome) == Some(How::New);
        assert!(ran || how(outcome) == Some(How::Waited));
        assert_eq!(outcome.report.attempts.len(), usize::from(ran), "an answer that was given again has no attempts");
    }
    assert_eq!(outcomes.iter().filter(|outcome| how(outcome) == Some(How::New)).count(), 1);
    assert_eq!(how(&host.call(keyed(1, "k")).await), Some(How::Replayed));
    settled(&host).await;
}

#[tokio::test(start_paused = true)]
async fn of_many_twins_in_many_hosts_one_runs_and_all_get_its_answer() {
    let store = Arc::new(Memory::default());
    let (hosts, runs): (Vec<Host>, Vec<_>) = (0..8)
        .map(|_| {
            let (tool, runs) = tool(EffectClass::Writes, json!({}), works);
            (host_on(store.clone(), tool), runs)
        })
        .unzip();
    let started = Instant::now();
    let outcomes = join_all((0..80).map(|at| hosts[at % 8].call(keyed(1, "k")))).await;
    assert_eq!(runs.iter().map(|runs| runs.load(SeqCst)).sum::<u32>(), 1);
    assert!(outcomes.iter().all(|outcome| outcome.result.as_ref().unwrap().value == json!(1)));
    assert!(started.elapsed() < seconds(2), "a twin elsewhere is looked after often enough: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn when_the_leader_fails_without_an_effect_exactly_one_twin_runs_next() {
    let (host, runs) = host(EffectClass::Writes, json!({"retry": {"backoff": "none"}}), |run, _| async move {
        sleep(seconds(1)).await;
        if run < 3 { Err(failed(true)) } else { Ok(json!(run)) }
    });
    let outcomes = join_all((0..50).map(|_| host.call(keyed(1, "k")))).await;
    assert_eq!(runs.load(SeqCst), 3);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.result.is_err()).count(), 2);
    let answers: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok()).collect();
    assert!(answers.iter().all(|output| output.value == json!(3)));
    settled(&host).await;
}

#[tokio::test(start_paused = true)]
async fn a_twin_with_other_arguments_never_runs_and_does_not_wait() {
    let (host, runs) = host(EffectClass::Writes, json!({}), works);
    let started = Instant::now();
    let (first, second) = tokio::join!(host.call(keyed(1, "k")), async {
        sleep(Duration::from_millis(100)).await;
        let outcome = host.call(keyed(2, "k")).await;
        assert_eq!(started.elapsed(), Duration::from_millis(100));
        outcome
    });
    assert!(first.result.is_ok());
    let error = second.result.unwrap_err();
    let told = "this idempotency key was used with other arguments; take another key, or call with the same arguments";
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::KeyReused, told));
    assert_eq!(runs.load(SeqCst), 1);
    // Not even when both ask at the same moment, or once it is done.
    let both = join_all([keyed(3, "l"), keyed(4, "l")].map(|call| host.call(call))).await;
    assert_eq!(both.iter().filter(|outcome| outcome.failed() == Some(ErrorKind::KeyReused)).count(), 1);
    assert_eq!(runs.load(SeqCst), 2);
    assert_eq!(host.call(keyed(2, "k")).await.failed(), Some(ErrorKind::KeyReused));
}

#[tokio::test(start_paused = true)]
async fn a_twin_is_refused_where_settings_say_so() {
    let store = Arc::new(Memory::default());
    let hosts = [0, 1].map(|_| {
        let (tool, _) = tool(EffectClass::Writes, json!({"idempotency": {"on_conflict": "reject"}}), works);
        host_on(store.clone(), tool)
    });
    for twin in &hosts {
        let started = Instant::now();
        let (first, second) = tokio::join!(hosts[0].call(keyed(1, &format!("{twin:p}"))), async {
            sleep(Duration::from_millis(100)).await;
            let outcome = twin.call(keyed(1, &format!("{twin:p}"))).await;
            assert_eq!(started.elapsed(), Duration::from_millis(100));
            outcome
        });
        assert!(first.result.is_ok());
        let error = second.result.unwrap_err();
        let told = "a call with the same idempotency key is running; call again later, with the same key";
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::KeyInUse, told));
        assert!(error.retry_after.is_some());
        assert_eq!(how(&twin.call(keyed(1, &format!("{twin:p}"))).await), Some(How::Replayed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_twin_waits_no_longer_than_its_own_time_and_never_longer_than_half_a_minute() {
    let host = |ledger: Arc<Ledger>, call_time: &str| {
        let (mut tool, runs) = tool(EffectClass::Writes, json!({}), |run, _| async move {
            sleep(seconds(90)).await;
            Ok(json!(run))
        });
        let limits = json!({"time": "100s", "call_time": call_time});
        tool.limits = tool.limits.with(&serde_json::from_value(limits).unwrap());
        (host_on(Arc::new(Memory::default()), tool).with_ledger(ledger), runs)
    };
    for (call_time, waited) in [("20s", 20), ("100s", 30)] {
        let store = Arc::new(Memory::default());
        let [here, there] = [0, 1].map(|_| Arc::new(Ledger::new(store.clone())));
        let (leader, _) = host(here.clone(), "100s");
        for (ledger, key) in [(here, "k"), (there, "l")] {
            let (twin, runs) = host(ledger, call_time);
            let leader = tokio::spawn({
                let leader = leader.clone();
                async move { leader.call(keyed(1, key)).await }
            });
            sleep(seconds(1)).await;
            let started = Instant::now();
            assert_eq!(twin.call(keyed(1, key)).await.failed(), Some(ErrorKind::KeyInUse), "{call_time} {key}");
            assert_eq!((started.elapsed(), runs.load(SeqCst)), (seconds(waited), 0), "{call_time} {key}");
            assert!(leader.await.unwrap().result.is_ok());
            settled(&twin).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_so_many_calls_do_not_wait() {
    let (host, runs) = host(EffectClass::Writes, json!({}), works);
    let outcomes = join_all((0..WAITING_MAX + 10).map(|_| host.call(keyed(1, "k")))).await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err()).collect();
    assert_eq!(refused.len(), 9, "one runs");
    assert!(refused.iter().all(|error| error.kind == ErrorKind::KeyInUse && error.message.contains("1024 calls wait")));
    assert_eq!((runs.load(SeqCst), host.ledger().in_use()), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_gives_back_what_it_held_in_every_room() {
    // The leader works from 0 to 10; its twin waits, a call with another key waits for the place.
    let (host, runs) =
        host(EffectClass::Writes, json!({"idempotency": {"on_crash": "unknown"}}), |run, _| async move {
            sleep(seconds(10)).await;
            Ok(json!(run))
        });
    let host = host.with_limits(HostLimits { max_parallel: 1, max_waiting: 9, ..HostLimits::default() });
    let leader = tokio::spawn({
        let host = host.clone();
        async move { host.call(keyed(1, "k")).await }
    });
    sleep(seconds(1)).await;
    let twin = timeout(seconds(3), host.call(keyed(1, "k")));
    let other = timeout(seconds(3), host.call(keyed(1, "l")));
    let watch = async {
        sleep(seconds(1)).await;
        assert_eq!((host.ledger().in_use(), host.in_use()), ((2, 1), (1, 1)));
    };
    let (twin, other, ()) = tokio::join!(twin, other, watch);
    assert!(twin.is_err() && other.is_err());
    sleep(seconds(1)).await;
    assert_eq!((host.ledger().in_use(), host.in_use()), ((1, 0), (1, 0)), "only the leader is left");
    // The key that was held while its call waited for a place is free.
    let outcome = host.call(keyed(2, "l")).await;
    assert_eq!((how(&outcome), outcome.result.unwrap().value), (Some(How::New), json!(2)));
    assert_eq!(leader.await.unwrap().result.unwrap().value, json!(1));
    assert_eq!((runs.load(SeqCst), host.ledger().in_use()), (2, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_from_a_change_leaves_its_answer_to_the_next() {
    let (host, runs) = host(EffectClass::Writes, json!({}), works);
    assert!(timeout(Duration::from_millis(500), host.call(keyed(1, "k"))).await.is_err());
    let outcome = host.call(keyed(1, "k")).await;
    assert_eq!((how(&outcome), outcome.result.as_ref().unwrap().value.clone()), (Some(How::Waited), json!(1)));
    assert_eq!((runs.load(SeqCst), standing(&host, &outcome).await), (1, Some(Standing::Done)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_from_a_tool_that_reads_frees_the_key() {
    let (host, runs) = host(EffectClass::Reads, json!({"idempotency": {"key": "args"}}), |run, _| async move {
        sleep(seconds(1)).await;
        Ok(json!(run))
    });
    assert!(timeout(Duration::from_millis(500), host.call(keyed(1, "k"))).await.is_err());
    settled(&host).await;
    let outcome = host.call(keyed(1, "k")).await;
    assert_eq!((how(&outcome), runs.load(SeqCst)), (Some(How::New), 2));
}
