//! What has a tool done that was ended in the middle? Whatever its report says, and nothing behind its end: at 1,000 random moments of
//! a tool that changes files, keys, rows and a server, ended by its time or with the call around it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::sleep;
use toolpost::core::catalog::shape::{Integer, Shape};
use toolpost::core::effect::{EffectRecord, Fate};
use toolpost::{Builder, Call, EffectClass, ErrorKind, Event, Host, Native, Settings, Sink, Told};

/// Calls, half of them ended by their time and half with the call around them; and how many run at once.
const CALLS: usize = 1_000;
const AT_ONCE: usize = 4;

/// Tools of which each has another time.
const TIMES: usize = 20;

/// Everything in the world that has a tag in it, by the kind of thing.
type World = BTreeMap<&'static str, BTreeSet<String>>;

/// Says yes to every request, and keeps its path.
async fn server() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let keep = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let keep = keep.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut line, mut path) = (String::new(), None);
                while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
                    match line.trim_end() {
                        "" => {
                            keep.lock().unwrap().extend(path.take());
                            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                                return;
                            }
                        }
                        head if path.is_none() => {
                            path = head.split(' ').nth(1).map(|path| path.trim_start_matches('/').to_owned());
                        }
                        _ => {}
                    }
                    line.clear();
                }
            });
        }
    });
    (address, seen)
}

/// Keeps how each call of `busy` ended, by its tag, and when.
#[derive(Default)]
struct Ends(Mutex<BTreeMap<String, End>>, Mutex<BTreeMap<String, String>>);

struct End {
    kind: Option<ErrorKind>,
    effects: Vec<EffectRecord>,
    at: SystemTime,
}

impl Sink for Ends {
    fn tell(&self, told: &Told<'_>) {
        match told.event {
            Event::CallAccepted { call } if call.arguments["tag"].is_string() && call.tool.name.starts_with("busy") => {
                let tag = call.arguments["tag"].as_str().unwrap().to_owned();
                self.1.lock().unwrap().insert(call.call.id.to_string(), tag);
            }
            Event::CallEnded { outcome } => {
                if let Some(tag) = self.1.lock().unwrap().remove(&outcome.call.to_string()) {
                    let effects = outcome.report.effects.clone();
                    let end = End { kind: outcome.failed(), effects, at: SystemTime::now() };
                    self.0.lock().unwrap().insert(tag, end);
                }
            }
            _ => {}
        }
    }
}

async fn host(folder: &Path, address: SocketAddr, ends: &Arc<Ends>) -> Host {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-examples/prebuilt/busy.wasm");
    let component = |name: &str, time: &str| {
        format!(
            "[components.{name}]\npath = {guest:?}\nlimits.time = \"{time}\"\nguard.retry.max_attempts = 1\n\
             guard.breaker = {{ kind = \"none\" }}\n\
             grants.dirs = [{{ host = \"work\", guest = \"/work\", access = \"write\", max_files = 100000 }}]\n\
             grants.kv = [{{ bucket = \"work\", namespace = \"work\", access = \"write\", max_keys = 1000000 }}]\n\
             grants.sql = [{{ database = \"work\", access = \"write\" }}]\n\
             grants.net = [{{ to = \"http://{address}/**\", methods = [\"POST\"], max_requests = 100000 }}]\n"
        )
    };
    let timed = (0..TIMES).map(|at| component(&format!("busy{at}"), &format!("{}ms", 8 + 4 * at)));
    let common = "[store]\ndir = \"kept\"\n[sql.work]\nkind = \"sqlite\"\npath = \"work.db\"\n";
    let settings = common.to_owned() + &timed.collect::<String>();
    std::fs::create_dir(folder.join("work")).unwrap();
    let settings = Settings::parse(&settings, &folder.join("toolpost.toml")).unwrap();
    let stop = Native::new("stop", "Begins work, and goes away").effect(EffectClass::Open);
    let number = || Shape::Integer(Integer::U64);
    let stop = stop.parameter("tool", Shape::String).parameter("tag", Shape::String).parameter("micros", number());
    let builder = Builder::new().settings(settings).sink(ends.clone()).native(stop, move |attempt| async move {
        let said = &attempt.call.arguments;
        let (tool, micros) = (said["tool"].as_str().unwrap(), said["micros"].as_u64().unwrap());
        let work = attempt.call(tool, work(said["tag"].as_str().unwrap(), address));
        tokio::select! {
            outcome = work => Ok(json!(outcome.result.is_ok())),
            () = sleep(Duration::from_micros(micros)) => Ok(json!("gone")),
        }
    });
    builder.build().await.unwrap()
}

fn work(tag: &str, address: SocketAddr) -> serde_json::Value {
    json!({"tag": tag, "url": address.to_string(), "turns": 1_000_000})
}

/// What is there, by kind.
async fn world(
    folder: &Path,
    seen: &Mutex<Vec<String>>,
    rows: &mut SqliteConnection,
    keys: &mut SqliteConnection,
) -> World {
    let files = std::fs::read_dir(folder.join("work")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let rows = sqlx::query("SELECT tag || '-' || turn FROM work").fetch_all(rows).await.unwrap();
    let keys = sqlx::query("SELECT key FROM kv").fetch_all(keys).await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow| row.get::<String, _>(0);
    let posts = seen.lock().unwrap().iter().cloned().collect();
    [
        ("file", files),
        ("row", rows.iter().map(text).collect()),
        ("key", keys.iter().map(text).collect()),
        ("post", posts),
    ]
    .into()
}

/// What a report says of one kind of thing: what was done, and what may have been.
fn told(end: &End, action: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let of = |wanted: Fate| {
        let effects = end.effects.iter().filter(move |it| it.effect.action == action && it.fate == wanted);
        effects.map(|it| it.effect.target.rsplit('/').next().unwrap().to_owned()).collect()
    };
    (of(Fate::Done), of(Fate::Indeterminate))
}

/// Holds a report against the world.
fn check(tag: &str, end: &End, world: &World) -> usize {
    let mut unknown = 0;
    let prefix = format!("{tag}-");
    let mine = |kind: &str| -> BTreeSet<String> {
        world[kind].range(prefix.clone()..).take_while(|name| name.starts_with(&prefix)).cloned().collect()
    };
    for (kind, action) in [("file", "files.create"), ("key", "kv.set"), ("post", "net.post")] {
        let (there, (done, perhaps)) = (mine(kind), told(end, action));
        let missing: Vec<_> = done.difference(&there).collect();
        assert!(missing.is_empty(), "{tag}: {kind} that was told as done is not there: {missing:?}");
        let more: Vec<_> = there.iter().filter(|name| !done.contains(*name) && !perhaps.contains(*name)).collect();
        assert!(more.is_empty(), "{tag}: {kind} is there and was not told: {more:?}, {:?}", end.effects.last());
        assert!(perhaps.len() <= 1, "{tag}: {kind}: {perhaps:?}");
        unknown += perhaps.len();
    }
    // A statement is told without its values: here they are counted.
    let count = |fate| end.effects.iter().filter(|it| it.effect.action == "sql.execute" && it.fate == fate).count();
    let (rows, done, perhaps) = (mine("row").len(), count(Fate::Done), count(Fate::Indeterminate));
    assert!(
        done <= rows && rows <= done + perhaps && perhaps <= 1,
        "{tag}: {rows} rows, {done} told, {perhaps} perhaps"
    );
    unknown + perhaps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_thousand_random_moments_the_report_is_what_the_world_saw_and_nothing_comes_later() {
    let folder = TempDir::new().unwrap();
    let (address, seen) = server().await;
    let database = SqliteConnectOptions::new().filename(folder.path().join("work.db")).create_if_missing(true);
    let mut rows = database.connect().await.unwrap();
    sqlx::query("CREATE TABLE work (tag TEXT, turn INTEGER) STRICT").execute(&mut rows).await.unwrap();
    let ends = Arc::new(Ends::default());
    let host = host(folder.path(), address, &ends).await;
    let calls = (0..CALLS).map(|number| {
        let (host, tag) = (host.clone(), format!("t{number:04}"));
        let tool = format!("busy{}_work", fastrand::usize(..TIMES));
        async move {
            let call = if number % 2 == 0 {
                Call::new(tool, work(&tag, address))
            } else {
                Call::new("stop", json!({"tool": tool, "tag": tag, "micros": fastrand::u64(..80_000)}))
            };
            host.call(call).await
        }
    });
    iter(calls).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    while ends.0.lock().unwrap().len() < CALLS {
        sleep(Duration::from_millis(10)).await;
    }
    // Whatever was still on its way would have come by now.
    sleep(Duration::from_millis(500)).await;
    let keys = SqliteConnectOptions::new().filename(folder.path().join("kept/kv.db"));
    let mut keys = keys.connect().await.unwrap();
    let world = world(folder.path(), &seen, &mut rows, &mut keys).await;
    let ends = std::mem::take(&mut *ends.0.lock().unwrap());
    let (mut unknown, mut turns) = (0, 0);
    for (tag, end) in &ends {
        assert!(
            matches!(end.kind, Some(ErrorKind::TimedOut | ErrorKind::OutcomeUnknown | ErrorKind::Cancelled)),
            "{:?}",
            end.kind
        );
        unknown += check(tag, end, &world);
        for file in world["file"].range(format!("{tag}-")..).take_while(|name| name.starts_with(tag.as_str())) {
            turns += 1;
            let changed = std::fs::metadata(folder.path().join("work").join(file)).unwrap().modified().unwrap();
            assert!(changed <= end.at, "{file} was changed {:?} behind the end", changed.duration_since(end.at));
        }
    }
    // If none was cut off in flight, the moments were not random.
    assert!(turns > CALLS && unknown > 0, "{turns} turns, {unknown} unknown");
}
