//! Takes secrets out of texts: every known value, plain and in base64, is replaced by its name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use wiab_engine::ports::Scrub;
use zeroize::Zeroizing;

use super::name::Name;
use super::sealed::{SealedError, SealedSet};
use crate::host::{Host, HostError};

/// Shortest text that is searched for, in bytes: a shorter one (an adopted access key `minio`) is an ordinary word.
const PATTERN_BYTES_MIN: usize = 8;

/// Why a scrubber does not know the secrets of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScrubError {
    /// The file cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The file is damaged.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// The search cannot be built.
    #[error("the search for {patterns} secret texts cannot be built")]
    Search {
        /// How many texts.
        patterns: usize,
    },
}

#[derive(Default)]
struct Known {
    // Not wiped: the search copies them anyway, and it lives as long as the process.
    patterns: BTreeMap<String, Name>,
    search: Option<Arc<Search>>,
}

struct Search {
    matcher: AhoCorasick,
    marks: Vec<String>,
}

/// A [`Scrub`] that knows sealed sets and can learn more while it is in use.
///
/// Among overlapping secrets the longest that begins first is replaced. A value is only seen whole: give it whole lines
/// (the hosts do), not chunks of a stream, for a value cut in two is not recognised. Values of several lines are known
/// line by line, so lines are enough.
#[derive(Default)]
pub struct Scrubber(RwLock<Known>);

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber")
    }
}

impl Scrubber {
    /// Learns the sealed set at `path` on a host; `false` if there is none yet. To be called when a run starts.
    pub async fn load(&self, host: &dyn Host, path: &str) -> Result<bool, ScrubError> {
        let Some(bytes) = host.read(path, false).await?.map(Zeroizing::new) else {
            return Ok(false);
        };
        self.learn(&SealedSet::parse(path, &bytes)?)?;
        Ok(true)
    }

    /// Learns the values of a set beside those it knows: after a rotation both the old and the new ones are secret.
    pub fn learn(&self, set: &SealedSet) -> Result<(), ScrubError> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.patterns.len();
        for name in Name::ALL {
            for pattern in patterns_of(set.get(name)) {
                known.patterns.entry(pattern).or_insert(name);
            }
        }
        if known.patterns.len() == before {
            return Ok(());
        }
        let matcher = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(known.patterns.keys())
            .map_err(|_| ScrubError::Search {
                patterns: known.patterns.len(),
            })?;
        let mark = |name: &Name| format!("‹secret:{name}›");
        let marks = known.patterns.values().map(mark).collect();
        known.search = Some(Arc::new(Search { matcher, marks }));
        Ok(())
    }

    fn search(&self) -> Option<Arc<Search>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.search.clone()
    }
}

impl Scrub for Scrubber {
    fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(search) = self.search() else {
            return Cow::Borrowed(text);
        };
        let mut clean = String::new();
        let mut done = 0;
        for found in search.matcher.find_iter(text) {
            clean.push_str(text.get(done..found.start()).unwrap_or_default());
            let mark = search.marks.get(found.pattern().as_usize());
            clean.push_str(mark.map_or("‹secret›", String::as_str));
            done = found.end();
        }
        if done == 0 {
            return Cow::Borrowed(text);
        }
        clean.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(clean)
    }
}

/// The texts by which a value can be recognised.
fn patterns_of(value: &str) -> Vec<String> {
    let mut patterns: Vec<String> = value
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::to_owned)
        .collect();
    patterns.push(STANDARD.encode(value));
    patterns.push(URL_SAFE.encode(value));
    for shift in 0..3 {
        patterns.extend(inside_base64(value, shift));
    }
    patterns.retain(|pattern| pattern.len() >= PATTERN_BYTES_MIN);
    patterns
}

/// What base64 of a longer text shows of a value that begins `shift` bytes after a multiple of three: the characters that
/// depend on the value alone.
fn inside_base64(value: &str, shift: usize) -> [String; 2] {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value.as_bytes());
    let first = (shift * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|alphabet| {
        let encoded = alphabet.encode(&padded);
        encoded.get(first..last).unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::super::entropy::SeededEntropy;
    use super::super::generate::{Found, generate};
    use super::*;

    fn set(seed: &str) -> SealedSet {
        generate(
            &mut SeededEntropy::new(seed),
            Found::default(),
            "2026-01-01",
        )
        .unwrap()
    }

    fn knowing(set: &SealedSet) -> Scrubber {
        let scrubber = Scrubber::default();
        scrubber.learn(set).unwrap();
        scrubber
    }

    #[test]
    fn every_value_is_replaced_by_its_name() {
        let set = set("scrub");
        let scrubber = knowing(&set);
        for name in Name::ALL {
            let value = set.get(name);
            if !value.contains('\n') {
                assert_eq!(
                    scrubber.scrub(&format!("a='{value}' b")),
                    format!("a='‹secret:{name}›' b")
                );
            }
            for alphabet in [STANDARD, URL_SAFE] {
                let shown = scrubber.scrub(&alphabet.encode(value)).into_owned();
                assert_eq!(shown, format!("‹secret:{name}›"));
            }
        }
    }

    #[test]
    fn pem_is_known_line_by_line_and_escaped() {
        let set = set("scrub");
        let scrubber = knowing(&set);
        let pem = set.get(Name::MlsEd25519);
        let mark = "‹secret:mls_ed25519›";
        assert_eq!(
            scrubber.scrub(pem),
            format!("-----BEGIN PRIVATE KEY-----\n{mark}\n-----END PRIVATE KEY-----\n")
        );
        assert_eq!(
            scrubber.scrub(&pem.replace('\n', "\\n")),
            format!("-----BEGIN PRIVATE KEY-----\\n{mark}\\n-----END PRIVATE KEY-----\\n")
        );
    }

    #[test]
    fn a_value_inside_a_longer_base64_text_is_found_at_every_offset() {
        let set = set("scrub");
        let scrubber = knowing(&set);
        let value = set.get(Name::MinioSecretKey);
        for before in ["", "x", "xy", "xyz"] {
            let shown = scrubber
                .scrub(&STANDARD.encode(format!("{before}{value}: tail")))
                .into_owned();
            assert!(shown.contains("‹secret:minio_secret_key›"), "{shown}");
            assert!(shown.chars().count() < 50, "{shown}");
        }
    }

    #[test]
    fn other_text_is_untouched_and_not_copied() {
        let scrubber = knowing(&set("scrub"));
        assert!(matches!(scrubber.scrub("guest ‹x› text"), Cow::Borrowed(_)));
        assert!(matches!(
            Scrubber::default().scrub("text"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn the_longest_of_overlapping_values_wins_and_learning_adds() {
        let mut found = Found::default();
        found.offer(Name::MinioSecretKey, "abcdefgh", "f").unwrap();
        found
            .offer(Name::CargoholdSecretKey, "abcdefghijkl", "f")
            .unwrap();
        found.offer(Name::MinioAccessKey, "minio", "f").unwrap();
        let set = generate(&mut SeededEntropy::new("x"), found, "x").unwrap();
        let scrubber = knowing(&set);
        assert_eq!(
            scrubber.scrub("abcdefghijklm abcdefghi minio"),
            "‹secret:minio_cargohold_secret_key›m ‹secret:minio_secret_key›i minio"
        );
        let second = self::set("second");
        scrubber.learn(&second).unwrap();
        let text = format!("{} {}", set.get(Name::Zrest), second.get(Name::Zrest));
        assert_eq!(scrubber.scrub(&text), "‹secret:zrest› ‹secret:zrest›");
    }
}
