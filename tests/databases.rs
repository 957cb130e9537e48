//! Databases as an operator meets them: what `inspect` and `check` show of what is granted, what the README of the guest says, and
//! a call that uses it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{filters, page, prebuilt, root, toolpost};

/// A folder with a copy of the example's shop, and these settings.
fn folder(settings: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = root().join("guest-examples/database/shop.db");
    std::fs::copy(shop, folder.path().join("shop.db")).expect("copied");
    let settings = settings.replace("guest-examples/prebuilt/database.wasm", &prebuilt("database"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

/// The first settings of the guest's README.
fn readme() -> String {
    let text = std::fs::read_to_string(root().join("guest-examples/database/README.md")).expect("it is there");
    let (_, settings) = text.split_once("```toml\n").expect("settings");
    settings.split_once("```").expect("their end").0.to_owned()
}

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

#[test]
fn inspect_and_check_show_which_databases_are_granted_and_to_which_tool() {
    let _filters = filters();
    let folder = folder(&readme());
    let sheet = run(&folder, &["inspect", &prebuilt("database")]);
    assert_snapshot!(sheet.lines().take(5).collect::<Vec<_>>().join("\n"), @r#"
    --- stdout
    database  [size]  [digest]
    effect  reads (with what is granted)
    asks    standard input and output (captured), databases (granted)
    grants  sql read shop
    "#);
    let of = |tool: &str| {
        let lines = sheet.lines().skip_while(|line| !line.starts_with(tool)).skip(1);
        lines.take_while(|line| line.starts_with(' ')).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(of("database_place_order"), @r#"
    Takes an item from the stock and writes the order, both or neither. The same call is one order, however often it is
    run.
    effect writes
    grants sql write shop (only orders, stock)
    "#);
    assert_snapshot!(run(&folder, &["check"]), @r#"
    --- stdout
    all is well: 1 component, 5 tools
    --- exit 0
    "#);
}

#[test]
fn what_the_readme_of_the_guest_says_is_so() {
    let folder = folder(&readme());
    assert_snapshot!(run(&folder, &["call", "database_list_tables"]), @r#"
    --- stdout
    [
      "orders",
      "stock"
    ]
    --- exit 0
    "#);
    let query = "statement=select * from stock where available > $1";
    assert_snapshot!(run(&folder, &["call", "database_query", query, "parameters=[{\"integer\": 2}]"]), @r#"
    --- stdout
    [
      {
        "item": "apple",
        "available": 5
      }
    ]
    --- exit 0
    "#);
    assert_snapshot!(run(&folder, &["call", "database_place_order", "item=apple", "quantity=2"]), @r#"
    --- stdout
    {
      "id": 1,
      "item": "apple",
      "quantity": 2,
      "left": 3
    }
    --- exit 0
    "#);
    assert_snapshot!(run(&folder, &["call", "database_place_order", "item=apple", "quantity=4"]), @r#"
    --- stderr
    error: invalid_arguments: there are only 3 of `apple`
    --- exit 2
    "#);
    assert_snapshot!(run(&folder, &["call", "database_execute", "statement=delete from stock"]), @r#"
    --- stderr
    error: capability_denied: the tool may only read in the database `shop`, not `DELETE stock`; the operator can allow it with `access = "write"` in the grant of the database `shop`; the tool ended with: the tool may only read in the database `shop`, not `DELETE stock`
    --- exit 3
    "#);
    let order = ["call", "database_place_order", "item=pear", "quantity=1", "--key", "k-1"];
    assert_eq!(run(&folder, &order), run(&folder, &order), "the same call is one order");
    assert_snapshot!(run(&folder, &["call", "database_query", "statement=select count(*) as orders from orders"]), @r#"
    --- stdout
    [
      {
        "orders": 2
      }
    ]
    --- exit 0
    "#);
}

#[test]
fn check_finds_a_database_that_is_not_there_and_a_grant_that_cannot_be_kept() {
    let _filters = filters();
    let check = |settings: &str| {
        let folder = folder(settings);
        run(&folder, &["check"]).replace(folder.path().to_str().expect("text"), "[folder]")
    };
    let component = "[components.database]\npath = \"guest-examples/prebuilt/database.wasm\"\n";
    let database = |settings: &str| check(&format!("{settings}{component}"));
    let shop = "[sql.shop]\nkind = \"sqlite\"\npath = \"shop.db\"\n";
    assert_snapshot!(check(&format!("{shop}{component}grants.sql = [{{ database = \"shopp\" }}]")), @r#"
    --- stderr
    error: component `database`: no database is named `shopp`; did you mean `shop`?
    --- exit 2
    "#);
    assert_snapshot!(check(&format!("{component}grants.sql = [{{ database = \"shop\" }}]")), @r#"
    --- stderr
    error: component `database`: no database is named `shop`; say in `[sql.shop]` which it is
    --- exit 2
    "#);
    assert_snapshot!(database("[sql.shop]\nkind = \"sqlite\"\npath = \"nowhere.db\"\n"), @r#"
    --- stderr
    error: database `shop`: `[folder]/nowhere.db` cannot be opened: No such file or directory (os error 2)
    --- exit 2
    "#);
    assert_snapshot!(database("[sql.shop]\nkind = \"sqlite\"\nurl = \"${secret:SHOP}\"\n"), @r#"
    --- stderr
    error: database `shop`: `path` is missing: where is the file of the kind "sqlite"?
    --- exit 2
    "#);
    assert_snapshot!(database("[sql.shop]\nkind = \"postgres\"\npath = \"shop.db\"\n"), @r#"
    --- stderr
    error: database `shop`: `url` is missing: where is the server of the kind "postgres"?
    --- exit 2
    "#);
    assert_snapshot!(database("[sql.shop]\nkind = \"mysql\"\nurl = \"${secret:SHOP}\"\n"), @r#"
    --- stderr
    error: database `shop`: no secret is named `SHOP`; say in `[secrets]` where it comes from
    --- exit 2
    "#);
    assert_snapshot!(database("[sql.shop]\nkind = \"postgres\"\nurl = \"postgres://me:hunter22@host/shop\"\n"), @r#"
    --- stderr
    error: toolpost.toml:3: expected the name of a secret: put it into `[secrets]`, and write "${secret:NAME}" here
    error: database `shop`: `url` is missing: where is the server of the kind "postgres"?
    --- exit 2
    "#);
    let server =
        "[secrets]\nSHOP = { file = \"shop.db\" }\n[sql.shop]\nkind = \"postgres\"\nurl = \"${secret:SHOP}\"\n";
    let tables = "grants.sql = [{ database = \"shop\", tables = [\"orders\"] }]";
    assert_snapshot!(check(&format!("{server}{component}{tables}")), @r#"
    --- stderr
    error: component `database`: `tables` cannot be kept to in the database `shop`, which is a server: give the tables to a role of it, and name that role in the address
    --- exit 2
    "#);
    let twice = "grants.sql = [{ database = \"shop\" }, { database = \"shop\", access = \"write\" }]";
    assert_snapshot!(check(&format!("{shop}{component}{twice}")), @r#"
    --- stderr
    error: toolpost.toml:6: the database `shop` is granted twice; make one grant of both
    --- exit 2
    "#);
    let nap = format!("{shop}[components.nap]\npath = {:?}\ngrants.sql = [{{ database = \"shop\" }}]", prebuilt("nap"));
    assert_snapshot!(check(&nap), @r#"
    --- stderr
    error: component `nap`: `grants.sql` is of no use to it: it does not import `toolpost:sql/sql`; take the grant out
    --- exit 2
    "#);
}

#[test]
fn a_rule_about_a_table_is_not_evaded_by_another_spelling() {
    let settings = readme()
        + "\n[[approval.deny]]\ndoes = { action = \"sql.*\", target = \"shop: UPDATE stock*\" }\nreason = \"no\"\n";
    let settings = settings.replacen("database = \"shop\" }", "database = \"shop\", access = \"write\" }", 1);
    let folder = folder(&settings);
    for statement in [
        "update stock set available = 0",
        "UPDATE main.stock set available = 0",
        "update STOCK set available = 0",
        "update \"stock\" set available = 0",
        "update [Stock] set available = 0",
        "with x as (select 1) update stock set available = 0",
        "/* a */ update or ignore `stock` set available = 0",
        "update 'stock' set available = 0",
    ] {
        let arguments = serde_json::json!({"statement": statement}).to_string();
        let told = run(&folder, &["call", "database_execute", "--args", &arguments]);
        assert!(told.ends_with("exit 3"), "{statement}: {told}");
    }
    let told =
        run(&folder, &["call", "database_execute", "--args", r#"{"statement": "update orders set quantity = 1"}"#]);
    assert!(told.ends_with("exit 0"), "{told}");
}
