//! A database of the operator's, as an agent works with it. Nothing here knows where it is, or how one gets in.

mod json;
mod order;
mod schema;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:database/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::database::database::{Column, Content, Failure, Guest, Order, Parameter};
use toolpost::sql::sql::{self, Database, Dialect, Error, Value};
use toolpost::tool::types::Unavailable;

struct Tools;

impl Guest for Tools {
    fn query(
        statement: String,
        parameters: Option<Vec<Parameter>>,
        database: Option<String>,
    ) -> Result<Content, Failure> {
        let rows = open(database)?.query(&statement, &values(parameters))?;
        Ok(Content::Json(json::rows(&rows)))
    }

    fn execute(
        statement: String,
        parameters: Option<Vec<Parameter>>,
        database: Option<String>,
    ) -> Result<Content, Failure> {
        let done = open(database)?.execute(&statement, &values(parameters))?;
        Ok(Content::Json(format!("{{\"affected\":{},\"rows\":{}}}", done.affected, json::rows(&done.returned))))
    }

    fn list_tables(database: Option<String>) -> Result<Vec<String>, Failure> {
        schema::tables(&open(database)?)
    }

    fn describe_table(table: String, database: Option<String>) -> Result<Vec<Column>, Failure> {
        schema::columns(&open(database)?, table)
    }

    fn place_order(item: String, quantity: u32, database: Option<String>) -> Result<Order, Failure> {
        order::place(&open(database)?, item, quantity)
    }
}

/// The database of that name; without one, the only one.
fn open(name: Option<String>) -> Result<Database, Failure> {
    let name = match name {
        Some(name) => name,
        None => {
            let mut names = sql::databases();
            match names.len() {
                1 => names.remove(0),
                0 => return Err(Failure::Failed("the tool was given no database".into())),
                _ => {
                    let names = names.join("`, `");
                    return Err(Failure::InvalidArguments(format!("say which `database`: `{names}`")));
                }
            }
        }
    };
    Ok(sql::open(&name)?)
}

fn values(parameters: Option<Vec<Parameter>>) -> Vec<Value> {
    let value = |parameter| match parameter {
        Parameter::Null => Value::Null,
        Parameter::Boolean(value) => Value::Boolean(value),
        Parameter::Integer(value) => Value::Integer(value),
        Parameter::Float(value) => Value::Float(value),
        Parameter::Text(text) => Value::Text(text),
    };
    parameters.unwrap_or_default().into_iter().map(value).collect()
}

/// A statement with `?` for each value, as a database writes it.
fn places(database: &Database, statement: &str) -> String {
    if database.dialect() != Dialect::Postgres {
        return statement.to_owned();
    }
    let mut parts = statement.split('?');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for (number, part) in parts.enumerate() {
        numbered += &format!("${}{part}", number + 1);
    }
    numbered
}

/// Whose fault it is, and whether to try again.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let again = |message| Failure::Unavailable(Unavailable { message, retry_after_ms: None });
        match error {
            Error::Invalid(words) | Error::Constraint(words) => Failure::InvalidArguments(words),
            Error::Denied(words) | Error::Exceeded(words) => Failure::Failed(words),
            // What was to be changed is not, or is found again by its key.
            Error::Conflict(words) | Error::Unavailable(words) | Error::UnknownOutcome(words) => again(words),
        }
    }
}

export!(Tools);
