//! What a scalar means, and how one is written so that every reader understands the same.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Nothing at all: `key:`.
    Empty,
    /// Without quotes.
    Plain,
    /// `'…'`.
    Single,
    /// `"…"`.
    Double,
    /// `|` or `>`.
    Block,
}

/// The meaning of an unquoted scalar by the core schema of YAML 1.2.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let signed = text.strip_prefix('+').unwrap_or(text);
        if let Ok(number) = signed.parse::<i64>() {
            return Value::from(number);
        }
        if let Ok(number) = signed.parse::<u64>() {
            return Value::from(number);
        }
    }
    if decimal(digits)
        && let Some(number) = text.parse().ok().and_then(Number::from_f64)
    {
        return Value::Number(number);
    }
    Value::String(text.to_owned())
}

/// `1.5`, `.5`, `5.`, `1e3`, without sign.
fn decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fine =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fine = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_fine && exponent_fine
}

/// Whether readers of YAML 1.1 and 1.2 disagree about an unquoted scalar: `yes`, `0777`, `1_000`, `12:30`, `.inf`.
pub(super) fn ambiguous(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "y", "n", "yes", "no", "on", "off", ".inf", "-.inf", "+.inf", ".nan", "<<", "=",
    ];
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    let digits = lower.strip_prefix(['-', '+']).unwrap_or(&lower);
    let numeric_start = digits.starts_with(|first: char| first.is_ascii_digit());
    let numeric = |extra: &str| {
        digits
            .chars()
            .all(|one| one.is_ascii_digit() || extra.contains(one))
    };
    let octal = digits.len() > 1 && digits.starts_with('0') && numeric("_");
    let based = ["0x", "0o", "0b"]
        .iter()
        .any(|prefix| digits.starts_with(prefix));
    let grouped = numeric_start && digits.contains('_') && numeric("_.e");
    let sixty = numeric_start && digits.contains(':') && numeric(":._");
    let bare_exponent = numeric_start && digits.contains('e') && decimal(digits);
    let huge = numeric("")
        && !digits.is_empty()
        && matches!(resolve(text), Value::Number(ref number) if number.is_f64());
    octal || based || grouped || sixty || bare_exponent || huge
}

/// Whether a text may stand without quotes and is still this text to every reader.
fn plain_safe(text: &str, flow: bool) -> bool {
    let first = text
        .chars()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric() || first == '/');
    let inside = if flow {
        "._-/@+=?&$%~:"
    } else {
        "._-/@+=?&$%~:{}*"
    };
    first
        && text
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || inside.contains(one))
        && !text.ends_with(':')
        && resolve(text).is_string()
        && !ambiguous(text)
        && !looks_like_a_date(text)
}

/// Some readers make a time of `2026-01-31…`.
fn looks_like_a_date(text: &str) -> bool {
    let head = text.get(..5).unwrap_or_default();
    head.ends_with('-') && head.bytes().take(4).all(|byte| byte.is_ascii_digit())
}

/// A scalar as text, in the style of its predecessor where that is safe.
pub(super) fn write(value: &Value, style: Style, flow: bool) -> String {
    match value {
        Value::String(text) => string(text, style, flow),
        other => other.to_string(),
    }
}

fn string(text: &str, style: Style, flow: bool) -> String {
    let printable = text.chars().all(printable);
    match style {
        Style::Single if printable => format!("'{}'", text.replace('\'', "''")),
        Style::Plain if plain_safe(text, flow) => text.to_owned(),
        Style::Empty if plain_safe(text, flow) && !text.contains([':', '*', '{']) => {
            text.to_owned()
        }
        Style::Empty | Style::Plain | Style::Single | Style::Double | Style::Block => double(text),
    }
}

/// What may stand raw inside quotes on one line.
fn printable(one: char) -> bool {
    matches!(one, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

fn double(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for one in text.chars() {
        match one {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            one if printable(one) => out.push(one),
            one => {
                let _ = write!(out, "\\U{:08x}", u32::from(one));
            }
        }
    }
    out.push('"');
    out
}

/// A key as text.
pub(super) fn key(text: &str) -> String {
    string(text, Style::Empty, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("TRUE", json!(true)),
            ("false", json!(false)),
            ("3", json!(3)),
            ("-3", json!(-3)),
            ("+3", json!(3)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("1e3", json!(1000.0)),
            ("1.32.4", json!("1.32.4")),
            ("192.168.122.21", json!("192.168.122.21")),
            ("-", json!("-")),
            ("e", json!("e")),
            ("yes", json!("yes")),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }

    #[test]
    fn what_readers_understand_differently_is_known() {
        for text in [
            "yes",
            "No",
            "ON",
            "off",
            "y",
            "0777",
            "-017",
            "0x1f",
            "0o7",
            "1_000",
            "12:30:45",
            ".inf",
            "1e3",
            "99999999999999999999",
        ] {
            assert!(ambiguous(text), "{text}");
        }
        for text in [
            "true",
            "0",
            "10",
            "1.5",
            "yesterday",
            "turn:1.2.3.4:3478",
            "v1.10.6",
            "a_b",
        ] {
            assert!(!ambiguous(text), "{text}");
        }
    }

    #[test]
    fn the_style_is_kept_where_it_is_safe() {
        for (text, style, written) in [
            ("a.b", Style::Plain, "a.b"),
            ("a.b", Style::Double, "\"a.b\""),
            ("it's", Style::Single, "'it''s'"),
            ("a: b", Style::Plain, "\"a: b\""),
            ("a #b", Style::Plain, "\"a #b\""),
            ("yes", Style::Plain, "\"yes\""),
            ("12", Style::Plain, "\"12\""),
            ("2026-01-31", Style::Plain, "\"2026-01-31\""),
            ("", Style::Plain, "\"\""),
            (
                "a\u{85}\u{7f}\u{feff}\n\"\\",
                Style::Single,
                "\"a\\U00000085\\U0000007f\\U0000feff\\n\\\"\\\\\"",
            ),
            ("turn:1.2.3.4:3478", Style::Empty, "\"turn:1.2.3.4:3478\""),
        ] {
            assert_eq!(string(text, style, false), written, "{text}");
        }
        assert_eq!(string("a{b}", Style::Plain, true), "\"a{b}\"");
    }
}
