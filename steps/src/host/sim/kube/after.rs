//! What controllers do with the objects of a release once it is deployed, and when it goes.
//!
//! The place where further controllers of the simulated cluster hook in: they see the release with its values.

use super::super::acme;
use super::super::state::Draft;
use super::release::Release;

/// A release was installed, upgraded or rolled back.
pub(crate) fn installed(draft: &mut Draft<'_>, release: &Release) {
    acme::installed(draft, release);
}

/// A release is about to be uninstalled; its objects are still there.
pub(crate) fn removed(draft: &mut Draft<'_>, release: &Release) {
    acme::removed(draft, release);
}
