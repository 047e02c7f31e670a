//! TLS for the servers of the hub: keys and certificates from PEM, chosen by the name that the client asks for.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::error::{LabError, Result};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate with its key.
pub(super) type Pair = Arc<CertifiedKey>;

fn bad(error: impl std::fmt::Display) -> LabError {
    LabError::check(format!("a certificate cannot be used: {error}"))
}

/// Reads chain and key.
pub(super) fn pair(chain: &[u8], key: &[u8]) -> Result<Pair> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<std::result::Result<_, _>>()
        .map_err(bad)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(bad)?;
    let key = ring::sign::any_supported_type(&key).map_err(bad)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Certificates by name, and one for all other names.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) names: BTreeMap<String, Pair>,
    pub(super) other: Pair,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Pair> {
        let named = hello.server_name().and_then(|name| self.names.get(name));
        Some(named.unwrap_or(&self.other).clone())
    }
}

/// Greets a client.
pub(super) fn accept(stream: TcpStream, choice: Choice) -> Result<impl Read + Write> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(bad)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(choice));
    let server = ServerConnection::new(Arc::new(config)).map_err(bad)?;
    Ok(StreamOwned::new(server, stream))
}
