//! The editor: one value changes, no other byte; held against another implementation of YAML.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use wiab_steps::yaml::{Document, Origin, YamlPath, changed_paths};

use super::support::{artifact, shown};

fn parse(text: &str) -> Document {
    Document::parse(text, Origin::file("f.yaml")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn path(text: &str) -> YamlPath {
    text.parse().unwrap()
}

const SAMPLE: &str = "# head
a: 1 # one
b:   # nothing
  # inside b
c: \"two\" # quoted
d: 'thr''ee'
e:
- x: 1 # first
  y: [p, {q: r}]
- z
f: {}
g: | # block
  l1
  l2

# tail of g
h:
  i: plain
  k: # list
    # about the list
    - one
    # two is next
    - two # two
l: end";

#[test]
fn one_value_changes_and_no_other_byte() {
    for (at, value, old, new) in [
        ("a", json!(2), "a: 1 #", "a: 2 #"),
        ("a", json!("two words"), "a: 1 #", "a: \"two words\" #"),
        (
            "a",
            json!([1, "x"]),
            "a: 1 # one\n",
            "a: # one\n  - 1\n  - x\n",
        ),
        ("b", json!("x"), "b:   #", "b: x   #"),
        (
            "b",
            json!(["x"]),
            "b:   # nothing\n",
            "b:   # nothing\n  - x\n",
        ),
        (
            "b.o.m",
            json!(true),
            "b:   # nothing\n",
            "b:   # nothing\n  o:\n    m: true\n",
        ),
        ("c", json!("x\"y"), "\"two\" #", "\"x\\\"y\" #"),
        ("d", json!("it's"), "'thr''ee'", "'it''s'"),
        ("e[0].x", json!(null), "x: 1 #", "x: null #"),
        ("e[0].y[1].q", json!("a{b"), "{q: r}", "{q: \"a{b\"}"),
        ("e[0].y[1].s", json!([1]), "{q: r}", "{q: r, s: [1]}"),
        ("e[0].w", json!(1), "{q: r}]\n", "{q: r}]\n  w: 1\n"),
        ("e[1]", json!("v"), "- z\n", "- v\n"),
        (
            "f.new",
            json!({"deep": {"er": 1}}),
            "f: {}",
            "f: {new: {deep: {er: 1}}}",
        ),
        (
            "g",
            json!("x"),
            "g: | # block\n  l1\n  l2\n",
            "g: x # block\n",
        ),
        (
            "h.k",
            json!(["three"]),
            "    - one\n    # two is next\n    - two # two\n",
            "    - three\n",
        ),
        (
            "h.k",
            json!(3),
            "k: # list\n    # about the list\n    - one\n    # two is next\n    - two # two\n",
            "k: 3 # list\n    # about the list\n",
        ),
        (
            "h.m",
            json!("x"),
            "    - two # two\n",
            "    - two # two\n  m: x\n",
        ),
        ("l", json!(""), "l: end", "l: \"\""),
        (
            "m.o",
            json!([{"o": [], "p": {"q": 1}}]),
            "l: end",
            "l: end\nm:\n  o:\n    - o: []\n      p:\n        q: 1",
        ),
    ] {
        let before = parse(SAMPLE);
        let mut after = before.clone();
        let said = after.set(&path(at), &value);
        assert_eq!(said, Ok(true), "{at}");
        assert!(SAMPLE.contains(old));
        assert_eq!(after.text(), SAMPLE.replacen(old, new, 1), "{at}");
        assert_eq!(after.get(&path(at)).unwrap(), value);
        assert!(
            shown(&changed_paths(&before, &after))
                .iter()
                .all(|changed| changed.starts_with(at)),
            "{at}"
        );
        assert_eq!(after.set(&path(at), &value), Ok(false), "{at} twice");
    }
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    for (at, value) in [
        ("a.x", json!(1)),
        ("e[5]", json!(1)),
        ("e.x", json!(1)),
        ("new[0]", json!(1)),
        ("e[0]", json!(1)),
    ] {
        let mut document = parse(SAMPLE);
        let error = document.set(&path(at), &value).unwrap_err();
        assert!(error.to_string().starts_with("f.yaml, line "), "{error}");
        assert_eq!(document.text(), SAMPLE);
    }
}

#[test]
fn keys_are_removed_with_their_lines() {
    for (at, old) in [
        ("a", "a: 1 # one\n"),
        (
            "h.k",
            "  k: # list\n    # about the list\n    - one\n    # two is next\n    - two # two\n",
        ),
        ("l", "\nl: end"),
    ] {
        let mut document = parse(SAMPLE);
        assert_eq!(document.remove(&path(at)), Ok(true));
        assert_eq!(document.text(), SAMPLE.replacen(old, "", 1), "{at}");
        assert_eq!(document.remove(&path(at)), Ok(false));
    }
    for at in ["e[0].x", "e[0].y[1].q", "e[0]", "f"] {
        let mut document = parse(SAMPLE);
        assert!(document.remove(&path(at)).is_ok() == (at == "f"), "{at}");
    }
}

#[test]
fn other_line_ends_and_empty_documents_are_kept() {
    let mut windows = parse("a: 1\r\nb: 2 # c\r\n");
    windows.set(&path("a"), &json!([1, 2])).unwrap();
    windows.set(&path("c"), &json!(3)).unwrap();
    assert_eq!(
        windows.text(),
        "a:\r\n  - 1\r\n  - 2\r\nb: 2 # c\r\nc: 3\r\n"
    );
    for (text, new) in [
        ("", "a: 1\n"),
        ("# c", "# c\na: 1\n"),
        ("# c\n", "# c\na: 1\n"),
        ("---\n# c\n", "---\n# c\na: 1\n"),
    ] {
        let mut document = parse(text);
        document.set(&path("a"), &json!(1)).unwrap();
        assert_eq!(document.text(), new);
    }
}

#[test]
fn scalars_are_rewritten_below_a_place() {
    let mut document = parse("a:\n  b: x1 # x\n  c: [x2, 3]\nd: x4\n");
    let paths = document
        .replace_scalars(&path("a"), |_, text| {
            text.strip_prefix('x').map(|rest| format!("y{rest}"))
        })
        .unwrap();
    assert_eq!(shown(&paths), ["a.b", "a.c[0]"]);
    assert_eq!(document.text(), "a:\n  b: y1 # x\n  c: [y2, 3]\nd: x4\n");
}

#[test]
fn differences_are_leaves() {
    for (before, after, paths) in [
        ("a: 1", "a: 1 # c", &[][..]),
        ("a: \"1\"", "a: 1", &["a"]),
        ("a: {b: 1, c: 2}", "a: {c: 3, d: 4}", &["a.b", "a.c", "a.d"]),
        ("a: [1, 2]", "a: [1, 3]", &["a[1]"]),
        ("a: [1, 2]", "a: [1]", &["a"]),
        ("a: [{b: 1}]", "a: [{b: 2}]", &["a[0].b"]),
        ("a:", "a: {b: {c: 1}}", &["a.b.c"]),
        ("a: x", "a: {b: 1}", &["a"]),
        ("# c", "a: {b: 1}", &["a.b"]),
        ("a: 1", "a: {}", &["a"]),
    ] {
        assert_eq!(
            shown(&changed_paths(&parse(before), &parse(after))),
            paths,
            "{before} → {after}"
        );
    }
}

#[test]
fn errors_say_where() {
    let of = |text: &str| {
        Document::parse(text, Origin::of_release("v.yaml", "r 1"))
            .unwrap_err()
            .to_string()
    };
    for (text, says) in [
        (
            "a: 1\nb:\n  a: 1\n  a: 2\n",
            "v.yaml, line 4, `b` (of r 1): the key `a` stands here twice",
        ),
        (
            "a: &x 1\n",
            "v.yaml, line 1, `a` (of r 1): anchors, aliases and tags are not supported here",
        ),
        ("a: !!str 1\n", "anchors, aliases and tags"),
        ("a: 1\n---\nb: 1\n", "several documents"),
        ("? [a]\n: 1\n", "keys that are no scalars"),
        ("? a\n: 1\n", "keys without a colon"),
        ("a: \"x\n", "not YAML"),
        ("%YAML 1.1\n---\na: 1\n", "not YAML"),
    ] {
        assert!(of(text).contains(says), "{}", of(text));
    }
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    assert!(of(&deep).contains("more than 48 levels"), "{}", of(&deep));
    assert!(of(&format!("a: {}", "x".repeat(1 << 20))).contains("bytes"));
}

/// Every file of the release that the editor reads means the same to another implementation.
#[test]
fn real_files_mean_the_same_to_others() {
    let charts = [
        "wire-server",
        "webapp",
        "sftd",
        "coturn",
        "smtp",
        "smallstep-accomp",
        "nginx-ingress-services",
        "fluent-bit",
        "keycloakx",
    ];
    let mut files: Vec<String> = charts
        .iter()
        .map(|chart| format!("values/{chart}/prod-values.example.yaml"))
        .collect();
    files.push("values/wire-server/prod-secrets.example.yaml".to_owned());
    files.push("ansible/inventory/offline/staging.yml".to_owned());
    files.push("ansible/inventory/offline/group_vars/all/offline.yml".to_owned());
    for file in files {
        let text = artifact(&file);
        let other: Value = yaml_serde::from_str(&text).unwrap();
        assert_eq!(parse(&text).value(), other, "{file}");
    }
}

/// Changes every scalar of a real file, one by one: nothing else changes, in bytes and in meaning.
#[test]
fn every_scalar_of_real_files_can_be_changed_alone() {
    let mut count = 0;
    for chart in [
        "wire-server",
        "webapp",
        "coturn",
        "smallstep-accomp",
        "fluent-bit",
    ] {
        let text = artifact(&format!("values/{chart}/prod-values.example.yaml"));
        let before = parse(&text);
        for (at, old) in before.texts(&YamlPath::root()) {
            let mut after = before.clone();
            after.set(&at, &json!("changed: #1")).unwrap();
            assert_eq!(shown(&changed_paths(&before, &after)), [at.to_string()]);
            let other: Value = yaml_serde::from_str(after.text()).unwrap();
            assert_eq!(other, after.value(), "{at}");
            // Common head and tail leave no more than the value.
            let head = text
                .bytes()
                .zip(after.text().bytes())
                .take_while(|(a, b)| a == b)
                .count();
            let tail = text
                .bytes()
                .rev()
                .zip(after.text().bytes().rev())
                .take_while(|(a, b)| a == b)
                .count();
            let middle = text.len().saturating_sub(head + tail);
            assert!(
                middle <= old.len() * 3 + 8,
                "{at}: {middle} bytes for {old:?}"
            );
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-zA-Z0-9:#{}*&!|>'\" .@_-]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z#: -]{1,4}", inner, 0..3)
                .prop_map(|map: BTreeMap<String, Value>| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_set_reads_back_and_nothing_else_changes(
        at in prop::sample::select(vec!["a", "b", "b.x", "c", "d", "e[0].x", "e[0].y", "e[0].y[1].q", "f", "f.x", "g", "h", "h.i", "h.k", "h.z.y", "l", "z"]),
        first in value(),
        second in value(),
    ) {
        let before = parse(SAMPLE);
        let mut after = before.clone();
        for value in [&first, &second] {
            after.set(&path(at), value).unwrap_or_else(|error| panic!("{error} at {at}: {value}"));
            let other: Value = yaml_serde::from_str(after.text()).unwrap();
            prop_assert_eq!(&other, &after.value(), "{}", after.text());
            let found = after.get(&path(at));
            prop_assert_eq!(found.as_ref(), Some(value));
            for changed in changed_paths(&before, &after) {
                let changed = changed.to_string();
                prop_assert!(changed.starts_with(at) || at.starts_with(changed.as_str()), "{} changed {}", at, changed);
            }
        }
    }
}
