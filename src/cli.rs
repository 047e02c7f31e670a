//! The command line as types. The only user of clap; nothing else happens before parsing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ui::style::ColorChoice;

const EXAMPLES: &str = "\
Examples:
  wiab apply --host sim --yes       install on the simulated machine
  wiab plan                         what would be done; changes nothing
  wiab apply                        do it (asks first)
  wiab apply --resume               go on after a failure, a crash or Ctrl-C
  wiab rollback --plan              what taking it back would do
  wiab rollback                     take it back
  wiab journal log latest           what happened

More: wiab help exit-codes | environment | files | json";

/// Installs Wire in a Box staging as a plan that resumes after any crash and can be taken back.
#[derive(Debug, Parser)]
#[command(name = "wiab", version, about, before_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The machine to act on: `local`, `sim` or `ssh://user@address:port`
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Refuse a machine whose SSH host key is not known
    #[arg(long, global = true)]
    pub(crate) strict: bool,
    /// Read this file instead of ./wiab.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set a configuration key, such as `--set run.width=2`
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Keep journal and runs here
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Write JSON to a file beside the text
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json_into: Option<PathBuf>,
    /// How progress is shown
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub(crate) progress: Option<ProgressMode>,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
    /// Say less: -q errors and results only, -qq nothing
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) quiet: u8,
    /// Say more: -v shows every line of the commands that run, -vv also the debug log
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Never ask; fail where a question would be needed
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal outside CI, else `plain`
    Auto,
    /// Live block of running steps
    Tty,
    /// One line per event
    Plain,
    /// JSON lines (the same as --json)
    Json,
    /// Nothing until the end
    None,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented wiab.toml into this directory
    Init,
    /// Check whether the machine can take the installation; changes nothing
    Doctor,
    /// Show what would be done; changes nothing
    Plan(PlanArgs),
    /// Do it, or go on with it
    Apply(ApplyArgs),
    /// Take back what wiab did
    Rollback(RollbackArgs),
    /// Show where a run stands
    Status(StatusArgs),
    /// Decide about a step of a run that rests
    Decide(DecideArgs),
    /// Show the certificates, when they are renewed, and whether that would work; changes nothing
    Certs(CertsArgs),
    /// Read, check and move the journal
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Draw the plan
    Graph(GraphArgs),
    /// Work on the installation's secrets
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show a topic (exit-codes, environment, files, json) or a command's help
    Help {
        /// Topic or command
        topic: Option<String>,
    },
    /// Helpers for shells
    #[command(subcommand)]
    Util(UtilCommand),
}

/// Which part of the plan is wanted.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "A part of the plan")]
pub(crate) struct SelectArgs {
    /// Only these steps or areas, such as `--only net,vm.ready`; what they use of others must be there already
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Everything up to and with these steps or areas
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub(crate) until: Vec<String>,
    /// Everything but these steps or areas
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
}

/// `wiab plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// A part of the plan
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Save the plan; `wiab apply FILE` then does exactly that
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// End with 2 when something would change
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Show the whole difference of one step
    #[arg(long, value_name = "STEP")]
    pub(crate) diff: Option<String>,
}

/// `wiab apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A plan saved by `wiab plan --out`
    #[arg(value_name = "PLANFILE", conflicts_with_all = ["resume", "if_changed"])]
    pub(crate) plan_file: Option<PathBuf>,
    /// Go on with a run: its id, a prefix of it, or `latest`
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "latest")]
    pub(crate) resume: Option<String>,
    /// With --resume, when the configuration has changed since
    #[arg(long, value_enum, value_name = "WHAT", requires = "resume", default_value_t = IfChanged::Stop)]
    pub(crate) if_changed: IfChanged,
    /// What a step's final failure leads to
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "resume")]
    pub(crate) on_failure: Option<OnFailureArg>,
    /// Begin a new run although the newest one broke off in the middle of a step
    #[arg(long, conflicts_with = "resume")]
    pub(crate) new_run: bool,
    /// Let the first failure stop independent branches, too
    #[arg(long, conflicts_with = "resume")]
    pub(crate) fail_fast: bool,
    /// Most steps at once
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) width: Option<u32>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// A part of the plan
    #[command(flatten)]
    pub(crate) select: SelectArgs,
}

/// What resume does when the plan differs from the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfChanged {
    /// Show the difference and stop
    Stop,
    /// Run finished steps that were edited again
    Redo,
    /// Keep finished steps that were edited as they stand
    Adopt,
}

/// What a final failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailureArg {
    /// Keep what stands
    Keep,
    /// Take everything back
    Rollback,
}

/// `wiab rollback`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one field per flag of the command line"
)]
pub(crate) struct RollbackArgs {
    /// The run; without it the latest
    pub(crate) run: Option<String>,
    /// Take back only what came after this step
    #[arg(long, value_name = "STEP", conflicts_with = "all")]
    pub(crate) to: Option<String>,
    /// Take back every run of this installation, newest first
    #[arg(long, conflicts_with = "run")]
    pub(crate) all: bool,
    /// Only show what would be taken back
    #[arg(long)]
    pub(crate) plan: bool,
    /// Also take back steps whose undo loses data
    #[arg(long)]
    pub(crate) wipe_data: bool,
    /// Confirm the loss of data by naming the host
    #[arg(long, value_name = "HOST")]
    pub(crate) confirm: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `wiab status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The run; without it the latest
    pub(crate) run: Option<String>,
    /// Follow a running one to its end
    #[arg(long, short)]
    pub(crate) follow: bool,
}

/// `wiab certs`.
#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    /// End with 1 unless every certificate is valid and its renewal would work
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// `wiab decide`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("verdict").required(true).args(["retry", "retry_undo", "accept", "skip", "abandon"]))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one field per flag of the command line"
)]
pub(crate) struct DecideArgs {
    /// The run: its id, a prefix of it, or `latest`
    pub(crate) run: String,
    /// The step; not needed with --abandon
    #[arg(required_unless_present = "abandon")]
    pub(crate) step: Option<String>,
    /// Try the step again
    #[arg(long)]
    pub(crate) retry: bool,
    /// Try its undo again
    #[arg(long)]
    pub(crate) retry_undo: bool,
    /// It is as wanted (while rolling back: it is taken back)
    #[arg(long)]
    pub(crate) accept: bool,
    /// Go on without it; its effect, if any, is left alone
    #[arg(long)]
    pub(crate) skip: bool,
    /// Give the run up
    #[arg(long)]
    pub(crate) abandon: bool,
    /// Why; kept in the journal
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: String,
}

/// `wiab journal`.
#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// All runs, newest first
    List,
    /// What happened in a run, and the captured output of a step
    Log {
        /// The run: its id, a prefix of it, or `latest`
        run: String,
        /// Show the commands and the output of this step
        step: Option<String>,
    },
    /// The events of a run, with all their fields
    Show {
        /// The run: its id, a prefix of it, or `latest`
        run: String,
        /// The state after this event
        #[arg(long, value_name = "SEQ")]
        at: Option<u64>,
        /// Follow a running one to its end
        #[arg(long, short)]
        follow: bool,
    },
    /// Why something failed: what was tried and seen, which cause and why, what is open, what cures it
    Why {
        /// A step, or `certs` for everything about certificates; without it everything that failed
        what: Option<String>,
        /// The run: its id, a prefix of it, `latest`, or an exported file
        #[arg(default_value = "latest")]
        run: String,
        /// With every event and the captured output
        #[arg(long)]
        full: bool,
    },
    /// Check every frame, both chains, the copies and the captured output; print the head to keep
    Verify {
        /// Check this exported run instead
        file: Option<PathBuf>,
        /// Hold it against a head that was kept: is everything up to it still there, unaltered?
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Write a run into one file
    Export {
        /// The run: its id, a prefix of it, or `latest`
        run: String,
        /// The file
        #[arg(short = 'o', long = "out", value_name = "FILE")]
        out: PathBuf,
    },
    /// Read a run from a file
    Import {
        /// The file
        file: PathBuf,
    },
    /// Rebuild a damaged journal from its plain copies
    Recover,
}

/// `wiab graph`.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// A part of the plan
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// The notation
    #[arg(long = "as", value_enum, value_name = "FORM", default_value_t = GraphForm::Ascii)]
    pub(crate) form: GraphForm,
    /// Colour the steps by where they stand in this run
    #[arg(long, value_name = "RUN")]
    pub(crate) state: Option<String>,
}

/// Notation of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphForm {
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
    /// Text
    Ascii,
}

/// `wiab secrets`.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Give secrets new values, everywhere they are used
    Rotate {
        /// Which ones: `zrest`, which calls are authorised with, is the default; `zauth_private` logs every user out
        secrets: Vec<String>,
        /// Only show what would be done
        #[arg(long)]
        plan: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// `wiab config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every value
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// `wiab util`.
#[derive(Debug, Subcommand)]
pub(crate) enum UtilCommand {
    /// Print a completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}
