//! What somebody signed: signatures, certificates, log entries, statements and promotions.

use super::super::changes::{flip, flip_hex, identity, present_by, promotion, serve, signature, statement};
use super::super::stage::{SEQUENCE, layer, now};
use super::{By, Row, keyless, row};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_artifact::cosign::sign_manifest;
use strongroom_artifact::oms::sign_payload;
use strongroom_artifact::promotion::{Action, Statement};
use strongroom_devkit::registry::{Fault, Target};
use strongroom_wire::Code;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::trust::Environment;

const DAY: u64 = 24 * 60 * 60;

pub(super) const ROWS: &[Row] = &[
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
    row("promotion", "not listed", By::Verify, Code::PromotionMissing, |stage| stage.stated(&[])),
    row("promotion", "one bit of its signature", By::Verify, Code::PromotionMissing, |stage| {
        promotion(stage, |_| (), |bundle| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    }),
    row("promotion", "one bit of what is signed", By::Verify, Code::PromotionMissing, |stage| {
        promotion(stage, |_| (), |bundle| flip(&mut bundle["dsseEnvelope"]["payload"]))
    }),
    row("promotion", "by a stranger", By::Verify, Code::PromotionMissing, |stage| {
        let statement = stage.promotion(&stage.promoted, SEQUENCE);
        stage.stated(&[statement.sign(&stage.stranger).unwrap()])
    }),
    row("promotion", "of another model in its place", By::Verify, Code::PromotionMissing, |stage| {
        promotion(stage, |statement| statement.manifest = stage.older.digest, |_| ())
    }),
    row("promotion", "to another environment in its place", By::Verify, Code::PromotionMissing, |stage| {
        promotion(stage, |statement| statement.environment = Environment::parse("staging").unwrap(), |_| ())
    }),
    row("promotion", "of the model in another repository in its place", By::Verify, Code::PromotionMissing, |stage| {
        promotion(stage, |statement| statement.repository.push('x'), |_| ())
    }),
    row(
        "promotion",
        "an older one replayed, of a sequence below the rule's minimum",
        By::Verify,
        Code::PromotionSuperseded,
        |stage| promotion(stage, |statement| statement.sequence = SEQUENCE - 1, |_| ()),
    ),
    row("promotion", "an older one replayed, which has expired", By::Verify, Code::PromotionExpired, |stage| {
        promotion(
            stage,
            |statement| {
                statement.issued = now() - 40 * DAY;
                statement.action = Action::Promote { expires: now() - 10 * DAY, policy: None };
            },
            |_| (),
        )
    }),
    row(
        "promotion",
        "the right one, with the demotion that came after it",
        By::Verify,
        Code::PromotionDemoted,
        |stage| {
            let statement = stage.promotion(&stage.promoted, SEQUENCE);
            let action = Action::Demote { reason: "withdrawn".to_owned() };
            let demotion = Statement { sequence: SEQUENCE + 1, action, ..statement.clone() };
            stage.stated(&[statement, demotion].map(|statement| statement.sign(&stage.promoter).unwrap()))
        },
    ),
    row(
        "rolled-back tag",
        "to an older model, signed and never promoted",
        By::Verify,
        Code::PromotionMissing,
        |stage| {
            stage.present(&stage.older, stage.older.digest, std::slice::from_ref(&stage.older.bundle));
            stage.rolled_back()
        },
    ),
    row(
        "rolled-back tag",
        "to an older model, signed and once promoted",
        By::Verify,
        Code::PromotionSuperseded,
        |stage| {
            let once = stage.promotion(&stage.older, SEQUENCE - 1).sign(&stage.promoter).unwrap();
            stage.present(&stage.older, stage.older.digest, &[stage.older.bundle.clone(), once]);
            stage.rolled_back()
        },
    ),
];
