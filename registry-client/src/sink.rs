//! Where the files of an opened model go.

pub use strongroom_artifact::ladder::FileSink;
use strongroom_artifact::ladder::VerifiedModel;
use strongroom_wire::Result;

/// A place that takes a model's files. Until [`Self::keep`] is called, what it holds is not verified; where that is not called,
/// it is to be thrown away.
pub trait ModelSink: Sized {
    /// One file of it. None is left when the sink is told to keep them.
    type File: FileSink + Send + Sync + 'static;
    /// What it becomes once all of it is verified.
    type Kept;

    /// Makes room for the file `path` of exactly `size` bytes. `path` is relative, portable, without `..`, and comes once.
    ///
    /// # Errors
    /// Any; the model is then not opened.
    fn create(&mut self, path: &str, size: u64) -> Result<Self::File>;

    /// Whether the bundle with the model's signed statement, `model.sig`, is wanted like a file.
    fn takes_statement(&self) -> bool {
        false
    }

    /// Keeps the files: all of them were written and are those of the model that `filled` stands for.
    ///
    /// # Errors
    /// Any; the model is then not opened.
    fn keep(self, filled: Filled<'_>) -> Result<Self::Kept>;
}

/// Proof that the sink which is given it holds all files of a model, and nothing else. [`crate::open_model`] makes one for the
/// sink that it filled, and nobody else makes any; a sink around another hands it on.
///
/// ```compile_fail,E0451
/// use strongroom_artifact::ladder::VerifiedModel;
/// use strongroom_registry_client::{DirectorySink, Filled, ModelSink};
/// fn forge(sink: DirectorySink, model: &VerifiedModel) {
///     sink.keep(Filled { model }).unwrap();
/// }
/// ```
/// ```compile_fail,E0382
/// use strongroom_registry_client::{DirectorySink, Filled, ModelSink};
/// fn twice(filled: Filled<'_>, one: DirectorySink, other: DirectorySink) {
///     one.keep(filled).unwrap();
///     other.keep(filled).unwrap();
/// }
/// ```
/// ```
/// use strongroom_registry_client::{DirectorySink, Filled, ModelSink};
/// fn once(filled: Filled<'_>, one: DirectorySink) {
///     one.keep(filled).unwrap();
/// }
/// ```
#[derive(Debug)]
pub struct Filled<'a> {
    model: &'a VerifiedModel,
}

impl<'a> Filled<'a> {
    pub(crate) const fn with(model: &'a VerifiedModel) -> Self {
        Self { model }
    }

    /// The model.
    pub const fn model(&self) -> &'a VerifiedModel {
        self.model
    }
}
