//! Policies of an enclave's API: what callers may do with its models, against a schema of their own.

use crate::decide::Allowed;
use crate::policies::{Policies, shown};
use crate::question::{Asked, Kind, Places, entity, folders, kind, pair, text, time, uid};
use cedar_policy::{Context, Entities, Entity, Request, Schema};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use strongroom_wire::deployment::IdentityKind;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// What policies over calls may ask about, in Cedar's schema language.
pub const CALL_SCHEMA: &str = include_str!("calls.cedarschema");

/// What a deployment document means that says nothing of policies: whoever has one of its bearer keys may have everything done by models,
/// and nobody may change which there are.
pub const PRINCIPALS: &str = "@id(\"principals\")\npermit (principal is Strongroom::ApiKey, action, resource)\nunless { action == Strongroom::Action::\"ManageModel\" };\n";

static SCHEMA: LazyLock<core::result::Result<Arc<Schema>, String>> = LazyLock::new(|| {
    let parsed = Schema::from_cedarschema_str(CALL_SCHEMA);
    parsed.map(|(schema, _)| Arc::new(schema)).map_err(|e| e.to_string())
});

/// What may be done with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum CallAction {
    /// Learn that it is served, and of what manifest.
    ListModels,
    /// Have texts embedded.
    Embed,
    /// Have tensors or texts judged.
    Infer,
    /// Have text generated.
    Generate,
    /// Have it loaded, replaced or unloaded, where the deployment document lets it change.
    ManageModel,
}

impl CallAction {
    /// As policies and logs call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListModels => "ListModels",
            Self::Embed => "Embed",
            Self::Infer => "Infer",
            Self::Generate => "Generate",
            Self::ManageModel => "ManageModel",
        }
    }
}

/// May this caller do that with that model, now?
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// By what the caller is known.
    pub kind: IdentityKind,
    /// Its name of that kind.
    pub name: &'a str,
    /// Its groups, as its issuer calls them.
    pub groups: &'a [String],
    /// Claims of its token.
    pub claims: &'a BTreeMap<String, String>,
    /// Whether it has the key of a certificate that is its own.
    pub certificate: bool,
    /// What it wants to do.
    pub action: CallAction,
    /// With which model.
    pub model: &'a str,
    /// Of what manifest.
    pub manifest: Sha256,
    /// When, in seconds of Unix time.
    pub now: u64,
}

/// Policies over calls that are valid against [`CALL_SCHEMA`]. None of them at all is valid too, and permits nothing.
#[derive(Debug, Clone)]
pub struct CallPolicies(Policies);

impl CallPolicies {
    /// Parses policies in Cedar and validates them strictly, as [`Policies::parse`] does.
    ///
    /// # Errors
    /// As there.
    pub fn parse(cedar: &[u8]) -> Result<Self> {
        let schema =
            SCHEMA.clone().map_err(|e| Refusal::new(Code::Internal, "schema of policies over calls").because(e))?;
        Policies::of(cedar, &schema).map(Self)
    }

    /// The same policies, for what all sets of them have in common.
    pub const fn policies(&self) -> &Policies {
        &self.0
    }

    /// Decides a call.
    ///
    /// # Errors
    /// As [`Policies::decide`].
    pub fn decide(&self, call: &Call<'_>) -> Result<Allowed> {
        self.0.answer(&call.asked(None)?)?.allowed()
    }
}

/// The schema's kinds of entities, read once.
struct Kinds {
    key: Kind,
    workload: Kind,
    subject: Kind,
    group: Kind,
    model: Kind,
    action: Kind,
}

static KINDS: LazyLock<Kinds> = LazyLock::new(|| Kinds {
    key: kind("ApiKey"),
    workload: kind("Workload"),
    subject: kind("Subject"),
    group: kind("Group"),
    model: kind("Model"),
    action: kind("Action"),
});

impl Call<'_> {
    /// It as Cedar is asked; with a `schema`, validated against that.
    fn asked(&self, schema: Option<&Schema>) -> Result<Asked> {
        let (caller, mut entities) = self.caller()?;
        let folders = folders(self.model)?;
        let mut places: Vec<_> = folders.iter().map(Entity::uid).collect();
        let above: HashSet<_> = places.last().cloned().into_iter().collect();
        // A folder may be above both caller and model.
        entities.extend(folders.into_iter().map(|folder| (folder.uid(), folder)));
        let model = uid(&KINDS.model, self.model)?;
        let attributes = HashMap::from([pair("manifest", text(&self.manifest.oci()))]);
        entities.insert(model.clone(), entity(model.clone(), attributes, above)?);
        places.push(model.clone());

        let wrong = |e: &dyn core::error::Error| Refusal::new(Code::Internal, "call to policies").because(shown(e));
        let entities = Entities::from_entities(entities.into_values(), schema).map_err(|e| wrong(&e))?;
        let certificate = cedar_policy::RestrictedExpression::new_bool(self.certificate);
        let context = [pair("now", time(self.now)?), pair("certificate", certificate)];
        let context = Context::from_pairs(context).map_err(|e| wrong(&e))?;
        let action = uid(&KINDS.action, self.action.as_str())?;
        let request = Request::new(caller, action, model, context, schema).map_err(|e| wrong(&e))?;
        Ok(Asked { request, entities, places: Places(places) })
    }

    /// Who calls, and what is above them.
    fn caller(&self) -> Result<(cedar_policy::EntityUid, HashMap<cedar_policy::EntityUid, Entity>)> {
        let (caller, parents, attributes): (_, Vec<_>, _) = match self.kind {
            IdentityKind::ApiKey => (uid(&KINDS.key, self.name)?, Vec::new(), None),
            IdentityKind::Workload => (uid(&KINDS.workload, self.name)?, folders(self.name)?, None),
            IdentityKind::Subject => {
                let issuer = self.name.split_once('#').map_or(self.name, |(issuer, _)| issuer);
                let group = |group: &String| {
                    let group = uid(&KINDS.group, &format!("{issuer}#{group}"))?;
                    Ok(Entity::new_no_attrs(group, HashSet::new()))
                };
                let groups = self.groups.iter().map(group).collect::<Result<_>>()?;
                (uid(&KINDS.subject, self.name)?, groups, Some(pair("issuer", text(issuer))))
            }
        };
        // Of folders, the last is in those before it; groups are in nothing.
        let direct = match self.kind {
            IdentityKind::Subject => parents.iter().map(Entity::uid).collect(),
            IdentityKind::ApiKey | IdentityKind::Workload => parents.last().map(Entity::uid).into_iter().collect(),
        };
        let direct: HashSet<_> = direct;
        let tags = self.claims.iter().map(|(name, claim)| pair(name, text(claim)));
        let own = Entity::new_with_tags(caller.clone(), attributes, direct, tags);
        let own = own.map_err(|e| Refusal::new(Code::Internal, "caller to policies").because(shown(&e)))?;
        let mut entities: HashMap<_, _> = parents.into_iter().map(|parent| (parent.uid(), parent)).collect();
        entities.insert(caller.clone(), own);
        Ok((caller, entities))
    }
}

#[cfg(test)]
mod tests;
