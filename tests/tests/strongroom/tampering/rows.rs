//! What is changed, and what it is refused with.

use super::changes::{
    SEGMENT, exchange, flip, flip_hex, identity, index, present_by, replaced, rewrite, sealed, serve, signature,
    statement,
};
use super::stage::{Stage, layer, point};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use strongroom_artifact::cosign::sign_manifest;
use strongroom_artifact::oms::sign_payload;
use strongroom_devkit::registry::{Fault, Target};
use strongroom_wire::Code;
use strongroom_wire::bytes::to_base64;

/// The command that refuses.
#[derive(Clone, Copy)]
pub(super) enum By {
    Verify,
    Pull,
    Open,
}

/// One change.
pub(super) struct Row {
    pub(super) part: &'static str,
    pub(super) change: &'static str,
    pub(super) by: By,
    pub(super) code: Code,
    /// Makes the change, and gives what the command is to be called with.
    pub(super) tamper: fn(&Stage) -> String,
    /// Whether it is about the signature of an identity.
    pub(super) needs_identity: bool,
}

const fn row(part: &'static str, change: &'static str, by: By, code: Code, tamper: fn(&Stage) -> String) -> Row {
    Row { part, change, by, code, tamper, needs_identity: false }
}

const fn keyless(part: &'static str, change: &'static str, code: Code, tamper: fn(&Stage) -> String) -> Row {
    Row { part, change, by: By::Verify, code, tamper, needs_identity: true }
}

pub(super) const ROWS: &[Row] = &[
    row("manifest", "other bytes in answer to its digest", By::Verify, Code::ManifestDigestMismatch, |stage| {
        let lie = Fault::Serve(format!("{}\n", stage.sealed.manifest).into());
        serve(stage, Target::Manifest(stage.sealed.digest.oci()), lie);
        stage.pinned(&stage.sealed)
    }),
    row("manifest", "other bytes under its tag", By::Verify, Code::ModelUnsigned, |stage| {
        stage.tag(&stage.sealed, "changed", format!("{}\n", stage.sealed.manifest))
    }),
    row("manifest", "a member added, and the signature moved along", By::Verify, Code::SignatureInvalid, |stage| {
        stage.moved(&stage.sealed, &stage.sealed.with(|manifest| manifest["x"] = 1.into()))
    }),
    row("config", "another blob, and the signature moved along", By::Verify, Code::SignatureInvalid, |stage| {
        let (content, model) = (b"{\"changed\":1}".to_vec(), &stage.sealed);
        let (size, digest) = (content.len(), stage.store(model, content).oci());
        let changed = model.with(|manifest| {
            (manifest["config"]["digest"], manifest["config"]["size"]) = (digest.into(), size.into());
        });
        stage.moved(model, &changed)
    }),
    row("annotation", "another key id, and the signature moved along", By::Verify, Code::SignatureInvalid, |stage| {
        let kid = json!("kbs:///models/tampered/v2");
        stage.moved(
            &stage.sealed,
            &stage.sealed.with(|manifest| manifest["annotations"]["org.strongroom.enc.kid"] = kid),
        )
    }),
    row(
        "annotation",
        "another path of a file, and the signature moved along",
        By::Verify,
        Code::SignatureInvalid,
        |stage| {
            let path = "org.cncf.model.filepath";
            let changed = stage.sealed.with(|manifest| layer(manifest, "a.bin")["annotations"][path] = "c.bin".into());
            stage.moved(&stage.sealed, &changed)
        },
    ),
    row(
        "annotation",
        "the artifact id of another model, signed by a trusted signer",
        By::Pull,
        Code::KeyCommitmentMismatch,
        |stage| {
            let id = "org.strongroom.enc.artifact-id";
            let of_twin = stage.twin.manifest["annotations"][id].clone();
            stage.signed(&stage.sealed, &stage.sealed.with(|manifest| manifest["annotations"][id] = of_twin))
        },
    ),
    row("layer", "one bit of a sealed one", By::Pull, Code::LayerDigestMismatch, |stage| {
        serve(stage, Target::Blob(stage.sealed.blob("a.bin")), Fault::FlipBit { at: 1_500_000 });
        stage.pinned(&stage.sealed)
    }),
    row("layer", "one bit of a plain one", By::Pull, Code::LayerDigestMismatch, |stage| {
        serve(stage, Target::Blob(stage.plain.blob("a.bin")), Fault::FlipBit { at: 1_500_000 });
        stage.pinned(&stage.plain)
    }),
    row("layer", "one bit of a sealed one, which a trusted signer signed", By::Pull, Code::SealInvalid, |stage| {
        replaced(stage, &stage.sealed, |content| content[1_500_000] ^= 1)
    }),
    row("layer", "one bit of a plain one, which a trusted signer signed", By::Pull, Code::StatementMismatch, |stage| {
        replaced(stage, &stage.plain, |content| content[1_500_000] ^= 1)
    }),
    row("truncation", "a sealed layer that ends at a segment boundary", By::Pull, Code::LayerSizeMismatch, |stage| {
        let content = stage.fetch(&stage.sealed, "a.bin");
        let lie = Fault::Serve(content[..2 * SEGMENT].to_vec().into());
        serve(stage, Target::Blob(stage.sealed.blob("a.bin")), lie);
        stage.pinned(&stage.sealed)
    }),
    row(
        "truncation",
        "a sealed layer that ends at a segment boundary, as a trusted signer signed",
        By::Pull,
        Code::SealInvalid,
        |stage| {
            let content = stage.fetch(&stage.sealed, "a.bin")[..2 * SEGMENT].to_vec();
            let plain = 2 * SEGMENT - 40 - 2 * 16;
            let digest = stage.store(&stage.sealed, content);
            let changed = stage.sealed.with(|manifest| {
                point(manifest, "a.bin", digest, 2 * SEGMENT);
                layer(manifest, "a.bin")["annotations"]["org.strongroom.enc.size"] = plain.to_string().into();
            });
            stage.signed(&stage.sealed, &changed)
        },
    ),
    row(
        "order of layers",
        "two exchanged in the manifest, and the signature moved along",
        By::Verify,
        Code::SignatureInvalid,
        |stage| {
            stage.moved(
                &stage.sealed,
                &stage.sealed.with(|manifest| manifest["layers"].as_array_mut().unwrap().swap(0, 1)),
            )
        },
    ),
    row("order of layers", "the blobs of two exchanged in the answers", By::Pull, Code::LayerDigestMismatch, |stage| {
        let [a, b] = ["a.bin", "b.bin"].map(|path| (stage.sealed.blob(path), stage.fetch(&stage.sealed, path)));
        serve(stage, Target::Blob(a.0), Fault::Serve(b.1.into()));
        serve(stage, Target::Blob(b.0), Fault::Serve(a.1.into()));
        stage.pinned(&stage.sealed)
    }),
    row(
        "order of layers",
        "the blobs of two sealed files exchanged, as a trusted signer signed",
        By::Pull,
        Code::SealInvalid,
        |stage| stage.signed(&stage.sealed, &stage.sealed.with(|manifest| exchange(manifest, &stage.sealed.manifest))),
    ),
    row(
        "order of layers",
        "the blobs of two plain files exchanged, as a trusted signer signed",
        By::Pull,
        Code::StatementMismatch,
        |stage| stage.signed(&stage.plain, &stage.plain.with(|manifest| exchange(manifest, &stage.plain.manifest))),
    ),
    row(
        "files of two models",
        "a sealed file of one in answer for the other's",
        By::Pull,
        Code::LayerDigestMismatch,
        |stage| {
            let lie = Fault::Serve(stage.fetch(&stage.twin, "a.bin").into());
            serve(stage, Target::Blob(stage.sealed.blob("a.bin")), lie);
            stage.pinned(&stage.sealed)
        },
    ),
    row(
        "files of two models",
        "a sealed file of one in the other, under the same data key, as a trusted signer signed",
        By::Pull,
        Code::SealInvalid,
        |stage| {
            let layer_of = layer(&mut stage.twin.manifest.clone(), "a.bin").clone();
            stage.signed(&stage.sealed, &stage.sealed.with(|manifest| *layer(manifest, "a.bin") = layer_of))
        },
    ),
    row(
        "files of two models",
        "a plain file of one in the other, as a trusted signer signed",
        By::Pull,
        Code::StatementMismatch,
        |stage| {
            let layer_of = layer(&mut stage.other.manifest.clone(), "a.bin").clone();
            stage.signed(&stage.plain, &stage.plain.with(|manifest| *layer(manifest, "a.bin") = layer_of))
        },
    ),
    row("signature", "not listed", By::Verify, Code::ModelUnsigned, |stage| {
        stage.present(&stage.sealed, stage.sealed.digest, &[])
    }),
    row("signature", "one bit", By::Verify, Code::SignatureInvalid, |stage| {
        signature(stage, |bundle| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    }),
    row("signature", "one bit of what is signed", By::Verify, Code::SignatureInvalid, |stage| {
        signature(stage, |bundle| flip(&mut bundle["dsseEnvelope"]["payload"]))
    }),
    row("signature", "by a stranger in its place", By::Verify, Code::SignerUntrusted, |stage| {
        present_by(stage, &stage.stranger)
    }),
    row("signature", "by a stranger who names the trusted key", By::Verify, Code::SignatureInvalid, |stage| {
        let theirs = sign_manifest(&stage.sealed.digest, &stage.stranger, &BTreeMap::new()).unwrap();
        let theirs: Value = serde_json::from_slice(&theirs).unwrap();
        signature(stage, |bundle| bundle["dsseEnvelope"] = theirs["dsseEnvelope"].clone())
    }),
    row("signature", "of the model's statement in its place", By::Verify, Code::SignatureInvalid, |stage| {
        let statement: Value = serde_json::from_slice(&stage.fetch(&stage.plain, "model.sig")).unwrap();
        let mut bundle: Value = serde_json::from_slice(&stage.plain.bundle).unwrap();
        bundle["dsseEnvelope"] = statement["dsseEnvelope"].clone();
        stage.present(&stage.plain, stage.plain.digest, &[bundle.to_string().into_bytes()])
    }),
    row("signature", "one bit of one in cosign 2's form", By::Verify, Code::SignerUntrusted, |stage| {
        stage.old_form(|image| flip(&mut image["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"]))
    }),
    keyless("certificate", "one bit", Code::SignerCertificateInvalid, |stage| {
        identity(stage, |material| flip(&mut material["certificate"]["rawBytes"]))
    }),
    keyless("certificate", "of another signature", Code::SignatureInvalid, |stage| {
        let other = stage.identity_bundle()["verificationMaterial"]["certificate"].clone();
        identity(stage, |material| material["certificate"] = other)
    }),
    keyless("log entry", "none", Code::LogProofInvalid, |stage| {
        identity(stage, |material| material["tlogEntries"] = json!([]))
    }),
    keyless("log entry", "one bit of its proof", Code::LogProofInvalid, |stage| {
        identity(stage, |material| flip(&mut material["tlogEntries"][0]["inclusionProof"]["rootHash"]))
    }),
    keyless("log entry", "one bit of the log's promise", Code::LogEntryInvalid, |stage| {
        identity(stage, |material| flip(&mut material["tlogEntries"][0]["inclusionPromise"]["signedEntryTimestamp"]))
    }),
    keyless("log entry", "another time", Code::LogEntryInvalid, |stage| {
        identity(stage, |material| material["tlogEntries"][0]["integratedTime"] = "1700000000".into())
    }),
    keyless("log entry", "of another signature", Code::LogEntryInvalid, |stage| {
        // Of a later one: the certificate was valid by then.
        identity(stage, |material| {
            material["tlogEntries"] = stage.identity_bundle()["verificationMaterial"]["tlogEntries"].take();
        })
    }),
    keyless("timestamp", "one bit of the authority's signature", Code::TimestampInvalid, |stage| {
        identity(stage, |material| {
            flip(&mut material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"]);
        })
    }),
    row("statement over the files", "one bit", By::Pull, Code::LayerDigestMismatch, |stage| {
        serve(stage, Target::Blob(stage.plain.blob("model.sig")), Fault::FlipBit { at: 100 });
        stage.pinned(&stage.plain)
    }),
    row(
        "statement over the files",
        "one bit of its signature, as a trusted signer signed",
        By::Pull,
        Code::SignatureInvalid,
        |stage| statement(stage, |bundle, _| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"])),
    ),
    row(
        "statement over the files",
        "one resource of it, as a trusted signer signed",
        By::Pull,
        Code::SignatureInvalid,
        |stage| {
            statement(stage, |bundle, payload| {
                let first = &mut payload["predicate"]["resources"][0]["digest"];
                flip_hex(first);
                bundle["dsseEnvelope"]["payload"] = to_base64(payload.to_string().as_bytes()).into();
            })
        },
    ),
    row(
        "statement over the files",
        "by a stranger, as a trusted signer signed",
        By::Pull,
        Code::SignerUntrusted,
        |stage| {
            let stranger = &stage.stranger;
            statement(stage, |bundle, payload| {
                *bundle =
                    serde_json::from_slice(&sign_payload(payload.to_string().as_bytes(), stranger).unwrap()).unwrap();
            })
        },
    ),
    row(
        "statement over the files",
        "of another model, as a trusted signer signed",
        By::Pull,
        Code::StatementMismatch,
        |stage| {
            let layer_of = layer(&mut stage.other.manifest.clone(), "model.sig").clone();
            stage.signed(&stage.plain, &stage.plain.with(|manifest| *layer(manifest, "model.sig") = layer_of))
        },
    ),
    row("statement over the files", "none, as a trusted signer signed", By::Pull, Code::StatementMissing, |stage| {
        let changed = stage.plain.with(|manifest| {
            let layers = manifest["layers"].as_array_mut().unwrap();
            layers.retain(|layer| layer["annotations"]["org.cncf.model.filepath"] != "model.sig");
        });
        stage.signed(&stage.plain, &changed)
    }),
    row(
        "rolled-back model",
        "an older manifest, signed, in answer to the digest",
        By::Verify,
        Code::ManifestDigestMismatch,
        |stage| {
            serve(stage, Target::Manifest(stage.plain.digest.oci()), Fault::AnswerWith(stage.other.digest));
            stage.pinned(&stage.plain)
        },
    ),
    row("sealed directory", "one bit of a file", By::Open, Code::SealInvalid, |stage| {
        sealed(stage, |folder| rewrite(&folder.join("a.bin.sealed"), |content| content[1_500_000] ^= 1))
    }),
    row("sealed directory", "one bit of a stream's head", By::Open, Code::SealInvalid, |stage| {
        sealed(stage, |folder| rewrite(&folder.join("a.bin.sealed"), |content| content[10] ^= 1))
    }),
    row("sealed directory", "two segments exchanged", By::Open, Code::SealInvalid, |stage| {
        sealed(stage, |folder| {
            rewrite(&folder.join("long.bin.sealed"), |content| {
                let (first, second) = content[SEGMENT..3 * SEGMENT].split_at_mut(SEGMENT);
                first.swap_with_slice(second);
            });
        })
    }),
    row("sealed directory", "two files exchanged", By::Open, Code::SealInvalid, |stage| {
        sealed(stage, |folder| {
            let [a, b] = ["a.bin.sealed", "b.bin.sealed"].map(|name| folder.join(name));
            let content = fs::read(&a).unwrap();
            fs::write(a, fs::read(&b).unwrap()).unwrap();
            fs::write(b, content).unwrap();
        })
    }),
    row("sealed directory", "a file that ends at a segment boundary", By::Open, Code::LayerSizeMismatch, |stage| {
        sealed(stage, |folder| rewrite(&folder.join("a.bin.sealed"), |content| content.truncate(2 * SEGMENT)))
    }),
    row(
        "sealed directory",
        "a file that ends at a segment boundary, as the index says",
        By::Open,
        Code::SealInvalid,
        |stage| {
            sealed(stage, |folder| {
                rewrite(&folder.join("a.bin.sealed"), |content| content.truncate(2 * SEGMENT));
                let plain = 2 * SEGMENT - 40 - 2 * 16;
                index(folder, |index| {
                    let files = index["files"].as_array_mut().unwrap();
                    let file = files.iter_mut().find(|file| file["path"] == "a.bin").unwrap();
                    file["size"] = plain.into();
                    (file["parts"][0]["size"], file["parts"][0]["sealed_size"]) = (plain.into(), (2 * SEGMENT).into());
                });
            })
        },
    ),
    row("sealed directory", "the artifact id in the index", By::Open, Code::Malformed, |stage| {
        sealed(stage, |folder| index(folder, |index| flip_hex(&mut index["artifact_id"])))
    }),
    row("sealed directory", "the key commitment in the index", By::Open, Code::KeyCommitmentMismatch, |stage| {
        sealed(stage, |folder| index(folder, |index| flip_hex(&mut index["key_commitment"])))
    }),
];
