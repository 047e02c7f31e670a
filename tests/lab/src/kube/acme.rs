//! The certificate authority: Let's Encrypt's own test server, and the name server that it asks, in the outside's network.

use serde_json::json;

use super::Control;
use crate::error::Result;
use crate::inside::{MACHINE_IP, OUTSIDE_IP};

/// The authority's port, and the one where its root certificate is to be had.
pub(super) const PORT: u16 = 14_000;
const MANAGEMENT_PORT: u16 = 15_000;
/// The name server's port, and the one where it is told what to answer.
pub(super) const DNS_PORT: u16 = 8_053;
const DNS_MANAGEMENT_PORT: u16 = 8_055;

/// Let's Encrypt's name, by which VMs are seen to reach the outside.
const LETS_ENCRYPT: &str = "acme-v02.api.letsencrypt.org";

impl Control<'_> {
    /// What the machine and its VMs find outside: a name service, and something at Let's Encrypt's address. Every other name
    /// is the machine's public address.
    fn internet(&self) -> Result<()> {
        let rules = format!(
            "table ip outside {{ chain to {{ type nat hook prerouting priority -100;\n\
             ip daddr {OUTSIDE_IP} udp dport 53 redirect to :{DNS_PORT}\n\
             ip daddr {OUTSIDE_IP} tcp dport 443 redirect to :{PORT}\n}}\n}}\n"
        );
        self.outside(&["nft", "-f", "-"]).stdin(rules).run()?;
        let told = json!({"host": LETS_ENCRYPT, "addresses": [OUTSIDE_IP]});
        let url = format!("http://{OUTSIDE_IP}:{DNS_MANAGEMENT_PORT}/add-a");
        self.outside(&["curl", "-sf", "-m", "3", "-d", &told.to_string(), &url])
            .run()
    }

    /// Starts both. Every name is the machine's public address.
    pub(super) fn authority(&mut self) -> Result<()> {
        let tools = self.tools().to_owned();
        let (dns, told) = (
            format!("{OUTSIDE_IP}:{DNS_PORT}"),
            format!("{OUTSIDE_IP}:{DNS_MANAGEMENT_PORT}"),
        );
        let none = [
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-defaultIPv6",
            "",
        ];
        let mut args = vec![
            "-defaultIPv4",
            MACHINE_IP,
            "-dns01",
            &dns,
            "-management",
            &told,
        ];
        args.extend(none);
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        self.part("names", &tools.join("pebble-challtestsrv"), &args, &[])?;
        let key = |end: &str| self.pki().join(format!("authority.{end}"));
        let config = json!({"pebble": {
            "listenAddress": format!("{OUTSIDE_IP}:{PORT}"),
            "managementListenAddress": format!("{OUTSIDE_IP}:{MANAGEMENT_PORT}"),
            "certificate": key("crt"), "privateKey": key("key"), "httpPort": 80, "tlsPort": 443,
        }});
        let file = self.dir().join("authority.json");
        fs_err::write(&file, config.to_string())?;
        let args = ["-config", &file.display().to_string(), "-dnsserver", &dns].map(str::to_owned);
        // Without pauses of its own making.
        let env = [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")];
        self.part("authority", &tools.join("pebble"), &args, &env)?;
        let url = format!("https://{OUTSIDE_IP}:{MANAGEMENT_PORT}/roots/0");
        let root = self.outside(&["curl", "-sfk", "-m", "3", "-o", "/dev/null", &url]);
        self.wait("the certificate authority", &root)?;
        self.internet()
    }

    /// The root certificate of the authority; a new one each time that it starts.
    pub(crate) fn root(&self) -> Result<String> {
        let url = format!("https://{OUTSIDE_IP}:{MANAGEMENT_PORT}/roots/0");
        self.outside(&["curl", "-sfk", "-m", "3", &url]).output()
    }
}
