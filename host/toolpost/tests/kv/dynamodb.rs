//! What becomes of what DynamoDB says.

use std::sync::Arc;
use std::time::Duration;

use toolpost::kv::dynamodb::{DynamoDb, Place};
use toolpost::wasm::kv::{Backend as _, Fault};

use crate::Made;
use crate::conformance::{scope, set};
use crate::server::{free, vault};
use crate::table::{ACCESS_KEY, REGION, SECRET_KEY, TABLE, TableServer};

fn at(address: std::net::SocketAddr, secret: &str) -> DynamoDb {
    let place = Place {
        table: TABLE.into(),
        region: REGION.into(),
        access_key: ACCESS_KEY.into(),
        secret_key: "URL".into(),
        endpoint: Some(format!("http://{address}").parse().unwrap()),
    };
    DynamoDb::new(vault(secret), place, 8, Duration::from_secs(5)).unwrap()
}

pub(crate) async fn of_its_own() -> Option<Made> {
    let server = TableServer::start().await;
    Some((Arc::new(at(server.address, SECRET_KEY)), Some(Box::new(server))))
}

async fn fault(kept: &DynamoDb) -> Fault {
    kept.change(&scope("s"), vec![set("a", "1")]).await.remove(0).unwrap_err()
}

#[tokio::test]
async fn a_service_that_says_no_has_done_nothing_and_one_that_breaks_off_may_have() {
    let server = TableServer::start().await;
    let kept = at(server.address, SECRET_KEY);
    let says = |action, status, code| *server.table.says.lock().unwrap() = Some((action, status, code));
    for action in ["GetItem", "TransactWriteItems"] {
        for code in ["ProvisionedThroughputExceededException", "ResourceNotFoundException"] {
            says(action, 400, code);
            assert_eq!(fault(&kept).await, Fault::Away(format!("it refuses: {code}")));
        }
    }
    let why = "it answered with 500 Internal Server Error".to_owned();
    says("TransactWriteItems", 500, "InternalServerError");
    assert_eq!(fault(&kept).await, Fault::Cut(why.clone()));
    // Who has only looked has done nothing.
    says("GetItem", 500, "InternalServerError");
    assert_eq!(fault(&kept).await, Fault::Away(why));
    assert!(matches!(fault(&at(free(), SECRET_KEY)).await, Fault::Away(_)));
}

#[tokio::test]
async fn whoever_signs_with_another_key_is_refused() {
    let server = TableServer::start().await;
    let kept = at(server.address, "another secret altogether");
    assert_eq!(fault(&kept).await, Fault::Away("it refuses: InvalidSignatureException".into()));
}
