//! A directory that was sealed without a registry.

use super::super::changes::{SEGMENT, flip_hex, index, rewrite, sealed};
use super::{By, Row, row};
use std::fs;
use strongroom_wire::Code;

pub(super) const ROWS: &[Row] = &[
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
