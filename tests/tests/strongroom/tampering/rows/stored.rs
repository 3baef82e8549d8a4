//! What the registry stores and serves: manifests, layers, and which belong together.

use super::super::changes::{SEGMENT, exchange, replaced, serve};
use super::super::stage::{layer, point};
use super::{By, Row, row};
use serde_json::json;
use strongroom_devkit::registry::{Fault, Target};
use strongroom_wire::Code;

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
];
