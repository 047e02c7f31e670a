//! The machine that a command acts on, with its clock.

use std::sync::Arc;

use wiab_engine::plan::Plan;
use wiab_engine::ports::{Clock, ProgressSink};
use wiab_engine::survey::{Survey, Surveyor};
use wiab_steps::catalogue::Catalogue;
use wiab_steps::host::Host;
use wiab_steps::host::local::{LocalHost, SystemClock};
use wiab_steps::host::sim::{SimError, SimHost, SimOptions, Trouble};
use wiab_steps::host::ssh::SshHost;
use wiab_steps::secrets::{LearningHost, Scrubber};

use crate::app::App;
use crate::config::Config;
use crate::dirs::Dirs;
use crate::exit::Code;
use crate::problem::Problem;
use crate::{drive, remote, setup};

/// Most probes of a survey at once.
const PROBES_MAX: usize = 16;

/// The same over a network, where a probe mostly waits.
const REMOTE_PROBES_MAX: usize = 64;

/// A machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Where commands run.
    pub(crate) host: Arc<dyn Host>,
    /// Its time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Knows the installation's secrets, also those made meanwhile.
    pub(crate) secrets: Arc<Scrubber>,
    sealed: String,
    /// The same as `host`, if it is another machine.
    remote: Option<Arc<SshHost>>,
}

impl Machine {
    /// Opens the configured machine.
    pub(crate) fn open(app: &App, config: &Config, dirs: &Dirs) -> Result<Self, Problem> {
        if config.text("host") == "sim" {
            dirs.prepare()?;
            let options = SimOptions {
                speed: config.number("sim.speed"),
                troubles: Some((troubles(config)?, config.text("domain").to_owned())),
                ..SimOptions::default()
            };
            let sim = SimHost::open(&dirs.sim(), options)
                .map_err(|error| sim_problem(app, dirs, &error))?;
            let clock = Arc::new(sim.clock());
            return Self::with_secrets(config, sim, clock);
        }
        if config.text("host") == "ssh" {
            let remote = Arc::new(remote::open(app, config)?);
            let clock = Arc::new(SystemClock::new());
            let machine = Self::with_secrets(config, Arc::clone(&remote) as Arc<dyn Host>, clock)?;
            return Ok(Self {
                remote: Some(remote),
                ..machine
            });
        }
        let host = Arc::new(LocalHost::new(dirs.home.join("jobs")));
        Self::with_secrets(config, host, Arc::new(SystemClock::new()))
    }

    fn with_secrets(
        config: &Config,
        host: Arc<dyn Host>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Problem> {
        let sealed = setup::sealed_path(config)?;
        let secrets = Arc::new(Scrubber::default());
        let host = LearningHost::new(host, Arc::clone(&secrets), &sealed);
        Ok(Self {
            host: Arc::new(host),
            clock,
            secrets,
            sealed,
            remote: None,
        })
    }

    /// Opens a connection to another machine, so that what keeps wiab out is said once and at once.
    pub(crate) async fn reach(&self) -> Result<(), Problem> {
        match &self.remote {
            Some(remote) => remote.reach().await.map_err(|error| remote::barred(&error)),
            None => Ok(()),
        }
    }

    /// Learns the secrets that exist already. A set that cannot be read teaches nothing; the step that needs it says why.
    pub(crate) async fn learn(&self) {
        if let Err(error) = self.secrets.load(self.host.as_ref(), &self.sealed).await {
            tracing::warn!(%error, "the installation's secrets are not known yet");
        }
    }

    /// Builds steps on it.
    pub(crate) fn steps(&self) -> Arc<Catalogue> {
        Arc::new(Catalogue::new(Arc::clone(&self.host)))
    }

    /// Reaches it and looks at it, to the end: what commands do that only look.
    pub(crate) fn look(&self, plan: &Plan) -> Result<Survey, Problem> {
        drive::runtime()?.block_on(async {
            self.reach().await?;
            Ok(self.surveyor(None).survey(plan).await)
        })
    }

    /// Looks at it.
    pub(crate) fn surveyor(&self, progress: Option<Arc<dyn ProgressSink>>) -> Surveyor {
        Surveyor {
            steps: self.steps(),
            clock: Arc::clone(&self.clock),
            scrub: self.secrets.clone(),
            progress,
            width: if self.remote.is_some() {
                REMOTE_PROBES_MAX
            } else {
                PROBES_MAX
            },
        }
    }
}

/// What the configuration wants to be wrong around the simulated machine.
fn troubles(config: &Config) -> Result<Vec<Trouble>, Problem> {
    let parse = |name: &String| {
        Trouble::parse(name).ok_or_else(|| {
            let known = Trouble::ALL.map(|(name, _)| name).join(", ");
            Problem::new(
                Code::BadConfig,
                format!("`sim.trouble`: there is no trouble `{name}`"),
            )
            .hint(format!("there are {known}"))
        })
    };
    config.list("sim.trouble").iter().map(parse).collect()
}

fn sim_problem(app: &App, dirs: &Dirs, error: &SimError) -> Problem {
    let problem = Problem::from_error(
        Code::Unreachable,
        "the simulated machine cannot be opened",
        error,
    );
    match error {
        SimError::Damaged { .. } => problem.hint(format!(
            "remove {} to begin with a fresh machine (and take its runs as lost)",
            dirs.sim().display()
        )),
        SimError::Io(_) => problem.hint(format!("wiab status{}", app.suffix())),
    }
}
