//! How much of each outside input is read, and why so much. It is long because every limit stands in it.

/// One SNP report is 1184 bytes; a configfs-tsm outblob is that report. A TDX quote is about 5 KiB, and up to 8 KiB where
/// the host's buffer comes along.
pub const EVIDENCE: usize = 16 * 1024;
/// A GHCB certificate table: VCEK, ASK, ARK of at most 2 KiB each, a CRL, and room for other vendors' entries.
pub const CERTIFICATE_TABLE: usize = 128 * 1024;
/// The PCK certificate chain inside a TDX quote: three PEM certificates of about 1.2 KiB, with room for longer keys.
pub const PCK_CHAIN: usize = 12 * 1024;
/// The quoting enclave's own authentication data inside a TDX quote; Intel's writes 32 bytes.
pub const QE_AUTH_DATA: usize = 1024;
/// TCB levels of one TCB info, one module or one enclave identity; Intel lists fewer than twenty.
pub const TCB_LEVELS: usize = 256;
/// A CCEL event log: firmware reserves 64 to 256 KiB for one.
pub const EVENT_LOG: usize = 1024 * 1024;
/// Events of one log; a boot makes 20 to 200, and a guest may extend RTMR3 for each thing that it loads.
pub const EVENTS: usize = 8192;
/// Digest algorithms of one event log; the TPM specification knows six that firmware uses.
pub const EVENT_LOG_ALGORITHMS: usize = 8;
/// A TPM quote (`TPMS_ATTEST`): about 160 bytes with a nonce.
pub const TPM_QUOTE: usize = 1024;
/// The report of Azure's paravisor: the NV index that holds it has 2600 bytes.
pub const HCL_REPORT: usize = 8 * 1024;
/// Evidence of an Azure guest as JSON: report, TPM quote and VCEK are 10 KiB, a TDX quote comes instead of the VCEK.
pub const AZURE_EVIDENCE: usize = 64 * 1024;
/// Entries in a certificate table; the specification names six.
pub const CERTIFICATE_TABLE_ENTRIES: usize = 32;
/// One endorsement (certificate or CRL) in DER or PEM. AMD's CRLs are about 1 KiB.
pub const ENDORSEMENT: usize = 256 * 1024;
/// Endorsements that one verification reads.
pub const ENDORSEMENTS: usize = 64;
/// The set of endorsements that a verifier hands a guest: three certificates and a list or two of about 2 KiB each in base64,
/// and room for longer lists.
pub const ENDORSEMENT_SET: usize = 256 * 1024;
/// The deployment document. Trust files with many PEM keys stay below this; a KBS request holds it once.
pub const DEPLOYMENT: usize = 512 * 1024;
/// Models of one deployment.
pub const MODELS: usize = 256;
/// A model's name: it is hashed with a 16-bit length and shown in URLs.
pub const MODEL_NAME: usize = 256;
/// A signed document that a policy is judged with (reference values, an inventory), in its envelope: 4,096 entries of a few
/// hundred bytes each.
pub const SIGNED_DOCUMENT: usize = 4 * 1024 * 1024;
/// A signed document that a verifier keeps and reads for every policy that names it: 3,500 machines or 2,000 guests. It is held
/// in memory before it is known who sends it.
pub const STORED_DOCUMENT: usize = 1024 * 1024;
/// Keys that may sign one signed document of a policy: each is tried on each of [`SIGNATURES`] signatures.
pub const DOCUMENT_SIGNERS: usize = 32;
/// Guests of one platform in a bundle of reference values: 64 releases of 64 images.
pub const GUESTS: usize = 4_096;
/// Bytes of the name of a bundle of reference values: it is the subject of a remembered version and shown in messages.
pub const REFERENCE_VALUES_NAME: usize = 256;
/// Seconds for which reference values may be valid, a leap year: whoever withdraws one waits no longer than that.
pub const REFERENCE_VALUES_VALIDITY: u64 = 366 * 24 * 60 * 60;
/// Machines of one inventory; one is 200 bytes, so that they fit into [`SIGNED_DOCUMENT`] in base64.
pub const MACHINES: usize = 8_192;
/// Bytes of the name of an inventory: it is the subject of a remembered version and shown in messages.
pub const INVENTORY_NAME: usize = 256;
/// Seconds for which an inventory may be valid, a leap year: whoever takes a machine out waits no longer than that.
pub const INVENTORY_VALIDITY: u64 = 366 * 24 * 60 * 60;
/// A CoRIM: as many guests as a bundle has.
pub const CORIM: usize = 4 * 1024 * 1024;
/// Depth of data items in a CoRIM or CoMID, each of which is parsed by itself; what is read of them is less than twelve deep.
pub const CORIM_DEPTH: usize = 16;
/// Entries of one map in a CoRIM; the longest known, that of a measurement's values, has about thirty.
pub const CORIM_MAP: usize = 64;
/// The memory of the highest numbers seen: about 100 bytes for each vendor, product, FMSPC, bundle and inventory.
pub const SEEN: usize = 1024 * 1024;
/// A policy document.
pub const POLICY: usize = 256 * 1024;
/// An OCI manifest (what registries accept, and docker-registry's own limit).
pub const MANIFEST: usize = 4 * 1024 * 1024;
/// Layers of one manifest; each is one file or part of a file.
pub const LAYERS: usize = 10_000;
/// A Sigstore bundle, with an OMS statement over [`LAYERS`] files inside.
pub const BUNDLE: usize = 16 * 1024 * 1024;
/// One signature over a manifest: a bundle or payload of cosign's. A keyless one, with certificate and transparency log entry,
/// is about 10 KiB; [`SIGNATURES`] of each form are held at a time.
pub const SIGNATURE: usize = 64 * 1024;
/// Signatures (referrers, layers of a `.sig` image) that are looked at for one manifest; a registry could list any number.
pub const SIGNATURES: usize = 64;
/// Referrers that are looked at for one manifest: its signatures, and its promotions, of which several promoters and
/// environments make some hundred in years.
pub const REFERRERS: usize = 256;
/// Promotion statements of one promoter about one repository and environment that a judgement hangs on, the newest by sequence.
pub const PROMOTIONS: usize = 256;
/// Seconds for which a promotion may be valid, 30 days: a registry that hides what came later gains no more than that.
pub const PROMOTION_VALIDITY: u64 = 30 * 24 * 60 * 60;
/// The highest sequence of a promotion. Up to there all tools that read JSON numbers as floating point read them exactly.
pub const PROMOTION_SEQUENCE: u64 = (1 << 53) - 1;
/// Seconds by which a promoter's clock may be ahead.
pub const PROMOTION_SKEW: u64 = 5 * 60;
/// Characters of the reason of a demotion.
pub const PROMOTION_REASON: usize = 500;
/// Characters of the name of an environment: as much as a DNS label has.
pub const ENVIRONMENT: usize = 63;
/// Certificates of a signer's chain in a bundle: root, two or three between, and the signer's.
pub const SIGNER_CHAIN: usize = 8;
/// A model reference: host and name of at most 255, a tag of at most 128, and a digest of 71 characters.
pub const REFERENCE: usize = 512;
/// The body of a registry's error answer; what is longer is no such answer.
pub const REGISTRY_ERROR: usize = 16 * 1024;
/// Pages of a referrers list that are asked for; each has room for thousands of descriptors.
pub const REFERRER_PAGES: usize = 16;
/// The `config.json` of a container tool.
pub const CREDENTIALS_FILE: usize = 1024 * 1024;
/// The answer of a credential helper: a password or token, of some kilobytes at most.
pub const CREDENTIAL: usize = 64 * 1024;
/// A KBS request: evidence as JSON numbers (6 KiB), certificates as JSON numbers (about 4 characters a byte), and the deployment document.
pub const KBS_BODY: usize = 2 * 1024 * 1024;
/// An answer of a KBS: a token or a wrapped key.
pub const KBS_ANSWER: usize = 256 * 1024;
/// Calls that wait for an HSM or transit service at a time: more than guests start at once, and not so many that one waits in vain.
pub const CUSTODY_CALLS: usize = 256;
/// An answer of a transit service: a key of [`RESOURCE`] bytes, and what is said of it.
pub const CUSTODY_ANSWER: usize = 128 * 1024;
/// A secret kept by the verifier.
pub const RESOURCE: usize = 64 * 1024;
/// Who a passport is for: a name or an origin.
pub const AUDIENCE: usize = 256;
/// A JWK set: a key is 250 bytes, and issuers with many have a dozen.
pub const JWKS: usize = 64 * 1024;
/// A JWT.
pub const TOKEN: usize = 128 * 1024;
/// Names in a feed of leases, and tenants.
pub const ROUTES: usize = 128;
/// Guests in a feed of leases, of all names together: what a [`TOKEN`] has room for.
pub const BACKENDS: usize = 256;
/// The first bytes of a connection, up to the end of its ClientHello. Those with post-quantum shares have 2 KiB.
pub const CLIENT_HELLO: usize = 16 * 1024;
/// An evidence answer: evidence, certificate table, endorsement set, deployment document and paths, in base64.
pub const EVIDENCE_ANSWER: usize = 2 * 1024 * 1024;
/// Depth of a Merkle path: 65,536 nonces in one report are more than a queue ever holds.
pub const MERKLE_DEPTH: usize = 16;
/// A request body of the inference API (before the model's own token limits).
pub const API_BODY: usize = 8 * 1024 * 1024;
/// A request to load or unload a model: a reference ([`REFERENCE`]) and little around it.
pub const CHANGE_REQUEST: usize = 16 * 1024;
/// Bodies of requests that are under way, in bytes, of all callers together: sixteen of the longest, or very many of the
/// usual ones. With what is made of a body before its tokens it is held about four times.
pub const API_BODIES: usize = 128 * 1024 * 1024;
/// One input of an embeddings request, in bytes of text, or four a token. Callers may leave it to the model to cut long texts:
/// 5,000 words are 40 KiB. But all of a text goes through the tokenizer first, which takes about a hundred bytes for each.
pub const API_INPUT: usize = 256 * 1024;
/// Inputs of one embeddings request (OpenAI's own limit).
pub const API_INPUTS: usize = 2048;
/// Tensors of one inference request, and outputs that it asks for: graphs have some dozens.
pub const TENSORS: usize = 256;
/// Dimensions of one tensor; ONNX' operators know eight at the most.
pub const TENSOR_RANK: usize = 32;
/// Strings of one tensor: each is an allocation, and three bytes of a body make one.
pub const TENSOR_STRINGS: usize = 65_536;
/// Bytes of all outputs of one inference, as the runtime has them and as JSON: four values for each of a million pixels.
pub const TENSOR_ANSWER: usize = 16 * 1024 * 1024;
/// Bytes of the id by which a caller knows an inference request again; it is given back.
pub const REQUEST_ID: usize = 256;
/// A configuration file.
pub const CONFIGURATION: usize = 256 * 1024;
/// A key file (PEM or cosign's encrypted JSON).
pub const KEY_FILE: usize = 64 * 1024;
/// A path inside a model; Linux' own limit is 4096, and annotations repeat it.
pub const PATH: usize = 1024;
/// Parts that one file of a model is split into: 512 GiB at 512 MiB a part, and parts of longer files are longer.
pub const PARTS: u32 = 1024;
/// The plaintext of a whole model, in bytes.
pub const MODEL: u64 = 16 << 40;
/// The index of a sealed directory (`strongroom-seal.json`): about 600 bytes for each of [`LAYERS`] files, and room for long paths.
pub const SEAL_INDEX: usize = 16 * 1024 * 1024;
/// The plaintext of one file that is imported from a JWE, whose one tag wants all of it in memory at once.
pub const JWE_FILE: u64 = 32 << 30;
/// The header of such a file in base64url: algorithms, and what a tool says of the key.
pub const JWE_HEADER: u64 = 4 * 1024;
/// scrypt's N of an encrypted key file. 128·N·r bytes are allocated before the password is known to be right; cosign uses 65,536.
pub const SCRYPT_N: u64 = 1 << 17;
/// scrypt's r of an encrypted key file.
pub const SCRYPT_R: u32 = 8;
/// scrypt's p of an encrypted key file, which multiplies the time.
pub const SCRYPT_P: u32 = 4;
/// The ONNX Runtime shared library: 30 MB as of 1.31, and ten times that with every execution provider.
pub const RUNTIME_LIBRARY: u64 = 512 * 1024 * 1024;
/// A model's `tokenizer.json`; the largest multilingual ones are about 20 MB.
pub const TOKENIZER: usize = 64 * 1024 * 1024;
/// A model's other JSON files that are read to serve it.
pub const MODEL_SETTINGS: usize = 1024 * 1024;
/// Tokens of one input: attention takes memory by their square, and 8192 is the longest embedding models are made for.
pub const SEQUENCE: usize = 8192;
/// Tokens of one embeddings request, all inputs together (OpenAI's own limit).
pub const API_TOKENS: usize = 300_000;
/// Answers that one model generates at a time; beyond some dozens, rows of a batch gain nothing.
pub const GENERATIONS: usize = 32;
/// Bytes that one model keeps of the tokens of answers under way: twenty of 2048 tokens of a model of 135 million parameters.
pub const GENERATION_MEMORY: usize = 2 << 30;
/// Seconds that a request waits for its turn to be answered. Who is told to come back later can ask elsewhere.
pub const GENERATION_WAIT: u64 = 60;
/// Seconds from a request to the end of its answer: 8192 tokens at fourteen a second.
pub const GENERATION_TIME: u64 = 600;
/// Answers to one request, of which each takes a place in a batch.
pub const CHOICES: usize = 8;
/// Messages of one chat: what they are together is bounded by [`API_INPUT`].
pub const API_MESSAGES: usize = 4096;
/// Texts at which an answer ends (OpenAI's own limit).
pub const STOPS: usize = 4;
/// Bytes of one of them: they are looked for at each token.
pub const STOP: usize = 256;
/// Steps that a chat template may take. Templates of models take some dozens for a message.
pub const TEMPLATE_STEPS: u64 = 1_000_000;
/// Bytes of a JSON schema that an answer is to follow, or of one tool's arguments.
pub const SCHEMA: usize = 64 * 1024;
/// Schemas in one another: OpenAI takes ten.
pub const SCHEMA_DEPTH: usize = 32;
/// Schemas that one is made of, itself and those of its members, with the names that are `required` and the members of lists and objects that
/// are wanted as they are: each may be looked at for each token.
pub const SCHEMA_PARTS: usize = 500;
/// Texts, numbers and others that one schema has in `enum` and `const` (OpenAI's own limit).
pub const SCHEMA_VALUES: usize = 1000;
/// Requests of one model, waiting or under way, whose answers follow a form: what is kept of one may come to some ten megabytes.
pub const FORMS: usize = 64;
/// Tools of one request (OpenAI's own limit).
pub const TOOLS: usize = 128;
/// Tokens beside the chosen one that a caller is told the probabilities of (OpenAI's own limit).
pub const TOP_LOG_PROBABILITIES: usize = 20;
/// Bytes of a label of a model that classifies: one is in the answer to each input.
pub const LABEL: usize = 256;
/// Tokens of one request that asks for their classes: each is some hundred bytes of its answer.
pub const TOKENS_TOLD: usize = 32_768;
/// Labels that such a request has nothing told of: no model has more that anybody would name.
pub const IGNORED_LABELS: usize = 1024;
/// Scores of such a request, tokens times labels, of four bytes each: 128 labels of as many tokens as it may have.
pub const TOKEN_SCORES: usize = 4 * 1024 * 1024;
/// Issuers of tokens that one deployment knows: a token is looked for among all of them.
pub const ISSUERS: usize = 8;
/// Trust domains whose workloads may call one deployment: a certificate is held against the authorities of each.
pub const TRUST_DOMAINS: usize = 8;
/// Identities of one deployment with limits of their own.
pub const IDENTITY_LIMITS: usize = 4096;
/// Identities whose use is counted at one time, of a deployment that has limits: each takes some hundred bytes. One that used nothing for
/// a minute is forgotten, and one more than these at a time is `busy`.
pub const IDENTITIES: usize = 65_536;
/// Groups of one token: Entra ID names 200 at most, and policies are asked about all of them.
pub const TOKEN_GROUPS: usize = 256;
/// Claims of one token that policies may ask about.
pub const TOKEN_CLAIMS: usize = 16;
/// Bytes of one group or claim of a token.
pub const TOKEN_TEXT: usize = 1024;
/// Seconds since 1970 of the year 10000, the first that RFC 3339 has no text for.
pub const TIME: u64 = 253_402_300_800;
/// Cedar policies of one set: decisions are linear in them, and a thousand take 640 µs.
pub const CEDAR_POLICIES: usize = 1_000;
/// Bytes of a Cedar policy's id, which audit rows hold.
pub const POLICY_ID: usize = 128;
/// Characters of what an administrator says of a version of Cedar policies.
pub const POLICY_COMMENT: usize = 500;
/// Labels of one key: every question to policies names all of them.
pub const KEY_LABELS: usize = 32;
/// Characters of a label of a key, or of its owner's name: as much as a DNS label has, and one.
pub const KEY_LABEL: usize = 64;
/// Changes of a verifier that wait for another person's approval: more than a team decides on in a day.
pub const PENDING_CHANGES: usize = 64;
/// Characters of the zone of a machine.
pub const ZONE: usize = 64;
/// Leases that are given at one time.
pub const LEASES: usize = 4096;
/// A certificate signing request of a workload.
pub const CERTIFICATE_REQUEST: usize = 8 * 1024;
/// The authorities of a trust domain as JSON.
pub const SPIFFE_BUNDLE: usize = 256 * 1024;
/// A signed note: a checkpoint of a few lines with a hundred cosignatures, of which those by ML-DSA-44 are 3.3 KiB each.
pub const NOTE: usize = 512 * 1024;
/// Signatures of one note: as many as Go's implementation reads.
pub const NOTE_SIGNATURES: usize = 100;
/// Bytes of the name that a note's key signs as: a host and a path.
pub const NOTE_NAME: usize = 256;
/// Hashes of one inclusion proof: a tree whose entries 64 bits count is so deep.
pub const LOG_DEPTH: usize = 64;
/// Bytes of one entry of an audit log: c2sp.org/tlog-tiles gives their length 16 bits.
pub const LOG_ENTRY: usize = 0xffff;
/// An entry with its proof in a header: both in base64, the entry twice, and a path and a checkpoint of some kilobytes.
pub const LOG_PROOF: usize = 128 * 1024;
/// Entries of one log that are read at a time, a page of its tree's 256 a few times over.
pub const LOG_PAGE: u64 = 1000;
/// Revocations and quarantines of one verifier: all of them are looked at for each feed of leases.
pub const REVOCATIONS: usize = 4_096;
/// Characters of why something was revoked, and twice as many as of who said so.
pub const REVOCATION_REASON: usize = 500;
/// A firmware image that is measured: OVMF's are 2 to 4 MiB, and QEMU's flash takes 8.
pub const FIRMWARE: usize = 64 * 1024 * 1024;
/// Sections that a firmware's metadata describes for one platform; OVMF's have five to seven.
pub const FIRMWARE_SECTIONS: usize = 64;
/// Guest memory that these sections take together, the image's own included: a few MiB.
pub const FIRMWARE_MEMORY: u64 = 256 * 1024 * 1024;
/// A guest's kernel that is measured: Debian's are 8 to 13 MB, one image with an initrd inside is a few hundred.
pub const GUEST_KERNEL: usize = 1024 * 1024 * 1024;
/// A guest's initial ramdisk that is measured. A model inside one would not belong there.
pub const GUEST_INITRD: usize = 2 * 1024 * 1024 * 1024;
/// A kernel's command line: Linux on x86 reads 2048 bytes and ignores what follows.
pub const COMMAND_LINE: usize = 2048;
/// vCPUs of one guest: KVM's own limit.
pub const VCPUS: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit that slips by an operator is still a limit to every test that names it: here stand the numbers.
    #[test]
    fn each_limit_is_the_number_that_was_reasoned() {
        let sizes = [
            (EVIDENCE, 16_384),
            (CERTIFICATE_TABLE, 131_072),
            (PCK_CHAIN, 12_288),
            (QE_AUTH_DATA, 1024),
            (TCB_LEVELS, 256),
            (EVENT_LOG, 1_048_576),
            (EVENTS, 8192),
            (EVENT_LOG_ALGORITHMS, 8),
            (TPM_QUOTE, 1024),
            (HCL_REPORT, 8192),
            (AZURE_EVIDENCE, 65_536),
            (CERTIFICATE_TABLE_ENTRIES, 32),
            (ENDORSEMENT, 262_144),
            (ENDORSEMENTS, 64),
            (ENDORSEMENT_SET, 262_144),
            (DEPLOYMENT, 524_288),
            (MODELS, 256),
            (MODEL_NAME, 256),
            (SIGNED_DOCUMENT, 4_194_304),
            (STORED_DOCUMENT, 1_048_576),
            (DOCUMENT_SIGNERS, 32),
            (GUESTS, 4096),
            (REFERENCE_VALUES_NAME, 256),
            (MACHINES, 8192),
            (INVENTORY_NAME, 256),
            (CORIM, 4_194_304),
            (CORIM_DEPTH, 16),
            (CORIM_MAP, 64),
            (SEEN, 1_048_576),
            (POLICY, 262_144),
            (MANIFEST, 4_194_304),
            (LAYERS, 10_000),
            (BUNDLE, 16_777_216),
            (SIGNATURE, 65_536),
            (SIGNATURES, 64),
            (REFERRERS, 256),
            (PROMOTIONS, 256),
            (PROMOTION_REASON, 500),
            (ENVIRONMENT, 63),
            (SIGNER_CHAIN, 8),
            (REFERENCE, 512),
            (REGISTRY_ERROR, 16_384),
            (REFERRER_PAGES, 16),
            (CREDENTIALS_FILE, 1_048_576),
            (CREDENTIAL, 65_536),
            (KBS_BODY, 2_097_152),
            (KBS_ANSWER, 262_144),
            (CUSTODY_CALLS, 256),
            (CUSTODY_ANSWER, 131_072),
            (RESOURCE, 65_536),
            (AUDIENCE, 256),
            (JWKS, 65_536),
            (TOKEN, 131_072),
            (ROUTES, 128),
            (BACKENDS, 256),
            (CLIENT_HELLO, 16_384),
            (EVIDENCE_ANSWER, 2_097_152),
            (MERKLE_DEPTH, 16),
            (API_BODY, 8_388_608),
            (CHANGE_REQUEST, 16_384),
            (API_BODIES, 134_217_728),
            (API_INPUT, 262_144),
            (API_INPUTS, 2048),
            (TENSORS, 256),
            (TENSOR_RANK, 32),
            (TENSOR_STRINGS, 65_536),
            (TENSOR_ANSWER, 16_777_216),
            (REQUEST_ID, 256),
            (CONFIGURATION, 262_144),
            (KEY_FILE, 65_536),
            (PATH, 1024),
            (SEAL_INDEX, 16_777_216),
            (TOKENIZER, 67_108_864),
            (MODEL_SETTINGS, 1_048_576),
            (SEQUENCE, 8192),
            (API_TOKENS, 300_000),
            (GENERATIONS, 32),
            (GENERATION_MEMORY, 2_147_483_648),
            (CHOICES, 8),
            (API_MESSAGES, 4096),
            (STOPS, 4),
            (STOP, 256),
            (SCHEMA, 65_536),
            (SCHEMA_DEPTH, 32),
            (SCHEMA_PARTS, 500),
            (SCHEMA_VALUES, 1000),
            (FORMS, 64),
            (TOOLS, 128),
            (TOP_LOG_PROBABILITIES, 20),
            (LABEL, 256),
            (TOKENS_TOLD, 32_768),
            (IGNORED_LABELS, 1024),
            (TOKEN_SCORES, 4_194_304),
            (ISSUERS, 8),
            (TRUST_DOMAINS, 8),
            (IDENTITY_LIMITS, 4096),
            (IDENTITIES, 65_536),
            (TOKEN_GROUPS, 256),
            (TOKEN_CLAIMS, 16),
            (TOKEN_TEXT, 1024),
            (CEDAR_POLICIES, 1_000),
            (POLICY_ID, 128),
            (POLICY_COMMENT, 500),
            (KEY_LABELS, 32),
            (KEY_LABEL, 64),
            (PENDING_CHANGES, 64),
            (ZONE, 64),
            (LEASES, 4096),
            (CERTIFICATE_REQUEST, 8192),
            (SPIFFE_BUNDLE, 262_144),
            (NOTE, 524_288),
            (NOTE_SIGNATURES, 100),
            (NOTE_NAME, 256),
            (LOG_DEPTH, 64),
            (REVOCATIONS, 4096),
            (REVOCATION_REASON, 500),
            (LOG_ENTRY, 65_535),
            (LOG_PROOF, 131_072),
            (FIRMWARE, 67_108_864),
            (FIRMWARE_SECTIONS, 64),
            (GUEST_KERNEL, 1_073_741_824),
            (GUEST_INITRD, 2_147_483_648),
            (COMMAND_LINE, 2048),
        ];
        for (at, (limit, number)) in sizes.into_iter().enumerate() {
            assert_eq!(limit, number, "limit {at} of this list");
        }
        let numbers = [
            (TIME, 253_402_300_800),
            (LOG_PAGE, 1000),
            (REFERENCE_VALUES_VALIDITY, 31_622_400),
            (INVENTORY_VALIDITY, 31_622_400),
            (PROMOTION_VALIDITY, 2_592_000),
            (PROMOTION_SEQUENCE, 9_007_199_254_740_991),
            (PROMOTION_SKEW, 300),
            (MODEL, 17_592_186_044_416),
            (JWE_FILE, 34_359_738_368),
            (JWE_HEADER, 4096),
            (GENERATION_WAIT, 60),
            (GENERATION_TIME, 600),
            (TEMPLATE_STEPS, 1_000_000),
            (SCRYPT_N, 131_072),
            (RUNTIME_LIBRARY, 536_870_912),
            (FIRMWARE_MEMORY, 268_435_456),
        ];
        for (at, (limit, number)) in numbers.into_iter().enumerate() {
            assert_eq!(limit, number, "number {at} of this list");
        }
        assert_eq!((PARTS, SCRYPT_R, SCRYPT_P, VCPUS), (1024, 8, 4, 4096));
    }

    /// What is carried inside something else fits into it, in the form in which it is carried there.
    #[test]
    fn each_container_has_room_for_what_it_carries() {
        let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
        let answer = base64(EVIDENCE) + base64(CERTIFICATE_TABLE) + base64(ENDORSEMENT_SET) + base64(DEPLOYMENT);
        for (container, content) in [
            (EVIDENCE_ANSWER, answer),
            (KBS_BODY, 4 * (EVIDENCE + CERTIFICATE_TABLE) + 2 * DEPLOYMENT),
            (KBS_ANSWER, base64(RESOURCE)),
            (KBS_ANSWER, TOKEN),
            (EVIDENCE, PCK_CHAIN + QE_AUTH_DATA),
            (LOG_PROOF, base64(base64(LOG_ENTRY) + 48 * LOG_DEPTH + 4 * NOTE_NAME)),
            (API_BODIES, API_BODY),
            (CHANGE_REQUEST, REFERENCE),
            (API_BODY, API_INPUT),
            (API_TOKENS, SEQUENCE),
        ] {
            assert!(container > content, "{container} {content}");
        }
    }
}
