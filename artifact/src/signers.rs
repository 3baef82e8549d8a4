//! Those whom a trust file lets sign, ready to be held against signatures.

use crate::bundle::{Bundle, Hint};
use crate::keyless::{TrustedRoot, Vouched};
use crate::keys::PublicKey;
use core::fmt;
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Identity, SignedBy, Signer, TrustFile};
use strongroom_wire::{Code, Refusal, Result};

/// Signers whose keys can be used, and the trusted root for those who are identities.
#[derive(Debug, Clone)]
pub struct Signers {
    all: Vec<Known>,
    /// There where any of them is an identity.
    root: Option<Arc<TrustedRoot>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) name: String,
    by: By,
}

#[derive(Debug, Clone)]
enum By {
    Key(PublicKey),
    Identity(Identity),
}

/// Who made a signature, as it proves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    /// Whoever has a key, by its [`PublicKey::fingerprint`].
    Key(Sha256),
    /// Whom an issuer vouched for at the time.
    Identity {
        /// URL of the OpenID Connect issuer.
        issuer: String,
        /// A mail address or URI.
        subject: String,
    },
    /// Whom an authority of one's own certified.
    Certificate {
        /// The certificate's subject, as RFC 4514 writes names.
        subject: String,
        /// SHA-256 of the certificate in DER.
        fingerprint: Sha256,
    },
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fingerprint) => write!(f, "key sha256:{fingerprint}"),
            Self::Identity { issuer, subject } => write!(f, "{subject} (vouched for by {issuer})"),
            Self::Certificate { subject, fingerprint } => write!(f, "{subject} (certificate sha256:{fingerprint})"),
        }
    }
}

impl Signers {
    /// Reads the signers of a rule, and `trusted_root` where there are identities among them: absent, the public instance's.
    ///
    /// # Errors
    /// `key-invalid` a key is none that signatures could be verified with; `trusted-root-invalid`.
    pub fn parse(signers: &[Signer], trusted_root: Option<&str>) -> Result<Self> {
        let read = |signer: &Signer| {
            let by = match &signer.by {
                SignedBy::Key(pem) => By::Key(
                    PublicKey::from_pem(pem.as_bytes())
                        .map_err(|refusal| refusal.within(format!("key of signer `{}`", signer.name)))?,
                ),
                SignedBy::Identity(identity) => By::Identity(identity.clone()),
            };
            Ok(Known { name: signer.name.clone(), by })
        };
        let all = signers.iter().map(read).collect::<Result<Vec<_>>>()?;
        let identities = all.iter().any(|signer| matches!(signer.by, By::Identity(_)));
        let root = identities.then(|| trusted_root.map_or_else(TrustedRoot::public, TrustedRoot::parse)).transpose()?;
        Ok(Self { all, root: root.map(Arc::new) })
    }

    /// One signer, by key.
    pub fn of_key(key: PublicKey) -> Self {
        Self { all: vec![Known { name: key.fingerprint().to_string(), by: By::Key(key) }], root: None }
    }

    /// One signer, by identity.
    pub fn of_identity(identity: Identity, root: TrustedRoot) -> Self {
        let known = Known { name: identity.to_string(), by: By::Identity(identity) };
        Self { all: vec![known], root: Some(Arc::new(root)) }
    }

    /// Them, in the order of the rule.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.all.iter()
    }

    /// Whom the certificate of a bundle vouches for, and the payload. Without an identity among the signers it is nobody's:
    /// `signer-untrusted`.
    pub(crate) fn verify_keyless(&self, bundle: &[u8]) -> Result<Vouched> {
        let root = self.root.as_ref().ok_or_else(|| {
            Refusal::new(Code::SignerUntrusted, "signer of a bundle").got("a certificate").want("a key")
        })?;
        root.verify(bundle)
    }

    /// The payload that one of them signed, and who it was.
    ///
    /// # Errors
    /// As [`Self::verify_named`].
    pub(crate) fn verify(&self, bundle: &Bundle, form: Hint) -> Result<(Vec<u8>, Credential)> {
        self.verify_named(bundle, form).map(|(payload, credential, _)| (payload, credential))
    }

    /// [`Self::verify`], and the names of those who it may have been: several patterns may be of one identity.
    ///
    /// # Errors
    /// As [`Bundle::verify`] and [`TrustedRoot::verify`], and for an identity that is none of theirs as
    /// [`Vouched::verify_identity`].
    pub(crate) fn verify_named(&self, bundle: &Bundle, form: Hint) -> Result<(Vec<u8>, Credential, Vec<&str>)> {
        let Some(raw) = bundle.keyless() else {
            // A hint decides among keys, so they are tried together.
            let keys: Vec<_> = self.all.iter().filter_map(Known::key).cloned().collect();
            let (payload, key) = bundle.verify(&keys, form)?;
            let has = |known: &&Known| known.key() == Some(key);
            let names = self.all.iter().filter(has).map(|known| known.name.as_str()).collect();
            return Ok((payload, Credential::Key(key.fingerprint()), names));
        };
        let vouched = self.verify_keyless(raw)?;
        let (mut names, mut closest) = (Vec::new(), None);
        for (known, identity) in self.all.iter().filter_map(|known| Some((known, known.identity()?))) {
            match vouched.verify_identity(identity) {
                Ok(()) => names.push(known.name.as_str()),
                // The right identity by another issuer is closer than another identity.
                Err(refusal) if closest.is_none() || refusal.code == Code::SignerIssuerMismatch => {
                    closest = Some(refusal);
                }
                Err(_) => {}
            }
        }
        if !names.is_empty() {
            let credential = vouched.credential();
            return Ok((vouched.payload, credential, names));
        }
        Err(closest
            .unwrap_or_else(|| Refusal::new(Code::SignerUntrusted, "signer of a bundle").got(vouched.credential())))
    }
}

impl Known {
    pub(crate) const fn key(&self) -> Option<&PublicKey> {
        match &self.by {
            By::Key(key) => Some(key),
            By::Identity(_) => None,
        }
    }

    pub(crate) const fn identity(&self) -> Option<&Identity> {
        match &self.by {
            By::Key(_) => None,
            By::Identity(identity) => Some(identity),
        }
    }
}

impl Vouched {
    /// Whom it is about.
    pub(crate) fn credential(&self) -> Credential {
        Credential::Identity { issuer: self.issuer.clone(), subject: self.subject.clone() }
    }
}

/// Refuses a trust file with a signer whom no signature could be verified for: found here, it does not wait for a guest to find
/// it.
///
/// # Errors
/// As [`Signers::parse`].
pub fn verify_signers(trust: &TrustFile) -> Result<()> {
    for rule in &trust.rules {
        let promoters = rule.promotion.as_ref().map(|promotion| &promotion.promoters);
        for signers in [&rule.signers, &rule.statement_signers].into_iter().chain(promoters) {
            Signers::parse(signers, trust.trusted_root.as_deref())?;
        }
    }
    Ok(())
}
