//! Making a connection: TCP, the machines to go through, the host key, the login.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, Config, Handle, Handler};
use russh::keys::PublicKeyOrCertificate;
use russh::{Error, Preferred};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::auth::{KeyRing, log_in};
use super::error::SshError;
use super::known_hosts::{Known, Verdict, fingerprint, learn};
use super::options::{Endpoint, Operator, SshOptions};
use crate::host::local::pause;

/// How long TCP may take, in milliseconds.
const TCP_MS: u64 = 10_000;

/// How long the exchange of keys may take, and the login, which may wait for the operator's agent, in milliseconds.
const HANDSHAKE_MS: u64 = 20_000;
const LOGIN_MS: u64 = 120_000;

/// How often silence is broken, in seconds, and how many unanswered times mean that the machine is gone.
const KEEPALIVE_S: u64 = 15;
const KEEPALIVES_MAX: usize = 3;

/// Decides about the host key.
#[derive(Debug)]
pub(super) struct Gate {
    end: Endpoint,
    options: Arc<SshOptions>,
    operator: Arc<dyn Operator>,
    known: Known,
    /// Why the key was refused.
    refusal: Arc<Mutex<Option<SshError>>>,
}

impl Gate {
    fn judge(&self, offered: &PublicKeyOrCertificate) -> Result<(), SshError> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else {
            return Err(SshError::Protocol {
                at: self.end.to_string(),
                why: "it showed a certificate, which was not asked for".to_owned(),
            });
        };
        let file = &self.options.known_hosts;
        match self.known.judge(key, &self.end) {
            Verdict::Known => Ok(()),
            Verdict::Bad(error) => Err(error),
            Verdict::New if self.options.strict => Err(SshError::HostKeyUnknown {
                at: self.end.to_string(),
                file: file.display().to_string(),
                offered: fingerprint(key),
            }),
            Verdict::New => {
                learn(file, &self.end, key)?;
                self.operator.tell(&format!(
                    "{} is new here: its host key {} is trusted from now on (kept in {})",
                    self.end,
                    fingerprint(key),
                    file.display()
                ));
                Ok(())
            }
        }
    }
}

impl Handler for Gate {
    type Error = Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Error> {
        let refusal = self.judge(offered).err();
        let accepted = refusal.is_none();
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        Ok(accepted)
    }
}

/// A connection, and those that it goes through.
pub(super) struct Session {
    pub(super) handle: Handle<Gate>,
    _through: Vec<Handle<Gate>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

/// What a connection is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) options: &'a Arc<SshOptions>,
    pub(super) operator: &'a Arc<dyn Operator>,
    pub(super) ring: &'a KeyRing,
}

/// A protocol error in words.
pub(super) fn broke_off(end: &Endpoint, error: &Error) -> SshError {
    let at = end.to_string();
    match error {
        Error::IO(error) => SshError::Protocol {
            at,
            why: error.to_string(),
        },
        Error::HUP | Error::Disconnect | Error::SendError | Error::RecvError => {
            SshError::Protocol {
                at,
                why: "the connection was closed".to_owned(),
            }
        }
        Error::NoCommonAlgo { kind, theirs, .. } => SshError::Protocol {
            at,
            why: format!(
                "no common algorithm ({kind:?}): it offers {}",
                theirs.join(", ")
            ),
        },
        error => SshError::Protocol {
            at,
            why: error.to_string(),
        },
    }
}

/// Ends a wait that lasts too long.
async fn within<T>(
    end: &Endpoint,
    what: &'static str,
    most_ms: u64,
    work: impl Future<Output = Result<T, SshError>>,
) -> Result<T, SshError> {
    tokio::select! {
        done = work => done,
        () = pause(most_ms) => Err(SshError::TimedOut {
            at: end.to_string(),
            what,
            after_ms: most_ms,
        }),
    }
}

/// Connects and logs in, through the machines in between.
pub(super) async fn connect(means: Means<'_>) -> Result<Session, SshError> {
    let options = means.options;
    let mut ends = options.jumps.iter().chain([&options.target]);
    let Some(first) = ends.next() else {
        return Err(SshError::Unreachable {
            at: options.target.to_string(),
            why: "no address".to_owned(),
        });
    };
    let stream = within(first, "TCP", TCP_MS, dial(first)).await?;
    let mut handle = enter(means, first, stream).await?;
    let mut through = Vec::new();
    for end in ends {
        let tunnel = within(end, "the machine in between", TCP_MS, tunnel(&handle, end)).await?;
        let next = enter(means, end, tunnel).await?;
        through.push(std::mem::replace(&mut handle, next));
    }
    Ok(Session {
        handle,
        _through: through,
    })
}

async fn dial(end: &Endpoint) -> Result<TcpStream, SshError> {
    let stream = TcpStream::connect((end.address.as_str(), end.port)).await;
    let stream = stream.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => SshError::Refused {
            at: end.to_string(),
        },
        _ => SshError::Unreachable {
            at: end.to_string(),
            why: error.to_string(),
        },
    })?;
    // Requests are small and each is waited for.
    stream
        .set_nodelay(true)
        .map_err(|error| SshError::Unreachable {
            at: end.to_string(),
            why: error.to_string(),
        })?;
    Ok(stream)
}

async fn tunnel(
    handle: &Handle<Gate>,
    end: &Endpoint,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, SshError> {
    let opened = handle
        .channel_open_direct_tcpip(end.address.clone(), u32::from(end.port), "127.0.0.1", 0)
        .await;
    match opened {
        Ok(channel) => Ok(channel.into_stream()),
        Err(Error::ChannelOpenFailure(reason)) => Err(SshError::Unreachable {
            at: end.to_string(),
            why: format!("the machine in between cannot connect to it ({reason:?})"),
        }),
        Err(error) => Err(broke_off(end, &error)),
    }
}

/// The handshake over a stream, and the login.
async fn enter<S>(means: Means<'_>, end: &Endpoint, stream: S) -> Result<Handle<Gate>, SshError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = means.options;
    let files = [&options.known_hosts]
        .into_iter()
        .chain(&options.more_known_hosts);
    let known = Known::read(files, end)?;
    let config = Config {
        preferred: Preferred {
            key: known.algorithms().into(),
            ..Preferred::DEFAULT
        },
        // A long command may be silent: nothing ends for being so.
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(KEEPALIVE_S)),
        keepalive_max: KEEPALIVES_MAX,
        ..Config::default()
    };
    let refusal = Arc::new(Mutex::new(None));
    let gate = Gate {
        end: end.clone(),
        options: Arc::clone(options),
        operator: Arc::clone(means.operator),
        known,
        refusal: Arc::clone(&refusal),
    };
    let handshake = async {
        let done = client::connect_stream(Arc::new(config), stream, gate).await;
        let refused = refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (done, refused) {
            (_, Some(error)) => Err(error),
            (Ok(handle), None) => Ok(handle),
            (Err(error), None) => Err(broke_off(end, &error)),
        }
    };
    let mut handle = within(end, "the handshake", HANDSHAKE_MS, handshake).await?;
    let login = log_in(
        &mut handle,
        end,
        options,
        means.ring,
        means.operator.as_ref(),
    );
    within(end, "the login", LOGIN_MS, login).await?;
    Ok(handle)
}
