//! What does an operator want of breakers? An order is written to the store by whoever has a command line; every host of
//! that store follows it within a second or so, and those that start later follow what still stands.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use toolpost_core::guard::breaker::{Key, Registry, Settings};

use super::log::{now_ms, perhaps, since_1970};
use super::{Store, StoreError};

/// How often a running host looks for new orders.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest that a host which starts waits for the orders that stand; it looks again later.
const START_TIME_MAX: Duration = Duration::from_secs(2);

/// Orders that are followed at once.
const ORDERS_MAX: i64 = 10_000;

/// Long enough for a breaker that only an operator asked for: its tool's own settings follow with the next call.
const ATTEMPT_TIME: Duration = Duration::from_secs(30);

/// What is wanted of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It refuses every call.
    Isolate,
    /// It lets every call through, and looks at none.
    Disable,
    /// It judges for itself again.
    Release,
    /// It forgets everything, and judges for itself.
    Reset,
}

impl Action {
    const ALL: [Action; 4] = [Action::Isolate, Action::Disable, Action::Release, Action::Reset];

    /// The action as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Action::Isolate => "isolate",
            Action::Disable => "disable",
            Action::Release => "release",
            Action::Reset => "reset",
        }
    }

    /// Whether it holds until another order, also for hosts that start later.
    #[must_use]
    pub fn stands(self) -> bool {
        matches!(self, Action::Isolate | Action::Disable)
    }
}

/// An operator's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// What the breaker watches: `tool NAME`, or `egress TOOL HOST:PORT` for a server as one tool knows it.
    pub breaker: String,
    /// What is wanted.
    pub action: Action,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When an isolation ends by itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "perhaps")]
    pub until: Option<SystemTime>,
}

impl Store {
    /// Gives an order; it takes the place of the last one for that breaker.
    ///
    /// # Errors
    /// The store cannot be written.
    ///
    /// # Cancel safety
    /// Dropping the future gives the order, or does not.
    pub async fn order(&self, order: &Order) -> Result<(), StoreError> {
        let until = order.until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
        let until = until.map(|until| i64::try_from(until.as_millis()).unwrap_or(i64::MAX));
        let mut write = self.state().await?.write().await?;
        let query = sqlx::query(
            "INSERT INTO breaker_orders (key, number, action, by, why, at_ms, until_ms) \
             VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM breaker_orders), ?, ?, ?, ?, ?) \
             ON CONFLICT (key) DO UPDATE SET number = excluded.number, action = excluded.action, by = excluded.by, \
             why = excluded.why, at_ms = excluded.at_ms, until_ms = excluded.until_ms",
        );
        let query = query.bind(&order.breaker).bind(order.action.name()).bind(&order.by).bind(&order.why);
        query.bind(now_ms()).bind(until).execute(&mut *write).await?;
        write.commit().await?;
        Ok(())
    }

    /// The last order for each breaker.
    ///
    /// # Errors
    /// The store cannot be read.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn orders(&self) -> Result<Vec<Order>, StoreError> {
        Ok(self.orders_since(0).await?.into_iter().map(|(_, order)| order).collect())
    }

    async fn orders_since(&self, number: i64) -> Result<Vec<(i64, Order)>, StoreError> {
        let query = sqlx::query("SELECT * FROM breaker_orders WHERE number > ? ORDER BY number LIMIT ?");
        let rows = query.bind(number).bind(ORDERS_MAX).fetch_all(self.state().await?.read()).await?;
        let orders: Result<Vec<_>, _> = rows.iter().map(order).collect();
        Ok(orders?)
    }
}

/// Follows the orders in a store for as long as the breakers are there. Those that stand are followed when it returns,
/// unless the disk is slow.
pub(crate) async fn follow(store: Arc<Store>, breakers: &Arc<Registry>) {
    let mut last = 0;
    let first = look(&store, breakers, &mut last, true);
    let _ = tokio::time::timeout(START_TIME_MAX, first).await;
    let breakers = Arc::downgrade(breakers);
    tokio::spawn(keep_following(store, breakers, last));
}

async fn keep_following(store: Arc<Store>, breakers: Weak<Registry>, mut last: i64) {
    let mut is_failing = false;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(breakers) = breakers.upgrade() else { return };
        match look(&store, &breakers, &mut last, false).await {
            Ok(()) => is_failing = false,
            Err(error) if !std::mem::replace(&mut is_failing, true) => {
                tracing::warn!(%error, "orders for breakers cannot be read");
            }
            Err(_) => {}
        }
    }
}

/// Follows the orders behind the last one.
async fn look(store: &Store, breakers: &Registry, last: &mut i64, starts: bool) -> Result<(), StoreError> {
    // Where nobody has ever kept anything, nothing is made for the sake of looking.
    if !store.has_state() {
        return Ok(());
    }
    for (number, order) in store.orders_since(*last).await? {
        *last = number;
        // A breaker that has just been made has nothing that could be released or forgotten.
        if order.action.stands() || !starts {
            obey(breakers, &order);
        }
    }
    Ok(())
}

fn obey(breakers: &Registry, order: &Order) {
    let Some(key) = Key::parse(&order.breaker) else { return };
    let breaker = breakers.find(&key);
    let Order { by, why, .. } = order;
    match order.action {
        Action::Isolate | Action::Disable => {
            let breaker = breaker.unwrap_or_else(|| breakers.get_for_order(&key, &Settings::None, ATTEMPT_TIME));
            let left = order.until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
            match order.action {
                Action::Disable => breaker.disable(by, why),
                _ if left == Some(Duration::ZERO) => {}
                _ => breaker.isolate(by, why, left),
            }
        }
        Action::Release => drop(breaker.map(|breaker| breaker.release(by, why))),
        Action::Reset => drop(breaker.map(|breaker| breaker.reset(by, why))),
    }
}

fn order(row: &SqliteRow) -> Result<(i64, Order), sqlx::Error> {
    let name: String = row.try_get("action")?;
    let action = Action::ALL.into_iter().find(|action| action.name() == name);
    let order = Order {
        breaker: row.try_get("key")?,
        // An order of a later version that is not understood here must not open anything.
        action: action.unwrap_or(Action::Isolate),
        by: row.try_get("by")?,
        why: row.try_get("why")?,
        until: row.try_get::<Option<i64>, _>("until_ms")?.map(since_1970),
    };
    Ok((row.try_get("number")?, order))
}
