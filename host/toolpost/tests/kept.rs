//! Instances that outlive a call, as settings have them: what of a database, of a secret and of the settings themselves reaches from
//! one call into the next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};
use tempfile::TempDir;
use toolpost::core::tell::InstanceReport;
use toolpost::{Builder, Call, Caller, Host, Outcome, Reloader, Settings};

const SECRET: &str = "a-canary-of-the-host";

/// A folder with a database of one apple, a secret, and settings.
struct Ground(TempDir);

impl Ground {
    async fn new(keep: &str, more: &str) -> Self {
        let ground = Ground(TempDir::new().unwrap());
        std::fs::write(ground.0.path().join("key"), SECRET).unwrap();
        let mut database = ground.database().await;
        for statement in ["create table stock (item text, available integer)", "insert into stock values ('apple', 1)"]
        {
            sqlx::query(statement).execute(&mut database).await.unwrap();
        }
        ground.says(keep, more);
        ground
    }

    async fn database(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.0.path().join("main.db")).create_if_missing(true);
        options.connect().await.unwrap()
    }

    async fn apples(&self) -> i64 {
        let query = AssertSqlSafe("select available from stock".to_owned());
        sqlx::query(query).fetch_one(&mut self.database().await).await.unwrap().get(0)
    }

    fn says(&self, keep: &str, more: &str) {
        let holder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-examples/prebuilt/holder.wasm");
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");
        let settings = format!(
            "host.cache = {cache:?}\n[secrets]\nKEY = {{ file = \"key\" }}\n[sql.main]\nkind = \"sqlite\"\npath = \"main.db\"\n\
             [components.holder]\npath = {holder:?}\nguard.breaker = {{ kind = \"none\" }}\nlifetime = {keep:?}\n{more}\n"
        );
        std::fs::write(self.0.path().join("toolpost.toml"), settings).unwrap();
    }

    async fn load(&self) -> Reloader {
        let file = self.0.path().join("toolpost.toml");
        let loaded = Builder::new().settings(Settings::read(&file).unwrap()).in_memory().load().await;
        assert_eq!(loaded.faults, []);
        loaded.reloader(file)
    }
}

const SQL: &str = "grants.sql = [{ database = \"main\", access = \"write\", tables = [\"stock\"] }]";
const KEY: &str = "grants.secrets = [{ name = \"KEY\" }]";

async fn call(host: &Host, session: &str, tool: &str, arguments: Value) -> Outcome {
    let caller = Caller { session: Some(session.into()), ..Caller::named("ann") };
    host.call(Call::new(format!("holder_{tool}"), arguments).by(caller)).await
}

fn value(outcome: &Outcome) -> Value {
    outcome.result.as_ref().unwrap_or_else(|error| panic!("{error:?}")).value.clone()
}

fn instance(outcome: &Outcome) -> InstanceReport {
    outcome.report.attempts.last().and_then(|attempt| attempt.instance).unwrap()
}

fn effects(outcome: &Outcome) -> Vec<String> {
    let line = |record: &toolpost::core::effect::EffectRecord| {
        format!("{} {} {:?}", record.effect.action, record.effect.target, record.fate)
    };
    outcome.report.effects.iter().map(line).collect()
}

#[tokio::test]
async fn a_transaction_is_undone_with_its_call_and_its_database_can_be_used_again() {
    for (keep, open) in [("session", None), ("warm", Some("the tool left something open"))] {
        let ground = Ground::new(keep, SQL).await;
        let reloader = ground.load().await;
        let host = reloader.host();
        let take = json!({"database": "main", "statement": "update stock set available = 0"});
        for _ in 0..2 {
            let begun = call(host, "s", "begin", take.clone()).await;
            assert_eq!((value(&begun), instance(&begun).retired), (json!(null), open), "{keep}");
            assert_eq!(ground.apples().await, 1, "{keep}: nothing that is open outlives its call");
        }
        let late = call(host, "s", "commit", json!({})).await;
        assert!(late.result.is_err(), "{keep}");
        assert_eq!(ground.apples().await, 1);
        if keep == "session" {
            let asked = call(host, "s", "ask", json!({"statement": "select item from stock"})).await;
            assert_eq!((value(&asked), instance(&asked).calls_before), (json!(1), 3), "a name is nothing open");
            assert_eq!(effects(&asked).len(), 1, "{:?}", asked.report.effects);
        }
    }
}

#[tokio::test]
async fn a_secret_that_is_held_is_used_in_the_name_of_the_call_that_uses_it() {
    for keep in ["session", "warm"] {
        let ground = Ground::new(keep, KEY).await;
        let reloader = ground.load().await;
        let host = reloader.host();
        let first = call(host, "s", "take_secret", json!({"name": "KEY", "text": "one"})).await;
        let next = call(host, "s", "sign", json!({"text": "one"})).await;
        assert_eq!((value(&first), instance(&next).calls_before), (value(&next), 1), "{keep}");
        for outcome in [&first, &next] {
            assert_eq!(effects(outcome), ["secrets.sign KEY Done"], "{keep}");
        }
        // What a call says, the next one's report does not have; and what was masked is masked.
        let said = call(host, "s", "say", json!({"text": SECRET})).await;
        assert!(!said.report.attempts[0].stdout.text.contains(SECRET), "{:?}", said.report.attempts[0].stdout);
        let silent = call(host, "s", "sign", json!({"text": "two"})).await;
        assert!(silent.report.attempts[0].stdout.is_empty());
        assert_eq!((effects(&silent).len(), instance(&silent).calls_before), (1, 3));
    }
}

#[tokio::test]
async fn with_other_grants_a_session_has_another_instance_also_where_the_one_before_is_at_work() {
    for keep in ["session", "warm"] {
        let ground = Ground::new(keep, KEY).await;
        let reloader = ground.load().await;
        let host = reloader.host().clone();
        assert_eq!(value(&call(&host, "s", "count", json!({})).await), json!(1));
        assert!(call(&host, "s", "take_secret", json!({"name": "KEY", "text": "one"})).await.result.is_ok());
        reloader.reload().await.unwrap();
        assert_eq!(value(&call(&host, "s", "count", json!({})).await), json!(2), "{keep}: nothing is changed");

        let busy = host.clone();
        let sleeping = tokio::spawn(async move { call(&busy, "s", "sleep", json!({"ms": 300})).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        ground.says(keep, "");
        reloader.reload().await.unwrap();
        // Another session does not wait for the one that is at work.
        assert_eq!(value(&call(&host, "other", "count", json!({})).await), json!(1), "{keep}");
        let slept = sleeping.await.unwrap();
        assert_eq!((instance(&slept).calls_before, slept.result.is_ok()), (3, true), "{keep}");
        let late = call(&host, "s", "sign", json!({"text": "one"})).await;
        assert!(late.result.unwrap_err().message.contains("nothing is held"), "{keep}");
    }
}
