//! A stand-in for DynamoDB, as far as it is needed: it checks signatures, keeps items, and knows conditions. It is as strict as the
//! service about names and values that an expression does not use, and now and then it says that a transaction met another one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, Mac as _};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET_KEY: &str = "a secret that signs requests";
pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const TABLE: &str = "toolpost";

/// One transaction in so many meets another one.
const MEETS: usize = 7;

/// The items of the table, by their two keys.
type Items = BTreeMap<(String, String), Value>;
type No = (&'static str, Value);

#[derive(Default)]
pub(crate) struct Table {
    items: Mutex<Items>,
    transactions: Mutex<usize>,
    /// What it says to an action instead, where that is to fail.
    pub(crate) says: Mutex<Option<(&'static str, u16, &'static str)>>,
}

/// The server; it ends with this.
pub(crate) struct TableServer {
    pub(crate) address: SocketAddr,
    pub(crate) table: Arc<Table>,
    serving: AbortHandle,
}

impl Drop for TableServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl TableServer {
    pub(crate) async fn start() -> Self {
        let table = Arc::new(Table::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", post(answer)).with_state(table.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        TableServer { address, table, serving }
    }
}

async fn answer(State(table): State<Arc<Table>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let no = |status: u16, code: &str, more: Value| {
        let mut said = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "no"});
        said.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        (StatusCode::from_u16(status).unwrap(), said.to_string())
    };
    if headers["authorization"].to_str().unwrap() != authorization(&headers, &body) {
        return no(400, "InvalidSignatureException", json!({}));
    }
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let target = headers["x-amz-target"].to_str().unwrap();
    let action = target.strip_prefix("DynamoDB_20120810.").unwrap();
    if let Some((of, status, code)) = *table.says.lock().unwrap()
        && of == action
    {
        return no(status, code, json!({}));
    }
    let said = match action {
        "GetItem" => table.get(&asked),
        "Query" => table.query(&asked),
        "TransactWriteItems" => table.transact(&asked),
        _ => Err(("UnknownOperationException", json!({}))),
    };
    said.map_or_else(|(code, more)| no(400, code, more), |said| (StatusCode::OK, said.to_string()))
}

impl Table {
    fn get(&self, asked: &Value) -> Result<Value, No> {
        assert_eq!((&asked["TableName"], &asked["ConsistentRead"]), (&json!(TABLE), &json!(true)));
        let items = self.items.lock().unwrap();
        Ok(items.get(&key(&asked["Key"])).map_or_else(|| json!({}), |item| json!({"Item": item})))
    }

    fn query(&self, asked: &Value) -> Result<Value, No> {
        assert_eq!((&asked["TableName"], &asked["ConsistentRead"]), (&json!(TABLE), &json!(true)));
        let parts = ["KeyConditionExpression", "FilterExpression", "ProjectionExpression"];
        all_is_used(asked, &parts)?;
        let limit = asked["Limit"].as_u64().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
        // So that whoever asks goes on from page to page.
        let limit = limit.min(5);
        let from = asked.get("ExclusiveStartKey").map(key);
        let items = self.items.lock().unwrap();
        let mut found = items.iter().filter(|(at, item)| {
            from.as_ref().is_none_or(|from| *at > from) && holds(&asked["KeyConditionExpression"], asked, Some(item))
        });
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let last = page.last().filter(|_| page.len() == limit).map(|(_, item)| item);
        let last = last.map(|item| json!({"space": item["space"], "key": item["key"]}));
        let filtered = page.iter().filter(|(_, item)| holds(&asked["FilterExpression"], asked, Some(item)));
        let mut said = json!({"Items": filtered.map(|(_, item)| (*item).clone()).collect::<Vec<_>>()});
        if let Some(last) = last {
            said["LastEvaluatedKey"] = last;
        }
        Ok(said)
    }

    fn transact(&self, asked: &Value) -> Result<Value, No> {
        let mut items = self.items.lock().unwrap();
        let mut number = self.transactions.lock().unwrap();
        *number += 1;
        let writes: Vec<(&String, &Value)> =
            asked["TransactItems"].as_array().unwrap().iter().flat_map(|it| it.as_object().unwrap()).collect();
        let mut reasons = Vec::new();
        for (_, write) in &writes {
            assert_eq!(write["TableName"], TABLE);
            all_is_used(write, &["ConditionExpression", "UpdateExpression"])?;
            let at = key(write.get("Item").unwrap_or(&write["Key"]));
            let is_met = write.get("ConditionExpression").is_none_or(|said| holds(said, write, items.get(&at)));
            reasons.push(json!({"Code": if is_met { "None" } else { "ConditionalCheckFailed" }}));
        }
        if (*number).is_multiple_of(MEETS) {
            reasons = vec![json!({"Code": "TransactionConflict"}), json!({"Code": "None"})];
        }
        if reasons.iter().any(|reason| reason["Code"] != "None") {
            return Err(("TransactionCanceledException", json!({"CancellationReasons": reasons})));
        }
        for (kind, write) in writes {
            match kind.as_str() {
                "Put" => drop(items.insert(key(&write["Item"]), write["Item"].clone())),
                "Delete" => drop(items.remove(&key(&write["Key"]))),
                "Update" => {
                    let item = items.entry(key(&write["Key"])).or_insert_with(|| write["Key"].clone());
                    let adds = write["UpdateExpression"].as_str().unwrap().strip_prefix("ADD ").unwrap();
                    for add in adds.split(", ") {
                        let (name, by) = add.split_once(' ').unwrap();
                        let name = write["ExpressionAttributeNames"][name].as_str().unwrap();
                        let sum = number_of(&item[name]).unwrap_or(0)
                            + number_of(&write["ExpressionAttributeValues"][by]).unwrap();
                        item[name] = json!({"N": sum.to_string()});
                    }
                }
                other => panic!("{other}"),
            }
        }
        Ok(json!({}))
    }
}

fn key(of: &Value) -> (String, String) {
    let part = |name: &str| of[name]["S"].as_str().unwrap().to_owned();
    let key = part("key");
    assert!((1..=1_024).contains(&key.len()), "{key}");
    (part("space"), key)
}

/// The service refuses what it would not need.
fn all_is_used(asked: &Value, expressions: &[&str]) -> Result<(), No> {
    let said: Vec<&str> = expressions.iter().filter_map(|name| asked[name].as_str()).collect();
    let said = said.join(" ");
    let words: Vec<&str> = said.split([' ', '(', ')', ',']).collect();
    let empty = Map::new();
    let given = |name: &str| asked[name].as_object().unwrap_or(&empty).clone();
    let (names, values) = (given("ExpressionAttributeNames"), given("ExpressionAttributeValues"));
    let is_used = names.keys().chain(values.keys()).all(|it| words.contains(&it.as_str()));
    let known = |word: &&str| match word.chars().next() {
        Some('#') => names.contains_key(*word),
        Some(':') => values.contains_key(*word),
        _ => true,
    };
    if is_used && words.iter().all(known) { Ok(()) } else { Err(("ValidationException", json!({}))) }
}

/// Whether an item is as an expression says. There are comparisons, `attribute_not_exists`, AND, OR, and one level of brackets.
fn holds(said: &Value, asked: &Value, item: Option<&Value>) -> bool {
    let said = said.as_str().unwrap();
    let one = |said: &str| {
        let value = |name: &str| item.map(|item| &item[asked["ExpressionAttributeNames"][name].as_str().unwrap()]);
        if let Some(name) = said.strip_prefix("attribute_not_exists(") {
            return value(name.trim_end_matches(')')).is_none_or(Value::is_null);
        }
        let [name, operator, given] = said.split(' ').collect::<Vec<_>>()[..] else { panic!("{said}") };
        let given = &asked["ExpressionAttributeValues"][given];
        let Some(value) = value(name).filter(|value| !value.is_null()) else { return false };
        let order = match (number_of(value), number_of(given)) {
            (Some(value), Some(given)) => value.cmp(&given),
            _ => value["S"].as_str().unwrap().cmp(given["S"].as_str().unwrap()),
        };
        match operator {
            "=" => order.is_eq(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            _ => panic!("{said}"),
        }
    };
    let either = |said: &str| {
        let plain = said.strip_prefix('(').map_or(said, |said| said.strip_suffix(')').unwrap());
        plain.split(" OR ").any(one)
    };
    said.split(" AND ").all(either)
}

fn number_of(value: &Value) -> Option<i128> {
    value["N"].as_str()?.parse().ok()
}

/// What a request with these headers and this body is to be signed with, by the manual.
fn authorization(headers: &HeaderMap, body: &[u8]) -> String {
    let of = |name: &str| headers[name].to_str().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let names = ["content-type", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-target"];
    assert_eq!(of("x-amz-content-sha256"), hex(&Sha256::digest(body)));
    let fields: String = names.iter().map(|name| format!("{name}:{}\n", of(name))).collect();
    let names = names.join(";");
    let request = format!("POST\n/\n\n{fields}\n{names}\n{}", hex(&Sha256::digest(body)));
    let (date, day) = (of("x-amz-date"), &of("x-amz-date")[..8]);
    let scope = format!("{day}/{REGION}/dynamodb/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for part in [day, REGION, "dynamodb", "aws4_request", &text] {
        let mut hash = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        hash.update(part.as_bytes());
        key = hash.finalize().into_bytes().to_vec();
    }
    let credential = format!("{ACCESS_KEY}/{scope}");
    format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={}", hex(&key))
}
