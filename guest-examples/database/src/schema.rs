//! What is in a database: each kind has its own way to say it.

use crate::sql::{Database, Dialect, Rows, Value};
use crate::{Column, Failure, places};

pub fn tables(database: &Database) -> Result<Vec<String>, Failure> {
    let statement = match database.dialect() {
        Dialect::Sqlite => {
            "select name from sqlite_master where type = 'table' and name not like 'sqlite!_%' escape '!' order by name"
        }
        Dialect::Postgres => {
            "select table_name::text from information_schema.tables where table_schema = current_schema() order by 1"
        }
        Dialect::Mysql => "select table_name from information_schema.tables where table_schema = database() order by 1",
    };
    let rows = database.query(statement, &[])?;
    Ok(texts(&rows).map(|mut row| row.remove(0)).collect())
}

pub fn columns(database: &Database, table: String) -> Result<Vec<Column>, Failure> {
    let statement = match database.dialect() {
        Dialect::Sqlite => {
            "select name, type, case when \"notnull\" or pk then 'NO' else 'YES' end from pragma_table_info(?) order by cid"
        }
        Dialect::Postgres => {
            "select column_name::text, data_type::text, is_nullable::text from information_schema.columns \
             where table_schema = current_schema() and table_name = ? order by ordinal_position"
        }
        Dialect::Mysql => {
            "select column_name, column_type, is_nullable from information_schema.columns \
             where table_schema = database() and table_name = ? order by ordinal_position"
        }
    };
    let rows = database.query(&places(database, statement), &[Value::Text(table.clone())])?;
    if rows.rows.is_empty() {
        return Err(Failure::InvalidArguments(format!("there is no table `{table}`")));
    }
    let column = |mut row: Vec<String>| {
        let optional = row.pop().is_some_and(|optional| optional == "YES");
        let holds = row.pop().unwrap_or_default();
        Column { name: row.pop().unwrap_or_default(), holds, optional }
    };
    Ok(texts(&rows).map(column).collect())
}

fn texts(rows: &Rows) -> impl Iterator<Item = Vec<String>> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        // MySQL has some of these texts as bytes.
        Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    rows.rows.iter().map(move |row| row.iter().map(text).collect())
}
