//! How much of each outside input is read, and why so much.

/// One SNP report is 1184 bytes; a configfs-tsm outblob is that report.
pub const EVIDENCE: usize = 16 * 1024;
/// A GHCB certificate table: VCEK, ASK, ARK of at most 2 KiB each, a CRL, and room for other vendors' entries.
pub const CERTIFICATE_TABLE: usize = 128 * 1024;
/// Entries in a certificate table; the specification names six.
pub const CERTIFICATE_TABLE_ENTRIES: usize = 32;
/// One endorsement (certificate or CRL) in DER or PEM. AMD's CRLs are about 1 KiB.
pub const ENDORSEMENT: usize = 256 * 1024;
/// Endorsements that one verification reads.
pub const ENDORSEMENTS: usize = 64;
/// The deployment document. Trust files with many PEM keys stay below this; a KBS request holds it once.
pub const DEPLOYMENT: usize = 512 * 1024;
/// Models of one deployment.
pub const MODELS: usize = 256;
/// A model's name: it is hashed with a 16-bit length and shown in URLs.
pub const MODEL_NAME: usize = 256;
/// A policy document.
pub const POLICY: usize = 256 * 1024;
/// An OCI manifest (what registries accept, and docker-registry's own limit).
pub const MANIFEST: usize = 4 * 1024 * 1024;
/// Layers of one manifest; each is one file or part of a file.
pub const LAYERS: usize = 10_000;
/// A Sigstore bundle, with an OMS statement over [`LAYERS`] files inside.
pub const BUNDLE: usize = 16 * 1024 * 1024;
/// Signatures (referrers, layers of a `.sig` image) that are looked at for one manifest; a registry could list any number.
pub const SIGNATURES: usize = 64;
/// A KBS request: evidence as JSON numbers (6 KiB), certificates as JSON numbers (about 4 characters a byte), and the deployment document.
pub const KBS_BODY: usize = 2 * 1024 * 1024;
/// An answer of a KBS: a token or a wrapped key.
pub const KBS_ANSWER: usize = 256 * 1024;
/// A secret kept by the verifier.
pub const RESOURCE: usize = 64 * 1024;
/// A JWT.
pub const TOKEN: usize = 128 * 1024;
/// An evidence answer: evidence, certificate table, deployment document and paths, in base64.
pub const EVIDENCE_ANSWER: usize = 2 * 1024 * 1024;
/// Depth of a Merkle path: 65,536 nonces in one report are more than a queue ever holds.
pub const MERKLE_DEPTH: usize = 16;
/// A request body of the inference API (before the model's own token limits).
pub const API_BODY: usize = 8 * 1024 * 1024;
/// Inputs of one embeddings request (OpenAI's own limit).
pub const API_INPUTS: usize = 2048;
/// A configuration file.
pub const CONFIGURATION: usize = 256 * 1024;
/// A key file (PEM or cosign's encrypted JSON).
pub const KEY_FILE: usize = 64 * 1024;
