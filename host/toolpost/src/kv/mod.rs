//! What keeps the keys and values of tools, beside memory: embedded, and as clients of servers.

// In the host's own store
pub mod sqlite;

// On a server
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "redis")]
pub mod redis;

// How many connections there are to one
#[cfg(feature = "redis")]
mod pool;

// Where its address comes from
pub mod address;
