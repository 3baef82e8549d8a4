//! Two messages in step against the crypto backend.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use aws_lc_rs::digest;
use proptest::prelude::*;
use strongroom_sys::sha256::{Lanes, Sha256};

/// Without the instructions there is nothing to test, and nothing that would be used.
fn lanes() -> Option<Lanes> {
    let lanes = Lanes::detect();
    if lanes.is_none() {
        eprintln!("skipped: this processor has no SHA extensions");
    }
    lanes
}

fn backend(message: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, message).as_ref().try_into().unwrap()
}

fn message(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect()
}

#[test]
fn examples_of_the_standard_are_hashed_as_it_says() {
    let Some(lanes) = lanes() else { return };
    // FIPS 180-2, appendix B.
    for (message, want) in [
        (&b"abc"[..], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ] {
        let mut hash = Sha256::new(lanes);
        hash.update(message);
        let hex: String = hash.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, want);
    }
}

#[test]
fn every_length_around_three_blocks_is_hashed_as_by_the_backend() {
    let Some(lanes) = lanes() else { return };
    for length in 0..=3 * 64 + 1 {
        let (a, b) = (message(length), message(200 - length));
        let (mut hash_a, mut hash_b) = (Sha256::new(lanes), Sha256::new(lanes));
        Sha256::update_two([&mut hash_a, &mut hash_b], [&a, &b]);
        assert_eq!((hash_a.finish(), hash_b.finish()), (backend(&a), backend(&b)), "{length}");
    }
}

#[test]
fn message_of_a_million_and_one_of_none_do_not_disturb_each_other() {
    let Some(lanes) = lanes() else { return };
    let long = vec![b'a'; 1_000_000];
    let (mut a, mut b) = (Sha256::new(lanes), Sha256::new(lanes));
    Sha256::update_two([&mut a, &mut b], [&long, &[]]);
    assert_eq!((a.finish(), b.finish()), (backend(&long), backend(&[])));
}

proptest! {
    #[test]
    fn messages_in_any_pieces_are_hashed_as_by_the_backend(
        pieces in prop::collection::vec((0..400_usize, 0..400_usize, any::<bool>()), 0..12),
    ) {
        let Some(lanes) = lanes() else { return Ok(()) };
        let total = |of: fn(&(usize, usize, bool)) -> usize| message(pieces.iter().map(of).sum::<usize>());
        let (all_a, all_b) = (total(|piece| piece.0), total(|piece| piece.1));
        let (mut left_a, mut left_b) = (all_a.as_slice(), all_b.as_slice());
        let (mut a, mut b) = (Sha256::new(lanes), Sha256::new(lanes));
        for (to_a, to_b, together) in pieces {
            let (now_a, now_b);
            (now_a, left_a) = left_a.split_at(to_a);
            (now_b, left_b) = left_b.split_at(to_b);
            if together {
                Sha256::update_two([&mut a, &mut b], [now_a, now_b]);
            } else {
                a.update(now_a);
                b.update(now_b);
            }
        }
        prop_assert_eq!(a.finish(), backend(&all_a));
        prop_assert_eq!(b.finish(), backend(&all_b));
    }
}
