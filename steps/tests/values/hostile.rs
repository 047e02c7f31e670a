//! Hostile input: refused by the types, or written so that it reads back as itself.

use proptest::prelude::*;
use serde_json::{Value, json};
use wiab_steps::release::{Chart, Release};
use wiab_steps::values::{DomainName, Email, NodeName, render};

use super::support::{artifact, inputs, overlay, tree};

#[test]
fn hostile_names_are_refused() {
    for text in [
        "",
        ".",
        "localhost",
        "a..b",
        ".a.b",
        "a.b.",
        "-a.b",
        "a-.b",
        "A.b",
        "a_b.c",
        "a b.c",
        "a.b\n",
        "a.b/c",
        "a.b&c",
        "a.b: c",
        "a.b #",
        "*.a.b",
        "ä.de",
        "192.168.1.1",
        "a.b\"",
        "a.b'",
        "a.b$(x)",
        "a.b`",
        "{{a.b}}",
        "a.b\0",
        "a.b\u{202e}",
    ] {
        assert!(text.parse::<DomainName>().is_err(), "{text:?}");
        assert!(format!("x@{text}").parse::<Email>().is_err(), "{text:?}");
        assert!(
            serde_json::from_value::<DomainName>(json!(text)).is_err(),
            "{text:?}"
        );
    }
    assert!("a.".repeat(121).parse::<DomainName>().is_err());
    assert!(
        format!("{}.de", "a".repeat(64))
            .parse::<DomainName>()
            .is_err()
    );
    for text in [
        "wire.example.org",
        "xn--bcher-kva.example",
        "a.b",
        "1.2.3.de",
    ] {
        assert_eq!(text.parse::<DomainName>().unwrap().as_str(), text);
    }
    for text in [
        "a",
        "@a.b",
        "a@",
        "a@@a.b",
        "a b@a.b",
        "a..b@a.b",
        ".a@a.b",
        "-a@a.b",
        "\"a\"@a.b",
        "a@a.b,c@d.e",
        "a:@a.b",
        "a\n@a.b",
        "a@a.b\nX: y",
        "#a@a.b",
        "a&b@a.b",
    ] {
        assert!(text.parse::<Email>().is_err(), "{text:?}");
    }
    assert_eq!(
        "first.last+le_1@a.b".parse::<Email>().unwrap().to_string(),
        "first.last+le_1@a.b"
    );
    for text in ["", "A", "a_b", "a/b", "a b", "-a", "a\n", "*"] {
        assert!(text.parse::<NodeName>().is_err(), "{text:?}");
    }
    assert!(
        format!("a.{}", "b".repeat(252))
            .parse::<NodeName>()
            .is_err()
    );
    assert_eq!(
        String::from("kubenode3".parse::<NodeName>().unwrap()),
        "kubenode3"
    );
}

/// What the template means, with the domain in place of the placeholder: by plain substitution in the values, done by
/// another reader.
fn meant(template: &str, domain: &str) -> Value {
    fn swap(value: Value, domain: &str) -> Value {
        match value {
            Value::String(text) => Value::String(text.replace("example.com", domain)),
            Value::Array(items) => items.into_iter().map(|item| swap(item, domain)).collect(),
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key, swap(value, domain)))
                .collect(),
            other => other,
        }
    }
    swap(yaml_serde::from_str(template).unwrap(), domain)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_accepted_domain_renders_to_what_is_meant(domain in "[a-z0-9-]{1,12}(\\.[a-z0-9-]{1,12}){1,3}") {
        let Ok(domain) = domain.parse::<DomainName>() else {
            return Ok(());
        };
        let mut inputs = inputs();
        inputs.domain = domain.clone();
        let release = Release::detect(&tree(), "fuzz").unwrap();
        for chart in [Chart::Webapp, Chart::TeamSettings, Chart::AccountPages] {
            let template = artifact(&chart.template());
            let rendered = render(chart, Some(&template), &inputs, &release, None).unwrap();
            let read: Value = yaml_serde::from_str(&rendered.text).unwrap();
            prop_assert_eq!(read, meant(&template, domain.as_str()));
        }
    }

    #[test]
    fn no_text_gets_past_the_types_with_a_character_outside_the_alphabet(text in any::<String>()) {
        if let Ok(domain) = text.parse::<DomainName>() {
            prop_assert!(domain.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)));
        }
        if let Ok(email) = text.parse::<Email>() {
            prop_assert!(email.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+@".contains(&b)));
        }
    }

    #[test]
    fn any_text_of_an_overlay_reaches_helm_unchanged(text in any::<String>(), key in "[ -~]{1,12}") {
        let release = Release::detect(&tree(), "fuzz").unwrap();
        let template = artifact(&Chart::Reaper.template());
        let layer = overlay(&json!({"image": {"tag": text.as_str(), key.as_str(): [text.as_str()]}}).to_string().replace('\u{7f}', "\\u007f"));
        let Ok(rendered) = render(Chart::Reaper, Some(&template), &inputs(), &release, Some(&layer)) else {
            return Ok(());
        };
        let read: Value = yaml_serde::from_str(&rendered.text).unwrap();
        prop_assert_eq!(read.pointer("/image/registry"), Some(&json!("docker.io")));
        if key != "tag" {
            prop_assert_eq!(read.pointer("/image/tag"), Some(&json!(text)), "{}", rendered.text);
        }
        prop_assert_eq!(&read["image"][key.as_str()], &json!([text]), "{}", rendered.text);
    }
}
