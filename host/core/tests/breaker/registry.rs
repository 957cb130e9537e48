//! One breaker for each key, no more than are allowed, and none forgotten that says something.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::advance;
use toolpost_core::catalog::settings::Span;
use toolpost_core::guard::breaker::{
    AdaptiveSettings, Breaker, Key, Outcome, Refusal, Registry, Settings, StandardSettings, Status, WindowSettings,
};

use super::{ATTEMPT, FAILURE, plain, throttled};

fn get(registry: &Registry, key: &Key) -> Arc<Breaker> {
    registry.get(key, &Settings::Standard(plain()), ATTEMPT)
}

fn fail(breaker: &Arc<Breaker>, times: u32) {
    for _ in 0..times {
        breaker.acquire().unwrap().finish(FAILURE);
    }
}

async fn idle() {
    advance(Duration::from_millis(600_001)).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_has_one_breaker_and_each_scope_and_tenant_is_its_own() {
    let registry = Registry::default();
    let keys = [
        Key::tool("a"),
        Key::egress("a", "b:443"),
        Key::egress("a", "c:443"),
        Key::egress("b", "b:443"),
        Key::custom("a"),
        Key::tool("a").of_tenant("acme"),
        Key::tool("a").of_tenant("other"),
    ];
    for key in &keys {
        assert!(Arc::ptr_eq(&get(&registry, key), &get(&registry, key)));
    }
    fail(&get(&registry, &keys[5]), 5);
    let open: Vec<_> = registry.list().into_iter().filter(|show| show.status == Status::Open).collect();
    assert_eq!((registry.list().len(), open.len()), (7, 1));
    assert_eq!(open[0].key.to_string(), "tool a for acme");
}

#[tokio::test(start_paused = true)]
async fn threads_that_ask_for_one_key_get_one_breaker() {
    let registry = Registry::default();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let breaker = registry.get(&Key::tool("a"), &Settings::None, ATTEMPT);
                for _ in 0..100 {
                    breaker.acquire().unwrap().finish(FAILURE);
                }
            });
        }
    });
    assert_eq!(registry.find(&Key::tool("a")).unwrap().snapshot().admitted, 800);
}

#[tokio::test(start_paused = true)]
async fn what_is_closed_and_idle_is_forgotten_and_nothing_else() {
    let registry = Registry::default();
    let blank = Key::tool("blank");
    let _ = get(&registry, &blank);
    fail(&get(&registry, &Key::tool("once_failed")), 1);
    fail(&get(&registry, &Key::tool("open")), 5);
    get(&registry, &Key::tool("isolated")).isolate("ann", "", None);
    get(&registry, &Key::tool("disabled")).disable("ann", "");
    let held = get(&registry, &Key::tool("held"));
    let running = get(&registry, &Key::tool("running")).acquire().unwrap();
    assert_eq!(registry.sweep(), 0, "nothing is idle");

    idle().await;
    assert_eq!(registry.sweep(), 2);
    let left: Vec<String> = registry.list().into_iter().map(|show| show.key.scope.name().to_owned()).collect();
    assert_eq!(left, ["disabled", "held", "isolated", "open", "running"]);
    drop((held, running));
    idle().await;
    assert_eq!(registry.sweep(), 2);
    assert_eq!(registry.find(&blank).map(|breaker| breaker.key().clone()), None);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_remembers_for_longer_is_kept_for_longer() {
    let registry = Registry::default();
    let hour = Span(Duration::from_secs(3_600));
    let window = Settings::Standard(StandardSettings { window: WindowSettings::Time(hour), ..plain() });
    fail(&registry.get(&Key::tool("window"), &window, ATTEMPT), 1);
    let ring = Settings::Standard(StandardSettings { window: WindowSettings::Calls(100), ..plain() });
    fail(&registry.get(&Key::tool("ring"), &ring, ATTEMPT), 1);
    let open = StandardSettings { open: hour, open_max: hour, probes: 1, successes_to_close: 1, ..plain() };
    let reopened = registry.get(&Key::tool("reopened"), &Settings::Standard(open), ATTEMPT);
    fail(&reopened, 5);
    advance(hour.0).await;
    fail(&reopened, 1);
    fail(&registry.find(&Key::tool("window")).unwrap(), 1);
    advance(hour.0 - Duration::from_secs(601)).await;
    fail(&registry.find(&Key::tool("window")).unwrap(), 1);
    advance(Duration::from_secs(601)).await;
    reopened.acquire().unwrap().finish(Outcome::Success);
    drop(reopened);
    assert_eq!(registry.sweep(), 1, "the ring");

    idle().await;
    assert_eq!(registry.sweep(), 0, "one has a window of an hour, one was open for an hour");
    advance(hour.0).await;
    assert_eq!(registry.sweep(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_registry_forgets_idle_breakers_first_and_stops_nobody() {
    let registry = Registry::default();
    let key = |number: u32| Key::egress(format!("fetch_{}", number / 100), format!("host-{number}:443"));
    fail(&get(&registry, &key(0)), 5);
    for number in 1..10_050 {
        let breaker = get(&registry, &key(number));
        breaker.acquire().unwrap().finish(Outcome::Success);
    }
    assert_eq!((registry.list().len(), registry.unlisted()), (10_000, 50));
    // The names of servers come from guests, those of tools do not.
    fail(&get(&registry, &Key::tool("fetch")), 5);
    assert_eq!(get(&registry, &Key::tool("fetch")).snapshot().status, Status::Open);
    idle().await;
    fail(&get(&registry, &key(20_000)), 1);
    assert_eq!(registry.list().len(), 3, "the open ones and the new one");
    assert_eq!(registry.find(&key(0)).unwrap().snapshot().status, Status::Open);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_reaches_very_many_servers_takes_no_place_from_others() {
    let registry = Registry::default();
    let key = |number: u32| Key::egress("fetch", format!("host-{number}:443"));
    for number in 0..150 {
        get(&registry, &key(number)).acquire().unwrap().finish(Outcome::Success);
    }
    assert_eq!((registry.list().len(), registry.unlisted()), (100, 50));
    fail(&get(&registry, &Key::egress("orders", "shop.test:443")), 5);
    fail(&get(&registry, &key(0)), 5);
    assert_eq!(registry.list().len(), 101);
    // An operator means one server, and is heard.
    let ordered = registry.get_for_order(&key(140), &Settings::None, ATTEMPT);
    ordered.isolate("ann", "", None);
    drop(ordered);
    assert_eq!(get(&registry, &key(140)).snapshot().status, Status::Isolated);
    // What is idle makes room.
    idle().await;
    for number in 200..400 {
        get(&registry, &key(number)).acquire().unwrap().finish(Outcome::Success);
    }
    assert_eq!(registry.list().len(), 101, "98 more for that tool, beside what is open or isolated");
}

#[tokio::test(start_paused = true)]
async fn new_settings_take_effect_and_old_results_do_not_count() {
    let registry = Registry::default();
    let breaker = get(&registry, &Key::tool("a"));
    fail(&breaker, 4);
    let running = breaker.acquire().unwrap();
    let settings = Settings::Standard(StandardSettings { consecutive: 2, ..plain() });
    assert!(Arc::ptr_eq(&breaker, &registry.get(&Key::tool("a"), &settings, ATTEMPT)));
    running.finish(FAILURE);
    fail(&breaker, 1);
    assert_eq!(breaker.snapshot().status, Status::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.snapshot().status, Status::Open);
    let generation = breaker.snapshot().generation;
    let _ = registry.get(&Key::tool("a"), &settings, ATTEMPT);
    assert_eq!(breaker.snapshot().generation, generation, "the same settings change nothing");
}

#[tokio::test(start_paused = true)]
async fn new_settings_neither_close_an_open_breaker_nor_free_an_isolated_one() {
    let registry = Registry::default();
    let adaptive = Settings::Adaptive(AdaptiveSettings::default());
    let open = get(&registry, &Key::tool("open"));
    fail(&open, 5);
    let isolated = get(&registry, &Key::tool("isolated"));
    isolated.isolate("ann", "no", None);
    for (breaker, refusal) in [(&open, Refusal::Open), (&isolated, Refusal::Isolated)] {
        let _ = registry.get(breaker.key(), &adaptive, ATTEMPT);
        assert_eq!(breaker.snapshot().kind, "adaptive");
        assert_eq!(breaker.acquire().unwrap_err().refusal, refusal);
    }
}

#[tokio::test(start_paused = true)]
async fn new_settings_send_new_probes() {
    let registry = Registry::default();
    let breaker = get(&registry, &Key::tool("a"));
    fail(&breaker, 5);
    advance(Duration::from_secs(30)).await;
    let old = breaker.acquire().unwrap();
    let settings = Settings::Standard(StandardSettings { successes_to_close: 1, ..plain() });
    let _ = registry.get(&Key::tool("a"), &settings, ATTEMPT);
    let new = breaker.acquire().unwrap();
    old.finish(throttled(60));
    new.finish(Outcome::Success);
    assert_eq!((breaker.snapshot().status, breaker.snapshot().held_for), (Status::Closed, None));
}
