//! The connection with its helpers: made when it is needed, made again when it is lost, one for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::auth::KeyRing;
use super::connect::{Means, Session, broke_off, connect};
use super::error::SshError;
use super::helper::{Hello, Helper, Opening, Silent};
use super::options::{Operator, SshOptions, SudoPassword};
use crate::host::local::pause;

/// How long a helper may take to start, in milliseconds.
const HELPER_MS: u64 = 30_000;

/// How often a session that is refused is asked for again, and after how many milliseconds.
const OPENS_MAX: u32 = 5;
const OPEN_AGAIN_MS: u64 = 100;

/// First and longest time between two attempts to connect again, in milliseconds.
const AGAIN_MS: (u64, u64) = (250, 10_000);

/// How often the operator is asked for sudo's password.
const ASKS_MAX: usize = 3;

/// What became of the root helper.
#[derive(Debug, Clone)]
enum Root {
    /// It runs; the user's own if that is root already.
    Ready(Arc<Helper>),
    /// sudo asks for a password, which has not been given yet.
    Asks,
    /// It is refused.
    Refused(SshError),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    session: Session,
    user: Arc<Helper>,
    root: Mutex<Root>,
}

impl Link {
    /// Whether it can be used.
    fn lives(&self) -> bool {
        self.user.lives() && !self.session.handle.is_closed()
    }

    /// The helper of the user who logged in.
    pub(super) fn user(&self) -> Arc<Helper> {
        Arc::clone(&self.user)
    }
}

/// What was counted since the host was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections made.
    pub connections: u64,
    /// Requests sent to helpers: a command, a file, or a question about a job is one each.
    pub requests: u64,
    /// Sessions opened in them; sshd allows ten at a time unless told otherwise (`MaxSessions`).
    pub sessions: u64,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Helpers of lost connections: they, and what they ran, must be gone before anything new is started.
    left: Vec<(bool, Hello)>,
    /// The last attempt that failed: who waited for it meanwhile takes its answer.
    failed: Option<(Instant, SshError)>,
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Links {
    options: Arc<SshOptions>,
    operator: Arc<dyn Operator>,
    ring: KeyRing,
    state: Mutex<State>,
    /// sudo's password, once it was given and taken.
    password: StdMutex<Option<SecretString>>,
    connections: AtomicU64,
    sessions: AtomicU64,
    requests: AtomicU64,
}

impl Links {
    pub(super) fn new(options: SshOptions, operator: Arc<dyn Operator>) -> Self {
        Self {
            options: Arc::new(options),
            operator,
            ring: KeyRing::default(),
            state: Mutex::new(State::default()),
            password: StdMutex::new(None),
            connections: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    pub(super) fn options(&self) -> &SshOptions {
        &self.options
    }

    pub(super) async fn connected(&self) -> bool {
        let state = self.state.lock().await;
        state.link.as_ref().is_some_and(|link| link.lives())
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
        }
    }

    /// Counts a request.
    pub(super) fn requested(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn password(&self) -> std::sync::MutexGuard<'_, Option<SecretString>> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn means(&self) -> Means<'_> {
        Means {
            options: &self.options,
            operator: &self.operator,
            ring: &self.ring,
        }
    }

    /// A connection that lives. The first one is tried once; a lost one is sought again for as long as the options say.
    pub(super) async fn link(&self) -> Result<Arc<Link>, SshError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| link.lives()) {
            return Ok(Arc::clone(link));
        }
        if let Some((at, error)) = &state.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let patience_ms = match state.link.take() {
            Some(lost) => {
                state.leave(&lost).await;
                self.options.reconnect_ms
            }
            None if self.connections.load(Ordering::Relaxed) > 0 => self.options.reconnect_ms,
            None => 0,
        };
        match self.again(&mut state, patience_ms).await {
            Ok(link) => {
                state.link = Some(Arc::clone(&link));
                Ok(link)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Connects, with growing pauses between attempts.
    async fn again(&self, state: &mut State, patience_ms: u64) -> Result<Arc<Link>, SshError> {
        let begun = Instant::now();
        let mut wait_ms = AGAIN_MS.0;
        loop {
            let error = match self.attempt(state).await {
                Ok(link) => return Ok(link),
                Err(error) => error,
            };
            let gone_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            if !error.is_away() || gone_ms.saturating_add(wait_ms) > patience_ms {
                return Err(error);
            }
            tracing::warn!(%error, wait_ms, "the machine is away; trying again");
            pause(wait_ms).await;
            wait_ms = (wait_ms * 2).min(AGAIN_MS.1);
        }
    }

    async fn attempt(&self, state: &mut State) -> Result<Arc<Link>, SshError> {
        let session = connect(self.means()).await?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        // Both at once: the second one costs no further round trip.
        let (user, root) = tokio::join!(
            self.helper(&session, Opening::User),
            self.helper(&session, Opening::Root)
        );
        let user = Arc::new(user?.map_err(|silent| self.no_helper(&silent))?);
        let root = match root? {
            _ if user.hello.root => Root::Ready(Arc::clone(&user)),
            Ok(helper) => Root::Ready(Arc::new(helper)),
            Err(silent) if silent.said.contains("password is required") => {
                self.with_password(&session).await?
            }
            Err(silent) => Root::Refused(self.no_sudo(&silent)),
        };
        let link = Link {
            session,
            user,
            root: Mutex::new(root),
        };
        self.succeed(state, &link).await?;
        Ok(Arc::new(link))
    }

    /// A password that was taken before, or stands in a file or a variable, is used without a question.
    async fn with_password(&self, session: &Session) -> Result<Root, SshError> {
        let taken = self.password().clone();
        let password = match (taken, &self.options.sudo) {
            (Some(password), _) => password,
            (None, SudoPassword::Given(password)) => password.clone(),
            (None, SudoPassword::Ask) => return Ok(Root::Asks),
            (None, SudoPassword::None) => {
                let why = "it asks for a password, and none is configured".to_owned();
                return Ok(Root::Refused(self.sudo_refused(why)));
            }
        };
        Ok(
            match self.helper(session, Opening::Password(&password)).await? {
                Ok(helper) => Root::Ready(Arc::new(helper)),
                Err(silent) => Root::Refused(self.no_sudo(&silent)),
            },
        )
    }

    /// The root helper of a connection; asks the operator for sudo's password where that is wanted and was not done.
    pub(super) async fn root(&self, link: &Link) -> Result<Arc<Helper>, SshError> {
        let mut root = link.root.lock().await;
        if let Root::Asks = *root {
            *root = self.ask(link).await?;
        }
        match &*root {
            Root::Ready(helper) => Ok(Arc::clone(helper)),
            Root::Refused(error) => Err(error.clone()),
            Root::Asks => Err(self.sudo_refused("it asks for a password".to_owned())),
        }
    }

    async fn ask(&self, link: &Link) -> Result<Root, SshError> {
        let mut why = "it asks for a password, and nobody can be asked".to_owned();
        for _ in 0..ASKS_MAX {
            let question = format!("password of {} for sudo", self.options.target);
            let Some(password) = self.operator.ask(&question) else {
                break;
            };
            match self
                .helper(&link.session, Opening::Password(&password))
                .await?
            {
                Ok(helper) => {
                    *self.password() = Some(password);
                    return Ok(Root::Ready(Arc::new(helper)));
                }
                Err(silent) => why = silent.said,
            }
        }
        Ok(Root::Refused(self.sudo_refused(why)))
    }

    async fn helper(
        &self,
        session: &Session,
        opening: Opening<'_>,
    ) -> Result<Result<Helper, Silent>, SshError> {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        let started = async {
            for again in 0.. {
                match session.handle.channel_open_session().await {
                    Ok(channel) => return Ok(Helper::start(channel, opening).await),
                    // A session that has just ended may still count.
                    Err(russh::Error::ChannelOpenFailure(_)) if again < OPENS_MAX => {
                        pause(OPEN_AGAIN_MS).await;
                    }
                    Err(russh::Error::ChannelOpenFailure(reason)) => {
                        return Ok(Err(Silent {
                            code: None,
                            said: format!("the server opens no session ({reason:?})"),
                        }));
                    }
                    Err(error) => return Err(broke_off(&self.options.target, &error)),
                }
            }
            Ok(Err(Silent::default()))
        };
        tokio::select! {
            started = started => started,
            () = pause(HELPER_MS) => Err(SshError::TimedOut {
                at: self.options.target.to_string(),
                what: "wiab's helper",
                after_ms: HELPER_MS,
            }),
        }
    }

    fn no_helper(&self, silent: &Silent) -> SshError {
        let ended = silent
            .code
            .map_or_else(String::new, |code| format!(" (it ended with {code})"));
        let said = if silent.said.is_empty() {
            "it said nothing"
        } else {
            &silent.said
        };
        SshError::NoHelper {
            at: self.options.target.to_string(),
            why: format!("{said}{ended}"),
        }
    }

    fn sudo_refused(&self, why: String) -> SshError {
        SshError::SudoRefused {
            at: self.options.target.to_string(),
            why,
        }
    }

    fn no_sudo(&self, silent: &Silent) -> SshError {
        match silent.code {
            // A shell's words for a program that is not there.
            Some(127) if silent.said.contains("sudo") => {
                self.sudo_refused("sudo is not installed".to_owned())
            }
            _ if silent.said.is_empty() => self.no_helper(silent),
            _ => self.sudo_refused(silent.said.clone()),
        }
    }

    /// Ends what helpers of lost connections still run.
    async fn succeed(&self, state: &mut State, link: &Link) -> Result<(), SshError> {
        let root = match &*link.root.lock().await {
            Root::Ready(helper) => Some(Arc::clone(helper)),
            Root::Asks | Root::Refused(_) => None,
        };
        for (as_root, hello) in &state.left {
            let helper = match (&root, as_root) {
                (Some(root), true) => root,
                (None, true) | (_, false) => &link.user,
            };
            let sent = helper
                .send(&[b"succeed", hello.pid.as_bytes(), hello.start.as_bytes()])
                .await;
            let ended = match sent {
                Ok(mut pending) => pending.next().await,
                Err(_) => None,
            };
            match ended.map(|answer| answer.number(0)) {
                Some(0) => {}
                Some(_) => tracing::warn!(
                    pid = hello.pid,
                    "a helper of a lost connection does not end"
                ),
                None => {
                    return Err(broke_off(&self.options.target, &russh::Error::Disconnect));
                }
            }
        }
        state.left.clear();
        Ok(())
    }

    /// Makes a second connection, beside the present one, and ends it.
    pub(super) async fn renew(&self) -> Result<(), SshError> {
        let session = connect(self.means()).await?;
        let farewell = session
            .handle
            .disconnect(russh::Disconnect::ByApplication, "", "");
        // It was there; how it ends does not matter.
        let _ = farewell.await;
        Ok(())
    }
}

impl State {
    async fn leave(&mut self, lost: &Link) {
        self.left.push((false, lost.user.hello.clone()));
        if let Root::Ready(root) = &*lost.root.lock().await
            && !lost.user.hello.root
        {
            self.left.push((true, root.hello.clone()));
        }
    }
}
