//! Baskets that are kept from one call of a session to the next. What there is to buy, the operator says once, in `setup`.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:basket/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use exports::example::basket::baskets::{self, Failure, GuestBasket, Line, Receipt};

/// Different items in one basket, where nothing is said of that.
const LINES_MAX: u32 = 100;

#[derive(Default)]
struct Shop {
    currency: String,
    prices: BTreeMap<String, u32>,
    max_lines: usize,
}

thread_local! {
    static SHOP: RefCell<Shop> = RefCell::default();
    static RECEIPTS: Cell<u32> = const { Cell::new(0) };
}

struct Tools;

/// A basket: so many of each item.
#[derive(Default)]
struct Basket(RefCell<BTreeMap<String, u32>>);

impl Guest for Tools {
    fn setup(currency: String, prices: Vec<(String, u32)>, max_lines: Option<u32>) -> Result<(), String> {
        if prices.is_empty() {
            return Err("a shop without prices sells nothing".into());
        }
        let max_lines = max_lines.unwrap_or(LINES_MAX) as usize;
        SHOP.set(Shop { currency, prices: prices.into_iter().collect(), max_lines });
        Ok(())
    }
}

impl baskets::Guest for Tools {
    type Basket = Basket;

    fn checkout(basket: baskets::Basket) -> Result<Receipt, Failure> {
        let lines = basket.into_inner::<Basket>().lines();
        if lines.is_empty() {
            return Err(Failure::InvalidArguments("the basket is empty".into()));
        }
        let number = RECEIPTS.get() + 1;
        RECEIPTS.set(number);
        let cents = lines.iter().map(|line| line.cents).sum();
        Ok(Receipt { lines, cents, currency: SHOP.with_borrow(|shop| shop.currency.clone()), number })
    }

    fn prices() -> Vec<(String, u32)> {
        SHOP.with_borrow(|shop| shop.prices.iter().map(|(item, cents)| (item.clone(), *cents)).collect())
    }
}

impl GuestBasket for Basket {
    fn new() -> Self {
        Basket::default()
    }

    fn add(&self, item: String, count: Option<u32>) -> Result<u64, Failure> {
        let (is_sold, max_lines) = SHOP.with_borrow(|shop| (shop.prices.contains_key(&item), shop.max_lines));
        if !is_sold {
            return Err(Failure::InvalidArguments(format!("there is no `{item}`; `prices` shows what there is")));
        }
        let mut lines = self.0.borrow_mut();
        if lines.len() >= max_lines && !lines.contains_key(&item) {
            return Err(Failure::Failed(format!("{max_lines} different items are in the basket, and no more fit")));
        }
        let so_many = lines.entry(item).or_default();
        *so_many = so_many.saturating_add(count.unwrap_or(1));
        drop(lines);
        Ok(self.lines().iter().map(|line| line.cents).sum())
    }

    fn lines(&self) -> Vec<Line> {
        let lines = self.0.borrow();
        SHOP.with_borrow(|shop| {
            let price = |item: &String| u64::from(shop.prices.get(item).copied().unwrap_or_default());
            let line = |(item, count): (&String, &u32)| {
                Line { item: item.clone(), count: *count, cents: price(item) * u64::from(*count) }
            };
            lines.iter().map(line).collect()
        })
    }

    fn merge(one: baskets::Basket, other: baskets::Basket) -> baskets::Basket {
        let [one, other] = [one, other].map(|basket| basket.into_inner::<Basket>().0.into_inner());
        let mut both = one;
        for (item, count) in other {
            let so_many = both.entry(item).or_default();
            *so_many = so_many.saturating_add(count);
        }
        baskets::Basket::new(Basket(RefCell::new(both)))
    }
}

export!(Tools);
