//! The worked example: orders from a settings file, at a shop that is not to be relied upon, by a host that is killed. The
//! shop counts its charges.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use toolpost_tests::shop::{Manner, Shop};
use toolpost_tests::{page, toolpost};

/// Calls that are made at once.
const CALLS: usize = 1_000;

/// Orders among them that are new.
const NEW: usize = 20;

/// The longest wait for an answer. A call of a host that was killed keeps its key for half a minute.
const WAIT_MAX: Duration = Duration::from_secs(120);

async fn shop(manner: Manner, knows_keys: bool) -> Shop {
    Shop::open(([127, 0, 0, 1], 0).into(), manner, knows_keys).await.expect("a shop")
}

/// A host that takes calls as lines: the example `serve`.
struct Host {
    process: Child,
    answers: Receiver<Value>,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Host {
    fn start(folder: &Path) -> Host {
        let exe = std::env::current_exe().expect("the test has a path");
        let serve: PathBuf = exe.ancestors().nth(2).expect("it lies in the target folder").join("examples/serve");
        let mut command = Command::new(serve);
        command.arg(folder.join("toolpost.toml")).env("XDG_CACHE_HOME", folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the example is built: `cargo build --workspace --examples`");
        let mut said = String::new();
        BufReader::new(process.stderr.take().expect("a pipe")).read_line(&mut said).expect("a line");
        assert_eq!(said, "ready\n");
        let (answer, answers) = channel();
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        std::thread::spawn(move || {
            // The last line of one that was killed may be half a line.
            let lines = lines.map_while(Result::ok).map_while(|line| serde_json::from_str(&line).ok());
            lines.for_each(|line| drop(answer.send(line)));
        });
        Host { process, answers }
    }

    /// Makes calls at once, without a look at the answers: a call for each name of an order.
    fn ask<'a>(&mut self, orders: impl Iterator<Item = &'a String>, amount: u32) {
        let line = |order: &String| {
            let arguments = json!({"order_id": order, "item": "bolt", "amount": amount});
            format!("{}\n", json!({"id": order, "tool": "orders_create", "arguments": arguments}))
        };
        let lines: String = orders.map(line).collect();
        let mut stdin = self.process.stdin.take().expect("it was asked before");
        // One that is killed reads no further.
        std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    }

    /// The answers that come until then, at most so many.
    fn answers(&self, count: usize, until: Instant) -> Vec<Value> {
        let mut answers = Vec::new();
        while answers.len() < count {
            match self.answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(answer) => answers.push(answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        answers
    }
}

/// What the callers know of their orders.
#[derive(Default)]
struct Known {
    receipts: BTreeMap<String, Value>,
    /// Orders of which they were told that nobody knows.
    unknown: BTreeSet<String>,
}

impl Known {
    /// Takes answers in. All receipts of an order are the same one.
    fn hear(&mut self, answers: &[Value]) {
        for answer in answers {
            let order = answer["id"].as_str().expect("its order").to_owned();
            match (answer.get("result"), answer["error"].as_str()) {
                (Some(receipt), _) => {
                    let first = self.receipts.entry(order).or_insert_with(|| receipt.clone());
                    assert_eq!(first, receipt);
                }
                (None, Some("outcome_unknown")) => drop(self.unknown.insert(order)),
                // They are free to come again.
                (None, Some("tool_failed" | "circuit_open" | "timed_out" | "busy" | "key_in_use")) => {}
                (None, _) => panic!("{answer}"),
            }
        }
    }

    fn is_settled(&self, order: &str) -> bool {
        self.receipts.contains_key(order) || self.unknown.contains(order)
    }
}

/// So many calls, in any order, of these orders: each of them often.
fn duplicates(orders: &[String]) -> Vec<&String> {
    let mut calls: Vec<_> = orders.iter().cycle().take(CALLS).collect();
    fastrand::shuffle(&mut calls);
    calls
}

/// Hosts that are killed with a thousand calls under way, so often, at any moment, one after the other on the same store; and
/// one that is not. What the callers know then, and how many hosts were killed while a call was under way.
fn killed(folder: &Path, kills: usize) -> (Known, usize) {
    let (mut known, mut orders, mut unsettled) = (Known::default(), Vec::new(), Vec::<String>::new());
    let (mut took, mut amid) = (Duration::ZERO, 0);
    for round in 0..=kills {
        let new: Vec<_> = (0..NEW).map(|n| format!("o-{round}-{n}")).collect();
        fastrand::shuffle(&mut unsettled);
        let asked: Vec<_> = new.iter().chain(unsettled.iter().take(NEW / 2)).cloned().collect();
        let mut host = Host::start(folder);
        let begun = Instant::now();
        host.ask(duplicates(&asked).into_iter(), 3);
        let lives = if round == 0 { WAIT_MAX } else { took.mul_f64(fastrand::f64()) };
        let answers = host.answers(CALLS, begun + lives);
        if round == 0 {
            assert_eq!(answers.len(), CALLS, "a host that lives answers every call");
            took = begun.elapsed();
        }
        amid += usize::from(answers.len() < CALLS);
        // kill -9
        drop(host);
        known.hear(&answers);
        orders.extend(new);
        unsettled = orders.iter().filter(|order| !known.is_settled(order)).cloned().collect();
    }
    // What is left is asked for until it is settled.
    let until = Instant::now() + WAIT_MAX;
    while !unsettled.is_empty() {
        assert!(Instant::now() < until, "never settled: {unsettled:?}");
        let mut host = Host::start(folder);
        host.ask(unsettled.iter(), 3);
        known.hear(&host.answers(unsettled.len(), until));
        unsettled.retain(|order| !known.is_settled(order));
    }
    (known, amid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_duplicates_at_once_are_charged_once_and_all_get_the_same_receipt() {
    let shop = shop(Manner::Flaky, true).await;
    let folder = shop.settings(&[]);
    let mut host = Host::start(folder.path());
    let (order, mut known) = ("o-1".to_owned(), Known::default());
    host.ask(duplicates(std::slice::from_ref(&order)).into_iter(), 3);
    let answers = host.answers(CALLS, Instant::now() + WAIT_MAX);
    assert_eq!(answers.len(), CALLS);
    known.hear(&answers);
    let receipts = answers.iter().filter(|answer| answer.get("result").is_some()).count();
    // Five attempts of one call may all be out of luck; then others follow, and no receipt was handed out before.
    assert!(receipts == CALLS || shop.books().requests > 5, "{receipts} receipts");
    assert_eq!(shop.books().charges[&order], [known.receipts[&order].clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_shop_charges_for_every_call() {
    let shop = shop(Manner::Reliable(0), false).await;
    let folder = shop.settings(&[("key = { fields = [\"/order_id\"] }", "key = \"none\"")]);
    let mut host = Host::start(folder.path());
    host.ask(["o-1".to_owned()].iter().cycle().take(10), 3);
    assert_eq!(host.answers(10, Instant::now() + WAIT_MAX).len(), 10);
    assert_eq!(shop.books().charged(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_killed_a_hundred_times_charge_every_order_once_at_a_shop_that_knows_its_keys() {
    let shop = shop(Manner::Flaky, true).await;
    let folder = shop.settings(&[]);
    let (known, amid) = killed(folder.path(), 100);
    let books = shop.books();
    eprintln!(
        "{amid} killed amid calls; {} orders, {} requests, {} known",
        known.receipts.len(),
        books.requests,
        books.known
    );
    assert_eq!(known.unknown, BTreeSet::new());
    for (order, receipt) in &known.receipts {
        assert_eq!(books.charges[order].as_slice(), std::slice::from_ref(receipt));
    }
    assert_eq!(books.charges.len(), known.receipts.len());
    assert!(amid > 50 && books.known > 10, "{amid} kills amid calls, {} orders that came again", books.known);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_killed_a_hundred_times_charge_no_order_twice_at_a_shop_that_knows_nothing() {
    let shop = shop(Manner::Flaky, false).await;
    let folder = shop.settings(&[("\nidempotent = true", ""), (", idempotency_key = true", "")]);
    let (known, amid) = killed(folder.path(), 100);
    let books = shop.books();
    eprintln!(
        "{amid} killed amid calls; {} receipts, {} unknown, {} charges",
        known.receipts.len(),
        known.unknown.len(),
        books.charged()
    );
    for (order, charges) in &books.charges {
        assert_eq!(charges.len(), 1, "{order}: {charges:?}");
    }
    for (order, receipt) in &known.receipts {
        assert_eq!(&books.charges[order][0], receipt);
        assert!(!known.unknown.contains(order), "{order}");
    }
    // What nobody knows is told as that, and half of it was charged.
    let unknown = known.unknown.iter().filter(|order| books.charges.contains_key(*order)).count();
    assert!(amid > 50 && unknown > 10, "{amid} kills amid calls, {unknown} charges of which nobody was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_once_about_a_thousand_calls_of_one_large_order() {
    let shop = shop(Manner::Reliable(0), true).await;
    let folder = shop.settings(&[]);
    let mut host = Host::start(folder.path());
    let order = "o-large".to_owned();
    host.ask(duplicates(std::slice::from_ref(&order)).into_iter(), 5_000);
    let until = Instant::now() + WAIT_MAX;
    let question = loop {
        let output = toolpost(folder.path(), &["approvals", "list", "--json"]);
        let listed: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", page(&output)));
        let pending = listed["questions"].as_array().unwrap_or_else(|| panic!("{listed}"));
        assert!(pending.len() < 2, "{listed}");
        match pending.first() {
            Some(question) => break question["id"].as_str().expect("an id").to_owned(),
            None => assert!(Instant::now() < until, "nobody is asked"),
        }
    };
    assert!(host.answers(1, Instant::now() + Duration::from_millis(300)).is_empty());
    assert_eq!(shop.books().requests, 0);
    let allowed = toolpost(folder.path(), &["approvals", "allow", &question]);
    assert!(allowed.status.success(), "{}", page(&allowed));
    let answers = host.answers(CALLS, until);
    let others = answers.iter().find(|answer| answer.get("result").is_none());
    assert_eq!((answers.len(), others), (CALLS, None));
    assert_eq!(shop.books().charges[&order].len(), 1);
}
