//! A model that says one text, whatever it is asked, as far as it may.

use super::*;
use crate::inference::generation::vocabulary::tests::vocabulary;

/// A graph whose likeliest token is the next byte of a text, and 256 at its end; the others are the likelier, the higher they are, so that
/// brackets are closed where they can be.
pub(super) struct Recites(pub(super) Vec<u8>);

/// Of each row, how many tokens came after its prompt, and its logits.
pub(super) struct Rows {
    said: Vec<Option<usize>>,
    logits: Vec<Vec<f32>>,
}

impl Forward for Recites {
    type Cache = Rows;

    fn cache(&mut self, _: usize) -> Result<Rows> {
        Ok(Rows { said: vec![None], logits: vec![Vec::new()] })
    }

    fn run(&mut self, cache: &mut Rows, tokens: &[u32]) -> Result<()> {
        let is_prompt = cache.said.len() == 1 && (tokens.len() > 1 || cache.said == [None]);
        for (said, logits) in cache.said.iter_mut().zip(&mut cache.logits) {
            let at = if is_prompt { 0 } else { said.map_or(0, |said| said + 1) };
            *said = Some(at);
            let next = self.0.get(at).map_or(256, |byte| u32::from(*byte));
            let other = |token: u16| -f32::from(257 - token);
            *logits = (0..258).map(|token| if u32::from(token) == next { 10.0 } else { other(token) }).collect();
        }
        Ok(())
    }

    fn arrange(&mut self, cache: &mut Rows, rows: &[Option<usize>], _: usize) -> Result<()> {
        cache.said = rows.iter().map(|from| from.and_then(|from| cache.said[from])).collect();
        cache.logits = vec![Vec::new(); rows.len()];
        Ok(())
    }

    fn copy(&mut self, from: &Rows, to: &mut Rows, row: usize) -> Result<()> {
        to.said[row] = from.said[0];
        Ok(())
    }

    fn release(&mut self, _: &mut Rows, _: usize) {}

    fn logits<'a>(&self, cache: &'a Rows, row: usize) -> &'a [f32] {
        &cache.logits[row]
    }

    fn of_token(&self) -> usize {
        1
    }
}

pub(super) fn reciter(text: &str, jinja: &str) -> Generator {
    let config = ("config.json", r#"{"eos_token_id":256,"max_position_embeddings":2048}"#);
    let template = template(jinja);
    Generator::new(Recites(text.as_bytes().to_vec()), vocabulary(&[config]).unwrap(), Some(template)).unwrap()
}

/// A model that says `text`, with room for 2048 tokens, whose template is `jinja`.
pub(crate) fn reciting(text: &str, jinja: &str) -> Model {
    Model { manifest: Sha256([1; 32]), kind: Kind::Generation(reciter(text, jinja)) }
}
