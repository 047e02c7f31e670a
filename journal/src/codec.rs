//! Bodies of the journal's own kinds: bincode, bounded, nothing left over. The only place that knows bincode.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest body of an own kind, in bytes.
const OWN_BODY_BYTES_MAX: usize = 1 << 20;

/// Encodes a body.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let config = bincode::config::standard().with_limit::<OWN_BODY_BYTES_MAX>();
    bincode::serde::encode_to_vec(value, config).map_err(|error| error.to_string())
}

/// Decodes a body; bytes that are left over are an error.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let config = bincode::config::standard().with_limit::<OWN_BODY_BYTES_MAX>();
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|error| error.to_string())?;
    if used == bytes.len() {
        return Ok(value);
    }
    Err(format!(
        "{} bytes are left over",
        bytes.len().saturating_sub(used)
    ))
}
