//! Event bodies as bytes and as JSON. One of the two users of bincode (docs/adr/0003).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{BodyDecoder, BodyEncoder, Event};

/// Largest body of one event. A plan of 20,000 steps stays below it.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Why a body cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The body does not fit or cannot be expressed.
    #[error("cannot encode event {kind}")]
    Encode {
        /// Kind number.
        kind: u16,
        /// The codec's reason.
        #[source]
        source: bincode::error::EncodeError,
    },
    /// The bytes are not a body of that kind.
    #[error("cannot decode event {kind}")]
    Decode {
        /// Kind number.
        kind: u16,
        /// The codec's reason.
        #[source]
        source: bincode::error::DecodeError,
    },
    /// The kind number is not known to this version.
    #[error(
        "event kind {kind} is unknown to this version of wiab; read this journal with the version that wrote it"
    )]
    UnknownKind {
        /// Kind number.
        kind: u16,
    },
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<BODY_BYTES_MAX>()
}

struct Binary;

impl BodyEncoder for Binary {
    type Output = Vec<u8>;
    type Error = bincode::error::EncodeError;
    fn encode<T: Serialize>(&self, body: &T) -> Result<Vec<u8>, Self::Error> {
        bincode::serde::encode_to_vec(body, config())
    }
}

struct BinaryIn<'a>(&'a [u8]);

impl BodyDecoder for BinaryIn<'_> {
    type Error = bincode::error::DecodeError;
    fn decode<T: DeserializeOwned>(self) -> Result<T, Self::Error> {
        let (body, used) = bincode::serde::decode_from_slice(self.0, config())?;
        if used == self.0.len() {
            return Ok(body);
        }
        Err(bincode::error::DecodeError::OtherString(format!(
            "{} bytes follow the body",
            self.0.len() - used
        )))
    }
}

struct Json;

impl BodyEncoder for Json {
    type Output = serde_json::Value;
    type Error = serde_json::Error;
    fn encode<T: Serialize>(&self, body: &T) -> Result<serde_json::Value, Self::Error> {
        serde_json::to_value(body)
    }
}

/// The body of `event` as the journal stores it.
pub fn encode(event: &Event) -> Result<Vec<u8>, CodecError> {
    event
        .encode_with(&Binary)
        .map_err(|source| CodecError::Encode {
            kind: event.kind(),
            source,
        })
}

/// Reads a body; trailing bytes are an error.
pub fn decode(kind: u16, body: &[u8]) -> Result<Event, CodecError> {
    Event::decode_with(kind, BinaryIn(body))
        .map_err(|source| CodecError::Decode { kind, source })?
        .ok_or(CodecError::UnknownKind { kind })
}

/// The body of `event` for people and programs: `events.jsonl`, `journal show --json`.
pub fn to_json(event: &Event) -> serde_json::Value {
    event.encode_with(&Json).unwrap_or(serde_json::Value::Null)
}
