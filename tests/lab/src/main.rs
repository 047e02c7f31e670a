//! `wiab-lab`: a disposable "physical machine" with real libvirt, nftables and QEMU, in which wiab is tried without
//! touching the machine that it runs on.

mod agent;
mod apt;
mod artifact;
mod bench;
mod cache;
mod certs;
mod cgroup;
mod cmd;
mod e2e;
mod error;
mod hairpin;
mod hub;
mod image;
mod inside;
mod kube;
mod machine;
mod outer;
mod process;
mod rootfs;
mod say;
mod scenario;
mod selftest;
mod snapshot;
mod sources;
mod step;
mod sys;
mod tools;
mod web;
mod whole;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cache::Cache;
use crate::error::{LabError, Result};
use crate::inside::Bind;
use crate::machine::Machine;
use crate::say::say;

/// Longest time that a command in the machine may take, in seconds.
const COMMAND_LIMIT_S: u64 = 4 * 3600;

/// A disposable physical machine to try wiab on.
#[derive(Debug, Parser)]
#[command(name = "wiab-lab", version)]
struct Args {
    /// Where the costly parts are kept (default: `wiab-lab` in the user's cache directory).
    #[arg(long, global = true, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Installs what is missing on this machine and builds the cluster's programs: about ten minutes, once.
    PrepareKube,
    /// Installs what is missing on this machine and builds the machine's file system and the VM image.
    Prepare,
    /// Boots the machine, runs a command in it as root, and removes it; ends with the command's exit code.
    Run {
        /// Leaves the machine running: `exec` runs more in it, `clean` removes it.
        #[arg(long)]
        keep: bool,
        /// A file or directory that the machine sees at /lab/NAME, read-only.
        #[arg(long, value_name = "PATH")]
        share: Vec<PathBuf>,
        /// A directory that the machine sees at /lab/work and may write.
        #[arg(long, value_name = "DIR")]
        work: Option<PathBuf>,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Runs a command in the machine that `run --keep` left.
    Exec {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Boots a machine for use by hand, with wiab, a configuration and a release in it, and leaves it running.
    Up {
        /// The binary to try.
        #[arg(long, value_name = "PATH")]
        wiab: PathBuf,
    },
    /// Logs in to the machine that `up` left, from outside; or runs a command there.
    Ssh {
        /// The command and its arguments.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Removes every machine, also one left by a lab that was killed.
    Clean,
    /// Proves that the lab itself works, with one VM.
    Selftest,
    /// Proves wiab: installs the first slice on the machine, with kills in the middle, and takes it back.
    E2e {
        /// The binary to prove.
        #[arg(long, value_name = "PATH")]
        wiab: PathBuf,
        /// Leaves the machine running if the scenario fails.
        #[arg(long)]
        keep: bool,
    },
    /// Proves with real packets what wiab says about the way from the VMs to the public address, and its cure.
    Hairpin {
        /// Leaves the machine running if it fails.
        #[arg(long)]
        keep: bool,
    },
    /// Proves wiab with the whole plan: seven VMs, playbooks, charts.
    Whole {
        /// The binary to prove.
        #[arg(long, value_name = "PATH")]
        wiab: PathBuf,
        /// Only as far as these steps or areas.
        #[arg(long, value_name = "STEP")]
        until: Option<String>,
        /// Leaves the machine running if the scenario fails.
        #[arg(long)]
        keep: bool,
    },
    /// Proves wiab with certificates: a real cluster, a real authority, and a hairpin rule that is missing.
    Certs {
        /// The binary to prove.
        #[arg(long, value_name = "PATH")]
        wiab: PathBuf,
        /// Leaves the machine running if it fails.
        #[arg(long)]
        keep: bool,
    },
    /// One of wiab's steps, on the machine.
    #[command(hide = true)]
    Step,
    /// The agent of a Kubernetes node.
    #[command(hide = true)]
    Agent {
        /// The node's name.
        node: String,
    },
    /// What stands for kubelets, ingress controller and cert-manager.
    #[command(hide = true)]
    Hub {
        /// What it needs to know.
        order: PathBuf,
    },
    /// A web server that tells who it is.
    #[command(hide = true)]
    Web {
        /// Its name.
        name: String,
    },
    /// The inner half of the lab.
    #[command(hide = true)]
    Inside {
        /// What to do.
        order: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error}"));
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                say(&format!("  because: {cause}"));
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    match &args.action {
        Action::Inside { order } => return Err(inside::run(order)),
        Action::Agent { node } => return kube::agent(node).map(|()| ExitCode::SUCCESS),
        Action::Hub { order } => return hub::run(order).map(|()| ExitCode::SUCCESS),
        Action::Step => return step::serve().map(|()| ExitCode::SUCCESS),
        Action::Web { name } => return web::serve(name).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    sys::catch_signals()?;
    let cache = Cache::open(args.cache)?;
    match args.action {
        Action::Prepare => prepare(&cache)?,
        Action::PrepareKube => {
            apt::check_machine()?;
            apt::install_tools()?;
            kube::ensure(&cache)?;
        }
        Action::Certs { wiab, keep } => certs::run(&cache, &wiab, keep)?,
        Action::Run {
            keep,
            share,
            work,
            command,
        } => {
            return run_in(&cache, keep, &share, work.as_deref(), &command);
        }
        Action::Exec { command } => {
            let machine = Machine::running(&cache)?;
            return Ok(exit_code(
                machine.cmd(command).limit_s(COMMAND_LIMIT_S).stream()?,
            ));
        }
        Action::Up { wiab } => whole::stay(&cache, &wiab)?,
        Action::Ssh { command } => {
            let machine = Machine::running(&cache)?;
            return Err(machine.login().args(command).become_it());
        }
        Action::Clean => {
            let cleaned = machine::clean(&cache, true)?;
            say(&format!("{cleaned} machine(s) removed"));
        }
        Action::Selftest => selftest::run(&cache)?,
        Action::E2e { wiab, keep } => e2e::run(&cache, &wiab, keep)?,
        Action::Hairpin { keep } => hairpin::run(&cache, keep)?,
        Action::Whole { wiab, until, keep } => whole::run(&cache, &wiab, until.as_deref(), keep)?,
        // Handled above.
        Action::Agent { .. }
        | Action::Hub { .. }
        | Action::Inside { .. }
        | Action::Step
        | Action::Web { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn prepare(cache: &Cache) -> Result<()> {
    apt::check_machine()?;
    apt::install_tools()?;
    rootfs::ensure(cache)?;
    image::ensure(cache)?;
    artifact::ensure(cache)?;
    Ok(())
}

fn run_in(
    cache: &Cache,
    keep: bool,
    share: &[PathBuf],
    work: Option<&Path>,
    command: &[String],
) -> Result<ExitCode> {
    let mut binds = Vec::new();
    for path in share {
        let from = fs_err::canonicalize(path)?;
        let name = from.file_name().ok_or_else(|| {
            LabError::Unsuitable(format!("{} has no name to share it by", from.display()))
        })?;
        let to = Path::new("/lab").join(name);
        binds.push(Bind {
            from,
            to,
            writable: false,
        });
    }
    if let Some(work) = work {
        let from = fs_err::canonicalize(work)?;
        binds.push(Bind {
            from,
            to: "/lab/work".into(),
            writable: true,
        });
    }
    let machine = Machine::up(cache, &binds, keep)?;
    let code = machine.cmd(command).limit_s(COMMAND_LIMIT_S).stream();
    if keep {
        say(&format!(
            "the machine stays; look around: {}",
            machine.how_to_enter()
        ));
        say("remove it: wiab-lab clean");
    } else {
        machine.down()?;
    }
    Ok(exit_code(code?))
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
