//! Values of configuration keys, whatever layer they come from.

use toml::Spanned;
use toml::de::{DeInteger, DeValue};
use wiab_steps::host::ssh::Parts;

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A list of texts.
    List(Vec<String>),
    /// A list of ports.
    Ports(Vec<u16>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Ports(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(f, "[{}]", ports.join(", "))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

impl Value {
    /// The same as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::Number(value) => (*value).into(),
            Self::List(items) => items.clone().into(),
            Self::Ports(ports) => ports.clone().into(),
        }
    }
}

/// What a key accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Any text that is not empty.
    Text,
    /// Letters, digits, `-`, `_`: becomes part of file names.
    Name,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Integer(i64, i64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `local`, `sim`, `ssh`, or a machine: `ssh://user@address:port`.
    Host,
    /// A positive number, or `max`.
    Speed,
    /// A list of texts.
    List,
    /// A list of ports, 1 to 65535.
    Ports,
}

impl Kind {
    /// What it accepts, for people.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Text => "a text in quotes".to_owned(),
            Self::Name => "a text of a-z, A-Z, 0-9, `-`, `_`".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Integer(low, high) => format!("a whole number from {low} to {high}"),
            Self::Choice(words) => words
                .iter()
                .map(|word| format!("\"{word}\""))
                .collect::<Vec<_>>()
                .join(" or "),
            Self::Host => "\"local\", \"sim\", \"ssh\" or \"ssh://user@address:port\"".to_owned(),
            Self::Speed => "a positive number or \"max\"".to_owned(),
            Self::List => "a list of texts".to_owned(),
            Self::Ports => "a list of ports from 1 to 65535".to_owned(),
        }
    }

    /// Accepts a value of a file. `None` if it does not fit.
    pub(crate) fn of_toml(self, value: &DeValue<'_>) -> Option<Value> {
        let plain = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(digits) => Value::Integer(integer(digits)?),
            DeValue::Float(digits) => Value::Number(digits.as_str().replace('_', "").parse().ok()?),
            DeValue::Array(items) if self == Self::Ports => Value::Ports(
                items
                    .iter()
                    .map(|item: &Spanned<DeValue<'_>>| match item.get_ref() {
                        DeValue::Integer(digits) => u16::try_from(integer(digits)?).ok(),
                        _ => None,
                    })
                    .collect::<Option<_>>()?,
            ),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned))
                    .collect::<Option<_>>()?,
            ),
            DeValue::Datetime(_) | DeValue::Table(_) => return None,
        };
        self.accept(plain)
    }

    /// Reads a value of the command line or the environment, where everything is text.
    pub(crate) fn of_text(self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Bool => Value::Bool(text.parse().ok()?),
            Self::Integer(..) => Value::Integer(text.parse().ok()?),
            Self::List => Value::List(list(text)),
            Self::Ports => {
                let ports: Option<Vec<u16>> =
                    list(text).iter().map(|port| port.parse().ok()).collect();
                Value::Ports(ports?)
            }
            Self::Text | Self::Name | Self::Choice(_) | Self::Host | Self::Speed => {
                Value::Text(text.to_owned())
            }
        };
        self.accept(value)
    }

    fn accept(self, value: Value) -> Option<Value> {
        let fits = match (self, &value) {
            (Self::Text, Value::Text(text)) => !text.trim().is_empty(),
            (Self::Name, Value::Text(text)) => is_name(text),
            (Self::Bool, Value::Bool(_)) | (Self::List, Value::List(_)) => true,
            (Self::Ports, Value::Ports(ports)) => !ports.contains(&0),
            (Self::Integer(low, high), Value::Integer(number)) => (low..=high).contains(number),
            (Self::Host, Value::Text(text)) => {
                matches!(text.as_str(), "local" | "sim" | "ssh")
                    || text.starts_with("ssh://") && Parts::of(text).is_ok()
            }
            (Self::Choice(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Self::Speed, Value::Text(text)) if text == "max" => true,
            (Self::Speed, Value::Text(text)) => {
                return self.accept(Value::Number(text.parse().ok()?));
            }
            (Self::Speed, Value::Integer(number)) => {
                let number = f64::from(i32::try_from(*number).ok()?);
                return self.accept(Value::Number(number));
            }
            (Self::Speed, Value::Number(number)) => *number > 0.0 && number.is_finite(),
            _ => false,
        };
        fits.then_some(value)
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn integer(digits: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_accepts_only_its_own() {
        let cases = [
            (Kind::Integer(1, 8), "4", true),
            (Kind::Integer(1, 8), "9", false),
            (Kind::Speed, "max", true),
            (Kind::Speed, "0", false),
            (Kind::Speed, "12.5", true),
            (Kind::Name, "a b", false),
            (Kind::Choice(&["kvm", "qemu"]), "qemu", true),
            (Kind::Choice(&["kvm", "qemu"]), "xen", false),
            (Kind::Bool, "yes", false),
            (Kind::Ports, "22, 2222", true),
            (Kind::Ports, "", true),
            (Kind::Ports, "0", false),
            (Kind::Ports, "70000", false),
            (Kind::Ports, "ssh", false),
        ];
        for (kind, text, want) in cases {
            assert_eq!(kind.of_text(text).is_some(), want, "{kind:?} {text}");
        }
    }
}
