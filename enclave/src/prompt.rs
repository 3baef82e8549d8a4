//! What callers send to a model and get from it, kept out of logs, errors and freed memory.
//!
//! Zeroised is every copy that is ours. What the tokenizer, the engines of chat templates and of grammars, ONNX Runtime and the HTTP stack copy
//! stays, until it is overwritten, in the guest's encrypted memory.

use core::fmt;
use zeroize::Zeroizing;

/// Text or tokens of a caller, or for one. `Debug` prints neither.
pub struct Prompt<T: zeroize::Zeroize>(Zeroizing<T>);

impl<T: zeroize::Zeroize> Prompt<T> {
    /// Wraps what a caller sent, or is to get.
    pub fn new(content: T) -> Self {
        Self(Zeroizing::new(content))
    }

    /// What it is, for the model and for the caller alone.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The same, to be made longer or shorter.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: zeroize::Zeroize> fmt::Debug for Prompt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prompt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_prompt() {
        assert_eq!(format!("{:?}", Prompt::new("secret".to_owned())), "Prompt");
        assert_eq!(format!("{:?}", Prompt::new(vec![42u32])), "Prompt");
    }
}
