//! Makes the sealed set: adopts what was found, generates the rest, checks everything.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::entropy::{Entropy, EntropyError};
use super::mls;
use super::name::{Name, Shape, ShapeError};
use super::sealed::{Origin, Sealed, SealedSet};
use super::zauth;

/// Letters and digits, as the installation's tools expect in passwords and keys.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Bytes from this value on are drawn again, so that every character is equally likely: 4 × 62.
const FAIR_BELOW: u8 = 248;

/// Random bytes per draw.
const DRAW_BYTES: usize = 64;

/// Draws per text after which the source must be broken.
const DRAWS_MAX: u32 = 64;

/// Why the set cannot be made. Names secrets and where they were found, never their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// Two places that count alike hold different values.
    #[error("`{name}` differs between {one} and {other}")]
    Conflict {
        /// The secret.
        name: Name,
        /// Where one value is.
        one: String,
        /// Where the other is.
        other: String,
    },
    /// A found value cannot be used.
    #[error("`{name}` in {from} cannot be adopted: {why}")]
    Unusable {
        /// The secret.
        name: Name,
        /// Where it is.
        from: String,
        /// What is wrong with it.
        why: ShapeError,
    },
    /// Only zauth's public key was found; a new pair would log everybody out.
    #[error("{from} holds zauth's public key, but its private key is nowhere")]
    PublicOnly {
        /// Where the public key is.
        from: String,
    },
    /// A value just generated fails its own check.
    #[error("the generated `{name}` fails its check: {why}")]
    SelfCheck {
        /// The secret.
        name: Name,
        /// What is wrong.
        why: ShapeError,
    },
}

/// Values that an installation already uses.
#[derive(Debug, Default)]
pub struct Found(BTreeMap<Name, (SecretString, String)>);

impl Found {
    /// Adds a value from a place; placeholders count as nothing. Places that count alike must agree.
    pub fn offer(&mut self, name: Name, value: &str, from: &str) -> Result<(), GenerateError> {
        if name.is_placeholder(value) {
            return Ok(());
        }
        let value = SecretString::from(name.normal(value));
        match self.0.get(&name) {
            Some((known, one)) if known.expose_secret() != value.expose_secret() => {
                Err(GenerateError::Conflict {
                    name,
                    one: one.clone(),
                    other: from.to_owned(),
                })
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(name, (value, from.to_owned()));
                Ok(())
            }
        }
    }

    /// These values, and those of `lesser` that are missing here.
    #[must_use]
    pub fn over(mut self, lesser: Self) -> Self {
        for (name, found) in lesser.0 {
            self.0.entry(name).or_insert(found);
        }
        self
    }

    /// Where a value of `set` that wiab generated is already used.
    pub(crate) fn use_of_generated(&self, set: &SealedSet) -> Option<(Name, &str)> {
        self.0.iter().find_map(|(name, (value, from))| {
            let ours = set.is_generated(*name) && set.get(*name) == value.expose_secret();
            ours.then_some((*name, from.as_str()))
        })
    }

    fn complete_zauth(&mut self) -> Result<(), GenerateError> {
        let Some((private, from)) = self.0.get(&Name::ZauthPrivate) else {
            return match self.0.get(&Name::ZauthPublic) {
                Some((_, from)) => Err(GenerateError::PublicOnly { from: from.clone() }),
                None => Ok(()),
            };
        };
        let (private, from) = (private.clone(), from.clone());
        let unusable = |name, why| GenerateError::Unusable {
            name,
            from: from.clone(),
            why,
        };
        let public = zauth::public_of_private(private.expose_secret())
            .map_err(|why| unusable(Name::ZauthPrivate, why))?;
        match self.0.get(&Name::ZauthPublic) {
            Some((found, from)) if found.expose_secret() != public => {
                Err(GenerateError::Unusable {
                    name: Name::ZauthPublic,
                    from: from.clone(),
                    why: ShapeError::Pair,
                })
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(Name::ZauthPublic, (public.into(), from));
                Ok(())
            }
        }
    }
}

/// Makes the set of an installation: every value of `found` is kept, the others are new. `created` is a date.
pub fn generate(
    entropy: &mut dyn Entropy,
    mut found: Found,
    created: &str,
) -> Result<SealedSet, GenerateError> {
    found.complete_zauth()?;
    let mut values = BTreeMap::new();
    for name in Name::ALL {
        let sealed = match found.0.remove(&name) {
            Some((value, from)) => adopted(name, value, from)?,
            None => fresh(name, entropy, &values)?,
        };
        values.insert(name, sealed);
    }
    SealedSet::new(created, values).map_err(|(name, why)| GenerateError::SelfCheck { name, why })
}

/// A set in which the values of `names` are new; with zauth's private key its public one changes, too.
pub(crate) fn rotate(
    set: &SealedSet,
    names: &[Name],
    entropy: &mut dyn Entropy,
    rotation: &str,
) -> Result<SealedSet, GenerateError> {
    let mut made = BTreeMap::new();
    for name in names {
        made.insert(*name, fresh(*name, entropy, &made)?);
    }
    if names.contains(&Name::ZauthPrivate) {
        let public = fresh(Name::ZauthPublic, entropy, &made)?;
        made.insert(Name::ZauthPublic, public);
    }
    set.with(made, rotation)
        .map_err(|(name, why)| GenerateError::SelfCheck { name, why })
}

fn adopted(name: Name, value: SecretString, from: String) -> Result<Sealed, GenerateError> {
    match name.check(value.expose_secret()) {
        Ok(()) => Ok(Sealed {
            value,
            origin: Origin::Adopted { from },
        }),
        Err(why) => Err(GenerateError::Unusable { name, from, why }),
    }
}

fn fresh(
    name: Name,
    entropy: &mut dyn Entropy,
    made: &BTreeMap<Name, Sealed>,
) -> Result<Sealed, GenerateError> {
    let value = match name.shape() {
        Shape::Text { bytes, .. } => text(bytes, entropy)?,
        Shape::ZauthPrivate => {
            let mut seed = Zeroizing::new([0_u8; 32]);
            entropy.fill(seed.as_mut_slice())?;
            zauth::private_of_seed(&seed)
        }
        Shape::ZauthPublic => {
            let private = made
                .get(&Name::ZauthPrivate)
                .map_or("", |sealed| sealed.value.expose_secret());
            zauth::public_of_private(private)
                .map(Zeroizing::new)
                .map_err(|why| GenerateError::SelfCheck { name, why })?
        }
        Shape::Mls(curve) => mls::generate(curve, entropy)?,
    };
    Ok(Sealed {
        value: SecretString::from(value.as_str()),
        origin: Origin::Generated,
    })
}

/// Random letters and digits.
fn text(bytes: usize, entropy: &mut dyn Entropy) -> Result<Zeroizing<String>, EntropyError> {
    let mut text = Zeroizing::new(String::with_capacity(bytes));
    let mut draw = Zeroizing::new([0_u8; DRAW_BYTES]);
    for _ in 0..DRAWS_MAX {
        entropy.fill(draw.as_mut_slice())?;
        for byte in draw.iter().filter(|byte| **byte < FAIR_BELOW) {
            if text.len() == bytes {
                return Ok(text);
            }
            let character = ALPHABET.get(usize::from(*byte) % ALPHABET.len());
            text.extend(character.map(|byte| char::from(*byte)));
        }
    }
    Err(EntropyError {
        why: format!("{DRAWS_MAX} draws gave no text of {bytes} characters"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::entropy::SeededEntropy;
    use super::*;

    fn set(seed: &str, found: Found) -> Result<SealedSet, GenerateError> {
        generate(&mut SeededEntropy::new(seed), found, "2026-01-01")
    }

    #[test]
    fn generated_values_have_their_known_shapes() {
        let set = set("shapes", Found::default()).unwrap();
        for (name, bytes) in [
            (Name::Zrest, 64),
            (Name::MinioAccessKey, 20),
            (Name::MinioSecretKey, 42),
            (Name::CargoholdAccessKey, 20),
            (Name::CargoholdSecretKey, 30),
            (Name::PostgresqlWire, 32),
            (Name::PostgresqlRepmgr, 32),
            (Name::Prometheus, 16),
            (Name::ZauthPublic, 44),
            (Name::ZauthPrivate, 88),
            (Name::MlsEd25519, 119),
            (Name::MlsP256, 241),
            (Name::MlsP384, 306),
            (Name::MlsP521, 384),
        ] {
            assert_eq!(set.get(name).len(), bytes, "{name}");
            assert!(set.is_generated(name));
            name.check_generated(set.get(name)).unwrap();
        }
        assert!(set.get(Name::ZauthPrivate).ends_with("=="));
    }

    #[test]
    fn another_source_gives_other_values_and_none_repeats() {
        let (one, two) = (set("1", Found::default()), set("2", Found::default()));
        let (one, two) = (one.unwrap(), two.unwrap());
        let mut seen: Vec<&str> = Name::ALL
            .iter()
            .flat_map(|name| [one.get(*name), two.get(*name)])
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2 * Name::ALL.len());
    }

    #[test]
    fn every_character_is_used_and_equally_often() {
        let text = text(2_000, &mut SeededEntropy::new("fair")).unwrap();
        let mut counts = [0_u32; 128];
        text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        for letter in ALPHABET {
            let count = counts[usize::from(*letter)];
            assert!(
                (10..=60).contains(&count),
                "{}: {count}",
                char::from(*letter)
            );
        }
    }

    #[derive(Debug)]
    struct Stuck(u8);

    impl Entropy for Stuck {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn a_broken_source_is_an_error_not_a_loop() {
        assert!(matches!(
            generate(&mut Stuck(0xff), Found::default(), "2026-01-01"),
            Err(GenerateError::Entropy(_))
        ));
        assert!(mls::generate(mls::Curve::P256, &mut Stuck(0)).is_err());
    }

    #[test]
    fn found_values_are_kept_and_a_missing_public_key_follows_from_the_private_one() {
        let old = set("old", Found::default()).unwrap();
        let mut found = Found::default();
        for name in [Name::ZauthPrivate, Name::MlsP384, Name::MinioSecretKey] {
            found.offer(name, old.get(name), "place").unwrap();
        }
        found.offer(Name::Zrest, "CHANGEME", "place").unwrap();
        let new = set("new", found).unwrap();
        for name in Name::ALL {
            let kept = [
                Name::ZauthPrivate,
                Name::ZauthPublic,
                Name::MlsP384,
                Name::MinioSecretKey,
            ]
            .contains(&name);
            assert_eq!(new.get(name) == old.get(name), kept, "{name}");
            assert_eq!(new.is_generated(name), !kept, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_adopted_is_named_without_its_value() {
        let old = set("old", Found::default()).unwrap();
        let other = set("other", Found::default()).unwrap();
        let offered = |pairs: &[(Name, &str)]| {
            let mut found = Found::default();
            for (index, (name, value)) in pairs.iter().enumerate() {
                found.offer(*name, value, &format!("place{index}"))?;
            }
            set("new", found)
        };
        let cases: [(&[(Name, &str)], &str); 5] = [
            (
                &[(Name::ZauthPublic, old.get(Name::ZauthPublic))],
                "place0 holds zauth's public key, but its private key is nowhere",
            ),
            (
                &[
                    (Name::ZauthPrivate, old.get(Name::ZauthPrivate)),
                    (Name::ZauthPublic, other.get(Name::ZauthPublic)),
                ],
                "`zauth_public` in place1 cannot be adopted: does not belong to `zauth_private`",
            ),
            (
                &[(Name::Zrest, "one-value"), (Name::Zrest, "other-value")],
                "`zrest` differs between place0 and place1",
            ),
            (
                &[(Name::MinioSecretKey, "canary")],
                "`minio_secret_key` in place0 cannot be adopted: shorter than 8 characters",
            ),
            (
                &[(Name::MlsP256, old.get(Name::MlsP384))],
                "`mls_ecdsa_secp256r1_sha256` in place0 cannot be adopted: not an unencrypted PKCS#8 PEM of P-256 as galley reads it",
            ),
        ];
        for (pairs, text) in cases {
            assert_eq!(offered(pairs).unwrap_err().to_string(), text);
        }
    }
}
