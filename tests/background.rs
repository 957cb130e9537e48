//! Tasks by a host that is killed with a thousand of them in flight. The shop counts its charges.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the host that is killed says what it has")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use toolpost::core::task::{How, Query, Standing, TaskId};
use toolpost::store::tasks::TaskTable;
use toolpost::{Builder, Call, Host, Settings, Store, Tasks};
use toolpost_tests::prebuilt;
use toolpost_tests::shop::{Manner, Shop};

/// Tasks that have not ended when the host is killed.
const IN_FLIGHT: usize = 1_000;

/// How often it is killed.
const KILLS: usize = 20;

/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Settings in which nothing is known again by a key: a call that is made twice is charged twice.
async fn settings(shop: &Shop) -> tempfile::TempDir {
    let folder = shop.settings(&[
        ("\nidempotent = true", ""),
        ("key = { fields = [\"/order_id\"] }", "key = \"none\""),
        (", idempotency_key = true", ""),
    ]);
    let file = folder.path().join("toolpost.toml");
    let settings = std::fs::read_to_string(&file).expect("settings");
    let more =
        format!("\n[tasks]\nparallel = 64\nreruns = 1000\n\n[components.text]\npath = \"{}\"\n", prebuilt("text"));
    std::fs::write(&file, settings + &more).expect("written");
    folder
}

async fn host(folder: &Path) -> Host {
    let settings = Settings::read(&folder.join("toolpost.toml")).expect("settings");
    Builder::new().settings(settings).build().await.expect("a host")
}

/// The process that is killed: this very test, in a process of its own. It takes up what was left, files what is missing to a
/// thousand, and says each task once it is filed; or it goes on until nothing is left.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is run by the other test, and killed"]
async fn victim() {
    let [folder, round, last] = ["FOLDER", "ROUND", "LAST"].map(|name| std::env::var(name).expect("it is said"));
    let host = host(Path::new(&folder)).await;
    host.run_tasks();
    if last == "yes" {
        while !host.tasks().is_idle().await.expect("a store") {
            sleep(Duration::from_millis(20)).await;
        }
        println!("idle");
        return;
    }
    let all = Query { limit: 10_000, ..Query::default() };
    let listed = host.tasks().list(&all).await.expect("a store");
    let open = listed.tasks.iter().filter(|task| !task.standing().has_ended()).count();
    let mut filing = JoinSet::new();
    for number in 0..IN_FLIGHT.saturating_sub(open) {
        let (host, order) = (host.clone(), format!("o-{round}-{number}"));
        filing.spawn(async move {
            let call = match number % 5 {
                0 => Call::new("text_word_count", json!({"text": "one two"})),
                _ => Call::new("orders_create", json!({"order_id": order, "item": "bolt", "amount": 3})),
            };
            let task = host.spawn(call).await.expect("filed");
            println!("filed {task} {}", if number % 5 == 0 { "-" } else { &order });
        });
    }
    filing.join_all().await;
    println!("ready {open}");
    std::future::pending().await
}

struct Victim {
    process: Child,
    lines: Receiver<String>,
}

impl Drop for Victim {
    fn drop(&mut self) {
        // kill -9
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Victim {
    fn start(folder: &Path, round: usize, last: bool) -> Victim {
        let mut command = Command::new(std::env::current_exe().expect("the test has a path"));
        command.args(["--exact", "victim", "--ignored", "--nocapture"]).stdout(Stdio::piped());
        command.env("FOLDER", folder).env("ROUND", round.to_string()).env("LAST", if last { "yes" } else { "no" });
        command.env("XDG_CACHE_HOME", folder);
        let mut process = command.spawn().expect("started");
        let (line, lines) = channel();
        let read = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        std::thread::spawn(move || read.map_while(Result::ok).for_each(|read| drop(line.send(read))));
        Victim { process, lines }
    }

    /// What it says until then, or until it says that.
    fn says(&self, wanted: &str, until: Instant) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let is_it = line.starts_with(wanted);
                    said.push(line);
                    if is_it {
                        return said;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return said,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_killed_with_a_thousand_tasks_in_flight_lose_none_and_double_none() {
    let shop = Shop::open(([127, 0, 0, 1], 0).into(), Manner::Reliable(0), false).await.expect("a shop");
    let folder = settings(&shop).await;
    let begun = Instant::now();
    // The tasks of which somebody was told that they are filed, and the orders of those that make one.
    let mut filed = BTreeMap::<String, String>::new();
    let (mut left, mut amid) = (Vec::new(), 0);
    for round in 0..KILLS {
        let victim = Victim::start(folder.path(), round, false);
        let mut said = victim.says("filed", Instant::now() + WAIT_MAX);
        let lives = Duration::from_millis(fastrand::u64(0..1_500));
        said.extend(victim.says("never", Instant::now() + lives));
        drop(victim);
        amid += usize::from(said.iter().any(|line| line.starts_with("ready")));
        left.extend(said.iter().filter_map(|line| line.strip_prefix("ready ")).map(str::to_owned));
        let of_task = said.iter().filter_map(|line| line.strip_prefix("filed ")?.split_once(' '));
        filed.extend(of_task.map(|(task, order)| (task.to_owned(), order.to_owned())));
    }
    let last = Victim::start(folder.path(), KILLS, true);
    assert_eq!(last.says("idle", Instant::now() + WAIT_MAX).last().map(String::as_str), Some("idle"));
    drop(last);

    let charges = shop.books().charges;
    let tasks = Tasks::new(Arc::new(TaskTable::new(Arc::new(Store::at(folder.path().join("kept"))))));
    let (mut done, mut unknown, mut charged, mut reruns) = (0, 0, 0, 0);
    for (task, order) in &filed {
        let id = TaskId::of_text(task).expect("an id");
        let sheet = tasks.get(&id).await.expect("a store").unwrap_or_else(|| panic!("{task} is lost"));
        let count = charges.get(order).map_or(0, Vec::len);
        let shown = format!("{task} {order}: {count} charges, {:?}, {:?}", sheet.standing(), sheet.notes.effects);
        reruns += sheet.record.lost;
        match sheet.record.ended().map(|ended| ended.how()) {
            Some(How::Done) => {
                assert_eq!(count, usize::from(order != "-"), "{shown}");
                done += 1;
            }
            Some(How::Unknown) => {
                let listed: Vec<String> = sheet.notes.effects.iter().map(|(_, effect)| effect.words()).collect();
                assert_eq!(listed, [format!("net.post http://{}/orders", shop.address)], "{shown}");
                assert!(count <= 1, "{shown}");
                (unknown, charged) = (unknown + 1, charged + count);
            }
            Some(How::Failed | How::Cancelled) | None => panic!("{shown}"),
        }
    }
    // Nothing was charged for that nobody has filed: one that was killed may have filed more than it could say.
    let all = Query { limit: 100_000, ..Query::default() };
    let open = Query { standing: Some(Standing::Queued), ..all.clone() };
    assert!(tasks.list(&open).await.expect("a store").tasks.is_empty());
    for (order, charges) in &charges {
        assert_eq!(charges.len(), 1, "{order}");
    }
    eprintln!(
        "{} filed, {done} done, {unknown} unknown ({charged} of them charged), {reruns} runs lost and made again, \
         {amid} kills behind filing, left at starts: {}; {:?}",
        filed.len(),
        left.join(" "),
        begun.elapsed()
    );
    assert!(filed.len() > IN_FLIGHT && unknown > 10 && reruns > 10 && amid > 5);
}
