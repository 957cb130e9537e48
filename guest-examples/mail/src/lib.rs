//! Letters, by a service over HTTP. Whether one may leave, a person can be asked with the very request in hand.

use json_service::{Method, Service};
use serde_json::json;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:mail/mail", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");
json_service::faults!(crate::toolpost::tool::types);

struct Mail;

impl Guest for Mail {
    fn send(to: String, subject: String, text: String, service: String) -> Result<String, Failure> {
        let is_address = to.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
        if !is_address || to.contains(char::is_whitespace) {
            return Err(Failure::InvalidArguments(format!("`to` is no address: `{to}`")));
        }
        let letter = json!({"to": to, "subject": subject, "text": text});
        let service = Service { name: "the mail service", url: &service };
        let answer = service.ask(&Method::Post, "/messages", Some(&letter))?;
        let number = answer.get("id").and_then(|id| id.as_str().map(str::to_owned));
        number.ok_or_else(|| Failure::Failed("the mail service answered without a number".into()))
    }
}

export!(Mail);
