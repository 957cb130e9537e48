//! Values as PostgreSQL sends them: numbers in network order, and texts as they are.
//!
//! It is done here, and not by the types that `sqlx` knows, because those come with three more libraries, and lose what they
//! cannot hold.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo, PgTypeKind};
use sqlx::{Arguments as _, Column as _, Encode, Postgres, Row as _, Type, TypeInfo as _, ValueRef as _};
use toolpost_wasm::sql::{Failure, Value};

use crate::sql::calendar::{self, DAY};

/// The days, and with them the microseconds, from 1970 to 2000, when the calendar of PostgreSQL begins.
const EPOCH_DAYS: i64 = 10_957;
const EPOCH: i64 = EPOCH_DAYS * DAY;

/// The signs of a `numeric`.
const MINUS: u16 = 0x4000;
const NO_NUMBER: u16 = 0xC000;
const INFINITE: [u16; 2] = [0xD000, 0xF000];

/// A value as it is sent, with its type.
struct Raw {
    oid: u32,
    bytes: Option<Vec<u8>>,
}

impl Type<Postgres> for Raw {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(25))
    }
}

impl Encode<'_, Postgres> for Raw {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match &self.bytes {
            Some(bytes) => {
                buffer.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.oid)))
    }
}

pub(super) fn arguments(parameters: Vec<Value>) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    for value in parameters {
        let raw = raw(value)?;
        arguments.add(raw).map_err(|error| Failure::Invalid(error.to_string()))?;
    }
    Ok(arguments)
}

fn raw(value: Value) -> Result<Raw, Failure> {
    let wrong = |text: &str, what: &str| Failure::Invalid(format!("`{text}` is no {what}"));
    let known = |oid, bytes: Vec<u8>| Ok(Raw { oid, bytes: Some(bytes) });
    match value {
        // The server finds out of which type it is.
        Value::Null => Ok(Raw { oid: 0, bytes: None }),
        Value::Boolean(value) => known(16, vec![u8::from(value)]),
        Value::Integer(value) => known(20, value.to_be_bytes().to_vec()),
        Value::Float(value) => known(701, value.to_be_bytes().to_vec()),
        Value::Text(text) => known(25, text.into_bytes()),
        Value::Blob(bytes) => known(17, bytes),
        Value::Json(text) => known(114, text.into_bytes()),
        Value::Decimal(text) => known(1700, read_numeric(&text).ok_or_else(|| wrong(&text, "decimal number"))?),
        Value::Date(text) => {
            let days = calendar::read_date(&text).and_then(|days| i32::try_from(days - EPOCH_DAYS).ok());
            known(1082, days.ok_or_else(|| wrong(&text, "day"))?.to_be_bytes().to_vec())
        }
        Value::Time(text) => {
            let micros = calendar::read_time(&text).ok_or_else(|| wrong(&text, "time"))?;
            known(1083, micros.to_be_bytes().to_vec())
        }
        Value::Timestamp(text) => {
            let (micros, zoned) = calendar::read_timestamp(&text).ok_or_else(|| wrong(&text, "moment"))?;
            known(if zoned { 1184 } else { 1114 }, (micros - EPOCH).to_be_bytes().to_vec())
        }
        Value::Uuid(text) => {
            let digits: String = text.chars().filter(|c| *c != '-').collect();
            let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
            known(2950, number.ok_or_else(|| wrong(&text, "UUID"))?.to_be_bytes().to_vec())
        }
    }
}

pub(super) fn values(row: &PgRow) -> Result<Vec<Value>, Failure> {
    let value = |at: usize| {
        let column = row.columns().get(at).map(|column| column.name()).unwrap_or_default();
        let raw = row.try_get_raw(at).map_err(|error| Failure::Invalid(error.to_string()))?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let info = raw.type_info().into_owned();
        let bytes = raw.as_bytes().map_err(|error| Failure::Invalid(error.to_string()))?;
        value(&info, bytes).ok_or_else(|| {
            let name = info.name();
            let help = format!("cast it, for example `{column}::text`");
            Failure::Invalid(format!("`{column}` has the type `{name}`, which is not known here; {help}"))
        })
    };
    (0..row.len()).map(value).collect()
}

fn value(info: &PgTypeInfo, bytes: &[u8]) -> Option<Value> {
    if let PgTypeKind::Domain(of) = info.kind() {
        return value(of, bytes);
    }
    let text = || std::str::from_utf8(bytes).ok().map(str::to_owned);
    let long = || Some(i64::from_be_bytes(bytes.try_into().ok()?));
    Some(match info.name() {
        "VOID" => Value::Null,
        "BOOL" => Value::Boolean(bytes.first() == Some(&1)),
        "INT2" => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        "INT4" => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        "INT8" => Value::Integer(long()?),
        "OID" => Value::Integer(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        "FLOAT4" => Value::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        "FLOAT8" => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        "NUMERIC" => Value::Decimal(numeric(bytes)?),
        "TEXT" | "VARCHAR" | "CHAR" | "\"CHAR\"" | "NAME" | "UNKNOWN" => Value::Text(text()?),
        "BYTEA" => Value::Blob(bytes.to_vec()),
        "JSON" => Value::Json(text()?),
        // It begins with the number of its form.
        "JSONB" => Value::Json(std::str::from_utf8(bytes.get(1..)?).ok()?.to_owned()),
        "UUID" => Value::Uuid(uuid(bytes)?),
        "DATE" => match i32::from_be_bytes(bytes.try_into().ok()?) {
            i32::MAX => Value::Date("infinity".into()),
            i32::MIN => Value::Date("-infinity".into()),
            days => Value::Date(calendar::date(i64::from(days) + EPOCH_DAYS)),
        },
        "TIME" => Value::Time(calendar::time(long()?)),
        "TIMESTAMP" => Value::Timestamp(moment(long()?, "")),
        "TIMESTAMPTZ" => Value::Timestamp(moment(long()?, "Z")),
        _ if matches!(info.kind(), PgTypeKind::Enum(_)) => Value::Text(text()?),
        _ => return None,
    })
}

fn moment(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        micros => format!("{}{zone}", calendar::timestamp(micros.saturating_add(EPOCH))),
    }
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes.try_into().ok()?));
    let parts =
        [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| digits.get(from..to).unwrap_or_default());
    Some(parts.join("-"))
}

/// A `numeric`: groups of four decimal digits, the place of the first of them, the sign, and the digits behind the point.
fn numeric(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> =
        bytes.chunks(2).map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?))).collect::<Option<_>>()?;
    let [_, weight, sign, scale, groups @ ..] = words.as_slice() else { return None };
    if *sign == NO_NUMBER {
        return Some("NaN".into());
    }
    if let Some(at) = INFINITE.iter().position(|infinite| infinite == sign) {
        return Some(if at == 0 { "Infinity" } else { "-Infinity" }.into());
    }
    let weight = i32::from(weight.cast_signed());
    let group = |place: i32| usize::try_from(weight - place).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let whole: String = (0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place))).collect();
    let whole = whole.trim_start_matches('0');
    let scale = usize::from(*scale);
    let places = i32::try_from(scale.div_ceil(4)).ok()?;
    let rest: String = (1..=places).map(|place| format!("{:04}", group(-place))).collect();
    let rest = rest.get(..scale)?;
    let sign = if *sign == MINUS { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") })
}

fn read_numeric(text: &str) -> Option<Vec<u8>> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (MINUS, digits),
        None => (0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.len() <= 1_000 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(rest) || whole.len() + rest.len() == 0 {
        return None;
    }
    let padded = |length: usize| (4 - length % 4) % 4;
    let all = format!("{}{whole}{rest}{}", "0".repeat(padded(whole.len())), "0".repeat(padded(rest.len())));
    let groups = all.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).ok()?.parse::<u16>().ok());
    let groups: Vec<u16> = groups.collect::<Option<_>>()?;
    let weight = i16::try_from(whole.len().div_ceil(4)).ok()? - 1;
    let head = [u16::try_from(groups.len()).ok()?, weight.cast_unsigned(), sign, u16::try_from(rest.len()).ok()?];
    Some(head.iter().chain(&groups).flat_map(|word| word.to_be_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_number_comes_back_as_it_went() {
        for text in
            ["0", "1", "-1", "12.50", "10000", "0.0001", "-123456789.000100", "99999999999999999999.9", "0.00000001"]
        {
            assert_eq!(read_numeric(text).and_then(|bytes| numeric(&bytes)).as_deref(), Some(text));
        }
        assert_eq!(read_numeric("+.5").and_then(|bytes| numeric(&bytes)).as_deref(), Some("0.5"));
        for text in ["", ".", "1e5", "1,5", "--1", "ten", " 1"] {
            assert_eq!(read_numeric(text), None, "{text}");
        }
    }

    #[test]
    fn a_uuid_is_shown_in_its_parts() {
        let text = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let sent = raw(Value::Uuid(text.into())).ok().and_then(|raw| raw.bytes).and_then(|bytes| uuid(&bytes));
        assert_eq!(sent.as_deref(), Some(text));
    }
}
