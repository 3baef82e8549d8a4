//! The calls of the admin API: how each is asked for, whose role it takes, and how much it may bring.

use http::{Method, Uri};
use serde::Deserialize;
use strongroom_wire::bytes::hex_array;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result, limits};

use crate::admin_gate::Role;
use crate::admin_log::LogRead;
use crate::tags::Tags;

/// A call of the API.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    PutKey(ResourcePath, Tags),
    ListKeys,
    ShowKey(ResourcePath),
    EnableKey(ResourcePath),
    DisableKey(ResourcePath),
    DestroyKey(ResourcePath),
    RotateKey(ResourcePath),
    LabelKey(ResourcePath, Tags),
    PutAuthorization,
    ListAuthorization,
    ShowAuthorization(u64),
    PutPolicy(ResourcePath),
    ListPolicies,
    ShowPolicy(ResourcePath),
    PutDocument,
    ListDocuments,
    ChangeTokenKey,
    PutPromotion,
    ListPromotions {
        repository: String,
        environment: Option<Environment>,
    },
    ReadLog(LogRead),
    ReadMetrics,
    PutCosignatures,
    PutRoutes,
    ShowRoutes,
    Revoke,
    ListRevocations,
    ReleaseQuarantine,
    ListChanges,
    ShowChange(ChangeId),
    /// With the digest of what is approved.
    ApproveChange(ChangeId, Sha256),
    RejectChange(ChangeId),
}

/// The name of a change that waits for approval: 16 random bytes in hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeId(pub(crate) String);

/// What a call may change, by the names that the configuration has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A new key.
    KeyPut,
    /// Whose a key is, and its labels.
    KeyLabel,
    /// That a key may be released again.
    KeyEnable,
    /// That a key is released no more.
    KeyDisable,
    /// A key's end.
    KeyDestroy,
    /// How a key's value is wrapped.
    KeyRotate,
    /// A release policy.
    ReleasePolicy,
    /// Cedar policies.
    Authorization,
    /// Signed reference values or an inventory.
    Document,
    /// A promotion or demotion.
    Promotion,
    /// The key that signs tokens.
    TokenKey,
    /// A witness' word on the log.
    Cosignatures,
    /// The table of routes.
    Routes,
    /// A revocation or quarantine.
    Revocation,
    /// The end of a quarantine.
    QuarantineRelease,
}

impl Change {
    /// As the configuration names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyPut => "key-put",
            Self::KeyLabel => "key-label",
            Self::KeyEnable => "key-enable",
            Self::KeyDisable => "key-disable",
            Self::KeyDestroy => "key-destroy",
            Self::KeyRotate => "key-rotate",
            Self::ReleasePolicy => "release-policy",
            Self::Authorization => "authorization",
            Self::Document => "document",
            Self::Promotion => "promotion",
            Self::TokenKey => "token-key",
            Self::Cosignatures => "cosignatures",
            Self::Routes => "routes",
            Self::Revocation => "revocation",
            Self::QuarantineRelease => "quarantine-release",
        }
    }
}

/// What a call does to the verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Change(Change),
    /// Decides on what somebody else wants to change.
    Approve,
    /// Takes a change out of what waits: what they asked for themselves, or as an approver.
    Reject,
}

impl Access {
    /// The role that it takes.
    pub(super) const fn role(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Change(_) => Role::Operator,
            Self::Approve => Role::Approver,
            Self::Reject => Role::Viewer,
        }
    }
}

impl Call {
    /// The call of a request.
    ///
    /// # Errors
    /// `route-unknown`; `malformed`, `request-invalid`: a name or query that is none.
    pub(super) fn parse(method: &Method, uri: &Uri) -> Result<Self> {
        let unknown = || Refusal::new(Code::RouteUnknown, "route").got(format!("{method} {}", uri.path()));
        if method == Method::GET && uri.path() == "/metrics" {
            return Ok(Self::ReadMetrics);
        }
        let rest = uri.path().strip_prefix("/admin/v1/").ok_or_else(unknown)?;
        let (collection, id) = rest.split_once('/').unwrap_or((rest, ""));
        let query = uri.query().unwrap_or_default();
        match (method.as_str(), collection, id) {
            ("GET", "keys", "") => Ok(Self::ListKeys),
            ("GET", "keys", id) => ResourcePath::parse(id).map(Self::ShowKey),
            ("PUT", "keys", id) => Ok(Self::PutKey(ResourcePath::parse(id)?, Tags::parse(query)?)),
            ("POST", "keys", id) => match id.rsplit_once('/').ok_or_else(unknown)? {
                (id, "enable") => ResourcePath::parse(id).map(Self::EnableKey),
                (id, "disable") => ResourcePath::parse(id).map(Self::DisableKey),
                (id, "destroy") => ResourcePath::parse(id).map(Self::DestroyKey),
                (id, "rotate") => ResourcePath::parse(id).map(Self::RotateKey),
                (id, "label") => Ok(Self::LabelKey(ResourcePath::parse(id)?, Tags::parse(query)?)),
                _ => Err(unknown()),
            },
            ("PUT", "authorization", "") => Ok(Self::PutAuthorization),
            ("GET", "authorization", "") => Ok(Self::ListAuthorization),
            ("GET", "authorization", version) => version.parse().map(Self::ShowAuthorization).map_err(|_| unknown()),
            ("GET", "policies", "") => Ok(Self::ListPolicies),
            ("GET", "policies", id) => ResourcePath::parse(id).map(Self::ShowPolicy),
            ("PUT", "policies", id) => ResourcePath::parse(id).map(Self::PutPolicy),
            ("GET", "documents", "") => Ok(Self::ListDocuments),
            ("PUT", "documents", "") => Ok(Self::PutDocument),
            ("POST", "token-key", "") => Ok(Self::ChangeTokenKey),
            ("PUT", "routes", "") => Ok(Self::PutRoutes),
            ("GET", "routes", "") => Ok(Self::ShowRoutes),
            ("POST", "revocations", "") => Ok(Self::Revoke),
            ("GET", "revocations", "") => Ok(Self::ListRevocations),
            ("POST", "revocations", "release") => Ok(Self::ReleaseQuarantine),
            ("POST", "promotions", "") => Ok(Self::PutPromotion),
            ("GET", "promotions", "") => Self::parse_promotions(query),
            ("GET", "audit", "") => LogRead::parse_decisions(query).map(Self::ReadLog),
            ("POST", "log", "cosignatures") => Ok(Self::PutCosignatures),
            ("GET", "changes", "") => Ok(Self::ListChanges),
            ("GET", "changes", id) => ChangeId::parse(id).map(Self::ShowChange),
            ("POST", "changes", id) => match id.split_once('/').ok_or_else(unknown)? {
                (id, "approve") => Ok(Self::ApproveChange(ChangeId::parse(id)?, parse_digest(query)?)),
                (id, "reject") => ChangeId::parse(id).map(Self::RejectChange),
                _ => Err(unknown()),
            },
            ("GET", "log", path) => LogRead::parse(path).map(Self::ReadLog),
            _ => Err(unknown()),
        }
    }

    /// Both names have no characters that would have to be percent-encoded.
    fn parse_promotions(query: &str) -> Result<Self> {
        let (mut repository, mut environment) = (None, None);
        let want = "repository=host[:port]/repo[&environment=NAME], not percent-encoded";
        for pair in query.split('&') {
            let invalid = || Refusal::new(Code::RequestInvalid, "query").got(pair).want(want);
            match pair.split_once('=').ok_or_else(invalid)? {
                ("repository", name) if repository.is_none() && !name.contains('%') => {
                    repository = Some(name.to_owned());
                }
                ("environment", name) if environment.is_none() => environment = Some(Environment::parse(name)?),
                _ => return Err(invalid()),
            }
        }
        let repository = repository.ok_or_else(|| Refusal::new(Code::RequestInvalid, "query").got(query).want(want))?;
        Ok(Self::ListPromotions { repository, environment })
    }

    /// What it does; a call that is not here has no role.
    pub(super) const fn access(&self) -> Access {
        match self {
            Self::ListKeys
            | Self::ShowKey(_)
            | Self::ListAuthorization
            | Self::ShowAuthorization(_)
            | Self::ListPolicies
            | Self::ShowPolicy(_)
            | Self::ListDocuments
            | Self::ShowRoutes
            | Self::ListRevocations
            | Self::ListPromotions { .. }
            | Self::ReadLog(_)
            | Self::ReadMetrics
            | Self::ListChanges
            | Self::ShowChange(_) => Access::Read,
            Self::PutKey(..) => Access::Change(Change::KeyPut),
            Self::LabelKey(..) => Access::Change(Change::KeyLabel),
            Self::EnableKey(_) => Access::Change(Change::KeyEnable),
            Self::DisableKey(_) => Access::Change(Change::KeyDisable),
            Self::DestroyKey(_) => Access::Change(Change::KeyDestroy),
            Self::RotateKey(_) => Access::Change(Change::KeyRotate),
            Self::PutPolicy(_) => Access::Change(Change::ReleasePolicy),
            Self::PutAuthorization => Access::Change(Change::Authorization),
            Self::PutDocument => Access::Change(Change::Document),
            Self::PutPromotion => Access::Change(Change::Promotion),
            Self::ChangeTokenKey => Access::Change(Change::TokenKey),
            Self::PutCosignatures => Access::Change(Change::Cosignatures),
            Self::PutRoutes => Access::Change(Change::Routes),
            Self::Revoke => Access::Change(Change::Revocation),
            Self::ReleaseQuarantine => Access::Change(Change::QuarantineRelease),
            Self::ApproveChange(..) => Access::Approve,
            Self::RejectChange(_) => Access::Reject,
        }
    }

    /// The call, where `body` is no longer than it takes.
    ///
    /// # Errors
    /// `too-large`.
    pub(super) fn fits(self, body: &[u8]) -> Result<Self> {
        let (limit, what) = match self {
            Self::PutKey(..) => (limits::RESOURCE, "key"),
            // In JSON, where a line feed or a quotation mark is two characters.
            Self::PutAuthorization => (limits::STORED_DOCUMENT, "policies"),
            Self::PutPolicy(_) => (limits::POLICY, "release policy"),
            Self::PutDocument => (limits::STORED_DOCUMENT, "signed document"),
            Self::PutPromotion => (limits::SIGNATURE, "promotion"),
            Self::PutCosignatures => (limits::NOTE, "cosigned checkpoint"),
            Self::PutRoutes => (limits::POLICY, "routes"),
            Self::Revoke | Self::ReleaseQuarantine => (limits::POLICY, "revocation"),
            _ => (0, "body of a call that has none"),
        };
        if body.len() > limit { Err(Refusal::too_large(what, body.len(), limit)) } else { Ok(self) }
    }

    /// Whether its body says nothing that only some may know. A key's digest would let everybody who reads the log recognise the
    /// key.
    pub(super) const fn is_public(&self) -> bool {
        matches!(
            self,
            Self::PutPolicy(_)
                | Self::PutDocument
                | Self::PutPromotion
                | Self::PutAuthorization
                | Self::PutCosignatures
                | Self::PutRoutes
                | Self::Revoke
                | Self::ReleaseQuarantine
        )
    }

    /// Under which name its row has what it came to.
    pub(super) const fn noted(&self) -> Option<&'static str> {
        match self {
            Self::PutDocument => Some("documents"),
            Self::PutAuthorization => Some("authorization"),
            Self::PutKey(..)
            | Self::LabelKey(..)
            | Self::EnableKey(_)
            | Self::DisableKey(_)
            | Self::DestroyKey(_)
            | Self::RotateKey(_) => Some("key"),
            Self::PutRoutes => Some("routes"),
            Self::Revoke | Self::ReleaseQuarantine => Some("revocation"),
            _ => None,
        }
    }
}

impl ChangeId {
    fn parse(text: &str) -> Result<Self> {
        hex_array::<16>(text, "id of a change").map(|_| Self(text.to_owned()))
    }
}

/// The digest of the change as the approver saw it.
fn parse_digest(query: &str) -> Result<Sha256> {
    let invalid =
        || Refusal::new(Code::RequestInvalid, "query").got(query).want("digest=HEX, of the change as you saw it");
    Sha256::from_hex(query.strip_prefix("digest=").ok_or_else(invalid)?).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> core::result::Result<Call, Code> {
        Call::parse(&method.parse().unwrap(), &uri.parse().unwrap()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn calls_are_told_apart_by_method_and_path() {
        let id = || ResourcePath::parse("a/b/c").unwrap();
        assert_eq!(parse("PUT", "/admin/v1/keys/a/b/c"), Ok(Call::PutKey(id(), Tags::default())));
        let tags = || Tags::parse("owner=a&label=b").unwrap();
        assert_eq!(parse("PUT", "/admin/v1/keys/a/b/c?owner=a&label=b"), Ok(Call::PutKey(id(), tags())));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/label?owner=a&label=b"), Ok(Call::LabelKey(id(), tags())));
        assert_eq!(parse("PUT", "/admin/v1/authorization"), Ok(Call::PutAuthorization));
        assert_eq!(parse("GET", "/admin/v1/authorization"), Ok(Call::ListAuthorization));
        assert_eq!(parse("GET", "/admin/v1/authorization/7"), Ok(Call::ShowAuthorization(7)));
        assert_eq!(parse("GET", "/admin/v1/keys"), Ok(Call::ListKeys));
        assert_eq!(parse("GET", "/admin/v1/keys/a/b/c"), Ok(Call::ShowKey(id())));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/enable"), Ok(Call::EnableKey(id())));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/disable"), Ok(Call::DisableKey(id())));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/destroy"), Ok(Call::DestroyKey(id())));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/rotate"), Ok(Call::RotateKey(id())));
        assert_eq!(parse("PUT", "/admin/v1/policies/a/b/c"), Ok(Call::PutPolicy(id())));
        assert_eq!(parse("GET", "/admin/v1/policies/a/b/c"), Ok(Call::ShowPolicy(id())));
        assert_eq!(parse("POST", "/admin/v1/promotions"), Ok(Call::PutPromotion));
        assert_eq!(parse("PUT", "/admin/v1/routes"), Ok(Call::PutRoutes));
        assert_eq!(parse("POST", "/admin/v1/revocations"), Ok(Call::Revoke));
        assert_eq!(parse("POST", "/admin/v1/revocations/release"), Ok(Call::ReleaseQuarantine));
        let listed = |environment| Ok(Call::ListPromotions { repository: "r:1/a/b".into(), environment });
        assert_eq!(parse("GET", "/admin/v1/promotions?repository=r:1/a/b"), listed(None));
        let production = Environment::parse("production").unwrap();
        let both = "/admin/v1/promotions?environment=production&repository=r:1/a/b";
        assert_eq!(parse("GET", both), listed(Some(production)));
        let decisions = LogRead::Decisions { after: 3, limit: 2, kind: None };
        assert_eq!(parse("GET", "/admin/v1/audit?after=3&limit=2"), Ok(Call::ReadLog(decisions)));
        assert_eq!(parse("GET", "/admin/v1/log/checkpoint"), Ok(Call::ReadLog(LogRead::Checkpoint)));
        let change = || ChangeId("0123456789abcdef".repeat(2));
        let of = |rest: &str| format!("/admin/v1/changes/{}{rest}", change().0);
        assert_eq!(parse("GET", "/metrics"), Ok(Call::ReadMetrics));
        assert_eq!(parse("GET", "/admin/v1/changes"), Ok(Call::ListChanges));
        assert_eq!(parse("GET", &of("")), Ok(Call::ShowChange(change())));
        let digest = Sha256([7; 32]);
        let approve = of(&format!("/approve?digest={digest}"));
        assert_eq!(parse("POST", &approve), Ok(Call::ApproveChange(change(), digest)));
        assert_eq!(parse("POST", &of("/reject")), Ok(Call::RejectChange(change())));
    }

    #[test]
    fn calls_that_are_none_refused() {
        assert_eq!(parse("PUT", "/metrics"), Err(Code::RouteUnknown));
        assert_eq!(parse("DELETE", "/admin/v1/keys/a/b/c"), Err(Code::RouteUnknown));
        assert_eq!(parse("POST", "/admin/v1/keys/a/b/c/release"), Err(Code::RouteUnknown));
        assert_eq!(parse("GET", "/admin/v2/keys"), Err(Code::RouteUnknown));
        assert_eq!(parse("DELETE", "/admin/v1/revocations"), Err(Code::RouteUnknown));
        assert_eq!(parse("GET", "/admin/v1/revocations/release"), Err(Code::RouteUnknown));
        assert_eq!(parse("GET", "/admin/v1/authorization/x"), Err(Code::RouteUnknown));
        assert_eq!(parse("PUT", "/admin/v1/authorization/1"), Err(Code::RouteUnknown));
        assert_eq!(parse("PUT", "/admin/v1/keys/a/b/c?label=a&label=a"), Err(Code::RequestInvalid));
        assert_eq!(parse("PUT", "/admin/v1/keys/a/../c"), Err(Code::Malformed));
        assert_eq!(parse("PUT", "/admin/v1/keys/a%2fb/c"), Err(Code::Malformed));
        assert_eq!(parse("GET", "/admin/v1/audit?after=x"), Err(Code::RequestInvalid));
        for query in ["", "?environment=a", "?repository=a&repository=a", "?repository=a&x=y", "?repository=a%2Fb"] {
            assert_eq!(parse("GET", &format!("/admin/v1/promotions{query}")), Err(Code::RequestInvalid), "{query}");
        }
        assert_eq!(parse("GET", "/admin/v1/promotions?repository=a&environment=A"), Err(Code::Malformed));
        assert_eq!(parse("GET", "/admin/v1/audit?before=1"), Err(Code::RequestInvalid));
        let id = "0123456789abcdef".repeat(2);
        for (rest, code) in [
            (format!("{id}/approve"), Code::RequestInvalid),
            (format!("{id}/approve?digest=00"), Code::RequestInvalid),
            (format!("{id}/execute"), Code::RouteUnknown),
            (id.to_uppercase() + "/reject", Code::Malformed),
            (id.split_at(1).1.to_owned() + "/reject", Code::Malformed),
        ] {
            assert_eq!(parse("POST", &format!("/admin/v1/changes/{rest}")), Err(code), "{rest}");
        }
    }
}
