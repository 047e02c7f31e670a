//! Logging in: keys from files and from the agent.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{
    Error as KeyError, HashAlg, PrivateKey, PrivateKeyWithHashAlg, decode_secret_key,
};
use secrecy::ExposeSecret as _;

use super::connect::{Gate, broke_off};
use super::error::SshError;
use super::known_hosts::fingerprint;
use super::options::{Endpoint, Operator, SshOptions};

/// Most keys that are offered: sshd ends the connection after six failures (`MaxAuthTries`).
const TRIES_MAX: usize = 6;

/// Keys that were unlocked, so that a new connection needs no second question.
#[derive(Debug, Default)]
pub(super) struct KeyRing(Mutex<BTreeMap<PathBuf, Arc<PrivateKey>>>);

/// How a login proceeds.
struct Login<'a> {
    end: &'a Endpoint,
    options: &'a SshOptions,
    ring: &'a KeyRing,
    operator: &'a dyn Operator,
    /// What was tried, in words, for the error.
    tried: Vec<String>,
    /// How many keys were offered.
    offers: usize,
    /// What the server would allow.
    allows: String,
}

/// Logs in. Keys that the operator named come first, then those of the agent, then the usual ones.
pub(super) async fn log_in(
    handle: &mut Handle<Gate>,
    end: &Endpoint,
    options: &SshOptions,
    ring: &KeyRing,
    operator: &dyn Operator,
) -> Result<(), SshError> {
    let mut login = Login {
        end,
        options,
        ring,
        operator,
        tried: Vec::new(),
        offers: 0,
        allows: "nothing else".to_owned(),
    };
    for path in &options.keys {
        let key = login.open(path)?;
        if login.with_file(handle, path, key).await? {
            return Ok(());
        }
    }
    if login.with_agent(handle).await? {
        return Ok(());
    }
    for path in &options.usual_keys {
        if options.keys.contains(path) || !path.exists() {
            continue;
        }
        match login.open(path) {
            Ok(key) => {
                if login.with_file(handle, path, key).await? {
                    return Ok(());
                }
            }
            Err(SshError::KeyFile { path, why, .. }) => {
                login.tried.push(format!("not {path}, which {why}"));
            }
            Err(error) => return Err(error),
        }
    }
    Err(SshError::AuthFailed {
        at: end.to_string(),
        tried: login.tried,
        allows: login.allows,
    })
}

impl Login<'_> {
    /// Notes an answer; whether it lets in.
    fn heard(&mut self, what: &str, answer: &AuthResult) -> bool {
        match answer {
            AuthResult::Success => true,
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => {
                let methods: Vec<&str> = remaining_methods.iter().map(Into::into).collect();
                if !methods.is_empty() {
                    self.allows = methods.join(", ");
                }
                let more = if *partial_success {
                    " (accepted, but more is asked for)"
                } else {
                    ""
                };
                self.tried.push(format!("{what}{more}"));
                false
            }
        }
    }

    async fn with_file(
        &mut self,
        handle: &mut Handle<Gate>,
        path: &Path,
        key: Arc<PrivateKey>,
    ) -> Result<bool, SshError> {
        if self.offers >= TRIES_MAX {
            return Ok(false);
        }
        self.offers += 1;
        let what = format!("key {}", path.display());
        let key = PrivateKeyWithHashAlg::new(key, Some(HashAlg::Sha512));
        let answer = handle
            .authenticate_publickey(self.end.user.clone(), key)
            .await;
        let answer = answer.map_err(|error| self.broke_off(&error))?;
        Ok(self.heard(&what, &answer))
    }

    async fn with_agent(&mut self, handle: &mut Handle<Gate>) -> Result<bool, SshError> {
        let Some(socket) = &self.options.agent else {
            return Ok(false);
        };
        let mut agent = match AgentClient::connect_uds(socket).await {
            Ok(agent) => agent,
            Err(error) => {
                self.tried
                    .push(format!("not the agent at {}: {error}", socket.display()));
                return Ok(false);
            }
        };
        let identities = match agent.request_identities().await {
            Ok(identities) => identities,
            Err(error) => {
                self.tried.push(format!("not the agent: {error}"));
                return Ok(false);
            }
        };
        if identities.is_empty() {
            self.tried
                .push("not the agent, which holds no key".to_owned());
        }
        for identity in identities {
            let AgentIdentity::PublicKey { key, comment } = identity else {
                continue;
            };
            if self.offers >= TRIES_MAX {
                break;
            }
            self.offers += 1;
            let what = format!("agent key {comment} ({})", fingerprint(&key));
            let hash = key.algorithm().is_rsa().then_some(HashAlg::Sha512);
            let answer = handle
                .authenticate_publickey_with(self.end.user.clone(), key, hash, &mut agent)
                .await;
            match answer {
                Ok(answer) => {
                    if self.heard(&what, &answer) {
                        return Ok(true);
                    }
                }
                Err(error) => self
                    .tried
                    .push(format!("{what}, which the agent did not sign for: {error}")),
            }
        }
        Ok(false)
    }

    /// The server may have enough of it; then what was tried says more than that the connection ended.
    fn broke_off(&self, error: &russh::Error) -> SshError {
        if self.tried.is_empty() {
            return broke_off(self.end, error);
        }
        SshError::AuthFailed {
            at: self.end.to_string(),
            tried: self.tried.clone(),
            allows: "no more tries".to_owned(),
        }
    }

    /// Reads a private key, and unlocks it if the operator can.
    fn open(&self, path: &Path) -> Result<Arc<PrivateKey>, SshError> {
        let mut keys = self.ring.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(path) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(read_key(path, self.operator)?);
        keys.insert(path.to_owned(), Arc::clone(&key));
        Ok(key)
    }
}

fn unusable(path: &Path, why: impl Into<String>, remedy: impl Into<String>) -> SshError {
    SshError::KeyFile {
        path: path.display().to_string(),
        why: why.into(),
        remedy: remedy.into(),
    }
}

fn read_key(path: &Path, operator: &dyn Operator) -> Result<PrivateKey, SshError> {
    let name = path.display();
    let cannot = |error: std::io::Error| {
        unusable(
            path,
            format!("cannot be read: {error}"),
            "name a private key that is there: ssh.keys",
        )
    };
    let mode = fs_err::metadata(path).map_err(cannot)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(unusable(
            path,
            format!("can be read by others (mode {:04o})", mode & 0o7777),
            format!("chmod 600 {name}"),
        ));
    }
    let text = secrecy::SecretString::from(fs_err::read_to_string(path).map_err(cannot)?);
    match decode_secret_key(text.expose_secret(), None) {
        Ok(key) => Ok(key),
        Err(KeyError::KeyIsEncrypted) => unlock(path, &text, operator),
        Err(error) => Err(unusable(
            path,
            format!("is none that wiab can use: {error}"),
            "use an ed25519 key (ssh-keygen -t ed25519), or add this one to the agent: ssh-add",
        )),
    }
}

fn unlock(
    path: &Path,
    text: &secrecy::SecretString,
    operator: &dyn Operator,
) -> Result<PrivateKey, SshError> {
    let name = path.display();
    let remedy =
        format!("ssh-add {name}   lets the agent hold it; or run wiab in a terminal, which asks");
    let Some(phrase) = operator.ask(&format!("passphrase of the key {name}")) else {
        return Err(unusable(
            path,
            "is encrypted, and nobody can be asked for its passphrase",
            remedy,
        ));
    };
    decode_secret_key(text.expose_secret(), Some(phrase.expose_secret()))
        .map_err(|_| unusable(path, "is encrypted, with another passphrase", remedy))
}
