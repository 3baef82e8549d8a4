//! A figure, its line, and its JSON.

use serde_json::{Value, json};
use std::path::Path;

/// What was measured, and what it is held against, in the same unit.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// `None` where nothing was measured beside it.
    pub(crate) limit: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str, limit: impl Into<Option<f64>>) -> Self {
        Self { name: name.into(), value, unit, limit: limit.into() }
    }

    fn json(&self) -> Value {
        let ratio = self.limit.map(|limit| self.value / limit);
        json!({ "name": self.name, "value": self.value, "unit": self.unit, "limit": self.limit, "ratio": ratio })
    }
}

/// Prints each line, and writes all as JSON to the file named first on the command line. `cargo bench` adds flags of its
/// own before and after.
pub(crate) fn publish(figures: &[Figure]) {
    print(figures);
    if let Some(path) = arguments().next() {
        write(figures, Path::new(&path));
    }
}

fn print(figures: &[Figure]) {
    for Figure { name, value, unit, limit } in figures {
        match limit {
            Some(limit) => println!("{name} {value:.1} {unit} {limit:.1} {:.3}", value / limit),
            None => println!("{name} {value:.1} {unit} - -"),
        }
    }
}

/// Writes all as JSON.
pub(crate) fn write(figures: &[Figure], path: &Path) {
    let rows: Vec<Value> = figures.iter().map(Figure::json).collect();
    std::fs::write(path, serde_json::to_vec_pretty(&rows).unwrap()).unwrap();
}

/// The command line without its flags.
pub(crate) fn arguments() -> impl Iterator<Item = String> {
    std::env::args().skip(1).filter(|argument| !argument.starts_with('-'))
}
