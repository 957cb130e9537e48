//! Orders at a shop. What goes wrong is told apart: what the caller can change, what may work later, and what will not.

mod http;

use serde_json::{Value, json};
use wasip2::http::types::{ErrorCode, Method};

use crate::http::{Answer, send};
use crate::toolpost::tool::types::Unavailable;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:orders/orders", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

/// What of the shop's own words is handed on, in characters.
const WORDS_MAX: usize = 300;

struct Orders;

impl Guest for Orders {
    fn create(order_id: String, item: String, amount: u32, service: String) -> Result<Receipt, Failure> {
        for (name, value) in [("order-id", &order_id), ("item", &item)] {
            if value.trim().is_empty() {
                return Err(Failure::InvalidArguments(format!("`{name}` is empty")));
            }
        }
        if amount == 0 {
            return Err(Failure::InvalidArguments("`amount` is 0; order at least 1".into()));
        }
        let order = json!({"order_id": order_id, "item": item, "amount": amount}).to_string();
        let url = format!("{}/orders", service.trim_end_matches('/'));
        receipt(send(&Method::Post, &url, Some(&order)))
    }

    fn find(order_id: String, service: String) -> Result<Receipt, Failure> {
        if order_id.trim().is_empty() {
            return Err(Failure::InvalidArguments("`order-id` is empty".into()));
        }
        let url = format!("{}/orders/{}", service.trim_end_matches('/'), escaped(&order_id));
        receipt(send(&Method::Get, &url, None))
    }
}

/// The receipt in an answer, or who is at fault that there is none.
fn receipt(answer: Result<Answer, ErrorCode>) -> Result<Receipt, Failure> {
    let answer = answer.map_err(unanswered)?;
    match answer.status {
        200..=299 => read(&answer.body)
            .ok_or_else(|| Failure::Failed(format!("the shop answered {} without a receipt", answer.status))),
        status @ (429 | 500..) => Err(Failure::Unavailable(Unavailable {
            message: format!("the shop answered {status}{}", words(&answer.body)),
            retry_after_ms: answer.retry_after.map(|seconds| seconds.saturating_mul(1_000)),
        })),
        status => Err(Failure::Failed(format!("the shop answered {status}{}", words(&answer.body)))),
    }
}

fn unanswered(code: ErrorCode) -> Failure {
    let later = |message: &str| Failure::Unavailable(Unavailable { message: message.into(), retry_after_ms: None });
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            Failure::Failed("the host does not let the request out".into())
        }
        ErrorCode::HttpRequestUriInvalid => Failure::InvalidArguments("`service` is no address of a shop".into()),
        ErrorCode::ConnectionRefused | ErrorCode::DestinationUnavailable => later("the shop cannot be reached"),
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => later("the shop is not found"),
        ErrorCode::ConnectionTimeout | ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            later("the shop does not answer in time")
        }
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => later("the shop broke off"),
        other => Failure::Failed(format!("the shop cannot be asked: {other:?}")),
    }
}

fn read(body: &[u8]) -> Option<Receipt> {
    let receipt: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| Some(receipt.get(name)?.as_str()?.to_owned());
    Some(Receipt {
        order_id: text("order_id")?,
        item: text("item")?,
        amount: u32::try_from(receipt.get("amount")?.as_u64()?).ok()?,
        number: text("number")?,
    })
}

/// The shop's own words, as far as they are words.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// A text as one segment of a path.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

export!(Orders);
