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

/// Tools of which each has another time; one more has as much as it wants.
const TIMES: usize = 20;

/// Everything in the world that has a tag in it, by the kind of thing.
type World = BTreeMap<&'static str, BTreeSet<String>>;

/// What a server was asked for, and when.
type Seen = Arc<Mutex<BTreeMap<String, SystemTime>>>;

/// Says yes to every request, and keeps its path.
async fn server() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
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
                            keep.lock().unwrap().extend(path.take().map(|path| (path, SystemTime::now())));
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

/// Keeps how each call of `busy` ended, by its tag.
#[derive(Default)]
struct Ends(Mutex<BTreeMap<String, End>>, Mutex<BTreeMap<String, String>>);

struct End {
    kind: Option<ErrorKind>,
    effects: Vec<EffectRecord>,
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
                    self.0.lock().unwrap().insert(tag, End { kind: outcome.failed(), effects });
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
    let settings = common.to_owned() + &timed.chain([component("busy", "60s")]).collect::<String>();
    std::fs::create_dir(folder.join("work")).unwrap();
    let settings = Settings::parse(&settings, &folder.join("toolpost.toml")).unwrap();
    let stop = Native::new("stop", "Begins work, and goes away").effect(EffectClass::Open);
    let stop = stop.parameter("tag", Shape::String).parameter("micros", Shape::Integer(Integer::U64));
    let builder = Builder::new().settings(settings).sink(ends.clone()).native(stop, move |attempt| async move {
        let said = &attempt.call.arguments;
        let micros = said["micros"].as_u64().unwrap();
        let work = attempt.call("busy_work", work(said["tag"].as_str().unwrap(), address));
        tokio::select! {
            biased;
            outcome = work => Ok(json!(outcome.name())),
            () = sleep(Duration::from_micros(micros)) => Ok(json!("gone")),
        }
    });
    builder.build().await.unwrap()
}

fn work(tag: &str, address: SocketAddr) -> serde_json::Value {
    json!({"tag": tag, "url": address.to_string(), "turns": 1_000_000})
}

/// What is there, by kind.
async fn world(folder: &Path, seen: &Seen, rows: &mut SqliteConnection, keys: &mut SqliteConnection) -> World {
    let files = std::fs::read_dir(folder.join("work")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let rows = sqlx::query("SELECT tag || '-' || turn FROM work").fetch_all(rows).await.unwrap();
    let keys = sqlx::query("SELECT key FROM kv").fetch_all(keys).await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow| row.get::<String, _>(0);
    let posts = seen.lock().unwrap().keys().cloned().collect();
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

/// Whether nothing has happened since the caller was told of the end. Says how many files there are.
fn nothing_behind(tag: &str, end: &End, told_at: SystemTime, world: &World, work: &Path, seen: &Seen) -> usize {
    let mine = |kind: &str| world[kind].range(format!("{tag}-")..).take_while(|name| name.starts_with(tag));
    for file in mine("file") {
        let changed = std::fs::metadata(work.join(file)).unwrap().modified().unwrap();
        assert!(changed <= told_at, "{file} was changed {:?} behind the end", changed.duration_since(told_at));
    }
    // What was on its way to the server gets there, whoever has ended; what was told as done was there.
    let (done, _) = told(end, "net.post");
    let seen = seen.lock().unwrap();
    for post in mine("post").filter(|post| done.contains(*post)) {
        let at = seen[post];
        assert!(at <= told_at, "{post} came {:?} behind the end", at.duration_since(told_at));
    }
    mine("file").count()
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
        async move {
            let is_timed = number % 2 == 0;
            let call = if is_timed {
                Call::new(format!("busy{}_work", fastrand::usize(..TIMES)), work(&tag, address))
            } else {
                Call::new("stop", json!({"tag": tag, "micros": fastrand::u64(..80_000)}))
            };
            let outcome = host.call(call).await;
            // Whoever called is told now: nothing may happen any more, also inside of the call.
            let told = SystemTime::now();
            assert!(is_timed || outcome.result.as_ref().unwrap().value == json!("gone"), "{outcome:?}");
            (tag, is_timed, told)
        }
    });
    let told: Vec<_> = iter(calls).buffer_unordered(AT_ONCE).collect().await;
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
    for (tag, is_timed, told_at) in &told {
        let end = &ends[tag];
        let kind = end.kind.expect("it never ends by itself");
        let as_wanted = match kind {
            ErrorKind::TimedOut | ErrorKind::OutcomeUnknown => *is_timed,
            kind => kind == ErrorKind::Cancelled && !is_timed,
        };
        assert!(as_wanted, "{tag}: {kind:?}");
        unknown += check(tag, end, &world);
        turns += nothing_behind(tag, end, *told_at, &world, &folder.path().join("work"), &seen);
    }
    // If none was cut off in flight, the moments were not random.
    assert!(turns > CALLS && unknown > 0, "{turns} turns, {unknown} unknown");
}
