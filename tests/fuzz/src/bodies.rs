//! One module for each target.

pub mod endorsements;
pub mod firmware;
pub mod hardware;
pub mod messages;
pub mod models;
pub mod published;
pub mod signed;
pub mod signers;
pub mod snp_verify;
pub mod tdx_verify;
pub mod tokens;

/// The first byte says which parser, the rest is its input.
fn choose(input: &[u8], parsers: &[fn(&[u8])]) {
    if let Some((choice, rest)) = input.split_first() {
        parsers[usize::from(*choice) % parsers.len()](rest);
    }
}
