//! From blobs to files.

use super::*;
use crate::seal;
use std::io::Read as _;
use strongroom_sys::memory::Memory;

#[test]
fn statement_that_misses_adds_or_changes_a_file_refused() {
    let mut missing = files();
    missing.pop();
    let mut extra = files();
    extra.push(("zzz", b"x".to_vec()));
    let mut changed = files();
    changed[0].1 = b"[]".to_vec();
    for signed in [missing, extra, changed] {
        for sealed in [false, true] {
            let stored = store(&files(), &signed, sealed, HashAlgorithm::Sha256);
            assert_eq!(stored.refused(), Code::StatementMismatch);
        }
    }
}

#[test]
fn statement_by_another_than_the_statement_signers_refused() {
    let mut stored = sealed();
    assert!(stored.open().is_ok());
    stored.trainer = SigningKey::generate().unwrap();
    assert_eq!(stored.refused(), Code::SignerUntrusted);
}

#[test]
fn blob_changed_cut_or_prolonged_refused_by_what_the_manifest_names() {
    for sealed in [false, true] {
        let stored = || store(&files(), &files(), sealed, HashAlgorithm::Sha256);
        let last = stored().blobs.len() - 1;
        let mut changed = stored();
        changed.blobs[last][0] ^= 1;
        assert_eq!(changed.refused(), Code::LayerDigestMismatch);
        let mut cut = stored();
        cut.blobs[last].pop();
        assert_eq!(cut.refused(), Code::LayerSizeMismatch);
        let mut prolonged = stored();
        prolonged.blobs[last].push(0);
        assert_eq!(prolonged.refused(), Code::LayerSizeMismatch);
    }
}

#[test]
fn sealed_files_that_the_producer_swapped_refused() {
    // Two streams of one length, each named by a properly signed manifest in the place of the other.
    let same: Vec<_> = ["x.bin", "y.bin"].map(|path| (path, path.as_bytes().to_vec())).into();
    let mut stored = store(&same, &same, true, HashAlgorithm::Sha256);
    let mut json: serde_json::Value = serde_json::from_slice(&stored.manifest).unwrap();
    let (x, y) = (1, 2);
    let digest = json["layers"][x]["digest"].clone();
    json["layers"][x]["digest"] = json["layers"][y]["digest"].clone();
    json["layers"][y]["digest"] = digest;
    stored.manifest = json.to_string().into_bytes();
    stored.digest = Sha256::of(&stored.manifest);
    stored.blobs.swap(x, y);
    assert_eq!(stored.refused(), Code::SealInvalid);
}

#[test]
fn unfinished_layers_and_parts_out_of_order_refused() {
    let stored = sealed();
    let open = |opener: LayerOpener| {
        let blob = stored.blob(opener.layer());
        let mut pieces = [blob].into_iter();
        opener.open(NonZero::<usize>::MIN, || Ok(pieces.next()), &|_, _: &[u8]| Ok(())).map_err(|refusal| refusal.code)
    };
    let mut model = stored.opening(stored.trusted().unwrap()).unwrap();
    let mut openers: Vec<_> = model.take_runs().into_iter().flat_map(Run::into_openers).collect();
    let second_part = openers.iter().position(|opener| opener.layer().part == 2).unwrap();
    assert_eq!(open(openers.remove(second_part)), Err(Code::Internal));
    for opener in openers.into_iter().filter(|opener| opener.layer().part == 1) {
        assert_eq!(open(opener), Ok(()));
    }
    assert_eq!(model.finish().unwrap_err().code, Code::StatementMismatch);
}

#[test]
fn model_is_not_finished_while_an_opener_is_left() {
    let stored = sealed();
    let mut model = stored.opening(stored.trusted().unwrap()).unwrap();
    let runs = model.take_runs();
    assert!(model.take_runs().is_empty(), "each layer once");
    assert_eq!(model.finish().unwrap_err().code, Code::StatementMismatch);
    drop(runs);
}

#[test]
fn pieces_of_another_length_refused() {
    let stored = sealed();
    let mut model = stored.opening(stored.trusted().unwrap()).unwrap();
    for opener in model.take_runs().into_iter().flat_map(Run::into_openers).filter(|opener| opener.layer().part == 1) {
        let blob = stored.blob(opener.layer());
        let mut halves = [&blob[..20], &blob[20..]].into_iter();
        let refused = opener.open(NonZero::<usize>::MIN, || Ok(halves.next()), &|_, _: &[u8]| Ok(()));
        assert_eq!(refused.unwrap_err().code, Code::Internal);
    }
}

/// One file over three segments in parts of a MiB, and a short one.
fn long_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("short", b"short".to_vec()), ("weights.bin", (0_u32..900_000).flat_map(u32::to_le_bytes).collect())]
}

#[test]
fn layers_of_many_pieces_open_on_several_threads_under_each_statement() {
    let plain: BTreeMap<_, _> = long_files().into_iter().map(|(path, content)| (path.to_owned(), content)).collect();
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Blake3] {
        for shard_len in [None, Some(1 << 20), Some(1_000_000)] {
            for (sealed, part_len) in [(true, 1 << 20), (true, 2_500_000), (false, 1 << 20)] {
                let stored = Storing { part_len, shard_len, sealed, hash }.store(&long_files(), &long_files());
                let parts = 3_600_000_u64.div_ceil(part_len);
                let mut model = stored.opening(stored.trusted().unwrap()).unwrap();
                let apart = matches!((hash, shard_len), (_, Some(0x10_0000)) | (HashAlgorithm::Blake3, None));
                let runs = if apart && part_len == 1 << 20 { parts } else { 1 };
                assert_eq!(
                    u64::try_from(model.take_runs().len()).unwrap(),
                    1 + runs,
                    "{hash} {shard_len:?} {part_len}"
                );
                let (_, opened) = stored.open_in(stored.trusted().unwrap(), 3).unwrap();
                assert!(opened == plain, "{hash} {shard_len:?} {part_len}");
            }
        }
    }
}

#[test]
fn layers_in_twos_open_to_the_same_and_a_change_in_either_is_refused() {
    let plain: BTreeMap<_, _> = long_files().into_iter().map(|(path, content)| (path.to_owned(), content)).collect();
    for sealed in [true, false] {
        let storing = || Storing { part_len: 1 << 20, sealed, hash: HashAlgorithm::Blake3, ..Storing::default() };
        let stored = || storing().store(&long_files(), &long_files());
        assert!(stored().open_in_twos().unwrap() == plain);
        for blob in (0..stored().blobs.len()).filter(|blob| stored().blobs[*blob].len() > 1000) {
            let refused = |change: fn(&mut Vec<u8>)| {
                let mut stored = stored();
                change(&mut stored.blobs[blob]);
                stored.open_in_twos().unwrap_err().code
            };
            assert_eq!(refused(|bytes| bytes[900] ^= 1), Code::LayerDigestMismatch);
            assert_eq!(refused(|bytes| bytes.truncate(999)), Code::LayerSizeMismatch);
            assert_eq!(refused(|bytes| bytes.push(0)), Code::LayerSizeMismatch);
        }
    }
}

/// A file that is opened where it lies.
struct Places(Memory);

impl FileSink for Places {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.place_at(offset, bytes.len()).map(|place| place.unwrap().copy_from_slice(bytes))
    }

    fn place_at(&self, offset: u64, length: usize) -> Result<Option<&mut [u8]>> {
        let place = self.0.take(offset..offset + u64::try_from(length).unwrap()).unwrap();
        Ok(Some(place.expect("each byte once")))
    }
}

impl Places {
    fn of(content: &[u8]) -> Self {
        Self(Memory::sealable(c"test", u64::try_from(content.len()).unwrap()).unwrap())
    }

    fn read(self) -> Vec<u8> {
        let (mut bytes, mut file) = (Vec::new(), self.0.finish());
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

#[test]
fn layers_are_opened_in_place_to_the_same_sealed_or_not_alone_or_in_twos() {
    let [_, (_, weights)] = <[_; 2]>::try_from(long_files()).unwrap();
    let of_weights = |stored: &Stored| {
        let model = stored.opening(stored.trusted().unwrap()).unwrap();
        let openers = |mut model: OpeningModel| model.take_runs().into_iter().flat_map(Run::into_openers);
        openers(model).filter(|opener| opener.layer().path == "weights.bin").collect::<Vec<_>>()
    };
    for sealed in [true, false] {
        let storing = Storing { part_len: 1 << 20, sealed, hash: HashAlgorithm::Blake3, ..Storing::default() };
        let stored = storing.store(&long_files(), &long_files());
        let pieces = |layer: &Layer| {
            let mut pieces = stored.blob(layer).chunks(PIECE);
            move || Ok(pieces.next())
        };
        let place = Places::of(&weights);
        for opener in of_weights(&stored) {
            let next = pieces(&opener.layer().clone());
            opener.open(NonZero::new(3).unwrap(), next, &place).unwrap();
        }
        assert!(place.read() == weights);
        let place = Places::of(&weights);
        let mut openers = of_weights(&stored);
        while let (Some(a), Some(b)) = (openers.pop(), openers.pop()) {
            let nexts = [&a, &b].map(|opener| pieces(opener.layer()));
            LayerOpener::open_two([a, b], nexts, [&place; 2]).unwrap();
        }
        assert!(place.read() == weights);
    }
}

#[test]
fn segment_that_does_not_authenticate_leaves_nothing_in_its_place() {
    let content: Vec<u8> = vec![7; 2 * PIECE];
    let files = [("a", content.clone())];
    let first = usize::try_from(seal::plain_len(1 << 20).unwrap()).unwrap();
    let storing = Storing { part_len: 4 << 20, hash: HashAlgorithm::Blake3, ..Storing::default() };
    let mut stored = storing.store(&files, &files);
    // One byte of the second segment, under a digest that its producer signed.
    let at = stored.blobs.iter().position(|blob| blob.len() > content.len()).unwrap();
    stored.blobs[at][PIECE + 5] ^= 1;
    let mut json: serde_json::Value = serde_json::from_slice(&stored.manifest).unwrap();
    json["layers"][at]["digest"] = Sha256::of(&stored.blobs[at]).oci().into();
    stored.manifest = json.to_string().into_bytes();
    stored.digest = Sha256::of(&stored.manifest);
    let mut model = stored.opening(stored.trusted().unwrap()).unwrap();
    let opener = model.take_runs().into_iter().flat_map(Run::into_openers).next().unwrap();
    let (place, mut pieces) = (Places::of(&content), stored.blobs[at].chunks(PIECE));
    let next = || Ok(pieces.next());
    assert_eq!(opener.open(NonZero::<usize>::MIN, next, &place).unwrap_err().code, Code::SealInvalid);
    let left = place.read();
    assert!(left[..first] == content[..first], "what was before it");
    assert!(left[first..].iter().all(|byte| *byte == 0), "it, and what comes after");
}

#[test]
fn statement_over_shards_that_misses_adds_or_changes_one_refused() {
    let files = vec![("a", vec![1; 250])];
    let storing = || Storing { shard_len: Some(100), ..Storing::default() };
    assert!(storing().store(&files, &files).open().is_ok());
    // Which the statement cannot tell from one that the registry's signer added.
    let empty = [files.clone(), vec![("empty", Vec::new())]].concat();
    assert_eq!(storing().store(&empty, &empty).refused(), Code::StatementMismatch);
    let mut changed = files.clone();
    changed[0].1[249] = 2;
    let shorter = vec![("a", vec![1; 200])];
    let longer = vec![("a", vec![1; 301])];
    let tail = vec![("a", vec![1; 251])];
    for signed in [changed, shorter, longer, tail] {
        assert_eq!(storing().store(&files, &signed).refused(), Code::StatementMismatch);
    }
}

#[test]
fn statement_over_another_hash_than_the_manifest_says_refused() {
    let stored = |said| {
        let mut stored = store(&files(), &files(), false, HashAlgorithm::Blake3);
        let mut json: serde_json::Value = serde_json::from_slice(&stored.manifest).unwrap();
        let annotations = json["annotations"].as_object_mut().unwrap();
        let hash = annotations.values_mut().find(|value| **value == "blake3").unwrap();
        *hash = serde_json::json!(said);
        stored.manifest = json.to_string().into_bytes();
        stored.digest = Sha256::of(&stored.manifest);
        stored
    };
    assert!(stored("blake3").open().is_ok());
    assert_eq!(stored("sha256").refused(), Code::StatementMismatch);
}

#[test]
fn changed_piece_ends_the_opening_on_every_number_of_threads() {
    let long = long_files();
    for threads in [1, 4] {
        let mut stored = Storing { part_len: 1 << 30, ..Storing::default() }.store(&long, &long);
        let weights = stored.blobs.iter().position(|blob| blob.len() > 1 << 20).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&stored.manifest).unwrap();
        for (at, named, want) in [(PIECE + 5, false, Code::LayerDigestMismatch), (0, true, Code::SealInvalid)] {
            stored.blobs[weights][at] ^= 1;
            if named {
                // By a producer, who signs what does not open.
                let layers = json["layers"].as_array_mut().unwrap();
                let size = stored.blobs[weights].len();
                let layer = layers.iter_mut().find(|layer| layer["size"] == size).unwrap();
                layer["digest"] = Sha256::of(&stored.blobs[weights]).oci().into();
                stored.manifest = json.to_string().into_bytes();
                stored.digest = Sha256::of(&stored.manifest);
            }
            let refused = stored.open_in(stored.trusted().unwrap(), threads).map(|_| ()).unwrap_err();
            assert_eq!(refused.code, want, "{threads}");
        }
    }
}

#[test]
fn refusal_of_the_sink_and_of_the_source_come_through_on_every_number_of_threads() {
    let long = long_files();
    let stored = Storing { part_len: 1 << 30, ..Storing::default() }.store(&long, &long);
    for threads in [1, 4].map(|threads| NonZero::new(threads).unwrap()) {
        for source_fails in [true, false] {
            let mut model = stored.opening(stored.trusted().unwrap()).unwrap();
            let opener = model.take_runs().into_iter().flat_map(Run::into_openers).next().unwrap();
            let (mut pieces, mut refused) = (stored.blob(opener.layer()).chunks(PIECE), false);
            let next = || match pieces.next() {
                _ if refused => panic!("asked again after it refused"),
                Some(_) if source_fails && pieces.len() == 1 => {
                    refused = true;
                    Err(Refusal::new(Code::Network, "source"))
                }
                piece => Ok(piece),
            };
            let sink = |offset, _: &[u8]| match offset {
                1_048_520 if !source_fails => Err(Refusal::new(Code::Io, "sink")),
                _ => Ok(()),
            };
            let want = if source_fails { Code::Network } else { Code::Io };
            assert_eq!(opener.open(threads, next, &sink).unwrap_err().code, want);
        }
    }
}

#[test]
fn run_beside_one_that_failed_says_what_is_wrong_with_its_own_layer() {
    let long = long_files();
    let stored = Storing { part_len: 1 << 20, hash: HashAlgorithm::Blake3, ..Storing::default() }.store(&long, &long);
    let mut model = stored.opening(stored.trusted().unwrap()).unwrap();
    let runs = model.take_runs().into_iter().flat_map(Run::into_openers);
    let codes = runs.filter(|opener| opener.layer().parts > 1).map(|opener| {
        let mut blob = stored.blob(opener.layer()).to_vec();
        blob[100] ^= 1;
        let mut pieces = blob.chunks(PIECE);
        let opened = opener.open(NonZero::<usize>::MIN, || Ok(pieces.next()), &|_, _: &[u8]| Ok(()));
        opened.unwrap_err().code
    });
    let codes: Vec<Code> = codes.collect();
    assert!(codes.len() > 2 && codes.iter().all(|code| *code == Code::LayerDigestMismatch), "{codes:?}");
}
