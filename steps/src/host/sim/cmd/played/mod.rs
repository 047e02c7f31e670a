//! What the release's playbooks do to the virtual machines, one file per playbook.

use super::super::state::Draft;
use super::Call;
use super::ansible::Inventoried;

/// A playbook that runs.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// Below the release's directory `ansible`.
    pub(super) playbook: &'a str,
    /// The tags that it is limited to.
    pub(super) tags: Option<&'a str>,
    /// The machines of the inventory that answer.
    pub(super) hosts: &'a [Inventoried],
    /// The command line.
    pub(super) call: &'a Call<'a>,
}

/// A task that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskFailure {
    /// A part of the task's name.
    pub(super) task: String,
    /// Where.
    pub(super) host: String,
    /// What the module says.
    pub(super) msg: String,
}

/// The effect of a playbook. What is there when a part of it is done is marked with [`Draft::mark_half`].
///
/// Changes made before a failure stay.
pub(super) fn played(draft: &mut Draft<'_>, run: &Run<'_>) -> Result<(), TaskFailure> {
    let _ = (draft, run.tags, run.hosts, run.call);
    match run.playbook {
        _ => Ok(()),
    }
}
