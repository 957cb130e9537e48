//! Whole trees of calls inside of calls, with tools that have little room: all of them end, and no limit is passed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{sleep, timeout};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::{Attempt, Call, CallError, Catalog, EffectClass, ErrorKind, Host, HostLimits, Native, Tool};

const TOOLS: [&str; 6] = ["plain", "two", "one", "c_alone", "c_any", "c_one"];

/// A call, how long it works before and after the calls inside of it, and those.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tree {
    tool: usize,
    before: u64,
    after: u64,
    inside: Vec<Tree>,
    /// Whether the calls inside of it are made all at once.
    at_once: bool,
    /// What makes it another call than all the others.
    name: u32,
}

/// What works at this moment: by tool, and in all. Who waits for calls inside of it does not work.
#[derive(Default)]
struct Watch {
    working: usize,
    peak: usize,
    running: BTreeMap<&'static str, usize>,
    faults: Vec<String>,
}

struct Running(Arc<Mutex<Watch>>, &'static str);

impl Running {
    fn begin(watch: &Arc<Mutex<Watch>>, tool: &'static str) -> Self {
        let mut seen = watch.lock().unwrap();
        *seen.running.entry(tool).or_default() += 1;
        let of = |tool: &str| seen.running.get(tool).copied().unwrap_or_default();
        let component = of("c_alone") + of("c_any") + of("c_one");
        if of("two") > 2 || of("one") > 1 || of("c_one") > 1 || of("c_alone") > 0 && component > 1 {
            let fault = format!("{:?}", seen.running);
            seen.faults.push(fault);
        }
        drop(seen);
        Running(watch.clone(), tool)
    }

    async fn work(&self, time: u64) {
        let _working = Working::begin(&self.0);
        sleep(Duration::from_millis(time)).await;
    }
}

struct Working<'a>(&'a Mutex<Watch>);

impl<'a> Working<'a> {
    fn begin(watch: &'a Mutex<Watch>) -> Self {
        let mut seen = watch.lock().unwrap();
        seen.working += 1;
        seen.peak = seen.peak.max(seen.working);
        drop(seen);
        Working(watch)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().working -= 1;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.lock().unwrap().running.get_mut(self.1).unwrap() -= 1;
    }
}

async fn grow(attempt: Attempt, watch: Arc<Mutex<Watch>>, name: &'static str) -> Result<serde_json::Value, CallError> {
    let tree: Tree = serde_json::from_str(attempt.call.arguments["tree"].as_str().unwrap()).unwrap();
    let running = Running::begin(&watch, name);
    running.work(tree.before).await;
    let call = async |inside: &Tree| {
        let arguments = json!({"tree": serde_json::to_string(inside).unwrap()});
        match attempt.call(TOOLS[inside.tool], arguments).await.result {
            Ok(_) => {}
            // One that does not wait inside of a call that has its tool's leave.
            Err(error) if error.kind == ErrorKind::Busy && error.message.contains("does not wait") => {}
            Err(error) => watch.lock().unwrap().faults.push(error.to_string()),
        }
    };
    if tree.at_once {
        join_all(tree.inside.iter().map(call)).await;
    } else {
        for inside in &tree.inside {
            call(inside).await;
        }
    }
    running.work(tree.after).await;
    Ok(json!(1))
}

fn tool(name: &'static str, class: EffectClass, watch: &Arc<Mutex<Watch>>) -> Tool {
    let guard = match name {
        "two" => json!({"parallel": 2}),
        "one" | "c_one" => json!({"parallel": 1}),
        "c_alone" => json!({"exclusive": true}),
        _ => json!({}),
    };
    let watch = watch.clone();
    let native = Native::new(name, "").effect(class).guard(serde_json::from_value(guard).unwrap());
    let mut tool = native.parameter("tree", Shape::String).run(move |attempt| grow(attempt, watch.clone(), name));
    if let Some((component, function)) = name.split_once('_') {
        let (component, function) = (component.into(), function.into());
        tool.origin = Origin::Component { component, digest: String::new(), function };
    }
    tool
}

fn tree() -> impl Strategy<Value = Tree> {
    let parts = || (0..TOOLS.len(), 0_u64..4, 0_u64..4, any::<bool>(), any::<u32>());
    let leaf = parts().prop_map(|(tool, before, after, at_once, name)| {
        let inside = Vec::new();
        Tree { tool, before, after, inside, at_once, name }
    });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        (parts(), prop::collection::vec(inner, 0..5)).prop_map(|((tool, before, after, at_once, name), inside)| Tree {
            tool,
            before,
            after,
            inside,
            at_once,
            name,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tree_of_calls_comes_to_its_end_and_all_room_is_given_back(
        trees in prop::collection::vec((tree(), 0_u64..6, prop::option::weighted(0.2, 0_u64..20)), 1..12),
        max_parallel in 1_usize..5,
        writes in any::<bool>(),
    ) {
        let class = if writes { EffectClass::Writes } else { EffectClass::Reads };
        let watch: Arc<Mutex<Watch>> = Arc::default();
        let mut catalog = Catalog::default();
        TOOLS.iter().for_each(|name| catalog.add(tool(name, class, &watch)).unwrap());
        let limits = HostLimits { max_parallel, ..HostLimits::default() };
        let host = Host::new(catalog).with_limits(limits);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ended = runtime.block_on(async {
            let one = async |(tree, comes, goes): &(Tree, u64, Option<u64>)| {
                sleep(Duration::from_millis(*comes)).await;
                let call = Call::new(TOOLS[tree.tool], json!({"tree": serde_json::to_string(tree).unwrap()}));
                let goes = goes.map_or(Duration::MAX, Duration::from_millis);
                timeout(goes, host.call(call)).await.ok().and_then(|outcome| outcome.result.err())
            };
            // All the work of all trees one after the other takes no longer than this.
            let ended = timeout(Duration::from_secs(10), join_all(trees.iter().map(one))).await;
            sleep(Duration::from_secs(10)).await;
            ended
        });
        let errors: Vec<CallError> = ended.expect("they wait for one another").into_iter().flatten().collect();
        prop_assert!(errors.is_empty(), "{:?}", errors);
        prop_assert_eq!(host.in_use(), (0, 0));
        let seen = watch.lock().unwrap();
        let goers = trees.iter().any(|(_, _, goes)| goes.is_some());
        prop_assert!(seen.faults.iter().all(|fault| goers && fault.starts_with("the call around")), "{:?}", seen.faults);
        prop_assert!(seen.peak <= max_parallel, "{} of {}", seen.peak, max_parallel);
        prop_assert!(seen.running.values().all(|running| *running == 0), "{:?}", seen.running);
    }
}
