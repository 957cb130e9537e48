//! What stands in `grants.net`? Requests over HTTP and connections over TCP, in one list, told apart by the key that says
//! where to: `to` or `tcp`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Destination, Endpoint, Inject, Methods, NetGrant, Only, TcpGrant, inject, net, tcp};
use crate::catalog::settings::{Bytes, Span};

/// Where a tool may reach over the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetGrants {
    /// Requests over HTTP. The first that covers one counts.
    pub http: Vec<NetGrant>,
    /// Connections over TCP, no two of them to the same place.
    pub tcp: Vec<TcpGrant>,
}

impl NetGrants {
    /// Whether it may reach nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.tcp.is_empty()
    }
}

impl Serialize for NetGrants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Entry<'g> {
            Http(&'g NetGrant),
            Tcp(&'g TcpGrant),
        }
        serializer.collect_seq(self.http.iter().map(Entry::Http).chain(self.tcp.iter().map(Entry::Tcp)))
    }
}

impl<'de> Deserialize<'de> for NetGrants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut grants = NetGrants::default();
        let mut places = BTreeSet::new();
        for entry in Vec::<Entry>::deserialize(deserializer)? {
            match entry {
                Entry::Http(grant) => grants.http.push(*grant),
                Entry::Tcp(grant) if !places.insert(grant.tcp.clone()) => {
                    return Err(D::Error::custom(format!("`{}` is granted twice: once is enough", grant.tcp)));
                }
                Entry::Tcp(grant) => grants.tcp.push(grant),
            }
        }
        inject::sound(&grants.http).map_err(D::Error::custom)?;
        Ok(grants)
    }
}

impl JsonSchema for NetGrants {
    fn schema_name() -> Cow<'static, str> {
        "NetGrants".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entries = [generator.subschema_for::<NetGrant>(), generator.subschema_for::<TcpGrant>()];
        json_schema!({
            "description": "Where to, over HTTP (`to`) and over TCP (`tcp`).",
            "type": "array",
            "items": {"anyOf": entries},
        })
    }
}

/// One of the list.
enum Entry {
    Http(Box<NetGrant>),
    Tcp(TcpGrant),
}

/// The keys of both kinds. They are read as one table, so that a fault is told with the line of its value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    to: Option<Destination>,
    methods: Option<Methods>,
    #[serde(default, deserialize_with = "some_body_bytes")]
    max_request: Option<Bytes>,
    #[serde(default, deserialize_with = "some_body_bytes")]
    max_response: Option<Bytes>,
    #[serde(default, deserialize_with = "some_requests")]
    max_requests: Option<u32>,
    idempotency_key: Option<bool>,
    inject: Option<Inject>,
    only: Option<Only>,
    tcp: Option<Endpoint>,
    #[serde(default, deserialize_with = "some_connections")]
    max_connections: Option<u32>,
    #[serde(default, deserialize_with = "some_bytes")]
    max_bytes: Option<Bytes>,
    private: Option<bool>,
    timeout: Option<Span>,
}

impl Written {
    /// A key that is there, and says something of requests over HTTP only.
    fn of_http(&self) -> Option<&'static str> {
        let keys = [
            (self.methods.is_some(), "methods"),
            (self.max_request.is_some(), "max_request"),
            (self.max_response.is_some(), "max_response"),
            (self.max_requests.is_some(), "max_requests"),
            (self.idempotency_key.is_some(), "idempotency_key"),
            (self.inject.is_some(), "inject"),
            (self.only.is_some(), "only"),
        ];
        keys.into_iter().find_map(|(is_there, key)| is_there.then_some(key))
    }

    /// A key that is there, and says something of connections over TCP only.
    fn of_tcp(&self) -> Option<&'static str> {
        let keys = [(self.max_connections.is_some(), "max_connections"), (self.max_bytes.is_some(), "max_bytes")];
        keys.into_iter().find_map(|(is_there, key)| is_there.then_some(key))
    }

    fn entry(self) -> Result<Entry, String> {
        let stray = |key: &str, here: &str, there: &str| {
            Err(format!("`{key}` belongs to a grant with `{there}`, and this is one with `{here}`"))
        };
        match (self.to.clone(), self.tcp.clone(), self.of_http(), self.of_tcp()) {
            (None, None, _, Some(_)) => Err("missing field `tcp`".into()),
            (None, None, _, None) => Err("missing field `to`".into()),
            (Some(_), Some(_), ..) => Err("a grant has either `to`, for HTTP, or `tcp`; write two grants".into()),
            (Some(_), None, _, Some(key)) => stray(key, "to", "tcp"),
            (None, Some(_), Some(key), _) => stray(key, "tcp", "to"),
            (Some(to), None, _, None) => Ok(Entry::Http(Box::new(self.http(to)))),
            (None, Some(tcp), None, _) => Ok(Entry::Tcp(self.tcp(tcp))),
        }
    }

    fn http(self, to: Destination) -> NetGrant {
        NetGrant {
            to,
            methods: self.methods.unwrap_or_default(),
            max_request: self.max_request.unwrap_or_else(net::body_bytes),
            max_response: self.max_response.unwrap_or_else(net::body_bytes),
            max_requests: self.max_requests.unwrap_or_else(net::requests),
            timeout: self.timeout.unwrap_or_else(net::timeout),
            private: self.private.unwrap_or_default(),
            idempotency_key: self.idempotency_key.unwrap_or_default(),
            inject: self.inject.unwrap_or_default(),
            only: self.only,
        }
    }

    fn tcp(self, tcp: Endpoint) -> TcpGrant {
        TcpGrant {
            tcp,
            private: self.private.unwrap_or_default(),
            max_connections: self.max_connections.unwrap_or_else(tcp::connections),
            max_bytes: self.max_bytes.unwrap_or_else(tcp::bytes),
            timeout: self.timeout.unwrap_or_else(tcp::timeout),
        }
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

/// Reads one of the list. What is wrong with it as a whole is found while it is visited: so the fault has its line.
struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a grant, for example { to = \"https://api.example.com/v1/**\" } or { tcp = \"db.internal:5432\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        Written::deserialize(MapAccessDeserializer::new(map))?.entry().map_err(A::Error::custom)
    }
}

fn some_body_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    net::body_bytes_within(deserializer).map(Some)
}

fn some_requests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    net::requests_within(deserializer).map(Some)
}

fn some_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    tcp::bytes_up_to(deserializer).map(Some)
}

fn some_connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    tcp::connections_within(deserializer).map(Some)
}
