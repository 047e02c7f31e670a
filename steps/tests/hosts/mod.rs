//! The hosts.

mod artifact;
mod conformance;
mod crash;
mod kube;
mod lease;
mod local;
mod sim;
mod ssh;

use std::future::Future;
use std::sync::Arc;

use wiab_engine::ports::Cancel;
use wiab_steps::host::sim::{Machine, SimHost, SimOptions};
use wiab_steps::host::{Cmd, Host, HostError, Output};

/// Runs a future on a small runtime.
pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A machine in memory.
pub(crate) fn sim(machine: Machine) -> Arc<SimHost> {
    SimHost::in_memory(machine, SimOptions::default())
}

/// Runs a command line as root, words split at blanks.
pub(crate) async fn root(host: &dyn Host, line: &str) -> Result<Output, HostError> {
    let cmd = Cmd::new(line.split(' ')).root().timeout_ms(3_600_000);
    host.run(&cmd, &Cancel::default(), &|_| {}).await
}

/// The same with standard input.
pub(crate) async fn root_with(host: &dyn Host, line: &str, stdin: &str) -> Output {
    let cmd = Cmd::new(line.split(' ')).root().stdin(stdin);
    host.run(&cmd, &Cancel::default(), &|_| {}).await.unwrap()
}

/// Runs a command that must succeed, and answers its output.
pub(crate) async fn good(host: &dyn Host, line: &str) -> String {
    let output = root(host, line).await.unwrap();
    assert_eq!(
        output.code,
        0,
        "{line}: {}{}",
        output.text(),
        output.error_text()
    );
    output.text()
}

/// Runs a command that must fail, and answers code and standard error.
pub(crate) async fn bad(host: &dyn Host, line: &str) -> (i32, String) {
    let output = root(host, line).await.unwrap();
    assert_ne!(output.code, 0, "{line}: {}", output.text());
    (output.code, output.error_text())
}
