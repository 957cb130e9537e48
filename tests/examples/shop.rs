//! The shop of the worked example, on this machine: `cargo run --example shop [ADDRESS]`. It says what it charges.
#![allow(clippy::print_stdout, reason = "it talks to whoever started it")]

use std::error::Error;
use std::time::Duration;

use toolpost_tests::shop::{Manner, Shop};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8370".to_owned());
    let shop = Shop::open(address.parse()?, Manner::Flaky, true).await?;
    println!("a shop at http://{}, which is not to be relied upon; end it with ctrl-c", shop.address);
    let mut told = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let books = shop.books();
        if books.requests > told {
            told = books.requests;
            println!("{} requests, {} orders, {} charges", told, books.charges.len(), books.charged());
        }
    }
}
