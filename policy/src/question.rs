//! What a decision is asked about, in our words; in Cedar's, it is what the schema says.

use crate::policies::shown;
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};
use core::str::FromStr as _;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};
use strongroom_wire::time::rfc3339;
use strongroom_wire::{Code, Refusal, Result, limits};

/// May this workload do that, now?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Question {
    /// Who asks.
    pub workload: Workload,
    /// For what.
    pub action: Action,
    /// When, in seconds of Unix time.
    pub now: u64,
}

/// A guest whose evidence was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Workload {
    /// RFC 7638 thumbprint of the key that it attested.
    pub id: String,
    /// `snp`, `tdx`, `azure-snp-vtpm`, `azure-tdx-vtpm`.
    pub platform: String,
    /// `amd`, `intel`, `test:<sha256>`.
    pub root: String,
    /// MEASUREMENT or MRTD, in hex.
    pub measurement: String,
    /// SHA-256 of the deployment document, in hex.
    pub deployment: String,
    /// CHIP_ID or platform instance, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Where an inventory says that the machine stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What evidence of SEV-SNP says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snp: Option<Snp>,
    /// What evidence of TDX says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tdx: Option<Tdx>,
}

/// What an accepted SNP report says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Snp {
    /// `Milan`, `Genoa`, `Turin`.
    pub product: String,
    /// POLICY.DEBUG.
    pub debug: bool,
    /// VMPL.
    pub vmpl: u32,
    /// FMC of REPORTED_TCB; 0 before Turin.
    #[serde(default)]
    pub fmc: u8,
    /// BOOT_LOADER of REPORTED_TCB.
    pub bootloader: u8,
    /// TEE of REPORTED_TCB.
    pub tee: u8,
    /// SNP of REPORTED_TCB.
    pub snp: u8,
    /// MICROCODE of REPORTED_TCB.
    pub microcode: u8,
}

/// What an accepted TDX quote and its collateral say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tdx {
    /// FMSPC, in hex.
    pub fmspc: String,
    /// The TD is under debug.
    pub debug: bool,
    /// `UpToDate`, `OutOfDate`, …
    pub status: String,
    /// Intel's advisories about that status.
    #[serde(default)]
    pub advisories: BTreeSet<String>,
}

/// What a workload asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// A key, to open a model with.
    ReleaseKey {
        /// The key.
        key: Key,
        /// The model, whose signatures were verified.
        model: Model,
    },
    /// A certificate for an identity.
    IssueIdentity {
        /// The SPIFFE id.
        id: String,
    },
    /// Connections of clients.
    Route {
        /// The name of the route.
        name: String,
    },
}

/// A key that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Key {
    /// `<repo>/<type>/<tag>`.
    pub id: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What its owner calls it by.
    #[serde(default)]
    pub labels: BTreeSet<String>,
}

/// A model whose signatures were verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Model {
    /// `host[:port]/repo`.
    pub repository: String,
    /// `sha256:<hex>`.
    pub manifest: String,
    /// Who signed it, as the trust file calls them.
    #[serde(default)]
    pub signers: BTreeSet<String>,
    /// The promotion that was verified, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
}

/// A promotion that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Promotion {
    /// To which environment.
    pub environment: String,
    /// Its number there.
    pub sequence: u64,
    /// Until when, in seconds of Unix time.
    pub expires: u64,
}

/// A question as Cedar is asked.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
    pub(crate) places: Places,
}

/// What is asked for, and the folders above it.
pub(crate) struct Places(pub(crate) Vec<EntityUid>);

/// The schema's kinds of entities, read once.
struct Kinds {
    workload: Kind,
    action: Kind,
    folder: Kind,
    key: Kind,
    identity: Kind,
    route: Kind,
}

pub(crate) type Kind = core::result::Result<EntityTypeName, String>;

static KINDS: LazyLock<Kinds> = LazyLock::new(|| Kinds {
    workload: kind("Workload"),
    action: kind("Action"),
    folder: kind("Folder"),
    key: kind("Key"),
    identity: kind("Identity"),
    route: kind("Route"),
});

/// A kind of entities of either schema.
pub(crate) fn kind(name: &str) -> Kind {
    EntityTypeName::from_str(&format!("Strongroom::{name}")).map_err(|e| shown(&e))
}

/// Times in Cedar's words: it parses the name of their type for each, which takes as long as twenty policies.
static TIMES: LazyLock<Mutex<HashMap<u64, RestrictedExpression>>> = LazyLock::new(Mutex::default);
/// How many are kept.
const KEPT: usize = 256;

impl Question {
    /// It as Cedar is asked, and what is asked for.
    ///
    /// With a `schema` it is validated against that; the words are made here, of types that know no others, so that a decision
    /// can do without.
    pub(crate) fn asked(&self, schema: Option<&Schema>) -> Result<Asked> {
        let (kind, id, action) = match &self.action {
            Action::ReleaseKey { key, .. } => (&KINDS.key, &key.id, "ReleaseKey"),
            Action::IssueIdentity { id } => (&KINDS.identity, id, "IssueIdentity"),
            Action::Route { name } => (&KINDS.route, name, "Route"),
        };
        let mut context = vec![pair("now", time(self.now)?)];
        let mut attributes = HashMap::new();
        if let Action::ReleaseKey { key, model } = &self.action {
            context.push(pair("model", model.expression()?));
            attributes.extend(key.owner.iter().map(|owner| pair("owner", text(owner))));
            attributes.extend([pair("labels", texts(&key.labels))]);
        }
        let (principal, resource, action) =
            (uid(&KINDS.workload, &self.workload.id)?, uid(kind, id)?, uid(&KINDS.action, action)?);
        let mut entities = folders(id)?;
        let mut places: Vec<_> = entities.iter().map(Entity::uid).collect();
        let folder = places.last().cloned();
        places.push(resource.clone());
        entities.push(entity(principal.clone(), self.workload.attributes()?, HashSet::new())?);
        entities.push(entity(resource.clone(), attributes, folder.into_iter().collect())?);
        let wrong = |e: &dyn core::error::Error| Refusal::new(Code::Internal, "question to policies").because(shown(e));
        let entities = Entities::from_entities(entities, schema).map_err(|e| wrong(&e))?;
        let context = Context::from_pairs(context).map_err(|e| wrong(&e))?;
        let request = Request::new(principal, action, resource, context, schema).map_err(|e| wrong(&e))?;
        Ok(Asked { request, entities, places: Places(places) })
    }
}

impl Workload {
    fn attributes(&self) -> Result<HashMap<String, RestrictedExpression>> {
        let mut attributes = HashMap::from([
            pair("platform", text(&self.platform)),
            pair("root", text(&self.root)),
            pair("measurement", text(&self.measurement)),
            pair("deployment", text(&self.deployment)),
        ]);
        attributes.extend(self.machine.iter().map(|machine| pair("machine", text(machine))));
        attributes.extend(self.zone.iter().map(|zone| pair("zone", text(zone))));
        if let Some(snp) = &self.snp {
            let component = |name: &str, number: u8| pair(name, RestrictedExpression::new_long(number.into()));
            let tcb = record([
                component("fmc", snp.fmc),
                component("bootloader", snp.bootloader),
                component("tee", snp.tee),
                component("snp", snp.snp),
                component("microcode", snp.microcode),
            ])?;
            let says = record([
                pair("product", text(&snp.product)),
                pair("debug", RestrictedExpression::new_bool(snp.debug)),
                pair("vmpl", RestrictedExpression::new_long(snp.vmpl.into())),
                pair("tcb", tcb),
            ])?;
            attributes.extend([pair("snp", says)]);
        }
        if let Some(tdx) = &self.tdx {
            let says = record([
                pair("fmspc", text(&tdx.fmspc)),
                pair("debug", RestrictedExpression::new_bool(tdx.debug)),
                pair("status", text(&tdx.status)),
                pair("advisories", texts(&tdx.advisories)),
            ])?;
            attributes.extend([pair("tdx", says)]);
        }
        Ok(attributes)
    }
}

impl Model {
    fn expression(&self) -> Result<RestrictedExpression> {
        let mut model = vec![
            pair("repository", text(&self.repository)),
            pair("manifest", text(&self.manifest)),
            pair("signers", texts(&self.signers)),
        ];
        if let Some(promotion) = &self.promotion {
            let sequence = i64::try_from(promotion.sequence);
            let sequence = sequence.map_err(|_| Refusal::new(Code::Internal, "sequence").got(promotion.sequence))?;
            let promoted = record([
                pair("environment", text(&promotion.environment)),
                pair("sequence", RestrictedExpression::new_long(sequence)),
                pair("expires", time(promotion.expires)?),
            ])?;
            model.push(pair("promotion", promoted));
        }
        record(model)
    }
}

/// The folders above `path`, the outermost first: those that end before one of its slashes.
pub(crate) fn folders(path: &str) -> Result<Vec<Entity>> {
    let mut folders: Vec<Entity> = Vec::new();
    for (at, _) in path.match_indices('/') {
        let above = path.get(..at).unwrap_or_default();
        let parent = folders.last().map(Entity::uid).into_iter().collect();
        folders.push(Entity::new_no_attrs(uid(&KINDS.folder, above)?, parent));
    }
    Ok(folders)
}

pub(crate) fn entity(
    uid: EntityUid,
    attributes: HashMap<String, RestrictedExpression>,
    parents: HashSet<EntityUid>,
) -> Result<Entity> {
    let entity = Entity::new(uid, attributes, parents);
    entity.map_err(|e| Refusal::new(Code::Internal, "question to policies").because(shown(&e)))
}

/// `Strongroom::<kind>::"<id>"`.
pub(crate) fn uid(kind: &Kind, id: &str) -> Result<EntityUid> {
    let kind = kind.as_ref().map_err(|e| Refusal::new(Code::Internal, "type of an entity").because(e))?;
    Ok(EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id)))
}

pub(crate) fn pair(name: &str, value: RestrictedExpression) -> (String, RestrictedExpression) {
    (name.to_owned(), value)
}

pub(crate) fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts(texts: &BTreeSet<String>) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.iter().map(|one| text(one)))
}

fn record(pairs: impl IntoIterator<Item = (String, RestrictedExpression)>) -> Result<RestrictedExpression> {
    let record = RestrictedExpression::new_record(pairs);
    record.map_err(|e| Refusal::new(Code::Internal, "question to policies").because(shown(&e)))
}

/// A time as Cedar's `datetime`, which reads years of four digits.
pub(crate) fn time(seconds: u64) -> Result<RestrictedExpression> {
    if seconds >= limits::TIME {
        return Err(Refusal::new(Code::Internal, "time").got(seconds).want("before the year 10000"));
    }
    // Nobody panics while it is locked.
    let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    if times.len() >= KEPT && !times.contains_key(&seconds) {
        times.clear();
    }
    Ok(times.entry(seconds).or_insert_with(|| RestrictedExpression::new_datetime(rfc3339(seconds))).clone())
}
