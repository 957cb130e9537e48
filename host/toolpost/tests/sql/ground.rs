//! A database for one test, and hosts whose tools were granted it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tempfile::TempDir;
use toolpost::{Builder, Call, CallError, Content, Effect, Host, Outcome, Settings};

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mysql,
}

/// The password of the role that the host has in a server.
pub const PASSWORD: &str = "canary-7Zq2-password";

/// A database with a stock of apples and pears, no orders, and a table of secrets.
pub struct Ground {
    pub kind: Kind,
    pub dir: TempDir,
    /// The database of a server.
    name: String,
    /// The server, as one who may do everything.
    admin: String,
}

impl Ground {
    /// A new one; nothing where the server is not there, which is said.
    pub async fn new(kind: Kind) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let admin = match kind {
            Kind::Sqlite => String::new(),
            Kind::Postgres => service("TOOLPOST_POSTGRES")?,
            Kind::Mysql => service("TOOLPOST_MYSQL")?,
        };
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let ground = Ground { kind, dir: TempDir::new().unwrap(), name, admin };
        ground.make().await;
        Some(ground)
    }

    async fn make(&self) {
        match self.kind {
            Kind::Sqlite => {
                std::fs::write(self.file(), "").unwrap();
                self.admin("pragma journal_mode = wal").await;
                self.admin(
                    "create table stock (item text primary key, available integer not null check (available >= 0));
                     create table orders (id integer primary key, call_key text not null unique, item text not null,
                       quantity integer not null);
                     create table secrets (word text)",
                )
                .await;
            }
            Kind::Postgres => {
                let (name, role) = (&self.name, self.role());
                let mut server = sqlx::PgConnection::connect(&self.admin).await.unwrap();
                for statement in [
                    format!("create database {name}"),
                    format!("create role {role} login password '{PASSWORD}'"),
                    format!("grant all on database {name} to {role}"),
                ] {
                    server.execute(AssertSqlSafe(statement)).await.unwrap();
                }
                self.admin(&format!(
                    "create table stock (item text primary key, available bigint not null check (available >= 0));
                     create table orders (id bigint generated always as identity primary key, call_key text not null unique,
                       item text not null, quantity bigint not null);
                     create table secrets (word text);
                     grant all on schema public to {role};
                     grant all on table stock, orders to {role};
                     grant all on all sequences in schema public to {role};
                     create function take_all() returns bigint language sql
                       as 'update stock set available = 0 returning available';
                     grant execute on function take_all to {role}",
                ))
                .await;
            }
            Kind::Mysql => self.make_mysql().await,
        }
        self.admin("insert into stock values ('apple', 5), ('pear', 2)").await;
        self.admin("insert into secrets values ('hunter2')").await;
    }

    async fn make_mysql(&self) {
        let (name, role) = (&self.name, format!("'{}'@'127.0.0.1'", self.role()));
        let mut server = sqlx::MySqlConnection::connect(&self.admin).await.unwrap();
        let make = format!(
            "create database {name} character set utf8mb4;
             create user {role} identified by '{PASSWORD}';
             grant create, drop, alter, execute, create temporary tables on {name}.* to {role};
             use {name};
             create table stock (item varchar(64) primary key, available bigint not null check (available >= 0));
             create table orders (id bigint auto_increment primary key, call_key varchar(64) not null unique,
               item varchar(64) not null, quantity bigint not null);
             create table secrets (word text);
             grant all on {name}.stock to {role};
             grant all on {name}.orders to {role};
             grant all on {name}.kept to {role};
             create function take_all() returns bigint modifies sql data
               begin update stock set available = 0; return 1; end"
        );
        server.execute(sqlx::raw_sql(AssertSqlSafe(make))).await.unwrap();
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    pub fn role(&self) -> String {
        format!("role_{}", self.name)
    }

    /// Runs statements beside the host, as one who may do everything.
    pub async fn admin(&self, statements: &str) {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        match self.kind {
            Kind::Sqlite => drop(self.sqlite().await.execute(statements).await.unwrap()),
            Kind::Postgres => drop(self.postgres().await.execute(statements).await.unwrap()),
            Kind::Mysql => drop(self.mysql().await.execute(statements).await.unwrap()),
        }
    }

    /// A number that is really there.
    pub async fn number(&self, query: &str) -> i64 {
        let query = AssertSqlSafe(query.to_owned());
        match self.kind {
            Kind::Sqlite => sqlx::query(query).fetch_one(&mut self.sqlite().await).await.unwrap().get(0),
            Kind::Postgres => sqlx::query(query).fetch_one(&mut self.postgres().await).await.unwrap().get(0),
            Kind::Mysql => sqlx::query(query).fetch_one(&mut self.mysql().await).await.unwrap().get(0),
        }
    }

    pub async fn apples(&self) -> i64 {
        self.number("select available from stock where item = 'apple'").await
    }

    async fn sqlite(&self) -> sqlx::SqliteConnection {
        let url = format!("sqlite://{}", self.file().display());
        sqlx::SqliteConnection::connect(&url).await.unwrap()
    }

    async fn postgres(&self) -> sqlx::PgConnection {
        let (server, _) = self.admin.rsplit_once('/').unwrap();
        sqlx::PgConnection::connect(&format!("{server}/{}", self.name)).await.unwrap()
    }

    async fn mysql(&self) -> sqlx::MySqlConnection {
        let (server, _) = self.admin.rsplit_once('/').unwrap();
        sqlx::MySqlConnection::connect(&format!("{server}/{}", self.name)).await.unwrap()
    }

    /// The address of the server as the host has it; `at` is another host and port that lead there.
    pub fn address(&self, at: Option<&str>) -> String {
        let place = self.admin.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        let scheme = self.admin.split(':').next().unwrap();
        format!("{scheme}://{}:{PASSWORD}@{}/{}", self.role(), at.unwrap_or(&place), self.name)
    }

    pub fn settings(&self, grant: &str, more: &str) -> String {
        self.settings_at(None, grant, more)
    }

    pub fn settings_at(&self, at: Option<&str>, grant: &str, more: &str) -> String {
        let database = match self.kind {
            Kind::Sqlite => "[sql.shop]\nkind = \"sqlite\"\npath = \"shop.db\"\n".to_owned(),
            Kind::Postgres | Kind::Mysql => {
                std::fs::write(self.dir.path().join("dsn"), self.address(at)).unwrap();
                let kind = format!("{:?}", self.kind).to_lowercase();
                format!(
                    "[secrets]\nDSN = {{ file = \"dsn\" }}\n[sql.shop]\nkind = \"{kind}\"\nurl = \"${{secret:DSN}}\"\n"
                )
            }
        };
        let mut text = format!("{database}{more}\n");
        for guest in ["transact", "database"] {
            let path = format!("{}/../../guest-examples/prebuilt/{guest}.wasm", env!("CARGO_MANIFEST_DIR"));
            text += &format!(
                "[components.{guest}]\npath = \"{path}\"\ngrants.sql = [{{ database = \"shop\", {grant} }}]\n"
            );
        }
        text
    }

    /// A host with that grant.
    pub async fn host(&self, grant: &str) -> Host {
        self.host_of(&self.settings(grant, "max_connections = 5")).await
    }

    /// A host with these settings, whose breakers stay out of the way.
    pub async fn host_of(&self, settings: &str) -> Host {
        self.host_guarded(settings, "kind = \"none\"").await
    }

    pub async fn host_guarded(&self, settings: &str, breaker: &str) -> Host {
        static CACHE: OnceLock<TempDir> = OnceLock::new();
        let cache = CACHE.get_or_init(|| TempDir::new().unwrap()).path().display().to_string();
        let host =
            format!("[host]\ncache = \"{cache}\"\n[guard.retry]\nmax_attempts = 1\n[guard.breaker]\n{breaker}\n");
        let settings = format!("{host}{settings}");
        let file = self.dir.path().join("toolpost.toml");
        std::fs::write(&file, &settings).unwrap();
        let settings = Settings::parse(&settings, &file).unwrap_or_else(|faults| panic!("{faults:?}"));
        Builder::new().settings(settings).in_memory().build().await.unwrap()
    }

    /// A statement with `?` for each value, as the database writes it.
    pub fn sql(&self, statement: &str) -> String {
        if self.kind != Kind::Postgres {
            return statement.to_owned();
        }
        let mut parts = statement.split('?');
        let first = parts.next().unwrap().to_owned();
        parts.enumerate().fold(first, |text, (at, part)| format!("{text}${}{part}", at + 1))
    }

    pub fn step(&self, step: &str, statement: &str, values: Value) -> Value {
        json!({step: {"sql": self.sql(statement), "values": values}})
    }
}

impl Drop for Ground {
    /// Takes the database away, so that a server that stays does not fill up.
    fn drop(&mut self) {
        if self.kind == Kind::Sqlite {
            return;
        }
        let (kind, admin, name, role) = (self.kind, self.admin.clone(), self.name.clone(), self.role());
        let clean = async move {
            if kind == Kind::Mysql {
                let mut server = sqlx::MySqlConnection::connect(&admin).await.ok()?;
                let clean = format!("drop database {name}; drop user '{role}'@'127.0.0.1'");
                return server.execute(sqlx::raw_sql(AssertSqlSafe(clean))).await.ok().map(drop);
            }
            let mut server = sqlx::PgConnection::connect(&admin).await.ok()?;
            server.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.ok()?;
            server.execute(AssertSqlSafe(format!("drop role {role}"))).await.ok().map(drop)
        };
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean);
        };
        std::thread::spawn(run).join().ok();
    }
}

/// The address of a server for tests, which `just services` has started.
fn service(name: &str) -> Option<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/services/env");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    if found.is_none() {
        let required = std::env::var("TOOLPOST_SERVICES").is_ok_and(|value| value == "required");
        assert!(!required, "the tests' servers do not run: `just services`");
        // Past what keeps back the words of a test that succeeds, and once for each server.
        static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        if SAID.lock().unwrap().insert(name.to_owned()) {
            let said = format!("left out: {name} is not there; `just services` starts it\n");
            std::io::stderr().write_all(said.as_bytes()).unwrap();
        }
    }
    found
}

/// Calls a tool.
pub async fn call(host: &Host, tool: &str, arguments: Value) -> Outcome {
    host.call(Call::new(tool, arguments)).await
}

/// The JSON in which a tool answered, or why it did not.
pub fn json_of(outcome: Outcome) -> Result<Value, CallError> {
    let output = outcome.result?;
    match output.content.as_slice() {
        [Content::Json { value }] => Ok(value.clone()),
        other => panic!("{other:?} is no JSON"),
    }
}

/// Runs steps, and gives what came of each.
pub async fn steps(host: &Host, steps: Value) -> (Vec<Value>, Outcome) {
    let outcome = call(host, "transact_run", json!({"database": "shop", "steps": steps})).await;
    let came = outcome.result.as_ref().unwrap_or_else(|error| panic!("{error:?}")).value.clone();
    (came.as_array().unwrap().clone(), outcome)
}

/// The effects, each with what became of it.
pub fn effects(outcome: &Outcome) -> Vec<String> {
    let line = |effect: &Effect, fate| format!("{} {} {fate:?}", effect.action, effect.target);
    outcome.report.effects.iter().map(|record| line(&record.effect, record.fate)).collect()
}

/// The word of an error, and its text.
pub fn error(came: &Value) -> (&str, &str) {
    let error = came["error"].as_object().unwrap_or_else(|| panic!("{came} is no error"));
    let (word, text) = error.iter().next().unwrap();
    (word, text.as_str().unwrap())
}

pub fn rows(came: &Value) -> &Value {
    assert!(came["rows"].is_object(), "{came} has no rows");
    &came["rows"]["rows"]
}

/// Makes a test of a function for every kind of database.
macro_rules! on_every_kind {
    ($($name:ident),* $(,)?) => {
        $crate::ground::on_kind!(sqlite, Sqlite, $($name),*);
        $crate::ground::on_kind!(postgres, Postgres, $($name),*);
        $crate::ground::on_kind!(mysql, Mysql, $($name),*);
    };
}

/// Makes a test of a function for every kind of server.
macro_rules! on_every_server {
    ($($name:ident),* $(,)?) => {
        $crate::ground::on_kind!(on_postgres, Postgres, $($name),*);
        $crate::ground::on_kind!(on_mysql, Mysql, $($name),*);
    };
}

macro_rules! on_kind {
    ($module:ident, $kind:ident, $($name:ident),* $(,)?) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(ground) = $crate::ground::Ground::new($crate::ground::Kind::$kind).await {
                        super::$name(ground).await;
                    }
                }
            )*
        }
    };
}

pub(crate) use {on_every_kind, on_every_server, on_kind};
