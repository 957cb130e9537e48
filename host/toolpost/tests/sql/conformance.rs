//! What every kind of database does for a tool, in the same way.

use serde_json::json;
use toolpost::ErrorKind;

use crate::ground::{Ground, Kind, effects, error, on_every_kind, rows, steps};

on_every_kind!(
    a_value_is_never_a_part_of_the_statement,
    a_change_counts_and_the_report_says_what_it_was_without_its_values,
    what_a_transaction_changed_counts_when_it_is_committed,
    a_transaction_that_is_dropped_did_not_happen_and_is_told_as_such,
    a_statement_that_fails_leaves_nothing_and_the_transaction_goes_on,
    a_tool_that_traps_in_a_transaction_has_changed_nothing,
    a_transaction_that_reads_sees_and_changes_nothing,
    a_query_changes_nothing_also_in_a_transaction_that_may,
    while_a_transaction_is_open_its_database_is_used_by_it_alone,
    errors_say_whose_fault_it_is,
    values_come_back_as_they_went,
    nothing_of_one_call_is_there_for_the_next,
);

async fn a_value_is_never_a_part_of_the_statement(ground: Ground) {
    let host = ground.host("access = \"read\"").await;
    let query = "select available from stock where item = ?";
    let (came, outcome) = steps(
        &host,
        json!([
            ground.step("query", query, json!([{"text": "apple"}])),
            ground.step("query", query, json!([{"text": "apple' or '1' = '1"}])),
            ground.step("query", query, json!([{"text": "'; drop table stock; --"}])),
        ]),
    )
    .await;
    assert_eq!(rows(&came[0]), &json!([[{"integer": 5}]]));
    assert_eq!(came[0]["rows"]["columns"], json!(["available"]));
    assert_eq!((rows(&came[1]), rows(&came[2])), (&json!([]), &json!([])));
    assert_eq!(effects(&outcome), ["sql.query shop: SELECT stock Done"; 3]);
}

async fn a_change_counts_and_the_report_says_what_it_was_without_its_values(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let change = "update stock set available = ? where item = 'pear' or item = ?";
    let (came, outcome) =
        steps(&host, json!([ground.step("execute", change, json!([{"integer": 424_242}, {"text": "apple"}]))])).await;
    assert_eq!(came[0]["executed"]["affected"], 2);
    assert_eq!(ground.apples().await, 424_242);
    assert_eq!(effects(&outcome), ["sql.execute shop: UPDATE stock Done"]);
    let detail = outcome.report.effects[0].effect.detail.clone().unwrap();
    let shape = "update stock set available = ? where item = ? or item = ? [";
    assert!(detail.starts_with(shape) && detail.len() == shape.len() + 17, "{detail}");
    // Neither is there anything of them in what was written down beside the result.
    let told = format!("{:?}", outcome.report);
    assert!(!told.contains("424242") && !told.contains("pear") && !told.contains("apple"), "{told}");
}

async fn what_a_transaction_changed_counts_when_it_is_committed(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let take = "update stock set available = available - ? where item = ?";
    let (came, outcome) = steps(
        &host,
        json!([
            "begin-write",
            ground.step("tx-execute", take, json!([{"integer": 2}, {"text": "apple"}])),
            ground.step("tx-query", "select available from stock where item = ?", json!([{"text": "apple"}])),
            ground.step("tx-execute", take, json!([{"integer": 1}, {"text": "pear"}])),
            "commit",
            ground.step("query", "select available from stock where item = ?", json!([{"text": "pear"}])),
        ]),
    )
    .await;
    assert_eq!(rows(&came[2]), &json!([[{"integer": 3}]]), "it sees what it has changed");
    assert_eq!((&came[4], rows(&came[5])), (&json!("ok"), &json!([[{"integer": 1}]])));
    assert_eq!(ground.apples().await, 3);
    assert_eq!(
        effects(&outcome),
        [
            "sql.execute shop: UPDATE stock Done",
            "sql.query shop: SELECT stock Done",
            "sql.execute shop: UPDATE stock Done",
            "sql.commit shop Done",
            "sql.query shop: SELECT stock Done",
        ]
    );
}

async fn a_transaction_that_is_dropped_did_not_happen_and_is_told_as_such(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let take = ground.step("tx-execute", "update stock set available = 0 where item = ?", json!([{"text": "apple"}]));
    let (came, outcome) = steps(&host, json!(["begin-write", take, "roll-back"])).await;
    assert_eq!(came[1]["executed"]["affected"], 1);
    assert_eq!(ground.apples().await, 5);
    assert_eq!(effects(&outcome), ["sql.execute shop: UPDATE stock Failed"]);
    // The same where the guest just ends.
    let (_, outcome) = steps(&host, json!(["begin-write", take])).await;
    assert_eq!(effects(&outcome), ["sql.execute shop: UPDATE stock Failed"]);
    assert_eq!(ground.apples().await, 5);
}

async fn a_statement_that_fails_leaves_nothing_and_the_transaction_goes_on(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let order = "insert into orders (call_key, item, quantity) values (?, 'apple', 1)";
    let (came, outcome) = steps(
        &host,
        json!([
            "begin-write",
            ground.step("tx-execute", order, json!([{"text": "one"}])),
            ground.step("tx-execute", order, json!([{"text": "one"}])),
            ground.step("tx-execute", "update stock set available = available - 9", json!(null)),
            ground.step("tx-query", "select nothing from stock", json!(null)),
            ground.step("tx-execute", order, json!([{"text": "two"}])),
            "commit",
        ]),
    )
    .await;
    assert_eq!(error(&came[2]).0, "constraint");
    assert_eq!(error(&came[3]).0, "constraint");
    assert_eq!(error(&came[4]).0, "invalid");
    assert_eq!(came[6], "ok");
    assert_eq!(ground.number("select count(*) from orders").await, 2);
    assert_eq!(ground.apples().await, 5);
    let fates: Vec<_> = effects(&outcome).iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(fates, ["Done", "Failed", "Failed", "Failed", "Done", "Done"]);
}

async fn a_tool_that_traps_in_a_transaction_has_changed_nothing(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let take = ground.step("tx-execute", "update stock set available = 0", json!(null));
    let arguments = json!({"database": "shop", "steps": ["begin-write", take, "trap"]});
    for _ in 0..8 {
        // More often than there are connections: each is closed, and its place is free again.
        let outcome = crate::ground::call(&host, "transact_run", arguments.clone()).await;
        assert_eq!(outcome.result.as_ref().unwrap_err().kind, ErrorKind::Trapped);
        assert_eq!(effects(&outcome), ["sql.execute shop: UPDATE stock Failed"]);
    }
    assert_eq!(ground.apples().await, 5);
    let (came, _) = steps(&host, json!([ground.step("execute", "update stock set available = 7", json!(null))])).await;
    assert_eq!(came[0]["executed"]["affected"], 2, "no lock is left");
}

async fn a_transaction_that_reads_sees_and_changes_nothing(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let (came, _) = steps(
        &host,
        json!([
            "begin-read",
            ground.step("tx-query", "select available from stock where item = ?", json!([{"text": "apple"}])),
            ground.step("tx-execute", "update stock set available = 0", json!(null)),
            "commit",
        ]),
    )
    .await;
    assert_eq!(rows(&came[1]), &json!([[{"integer": 5}]]));
    assert_eq!(error(&came[2]), ("invalid", "the transaction was begun to read"));
    assert_eq!((&came[3], ground.apples().await), (&json!("ok"), 5));
}

async fn a_query_changes_nothing_also_in_a_transaction_that_may(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    if ground.kind == Kind::Mysql {
        // Here it may, by a function, and is told as what may change something.
        let hidden = "select take_all()";
        let steps = json!([
            ground.step("query", hidden, json!(null)),
            "begin-write",
            ground.step("tx-query", hidden, json!(null)),
            "commit"
        ]);
        let (came, outcome) = crate::ground::steps(&host, steps).await;
        assert_eq!(error(&came[0]).0, "denied");
        assert_eq!(ground.apples().await, 0);
        let told: Vec<_> = outcome
            .report
            .effects
            .iter()
            .map(|record| (record.effect.class.name(), format!("{:?}", record.fate)))
            .collect();
        assert_eq!(told[1..], [("writes", "Done".to_owned()), ("writes", "Done".to_owned())]);
        return;
    }
    let hidden = match ground.kind {
        Kind::Sqlite => "with gone as (select 1) update stock set available = 0",
        _ => "with gone as (update stock set available = 0 returning 1) select * from gone",
    };
    let steps = json!([
        ground.step("query", hidden, json!(null)),
        "begin-write",
        ground.step("tx-query", hidden, json!(null)),
        ground.step("tx-execute", "update stock set available = available - 1", json!(null)),
        "commit",
    ]);
    let (came, _) = crate::ground::steps(&host, steps).await;
    assert_eq!((error(&came[0]).0, error(&came[2]).0), ("denied", "denied"));
    assert_eq!(came[4], "ok");
    assert_eq!(ground.apples().await, 4, "what was allowed happened, and nothing else");
}

async fn while_a_transaction_is_open_its_database_is_used_by_it_alone(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let query = ground.step("query", "select 1", json!(null));
    let (came, _) = steps(&host, json!(["begin-write", query, "begin-read", "roll-back", query])).await;
    assert_eq!(error(&came[1]), ("invalid", "a transaction is open; use it, or end it"));
    assert_eq!(error(&came[2]), ("invalid", "a transaction is open already; use it, or end it"));
    assert_eq!(rows(&came[4]), &json!([[{"integer": 1}]]));
}

async fn errors_say_whose_fault_it_is(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let (came, outcome) = steps(
        &host,
        json!([
            ground.step("query", "select nothing from stock", json!(null)),
            ground.step("query", "selec 1", json!(null)),
            ground.step("query", "", json!(null)),
            ground.step("execute", "insert into stock values ('apple', 1)", json!(null)),
            ground.step("execute", "insert into stock values ('plum', -1)", json!(null)),
            ground.step("query", "insert into stock values ('plum', 1)", json!(null)),
        ]),
    )
    .await;
    let words: Vec<_> = came.iter().map(|came| error(came).0).collect();
    assert_eq!(words, ["invalid", "denied", "invalid", "constraint", "constraint", "invalid"]);
    assert_eq!(error(&came[5]).1, "a query only reads; `INSERT` is for `execute`");
    // What the database says may have values in it, and is for the tool alone.
    let log = format!("{:?}", outcome.report.attempts[0].log);
    assert!(log.contains("shop: INSERT stock: it would break a rule of the database"), "{log}");
    assert!(!log.contains("apple") && !log.contains("UNIQUE") && !log.contains("stock_"), "{log}");
    assert_eq!(ground.number("select count(*) from stock").await, 2);
}

async fn values_come_back_as_they_went(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    // In the words of the database, what goes in, and what comes out where it is something else.
    let same = |ty: &'static str, value: serde_json::Value| (ty, value.clone(), value);
    let text = |ty: &'static str, value: serde_json::Value, text: &str| (ty, value, json!({"text": text}));
    let mut values = vec![
        same("bigint", json!("null")),
        ("bigint", json!({"integer": i64::MIN}), json!({"integer": i64::MIN.to_string()})),
        same("double precision", json!({"float": 1.5})),
        same("text", json!({"text": "naïve ☃ 'x'"})),
    ];
    match ground.kind {
        Kind::Sqlite => values.extend([
            same("blob", json!({"blob": "AP8="})),
            ("boolean", json!({"boolean": true}), json!({"integer": 1})),
            text("text", json!({"decimal": "12.50"}), "12.50"),
            text("text", json!({"timestamp": "2026-11-22T08:30:00Z"}), "2026-11-22T08:30:00Z"),
        ]),
        Kind::Postgres => values.extend([
            same("bytea", json!({"blob": "AP8="})),
            same("boolean", json!({"boolean": true})),
            same("numeric", json!({"decimal": "-12345678901234567890.500"})),
            same("date", json!({"date": "2026-11-22"})),
            same("time", json!({"time": "08:30:00.25"})),
            same("timestamp", json!({"timestamp": "2026-11-22T08:30:00"})),
            (
                "timestamptz",
                json!({"timestamp": "2026-11-22T08:30:00+02:00"}),
                json!({"timestamp": "2026-11-22T06:30:00Z"}),
            ),
            same("uuid", json!({"uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8"})),
            same("json", json!({"json": "{\"a\": [1]}"})),
            ("jsonb", json!({"json": "{\"a\":[1]}"}), json!({"json": "{\"a\": [1]}"})),
            ("integer", json!({"integer": 7}), json!({"integer": 7})),
        ]),
        Kind::Mysql => values.extend([
            same("blob", json!({"blob": "AP8="})),
            ("boolean", json!({"boolean": true}), json!({"integer": 1})),
            same("decimal(30, 3)", json!({"decimal": "-12345678901234567890.500"})),
            same("date", json!({"date": "2026-11-22"})),
            same("time(6)", json!({"time": "08:30:00.25"})),
            same("datetime(6)", json!({"timestamp": "2026-11-22T08:30:00.5"})),
            (
                "timestamp",
                json!({"timestamp": "2026-11-22T08:30:00+02:00"}),
                json!({"timestamp": "2026-11-22T06:30:00Z"}),
            ),
            ("bigint unsigned", json!({"decimal": "18446744073709551615"}), json!({"decimal": "18446744073709551615"})),
            text("enum('a', 'b')", json!({"text": "b"}), "b"),
            same("int", json!({"integer": -7})),
        ]),
    }
    for (ty, value, back) in values {
        let (came, _) = steps(
            &host,
            json!([
                ground.step("execute", &format!("create table kept (it {ty})"), json!(null)),
                ground.step("execute", "insert into kept values (?)", json!([value])),
                ground.step("query", "select it from kept", json!(null)),
                ground.step("execute", "drop table kept", json!(null)),
            ]),
        )
        .await;
        assert_eq!(came[1]["executed"]["affected"], 1, "{ty}: {:?}", came[1]);
        assert_eq!(rows(&came[2]), &json!([[back]]), "{ty}");
        assert_eq!(came[3]["executed"]["affected"], 0, "{ty}: {:?}", came[3]);
    }
}

async fn nothing_of_one_call_is_there_for_the_next(ground: Ground) {
    // One connection, which all calls get.
    let host = ground.host_of(&ground.settings("access = \"write\"", "max_connections = 1")).await;
    let (leave, look, clean) = match ground.kind {
        Kind::Sqlite => (
            vec!["create temp table mine (a int)"],
            "select count(*) from pragma_table_info('mine')",
            json!([[{"integer": 0}]]),
        ),
        Kind::Mysql => (
            vec![
                "create temporary table mine (a int)",
                "select @mine := 7",
                "select get_lock('mine', 1)",
                "insert into orders (call_key, item, quantity) values ('a', 'apple', 1)",
            ],
            "select @mine, is_free_lock('mine'), last_insert_id()",
            json!([["null", {"integer": 1}, {"integer": 0}]]),
        ),
        Kind::Postgres => (
            vec![
                "create temp table mine (a int)",
                "select set_config('search_path', 'pg_temp', false)",
                "select set_config('statement_timeout', '0', false)",
                "select pg_advisory_lock(7)",
            ],
            "select current_setting('search_path'), to_regclass('pg_temp.mine')::text, pg_try_advisory_lock(7), \
             current_setting('transaction_read_only')",
            json!([[{"text": "\"$user\", public"}, "null", {"boolean": true}, {"text": "on"}]]),
        ),
    };
    for statement in leave {
        // Whether it is refused or not, nothing may be left of it.
        steps(&host, json!([ground.step("execute", statement, json!(null))])).await;
    }
    let (came, _) = steps(&host, json!([ground.step("query", look, json!(null))])).await;
    assert_eq!(rows(&came[0]), &clean);
}
