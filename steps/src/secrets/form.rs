//! The files that carry secrets: which value stands where, for writing them and for adopting from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::generate::{Found, GenerateError};
use super::name::{Name, ShapeError};
use super::sealed::SealedSet;
use super::yaml::{self, Leaf, YamlError};

/// First line of every rendered file; only wiab writes it.
pub(crate) const HEADER: &str =
    "# Rendered by wiab from the sealed secrets; put your own values into another file.\n";

/// Room for a rendered file, so that growing leaves no copies in memory.
const RENDERED_BYTES: usize = 16 << 10;

/// Longest accepted number of paths in a message.
const PATHS_SHOWN_MAX: usize = 8;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Form {
    /// Ansible's `group_vars/all/secrets.yaml`: the keys of MinIO.
    Ansible,
    /// Helm values of the chart `wire-server`.
    WireServer {
        /// Whether the release's brig demands Twilio and Nexmo credentials; it gets dummies.
        sms: bool,
        /// Whether the release's background-worker uses PostgreSQL (from 5.24).
        background_worker_postgresql: bool,
    },
    /// Helm values of the chart `coturn`.
    Coturn,
    /// Helm values of the chart `kube-prometheus-stack`.
    Prometheus,
    /// Helm values of the chart `team-settings`: a configuration that must not be missing.
    TeamSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Secret(Name),
    List(Name),
    Fixed(&'static str),
}

use Field::{Fixed, List, Secret};

const ANSIBLE: &[(&str, Field)] = &[
    ("minio_access_key", Secret(Name::MinioAccessKey)),
    ("minio_secret_key", Secret(Name::MinioSecretKey)),
    (
        "minio_cargohold_access_key",
        Secret(Name::CargoholdAccessKey),
    ),
    (
        "minio_cargohold_secret_key",
        Secret(Name::CargoholdSecretKey),
    ),
];

const COTURN: &[(&str, Field)] = &[("secrets.zrestSecrets", List(Name::Zrest))];

const TEAM_SETTINGS: &[(&str, Field)] = &[("secrets.configJson", Fixed("e30K"))];

const PROMETHEUS: &[(&str, Field)] = &[
    ("prometheus.auth.username", Fixed("admin")),
    ("prometheus.auth.password", Secret(Name::Prometheus)),
];

const BRIG: &[(&str, Field)] = &[
    ("brig.secrets.pgPassword", Secret(Name::PostgresqlWire)),
    ("brig.secrets.smtpPassword", Fixed("dummyPassword")),
    ("brig.secrets.zAuth.publicKeys", Secret(Name::ZauthPublic)),
    ("brig.secrets.zAuth.privateKeys", Secret(Name::ZauthPrivate)),
    ("brig.secrets.turn.secret", Secret(Name::Zrest)),
    ("brig.secrets.awsKeyId", Fixed("dummykey")),
    ("brig.secrets.awsSecretKey", Fixed("dummysecret")),
    ("brig.secrets.rabbitmq.username", Fixed("guest")),
    ("brig.secrets.rabbitmq.password", Fixed("guest")),
];

const BRIG_SMS: &[(&str, Field)] = &[
    (
        "brig.secrets.setTwilio",
        Fixed("sid: \"dummy\"\ntoken: \"dummy\""),
    ),
    (
        "brig.secrets.setNexmo",
        Fixed("key: \"dummy\"\nsecret: \"dummy\""),
    ),
];

const OTHER_SERVICES: &[(&str, Field)] = &[
    ("cannon.secrets.rabbitmq.username", Fixed("guest")),
    ("cannon.secrets.rabbitmq.password", Fixed("guest")),
    (
        "cargohold.secrets.awsKeyId",
        Secret(Name::CargoholdAccessKey),
    ),
    (
        "cargohold.secrets.awsSecretKey",
        Secret(Name::CargoholdSecretKey),
    ),
    ("cargohold.secrets.rabbitmq.username", Fixed("guest")),
    ("cargohold.secrets.rabbitmq.password", Fixed("guest")),
    ("galley.secrets.rabbitmq.username", Fixed("guest")),
    ("galley.secrets.rabbitmq.password", Fixed("guest")),
    ("galley.secrets.pgPassword", Secret(Name::PostgresqlWire)),
    ("galley.secrets.awsKeyId", Fixed("dummykey")),
    ("galley.secrets.awsSecretKey", Fixed("dummysecret")),
    (
        "galley.secrets.mlsPrivateKeys.removal.ed25519",
        Secret(Name::MlsEd25519),
    ),
    (
        "galley.secrets.mlsPrivateKeys.removal.ecdsa_secp256r1_sha256",
        Secret(Name::MlsP256),
    ),
    (
        "galley.secrets.mlsPrivateKeys.removal.ecdsa_secp384r1_sha384",
        Secret(Name::MlsP384),
    ),
    (
        "galley.secrets.mlsPrivateKeys.removal.ecdsa_secp521r1_sha512",
        Secret(Name::MlsP521),
    ),
    ("gundeck.secrets.awsKeyId", Fixed("dummykey")),
    ("gundeck.secrets.awsSecretKey", Fixed("dummysecret")),
    ("gundeck.secrets.rabbitmq.username", Fixed("guest")),
    ("gundeck.secrets.rabbitmq.password", Fixed("guest")),
    ("nginz.secrets.zAuth.publicKeys", Secret(Name::ZauthPublic)),
    (
        "nginz.secrets.basicAuth",
        Fixed("<username>:<htpasswd-hashed-password>"),
    ),
    ("team-settings.secrets.configJson", Fixed("e30K")),
    (
        "background-worker.secrets.rabbitmq.username",
        Fixed("guest"),
    ),
    (
        "background-worker.secrets.rabbitmq.password",
        Fixed("guest"),
    ),
];

const BACKGROUND_WORKER_POSTGRESQL: &[(&str, Field)] = &[(
    "background-worker.secrets.pgPassword",
    Secret(Name::PostgresqlWire),
)];

/// How a found file differs from the rendered one: paths only, no values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Paths that are missing or hold something else.
    pub(crate) wrong: Vec<String>,
    /// Paths whose values are somebody else's: unknown ones, and constants that were changed.
    pub(crate) foreign: Vec<String>,
}

/// Paths as one line, the first few of them.
pub(crate) fn shown(paths: &[String]) -> String {
    let first: Vec<&str> = paths
        .iter()
        .take(PATHS_SHOWN_MAX)
        .map(String::as_str)
        .collect();
    let more = paths.len().saturating_sub(PATHS_SHOWN_MAX);
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

impl Form {
    fn fields(self) -> Vec<(&'static str, Field)> {
        match self {
            Self::Ansible => ANSIBLE.to_vec(),
            Self::Coturn => COTURN.to_vec(),
            Self::Prometheus => PROMETHEUS.to_vec(),
            Self::TeamSettings => TEAM_SETTINGS.to_vec(),
            Self::WireServer {
                sms,
                background_worker_postgresql,
            } => {
                let mut fields = BRIG.to_vec();
                if sms {
                    fields.extend_from_slice(BRIG_SMS);
                }
                fields.extend_from_slice(OTHER_SERVICES);
                if background_worker_postgresql {
                    fields.extend_from_slice(BACKGROUND_WORKER_POSTGRESQL);
                }
                fields
            }
        }
    }

    /// How many values of the sealed set it carries.
    pub(crate) fn secrets(self) -> usize {
        let fixed = |field: &(_, Field)| matches!(field.1, Fixed(_));
        let fields = self.fields();
        fields.iter().filter(|field| !fixed(field)).count()
    }

    /// The file's text.
    pub fn render(self, set: &SealedSet) -> Zeroizing<String> {
        let leaves: Vec<(&str, Leaf<'_>)> = self
            .fields()
            .into_iter()
            .map(|(path, field)| {
                let leaf = match field {
                    Secret(name) => Leaf::Text(set.get(name)),
                    List(name) => Leaf::List(set.get(name)),
                    Fixed(text) => Leaf::Text(text),
                };
                (path, leaf)
            })
            .collect();
        let mut text = Zeroizing::new(String::with_capacity(RENDERED_BYTES));
        text.push_str(HEADER);
        yaml::write(&mut text, &leaves);
        text
    }

    /// Compares a found file with the sealed set by its values, whatever its comments and quotes.
    pub(crate) fn compare(self, set: &SealedSet, found: &[u8]) -> Result<Difference, YamlError> {
        let wanted = yaml::leaves(self.render(set).as_bytes())?;
        let found = yaml::leaves(found)?;
        let fixed: BTreeMap<&str, &str> = self
            .fields()
            .into_iter()
            .filter_map(|(path, field)| match field {
                Fixed(text) => Some((path, text)),
                Secret(_) | List(_) => None,
            })
            .collect();
        let keys = |of: &BTreeMap<String, Value>, keep: &dyn Fn(&str, &Value) -> bool| {
            of.iter()
                .filter(|(path, value)| keep(path, value))
                .map(|(path, _)| path.clone())
                .collect()
        };
        Ok(Difference {
            wrong: keys(&wanted, &|path, value| found.get(path) != Some(value)),
            foreign: keys(&found, &|path, value| match fixed.get(path) {
                Some(fixed) => value.as_str() != Some(fixed) && !value.is_null(),
                None => !wanted.contains_key(path),
            }),
        })
    }
}

/// Why nothing can be adopted from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExtractError {
    /// It cannot be read.
    #[error("{path} is {why}")]
    Yaml {
        /// The file.
        path: String,
        /// Why.
        why: YamlError,
    },
    /// Its values cannot be used.
    #[error(transparent)]
    Value(#[from] GenerateError),
}

/// Adds the values of a found file to `found`.
pub(crate) fn extract(
    form: Form,
    path: &str,
    bytes: &[u8],
    found: &mut Found,
) -> Result<(), ExtractError> {
    let leaves = yaml::leaves(bytes).map_err(|why| ExtractError::Yaml {
        path: path.to_owned(),
        why,
    })?;
    for (key, field) in form.fields() {
        let (key, name) = match field {
            Secret(name) => (key.to_owned(), name),
            List(name) => (format!("{key}.0"), name),
            Fixed(_) => continue,
        };
        let from = format!("{path}: {key}");
        match leaves.get(&key) {
            None | Some(Value::Null) => {}
            Some(Value::String(value)) => found.offer(name, value, &from)?,
            Some(_) => {
                let why = ShapeError::NotText;
                return Err(GenerateError::Unusable { name, from, why }.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::entropy::SeededEntropy;
    use super::super::generate::generate;
    use super::*;

    const WIRE: Form = Form::WireServer {
        sms: true,
        background_worker_postgresql: true,
    };
    const ALL: [Form; 5] = [
        Form::Ansible,
        WIRE,
        Form::Coturn,
        Form::Prometheus,
        Form::TeamSettings,
    ];

    fn set(seed: &str) -> SealedSet {
        generate(
            &mut SeededEntropy::new(seed),
            Found::default(),
            "2026-01-01",
        )
        .unwrap()
    }

    #[test]
    fn every_file_is_read_back_as_it_was_meant() {
        let set = set("form");
        for form in ALL {
            let text = form.render(&set);
            let nothing = Difference::default();
            assert_eq!(form.compare(&set, text.as_bytes()).unwrap(), nothing);
        }
        let text = WIRE.render(&set);
        let leaves = yaml::leaves(text.as_bytes()).unwrap();
        for (path, value) in [
            ("brig.secrets.turn.secret", set.get(Name::Zrest)),
            ("brig.secrets.zAuth.publicKeys", set.get(Name::ZauthPublic)),
            ("nginz.secrets.zAuth.publicKeys", set.get(Name::ZauthPublic)),
            (
                "galley.secrets.mlsPrivateKeys.removal.ecdsa_secp521r1_sha512",
                set.get(Name::MlsP521),
            ),
            ("brig.secrets.rabbitmq.password", "guest"),
            ("brig.secrets.setNexmo", "key: \"dummy\"\nsecret: \"dummy\""),
        ] {
            assert_eq!(leaves[path].as_str(), Some(value), "{path}");
        }
        assert_eq!(leaves.len(), WIRE.fields().len());
        // The MLS block stands ten columns in, as the release's own script writes it.
        assert!(text.contains("\n          -----BEGIN PRIVATE KEY-----\n"));
    }

    #[test]
    fn a_set_adopted_from_its_files_is_the_same() {
        let old = set("old");
        let mut found = Found::default();
        for form in ALL {
            extract(form, "file", form.render(&old).as_bytes(), &mut found).unwrap();
        }
        let new = generate(&mut SeededEntropy::new("new"), found, "2026-01-01").unwrap();
        for name in Name::ALL {
            // No file carries it: it only goes to Kubernetes.
            let carried = name != Name::PostgresqlRepmgr;
            assert_eq!(new.get(name) == old.get(name), carried, "{name}");
        }
    }

    #[test]
    fn differences_are_paths() {
        let (one, two) = (set("1"), set("2"));
        let text = format!("{}extra: canary\n", *Form::Ansible.render(&one));
        let difference = Form::Ansible.compare(&two, text.as_bytes()).unwrap();
        assert_eq!(difference.wrong.len(), 4);
        assert_eq!(difference.foreign, ["extra"]);
        let text = WIRE.render(&one).replace("dummyPassword", "canary");
        let difference = WIRE.compare(&one, text.as_bytes()).unwrap();
        assert_eq!(difference.wrong, ["brig.secrets.smtpPassword"]);
        assert_eq!(difference.foreign, ["brig.secrets.smtpPassword"]);
        assert_eq!(
            shown(&WIRE.compare(&two, b"").unwrap().wrong),
            "background-worker.secrets.pgPassword, background-worker.secrets.rabbitmq.password, \
             background-worker.secrets.rabbitmq.username, brig.secrets.awsKeyId, brig.secrets.awsSecretKey, \
             brig.secrets.pgPassword, brig.secrets.rabbitmq.password, brig.secrets.rabbitmq.username and 28 more"
        );
    }

    #[test]
    fn a_number_in_place_of_a_secret_is_refused() {
        let mut found = Found::default();
        let text = b"minio_access_key: 12345678901234567890\n";
        let error = extract(Form::Ansible, "f", text, &mut found).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`minio_access_key` in f: minio_access_key cannot be adopted: not text: put it in double quotes"
        );
        let error = extract(Form::Ansible, "f", b"a: [canary", &mut found).unwrap_err();
        assert!(error.to_string().starts_with("f is not YAML"), "{error}");
    }

    /// What a release ships where the secrets belong.
    const TEMPLATE: &str = r#"
brig:
  secrets:
    pgPassword: verysecurepassword
    zAuth:
      publicKeys: "<public key>"
      privateKeys: "<private key>"
    turn:
      secret: CHANGEMEabcdef # a comment
cargohold:
  secrets:
    awsKeyId: dummykey # replace
    awsSecretKey: dummysecret
galley:
  secrets:
    mlsPrivateKeys:
      removal:
        ed25519: |
          -----BEGIN PRIVATE KEY-----
          -----END PRIVATE KEY-----
proxy:
  secrets:
    proxy_config: |-
      secrets { }
"#;

    #[test]
    fn a_template_gives_no_values_and_its_other_paths_are_foreign() {
        let set = set("template");
        for (form, text, foreign) in [
            (WIRE, TEMPLATE, &["proxy.secrets.proxy_config"][..]),
            (Form::Coturn, "secrets:\n  zrestSecrets:\n    - \"\"\n", &[]),
            (
                Form::Prometheus,
                "prometheus: {auth: {username: admin, password: admin}}\n",
                &[],
            ),
        ] {
            let mut found = Found::default();
            extract(form, "f", text.as_bytes(), &mut found).unwrap();
            let made = generate(&mut SeededEntropy::new("t"), found, "x").unwrap();
            assert_eq!(made.adopted(), 0, "{form:?}");
            let difference = form.compare(&set, text.as_bytes()).unwrap();
            assert_eq!(difference.foreign, foreign, "{form:?}");
        }
    }
}
