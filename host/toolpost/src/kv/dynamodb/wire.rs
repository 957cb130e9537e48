//! One request to DynamoDB, and what it says: its own protocol is JSON over HTTP, signed.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use toolpost_wasm::aws::{Line, Payload, Signer};
use toolpost_wasm::kv::Fault;

use super::super::address::Vault;

const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// The longest answer that is read. One has a megabyte at most, and somewhat more in text.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Where a table is, and who asks for it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The table. Its partition key is `space`, its sort key is `key`, and both are texts.
    pub table: String,
    /// The region, for example `eu-central-1`.
    pub region: String,
    /// The id of the key.
    pub access_key: String,
    /// The secret that is the key.
    pub secret_key: String,
    /// Where the service is, where it is not in the region itself.
    pub endpoint: Option<Url>,
}

/// The service.
pub(super) struct Wire {
    vault: Vault,
    pub(super) place: Place,
    client: Client,
    places: Semaphore,
}

/// It says no.
pub(super) struct Refusal {
    /// What kind of refusal it is, in one word of its own.
    pub(super) code: String,
    pub(super) body: Value,
}

/// What it says.
pub(super) type Answer = Result<Value, Refusal>;

impl Wire {
    pub(super) fn new(vault: Vault, place: Place, requests_max: usize, time_max: Duration) -> Result<Self, String> {
        // Somebody else in this program may have chosen another one; that one stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().connect_timeout(time_max).pool_max_idle_per_host(requests_max);
        let client = client.redirect(reqwest::redirect::Policy::none()).build().map_err(|error| error.to_string())?;
        Ok(Wire { vault, place, client, places: Semaphore::new(requests_max) })
    }

    /// Asks once.
    pub(super) async fn ask(&self, action: &str, mut body: Value) -> Result<Answer, Fault> {
        let away = |why: String| Fault::Away(why);
        // Not more of them at once than there may be connections.
        let _place = self.places.acquire().await.map_err(|error| away(error.to_string()))?;
        if let Some(body) = body.as_object_mut().filter(|_| action != "TransactWriteItems") {
            body.insert("TableName".into(), json!(self.place.table));
        }
        let body = serde_json::to_vec(&body).map_err(|error| away(error.to_string()))?;
        let url = self.url().map_err(away)?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let secret = self.vault.get(&self.place.secret_key).await.map_err(|error| away(error.to_string()))?;
        let target = HeaderValue::from_str(&format!("DynamoDB_20120810.{action}"));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(CONTENT_TYPE));
        headers.insert("x-amz-target", target.map_err(|error| away(error.to_string()))?);
        let Place { access_key, region, .. } = &self.place;
        let secret_key = secret.reveal();
        let signer = Signer { access_key, secret_key, session_token: None, region, service: "dynamodb" };
        let line = Line { method: "POST", host: &host, path: url.path(), query: url.query().unwrap_or_default() };
        let signed = signer.sign(line, &mut headers, &Payload::of(&body), SystemTime::now());
        signed.map_err(|_| away("the id of the key cannot stand in a header".into()))?;
        let request = self.client.post(url).headers(headers).body(body);
        let response = request.send().await.map_err(|error| {
            let is_unsent = error.is_connect() || error.is_builder();
            let words = error.without_url().to_string();
            if is_unsent { Fault::Away(words) } else { Fault::Cut(words) }
        })?;
        read(response).await
    }

    fn url(&self) -> Result<Url, String> {
        let region = &self.place.region;
        let regional = || Url::parse(&format!("https://dynamodb.{region}.amazonaws.com/"));
        self.place.endpoint.clone().map_or_else(regional, Ok).map_err(|error| error.to_string())
    }
}

async fn read(mut response: Response) -> Result<Answer, Fault> {
    let status = response.status();
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| Fault::Cut(error.without_url().to_string()))? {
        if bytes.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(Fault::Cut("its answer is too long".into()));
        }
        bytes.extend_from_slice(&part);
    }
    let body = serde_json::from_slice::<Value>(&bytes);
    match (status, body) {
        (StatusCode::OK, Ok(body)) => Ok(Ok(body)),
        (status, Ok(body)) if status.is_client_error() => {
            let code = body.get("__type").and_then(Value::as_str).unwrap_or_default();
            let code = code.rsplit('#').next().unwrap_or_default().to_owned();
            Ok(Err(Refusal { code, body }))
        }
        // It may have been done all the same.
        (status, _) => Err(Fault::Cut(format!("it answered with {status}"))),
    }
}
