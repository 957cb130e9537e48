//! `toolpost:sql`, for the granted databases.

use std::sync::Arc;

use toolpost_core::catalog::grants::SqlAccess;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::View;
use super::backend::{Answer, Dialect, Mode, Value};
use super::grant::{Share, unknown};
use super::work::{Transaction, run};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "toolpost:sql/host",
        imports: { default: async | trappable },
        with: {
            "toolpost:sql/sql.database": crate::capability::sql::interface::Database,
            "toolpost:sql/sql.transaction": crate::capability::sql::work::Transaction,
        },
    });
}

use bindings::toolpost::sql::sql;

pub(super) use bindings::toolpost::sql::sql::{Error, add_to_linker};

/// A granted database that a guest has taken up: its place among those that are granted, which it has in every call of an
/// instance.
#[expect(unreachable_pub, reason = "what is generated of the interface shows it on")]
pub struct Database(usize);

type Asked<T> = Result<std::result::Result<T, Error>>;

impl View<'_> {
    fn share(&self, database: &Resource<Database>) -> Result<Arc<Share>> {
        let Database(at) = *self.table.get(database)?;
        let share = self.handle.shares.get(at).cloned();
        share.ok_or_else(|| wasmtime::format_err!("a database that is not granted any more"))
    }
}

impl sql::Host for View<'_> {
    async fn databases(&mut self) -> Result<Vec<String>> {
        Ok(self.handle.shares.iter().map(|share| share.grant.database.clone()).collect())
    }

    async fn open(&mut self, name: String) -> Asked<Resource<Database>> {
        match self.handle.shares.iter().position(|share| share.grant.database == name) {
            Some(at) => Ok(Ok(self.table.push(Database(at))?)),
            None => Ok(Err(unknown(&self.handle.attempt, &name))),
        }
    }
}

impl sql::HostDatabase for View<'_> {
    async fn dialect(&mut self, database: Resource<Database>) -> Result<sql::Dialect> {
        Ok(match self.share(&database)?.backend.dialect() {
            Dialect::Sqlite => sql::Dialect::Sqlite,
            Dialect::Postgres => sql::Dialect::Postgres,
            Dialect::Mysql => sql::Dialect::Mysql,
        })
    }

    async fn query(
        &mut self,
        database: Resource<Database>,
        statement: String,
        parameters: Vec<sql::Value>,
    ) -> Asked<sql::Rows> {
        let share = self.share(&database)?;
        Ok(run(&share, Mode::Query, &statement, taken(parameters)).await.map(rows))
    }

    async fn execute(
        &mut self,
        database: Resource<Database>,
        statement: String,
        parameters: Vec<sql::Value>,
    ) -> Asked<sql::Executed> {
        let share = self.share(&database)?;
        Ok(run(&share, Mode::Execute, &statement, taken(parameters)).await.map(executed))
    }

    async fn begin(&mut self, database: Resource<Database>, mode: sql::Mode) -> Asked<Resource<Transaction>> {
        let access = match mode {
            sql::Mode::Read => SqlAccess::Read,
            sql::Mode::Write => SqlAccess::Write,
        };
        match Transaction::begin(&self.share(&database)?, access).await {
            Ok(transaction) => Ok(Ok(self.table.push(transaction)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn drop(&mut self, database: Resource<Database>) -> Result<()> {
        self.table.delete(database)?;
        Ok(())
    }
}

impl sql::HostTransaction for View<'_> {
    async fn query(
        &mut self,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<sql::Value>,
    ) -> Asked<sql::Rows> {
        let transaction = self.table.get_mut(&transaction)?;
        Ok(transaction.run(Mode::Query, &statement, taken(parameters)).await.map(rows))
    }

    async fn execute(
        &mut self,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<sql::Value>,
    ) -> Asked<sql::Executed> {
        let transaction = self.table.get_mut(&transaction)?;
        Ok(transaction.run(Mode::Execute, &statement, taken(parameters)).await.map(executed))
    }

    async fn commit(&mut self, transaction: Resource<Transaction>) -> Asked<()> {
        Ok(self.table.delete(transaction)?.commit().await)
    }

    async fn drop(&mut self, transaction: Resource<Transaction>) -> Result<()> {
        self.table.delete(transaction)?.roll_back().await;
        Ok(())
    }
}

fn rows(answer: Answer) -> sql::Rows {
    let row = |row: Vec<Value>| row.into_iter().map(given).collect();
    sql::Rows { columns: answer.columns, rows: answer.rows.into_iter().map(row).collect() }
}

fn executed(answer: Answer) -> sql::Executed {
    sql::Executed { affected: answer.affected, returned: rows(answer) }
}

fn taken(values: Vec<sql::Value>) -> Vec<Value> {
    let take = |value| match value {
        sql::Value::Null => Value::Null,
        sql::Value::Boolean(value) => Value::Boolean(value),
        sql::Value::Integer(value) => Value::Integer(value),
        sql::Value::Float(value) => Value::Float(value),
        sql::Value::Decimal(text) => Value::Decimal(text),
        sql::Value::Text(text) => Value::Text(text),
        sql::Value::Blob(bytes) => Value::Blob(bytes),
        sql::Value::Date(text) => Value::Date(text),
        sql::Value::Time(text) => Value::Time(text),
        sql::Value::Timestamp(text) => Value::Timestamp(text),
        sql::Value::Uuid(text) => Value::Uuid(text),
        sql::Value::Json(text) => Value::Json(text),
    };
    values.into_iter().map(take).collect()
}

fn given(value: Value) -> sql::Value {
    match value {
        Value::Null => sql::Value::Null,
        Value::Boolean(value) => sql::Value::Boolean(value),
        Value::Integer(value) => sql::Value::Integer(value),
        Value::Float(value) => sql::Value::Float(value),
        Value::Decimal(text) => sql::Value::Decimal(text),
        Value::Text(text) => sql::Value::Text(text),
        Value::Blob(bytes) => sql::Value::Blob(bytes),
        Value::Date(text) => sql::Value::Date(text),
        Value::Time(text) => sql::Value::Time(text),
        Value::Timestamp(text) => sql::Value::Timestamp(text),
        Value::Uuid(text) => sql::Value::Uuid(text),
        Value::Json(text) => sql::Value::Json(text),
    }
}
