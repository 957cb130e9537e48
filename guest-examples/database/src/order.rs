//! An order: the stock goes down and the order is written, both or neither.
//!
//! Each call has a key, and each order has that of its call, which no other one can have. So when nobody knows whether a commit
//! came through, the next attempt finds out: the order is there, or it is placed now.

use crate::sql::{Database, Mode, Transaction, Value};
use crate::toolpost::tool::context;
use crate::{Failure, Order, places};

pub fn place(database: &Database, item: String, quantity: u32) -> Result<Order, Failure> {
    if quantity == 0 {
        return Err(Failure::InvalidArguments("`quantity` is 0; an order is of one at least".into()));
    }
    let key = context::idempotency_key().unwrap_or_else(context::call_id);
    let shop = Shop { database, transaction: database.begin(Mode::Write)? };
    let written = shop.execute(
        "insert into orders (call_key, item, quantity) values (?, ?, ?)",
        &[text(&key), text(&item), whole(quantity)],
    );
    if let Err(failure) = written {
        // Perhaps it was placed by an attempt of before.
        return shop.find(&key)?.ok_or(failure);
    }
    let taken = shop.execute(
        "update stock set available = available - ? where item = ? and available >= ?",
        &[whole(quantity), text(&item), whole(quantity)],
    )?;
    if taken == 0 {
        let stock = shop.query("select available from stock where item = ?", &[text(&item)])?;
        return Err(Failure::InvalidArguments(match stock.first().map(Vec::as_slice) {
            Some([Value::Integer(left)]) => format!("there are only {left} of `{item}`"),
            _ => format!("there is no item `{item}`"),
        }));
    }
    let order = shop.find(&key)?.ok_or_else(|| Failure::Failed("the order was written and is not there".into()))?;
    Transaction::commit(shop.transaction)?;
    Ok(order)
}

struct Shop<'a> {
    database: &'a Database,
    transaction: Transaction,
}

impl Shop<'_> {
    fn find(&self, key: &str) -> Result<Option<Order>, Failure> {
        let found = self.query(
            "select o.id, o.item, o.quantity, s.available from orders o join stock s on s.item = o.item where o.call_key = ?",
            &[text(key)],
        )?;
        Ok(match found.first().map(Vec::as_slice) {
            Some([Value::Integer(id), Value::Text(item), Value::Integer(quantity), Value::Integer(left)]) => {
                let quantity = u32::try_from(*quantity).unwrap_or(u32::MAX);
                Some(Order { id: *id, item: item.clone(), quantity, left: *left })
            }
            _ => None,
        })
    }

    fn query(&self, statement: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, Failure> {
        Ok(self.transaction.query(&places(self.database, statement), values)?.rows)
    }

    fn execute(&self, statement: &str, values: &[Value]) -> Result<u64, Failure> {
        Ok(self.transaction.execute(&places(self.database, statement), values)?.affected)
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn whole(number: u32) -> Value {
    Value::Integer(number.into())
}
