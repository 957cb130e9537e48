//! What no kind of database lets a tool do. Each is refused with the right kind, says what would allow it, and leaves no effect.

use serde_json::{Value, json};
use toolpost::{ErrorKind, Host};

use crate::ground::{Ground, Kind, call, effects, error, json_of, on_every_kind, on_kind, steps};

on_every_kind!(
    under_a_read_grant_nothing_is_changed_by_whatever_way,
    what_is_about_more_than_rows_and_tables_is_refused_under_any_grant,
    a_second_statement_is_not_run,
    without_a_grant_a_database_is_not_there,
    a_refusal_shows_the_line_that_would_allow_it,
);

on_kind!(
    of_sqlite,
    Sqlite,
    only_the_granted_tables_are_there_by_whatever_way,
    functions_that_reach_out_of_the_database_are_refused,
);

on_kind!(of_mysql, Mysql, a_role_that_may_write_files_is_not_used, what_cannot_be_undone_is_told_as_such);

on_kind!(
    of_postgres,
    Postgres,
    a_role_that_reaches_files_of_the_server_is_not_used,
    a_transaction_that_reads_cannot_be_left
);

/// What is in the database, in one number for each table.
async fn state(ground: &Ground) -> [i64; 3] {
    [
        ground.number("select count(*) + max(available) * 10 + min(available) * 1000 from stock").await,
        ground.number("select count(*) from orders").await,
        ground.number("select count(*) from secrets").await,
    ]
}

/// Runs a step and finds that it was denied, with nothing changed.
async fn denied(ground: &Ground, host: &Host, step: &str, statement: &str) -> String {
    let before = state(ground).await;
    let (came, outcome) = steps(host, json!([ground.step(step, statement, json!(null))])).await;
    let (word, text) = error(&came[0]);
    assert_eq!(word, "denied", "{statement}: {text}");
    assert_eq!(state(ground).await, before, "{statement}");
    let effects = effects(&outcome);
    assert!(effects.iter().all(|line| line.ends_with(" Refused")) && !effects.is_empty(), "{statement}: {effects:?}");
    text.to_owned()
}

async fn under_a_read_grant_nothing_is_changed_by_whatever_way(ground: Ground) {
    let host = ground.host("access = \"read\"").await;
    let mut ways = vec![
        "update stock set available = 0",
        "delete from stock",
        "insert into stock values ('plum', 1)",
        "create table more (a int)",
        "drop table stock",
        "alter table stock add column a int",
    ];
    ways.extend(match ground.kind {
        Kind::Sqlite => vec![
            "with a as (select 1) delete from stock",
            "with a as (select 1) insert into orders (call_key, item, quantity) select 'a', 'b', 1",
            "replace into stock values ('apple', 9)",
            "create temp table more (a int)",
        ],
        Kind::Postgres => vec![
            "with gone as (delete from stock returning 1) select * from gone",
            "with more as (insert into orders (call_key, item, quantity) values ('a', 'b', 1) returning 1) select 1",
            "select take_all()",
            "select * into more from stock",
            "select * from stock for update",
            "select nextval(pg_get_serial_sequence('orders', 'id'))",
            "explain analyze delete from stock",
            "truncate stock",
            "table stock for update",
        ],
        Kind::Mysql => vec![
            "select take_all()",
            "replace into stock values ('apple', 9)",
            "truncate stock",
            "create temporary table more (a int)",
            "insert into orders (call_key, item, quantity) select 'a', 'b', take_all()",
        ],
    });
    for way in ways {
        for step in ["query", "execute"] {
            let text = denied(&ground, &host, step, way).await;
            assert!(text.starts_with("the tool may only read in the database `shop`"), "{way}: {text}");
        }
    }
    let (came, outcome) = steps(&host, json!(["begin-write"])).await;
    assert_eq!(error(&came[0]), ("denied", "the tool may only read in the database `shop`"));
    assert_eq!(effects(&outcome), ["sql.execute shop: a transaction Refused"]);
}

/// What is about more than rows and tables, as each server has it.
fn more_than_tables(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Sqlite => vec![
            "attach 'other.db' as other",
            "detach main",
            "pragma writable_schema = 1",
            "pragma query_only = 0",
            "pragma journal_mode = delete",
            "vacuum into 'copy.db'",
            "analyze",
        ],
        Kind::Postgres => vec![
            "copy stock to program 'touch /tmp/toolpost-was-here'",
            "copy stock from stdin",
            "listen a",
            "notify a",
            "do $$ begin update stock set available = 0; end $$",
            "call nothing()",
            "prepare a as select 1",
            "discard all",
            "reset all",
            "lock table stock",
            "load 'x'",
            "show all",
            "start transaction",
            "set session authorization postgres",
            "grant all on stock to public",
            "alter role current_user password 'taken'",
            "alter role current_user set search_path = elsewhere",
            "create function f() returns int language sql as 'select 1'",
            "create trigger g after insert on stock execute function f()",
            "drop owned by current_user",
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
            "select set_config('statement_timeout', '0', false)",
        ],
        Kind::Mysql => vec![
            "load data local infile '/etc/passwd' into table stock",
            "select item from stock into outfile '/tmp/toolpost-was-here'",
            "select item into dumpfile '/tmp/toolpost-was-here' from stock limit 1",
            "handler stock open",
            "call nothing()",
            "do sleep(0)",
            "use mysql",
            "lock tables stock write",
            "flush tables",
            "kill 1",
            "prepare a from 'select 1'",
            "execute a",
            "show grants",
            "start transaction",
            "xa start 'a'",
            "grant all on stock to admin",
            "install plugin a soname 'b'",
            "alter user user() identified by 'taken'",
            "create event e on schedule every 1 second do delete from stock",
            "drop database shop",
        ],
    }
}

async fn what_is_about_more_than_rows_and_tables_is_refused_under_any_grant(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let mut ways = vec!["begin", "commit", "rollback", "savepoint a", "vacuum", "set x = 1", "/* a */ -- b\n Commit"];
    ways.extend(more_than_tables(ground.kind));
    for way in ways {
        for step in ["query", "execute"] {
            let text = denied(&ground, &host, step, way).await;
            assert!(text.starts_with("a tool may not use `"), "{way}: {text}");
        }
    }
    if ground.kind == Kind::Mysql {
        denied(&ground, &host, "query", "select item into @mine from stock limit 1").await;
        for way in ["select /*! 1 */", "select 1 /*M! into outfile '/tmp/toolpost-was-here' */"] {
            let text = denied(&ground, &host, "query", way).await;
            assert_eq!(text, "a tool may not use code in a comment, which only some servers run");
        }
    }
    // Within a transaction neither: the end of it is the host's to make.
    let take = ground.step("tx-execute", "update stock set available = 0", json!(null));
    let end = ground.step("tx-execute", "commit", json!(null));
    let (came, _) = steps(&host, json!(["begin-write", take, end])).await;
    assert_eq!(error(&came[2]).0, "denied");
    assert_eq!(ground.apples().await, 5);
    assert!(!std::path::Path::new("/tmp/toolpost-was-here").exists());
}

async fn a_second_statement_is_not_run(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    for way in [
        "select 1; drop table stock",
        "select 1; update stock set available = 0; select 1",
        "update stock set available = 0; commit",
        "select ';' ; delete from stock",
        "select 1 /* ; */ ; delete from stock --",
    ] {
        for step in ["query", "execute"] {
            assert_eq!(denied(&ground, &host, step, way).await, "a tool may not use several statements at once");
        }
    }
    let (came, _) = steps(&host, json!([ground.step("query", "select 1 ; -- no more;\n", json!(null))])).await;
    assert_eq!(came[0]["rows"]["rows"], json!([[{"integer": 1}]]), "one that ends in a semicolon is one");
}

async fn without_a_grant_a_database_is_not_there(ground: Ground) {
    let settings = ground.settings("access = \"write\"", "");
    let settings = settings.replace("grants.sql", "# grants.sql");
    let host = ground.host_of(&settings).await;
    let outcome = call(&host, "database_list_tables", json!({"database": "shop"})).await;
    let refused = outcome.result.as_ref().unwrap_err();
    assert_eq!(refused.kind, ErrorKind::CapabilityDenied);
    assert_eq!(
        refused.message,
        "the tool may not use the database `shop`; the operator can allow it with `grants.sql = [{ database = \"shop\" }]` in \
         `[components.database]`; the tool ended with: the tool may not use the database `shop`"
    );
    assert_eq!(effects(&outcome), ["sql.open shop Refused"]);
    let host = ground.host("access = \"read\"").await;
    let outcome = call(&host, "database_list_tables", json!({"database": "other"})).await;
    let help = "the operator can allow it with `{ database = \"other\" }` in `grants.sql` of component `database`";
    assert!(outcome.result.unwrap_err().message.contains(help));
}

async fn a_refusal_shows_the_line_that_would_allow_it(ground: Ground) {
    let host = ground.host("access = \"read\"").await;
    let outcome = call(&host, "database_execute", json!({"statement": "delete from stock"})).await;
    let refused = outcome.result.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::CapabilityDenied);
    assert_eq!(
        refused.message,
        "the tool may only read in the database `shop`, not `DELETE stock`; the operator can allow it with `access = \"write\"` \
         in the grant of the database `shop`; the tool ended with: the tool may only read in the database `shop`, not `DELETE \
         stock`"
    );
    // And with it, it works.
    let host = ground.host("access = \"write\"").await;
    let outcome = call(&host, "database_execute", json!({"statement": "delete from stock"})).await;
    assert_eq!(json_of(outcome).unwrap()["affected"], 2);
}

async fn only_the_granted_tables_are_there_by_whatever_way(ground: Ground) {
    ground.admin("create view seen as select word from secrets").await;
    ground.admin("create trigger told after insert on orders begin insert into secrets values (new.item); end").await;
    let host = ground.host("access = \"write\", tables = [\"stock\", \"Orders\", \"seen\"]").await;
    for way in [
        "select word from secrets",
        "select count(*) from secrets",
        "select * from stock where exists (select 1 from \"secrets\")",
        "with orders as (select word from secrets) select * from orders",
        "select (select word from main.secrets)",
        "select word from seen",
        "select sql from sqlite_master",
        "select * from pragma_table_info('secrets')",
        "select * from pragma_table_list",
    ] {
        denied(&ground, &host, "query", way).await;
    }
    for way in [
        "insert into secrets values ('a')",
        "insert into orders (call_key, item, quantity) values ('a', 'b', 1)",
        "create table more (a int)",
        "drop table secrets",
        "alter table secrets add column a int",
        "create index more on secrets (word)",
        "insert into stock select word, 1 from secrets",
    ] {
        denied(&ground, &host, "execute", way).await;
    }
    let text = denied(&ground, &host, "query", "select word from secrets").await;
    assert_eq!(text, "the tool may not use the table `secrets` of the database `shop`");
    let allowed = json!([
        ground.step("query", "select count(*) from STOCK", json!(null)),
        ground.step("query", "select count(*) from pragma_table_info('orders')", json!(null)),
        ground.step("execute", "update stock set available = 1", json!(null)),
    ]);
    let (came, _) = steps(&host, allowed).await;
    assert_eq!(came[0]["rows"]["rows"], json!([[{"integer": 2}]]));
    assert_eq!(came[1]["rows"]["rows"], json!([[{"integer": 4}]]));
    assert_eq!(came[2]["executed"]["affected"], 2);
}

async fn functions_that_reach_out_of_the_database_are_refused(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    for way in ["select load_extension('x')", "select LOAD_EXTENSION('x', 'y')", "select fts3_tokenizer('simple')"] {
        for step in ["query", "execute"] {
            let before = state(&ground).await;
            let (came, _) = steps(&host, json!([ground.step(step, way, json!(null))])).await;
            // One that is not built in at all is as good as refused.
            assert!(["denied", "invalid"].contains(&error(&came[0]).0), "{way}: {came:?}");
            assert_eq!(state(&ground).await, before);
        }
    }
    for pragma in ["pragma_journal_mode", "pragma_query_only", "pragma_database_list"] {
        let (came, _) =
            steps(&host, json!([ground.step("query", &format!("select * from {pragma}"), json!(null))])).await;
        assert!(["denied", "invalid"].contains(&error(&came[0]).0), "{pragma}: {came:?}");
    }
    let before = ground.dir.path().read_dir().unwrap().count();
    denied(&ground, &host, "execute", "create virtual table more using fts5(a)").await;
    assert_eq!(ground.dir.path().read_dir().unwrap().count(), before);
}

async fn a_role_that_reaches_files_of_the_server_is_not_used(ground: Ground) {
    ground.admin(&format!("grant pg_read_server_files to {}", ground.role())).await;
    let host = ground.host("access = \"read\"").await;
    let outcome = call(&host, "database_query", json!({"statement": "select pg_read_file('/etc/passwd')"})).await;
    let refused = outcome.result.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::CapabilityDenied);
    assert!(refused.message.starts_with(
        "the database `shop` is closed to tools: its role may reach files and programs of the server; give the host a role of \
         its own there"
    ));
}

async fn a_transaction_that_reads_cannot_be_left(ground: Ground) {
    let host = ground.host("access = \"read\"").await;
    let off = "select set_config('transaction_read_only', 'off', true)";
    let steps_of = |first: &str, second: &str| -> Value {
        json!(["begin-read", ground.step("tx-query", first, json!(null)), ground.step("tx-query", second, json!(null))])
    };
    let (came, _) = steps(&host, steps_of(off, "select take_all()")).await;
    assert_eq!((error(&came[1]).0, error(&came[2]).0), ("denied", "denied"));
    let (came, _) =
        steps(&host, steps_of("select set_config('default_transaction_read_only', 'off', false)", "select take_all()"))
            .await;
    assert_eq!(error(&came[2]).0, "denied");
    let host = ground.host("access = \"write\"").await;
    let (came, _) = steps(
        &host,
        json!([
            "begin-write",
            ground.step("tx-query", off, json!(null)),
            ground.step("tx-query", "select take_all()", json!(null))
        ]),
    )
    .await;
    assert_eq!((error(&came[1]).0, error(&came[2]).0), ("denied", "denied"));
    assert_eq!(ground.apples().await, 5);
    // In a single statement neither, in whatever order its parts are run.
    let both = "with off as materialized (select set_config('transaction_read_only', 'off', true) as a), \
                gone as (update stock set available = 0 returning 1) select * from off, gone";
    denied(&ground, &host, "query", both).await;
}

async fn a_role_that_may_write_files_is_not_used(ground: Ground) {
    ground.admin(&format!("grant file on *.* to '{}'@'127.0.0.1'", ground.role())).await;
    let host = ground.host("access = \"read\"").await;
    let outcome = call(&host, "database_query", json!({"statement": "select load_file('/etc/passwd')"})).await;
    let refused = outcome.result.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::CapabilityDenied);
    let words = "the database `shop` is closed to tools: its role may reach files of the server, or all of it";
    assert!(refused.message.starts_with(words), "{refused:?}");
}

async fn what_cannot_be_undone_is_told_as_such(ground: Ground) {
    ground.admin("create table loose (a int) engine = MyISAM").await;
    ground.admin(&format!("grant all on loose to '{}'@'127.0.0.1'", ground.role())).await;
    let host = ground.host("access = \"write\"").await;
    let loose = ground.step("tx-execute", "insert into loose values (1)", json!(null));
    let take = ground.step("tx-execute", "update stock set available = 0", json!(null));
    let (_, outcome) =
        steps(&host, json!(["begin-write", loose, take, "roll-back", "begin-write", take, "roll-back"])).await;
    let fates: Vec<_> = effects(&outcome).iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(fates, ["Indeterminate", "Indeterminate", "Failed"]);
    assert_eq!((ground.apples().await, ground.number("select count(*) from loose").await), (5, 1));
    // Where the guest ends without a word, the server does not say whether it could.
    let arguments = json!({"database": "shop", "steps": ["begin-write", take, "trap"]});
    let outcome = call(&host, "transact_run", arguments).await;
    assert_eq!(effects(&outcome), ["sql.execute shop: UPDATE stock Indeterminate"]);
    // What would end the transaction is not run in one.
    let create = ground.step("tx-execute", "create table kept (a int)", json!(null));
    let (came, _) = steps(&host, json!(["begin-write", take, create, "roll-back"])).await;
    assert_eq!(error(&came[2]), ("invalid", "`CREATE` would end the transaction; run it outside of one"));
    assert_eq!(ground.apples().await, 5);
}
