//! OpenSSF Model Signing v1.0: a signed statement over the files of a model, by a key, in a Sigstore bundle.

mod certificate;
mod payload;

use crate::bundle::{Bundle, Hint};
use crate::dsse::Envelope;
use crate::hash::{FileDigest, HashAlgorithm};
use crate::keys::{PublicKey, Sign};
use crate::signers::{Credential, Signers};
pub use certificate::{Certificates, sign_statement_certified, verify_statement_certified};
use std::collections::BTreeMap;
use strongroom_wire::{Code, Refusal, Result};

/// What the git tools keep at the top of a directory, which OMS' reference client leaves out of statements.
pub const GIT_PATHS: [&str; 4] = [".git", ".gitignore", ".gitattributes", ".github"];

/// Signs a statement that the model called `name` is exactly `files`, and gives the bundle, as its reference client
/// 1.1.1 reads it.
///
/// The files may come in any order and must be hashed with one algorithm, SHA-256 or BLAKE3. Refuses an empty list with
/// `model-empty` and unsafe or doubled paths with `path-unsafe`.
pub fn sign_statement(name: &str, files: &[FileDigest], key: &dyn Sign) -> Result<Vec<u8>> {
    sign_payload(&statement(name, files)?, key)
}

/// [`sign_statement`] of a [`statement`], or of one over shards.
pub fn sign_payload(payload: &[u8], key: &dyn Sign) -> Result<Vec<u8>> {
    let envelope = Envelope::sign(payload, key)?.with_empty_key_id();
    Bundle::render(&envelope, &key.public(), Hint::Oms)
}

/// The statement that a signature over the files of a model is over. Refuses as [`sign_statement`].
pub fn statement(name: &str, files: &[FileDigest]) -> Result<Vec<u8>> {
    statement_of(name, files, &Shape::default())
}

/// What a statement says beside its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// It lists ranges of files, each of so many bytes or what is left ([`crate::directory::hash_shards`]), in place of files.
    pub shard_len: Option<u64>,
    /// Paths that were left out on purpose, beside git's: verifiers accept anything there, or nothing.
    pub ignored: Vec<String>,
}

/// [`statement`] over files, or ranges of them, in another shape.
pub fn statement_of(name: &str, files: &[FileDigest], shape: &Shape) -> Result<Vec<u8>> {
    payload::render(name, files, shape)
}

/// Whether a path is one of `ignored`, or below it.
pub fn is_ignored(ignored: &[String], path: &str) -> bool {
    ignored
        .iter()
        .any(|one| path.strip_prefix(one.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Verifies a bundle that one of `keys` signed.
///
/// Refuses with `signer-untrusted` where it is by none of them, `signature-invalid` where it says to be and is not or
/// states something other than the files of a model, `model-unsupported` where it uses another hash or serialization, and
/// `malformed`.
pub fn verify_statement(bundle: &[u8], keys: &[PublicKey]) -> Result<SignedStatement> {
    let (payload, signer) = Bundle::parse(bundle)?.verify(keys, Hint::Oms)?;
    let signer = Credential::Key(signer.fingerprint());
    SignedStatement::of(payload, signer)
}

/// Verifies a bundle that one of `signers` signed, by a key or as an identity.
///
/// Refuses as [`verify_statement`], and an identity's as [`crate::Signers`] and Sigstore's trust demand it.
pub fn verify_statement_by(bundle: &[u8], signers: &Signers) -> Result<SignedStatement> {
    let (payload, signer) = signers.verify(&Bundle::parse(bundle)?, Hint::Oms)?;
    SignedStatement::of(payload, signer)
}

/// A statement whose signature verified. Comes from [`verify_statement`] alone.
///
/// ```
/// use strongroom_artifact::oms::{SignedStatement, verify_statement};
/// let refused: Result<SignedStatement, _> = verify_statement(b"{}", &[]);
/// assert!(refused.is_err());
/// ```
/// ```compile_fail,E0277
/// use strongroom_artifact::oms::SignedStatement;
/// let forged: SignedStatement = Default::default();
/// ```
/// ```compile_fail,E0451
/// use strongroom_artifact::oms::SignedStatement;
/// let (payload, signer, statement) = todo!();
/// let forged = SignedStatement { payload, signer, statement };
/// ```
#[derive(Debug, Clone)]
pub struct SignedStatement {
    payload: Vec<u8>,
    signer: Credential,
    statement: payload::Statement,
}

impl SignedStatement {
    /// What a payload states whose signature holds.
    fn of(payload: Vec<u8>, signer: Credential) -> Result<Self> {
        let statement = payload::parse(&payload)?;
        Ok(Self { payload, signer, statement })
    }

    /// The in-toto statement, as signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Who signed it.
    pub const fn signer(&self) -> &Credential {
        &self.signer
    }

    /// What the signer calls the model; the name of a directory, mostly.
    pub fn name(&self) -> &str {
        &self.statement.name
    }

    /// What its files are to be hashed with.
    pub const fn hash_type(&self) -> HashAlgorithm {
        self.statement.hash_type
    }

    /// The length in bytes of the ranges of files ("shards") that it lists in place of files, where it does.
    pub const fn shard_len(&self) -> Option<u64> {
        self.statement.shard_len
    }

    /// The files, in the statement's order; or ranges of them, as [`crate::directory::hash_shards`] names them.
    pub fn files(&self) -> &[FileDigest] {
        &self.statement.files
    }

    /// Whether the signer left `path` out on purpose (`ignore_paths`). The reference client then accepts any file there.
    /// [`Self::compare`] does not: drop such files before, where the reference client's rule is wanted.
    pub fn ignores(&self, path: &str) -> bool {
        is_ignored(&self.statement.ignore_paths, path)
    }

    /// Compares with the files that are there, in any order: every one of the statement's, with its digest, and no other.
    ///
    /// Refuses with `statement-mismatch` and names the first file that is missing, that is not signed, or that differs.
    pub fn compare(&self, files: &[FileDigest]) -> Result<()> {
        let mismatch = |what: &str, path: &str| Refusal::new(Code::StatementMismatch, format!("{what} `{path}`"));
        let mut found = BTreeMap::new();
        for file in files {
            if found.insert(file.path.as_str(), file).is_some() {
                return Err(mismatch("file given twice", &file.path));
            }
        }
        for signed in &self.statement.files {
            let file = found.remove(signed.path.as_str()).ok_or_else(|| mismatch("missing file", &signed.path))?;
            if (file.algorithm, &file.digest) != (signed.algorithm, &signed.digest) {
                return Err(mismatch("changed file", &signed.path)
                    .got(format!("{}:{}", file.algorithm, hex::encode(&file.digest)))
                    .want(format!("{}:{}", signed.algorithm, hex::encode(&signed.digest))));
            }
        }
        match found.keys().next() {
            Some(extra) => Err(mismatch("file that is not signed", extra)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn file(path: &str, fill: u8) -> FileDigest {
        FileDigest { path: path.into(), algorithm: HashAlgorithm::Sha256, digest: vec![fill; 32] }
    }

    fn statement(files: &[FileDigest]) -> SignedStatement {
        let key = SigningKey::generate().unwrap();
        verify_statement(&sign_statement("m", files, &key).unwrap(), &[key.public()]).unwrap()
    }

    #[test]
    fn same_files_in_any_order_accepted() {
        let statement = statement(&[file("b", 2), file("a/c", 1)]);
        assert!(statement.compare(&[file("a/c", 1), file("b", 2)]).is_ok());
        assert!(statement.compare(&[file("b", 2), file("a/c", 1)]).is_ok());
        assert_eq!(statement.name(), "m");
        assert_eq!(statement.files()[0].path, "a/c");
    }

    #[test]
    fn missing_extra_changed_swapped_and_doubled_files_refused() {
        let statement = statement(&[file("a", 1), file("b", 2)]);
        for bad in [
            vec![file("a", 1)],
            vec![file("a", 1), file("b", 2), file("c", 3)],
            vec![file("a", 1), file("b", 3)],
            vec![file("a", 2), file("b", 1)],
            vec![file("a", 1), file("b", 2), file("b", 2)],
            vec![],
        ] {
            assert_eq!(statement.compare(&bad).unwrap_err().code, Code::StatementMismatch, "{bad:?}");
        }
        let mut other_hash = [file("a", 1), file("b", 2)];
        other_hash[0].algorithm = HashAlgorithm::Blake3;
        assert_eq!(statement.compare(&other_hash).unwrap_err().code, Code::StatementMismatch);
    }

    #[test]
    fn statement_of_the_signer_accepted_and_of_a_stranger_or_changed_refused() {
        let (key, stranger) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let good = sign_statement("m", &[file("a", 1)], &key).unwrap();
        assert_eq!(
            verify_statement(&good, &[stranger.public(), key.public()]).unwrap().signer(),
            &Credential::Key(key.public().fingerprint())
        );
        assert_eq!(verify_statement(&good, &[stranger.public()]).unwrap_err().code, Code::SignerUntrusted);
        assert_eq!(verify_statement(&good, &[]).unwrap_err().code, Code::SignerUntrusted);
        let mut json: serde_json::Value = serde_json::from_slice(&good).unwrap();
        let other = sign_statement("m", &[file("a", 2)], &key).unwrap();
        let other: serde_json::Value = serde_json::from_slice(&other).unwrap();
        json["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
        let changed = json.to_string().into_bytes();
        assert_eq!(verify_statement(&changed, &[key.public()]).unwrap_err().code, Code::SignatureInvalid);
    }

    #[test]
    fn ignored_paths_are_those_and_what_is_below_them() {
        let statement = statement(&[file("a", 1)]);
        assert!(statement.ignores(".git") && statement.ignores(".git/config"));
        assert!(!statement.ignores(".gitmodules") && !statement.ignores("sub/.git"));
    }

    #[test]
    fn bundle_has_the_members_of_the_reference_client() {
        let key = SigningKey::generate().unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&sign_statement("m", &[file("a", 1)], &key).unwrap()).unwrap();
        let hint = strongroom_wire::digest::Sha256::of(key.public().pem().as_bytes()).to_string();
        assert_eq!(json["verificationMaterial"], serde_json::json!({"publicKey": {"hint": hint}, "tlogEntries": []}));
        assert_eq!(json["dsseEnvelope"]["signatures"][0]["keyid"], "");
    }
}
