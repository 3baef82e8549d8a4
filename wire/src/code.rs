//! The closed list of refusal codes: what a peer is told, who is at fault, and what a person may try. It is long because it is whole.
//!
//! A code is stable: scripts, dashboards and peers match on it. Adding one is a minor change, renaming one is not made.

use core::fmt;

/// Who has to act for a refusal to go away. It decides the exit code of a command and the status class of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What a peer or a file says does not hold. Exit 1.
    Refused,
    /// Wrong usage or configuration of ours. Exit 2.
    Configuration,
    /// Network, disk, a missing runtime. Exit 3.
    Environment,
    /// A bug of Strongroom's. Exit 3.
    Bug,
}

impl Fault {
    /// The exit code that the command line promises (`CONTRACTS`).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Configuration => 2,
            Self::Environment | Self::Bug => 3,
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $fault:ident, $advice:literal;)*) => {
        /// Why something was refused: stable, kebab-case on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// Every code, in the order of this file.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as peers and scripts see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Who has to act.
            pub const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }

            /// One line of advice, printed by the command line only. Empty where there is nothing useful to say.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }

            /// The code of a text on the wire.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    // ── Input ──────────────────────────────────────────────────────────────────────────────────────────────────────
    /// Bytes do not have the shape their format demands.
    Malformed = "malformed", Refused, "check that the file or message is what you think it is";
    /// Longer than the named limit for that input.
    TooLarge = "too-large", Refused, "the limits are listed in wire/src/limits.rs";
    /// A format version that this release does not speak.
    VersionUnsupported = "version-unsupported", Refused, "upgrade the older of the two sides";
    /// A platform that this release does not judge.
    PlatformUnsupported = "platform-unsupported", Refused, "AMD SEV-SNP reports and Intel TDX quotes are judged by this release";
    /// A JSON or TOML document has a member that is not known.
    UnknownField = "unknown-field", Configuration, "remove the field, or upgrade to a release that knows it";

    // ── Evidence: authentication ───────────────────────────────────────────────────────────────────────────────────
    /// No VCEK or VLEK was given for a report.
    EndorsementMissing = "endorsement-missing", Refused, "pass the VCEK or the host's certificate table with --endorsement";
    /// An intermediate certificate of the chain was not given and is not built in.
    IntermediateMissing = "intermediate-missing", Refused, "pass the ASK or ASVK with --endorsement";
    /// The chain ends at a root that is not trusted here.
    RootUntrusted = "root-untrusted", Refused, "the evidence belongs to another realm; name its root with --root only if you mean to trust it";
    /// A certificate's signature does not verify under its issuer.
    CertificateSignatureInvalid = "certificate-signature-invalid", Refused, "";
    /// A certificate is not an acceptable one for its place in the chain.
    CertificateUnsuitable = "certificate-unsuitable", Refused, "";
    /// `now` is before a certificate's notBefore.
    CertificateNotYetValid = "certificate-not-yet-valid", Refused, "check the clock, or pass --at";
    /// `now` is after a certificate's notAfter.
    CertificateExpired = "certificate-expired", Refused, "fetch a fresh endorsement, or pass --at to judge a past moment";
    /// A certificate is on its issuer's revocation list.
    CertificateRevoked = "certificate-revoked", Refused, "the vendor withdrew this key; the platform needs new endorsements";
    /// Policy demands a revocation list and none was given.
    CrlMissing = "crl-missing", Refused, "fetch the CRL, or let the policy say why it is not needed";
    /// A revocation list's signature does not verify.
    CrlSignatureInvalid = "crl-signature-invalid", Refused, "";
    /// A revocation list is not yet valid or past its nextUpdate.
    CrlExpired = "crl-expired", Refused, "fetch the current revocation list";
    /// A revocation list has a lower number, or is older, than the policy allows.
    CrlTooOld = "crl-too-old", Refused, "fetch the newest revocation list: the one at hand may hide what was revoked since";
    /// The evidence's own signature does not verify.
    EvidenceSignatureInvalid = "evidence-signature-invalid", Refused, "the report was changed after it was signed, or another chip signed it";
    /// The report names a signing key that cannot be judged.
    SigningKeyUnsupported = "signing-key-unsupported", Refused, "";
    /// The report's chip id is not the endorsement certificate's.
    ChipIdMismatch = "chip-id-mismatch", Refused, "the endorsement belongs to another chip";
    /// The report's REPORTED_TCB is not the endorsement certificate's.
    TcbMismatch = "tcb-mismatch", Refused, "fetch the endorsement for the TCB that the report names";
    /// The report's product is not the endorsement certificate's.
    ProductMismatch = "product-mismatch", Refused, "";
    /// A field that must be zero is not.
    ReservedNotZero = "reserved-not-zero", Refused, "";

    // ── Evidence: Intel TDX ────────────────────────────────────────────────────────────────────────────────────────
    /// No collateral (TCB info, QE identity, revocation lists) was given for a quote.
    CollateralMissing = "collateral-missing", Refused, "pass Intel's collateral for the platform's FMSPC as QuoteCollateralV3 JSON";
    /// TCB info or QE identity is not signed by Intel's TCB signing key.
    CollateralSignatureInvalid = "collateral-signature-invalid", Refused, "";
    /// `now` is before the issue date of TCB info or QE identity.
    CollateralNotYetValid = "collateral-not-yet-valid", Refused, "check the clock, or pass --at";
    /// `now` is after the next update of TCB info or QE identity.
    CollateralExpired = "collateral-expired", Refused, "fetch fresh collateral, or pass --at to judge a past moment";
    /// The collateral is of another kind of platform, or issued for another certification authority.
    CollateralMismatch = "collateral-mismatch", Refused, "fetch the collateral of the FMSPC that the platform's certificate names";
    /// The collateral's evaluation number is below the policy's floor.
    CollateralTooOld = "collateral-too-old", Refused, "fetch collateral of a newer TCB evaluation";
    /// The collateral or revocation list is older than one that was already seen.
    CollateralRolledBack = "collateral-rolled-back", Refused, "somebody hands out old collateral: fetch the newest from the vendor";
    /// The quoting enclave's report is not signed by the platform's certified key.
    QeReportSignatureInvalid = "qe-report-signature-invalid", Refused, "";
    /// The quoting enclave's report does not vouch for the key that signed the quote.
    AttestationKeyMismatch = "attestation-key-mismatch", Refused, "";
    /// The quoting enclave is not Intel's.
    QeIdentityMismatch = "qe-identity-mismatch", Refused, "";
    /// The TDX module is not one that the TCB info names.
    TdxModuleMismatch = "tdx-module-mismatch", Refused, "";
    /// The platform is older than every TCB level that Intel lists.
    TcbNotSupported = "tcb-not-supported", Refused, "update the platform's firmware";
    /// Intel withdrew the platform's TCB level.
    TcbRevoked = "tcb-revoked", Refused, "the platform's keys count as compromised; update its firmware";
    /// The TCB status is none that the policy accepts.
    TcbStatusNotAccepted = "tcb-status-not-accepted", Refused, "update the platform, or accept the status in the policy knowingly";
    /// A replayed event log does not give the quote's runtime measurement registers.
    EventLogMismatch = "event-log-mismatch", Refused, "the log is of another boot, or was changed; read both in the same guest";
    /// The policy names single events and no event log was given.
    EventLogMissing = "event-log-missing", Refused, "pass the guest's CCEL with --event-log";
    /// Reference values whose shape or contents do not hold.
    ReferenceValuesInvalid = "reference-values-invalid", Refused, "look at them with `strongroom reference-values show`";
    /// `now` is before the reference values were issued.
    ReferenceValuesNotYetValid = "reference-values-not-yet-valid", Refused, "check the clock, or pass --at";
    /// `now` is after the reference values' expiry.
    ReferenceValuesExpired = "reference-values-expired", Refused, "get the publisher's current reference values";
    /// The reference values are older than ones already seen, or others of the same version.
    ReferenceValuesRolledBack = "reference-values-rolled-back", Refused, "somebody hands out old reference values: get the publisher's newest";
    /// The policy takes a value from reference values that were not given, or that do not have it.
    ReferenceValuesMissing = "reference-values-missing", Configuration, "pass the signed reference values that the policy names with --reference-values, or give them to the verifier with `strongroom policy give`";
    /// An inventory is not the one that the policy names.
    InventoryInvalid = "inventory-invalid", Refused, "";
    /// `now` is before the inventory was issued.
    InventoryNotYetValid = "inventory-not-yet-valid", Refused, "check the clock, or pass --at";
    /// `now` is after the inventory's expiry.
    InventoryExpired = "inventory-expired", Refused, "get the current inventory from whoever keeps it";
    /// The policy takes machines from an inventory that was not given.
    InventoryMissing = "inventory-missing", Configuration, "pass the signed inventory that the policy names with --inventory, or give it to the verifier with `strongroom policy give`";
    /// An inventory of machines is older than one already seen.
    InventoryRolledBack = "inventory-rolled-back", Refused, "somebody hands out an old inventory: get the newest from whoever keeps it";
    /// The PCRs given are not those that the TPM quoted.
    PcrMismatch = "pcr-mismatch", Refused, "read PCRs and quote in one go: a PCR was extended in between, or changed on its way";

    // ── Evidence: fetching endorsements ────────────────────────────────────────────────────────────────────────────
    /// A vendor's service gave no endorsement: it is out of order, or wants fewer requests.
    EndorsementUnavailable = "endorsement-unavailable", Environment, "try again later, or name a mirror or PCCS with --kds or --pcs";
    /// A vendor's service knows no endorsement of this platform.
    EndorsementUnknown = "endorsement-unknown", Environment, "the vendor does not know this platform at this TCB; ask its host for the endorsements";
    /// An endorsement is not in the cache, and no service may be asked.
    EndorsementNotCached = "endorsement-not-cached", Environment, "fetch it once without --offline";
    /// A service answered with the endorsement of another platform.
    EndorsementMismatch = "endorsement-mismatch", Refused, "do not use this service: it answers with another platform's endorsements";

    // ── Evidence: appraisal ────────────────────────────────────────────────────────────────────────────────────────
    /// The guest may be debugged by its host.
    DebugEnabled = "debug-enabled", Refused, "boot the guest without the debug bit; a debugged guest has no secrets";
    /// A migration agent may move the guest.
    MigrationAgentEnabled = "migration-agent-enabled", Refused, "";
    /// The report was requested at another privilege level.
    VmplMismatch = "vmpl-mismatch", Refused, "";
    /// The platform's firmware is older than the policy's floor.
    TcbTooOld = "tcb-too-old", Refused, "update the platform's firmware, or lower the floor knowingly";
    /// The launch measurement is none of the approved ones.
    MeasurementNotApproved = "measurement-not-approved", Refused, "approve the measurement in the policy if this is your image";
    /// HOST_DATA is none of the approved deployment documents.
    DeploymentNotApproved = "deployment-not-approved", Refused, "approve the document's digest in the policy if this is your deployment";
    /// Nothing that the hardware vouches for measured the guest's software.
    SoftwareNotMeasured = "software-not-measured", Refused, "boot the guest with firmware that measures into its virtual TPM";
    /// The deployment document is not the one that the hardware names.
    DeploymentMismatch = "deployment-mismatch", Refused, "launch the guest with HOST_DATA, or MRCONFIGID, = SHA-256 of the very document it is given";
    /// There is no deployment document, or the hardware names none.
    DeploymentMissing = "deployment-missing", Refused, "launch the guest with HOST_DATA, or MRCONFIGID, set";
    /// The platform is none of those the policy names.
    PlatformNotApproved = "platform-not-approved", Refused, "";
    /// Another guest-policy or platform bit is not as the policy demands.
    PlatformStateMismatch = "platform-state-mismatch", Refused, "";
    /// Report data does not commit to nonce, key and workload.
    ReportDataMismatch = "report-data-mismatch", Refused, "the evidence was made for another nonce, key or workload: someone is in between, or it is old";
    /// The nonce is not the one that was drawn.
    NonceMismatch = "nonce-mismatch", Refused, "the evidence is old or was made for somebody else";
    /// The nonce was already used.
    NonceUsed = "nonce-used", Refused, "start a new session";
    /// The session is over.
    SessionExpired = "session-expired", Refused, "start a new session";
    /// There is no such session, or no session or token was presented.
    SessionUnknown = "session-unknown", Refused, "start a new session with POST /kbs/v0/auth";
    /// A token does not verify.
    TokenInvalid = "token-invalid", Refused, "";

    // ── Launch measurement ─────────────────────────────────────────────────────────────────────────────────────────
    /// A firmware does not say what a confidential launch of the platform measures.
    FirmwareNotMeasurable = "firmware-not-measurable", Refused, "take a firmware built for the platform: for SEV-SNP one with SEV metadata (OVMF.amdsev), for TDX one with TDVF metadata (OVMF.inteltdx)";
    /// A firmware keeps no hashes of the kernel that is handed to it, so that no measurement would cover the kernel.
    KernelNotMeasurable = "kernel-not-measurable", Refused, "take a firmware that checks the kernel's hashes (OVMF.amdsev), or measure a boot without --kernel";

    // ── The attested channel ───────────────────────────────────────────────────────────────────────────────────────
    /// The TLS peer could not prove possession of the key it shows.
    HandshakeSignatureInvalid = "handshake-signature-invalid", Refused, "somebody shows a certificate whose key it does not have";
    /// The TLS connection ends at another key than the attested one.
    ChannelKeyMismatch = "channel-key-mismatch", Refused, "somebody relays evidence of a genuine enclave: do not send it anything";
    /// The TLS peer's key is not the pinned one.
    PinMismatch = "pin-mismatch", Refused, "the service has another key than the one that was approved";
    /// The TLS handshake failed for another reason.
    TlsFailed = "tls-failed", Refused, "";
    /// A connection without TLS where only TLS is allowed.
    PlaintextRefused = "plaintext-refused", Configuration, "use https, or allow plain http explicitly";
    /// Policy does not fix measurement, deployment and model.
    NoReferenceValues = "no-reference-values", Configuration, "write a policy that fixes measurement, deployment document and the model's digest or signer";
    /// The enclave serves another workload than the one pinned.
    WorkloadMismatch = "workload-mismatch", Refused, "";
    /// The enclave serves another workload by now than the one that was verified or pinned.
    WorkloadChanged = "workload-changed", Refused, "the enclave replaced a model, as its deployment document lets it; approve what it serves now, or ask another";
    /// The enclave serves a model that the policy does not name.
    ModelNotApproved = "model-not-approved", Refused, "";

    // ── Models ─────────────────────────────────────────────────────────────────────────────────────────────────────
    /// No acceptable signature exists on the manifest.
    ModelUnsigned = "model-unsigned", Refused, "sign and push it with `strongroom model push`";
    /// Signatures exist, and none by a signer whom the trust file names for this repository.
    SignerUntrusted = "signer-untrusted", Refused, "add the signer's key to the trust file if you trust it for this repository";
    /// A signature by a trusted key does not verify, or states something else.
    SignatureInvalid = "signature-invalid", Refused, "";
    /// Signatures exist, and none in a form that the trust file allows for this repository.
    SignatureFormRefused = "signature-form-refused", Refused, "sign in an allowed form, or allow this one in the trust file";
    /// A certificate is of another identity than the trust file names.
    SignerIdentityMismatch = "signer-identity-mismatch", Refused, "add the identity to the trust file if you trust it for this repository";
    /// The identity of a certificate is vouched for by another issuer than the trust file names.
    SignerIssuerMismatch = "signer-issuer-mismatch", Refused, "";
    /// A signer's certificate does not lead to a trusted authority, or is not one for signing.
    SignerCertificateInvalid = "signer-certificate-invalid", Refused, "";
    /// A signer's certificate was not valid when the signature was made.
    SignerCertificateExpired = "signer-certificate-expired", Refused, "";
    /// No trusted log vouches that it holds a signer's certificate.
    SctInvalid = "sct-invalid", Refused, "";
    /// An entry of a transparency log is missing, is not about the signature, or its promise does not verify.
    LogEntryInvalid = "log-entry-invalid", Refused, "";
    /// The proof that a transparency log holds an entry does not hold, or its checkpoint is not signed.
    LogProofInvalid = "log-proof-invalid", Refused, "";
    /// A transparency log is not one that is trusted.
    LogUntrusted = "log-untrusted", Refused, "pass the key of the log, or the trusted root of the instance that the signer used";
    /// A transparency log does not begin with what it was: something was changed, taken out, or shown differently to others.
    LogInconsistent = "log-inconsistent", Refused, "keep both checkpoints: they prove that the log was rewritten";
    /// Fewer witnesses than are asked for signed a checkpoint.
    WitnessMissing = "witness-missing", Refused, "";
    /// Nothing that can be trusted says when a signature was made.
    SigningTimeMissing = "signing-time-missing", Refused, "";
    /// A timestamp does not verify under an authority of the trusted root.
    TimestampInvalid = "timestamp-invalid", Refused, "";
    /// A timestamp says another time than its authority's validity.
    TimestampOutsideValidity = "timestamp-outside-validity", Refused, "";
    /// A signing token (PKCS #11) cannot be used, or has no such key.
    TokenFailed = "token-failed", Environment, "";
    /// A service that a signature by identity needs failed.
    SigningServiceFailed = "signing-service-failed", Environment, "";
    /// A trusted root cannot be read or used.
    TrustedRootInvalid = "trusted-root-invalid", Configuration, "give Sigstore's `trusted_root.json`";
    /// No rule of the trust file covers this repository.
    RepositoryUntrusted = "repository-untrusted", Refused, "add a rule for the repository to the trust file";
    /// Not enough promoters said that the model is for the environment.
    PromotionMissing = "promotion-missing", Refused, "promote it with `strongroom model promote`, each promoter with the same --sequence";
    /// A promotion statement has not the shape that it must have.
    PromotionInvalid = "promotion-invalid", Refused, "";
    /// A promotion is of the future.
    PromotionNotYetValid = "promotion-not-yet-valid", Refused, "check the clock";
    /// A promotion is past its expiry.
    PromotionExpired = "promotion-expired", Refused, "promote the model again: no promotion lasts longer than 30 days";
    /// Another promotion has a higher sequence, or the trust file demands one.
    PromotionSuperseded = "promotion-superseded", Refused, "an older promotion was replayed, or another model is in the environment now";
    /// A promoter took the model out of the environment.
    PromotionDemoted = "promotion-demoted", Refused, "promote it again, with a higher sequence, if it belongs there after all";
    /// The model was promoted under another release policy than the one that is asked.
    PromotionPolicyMismatch = "promotion-policy-mismatch", Refused, "promote it under the policy that is in force";
    /// The manifest's bytes are not those of the digest.
    ManifestDigestMismatch = "manifest-digest-mismatch", Refused, "";
    /// A layer's bytes are not those of the digest.
    LayerDigestMismatch = "layer-digest-mismatch", Refused, "the registry or the network changed the layer";
    /// A layer's length is not the descriptor's.
    LayerSizeMismatch = "layer-size-mismatch", Refused, "";
    /// The data key is not the one that the signed manifest commits to.
    KeyCommitmentMismatch = "key-commitment-mismatch", Refused, "this is not the key that the artifact was sealed with";
    /// A sealed stream does not authenticate.
    SealInvalid = "seal-invalid", Refused, "wrong key, or the ciphertext was changed, cut or moved";
    /// A sealed model was given, and no key for it.
    KeyMissing = "key-missing", Configuration, "pass --key-file";
    /// A key has not the length or form it must have.
    KeyInvalid = "key-invalid", Configuration, "";
    /// The files are not those that the model's signed statement lists.
    StatementMismatch = "statement-mismatch", Refused, "the directory is not what was signed";
    /// The model has no signed statement over its files.
    StatementMissing = "statement-missing", Refused, "";
    /// A path in an artifact leaves its directory or is not portable.
    PathUnsafe = "path-unsafe", Refused, "";
    /// An artifact is not a model, or not one that can be served.
    ModelUnsupported = "model-unsupported", Refused, "";
    /// The directory has nothing to sign.
    ModelEmpty = "model-empty", Configuration, "";
    /// The directory holds something other than plain files.
    ModelNotPlain = "model-not-plain", Configuration, "replace links and special files by plain files";

    // ── Registry ───────────────────────────────────────────────────────────────────────────────────────────────────
    /// The reference is not `host[:port]/repo[:tag|@sha256:…]`.
    ReferenceInvalid = "reference-invalid", Configuration, "write host[:port]/repo:tag or host[:port]/repo@sha256:…";
    /// The registry has no such thing.
    RegistryNotFound = "registry-not-found", Environment, "";
    /// The registry wants other credentials.
    RegistryUnauthorized = "registry-unauthorized", Environment, "log in with a tool that writes docker's config.json";
    /// The registry answered with an error or against its specification.
    RegistryFailed = "registry-failed", Environment, "";
    /// A registry that the configuration does not name.
    RegistryNotAllowed = "registry-not-allowed", Refused, "add the registry to the verifier's configuration";

    // ── Keys and release ───────────────────────────────────────────────────────────────────────────────────────────
    /// No policy exists that could allow a release.
    NoPolicy = "no-policy", Refused, "write one with `strongroom policy set`: without a policy nothing is released";
    /// The policy is not a valid one.
    PolicyInvalid = "policy-invalid", Configuration, "";
    /// No policy permits what was asked, or one forbids it.
    PolicyDenied = "policy-denied", Refused, "see what each policy says of it with `strongroom policy explain`";
    /// A policy could not be evaluated, so that what the others say does not count.
    PolicyFailed = "policy-failed", Refused, "make the policy hold for every value: `strongroom policy explain` names it";
    /// No policies say what any workload may have, so that none may have anything.
    AuthorizationEmpty = "authorization-empty", Refused, "put policies into force with `strongroom policy authorization put`; docs/examples/authorization.cedar is a beginning";
    /// Policies that were tried answer a question of the past otherwise than it was answered.
    AuthorizationChanges = "authorization-changes", Refused, "see which with `strongroom policy authorization try`, and put without --unless-changes where that is meant";
    /// A test of policies did not come out as it expects.
    PolicyTestFailed = "policy-test-failed", Refused, "see why with `strongroom policy explain`";
    /// There is no such key.
    KeyUnknown = "key-unknown", Refused, "list the keys with `strongroom key list`";
    /// The key is disabled.
    KeyDisabled = "key-disabled", Refused, "enable it with `strongroom key enable` if it may be released again";
    /// The key is destroyed: its value is erased for good.
    KeyDestroyed = "key-destroyed", Refused, "seal the model with a new key: strongroom model reseal";
    /// A key was released as often as its release policy allows within a time.
    RateExceeded = "rate-exceeded", Refused, "wait, or raise `rate` in the key's release policy if so many guests are meant";
    /// A key was released as often as its release policy ever allows.
    ReleasesExhausted = "releases-exhausted", Refused, "raise `max-releases` in the key's release policy if more guests are meant";
    /// What keeps the key's value wrapped (HSM, transit service) gives no answer.
    CustodyUnavailable = "custody-unavailable", Environment, "look at the HSM or transit service that the verifier's log names; it is asked again by itself";
    /// A key of that id exists with another value.
    KeyExists = "key-exists", Configuration, "a data key is immutable at its id: choose a new id";
    /// Two models of the deployment document are sealed with one key.
    KeyShared = "key-shared", Refused, "give each artifact a key of its own: strongroom model reseal";
    /// No model of the deployment document is sealed with that key.
    KeyNotInDeployment = "key-not-in-deployment", Refused, "the deployment must name a signed model whose manifest names this key";
    /// A resource that was wrapped to a guest's key does not open with it.
    WrappedKeyInvalid = "wrapped-key-invalid", Refused, "the answer was changed on its way, or was made for another key";
    /// What was asked for is revoked, for good: the key, the model, or whoever asks, by its key, software or chip.
    Revoked = "revoked", Refused, "see by which word and why with `strongroom revocations list`; nothing takes a revocation back";
    /// What was asked for is quarantined: the key, the model, or whoever asks, by its key, software or chip.
    Quarantined = "quarantined", Refused, "see by which word and why with `strongroom revocations list`; a named person ends it with `strongroom revocations release`";
    /// A key came without proof that its release is in the verifier's log.
    ReleaseNotLogged = "release-not-logged", Refused, "the verifier is not the one of the deployment document's log, or hides what it releases";
    /// Nothing that the caller of the admin API shows proves who they are.
    AdminUnauthorized = "admin-unauthorized", Refused, "pass --admin-cert with --admin-key, or --admin-token-file, as the verifier's configuration knows you";
    /// A person without the role that the call takes.
    RoleInsufficient = "role-insufficient", Refused, "roles are given by the `[[admin]]` entries of the verifier's configuration";
    /// A change that waits until another person approves it.
    ApprovalPending = "approval-pending", Refused, "nothing is changed yet: another person looks with `strongroom change show ID` and approves with `strongroom change approve ID`";
    /// Who asked for a change approves it.
    ApprovalOwn = "approval-own", Refused, "a change takes two people: somebody else has to approve it";
    /// No such change waits: it was decided on, its day is over, or it is another one.
    ChangeUnknown = "change-unknown", Refused, "list what waits with `strongroom change list`";
    /// A verifier refused without saying which of these codes was why.
    VerifierRefused = "verifier-refused", Refused, "read the verifier's log";
    /// A store belongs to another realm.
    RealmMismatch = "realm-mismatch", Configuration, "test and vendor roots never share a store, a process or a configuration";

    /// What is to be the name of a workload is none.
    IdentityInvalid = "identity-invalid", Refused, "a SPIFFE id of the verifier's trust domain, spiffe://<trust domain>/<path>, is the one name";
    /// No authority of the trust domain vouches for a workload's certificate.
    SvidUntrusted = "svid-untrusted", Refused, "fetch the verifier's bundle again; a certificate lives for an hour at most";

    // ── Serving ────────────────────────────────────────────────────────────────────────────────────────────────────
    /// Nothing that the caller shows names one whom the deployment document knows, or it names two.
    Unauthenticated = "unauthenticated", Refused, "send `Authorization: Bearer …` with a key or a token, or show a client certificate, of those that the deployment document knows";
    /// A caller used as much as the deployment document allows it.
    LimitExceeded = "limit-exceeded", Refused, "try again after the time in Retry-After, or raise the identity's limits in the deployment document";
    /// A queue is full.
    Busy = "busy", Refused, "try again after the time in Retry-After";
    /// The request is not one that the API takes.
    RequestInvalid = "request-invalid", Refused, "";
    /// There is no such model.
    ModelUnknown = "model-unknown", Refused, "";
    /// The deployment document does not let the model change while it is served.
    ModelFixed = "model-fixed", Refused, "say `replaceable = true` of the model in the deployment document";
    /// The model needs more memory than there is room for.
    MemoryShort = "memory-short", Environment, "unload a model first, give the guest more memory, or raise `model-memory`";
    /// There is no such route.
    RouteUnknown = "route-unknown", Refused, "";
    /// No guest that holds a lease can be reached.
    NoBackend = "no-backend", Environment, "look at the leases of that route: `strongroom-router`'s /metrics counts them";
    /// What a router knows of leases is too old to go by.
    FeedStale = "feed-stale", Environment, "is the verifier reachable from the router, and do their clocks agree?";
    /// A feed of leases that is not newer than the last one.
    FeedRolledBack = "feed-rolled-back", Refused, "somebody between verifier and router repeats what was said before";
    /// An enclave had no lease for longer than its deployment document allows.
    Unleased = "unleased", Environment, "is the verifier reachable from the enclave? Its log says why leases were refused";
    /// The clock is behind a time that the verifier signed, or that of the guest's image.
    ClockBehind = "clock-behind", Environment, "set the host's clock: it is later than that";
    /// The enclave is not ready yet.
    NotReady = "not-ready", Environment, "";
    /// The runtime library is not the one that the deployment document names.
    RuntimeMismatch = "runtime-mismatch", Refused, "";

    // ── Ourselves and our environment ──────────────────────────────────────────────────────────────────────────────
    /// Command-line arguments do not make sense together.
    Usage = "usage", Configuration, "see --help";
    /// A configuration file is wrong.
    ConfigurationInvalid = "configuration-invalid", Configuration, "";
    /// A file of our own that remembers something is damaged.
    StateInvalid = "state-invalid", Configuration, "restore the file; without it older documents are accepted again";
    /// A file is readable by others than its owner.
    FileModeUnsafe = "file-mode-unsafe", Configuration, "chmod 600 the file";
    /// Memory with secrets in it may be swapped to a disk.
    MemoryUnlocked = "memory-unlocked", Environment, "let the service lock its memory: LimitMEMLOCK=infinity in its systemd unit, or CAP_IPC_LOCK";
    /// A file or directory could not be read or written.
    Io = "io", Environment, "";
    /// A connection could not be made or broke.
    Network = "network", Environment, "";
    /// A peer took longer than the limit.
    Timeout = "timeout", Environment, "";
    /// The proxy did not open a connection.
    ProxyRefused = "proxy-refused", Environment, "look at the proxy's address and credentials (HTTPS_PROXY), or except the server from it (NO_PROXY)";
    /// The hardware's attestation interface failed.
    AttesterFailed = "attester-failed", Environment, "is this an SEV-SNP or TDX guest with configfs mounted?";
    /// A guest's processor gives no random numbers that its host does not choose.
    EntropyMissing = "entropy-missing", Environment, "launch the guest with a processor that has RDSEED or RDRAND";
    /// The database failed.
    StoreFailed = "store-failed", Environment, "";
    /// What a store holds is not what was written to it.
    StoreTampered = "store-tampered", Refused, "somebody changed the verifier's database; restore a backup that you trust";
    /// The inference runtime failed.
    RuntimeFailed = "runtime-failed", Environment, "";
    /// Something that cannot happen happened.
    Internal = "internal", Bug, "please report this";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a refusal code")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_kebab_case_unique_and_parses_back() {
        let mut seen = BTreeSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{text}");
            assert!(seen.insert(text), "{text} twice");
            assert_eq!(Code::parse(text), Some(*code));
        }
        assert_eq!(Code::parse("no-such-code"), None);
    }

    #[test]
    fn exit_code_follows_from_who_has_to_act() {
        let exit = |code: Code| code.fault().exit_code();
        assert_eq!((exit(Code::Malformed), exit(Code::Usage)), (1, 2));
        assert_eq!((exit(Code::Network), exit(Code::Internal)), (3, 3));
    }

    #[test]
    fn code_is_shown_as_it_stands_on_the_wire_and_an_unknown_one_is_not_read() {
        assert_eq!(Code::TooLarge.to_string(), "too-large");
        assert_eq!(serde_json::to_string(&Code::TooLarge).unwrap(), r#""too-large""#);
        assert_eq!(serde_json::from_str::<Code>(r#""too-large""#).unwrap(), Code::TooLarge);
        assert!(serde_json::from_str::<Code>(r#""too-long""#).is_err());
    }

    #[test]
    fn advice_is_one_line_and_given_where_a_person_can_act() {
        assert!(Code::ALL.iter().all(|code| !code.advice().contains(char::is_control)));
        assert_eq!(Code::KeyMissing.advice(), "pass --key-file");
        assert_eq!(Code::Io.advice(), "");
    }
}
