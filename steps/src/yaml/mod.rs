//! YAML files of others: read with positions, changed at single paths, every other byte kept.
//!
//! Helm reads YAML 1.1, most tools read 1.2. Scalars that the two understand differently are never written and are
//! refused in files of the operator.

mod changed;
mod document;
mod edit;
mod error;
mod node;
mod path;
mod read;
mod scalar;
mod write;

pub use changed::changed_paths;
pub use document::Document;
pub use error::{Origin, Why, YamlError};
pub use path::{PathError, Seg, YamlPath};
