//! What certificate and request say of a workload: one URI, and nothing else that could be taken for a name.

use der::Decode as _;
use strongroom_wire::spiffe::SpiffeId;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The SPIFFE id in the contents of subject alternative names, of which there is one, with one name.
///
/// # Errors
/// `malformed`; `identity-invalid`.
pub(crate) fn only_spiffe_id(extensions: &[&[u8]]) -> Result<SpiffeId> {
    let wrong = |got: String| {
        let refusal = Refusal::new(Code::IdentityInvalid, "subject alternative name").got(got);
        refusal.want("one URI, a SPIFFE id, and no other name")
    };
    let [names] = extensions else { return Err(wrong(format!("{} extensions", extensions.len()))) };
    let names = SubjectAltName::from_der(names).map_err(|e| Refusal::malformed("subject alternative name", e))?;
    match names.0.as_slice() {
        [GeneralName::UniformResourceIdentifier(uri)] => SpiffeId::parse(uri.as_str()),
        [_] => Err(wrong("a name of another kind".to_owned())),
        names => Err(wrong(format!("{} names", names.len()))),
    }
}
