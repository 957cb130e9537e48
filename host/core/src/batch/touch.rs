//! What does a call touch? The granted resources that it may use, after its arguments have narrowed them, and whether it may
//! change each.
//!
//! Two calls are in each other's way where both touch the same and one of them may change it. So what is not known is held to be
//! more, never less: a tool into which the host cannot look may touch anything.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use url::{Host, Url};

use crate::call::AcceptedCall;
use crate::catalog::grants::{DirGrant, Grants, HostPattern, KvGrant, Only, SqlGrant};
use crate::catalog::{Catalog, Origin, Tool};
use crate::effect::EffectClass;

/// The most texts of one argument that a plan tells apart. They are chosen by whoever calls, and each is compared with each of the
/// other calls: with more of them, a call is held to use all that it was granted.
pub const NAMED_MAX: usize = 32;

/// Something that a call may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touch {
    /// What it is, as a reader knows it: a path of the tool's, a host, a bucket, a table.
    pub what: String,
    /// Whether the call may change it.
    pub changes: bool,
    #[serde(skip)]
    resource: Resource,
}

/// What it really is, so that it is the same under all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    /// A file or folder with all below it, by the names on its way from the root of the host's file system.
    Tree(Vec<String>),
    /// A port of a host, or of all hosts below one.
    Server(HostPattern, u16),
    /// Keys in a space of a store.
    Keys { space: (String, String), keys: Keys },
    /// Tables of a database; all of them, where none is named.
    Tables { database: String, tables: Option<BTreeSet<String>> },
    /// What is kept for the session, by the name of what keeps it. Any call may change it, whatever its effect on the world.
    State(String),
    /// What the host cannot see.
    Anything,
}

/// Some keys.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    /// All that begin so.
    Beginning(String),
    /// This one, and all below it: `KEY/..`.
    Below(String),
}

/// Where in the granted folders a call goes by the way that is really gone, past symbolic links: for each granted folder its
/// absolute paths in the host.
pub type Ways = Vec<Vec<String>>;

/// What a call touches.
pub(crate) fn of(call: &AcceptedCall, ways: Option<&Ways>, catalog: &Catalog) -> Vec<Touch> {
    let mut touches = of_grants(&call.tool, &call.tool.grants, Some(&call.arguments), ways);
    let mut seen = BTreeSet::from([call.tool.name.as_str()]);
    of_called(&call.tool, catalog, &mut seen, &mut touches);
    let changes = call.tool.effect.may_change();
    // An operator may know that it changes nothing, or that it does more than it was granted.
    touches.iter_mut().for_each(|touch| touch.changes &= changes);
    if !call.tool.is_seen_through() || changes && !touches.iter().any(|touch| touch.changes) {
        touches.push(Touch { what: "anything".into(), changes, resource: Resource::Anything });
    }
    let called = seen.into_iter().filter(|name| *name != call.tool.name).filter_map(|name| catalog.get(name));
    touches.extend(called.chain([&call.tool]).filter_map(|tool| of_session(tool)));
    touches
}

/// What those touch that a tool may call: with which arguments is not known yet.
fn of_called<'c>(tool: &Tool, catalog: &'c Catalog, seen: &mut BTreeSet<&'c str>, touches: &mut Vec<Touch>) {
    if tool.grants.tools.is_empty() {
        return;
    }
    for called in catalog.tools().filter(|called| tool.grants.calls(&called.name)) {
        if seen.insert(&called.name) {
            touches.extend(of_grants(called, &called.grants, None, None));
            if !called.is_seen_through() {
                let (what, changes) = ("anything".into(), called.effect.may_change());
                touches.push(Touch { what, changes, resource: Resource::Anything });
            }
            of_called(called, catalog, seen, touches);
        }
    }
}

impl Tool {
    /// Whether all that it can touch is in its grants.
    fn is_seen_through(&self) -> bool {
        let is_component = matches!(self.origin, Origin::Component { .. });
        self.effect == EffectClass::Pure || is_component && self.grants.own.is_empty()
    }
}

/// What a tool has in common with the other calls of its session.
fn of_session(tool: &Tool) -> Option<Touch> {
    let keeper = tool.keeper()?;
    let what = format!("what `{keeper}` keeps for the session");
    Some(Touch { what, changes: true, resource: Resource::State(keeper.to_owned()) })
}

fn of_grants(tool: &Tool, grants: &Grants, arguments: Option<&Value>, ways: Option<&Ways>) -> Vec<Touch> {
    let none = Vec::new();
    let ways = |at: usize| ways.and_then(|ways| ways.get(at)).unwrap_or(&none).as_slice();
    let dirs = grants.dirs.iter().enumerate().flat_map(|(at, grant)| of_dir(grant, arguments, ways(at)));
    let http = grants.net.http.iter().flat_map(|grant| {
        let changes = grant.methods.effect().may_change();
        let named = named(grant.only.as_ref(), arguments).map(|texts| {
            let urls = texts.into_iter().filter_map(|text| Url::parse(text).ok());
            urls.filter(|url| grant.to.covers(url)).collect()
        });
        of_servers(named, grant.to.host(), grant.to.port(), changes)
    });
    let tcp = grants.net.tcp.iter().map(|grant| {
        let host = HostPattern::Exactly(grant.tcp.host().clone());
        Touch { what: grant.tcp.to_string(), changes: true, resource: Resource::Server(host, grant.tcp.port()) }
    });
    let kv = grants.kv.iter().flat_map(|grant| of_bucket(tool, grant, arguments));
    let sql = grants.sql.iter().filter_map(|grant| of_database(grant, arguments));
    dirs.chain(http).chain(tcp).chain(kv).chain(sql).collect()
}

/// What the arguments name of a grant; nothing where they do not narrow it, or name too much.
fn named<'a>(only: Option<&Only>, arguments: Option<&'a Value>) -> Option<Vec<&'a str>> {
    let (only, arguments) = only.zip(arguments)?;
    let named: Vec<&str> = only.values(arguments).take(NAMED_MAX + 1).collect();
    (named.len() <= NAMED_MAX).then_some(named)
}

/// The path that is written is touched, and the one to which it leads: a link in the middle may be another one by then.
fn of_dir(grant: &DirGrant, arguments: Option<&Value>, ways: &[String]) -> Vec<Touch> {
    let changes = grant.access.effect().may_change();
    let root: Vec<String> = grant.host.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let touch = |names: Vec<String>, what| Touch { what, changes, resource: Resource::Tree(names) };
    let mut touches: Vec<Touch> = match named(grant.only.as_ref(), arguments) {
        // All of it, and so whatever way is gone in it.
        None => return vec![touch(root, grant.guest.to_string())],
        Some(paths) => {
            let below = |path| {
                let below = grant.below(path)?;
                // Where `..` leads is not known without the disk.
                let is_plain = !below.split('/').any(|name| name == "..");
                let below = if is_plain { below } else { String::new() };
                let names = below.split('/').filter(|name| !name.is_empty()).map(str::to_owned);
                Some(touch(root.iter().cloned().chain(names).collect(), grant.shown(&below)))
            };
            paths.into_iter().filter_map(below).collect()
        }
    };
    let lead = |way: &String| {
        let names = std::path::Path::new(way).iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let what = touches.first().map_or_else(|| grant.guest.to_string(), |touch| touch.what.clone());
        touch(names, what)
    };
    let led: Vec<Touch> = ways.iter().map(lead).collect();
    touches.extend(led);
    touches
}

fn of_servers(named: Option<Vec<Url>>, host: &HostPattern, port: u16, changes: bool) -> Vec<Touch> {
    let Some(urls) = named else {
        return vec![Touch { what: host.to_string(), changes, resource: Resource::Server(host.clone(), port) }];
    };
    let server = |url: Url| {
        let host = HostPattern::Exactly(url.host()?.to_owned());
        Some(Touch { what: host.to_string(), changes, resource: Resource::Server(host, port) })
    };
    urls.into_iter().filter_map(server).collect()
}

fn of_bucket(tool: &Tool, grant: &KvGrant, arguments: Option<&Value>) -> Vec<Touch> {
    let changes = grant.access.effect().may_change();
    let space = (grant.store.to_string(), grant.space(tool));
    let prefix = grant.prefix.as_str();
    let touch = |what, keys| Touch { what, changes, resource: Resource::Keys { space: space.clone(), keys } };
    match named(grant.only.as_ref(), arguments) {
        None => vec![touch(format!("the bucket {}", grant.bucket), Keys::Beginning(prefix.to_owned()))],
        Some(keys) => keys
            .into_iter()
            .map(|key| touch(format!("`{key}` in the bucket {}", grant.bucket), Keys::Below(format!("{prefix}{key}"))))
            .collect(),
    }
}

fn of_database(grant: &SqlGrant, arguments: Option<&Value>) -> Option<Touch> {
    // Names of tables are the same in capital letters.
    let lower = |name: &str| name.to_ascii_lowercase();
    let named = named(grant.only.as_ref(), arguments);
    let named = named.map(|names| names.into_iter().map(lower).collect::<BTreeSet<_>>());
    let granted = grant.tables.as_ref().map(|tables| tables.iter().map(|name| lower(name)).collect::<BTreeSet<_>>());
    let tables = match (granted, named) {
        (Some(granted), Some(named)) => Some(granted.intersection(&named).cloned().collect()),
        (granted, named) => granted.or(named),
    };
    let what = match &tables {
        None => format!("the database {}", grant.database),
        Some(tables) if tables.is_empty() => return None,
        Some(tables) => {
            let names: Vec<&str> = tables.iter().map(String::as_str).collect();
            format!("{} in the database {}", names.join(", "), grant.database)
        }
    };
    let (database, changes) = (grant.database.clone(), grant.access.effect().may_change());
    Some(Touch { what, changes, resource: Resource::Tables { database, tables } })
}

impl Touch {
    /// Whether the two are in each other's way: what they both touch, where one of them may change it.
    #[must_use]
    pub fn meets<'t>(&'t self, other: &'t Touch) -> Option<&'t str> {
        let meets = (self.changes || other.changes) && self.resource.overlaps(&other.resource);
        let is_known = self.resource != Resource::Anything;
        meets.then_some(if is_known { &self.what } else { &other.what })
    }
}

impl Resource {
    fn overlaps(&self, other: &Resource) -> bool {
        match (self, other) {
            // Nobody comes to it but by its own tools.
            (Resource::State(one), Resource::State(two)) => one == two,
            (Resource::State(_), _) | (_, Resource::State(_)) => false,
            (Resource::Anything, _) | (_, Resource::Anything) => true,
            (Resource::Tree(one), Resource::Tree(two)) => one.starts_with(two) || two.starts_with(one),
            (Resource::Server(one, port), Resource::Server(two, other)) => port == other && one.overlaps(two),
            (Resource::Keys { space, keys }, Resource::Keys { space: other, keys: others }) => {
                space == other && (keys.cover(others) || others.cover(keys))
            }
            (
                Resource::Tables { database, tables },
                Resource::Tables { database: other_database, tables: other_tables },
            ) => {
                let shared = |one: &BTreeSet<String>, two: &BTreeSet<String>| !one.is_disjoint(two);
                database == other_database
                    && tables.as_ref().zip(other_tables.as_ref()).is_none_or(|(one, two)| shared(one, two))
            }
            _ => false,
        }
    }
}

impl Keys {
    fn begin(&self) -> &str {
        match self {
            Keys::Beginning(begin) | Keys::Below(begin) => begin,
        }
    }

    /// Whether the first of those is one of these.
    fn cover(&self, others: &Keys) -> bool {
        match self {
            Keys::Beginning(begin) => others.begin().starts_with(begin.as_str()),
            Keys::Below(key) => {
                let rest = others.begin().strip_prefix(key.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl HostPattern {
    fn overlaps(&self, other: &HostPattern) -> bool {
        let is_below = |name: &str, above: &str| {
            name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        match (self, other) {
            (HostPattern::Exactly(one), HostPattern::Exactly(two)) => one == two,
            (HostPattern::Below(above), HostPattern::Exactly(host))
            | (HostPattern::Exactly(host), HostPattern::Below(above)) => {
                matches!(host, Host::Domain(name) if name != above && is_below(name, above))
            }
            (HostPattern::Below(one), HostPattern::Below(two)) => is_below(one, two) || is_below(two, one),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exactly(host) => write!(f, "{host}"),
            HostPattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}
