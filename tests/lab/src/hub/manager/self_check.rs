//! The self-check of a name: real packets from a node, and what cert-manager says of what came back.

use super::super::{Hub, names};
use crate::agent::{Answer, Ask};

/// How long a self-check may take, in milliseconds.
const CHECK_MS: u64 = 10_000;

/// What cert-manager tries before it tells the authority: its own request, from its node, by the public name.
pub(super) fn self_check(
    hub: &Hub,
    node: &str,
    host: &str,
    token: &str,
    key: &str,
) -> std::result::Result<(), String> {
    let path = format!("/.well-known/acme-challenge/{token}");
    let failed = |why: String| {
        let url = format!("http://{host}{path}");
        format!("failed to perform self check GET request '{url}': Get \"{url}\": {why}")
    };
    let address = names::address(hub.order.dns, host).map_err(failed)?;
    let ask = Ask::Get {
        address,
        port: 80,
        host: host.to_owned(),
        path: path.clone(),
        timeout_ms: CHECK_MS,
    };
    match hub.agents.ask(node, &ask) {
        Ok(Answer::Page(200, body)) if body.trim() == key => Ok(()),
        Ok(Answer::Page(200, body)) => {
            let start: String = body.chars().take(24).collect();
            Err(format!(
                "did not get expected response when querying endpoint, expected {key:?} but got: {start} (truncated)"
            ))
        }
        Ok(Answer::Page(status, _)) => Err(format!("wrong status code '{status}', expected '200'")),
        Ok(Answer::Failed(why)) => Err(failed(why)),
        Ok(_) => Err(failed("EOF".to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}
