//! This machine, in temporary directories.

use std::path::{Path, PathBuf};

use wiab_steps::host::Host;
use wiab_steps::host::local::LocalHost;

use super::block;
use super::conformance::{self, World};

struct Local(tempfile::TempDir);

impl Local {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl World for Local {
    fn host_with(&self, grace_ms: u64) -> Box<dyn Host> {
        Box::new(LocalHost::new(self.jobs()).grace_ms(grace_ms))
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn jobs(&self) -> PathBuf {
        self.dir().join("jobs")
    }
}

#[test]
fn commands() {
    block(conformance::commands(&Local::new()));
}

#[test]
fn the_whole_process_group_is_killed() {
    block(conformance::the_whole_process_group_is_killed(&Local::new()));
}

#[test]
fn files() {
    block(conformance::files(&Local::new()));
}

#[test]
fn a_job_outlives_its_host() {
    block(conformance::a_job_outlives_its_host(&Local::new()));
}

#[test]
fn a_job_is_claimed_once() {
    block(conformance::a_job_is_claimed_once(&Local::new()));
}

#[test]
fn a_killed_job_has_ended() {
    block(conformance::a_killed_job_has_ended(&Local::new()));
}

#[test]
fn a_job_lives_as_long_as_anything_of_it() {
    block(conformance::a_job_lives_as_long_as_anything_of_it(
        &Local::new(),
    ));
}

#[test]
fn whoever_is_left_of_a_job_is_killed() {
    block(conformance::whoever_is_left_of_a_job_is_killed(
        &Local::new(),
    ));
}

#[test]
fn what_a_stopped_job_said_is_evidence() {
    block(conformance::what_a_stopped_job_said_is_evidence(
        &Local::new(),
    ));
}

#[test]
fn arguments_arrive_as_they_are() {
    block(conformance::arguments_arrive_as_they_are(&Local::new()));
}

#[test]
fn output_is_bounded() {
    block(conformance::output_is_bounded(&Local::new()));
}
