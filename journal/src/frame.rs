//! The bytes of a frame. Specified in `docs/journal-format.md`; golden bytes stand in `tests/fixtures`.

use crate::types::{Frame, Hash, RunKey};

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"WIAB";
/// The version this build writes, and the newest it reads.
pub const VERSION: u16 = 1;
/// Longest actor, in bytes.
pub const ACTOR_BYTES_MAX: usize = 256;
/// Longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes before the actor.
pub(crate) const HEADER_BYTES: usize = 118;
/// Bytes of the closing hash.
const HASH_BYTES: usize = 32;
/// No hash before the first frame.
pub const ZERO_HASH: Hash = [0; 32];

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end before the frame does, or go on after it.
    #[error("the frame should have {expected} bytes and has {found}")]
    Length {
        /// Bytes that the header announces, or the least a frame has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The first bytes are not those of a frame.
    #[error("the frame does not begin with `WIAB`")]
    Magic,
    /// A newer wiab wrote the frame.
    #[error(
        "the frame has format version {found}, this wiab knows versions up to {known}; use the newer wiab that wrote it"
    )]
    Newer {
        /// Version found.
        found: u16,
        /// Newest version known.
        known: u16,
    },
    /// Version 0 does not exist.
    #[error("the frame has format version 0, which does not exist")]
    VersionZero,
    /// A length is above its bound.
    #[error("the frame's {field} has {bytes} bytes, more than {bytes_max}")]
    TooLong {
        /// `actor` or `body`.
        field: &'static str,
        /// Announced bytes.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The actor is not UTF-8.
    #[error("the frame's actor is not UTF-8")]
    Actor,
    /// The content does not match its hash.
    #[error("the frame's content does not match its own hash")]
    Hash,
}

/// A frame looked at in place; nothing is copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) seq: u64,
    pub(crate) run_seq: u64,
    pub(crate) run: RunKey,
    pub(crate) time_ms: u64,
    pub(crate) kind: u16,
    pub(crate) prev: Hash,
    pub(crate) run_prev: Hash,
    pub(crate) actor: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) hash: Hash,
    hashed: &'a [u8],
}

/// Takes `N` bytes off the front.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], FrameError> {
    let short = FrameError::Length {
        expected: HEADER_BYTES + HASH_BYTES,
        found: bytes.len(),
    };
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(short)?;
    *bytes = rest;
    Ok(head)
}

/// Checks the version. Version 1 is the only one there is.
fn known(version: u16) -> Result<(), FrameError> {
    match version {
        0 => Err(FrameError::VersionZero),
        VERSION => Ok(()),
        found => Err(FrameError::Newer {
            found,
            known: VERSION,
        }),
    }
}

impl<'a> View<'a> {
    /// Reads the fields; [`View::intact`] checks the hash.
    pub(crate) fn parse(all: &'a [u8]) -> Result<Self, FrameError> {
        let mut bytes = all;
        if *take::<4>(&mut bytes)? != MAGIC {
            return Err(FrameError::Magic);
        }
        known(u16::from_be_bytes(*take(&mut bytes)?))?;
        let kind = u16::from_be_bytes(*take(&mut bytes)?);
        let seq = u64::from_be_bytes(*take(&mut bytes)?);
        let run_seq = u64::from_be_bytes(*take(&mut bytes)?);
        let time_ms = u64::from_be_bytes(*take(&mut bytes)?);
        let run = *take::<16>(&mut bytes)?;
        let prev = *take::<32>(&mut bytes)?;
        let run_prev = *take::<32>(&mut bytes)?;
        let actor_len = usize::from(u16::from_be_bytes(*take(&mut bytes)?));
        let body_len =
            usize::try_from(u32::from_be_bytes(*take(&mut bytes)?)).unwrap_or(usize::MAX);
        bounded("actor", actor_len, ACTOR_BYTES_MAX)?;
        bounded("body", body_len, BODY_BYTES_MAX)?;
        let length = FrameError::Length {
            expected: HEADER_BYTES + actor_len + body_len + HASH_BYTES,
            found: all.len(),
        };
        let (actor, bytes) = bytes.split_at_checked(actor_len).ok_or(length.clone())?;
        let (body, bytes) = bytes.split_at_checked(body_len).ok_or(length.clone())?;
        let hash = *<&Hash>::try_from(bytes).map_err(|_| length.clone())?;
        let hashed = all
            .get(..all.len().saturating_sub(HASH_BYTES))
            .ok_or(length)?;
        Ok(Self {
            seq,
            run_seq,
            run,
            time_ms,
            kind,
            prev,
            run_prev,
            actor,
            body,
            hash,
            hashed,
        })
    }

    /// Checks the content against the frame's own hash.
    pub(crate) fn intact(&self) -> Result<(), FrameError> {
        if *blake3::hash(self.hashed).as_bytes() == self.hash {
            return Ok(());
        }
        Err(FrameError::Hash)
    }

    /// Copies the fields.
    pub(crate) fn to_frame(self) -> Result<Frame, FrameError> {
        let actor = std::str::from_utf8(self.actor).map_err(|_| FrameError::Actor)?;
        Ok(Frame {
            seq: self.seq,
            run_seq: self.run_seq,
            run: self.run,
            time_ms: self.time_ms,
            actor: actor.to_owned(),
            kind: self.kind,
            prev: self.prev,
            run_prev: self.run_prev,
            body: self.body.to_vec(),
            hash: self.hash,
        })
    }
}

fn bounded(field: &'static str, bytes: usize, bytes_max: usize) -> Result<(), FrameError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(FrameError::TooLong {
        field,
        bytes,
        bytes_max,
    })
}

/// The length of the frame whose first bytes are given; `None` when they are too few to tell.
pub(crate) fn announced_len(start: &[u8]) -> Option<usize> {
    let lengths = start.get(112..HEADER_BYTES)?;
    let (actor, body) = lengths.split_first_chunk::<2>()?;
    let body = u32::from_be_bytes(*body.first_chunk::<4>()?);
    let actor = usize::from(u16::from_be_bytes(*actor));
    Some(HEADER_BYTES + HASH_BYTES + actor + usize::try_from(body).ok()?)
}

impl Frame {
    /// The frame's bytes, with the hash as it stands in `self`.
    ///
    /// The actor and body must be within their bounds; [`Frame::sealed`] sees to it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.hashed_bytes();
        bytes.extend_from_slice(&self.hash);
        bytes
    }

    fn hashed_bytes(&self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(HEADER_BYTES + self.actor.len() + self.body.len() + HASH_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.kind.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.run_seq.to_be_bytes());
        bytes.extend_from_slice(&self.time_ms.to_be_bytes());
        bytes.extend_from_slice(&self.run);
        bytes.extend_from_slice(&self.prev);
        bytes.extend_from_slice(&self.run_prev);
        let actor_len = u16::try_from(self.actor.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&actor_len.to_be_bytes());
        let body_len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&body_len.to_be_bytes());
        bytes.extend_from_slice(self.actor.as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sets the hash over all other fields and returns the frame with its bytes. Refuses lengths above the bounds.
    pub fn sealed(mut self) -> Result<(Self, Vec<u8>), FrameError> {
        bounded("actor", self.actor.len(), ACTOR_BYTES_MAX)?;
        bounded("body", self.body.len(), BODY_BYTES_MAX)?;
        let mut bytes = self.hashed_bytes();
        self.hash = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&self.hash);
        Ok((self, bytes))
    }

    /// Reads one whole frame and checks its own hash. The chains are checked by whoever knows the frames before it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let view = View::parse(bytes)?;
        view.intact()?;
        view.to_frame()
    }
}
