//! Orders at a shop. What goes wrong is told apart: what the caller can change, what may work later, and what will not.

use json_service::{Method, Service, escaped};
use serde_json::{Value, json};

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:orders/orders", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");
json_service::faults!(crate::toolpost::tool::types);

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
        let order = json!({"order_id": order_id, "item": item, "amount": amount});
        receipt(&shop(&service).ask(&Method::Post, "/orders", Some(&order))?)
    }

    fn find(order_id: String, service: String) -> Result<Receipt, Failure> {
        if order_id.trim().is_empty() {
            return Err(Failure::InvalidArguments("`order-id` is empty".into()));
        }
        receipt(&shop(&service).ask(&Method::Get, &format!("/orders/{}", escaped(&order_id)), None)?)
    }
}

fn shop(url: &str) -> Service<'_> {
    Service { name: "the shop", url }
}

fn receipt(answer: &Value) -> Result<Receipt, Failure> {
    read(answer).ok_or_else(|| Failure::Failed("the shop answered without a receipt".into()))
}

fn read(receipt: &Value) -> Option<Receipt> {
    let text = |name: &str| Some(receipt.get(name)?.as_str()?.to_owned());
    Some(Receipt {
        order_id: text("order_id")?,
        item: text("item")?,
        amount: u32::try_from(receipt.get("amount")?.as_u64()?).ok()?,
        number: text("number")?,
    })
}

export!(Orders);
