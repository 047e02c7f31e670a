//! A machine over SSH: a real sshd on loopback.

mod lost;
mod sshd;
mod sudo;
mod way;

use super::block;
use super::conformance;
use sshd::Machine;

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                block(async {
                    let machine = Machine::start(true).await;
                    conformance::$name(&machine).await;
                });
            }
        )*
    };
}

conforms!(
    commands,
    arguments_arrive_as_they_are,
    output_is_bounded,
    the_whole_process_group_is_killed,
    files,
    a_job_outlives_its_host,
    a_job_is_claimed_once,
    a_killed_job_has_ended,
    a_job_lives_as_long_as_anything_of_it,
    whoever_is_left_of_a_job_is_killed,
    what_a_stopped_job_said_is_evidence,
);
