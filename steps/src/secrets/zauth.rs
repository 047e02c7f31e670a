//! zauth's key pairs: Ed25519 in libsodium's layout, URL-safe base64 with padding, one key per line.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use super::name::ShapeError;

/// Decoded length of a public key.
const PUBLIC_BYTES: usize = 32;

/// Decoded length of a private key: seed, then public key.
const PRIVATE_BYTES: usize = 64;

/// Signed and verified as a check that a pair works.
const PROBE: &[u8] = b"wiab zauth self-check";

/// The private key of a seed.
pub(crate) fn private_of_seed(seed: &[u8; 32]) -> Zeroizing<String> {
    let key = SigningKey::from_bytes(seed);
    let mut bytes = Zeroizing::new([0_u8; PRIVATE_BYTES]);
    let public = key.verifying_key().to_bytes();
    for (to, from) in bytes.iter_mut().zip(seed.iter().chain(&public)) {
        *to = *from;
    }
    Zeroizing::new(URL_SAFE.encode(bytes.as_slice()))
}

/// The public keys that belong to private keys, line by line.
pub(crate) fn public_of_private(private: &str) -> Result<String, ShapeError> {
    let publics: Result<Vec<String>, ShapeError> = private
        .lines()
        .map(|line| {
            let seed = seed_of(line)?;
            let key = SigningKey::from_bytes(&seed);
            Ok(URL_SAFE.encode(key.verifying_key().to_bytes()))
        })
        .collect();
    Ok(publics?.join("\n"))
}

/// Checks private keys: form, halves, and that they sign what their public half verifies.
pub(crate) fn check_private(private: &str) -> Result<(), ShapeError> {
    if private.is_empty() {
        return Err(ShapeError::Base64Url {
            bytes: PRIVATE_BYTES,
        });
    }
    private
        .split('\n')
        .try_for_each(|line| seed_of(line).map(drop))
}

/// Checks the form of public keys.
pub(crate) fn check_public(public: &str) -> Result<(), ShapeError> {
    let wrong = ShapeError::Base64Url {
        bytes: PUBLIC_BYTES,
    };
    public.split('\n').try_for_each(|line| {
        let bytes: [u8; PUBLIC_BYTES] = decoded(line).ok_or(wrong)?;
        VerifyingKey::from_bytes(&bytes)
            .map(drop)
            .map_err(|_| wrong)
    })
}

fn decoded<const N: usize>(line: &str) -> Option<[u8; N]> {
    let bytes = Zeroizing::new(URL_SAFE.decode(line).ok()?);
    bytes.as_slice().try_into().ok()
}

fn seed_of(line: &str) -> Result<Zeroizing<[u8; 32]>, ShapeError> {
    let bytes: Zeroizing<[u8; PRIVATE_BYTES]> =
        Zeroizing::new(decoded(line).ok_or(ShapeError::Base64Url {
            bytes: PRIVATE_BYTES,
        })?);
    let (seed, public) = bytes.split_at(32);
    let seed: [u8; 32] = seed.try_into().map_err(|_| ShapeError::Halves)?;
    let seed = Zeroizing::new(seed);
    let public: [u8; PUBLIC_BYTES] = public.try_into().map_err(|_| ShapeError::Halves)?;
    let key = SigningKey::from_bytes(&seed);
    let verifier = VerifyingKey::from_bytes(&public).map_err(|_| ShapeError::Halves)?;
    verifier
        .verify_strict(PROBE, &key.sign(PROBE))
        .map_err(|_| ShapeError::Halves)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 §7.1, test 1.
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn the_known_pair_has_its_known_form() {
        let private = private_of_seed(&SEED);
        assert_eq!(
            *private,
            "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DX\
             WpgBgrEKt9VL_tPJZAc6DuFy89qmIyWvAhpo9wdRGg=="
        );
        assert_eq!(private.len(), 88);
        assert_eq!(public_of_private(&private).unwrap(), PUBLIC);
        check_private(&private).unwrap();
        check_public(PUBLIC).unwrap();
    }

    #[test]
    fn several_keys_are_lines_in_order() {
        let one = private_of_seed(&SEED);
        let two = private_of_seed(&[7; 32]);
        let both = format!("{}\n{}", *one, *two);
        check_private(&both).unwrap();
        let public = public_of_private(&both).unwrap();
        assert!(public.starts_with(&format!("{PUBLIC}\n")));
        check_public(&public).unwrap();
    }

    #[test]
    fn wrong_forms_are_named() {
        let private = private_of_seed(&SEED);
        let standard = private.replace('_', "/").replace('-', "+");
        let short = ShapeError::Base64Url { bytes: 64 };
        assert_ne!(*private, standard);
        assert_eq!(check_private(&standard), Err(short));
        assert_eq!(check_private(private.trim_end_matches('=')), Err(short));
        assert_eq!(check_private(""), Err(short));
        assert_eq!(check_private(&format!("{}\n", *private)), Err(short));
        let mut bytes = URL_SAFE.decode(&*private).unwrap();
        bytes[40] ^= 1;
        assert_eq!(
            check_private(&URL_SAFE.encode(&bytes)),
            Err(ShapeError::Halves)
        );
        assert_eq!(
            check_public(&PUBLIC.replace('_', "/")),
            Err(ShapeError::Base64Url { bytes: 32 })
        );
    }
}
