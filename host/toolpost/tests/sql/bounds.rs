//! What bounds a tool in a database: rows, bytes, statements, time, connections; and a server that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use toolpost::{ErrorKind, Outcome};

use crate::ground::{
    Ground, Kind, PASSWORD, call, effects, error, json_of, on_every_kind, on_every_server, rows, steps,
};

on_every_kind!(
    an_answer_has_no_more_rows_and_bytes_than_it_may,
    an_attempt_runs_no_more_statements_than_it_may,
    a_statement_that_takes_too_long_is_ended_and_its_connection_is_free_again,
    what_the_end_of_the_attempt_cuts_off_did_not_happen,
    many_calls_at_once_never_have_more_connections_than_there_may_be,
    a_call_that_gets_no_connection_in_time_says_so,
);

on_every_server!(
    a_server_that_goes_away_fails_the_tool_at_once_and_its_breaker_opens,
    a_connection_that_was_closed_meanwhile_is_made_anew,
    a_commit_that_is_cut_off_is_not_known,
    the_address_is_nowhere_to_be_seen,
);

/// A query that takes ten seconds, and a change that does.
fn slow(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Sqlite => (
            "with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n",
            "update stock set available = (with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n)",
        ),
        Kind::Postgres => ("select pg_sleep(10)", "update stock set available = 0 where pg_sleep(5) is not null"),
        Kind::Mysql => ("select sleep(10)", "update stock set available = sleep(5)"),
    }
}

/// Whether every change is told as one that did not happen.
fn are_undone(outcome: &Outcome) -> bool {
    let effects = effects(outcome);
    let mut changes = effects.iter().filter(|line| line.starts_with("sql.execute")).peekable();
    changes.peek().is_some() && changes.all(|line| line.ends_with(" Failed"))
}

async fn an_answer_has_no_more_rows_and_bytes_than_it_may(ground: Ground) {
    let query = json!({"statement": "select item from stock"});
    let host = ground.host("max_rows = 2").await;
    let found = json_of(call(&host, "database_query", query.clone()).await).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 2);
    let host = ground.host("max_rows = 1").await;
    let refused = call(&host, "database_query", query.clone()).await.result.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
    assert_eq!(
        refused.message,
        "the answer has more than 1 rows; the operator can raise `max_rows` in the grant of the database `shop`; the tool ended \
         with: the answer has more than 1 rows"
    );
    let host = ground.host("max_bytes = 40").await;
    let refused = call(&host, "database_query", query.clone()).await.result.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
    assert!(
        refused.message.starts_with("the answer is longer than 40 B; the operator can raise `max_bytes`"),
        "{refused:?}"
    );
    // It is cut off where it is too long, and not at its end, of which there is none here.
    let endless = match ground.kind {
        Kind::Sqlite => "with recursive n (i) as (select 1 union all select i + 1 from n) select i from n",
        Kind::Postgres => "select * from generate_series(1, 30000000)",
        Kind::Mysql => {
            "select a.column_name from information_schema.columns a, information_schema.columns b, information_schema.columns c"
        }
    };
    let host = ground.host("timeout = \"20s\"").await;
    let begun = Instant::now();
    let refused = call(&host, "database_query", json!({"statement": endless})).await.result.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(call(&host, "database_query", query).await.result.is_ok());
}

async fn an_attempt_runs_no_more_statements_than_it_may(ground: Ground) {
    let host = ground.host("access = \"write\", max_statements = 2").await;
    let one = ground.step("execute", "update stock set available = available - 1", json!(null));
    let (came, outcome) = steps(&host, json!([one, one, one])).await;
    assert_eq!(error(&came[2]), ("exceeded", "the tool has run the 2 statements that its grant allows"));
    assert_eq!(effects(&outcome)[2], "sql.execute shop: UPDATE stock Refused");
    assert_eq!(ground.apples().await, 3);
    let many: Vec<_> = (0..1_001).map(|_| json!("null")).collect();
    let (came, _) = steps(&host, json!([{"query": {"sql": "select 1", "values": many}}])).await;
    assert_eq!(error(&came[0]).0, "exceeded");
    let long = format!("select '{}'", "x".repeat(300_000));
    let (came, _) = steps(&host, json!([{"query": {"sql": long}}])).await;
    assert_eq!(error(&came[0]), ("denied", "a tool may not use a statement of that length"));
}

async fn a_statement_that_takes_too_long_is_ended_and_its_connection_is_free_again(ground: Ground) {
    let settings = ground.settings("access = \"write\", timeout = \"300ms\"", "max_connections = 1");
    let host = ground.host_of(&settings).await;
    let (query, change) = slow(ground.kind);
    let begun = Instant::now();
    let (came, outcome) = steps(
        &host,
        json!([
            ground.step("query", query, json!(null)),
            ground.step("execute", change, json!(null)),
            "begin-write",
            ground.step("tx-execute", "update stock set available = 1", json!(null)),
            ground.step("tx-execute", change, json!(null)),
            ground.step("tx-query", "select 1", json!(null)),
            "commit",
        ]),
    )
    .await;
    let late = ("unavailable", "the database `shop` did not answer within 300ms");
    assert_eq!((error(&came[0]), error(&came[1]), error(&came[4])), (late, late, late));
    assert_eq!((error(&came[5]).1, error(&came[6]).1), ("the transaction is over", "the transaction is over"));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(are_undone(&outcome), "{:?}", effects(&outcome));
    let (came, _) = steps(&host, json!([ground.step("query", "select 1", json!(null))])).await;
    assert_eq!(rows(&came[0]), &json!([[{"integer": 1}]]));
    assert_eq!(ground.apples().await, 5);
}

async fn what_the_end_of_the_attempt_cuts_off_did_not_happen(ground: Ground) {
    let settings = ground.settings("access = \"write\"", "max_connections = 1\n[limits]\ntime = \"1s\"");
    let host = ground.host_of(&settings).await;
    let take = ground.step("tx-execute", "update stock set available = 0", json!(null));
    let arguments = [
        json!(["begin-write", take, {"wait": 5_000}, "commit"]),
        json!([ground.step("execute", slow(ground.kind).1, json!(null))]),
    ];
    for steps in arguments {
        let outcome = call(&host, "transact_run", json!({"database": "shop", "steps": steps})).await;
        assert_eq!(outcome.result.as_ref().unwrap_err().kind, ErrorKind::TimedOut);
        assert!(are_undone(&outcome), "{:?}", effects(&outcome));
    }
    assert_eq!(ground.apples().await, 5);
    // The one connection there may be is closed, and nothing of it holds a lock.
    let (came, _) = steps(&host, json!([ground.step("execute", "update stock set available = 3", json!(null))])).await;
    assert_eq!(came[0]["executed"]["affected"], 2, "{came:?}");
}

async fn many_calls_at_once_never_have_more_connections_than_there_may_be(ground: Ground) {
    let way = if ground.kind == Kind::Sqlite { None } else { Some(ground.way().await) };
    let at = way.as_ref().map(|way| way.at.as_str());
    let settings = ground.settings_at(at, "access = \"write\", timeout = \"60s\"", "max_connections = 3");
    let host = ground.host_of(&settings).await;
    let place = match at {
        Some(at) => Place::Port(at.rsplit(':').next().unwrap().parse().unwrap()),
        None => Place::File(ground.file()),
    };
    let over = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(place, over.clone()));
    let mut calls = Vec::new();
    for number in 0..200 {
        let host = host.clone();
        let way = if number % 2 == 0 { "execute" } else { "query" };
        let statement = if number % 2 == 0 { "update stock set available = available + 1" } else { "select 1" };
        let step = ground.step(way, statement, json!(null));
        calls.push(tokio::spawn(async move { steps(&host, json!([step])).await.0 }));
    }
    for call in calls {
        let came = call.await.unwrap();
        assert!(came[0].get("error").is_none(), "{came:?}");
    }
    over.store(true, Ordering::Relaxed);
    let most = watching.await.unwrap();
    assert!((1..=3).contains(&most), "{most} connections");
    assert_eq!(ground.apples().await, 105);
}

/// The most connections of the host that there are at once. One that says goodbye is there for a moment longer, while the next one
/// is made already: what counts is what five looks in a row have seen.
async fn watch(place: Place, over: Arc<AtomicBool>) -> usize {
    let (mut most, mut seen) = (0, [0; 5]);
    while !over.load(Ordering::Relaxed) {
        let now = match &place {
            Place::File(path) => {
                let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
                files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == *path)).count()
            }
            // Connections to that port of this machine, of which this side has not said that it is done (state 1). The server
            // itself sees them a moment longer.
            Place::Port(port) => {
                let open = format!(" 0100007F:{port:04X} 01 ");
                std::fs::read_to_string("/proc/self/net/tcp").unwrap().matches(&open).count()
            }
        };
        seen.rotate_left(1);
        seen[4] = now;
        most = most.max(*seen.iter().min().unwrap());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    most
}

/// Where the connections of one host lead, and of no other.
enum Place {
    File(std::path::PathBuf),
    Port(u16),
}

async fn a_call_that_gets_no_connection_in_time_says_so(ground: Ground) {
    let settings = ground.settings("timeout = \"300ms\"", "max_connections = 1");
    let host = ground.host_of(&settings).await;
    let holding = host.clone();
    let holds = tokio::spawn(async move { steps(&holding, json!(["begin-read", {"wait": 1_500}])).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (came, _) = steps(&host, json!([ground.step("query", "select 1", json!(null))])).await;
    assert_eq!(error(&came[0]), ("unavailable", "all connections to the database `shop` are in use"));
    holds.await.unwrap();
}

/// A way to a server, that can be closed.
struct Way {
    at: String,
    closed: Arc<tokio::sync::Notify>,
    /// Whether what goes to the server is kept back from now on.
    mute: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let (closed, mute) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicBool::new(false)));
        let (ended, muted) = (closed.clone(), mute.clone());
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(&server).await.unwrap();
                let (ended, muted) = (ended.clone(), muted.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(near, far, muted) => {}
                        () = ended.notified() => {}
                    }
                });
            }
        });
        Way { at, closed, mute, task }
    }

    /// The connections break.
    fn cut(&self) {
        self.closed.notify_waiters();
    }

    /// They break, and no other can be made.
    fn close(&self) {
        self.task.abort();
        self.cut();
    }
}

async fn pass(near: TcpStream, far: TcpStream, muted: Arc<AtomicBool>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let there = async {
        let mut bytes = vec![0; 8 << 10];
        loop {
            let read = from_near.read(&mut bytes).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            // The commit does not get through.
            if muted.load(Ordering::Relaxed) && bytes[..read].windows(6).any(|word| word == b"COMMIT") {
                return;
            }
            if to_far.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        _ = copy(&mut from_far, &mut to_near) => {}
    }
}

impl Ground {
    async fn way(&self) -> Way {
        let address = self.address(None);
        let place = address.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        Way::to(place).await
    }
}

async fn a_server_that_goes_away_fails_the_tool_at_once_and_its_breaker_opens(ground: Ground) {
    let way = ground.way().await;
    let settings = ground.settings_at(Some(&way.at), "access = \"write\"", "max_connections = 2");
    let host = ground.host_guarded(&settings, "kind = \"standard\"\nconsecutive = 3").await;
    let query = json!({"statement": "select 1"});
    assert!(call(&host, "database_query", query.clone()).await.result.is_ok());
    // In the middle of a statement, in a transaction.
    let running = host.clone();
    let sleeping = json!({"database": "shop", "steps": [
        "begin-write",
        ground.step("tx-execute", "update stock set available = 0", json!(null)),
        ground.step("tx-query", slow(ground.kind).0, json!(null)),
    ]});
    let running = tokio::spawn(async move { call(&running, "transact_run", sleeping).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let begun = Instant::now();
    way.close();
    let outcome = running.await.unwrap();
    let came = outcome.result.as_ref().unwrap().value.clone();
    assert_eq!(error(&came[2]), ("unavailable", "the database `shop` does not answer"));
    assert!(are_undone(&outcome), "{:?}", effects(&outcome));
    for number in 0..4 {
        let failed = call(&host, "database_query", query.clone()).await.result.unwrap_err();
        match number {
            0..3 => {
                assert_eq!(failed.kind, ErrorKind::ToolFailed { retryable: true }, "{failed:?}");
                assert!(failed.message.contains("the database `shop` does not answer"), "{failed:?}");
            }
            _ => {
                assert_eq!(failed.kind, ErrorKind::CircuitOpen, "{failed:?}");
                assert!(failed.message.contains("`sql:shop` failed too often and is left alone"), "{failed:?}");
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ground.apples().await, 5);
}

async fn a_connection_that_was_closed_meanwhile_is_made_anew(ground: Ground) {
    let way = ground.way().await;
    let host = ground.host_of(&ground.settings_at(Some(&way.at), "access = \"write\"", "max_connections = 1")).await;
    for _ in 0..3 {
        let (came, _) = steps(&host, json!([ground.step("query", "select 1", json!(null))])).await;
        assert_eq!(rows(&came[0]), &json!([[{"integer": 1}]]));
        // It is given back when it is clean, which nobody waits for.
        tokio::time::sleep(Duration::from_millis(100)).await;
        way.cut();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_commit_that_is_cut_off_is_not_known(ground: Ground) {
    let way = ground.way().await;
    let host = ground.host_of(&ground.settings_at(Some(&way.at), "access = \"write\"", "max_connections = 1")).await;
    let (came, _) = steps(&host, json!([ground.step("query", "select 1", json!(null))])).await;
    assert!(came[0]["rows"].is_object());
    way.mute.store(true, Ordering::Relaxed);
    let take = "update stock set available = 0";
    let (came, outcome) = steps(
        &host,
        json!([
            ground.step("execute", take, json!(null)),
            "begin-write",
            ground.step("tx-execute", take, json!(null)),
            "commit",
        ]),
    )
    .await;
    let unknown = ("unknown-outcome", "the database `shop` was lost while it made the change final");
    assert_eq!((error(&came[0]), error(&came[3])), (unknown, unknown));
    assert_eq!(
        effects(&outcome),
        [
            "sql.execute shop: UPDATE stock Indeterminate",
            "sql.execute shop: UPDATE stock Indeterminate",
            "sql.commit shop Indeterminate",
        ]
    );
}

async fn the_address_is_nowhere_to_be_seen(ground: Ground) {
    for at in [None, Some("127.0.0.1:1")] {
        let host = ground.host_of(&ground.settings_at(at, "access = \"write\"", "")).await;
        let statements = ["select 1", "select nothing", "select current_user", "select * from nowhere"];
        for statement in statements {
            let outcome = call(&host, "database_query", json!({"statement": statement})).await;
            let told = format!("{:?} {:?}", outcome.result, outcome.report);
            assert!(!told.contains(PASSWORD) && !told.contains("://"), "{told}");
        }
        let (came, _) = steps(
            &host,
            json!([ground.step("query", "select concat(cast(? as char(64)))", json!([{"text": PASSWORD}]))]),
        )
        .await;
        assert!(!came[0].to_string().contains(PASSWORD), "{came:?}");
    }
    let text = ground.settings("access = \"read\"", "").replace("${secret:DSN}", "postgres://me:hunter22@host/db");
    let faults = toolpost::Settings::parse(&text, &ground.dir.path().join("toolpost.toml")).unwrap_err();
    let told = faults.iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("expected the name of a secret") && !told.contains("hunter22"), "{told}");
}
