//! The four MLS removal keys, as PKCS#8 PEM in the only form that galley's parser accepts.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use zeroize::Zeroizing;

use super::entropy::{Entropy, EntropyError};
use super::name::ShapeError;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const END: &str = "-----END PRIVATE KEY-----\n";

/// Columns of a PEM body.
const PEM_COLUMNS: usize = 64;

/// Draws after which the source must be broken: a draw misses a curve's order with a chance below one in 2^31.
const DRAWS_MAX: u32 = 64;

/// The curve of a removal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// Ed25519.
    Ed25519,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        })
    }
}

/// The fixed bytes around the secret number (and the public point) of a key.
struct Layout {
    /// Up to the secret number.
    head: &'static [u8],
    /// Length of the secret number.
    secret_bytes: usize,
    /// Between the secret number and the public point; empty for Ed25519, which has none.
    middle: &'static [u8],
    /// Bits of the first byte that may be set.
    first_mask: u8,
}

impl Curve {
    /// PKCS#8 version 1 without attributes; EC keys with public point and without parameters.
    fn layout(self) -> Layout {
        match self {
            Self::Ed25519 => Layout {
                head: b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
                secret_bytes: 32,
                middle: b"",
                first_mask: 0xff,
            },
            Self::P256 => Layout {
                head: b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                    \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20",
                secret_bytes: 32,
                middle: b"\xa1\x44\x03\x42\x00",
                first_mask: 0xff,
            },
            Self::P384 => Layout {
                head: b"\x30\x81\xb6\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                    \x06\x05\x2b\x81\x04\x00\x22\x04\x81\x9e\x30\x81\x9b\x02\x01\x01\x04\x30",
                secret_bytes: 48,
                middle: b"\xa1\x64\x03\x62\x00",
                first_mask: 0xff,
            },
            Self::P521 => Layout {
                head: b"\x30\x81\xee\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
                    \x06\x05\x2b\x81\x04\x00\x23\x04\x81\xd6\x30\x81\xd3\x02\x01\x01\x04\x42",
                secret_bytes: 66,
                middle: b"\xa1\x81\x89\x03\x81\x86\x00",
                // The order has 521 bits: 65 bytes and one bit.
                first_mask: 0x01,
            },
        }
    }

    /// The public point of a secret number; `None` if the number is zero or not below the order.
    fn point(self, secret: &[u8]) -> Option<Vec<u8>> {
        let point = match self {
            Self::Ed25519 => Vec::new(),
            Self::P256 => {
                let key = p256::SecretKey::from_slice(secret).ok()?;
                key.public_key().to_sec1_point(false).as_bytes().to_vec()
            }
            Self::P384 => {
                let key = p384::SecretKey::from_slice(secret).ok()?;
                key.public_key().to_sec1_point(false).as_bytes().to_vec()
            }
            Self::P521 => {
                let key = p521::SecretKey::from_slice(secret).ok()?;
                key.public_key().to_sec1_point(false).as_bytes().to_vec()
            }
        };
        Some(point)
    }
}

/// The PEM of a secret number; `None` if it is not one of the curve's.
fn encode(curve: Curve, secret: &[u8]) -> Option<Zeroizing<String>> {
    let layout = curve.layout();
    let point = curve.point(secret)?;
    let der = Zeroizing::new([layout.head, secret, layout.middle, &point].concat());
    Some(pem_of(&der))
}

fn pem_of(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let lines = body.len().div_ceil(PEM_COLUMNS);
    let mut pem = Zeroizing::new(String::with_capacity(
        BEGIN.len() + body.len() + lines + END.len(),
    ));
    pem.push_str(BEGIN);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_COLUMNS));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(END);
    pem
}

/// A new key.
pub(crate) fn generate(
    curve: Curve,
    entropy: &mut dyn Entropy,
) -> Result<Zeroizing<String>, EntropyError> {
    let layout = curve.layout();
    let mut secret = Zeroizing::new(vec![0_u8; layout.secret_bytes]);
    for _ in 0..DRAWS_MAX {
        entropy.fill(&mut secret)?;
        if let Some(first) = secret.first_mut() {
            *first &= layout.first_mask;
        }
        if let Some(pem) = encode(curve, &secret) {
            return Ok(pem);
        }
    }
    Err(EntropyError {
        why: format!("{DRAWS_MAX} draws gave no key of {curve}"),
    })
}

/// Whether `pem` is, byte by byte, what galley reads: the key is taken apart and written again.
pub(crate) fn check(curve: Curve, pem: &str) -> Result<(), ShapeError> {
    let again = secret_of(curve, pem).and_then(|secret| encode(curve, &secret));
    match again {
        Some(again) if again.as_str() == pem => Ok(()),
        _ => Err(ShapeError::Pem { curve }),
    }
}

/// Whether `pem` has the right form and length; its public point may be any.
pub(crate) fn check_form(curve: Curve, pem: &str) -> Result<(), ShapeError> {
    let wrong = ShapeError::Pem { curve };
    let layout = curve.layout();
    let der = der_of(pem).ok_or(wrong)?;
    let point_bytes = match layout.middle {
        [] => 0,
        _ => 1 + 2 * layout.secret_bytes,
    };
    let rest = der.get(layout.head.len() + layout.secret_bytes..);
    let point = rest.and_then(|rest| rest.strip_prefix(layout.middle));
    let formed = der.starts_with(layout.head)
        && point.is_some_and(|point| point.len() == point_bytes)
        && *pem_of(&der) == pem;
    formed.then_some(()).ok_or(wrong)
}

fn der_of(pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = pem.strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body = Zeroizing::new(body.replace('\n', ""));
    STANDARD.decode(body.as_str()).ok().map(Zeroizing::new)
}

fn secret_of(curve: Curve, pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let layout = curve.layout();
    let der = der_of(pem)?;
    let secret = der
        .strip_prefix(layout.head)?
        .get(..layout.secret_bytes)?
        .to_vec();
    Some(Zeroizing::new(secret))
}

#[cfg(test)]
mod tests {
    use super::super::entropy::SeededEntropy;
    use super::*;

    const SIZES: [(Curve, usize, usize); 4] = [
        (Curve::Ed25519, 119, 48),
        (Curve::P256, 241, 138),
        (Curve::P384, 306, 185),
        (Curve::P521, 384, 241),
    ];

    fn key(curve: Curve, seed: &str) -> String {
        generate(curve, &mut SeededEntropy::new(seed))
            .unwrap()
            .to_string()
    }

    fn der(pem: &str) -> Vec<u8> {
        let body: String = pem.lines().filter(|line| !line.contains('-')).collect();
        STANDARD.decode(body).unwrap()
    }

    #[test]
    fn keys_have_the_sizes_and_the_form_of_the_reference() {
        for (curve, pem_bytes, der_bytes) in SIZES {
            for seed in ["a", "b", "c"] {
                let pem = key(curve, seed);
                assert_eq!(pem.len(), pem_bytes, "{curve}");
                assert_eq!(der(&pem).len(), der_bytes, "{curve}");
                check(curve, &pem).unwrap();
                check_form(curve, &pem).unwrap();
            }
        }
    }

    #[test]
    fn what_galley_would_reject_is_rejected() {
        for (curve, _, _) in SIZES {
            let pem = key(curve, "x");
            let wrong = Err(ShapeError::Pem { curve });
            let mut with_tail = der(&pem);
            with_tail.push(0);
            let body = STANDARD.encode(with_tail);
            for bad in [
                String::new(),
                pem.trim_end().to_owned(),
                pem.replace("PRIVATE KEY", "EC PRIVATE KEY"),
                format!("{BEGIN}{END}"),
                format!("{BEGIN}{body}\n{END}"),
                format!(" {pem}"),
            ] {
                assert_eq!(check(curve, &bad), wrong, "{curve}");
                assert_eq!(check_form(curve, &bad), wrong, "{curve}");
            }
        }
        assert!(check(Curve::P384, &key(Curve::P256, "x")).is_err());
        // Another public point is only seen when it is computed.
        let mut other_point = der(&key(Curve::P256, "x"));
        *other_point.last_mut().unwrap() ^= 1;
        let pem = pem_of(&other_point);
        assert!(check_form(Curve::P256, &pem).is_ok() && check(Curve::P256, &pem).is_err());
        let zero = vec![0; 32];
        assert!(encode(Curve::P256, &zero).is_none());
    }
}
