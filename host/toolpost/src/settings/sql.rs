//! The databases of a host: of which kind each is, and where. How one gets in is a secret, and never stands in the settings.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Deserializer;
use toolpost_core::catalog::settings::number_within;

use super::secret_name::SecretName;

/// The most connections to one database.
const CONNECTIONS_MOST: u64 = 1_000;

/// A database that tools can be granted by its name.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlSettings {
    /// Of which kind it is: "sqlite", "postgres" or "mysql" (MariaDB too); must be given.
    pub kind: SqlKind,
    /// The file of SQLite, which must be there; a relative path counts from the folder of the settings file.
    pub path: Option<PathBuf>,
    /// The address of a server, as the name of a secret: "${secret:NAME}". Its value is a URL such as
    /// "postgres://user:password@host/database".
    pub url: Option<SecretName>,
    /// Connections that are open at once, for all tools together, 1 to 1000. Default 5.
    #[serde(default = "connections", deserialize_with = "connections_within")]
    #[schemars(range(min = 1, max = CONNECTIONS_MOST))]
    pub max_connections: u32,
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SqlKind {
    /// A file of this machine.
    Sqlite,
    /// A server of PostgreSQL.
    Postgres,
    /// A server of MySQL or MariaDB.
    Mysql,
}

impl SqlKind {
    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SqlKind::Sqlite => "sqlite",
            SqlKind::Postgres => "postgres",
            SqlKind::Mysql => "mysql",
        }
    }
}

fn connections() -> u32 {
    5
}

fn connections_within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let given = number_within::<_, _, 1, CONNECTIONS_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(connections))
}
