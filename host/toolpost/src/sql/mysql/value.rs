//! Values as MySQL sends them, in the form of prepared statements.

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments as _, Column as _, Row as _, TypeInfo as _, ValueRef as _};
use toolpost_wasm::sql::{Failure, Value};

use crate::sql::calendar::{self, SECOND};

pub(super) fn arguments(parameters: Vec<Value>) -> Result<MySqlArguments, Failure> {
    let mut arguments = MySqlArguments::default();
    for value in parameters {
        let added = match value {
            Value::Null => arguments.add(None::<String>),
            Value::Boolean(value) => arguments.add(i8::from(value)),
            Value::Integer(value) => arguments.add(value),
            Value::Float(value) => arguments.add(value),
            Value::Blob(bytes) => arguments.add(bytes),
            Value::Timestamp(text) => {
                // The server reads neither the letter between day and time, nor the zone; that of the session is UTC.
                let moment = calendar::read_timestamp(&text).map(|(micros, _)| calendar::timestamp(micros));
                let moment = moment.ok_or_else(|| Failure::Invalid(format!("`{text}` is no moment")))?;
                arguments.add(moment.replace('T', " "))
            }
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Json(text) => arguments.add(text),
        };
        added.map_err(|error| Failure::Invalid(error.to_string()))?;
    }
    Ok(arguments)
}

pub(super) fn values(row: &MySqlRow) -> Result<Vec<Value>, Failure> {
    let wrong = |error: sqlx::Error| Failure::Invalid(error.to_string());
    let value = |at: usize| {
        if row.try_get_raw(at).map_err(wrong)?.is_null() {
            return Ok(Value::Null);
        }
        value(row, at).map_err(wrong)?.ok_or_else(|| {
            let column = row.columns().get(at).map(|column| column.name()).unwrap_or_default();
            Failure::Invalid(format!("what is in `{column}` cannot be read; cast it, for example to `char`"))
        })
    };
    (0..row.len()).map(value).collect()
}

/// A text of the host's own statements.
pub(super) fn text(row: &MySqlRow, at: usize) -> Option<String> {
    row.try_get_unchecked(at).ok()
}

/// A number of the host's own statements.
pub(super) fn number(row: &MySqlRow, at: usize) -> Option<i64> {
    row.try_get_unchecked(at).ok()
}

fn value(row: &MySqlRow, at: usize) -> Result<Option<Value>, sqlx::Error> {
    let name = row.try_get_raw(at)?.type_info().name().to_owned();
    let bytes = || row.try_get_unchecked::<&[u8], _>(at);
    Ok(match name.as_str() {
        "BIGINT UNSIGNED" => {
            let number: u64 = row.try_get_unchecked(at)?;
            // What is above the whole numbers that there are is an exact number all the same.
            Some(i64::try_from(number).map_or_else(|_| Value::Decimal(number.to_string()), Value::Integer))
        }
        "BOOLEAN" | "YEAR" => Some(Value::Integer(row.try_get_unchecked(at)?)),
        name if name.contains("INT") => Some(Value::Integer(row.try_get_unchecked(at)?)),
        "FLOAT" => Some(Value::Float(row.try_get_unchecked::<f32, _>(at)?.into())),
        "DOUBLE" => Some(Value::Float(row.try_get_unchecked(at)?)),
        "DECIMAL" => Some(Value::Decimal(row.try_get_unchecked(at)?)),
        "JSON" => Some(Value::Json(row.try_get_unchecked(at)?)),
        "DATE" => date(bytes()?).map(Value::Date),
        "TIME" => time(bytes()?).map(Value::Time),
        "DATETIME" => moment(bytes()?).map(Value::Timestamp),
        "TIMESTAMP" => moment(bytes()?).map(|moment| Value::Timestamp(format!("{moment}Z"))),
        name if name.contains("BLOB") || name.contains("BINARY") || matches!(name, "BIT" | "GEOMETRY") => {
            Some(Value::Blob(row.try_get_unchecked(at)?))
        }
        _ => Some(Value::Text(row.try_get_unchecked(at)?)),
    })
}

/// A day: the length, the year, month and day. One of zeros has the length 0.
fn date(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0] | [] => Some("0000-00-00".into()),
        [_, low, high, month, day, ..] => Some(format!("{:04}-{month:02}-{day:02}", u16::from_le_bytes([*low, *high]))),
        _ => None,
    }
}

/// A moment: a day, and behind it the time, as far as there is one.
fn moment(bytes: &[u8]) -> Option<String> {
    let micros = match bytes.get(5..) {
        None | Some([]) => 0,
        Some([hours, minutes, seconds, rest @ ..]) => clock(*hours, *minutes, *seconds) + micros(rest),
        Some(_) => return None,
    };
    Some(format!("{}T{}", date(bytes)?, calendar::time(micros)))
}

/// A time: the length, the sign, days, and the time. It may be longer than a day.
fn time(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0] | [] => Some(calendar::time(0)),
        [_, sign, d0, d1, d2, d3, hours, minutes, seconds, rest @ ..] => {
            let days = i64::from(u32::from_le_bytes([*d0, *d1, *d2, *d3]));
            let length = days * calendar::DAY + clock(*hours, *minutes, *seconds) + micros(rest);
            Some(format!("{}{}", if *sign == 1 { "-" } else { "" }, calendar::time(length)))
        }
        _ => None,
    }
}

fn clock(hours: u8, minutes: u8, seconds: u8) -> i64 {
    ((i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds)) * SECOND
}

fn micros(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, |bytes| i64::from(u32::from_le_bytes(bytes)))
}
