//! Which server names there are, whose share connections to each count against, and guests of which deployment documents may have
//! them. The administrator's document; without one nobody gets connections.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_wire::digest::Sha256;
use strongroom_wire::feed::{self, Feed, Share};
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The document, as TOML.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteTable {
    /// What each tenant may use of one router, by name.
    #[serde(default)]
    pub(crate) tenants: BTreeMap<String, Share>,
    /// By server name, in lower case.
    #[serde(default)]
    pub(crate) routes: BTreeMap<String, Route>,
}

/// One server name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Whose share connections count against.
    pub(crate) tenant: String,
    /// Digests of the deployment documents whose guests may have them, as 64 hex digits.
    pub(crate) deployments: BTreeSet<Sha256>,
}

impl RouteTable {
    /// Parses a document of at most [`limits::POLICY`] bytes.
    ///
    /// # Errors
    /// `malformed`, `unknown-field`, `too-large`; `request-invalid`: what no router takes, as [`Feed::verify_sound`] says.
    pub(crate) fn parse(toml: &[u8]) -> Result<Self> {
        let table: Self = document::parse_toml(toml, "routes", limits::POLICY, Code::Malformed)?;
        let sound = table.feed(0, 0, |_, _| BTreeMap::new()).verify_sound();
        match sound {
            Err(refusal) if refusal.code == Code::TokenInvalid => {
                Err(Refusal { code: Code::RequestInvalid, ..refusal }.within("routes"))
            }
            sound => sound.map(|()| table),
        }
    }

    /// The server names that guests of `document` may have.
    pub(crate) fn names_of(&self, document: Sha256) -> impl Iterator<Item = &String> {
        self.routes.iter().filter(move |(_, route)| route.deployments.contains(&document)).map(|(name, _)| name)
    }

    /// What routers are told at `now`, with the guests that `backends` gives for each name.
    pub(crate) fn feed(
        &self,
        seq: u64,
        now: u64,
        mut backends: impl FnMut(&str, &Route) -> BTreeMap<String, feed::Backend>,
    ) -> Feed {
        let route = |(name, route): (&String, &Route)| {
            (name.clone(), feed::Route { tenant: route.tenant.clone(), backends: backends(name, route) })
        };
        Feed {
            aud: feed::AUDIENCE.to_owned(),
            iss: crate::token::ISSUER.to_owned(),
            iat: now,
            exp: now.saturating_add(feed::AGE),
            seq,
            tenants: self.tenants.clone(),
            routes: self.routes.iter().map(route).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [tenants.search]
        connections = 100
        per-second = 20
        [routes."embed.example"]
        tenant = "search"
        deployments = ["0101010101010101010101010101010101010101010101010101010101010101"]
    "#;

    fn code(from: &str, to: &str) -> Option<Code> {
        assert!(TABLE.contains(from), "{from}");
        RouteTable::parse(TABLE.replace(from, to).as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn table_that_routers_take_accepted_and_another_refused() {
        let table = RouteTable::parse(TABLE.as_bytes()).unwrap();
        assert_eq!(table.names_of(Sha256([1; 32])).collect::<Vec<_>>(), ["embed.example"]);
        assert_eq!(table.names_of(Sha256([2; 32])).count(), 0);
        assert_eq!(code("tenant = \"search\"", "tenant = \"other\""), Some(Code::RequestInvalid));
        assert_eq!(code("embed.example", "Embed.example"), Some(Code::RequestInvalid));
        assert_eq!(code("connections", "more"), Some(Code::UnknownField));
        assert_eq!(code("0101\"", "01\""), Some(Code::Malformed));
        assert_eq!(RouteTable::parse(b"").unwrap(), RouteTable::default());
    }
}
