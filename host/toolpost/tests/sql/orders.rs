//! An order, by the guest `database`: it takes from the stock and is written, both or neither, and once for each key.

use serde_json::json;
use toolpost::Call;

use crate::ground::{Ground, call, on_every_kind};

on_every_kind!(
    an_order_takes_from_the_stock_or_is_not_written,
    orders_at_once_never_take_more_than_there_is,
    the_same_call_is_one_order_however_often_it_is_run,
    tables_and_columns_are_told,
);

async fn an_order_takes_from_the_stock_or_is_not_written(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let order = async |item: &str, quantity: u32| {
        call(&host, "database_place_order", json!({"item": item, "quantity": quantity})).await.result
    };
    let placed = order("apple", 2).await.unwrap().value;
    assert_eq!((&placed["item"], &placed["quantity"], &placed["left"]), (&json!("apple"), &json!(2), &json!(3)));
    assert!(order("apple", 4).await.unwrap_err().message.contains("there are only 3 of `apple`"));
    assert!(order("plum", 1).await.unwrap_err().message.contains("there is no item `plum`"));
    assert!(order("apple", 0).await.unwrap_err().message.contains("`quantity` is 0"));
    assert_eq!((ground.apples().await, ground.number("select count(*) from orders").await), (3, 1));
}

async fn orders_at_once_never_take_more_than_there_is(ground: Ground) {
    let host = ground.host("access = \"write\", timeout = \"30s\"").await;
    let orders = (0..20).map(|_| {
        let host = host.clone();
        tokio::spawn(async move {
            call(&host, "database_place_order", json!({"item": "apple", "quantity": 1})).await.result
        })
    });
    let mut placed = 0;
    for order in orders.collect::<Vec<_>>() {
        match order.await.unwrap() {
            Ok(_) => placed += 1,
            Err(error) => assert!(error.message.contains("there are only 0 of `apple`"), "{error:?}"),
        }
    }
    assert_eq!((placed, ground.apples().await, ground.number("select count(*) from orders").await), (5, 0, 5));
}

async fn the_same_call_is_one_order_however_often_it_is_run(ground: Ground) {
    let host = ground.host("access = \"write\"").await;
    let order = || Call {
        idempotency_key: Some("k-1".into()),
        ..Call::new("database_place_order", json!({"item": "apple", "quantity": 1}))
    };
    let first = host.call(order()).await.result.unwrap().value;
    assert_eq!(host.call(order()).await.result.unwrap().value, first);
    // Another host knows nothing of the first; the order does.
    let other = ground.host("access = \"write\"").await;
    assert_eq!(other.call(order()).await.result.unwrap().value["id"], first["id"]);
    assert_eq!((ground.apples().await, ground.number("select count(*) from orders").await), (4, 1));
}

async fn tables_and_columns_are_told(ground: Ground) {
    let host = ground.host("access = \"read\"").await;
    let tables = call(&host, "database_list_tables", json!({})).await.result.unwrap().value;
    for table in ["orders", "stock"] {
        assert!(tables.as_array().unwrap().contains(&json!(table)), "{tables}");
    }
    let columns = call(&host, "database_describe_table", json!({"table": "orders"})).await.result.unwrap().value;
    let names: Vec<_> = columns.as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["id", "call_key", "item", "quantity"]);
    assert_eq!(columns[3]["optional"], json!(false));
    let unknown = call(&host, "database_describe_table", json!({"table": "no' or '1"})).await.result.unwrap_err();
    assert!(unknown.message.contains("there is no table `no' or '1`"));
}
