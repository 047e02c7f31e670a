//! The installation's secrets: made once, sealed in one file, rendered where they are needed, kept out of everything else.

mod entropy;
mod form;
mod generate;
mod learning;
mod live;
mod mls;
mod name;
mod scrub;
mod sealed;
mod yaml;
mod zauth;

pub use self::entropy::{Entropy, EntropyError, OsEntropy, SeededEntropy};
pub use self::form::Form;
pub(crate) use self::form::{HEADER, extract, shown};
pub(crate) use self::generate::rotate;
pub use self::generate::{Found, GenerateError, generate};
pub use self::learning::LearningHost;
pub(crate) use self::live::LiveError;
pub use self::live::{Cluster, Kubectl};
pub use self::mls::Curve;
pub use self::name::{Name, ShapeError};
pub use self::scrub::{ScrubError, Scrubber};
pub(crate) use self::sealed::SECRET_MODE;
pub use self::sealed::{Origin, SealedError, SealedSet};
