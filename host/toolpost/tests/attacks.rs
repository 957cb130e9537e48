//! What a tool that is out for harm tries, by name: each attempt is refused, says which line of the settings would allow it, and
//! leaves nothing behind. Races, servers that are out for harm, real database servers, echoes of secrets and the end of an attempt have
//! tests of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use toolpost::core::effect::Fate;
use toolpost::{Builder, Call, EffectClass, Host, Outcome, Settings};

/// One attempt: its name, the tool, its arguments, and what has to be said.
type Attack = (&'static str, &'static str, Value, &'static str);

/// A server that counts the requests outside of `/open/`; `/open/away` leads to where clouds keep their keys, and `/open/big` is long.
async fn server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, reached) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = reached.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let (mut first, mut line) = (String::new(), String::new());
            stream.read_line(&mut first).await.unwrap();
            while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 2) {}
            let path = first.split(' ').nth(1).unwrap_or_default();
            count.fetch_add(usize::from(!path.starts_with("/open/")), SeqCst);
            let answer = match path {
                "/open/away" => {
                    "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\ncontent-length: 0\r\n\r\n".into()
                }
                "/open/big" => format!("HTTP/1.1 200 OK\r\ncontent-length: 4096\r\n\r\n{}", "x".repeat(4_096)),
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, reached)
}

/// A folder with what is granted, and what is not.
async fn ground(port: u16) -> (TempDir, Host) {
    let folder = TempDir::new().unwrap();
    for (file, text) in [
        ("work/a.txt", "a"),
        ("work/.env", "SECRET"),
        ("work/deep/.env", "SECRET"),
        ("ro/r.txt", "r"),
        ("outside/secret.txt", "SECRET"),
        ("key", "a-secret-of-the-host"),
    ] {
        let file = folder.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    for (to, link) in [("../outside", "out"), ("/etc", "abs"), ("loop", "loop"), ("../outside/secret.txt", "file")] {
        symlink(to, folder.path().join("work").join(link)).unwrap();
    }
    let database = SqliteConnectOptions::new().filename(folder.path().join("main.db")).create_if_missing(true);
    let mut database = database.connect().await.unwrap();
    for statement in ["CREATE TABLE t (a INTEGER)", "CREATE TABLE u (a TEXT)", "INSERT INTO u VALUES ('SECRET')"] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    let prebuilt = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-examples/prebuilt");
    let component = |name: &str, more: &str| {
        format!(
            "[components.{name}]\npath = {:?}\nguard.breaker = {{ kind = \"none\" }}\n{more}\n",
            prebuilt.join(format!("{name}.wasm"))
        )
    };
    let net = format!(
        "grants.net = [{{ to = \"http://127.0.0.1:{port}/open/**\", methods = [\"GET\", \"POST\"], max_request = \"1 KiB\", \
         max_response = \"1 KiB\", max_requests = 3 }}, {{ to = \"http://localhost:{port}/**\" }}]"
    );
    let dirs = "grants.dirs = [{ host = \"work\", guest = \"/work\", access = \"write\", deny = [\"**/.env\"], max_file = \"1 KiB\", \
                max_files = 2, max_bytes = \"2 KiB\" }, { host = \"ro\", guest = \"/ro\" }]";
    let kv = "grants.kv = [{ bucket = \"mine\", access = \"write\", prefix = \"mine/\", max_value = 16 }, { bucket = \"read\" }]";
    let sql = "grants.sql = [{ database = \"main\", tables = [\"t\"] }]";
    let settings = "[store]\ndir = \"kept\"\n[sql.main]\nkind = \"sqlite\"\npath = \"main.db\"\n[secrets]\nKEY = { file = \"key\" }\n"
        .to_owned()
        + &component("fetch", &net)
        + &component("disk", dirs)
        + &component("keys", kv)
        + &component("transact", sql)
        + &component("signer", "grants.secrets = [{ name = \"KEY\" }]")
        + &component("delegate", "grants.tools = [\"disk_*\"]\ntools.call.effect = \"reads\"");
    let settings = Settings::parse(&settings, &folder.path().join("toolpost.toml")).unwrap();
    let host = Builder::new().settings(settings).build().await.unwrap();
    (folder, host)
}

fn disk(step: &str, value: Value) -> Value {
    let mut steps = serde_json::Map::new();
    steps.insert(step.into(), value);
    json!({"steps": [steps]})
}

fn from_to(old: &str, new: &str) -> Value {
    json!({"old": old, "new": new})
}

fn text(path: &str, bytes: usize) -> Value {
    json!({"path": path, "text": "x".repeat(bytes)})
}

const NO_DIR: &str = "in `grants.dirs` of component `disk`";

fn on_files() -> Vec<Attack> {
    let write = "with `access = \\\"write\\\"` in the grant of `/ro`";
    let append = "with `access = \\\"append\\\"` in the grant of `/ro`";
    let deny = "by taking `**/.env` out of `deny` in the grant of `/work`";
    vec![
        ("up and out", "disk_steps", disk("read", json!("/work/../outside/secret.txt")), NO_DIR),
        ("up and out, deeper", "disk_steps", disk("read", json!("/work/deep/../../outside/secret.txt")), NO_DIR),
        ("a link to a folder outside", "disk_steps", disk("read", json!("/work/out/secret.txt")), NO_DIR),
        ("a link to a file outside", "disk_steps", disk("read", json!("/work/file")), NO_DIR),
        ("an absolute link", "disk_steps", disk("read", json!("/work/abs/passwd")), NO_DIR),
        ("a listing through a link", "disk_steps", disk("names", json!("/work/out")), NO_DIR),
        ("a listing through a link with a slash", "disk_steps", disk("names", json!("/work/out/")), NO_DIR),
        ("what is there outside", "disk_steps", disk("stat", json!("/work/out/secret.txt")), NO_DIR),
        ("where a link leads outside", "disk_steps", disk("read-link", json!("/work/out")), NO_DIR),
        ("a file made outside", "disk_steps", disk("write", text("/work/out/new", 1)), NO_DIR),
        ("a file outside written over", "disk_steps", disk("write", text("/work/file", 1)), NO_DIR),
        ("a file outside added to", "disk_steps", disk("append", text("/work/out/secret.txt", 1)), NO_DIR),
        ("a file outside cut off", "disk_steps", disk("set-size", json!({"path": "/work/file", "number": 0})), NO_DIR),
        ("a file outside deleted", "disk_steps", disk("remove", json!("/work/out/secret.txt")), NO_DIR),
        ("a folder made outside", "disk_steps", disk("make-folder", json!("/work/out/new")), NO_DIR),
        ("a file moved outside", "disk_steps", disk("rename", from_to("/work/a.txt", "/work/out/a.txt")), NO_DIR),
        (
            "a file fetched from outside",
            "disk_steps",
            disk("rename", from_to("/work/out/secret.txt", "/work/s")),
            NO_DIR,
        ),
        ("a second name outside", "disk_steps", disk("link", from_to("/work/a.txt", "/work/out/a.txt")), NO_DIR),
        (
            "a second name for what is outside",
            "disk_steps",
            disk("link", from_to("/work/out/secret.txt", "/work/s")),
            NO_DIR,
        ),
        (
            "a link of its own",
            "disk_steps",
            disk("symlink", from_to("/etc", "/work/new")),
            "tools make no symbolic links; no grant allows it",
        ),
        ("what is kept from it", "disk_steps", disk("read", json!("/work/.env")), deny),
        ("what is kept from it, in capitals", "disk_steps", disk("read", json!("/work/deep/.ENV")), deny),
        ("what is kept from it, roundabout", "disk_steps", disk("read", json!("/work/deep/../.env")), deny),
        ("what is kept from it, renamed", "disk_steps", disk("rename", from_to("/work/.env", "/work/plain")), deny),
        (
            "what is kept from it, by a second name",
            "disk_steps",
            disk("link", from_to("/work/.env", "/work/plain")),
            deny,
        ),
        ("a file made where it may read", "disk_steps", disk("write", text("/ro/new", 1)), append),
        ("a file deleted where it may read", "disk_steps", disk("remove", json!("/ro/r.txt")), write),
        ("a file renamed where it may read", "disk_steps", disk("rename", from_to("/ro/r.txt", "/ro/s.txt")), write),
        (
            "a file cut off where it may read",
            "disk_steps",
            disk("set-size", json!({"path": "/ro/r.txt", "number": 0})),
            append,
        ),
        (
            "a file that is too long",
            "disk_steps",
            disk("write", text("/work/a.txt", 1_500)),
            "can raise `max_file` in the grant of `/work`",
        ),
    ]
}

fn get(url: &str) -> Value {
    json!({"method": "GET", "url": url, "headers": [], "body": ""})
}

fn by_urls(port: u16) -> Vec<Attack> {
    let at = |rest: &str| get(&format!("http://127.0.0.1:{port}{rest}"));
    let metadata = "`{ to = \\\"http://169.254.169.254/latest/\\\", methods = [\\\"GET\\\"] }` in `grants.net` of component `fetch`";
    let closed = "/closed\\\", methods = [\\\"GET\\\"] }` in `grants.net` of component `fetch`";
    vec![
        ("where clouds keep their keys", "fetch_request", get("http://169.254.169.254/latest/"), metadata),
        ("an address as one number", "fetch_request", get("http://2852039166/latest/"), metadata),
        ("an address in octal", "fetch_request", get("http://0251.0376.0251.0376/latest/"), metadata),
        ("an address in hexadecimal", "fetch_request", get("http://0xa9fea9fe/latest/"), metadata),
        ("an address with parts left out", "fetch_request", get("http://169.254.43518/latest/"), metadata),
        (
            "an address as IPv6 has it",
            "fetch_request",
            get("http://[::ffff:169.254.169.254]/latest/"),
            "[::ffff:a9fe:a9fe]/latest/",
        ),
        (
            "this machine by IPv6",
            "fetch_request",
            get(&format!("http://[::1]:{port}/open/")),
            "`{ to = \\\"http://[::1]:",
        ),
        (
            "this machine by a name",
            "fetch_request",
            get(&format!("http://localhost:{port}/")),
            "with `private = true` in the grant",
        ),
        (
            "a name that looks like the granted address",
            "fetch_request",
            get("http://127.0.0.1.example.com/open/"),
            "127.0.0.1.example.com/open/",
        ),
        ("another port", "fetch_request", get("http://127.0.0.1:9/open/"), "`{ to = \\\"http://127.0.0.1:9/open/"),
        (
            "another scheme",
            "fetch_request",
            get(&format!("https://127.0.0.1:{port}/open/")),
            "`{ to = \\\"https://127.0.0.1:",
        ),
        ("a file by its URL", "fetch_request", get("file://127.0.0.1/etc/passwd"), "HttpProtocolError"),
        ("another path", "fetch_request", at("/closed"), closed),
        ("another path, upwards", "fetch_request", at("/open/../closed"), closed),
        ("another path, upwards in escapes", "fetch_request", at("/open/%2e%2e/closed"), closed),
        ("another path, with an escaped slash", "fetch_request", at("/open/..%2fclosed"), "UriInvalid"),
        ("another path, escaped twice", "fetch_request", at("/open/%252e%252e%252fclosed"), "UriInvalid"),
        ("another path, with a parameter", "fetch_request", at("/open/..;/closed"), "UriInvalid"),
        (
            "a host behind a user",
            "fetch_request",
            get(&format!("http://127.0.0.1:{port}@169.254.169.254/open/")),
            "UriInvalid",
        ),
    ]
}

fn by_requests(port: u16) -> Vec<Attack> {
    let with = |name: &str, value: &str| json!({"method": "GET", "url": format!("http://127.0.0.1:{port}/open/"), "headers": [[name, value]], "body": ""});
    let at = |rest: &str| get(&format!("http://127.0.0.1:{port}{rest}"));
    let post = |path: &str, bytes: usize| {
        let body = "eHh4".repeat(bytes / 3);
        json!({"method": "POST", "url": format!("http://127.0.0.1:{port}{path}"), "headers": [], "body": body})
    };
    vec![
        (
            "another method",
            "fetch_request",
            json!({"method": "DELETE", "url": format!("http://127.0.0.1:{port}/open/"), "headers": [], "body": ""}),
            "methods = [\\\"DELETE\\\"]",
        ),
        ("a header with another one in it", "fetch_request", with("x-a", "b\r\nx-c: d"), "InvalidSyntax"),
        ("a header name with a line end", "fetch_request", with("x\r\ny", "b"), "InvalidSyntax"),
        ("a host of its own", "fetch_request", with("host", "evil.example"), "Forbidden"),
        ("a length of its own beside chunks", "fetch_request", with("transfer-encoding", "chunked"), "Forbidden"),
        (
            "headers without end",
            "fetch_request",
            with("x-long", &"x".repeat(20_000)),
            "total size of fields exceeds limit",
        ),
        ("a body that is too long", "fetch_request", post("/open/", 1_500), "can raise `max_request` in the grant of"),
        ("an answer that is too long", "fetch_request", at("/open/big"), "can raise `max_response` in the grant of"),
        (
            "more requests than were granted",
            "fetch_many",
            json!({"url": format!("http://127.0.0.1:{port}/open/"), "count": 4}),
            "can raise `max_requests` in the grant of",
        ),
    ]
}

fn sql(step: &str, statement: &str) -> Value {
    let mut steps = serde_json::Map::new();
    steps.insert(step.into(), json!({"sql": statement, "values": null}));
    json!({"database": "main", "steps": [steps]})
}

fn on_databases() -> Vec<Attack> {
    let never = "no grant allows it";
    let write = "with `access = \\\"write\\\"` in the grant of the database `main`";
    let table = "can add it to `tables` in the grant of the database `main`";
    vec![
        ("a second statement", "transact_run", sql("query", "SELECT 1; DELETE FROM t"), never),
        ("a second statement behind a comment", "transact_run", sql("query", "SELECT 1 /* ; */ ; DROP TABLE t"), never),
        ("another database file", "transact_run", sql("execute", "ATTACH 'outside.db' AS o"), never),
        ("a setting of the database", "transact_run", sql("query", "PRAGMA journal_mode = OFF"), never),
        ("a setting by a function", "transact_run", sql("query", "SELECT * FROM pragma_table_info('u')"), "pragma"),
        ("code of a library", "transact_run", sql("query", "SELECT load_extension('/tmp/x')"), "load_extension"),
        ("a copy into a file", "transact_run", sql("execute", "VACUUM INTO 'copy.db'"), never),
        ("a change under a read grant", "transact_run", sql("execute", "INSERT INTO t VALUES (1)"), write),
        ("a change in a query", "transact_run", sql("query", "INSERT INTO t VALUES (1) RETURNING a"), write),
        ("a change behind a WITH", "transact_run", sql("query", "WITH x AS (SELECT 1) DELETE FROM t"), write),
        ("another table", "transact_run", sql("query", "SELECT * FROM u"), table),
        ("another table in quotes", "transact_run", sql("query", "SELECT * FROM \"main\".[u]"), table),
        ("another table in a subquery", "transact_run", sql("query", "SELECT (SELECT a FROM u)"), table),
        (
            "another database",
            "transact_run",
            json!({"database": "other", "steps": []}),
            "`{ database = \\\"other\\\" }` in `grants.sql`",
        ),
    ]
}

fn keys(bucket: &str, step: &str, value: Value) -> Value {
    let mut steps = serde_json::Map::new();
    steps.insert(step.into(), value);
    json!({"bucket": bucket, "steps": [steps]})
}

fn on_keys_secrets_and_tools() -> Vec<Attack> {
    let outside = "as a bucket of its own, with `{ bucket = \\\"NAME\\\", prefix = \\\"PREFIX\\\" }` in `grants.kv`";
    let set = |key: &str, value: &str| json!({"key": key, "text": value});
    let call = |tool: &str, arguments: Value| json!({"tool": tool, "arguments": arguments.to_string()});
    vec![
        ("a key upwards", "keys_steps", keys("mine", "get", json!("../other/k")), outside),
        ("a key upwards from below", "keys_steps", keys("mine", "set", set("a/../../other/k", "v")), outside),
        ("a key upwards in escapes", "keys_steps", keys("mine", "set", set("%2e%2e%2fother", "v")), outside),
        ("a key upwards with backslashes", "keys_steps", keys("mine", "delete", json!("a\\..\\..\\k")), outside),
        (
            "another bucket",
            "keys_steps",
            keys("other", "get", json!("k")),
            "`{ bucket = \\\"other\\\" }` in `grants.kv` of component `keys`",
        ),
        ("a bucket by a path", "keys_steps", keys("../mine", "get", json!("k")), "this is no name of one"),
        (
            "a key set where it may read",
            "keys_steps",
            keys("read", "set", set("k", "v")),
            "with `access = \\\"write\\\"` in the grant of bucket `read`",
        ),
        (
            "a number counted where it may read",
            "keys_count",
            json!({"bucket": "read", "key": "k"}),
            "with `access = \\\"write\\\"` in the grant of bucket `read`",
        ),
        (
            "a value that is too long",
            "keys_steps",
            keys("mine", "set", set("k", &"v".repeat(17))),
            "can raise `max_value` in the grant of bucket `mine`",
        ),
        (
            "another secret",
            "signer_sign",
            json!({"secret": "PATH", "text": "a"}),
            "`{ name = \\\"PATH\\\" }` in `grants.secrets` of component `signer`",
        ),
        ("a look at a secret", "signer_hint", json!({"secret": "KEY"}), "with `reveal = true` in the grant of `KEY`"),
        (
            "another tool",
            "delegate_call",
            call("fetch_request", get("http://127.0.0.1:9/")),
            "`\\\"fetch_request\\\"` in `grants.tools` of component `delegate`",
        ),
        (
            "more power by another tool",
            "delegate_call",
            call("disk_steps", disk("remove", json!("/work/a.txt"))),
            "set `effect = \\\"writes\\\"` for `delegate_call` to allow it",
        ),
    ]
}

/// Everything that was said of a call.
fn said(outcome: &Outcome) -> String {
    let error = outcome.result.as_ref().err().map(|error| json!(error.message));
    let value = outcome.result.as_ref().ok().map(|output| &output.value);
    format!("{} {} {}", json!(error), json!(value), serde_json::to_string(&outcome.report).unwrap())
}

/// All files below a folder, with what is in them; where links lead.
fn all(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = path.display().to_string();
        if kind.is_symlink() {
            found.push((name, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()));
        } else if kind.is_dir() {
            found.push((name, Vec::new()));
            found.extend(all(&path));
        } else {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn each_attack_by_its_name_is_refused_says_what_would_allow_it_and_leaves_nothing() {
    let (port, reached) = server().await;
    let (folder, host) = ground(port).await;
    let attacks = [on_files(), by_urls(port), by_requests(port), on_databases(), on_keys_secrets_and_tools()].concat();
    let names: std::collections::BTreeSet<_> = attacks.iter().map(|attack| attack.0).collect();
    assert!(names.len() >= 60 && names.len() == attacks.len(), "{} attacks by {} names", attacks.len(), names.len());
    let world = || {
        (["work", "ro", "outside"].map(|part| all(&folder.path().join(part))), folder.path().join("copy.db").exists())
    };
    let before = world();
    let mut faults = Vec::new();
    for (name, tool, arguments, wanted) in attacks {
        let outcome = host.call(Call::new(tool, arguments)).await;
        let said = said(&outcome);
        if !said.contains(wanted) {
            faults.push(format!("{name}: not `{wanted}`, but {said}"));
        }
        if said.contains("SECRET") || said.contains("a-secret-of-the-host") {
            faults.push(format!("{name}: the secret is told: {said}"));
        }
        // A file may be begun that then must not become so long, and requests may go as far as they were granted.
        let may_begin = name.contains("too long") || name.contains("more requests");
        let changed =
            outcome.report.effects.iter().any(|it| it.effect.class >= EffectClass::Writes && it.fate == Fate::Done);
        if changed && !may_begin {
            faults.push(format!("{name}: something was changed: {said}"));
        }
        if name == "a file that is too long" {
            std::fs::write(folder.path().join("work/a.txt"), "a").unwrap();
        } else if world() != before {
            faults.push(format!("{name}: the world is another one"));
        }
    }
    assert_eq!(reached.load(SeqCst), 0, "a request came to where none was granted");
    let database = SqliteConnectOptions::new().filename(folder.path().join("main.db"));
    let mut database = database.connect().await.unwrap();
    let rows = sqlx::query("SELECT (SELECT COUNT(*) FROM t), (SELECT COUNT(*) FROM u)")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!((rows.get::<i64, _>(0), rows.get::<i64, _>(1)), (0, 1));
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let (port, reached) = server().await;
    let (_folder, host) = ground(port).await;
    let outcome = host.call(Call::new("fetch_request", get(&format!("http://127.0.0.1:{port}/open/away")))).await;
    assert_eq!(outcome.result.as_ref().unwrap().value["status"], 302, "{:?}", outcome.result);
    assert_eq!((outcome.report.effects.len(), reached.load(SeqCst)), (1, 0));
}

#[tokio::test]
async fn a_tool_has_nothing_of_the_hosts_environment() {
    let (port, _) = server().await;
    let (_folder, host) = ground(port).await;
    let outcome = host.call(Call::new("signer_variables", json!({}))).await;
    assert_eq!(outcome.result.unwrap().value, json!([]));
}
