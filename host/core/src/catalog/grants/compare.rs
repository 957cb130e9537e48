//! What changed from some grants to others, and does it let a tool do more?
//!
//! Who is asked about a change must not be told that it is none: whatever is not surely within what was granted before counts
//! as [`Way::Wider`]. Of the network that is decided by the order, too: the first grant that covers a request counts, so one
//! that goes away can leave its requests to another one that allows more.

use std::collections::BTreeSet;
use std::fmt::Display;

use bytesize::ByteSize;
use serde::Serialize;
use serde_json::{Map, Value};
use url::Host;

use super::net::{HostPattern, path_matches, segment_matches};
use super::{Destination, DirGrant, Grants, KvGrant, NetGrant, Only, SecretGrant, SqlGrant, TcpGrant, Variables};
use crate::check::authorize::Pattern;

/// Whether a change lets a tool do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It can do more, or nobody can tell.
    Wider,
    /// It can do less.
    Narrower,
    /// It can do neither more nor less.
    Other,
}

/// A change of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantChange {
    /// Whether it lets a tool do more.
    pub way: Way,
    /// What it is.
    pub words: String,
}

impl Way {
    fn of(is_within: bool, was_within: bool) -> Self {
        match (is_within, was_within) {
            (true, true) => Way::Other,
            (true, false) => Way::Narrower,
            (false, _) => Way::Wider,
        }
    }
}

impl Grants {
    /// The grants as they are written down for people to review: in one order where the order means nothing, and of what the
    /// host puts into requests only what comes from secrets by name. Any other text may be one itself.
    #[must_use]
    pub fn recorded(mut self) -> Self {
        for grant in &mut self.net.http {
            grant.inject.mask();
        }
        self.net.tcp.sort_by(|one, other| one.tcp.cmp(&other.tcp));
        self.env.mask();
        self.config.mask();
        self.dirs.sort_by(|one, other| one.guest.cmp(&other.guest));
        self.kv.sort_by(|one, other| one.bucket.cmp(&other.bucket));
        self.sql.sort_by(|one, other| one.database.cmp(&other.database));
        self.secrets.sort_by(|one, other| one.name.cmp(&other.name));
        self.tools.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        self
    }

    /// What is another one in these grants than it was.
    #[must_use]
    pub fn changes_since(&self, was: &Grants) -> Vec<GrantChange> {
        let mut changes = net(&was.net.http, &self.net.http);
        let place = |grant: &TcpGrant| grant.tcp.to_string();
        changes.extend(each(&was.net.tcp, &self.net.tcp, place, |grant| format!("net {grant}"), TcpGrant::is_within));
        let folder = |grant: &DirGrant| grant.guest.as_str().to_owned();
        let bucket = |grant: &KvGrant| grant.bucket.as_str().to_owned();
        let database = |grant: &SqlGrant| grant.database.clone();
        let dirs = |grant: &DirGrant| format!("dirs {grant}, the folder `{}`", grant.host.display());
        changes.extend(each(&was.dirs, &self.dirs, folder, dirs, DirGrant::is_within));
        changes.extend(each(&was.kv, &self.kv, bucket, |grant| format!("kv {grant}"), KvGrant::is_within));
        changes.extend(each(&was.sql, &self.sql, database, |grant| format!("sql {grant}"), SqlGrant::is_within));
        changes.extend(words("env", &was.env, &self.env));
        changes.extend(words("config", &was.config, &self.config));
        let secret = |grant: &SecretGrant| grant.name.clone();
        let within = |one: &SecretGrant, wide: &SecretGrant| wide.reveal || !one.reveal;
        changes.extend(each(&was.secrets, &self.secrets, secret, |grant| format!("secrets {grant}"), within));
        // Into these the host cannot look.
        let own = |grants: &Grants| -> Vec<(String, Value)> { grants.own.clone().into_iter().collect() };
        let shown = |(name, grant): &(String, Value)| format!("{name} {grant}");
        changes.extend(each(&own(was), &own(self), |(name, _)| name.clone(), shown, |_, _| false));
        let pattern = |pattern: &Pattern| pattern.as_str().to_owned();
        let tools = |pattern: &Pattern| format!("tools {}", pattern.as_str());
        changes.extend(each(&was.tools, &self.tools, pattern, tools, |_, _| true));
        changes
    }
}

/// Words that a tool is given. They are no power of themselves; a secret in them is.
fn words(kind: &str, was: &Variables, is: &Variables) -> Vec<GrantChange> {
    let secrets = |variables: &Variables| -> BTreeSet<String> {
        variables.iter().flat_map(|(_, text)| text.secrets()).map(str::to_owned).collect()
    };
    let (had, has) = (secrets(was), secrets(is));
    let shown = has
        .difference(&had)
        .map(|secret| GrantChange { way: Way::Wider, words: format!("new: {kind} shows {secret}") });
    let hidden = had
        .difference(&has)
        .map(|secret| GrantChange { way: Way::Narrower, words: format!("gone: {kind} shows {secret}") });
    let mut changes: Vec<GrantChange> = shown.chain(hidden).collect();
    if changes.is_empty() && was != is {
        changes.push(GrantChange { way: Way::Other, words: format!("{kind}: {}", keys(was, is)) });
    }
    changes
}

/// Grants of which no two have the same name.
fn each<G: PartialEq + Serialize>(
    was: &[G],
    is: &[G],
    name: impl Fn(&G) -> String,
    shown: impl Fn(&G) -> String,
    within: impl Fn(&G, &G) -> bool,
) -> Vec<GrantChange> {
    let change = |way, words| GrantChange { way, words };
    let now = is.iter().filter_map(|grant| match was.iter().find(|old| name(old) == name(grant)) {
        None => Some(change(Way::Wider, format!("new: {}", shown(grant)))),
        Some(old) if old == grant => None,
        Some(old) => {
            let way = Way::of(within(grant, old), within(old, grant));
            Some(change(way, format!("{}: {}", shown(grant), keys(old, grant))))
        }
    });
    let gone = was.iter().filter(|old| !is.iter().any(|grant| name(old) == name(grant)));
    now.chain(gone.map(|old| change(Way::Narrower, format!("gone: {}", shown(old))))).collect()
}

fn net(was: &[NetGrant], is: &[NetGrant]) -> Vec<GrantChange> {
    let change = |way, words| GrantChange { way, words };
    let mut left: Vec<&NetGrant> = was.iter().filter(|old| !is.contains(old)).collect();
    // Requests are counted for each grant, so one grant in two parts allows twice as many.
    let requests = |grants: &[NetGrant]| grants.iter().map(|grant| u64::from(grant.max_requests)).sum::<u64>();
    let as_many = requests(is) <= requests(was);
    let mut changes = Vec::new();
    for (at, grant) in is.iter().enumerate() {
        let is_within = is_within(was, is.get(..at).unwrap_or_default(), grant);
        if was.contains(grant) {
            if !is_within {
                let words = format!("net {grant}: it counts for more, as others before it are not what they were");
                changes.push(change(Way::Wider, words));
            }
            continue;
        }
        // One to the same place is the same one, with other terms.
        match left.iter().position(|old| old.to == grant.to) {
            Some(found) => {
                let old = left.remove(found);
                let way = Way::of(is_within, old.is_within(grant));
                changes.push(change(way, format!("net {grant}: {}", keys(old, grant))));
            }
            None if is_within && as_many => {
                changes.push(change(Way::Other, format!("new: net {grant}, within what was granted already")));
            }
            None => changes.push(change(Way::Wider, format!("new: net {grant}"))),
        }
    }
    changes.extend(left.into_iter().map(|old| change(Way::Narrower, format!("gone: net {old}"))));
    if changes.is_empty() && was != is {
        changes.push(change(Way::Other, "net: the order of the grants, which is about different hosts".into()));
    }
    changes
}

/// Whether each request for which a grant counts was allowed before, with the same terms or laxer ones. `before` are those in
/// front of it.
fn is_within(was: &[NetGrant], before: &[NetGrant], grant: &NetGrant) -> bool {
    let meets =
        |old: &&NetGrant| old.to.meets(&grant.to) && grant.methods.0.iter().any(|method| old.methods.allows(method));
    let stood = was.iter().position(|old| old == grant).and_then(|at| was.get(..at));
    // What counted in place of it still does.
    let counts_as_ever = stood.is_some_and(|stood| stood.iter().filter(meets).all(|old| before.contains(old)));
    // Or for each of its methods, the first that could have counted covers it.
    let first = |method: &String| was.iter().find(|old| old.methods.allows(method) && old.to.meets(&grant.to));
    counts_as_ever || grant.methods.0.iter().all(|method| first(method).is_some_and(|old| grant.keeps_to(old)))
}

impl NetGrant {
    fn is_within(&self, wide: &NetGrant) -> bool {
        self.keeps_to(wide) && self.methods.0.iter().all(|method| wide.methods.allows(method))
    }

    /// Whether what it allows is within the other, but for the methods.
    fn keeps_to(&self, wide: &NetGrant) -> bool {
        wide.to.contains(&self.to)
            && self.max_request.0 <= wide.max_request.0
            && self.max_response.0 <= wide.max_response.0
            && self.max_requests <= wide.max_requests
            && self.timeout.0 <= wide.timeout.0
            && (wide.private || !self.private)
            && (self.inject.is_empty() || self.inject == wide.inject)
            && keeps_only(self.only.as_ref(), wide.only.as_ref())
    }
}

impl TcpGrant {
    fn is_within(&self, wide: &TcpGrant) -> bool {
        self.tcp == wide.tcp
            && self.max_connections <= wide.max_connections
            && self.max_bytes.0 <= wide.max_bytes.0
            && self.timeout.0 <= wide.timeout.0
            && (wide.private || !self.private)
    }
}

impl DirGrant {
    fn is_within(&self, wide: &DirGrant) -> bool {
        self.host == wide.host
            && self.access <= wide.access
            && self.max_bytes.0 <= wide.max_bytes.0
            && self.max_file.0 <= wide.max_file.0
            && self.max_files <= wide.max_files
            && wide.deny.patterns().iter().all(|pattern| self.deny.patterns().contains(pattern))
            && keeps_only(self.only.as_ref(), wide.only.as_ref())
    }
}

impl KvGrant {
    fn is_within(&self, wide: &KvGrant) -> bool {
        self.store == wide.store
            && self.namespace == wide.namespace
            && self.prefix.as_str().starts_with(wide.prefix.as_str())
            && self.access <= wide.access
            && self.max_value.0 <= wide.max_value.0
            && keeps_only(self.only.as_ref(), wide.only.as_ref())
            && self.max_keys <= wide.max_keys
            && self.max_bytes.0 <= wide.max_bytes.0
    }
}

impl SqlGrant {
    fn is_within(&self, wide: &SqlGrant) -> bool {
        let tables = match (&self.tables, &wide.tables) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(tables), Some(wide)) => tables.iter().all(|table| wide.contains(table)),
        };
        tables
            && keeps_only(self.only.as_ref(), wide.only.as_ref())
            && self.access <= wide.access
            && self.max_rows <= wide.max_rows
            && self.max_bytes.0 <= wide.max_bytes.0
            && self.max_statements <= wide.max_statements
            && self.timeout.0 <= wide.timeout.0
    }
}

/// Whether calls are narrowed as they were, or now are and were not.
fn keeps_only(is: Option<&Only>, was: Option<&Only>) -> bool {
    was.is_none() || is == was
}

impl Destination {
    /// Whether some URL may be one of both: their hosts are or may be the same.
    fn meets(&self, other: &Destination) -> bool {
        let hosts = match (&self.host, &other.host) {
            (HostPattern::Exactly(one), HostPattern::Exactly(other)) => one == other,
            (HostPattern::Below(_), HostPattern::Below(_)) => {
                self.host.contains(&other.host) || other.host.contains(&self.host)
            }
            (below @ HostPattern::Below(_), one) | (one, below) => below.contains(one),
        };
        hosts && self.scheme == other.scheme && self.port == other.port
    }

    /// Whether every URL that is one of the other's is one of these.
    fn contains(&self, other: &Destination) -> bool {
        self.scheme == other.scheme
            && self.port == other.port
            && self.host.contains(&other.host)
            // The parts of the other are taken as they stand: its `**` is covered by a `**` alone.
            && path_matches(&self.path, &other.path, |part, other| other != "**" && segment_matches(part, other))
    }
}

impl HostPattern {
    fn contains(&self, other: &HostPattern) -> bool {
        let below = |name: &str, other: &str| {
            other.strip_suffix(name).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        };
        match (self, other) {
            (HostPattern::Exactly(one), HostPattern::Exactly(other)) => one == other,
            (HostPattern::Below(name), HostPattern::Exactly(Host::Domain(other))) => below(name, other),
            (HostPattern::Below(name), HostPattern::Below(other)) => name == other || below(name, other),
            _ => false,
        }
    }
}

/// The keys in which two grants differ, with both values.
fn keys<G: Serialize>(was: &G, is: &G) -> String {
    let members = |grant: &G| match serde_json::to_value(grant) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let (was, is) = (members(was), members(is));
    let mut names: Vec<&String> = is.keys().chain(was.keys().filter(|name| !is.contains_key(*name))).collect();
    names.retain(|name| was.get(*name) != is.get(*name));
    let changed = names
        .into_iter()
        .map(|name| format!("{name} {}, was {}", shown(name, is.get(name)), shown(name, was.get(name))));
    changed.collect::<Vec<_>>().join("; ")
}

fn shown(name: &str, value: Option<&Value>) -> impl Display {
    match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "nothing".to_owned(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| shown(name, Some(item)).to_string()).collect::<Vec<_>>().join(", ")
        }
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => match number.as_u64() {
            Some(bytes) if is_bytes(name) => ByteSize(bytes).display().iec().to_string(),
            _ => number.to_string(),
        },
        Some(other) => other.to_string(),
    }
}

fn is_bytes(name: &str) -> bool {
    matches!(name, "max_request" | "max_response" | "max_bytes" | "max_file" | "max_value")
}
