//! Where does a granted name lead to? It is looked up, and of what comes back the tool learns what its grants reach.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;
use toolpost_core::{Attempt, Level};
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::grant::{self, Share};
use crate::capability::net::client::{ADDRESSES_MAX, Client};

/// A lookup, and what the guest has not read of its answer.
pub(super) enum Lookup {
    /// It is under way, when somebody waits for it.
    Running(BoxFuture<'static, Result<Found, ErrorCode>>),
    Over(Result<Found, ErrorCode>),
}

/// What a name leads to.
#[derive(Default)]
pub(super) struct Found {
    pub(super) addresses: std::vec::IntoIter<IpAddr>,
    /// By which grant.
    pub(super) known: Vec<(IpAddr, Arc<Share>)>,
}

impl Lookup {
    /// Nothing is looked up: who asks has the address already.
    pub(super) fn of_address(address: IpAddr) -> Self {
        Lookup::Over(Ok(Found { addresses: vec![address].into_iter(), known: Vec::new() }))
    }

    /// Begins to look up a name, for which there are these grants.
    pub(super) fn of_name(name: String, shares: Vec<Arc<Share>>, attempt: Attempt, client: Arc<Client>) -> Self {
        Lookup::Running(Box::pin(find(name, shares, attempt, client)))
    }

    /// Looks no further; says whether it did, or had something to tell.
    pub(super) fn close(&mut self) -> bool {
        let is_open = !matches!(self, Lookup::Over(Err(_)));
        *self = Lookup::Over(Err(ErrorCode::AccessDenied));
        is_open
    }

    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<&mut Result<Found, ErrorCode>> {
        if let Lookup::Running(running) = self {
            match running.as_mut().poll(task) {
                Poll::Ready(found) => *self = Lookup::Over(found),
                Poll::Pending => return Poll::Pending,
            }
        }
        match self {
            Lookup::Over(found) => Poll::Ready(found),
            Lookup::Running(_) => Poll::Pending,
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    /// May be dropped half way: what is under way stays so.
    async fn ready(&mut self) {
        std::future::poll_fn(|task| self.poll(task).map(|_| ())).await;
    }
}

async fn find(
    name: String,
    shares: Vec<Arc<Share>>,
    attempt: Attempt,
    client: Arc<Client>,
) -> Result<Found, ErrorCode> {
    let passage = attempt.pass(grant::looking_up(&name)).await.map_err(|_| ErrorCode::AccessDenied)?;
    let time_max = shares.iter().map(|share| share.grant.timeout.0).max().unwrap_or(Duration::ZERO);
    let (code, why) = match timeout(time_max, client.lookups.find(attempt.call.tool.component(), name.clone())).await {
        Ok(Ok(found)) if !found.is_empty() => {
            return match within(&found, &shares) {
                Some(found) => {
                    passage.done();
                    Ok(found)
                }
                None => {
                    passage.refused();
                    prohibited(&name, &found, &shares, &attempt);
                    Err(ErrorCode::AccessDenied)
                }
            };
        }
        Ok(Ok(_)) => (ErrorCode::NameUnresolvable, "the name has no address".to_owned()),
        Ok(Err(error)) => (ErrorCode::NameUnresolvable, format!("the lookup failed: {error}")),
        Err(_) => (ErrorCode::TemporaryResolverFailure, "the lookup took too long".to_owned()),
    };
    passage.failed();
    attempt.log(Level::Warn, &format!("net.lookup {name}: {why}"));
    Err(code)
}

/// What the grants reach of it; nothing where they reach nothing.
fn within(found: &[IpAddr], shares: &[Arc<Share>]) -> Option<Found> {
    let (mut addresses, mut known) = (Vec::new(), Vec::new());
    for address in found {
        let before = known.len();
        // An address inside of another is the same place, and guests take it in its plain form only.
        let plain = address.to_canonical();
        let reaching = shares.iter().filter(|share| share.reach().refuses(*address).is_none());
        known.extend(reaching.map(|share| (plain, share.clone())));
        if known.len() > before && !addresses.contains(&plain) {
            addresses.push(plain);
        }
        if addresses.len() == ADDRESSES_MAX {
            break;
        }
    }
    (!addresses.is_empty()).then(|| Found { addresses: addresses.into_iter(), known })
}

/// Tells why the name leads nowhere.
fn prohibited(name: &str, found: &[IpAddr], shares: &[Arc<Share>], attempt: &Attempt) {
    let why = shares.iter().find_map(|share| {
        let reach = share.reach();
        let refused = found.iter().find_map(|address| Some((*address, reach.refuses(*address)?)));
        refused.map(|(address, what)| grant::out_of_reach(name, reach, address, what))
    });
    if let Some(why) = why {
        attempt.keep_from(why);
    }
}
