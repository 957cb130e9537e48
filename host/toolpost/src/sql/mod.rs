//! The databases of a host: SQLite, PostgreSQL, MySQL. Each is one [`Backend`] for all tools, with its own pool of connections.
//!
//! Nothing is opened before a tool asks for it. What settings say again when they are read again goes on with its connections.

// The connections
mod pool;
mod server;

// The kinds
#[cfg(feature = "mysql")]
mod mysql;
mod postgres;
mod sqlite;

// What they have in common
mod calendar;

use std::collections::BTreeMap;
use std::sync::Arc;

use toolpost_wasm::sql::{Backend, Databases};

use crate::settings::{Settings, SqlKind, SqlSettings};

/// The databases, with what was said of each.
#[derive(Clone, Default)]
pub(crate) struct Opened(BTreeMap<String, (SqlSettings, Arc<dyn Backend>)>);

impl Opened {
    /// The databases of the settings, as far as they can be used, and what is wrong with the others. Those of before that are
    /// still the same go on.
    pub(crate) fn new(settings: &Settings, before: &Opened) -> (Self, Vec<(String, String)>) {
        let mut faults = Vec::new();
        let mut opened = BTreeMap::new();
        for (name, said) in &settings.sql {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
                faults.push((shown, "a name has 1 to 64 letters, digits, `_` and `-`".into()));
                continue;
            }
            let mut said = said.clone();
            said.path = said.path.map(|path| {
                let path = settings.resolve(&path);
                std::path::absolute(&path).unwrap_or(path)
            });
            match before.0.get(name).filter(|(had, _)| *had == said) {
                Some(known) => drop(opened.insert(name.clone(), known.clone())),
                None => match backend(settings, &said) {
                    Ok(backend) => drop(opened.insert(name.clone(), (said, backend))),
                    Err(why) => faults.push((name.clone(), why)),
                },
            }
        }
        (Opened(opened), faults)
    }

    /// The databases by name.
    pub(crate) fn databases(&self) -> Databases {
        Databases::new(self.0.iter().map(|(name, (_, backend))| (name.clone(), backend.clone())).collect())
    }
}

fn backend(settings: &Settings, said: &SqlSettings) -> Result<Arc<dyn Backend>, String> {
    let kind = said.kind.name();
    if said.kind == SqlKind::Sqlite {
        let Some(path) = &said.path else {
            return Err(format!("`path` is missing: where is the file of the kind \"{kind}\"?"));
        };
        if said.url.is_some() {
            return Err(format!("`url` is for servers; a database of the kind \"{kind}\" has a `path`"));
        }
        return match std::fs::metadata(path) {
            Ok(about) if about.is_file() => Ok(Arc::new(sqlite::File::new(path, said.max_connections))),
            Ok(_) => Err(format!("`{}` is no file", path.display())),
            Err(error) => Err(format!("`{}` cannot be opened: {error}", path.display())),
        };
    }
    let Some(url) = &said.url else {
        return Err(format!("`url` is missing: where is the server of the kind \"{kind}\"?"));
    };
    if said.path.is_some() {
        return Err(format!("`path` is for SQLite; a database of the kind \"{kind}\" has a `url`"));
    }
    if !settings.secrets.contains_key(url.as_str()) {
        return Err(format!("no secret is named `{}`; say in `[secrets]` where it comes from", url.as_str()));
    }
    match said.kind {
        SqlKind::Postgres => Ok(Arc::new(postgres::Server::new(url.as_str(), said.max_connections))),
        #[cfg(feature = "mysql")]
        SqlKind::Mysql => Ok(Arc::new(mysql::Server::new(url.as_str(), said.max_connections))),
        #[cfg(not(feature = "mysql"))]
        SqlKind::Mysql => Err("this program was built without MySQL (the feature `mysql`)".into()),
        SqlKind::Sqlite => Err("a file is no server".into()),
    }
}
