//! `vm.ready/1`: waits until a VM answers over ssh with its pinned key and cloud-init has done its work.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wiab_engine::outcome::{Failure, Probe, Receipt, UndoClass};
use wiab_engine::plan::RetryPolicy;
use wiab_engine::ports::Step;

use super::login::{Login, SSH_FAILED};
use super::patience::Patience;
use super::{Act, bound};
use crate::host::shell::{InTime, Shell};
use crate::host::{Cmd, Host, Output};
use crate::kind::{About, Kind, Out, Pace};

const POLL_MS: u64 = 2_000;

/// A VM that shall be reachable and complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmReady {
    /// Name of the VM; its host name must be this.
    pub vm: String,
    /// Its address.
    pub ip: String,
    /// The user to log in as.
    pub user: String,
    /// Path of the private key.
    pub key_path: String,
    /// Path of the file with its host key.
    pub known_hosts: String,
    /// How long to wait, in milliseconds.
    pub deadline_ms: u64,
}

/// What one look found.
enum Look {
    Ready(Receipt),
    Waiting(String),
    Broken(Failure),
}

impl VmReady {
    /// Output: the address.
    pub const IP: Out<Self> = Out::new("ip");
    /// Output: name of the network interface that has the address.
    pub const IFACE: Out<Self> = Out::new("iface");

    fn ssh(&self, remote: &[&str]) -> Cmd {
        let login = Login {
            user: self.user.clone(),
            key_path: self.key_path.clone(),
            known_hosts: self.known_hosts.clone(),
            accounts: BTreeMap::new(),
        };
        login.cmd(&self.ip, remote)
    }

    async fn look(&self, sh: Shell<'_>) -> Result<Look, Failure> {
        let status = self.ssh(&["cloud-init", "status", "--format", "json"]);
        let output = match sh.in_time(&status).await? {
            InTime::Ended(output) => output,
            InTime::No { after_ms } => return Ok(Look::Waiting(slow(after_ms))),
            InTime::NoProgram => {
                return Ok(Look::Broken(
                    Failure::clean("`ssh` is not installed on the host")
                        .hint("install the package openssh-client"),
                ));
            }
        };
        if output.code == SSH_FAILED {
            return Ok(Look::Waiting(self.unreachable(&output)));
        }
        match cloud_init(&output) {
            CloudInit::Running => Ok(Look::Waiting("cloud-init is still running".to_owned())),
            CloudInit::Failed(why) => Ok(Look::Broken(
                Failure::clean(format!("cloud-init of {} failed: {why}", self.vm)).hint(format!(
                    "ssh -i {} {}@{} sudo cat /var/log/cloud-init-output.log",
                    self.key_path, self.user, self.ip
                )),
            )),
            CloudInit::Done(remark) => self.interface(sh, remark).await,
        }
    }

    async fn interface(&self, sh: Shell<'_>, remark: Option<String>) -> Result<Look, Failure> {
        let output = match sh.in_time(&self.ssh(&["ip", "-j", "route"])).await? {
            InTime::Ended(output) => output,
            InTime::No { after_ms } => return Ok(Look::Waiting(slow(after_ms))),
            InTime::NoProgram => return Ok(Look::Waiting("ssh is gone".to_owned())),
        };
        if !output.ok() {
            return Ok(Look::Waiting("its routes cannot be read yet".to_owned()));
        }
        let routes: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let Some(iface) = interface_of(&routes, &self.ip) else {
            return Ok(Look::Waiting("it has no route yet".to_owned()));
        };
        let note = match remark {
            None => format!("{}, cloud-init done", self.ip),
            Some(remark) => format!("{}, cloud-init done, with {remark}", self.ip),
        };
        Ok(Look::Ready(
            Receipt::note(note)
                .with("ip", &*self.ip)
                .with("iface", iface),
        ))
    }

    fn unreachable(&self, output: &Output) -> String {
        let said = output.error_text();
        if said.contains("Host key verification failed")
            || said.contains("IDENTIFICATION HAS CHANGED")
        {
            return format!("its host key is not the one in {}", self.known_hosts);
        }
        if said.contains("Permission denied") {
            return format!("it does not accept the key of {} yet", self.user);
        }
        let last = said.lines().next_back().unwrap_or("ssh gave no reason");
        format!("ssh does not answer: {last}")
    }
}

/// A VM that is busy starting may let a login wait for long.
fn slow(after_ms: u64) -> String {
    format!("a login had no answer within {} s", after_ms / 1_000)
}

/// What cloud-init says about itself.
#[derive(Debug, PartialEq, Eq)]
enum CloudInit {
    Running,
    Done(Option<String>),
    Failed(String),
}

/// Reads `cloud-init status --format json`, or the plain `status: …` of versions without it.
fn cloud_init(output: &Output) -> CloudInit {
    let text = output.text();
    let Ok(json) = serde_json::from_str::<Value>(&text) else {
        return match text.lines().find_map(|line| line.strip_prefix("status: ")) {
            Some("done") => CloudInit::Done(None),
            Some("error") => CloudInit::Failed("status: error".to_owned()),
            _ => CloudInit::Running,
        };
    };
    let list = |name: &str| match json.get(name) {
        Some(Value::Array(items)) => items
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("; "),
        _ => String::new(),
    };
    let errors = list("errors");
    match json.get("status").and_then(Value::as_str) {
        Some("done") if errors.is_empty() => {
            let remark = match json.get("recoverable_errors") {
                Some(Value::Object(map)) if !map.is_empty() => Some(format!(
                    "recoverable errors: {}",
                    map.keys()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .join(", ")
                )),
                _ => None,
            };
            CloudInit::Done(remark)
        }
        Some("done" | "error") => CloudInit::Failed(if errors.is_empty() {
            "no reason given".to_owned()
        } else {
            errors
        }),
        Some("disabled") => CloudInit::Failed("it is disabled in the image".to_owned()),
        _ => CloudInit::Running,
    }
}

/// The device of the default route of lowest metric, else of the route that has the address as source.
fn interface_of(routes: &Value, ip: &str) -> Option<String> {
    let routes = routes.as_array()?;
    let device = |route: &Value| route.get("dev")?.as_str().map(str::to_owned);
    let default = routes
        .iter()
        .filter(|route| route.get("dst").and_then(Value::as_str) == Some("default"))
        .min_by_key(|route| route.get("metric").and_then(Value::as_u64).unwrap_or(0));
    default.and_then(device).or_else(|| {
        routes
            .iter()
            .find(|route| route.get("prefsrc").and_then(Value::as_str) == Some(ip))
            .and_then(device)
    })
}

impl Kind for VmReady {
    const NAME: &'static str = "vm.ready/1";
    const ABOUT: About = About {
        purpose: "Later steps find a VM that is complete, not one that is still booting.",
        probe: "Logs in with the pinned host key and asks cloud-init and the routing table once.",
        effect: "Asks every two seconds until the deadline; changes nothing.",
        undo: "Nothing to undo.",
    };

    fn summary(&self) -> String {
        format!("wait for VM {} at {}", self.vm, self.ip)
    }

    fn undo_summary(&self) -> String {
        "nothing to undo".to_owned()
    }

    fn undo_class(&self) -> UndoClass {
        UndoClass::NothingToUndo
    }

    fn pace(&self) -> Pace {
        Pace {
            retry: RetryPolicy::NEVER,
            timeout_ms: self.deadline_ms.saturating_add(60_000),
            usual_ms: 60_000,
        }
    }

    fn bind(self, host: Arc<dyn Host>) -> Arc<dyn Step> {
        bound(self, host)
    }
}

impl Act for VmReady {
    type Image = ();

    async fn probe(&self, sh: Shell<'_>) -> Result<Probe, Failure> {
        Ok(match self.look(sh).await? {
            Look::Ready(receipt) => Probe::Satisfied(receipt),
            Look::Waiting(_) | Look::Broken(_) => Probe::Absent,
        })
    }

    async fn capture(&self, _: Shell<'_>) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, sh: Shell<'_>, (): &()) -> Result<Receipt, Failure> {
        let mut patience = Patience::new(sh, self.deadline_ms, POLL_MS);
        loop {
            let waiting = match self.look(sh).await? {
                Look::Ready(receipt) => return Ok(receipt),
                Look::Broken(failure) => return Err(failure),
                Look::Waiting(why) => why,
            };
            patience.show(&waiting);
            if !patience.rest().await {
                return Err(Failure::clean(format!(
                    "VM {} was not ready after {} s: {waiting}",
                    self.vm,
                    self.deadline_ms / 1_000
                ))
                .hint(format!(
                    "look at its console: sudo virsh console {}; then `wiab apply --resume`",
                    self.vm
                )));
            }
        }
    }

    async fn undo(&self, _: Shell<'_>, (): &()) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Output {
        Output {
            stdout: text.as_bytes().to_vec(),
            ..Output::default()
        }
    }

    #[test]
    fn cloud_init_is_done_only_without_errors() {
        let cases = [
            (r#"{"status":"running","errors":[]}"#, CloudInit::Running),
            (r#"{"status":"not run"}"#, CloudInit::Running),
            (r#"{"status":"done","errors":[]}"#, CloudInit::Done(None)),
            ("status: done\n", CloudInit::Done(None)),
            (
                r#"{"status":"done","errors":[],"recoverable_errors":{"WARNING":["x"]}}"#,
                CloudInit::Done(Some("recoverable errors: WARNING".to_owned())),
            ),
            (
                r#"{"status":"error","errors":["no disk"]}"#,
                CloudInit::Failed("\"no disk\"".to_owned()),
            ),
            ("", CloudInit::Running),
        ];
        for (text, wanted) in cases {
            assert_eq!(cloud_init(&said(text)), wanted, "{text}");
        }
    }

    #[test]
    fn one_interface_is_chosen_even_with_two_default_routes_or_none() {
        let cases = [
            (
                r#"[{"dst":"default","dev":"b","metric":200},{"dst":"default","dev":"a","metric":100}]"#,
                Some("a"),
            ),
            (
                r#"[{"dst":"192.168.122.0/24","dev":"enp1s0","prefsrc":"192.168.122.21"}]"#,
                Some("enp1s0"),
            ),
            ("[]", None),
        ];
        for (text, wanted) in cases {
            let routes: Value = serde_json::from_str(text).unwrap();
            assert_eq!(interface_of(&routes, "192.168.122.21").as_deref(), wanted);
        }
    }
}
