//! Whatever `toolpost:sql` can do, step by step: for tests of it, in all orders that a guest may think of.

use std::time::Duration;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:transact/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::transact::transact::{Came, Guest, Statement, Step};
use toolpost::sql::sql::{self, Database, Error, Mode, Transaction, Value};

struct Tools;

impl Guest for Tools {
    fn run(database: String, steps: Vec<Step>) -> Vec<Came> {
        let database = match sql::open(&database) {
            Ok(database) => database,
            Err(error) => return vec![Came::Error(error)],
        };
        let mut transaction = None;
        steps.into_iter().map(|step| take(&database, &mut transaction, step).unwrap_or_else(Came::Error)).collect()
    }
}

fn values(statement: &Statement) -> Vec<Value> {
    statement.values.clone().unwrap_or_default()
}

fn take(database: &Database, open: &mut Option<Transaction>, step: Step) -> Result<Came, Error> {
    let none = || Error::Invalid("no transaction was begun".into());
    match step {
        Step::Query(it) => database.query(&it.sql, &values(&it)).map(Came::Rows),
        Step::Execute(it) => database.execute(&it.sql, &values(&it)).map(Came::Executed),
        Step::BeginRead => {
            *open = Some(database.begin(Mode::Read)?);
            Ok(Came::Ok)
        }
        Step::BeginWrite => {
            *open = Some(database.begin(Mode::Write)?);
            Ok(Came::Ok)
        }
        Step::TxQuery(it) => open.as_ref().ok_or_else(none)?.query(&it.sql, &values(&it)).map(Came::Rows),
        Step::TxExecute(it) => open.as_ref().ok_or_else(none)?.execute(&it.sql, &values(&it)).map(Came::Executed),
        Step::Commit => Transaction::commit(open.take().ok_or_else(none)?).map(|()| Came::Ok),
        Step::RollBack => {
            drop(open.take());
            Ok(Came::Ok)
        }
        Step::Wait(milliseconds) => {
            std::thread::sleep(Duration::from_millis(milliseconds));
            Ok(Came::Ok)
        }
        Step::Trap => panic!("as it was told"),
    }
}

export!(Tools);
