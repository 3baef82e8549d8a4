//! The compression function of FIPS 180-4 §6.2.2 by the SHA extensions of x86-64, for `N` messages in step.
//!
//! `SHA256RNDS2` makes two rounds on a state in two registers, ABEF and CDGH; `SHA256MSG1` and `SHA256MSG2` make four words of
//! the message schedule of sixteen before them (Intel SDM, volume 2).

use super::BLOCK;
use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_setzero_si128,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

/// §4.2.2, four words for four rounds.
const K: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// A state: ABEF and CDGH, from the high word down.
type Pair = (__m128i, __m128i);
/// The last sixteen words of a message schedule.
type Words = [__m128i; 4];

/// Takes the blocks into each state; of several, as many as the shortest has.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn compress<const N: usize>(messages: [(&mut [u32; 8], &[[u8; BLOCK]]); N]) {
    let count = messages.iter().map(|(_, blocks)| blocks.len()).min().unwrap_or(0);
    let mut states = [(_mm_setzero_si128(), _mm_setzero_si128()); N];
    for (state, (words, _)) in states.iter_mut().zip(&messages) {
        *state = load_state(words);
    }
    for index in 0..count {
        let mut words = [[_mm_setzero_si128(); 4]; N];
        for (words, (_, blocks)) in words.iter_mut().zip(&messages) {
            if let Some(block) = blocks.get(index) {
                *words = load_block(block);
            }
        }
        block(&mut states, words);
    }
    for (state, (words, _)) in states.iter().zip(messages) {
        *words = store_state(state);
    }
}

/// One block of each message: sixteen times four rounds.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn block<const N: usize>(states: &mut [Pair; N], mut words: [Words; N]) {
    let before = *states;
    for k in &K[..12] {
        let k = four(*k);
        for (state, words) in states.iter_mut().zip(&mut words) {
            *state = rounds(*state, _mm_add_epi32(words[0], k));
            let [a, b, c, d] = *words;
            let next = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4));
            *words = [b, c, d, _mm_sha256msg2_epu32(next, d)];
        }
    }
    for k in &K[12..] {
        let k = four(*k);
        for (state, words) in states.iter_mut().zip(&mut words) {
            let [a, b, c, d] = *words;
            *state = rounds(*state, _mm_add_epi32(a, k));
            *words = [b, c, d, a];
        }
    }
    for (state, before) in states.iter_mut().zip(before) {
        *state = (_mm_add_epi32(state.0, before.0), _mm_add_epi32(state.1, before.1));
    }
}

/// Four rounds, by four words of the schedule with their constants added.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn rounds((abef, cdgh): Pair, words: __m128i) -> Pair {
    let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
    let abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0b00_00_11_10));
    (abef, cdgh)
}

#[target_feature(enable = "sse4.1,ssse3")]
fn four(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_set_epi32(d, c, b, a)
}

/// The words of a block, which are big-endian in it.
#[target_feature(enable = "sse4.1,ssse3")]
fn load_block(block: &[u8; BLOCK]) -> Words {
    let turned = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let mut words = [_mm_setzero_si128(); 4];
    for (words, bytes) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        let [low, high] =
            [bytes.first_chunk(), bytes.last_chunk()].map(|half| half.copied().map_or(0, i64::from_le_bytes));
        *words = _mm_shuffle_epi8(_mm_set_epi64x(high, low), turned);
    }
    words
}

#[target_feature(enable = "sse4.1,ssse3")]
fn load_state([a, b, c, d, e, f, g, h]: &[u32; 8]) -> Pair {
    (four([*f, *e, *b, *a]), four([*h, *g, *d, *c]))
}

#[target_feature(enable = "sse4.1,ssse3")]
fn store_state((abef, cdgh): &Pair) -> [u32; 8] {
    let [f, e, b, a] = words_of(*abef);
    let [h, g, d, c] = words_of(*cdgh);
    [a, b, c, d, e, f, g, h]
}

#[target_feature(enable = "sse4.1,ssse3")]
fn words_of(four: __m128i) -> [u32; 4] {
    let words = [
        _mm_extract_epi32(four, 0),
        _mm_extract_epi32(four, 1),
        _mm_extract_epi32(four, 2),
        _mm_extract_epi32(four, 3),
    ];
    words.map(i32::cast_unsigned)
}
