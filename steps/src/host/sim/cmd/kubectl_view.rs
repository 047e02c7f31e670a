//! How `kubectl get` shows what it found.

use serde_json::{Value, json};

use super::super::kube::text;
use super::Reply;

/// Objects in the form that `-o` names.
pub(super) fn show(found: &[Value], single: bool, output: &str, headers: bool) -> Reply {
    match output {
        "json" => match found {
            [] if single => Reply::ok(""),
            [one] if single => Reply::ok(format!("{one:#}\n")),
            many => {
                let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": many});
                Reply::ok(format!("{list:#}\n"))
            }
        },
        "name" => {
            let lines = found.iter().map(|object| format!("{}\n", name(object)));
            Reply::ok(lines.collect::<String>())
        }
        _ => match output.strip_prefix("jsonpath=") {
            Some(path) if single => jsonpath(found.first(), path),
            Some(path) => jsonpath(Some(&json!({"items": found})), path),
            None => table(found, headers),
        },
    }
}

fn name(object: &Value) -> String {
    let group = match text(object, "/apiVersion").split_once('/') {
        Some((group, _)) => format!(".{group}"),
        None => String::new(),
    };
    let kind = text(object, "/kind").to_lowercase();
    format!("{kind}{group}/{}", text(object, "/metadata/name"))
}

fn table(found: &[Value], headers: bool) -> Reply {
    if found.is_empty() {
        let mut reply = Reply::ok("");
        reply.stderr = b"No resources found in default namespace.\n".to_vec();
        return reply;
    }
    let mut out = String::new();
    if headers {
        out.push_str("NAME   STATUS\n");
    }
    for object in found {
        let status = match text(object, "/kind") {
            "Node" => {
                let conditions = object
                    .pointer("/status/conditions")
                    .and_then(Value::as_array);
                let mut list = conditions.into_iter().flatten();
                let ready =
                    list.any(|one| text(one, "/type") == "Ready" && text(one, "/status") == "True");
                if ready { "Ready" } else { "NotReady" }
            }
            _ => text(object, "/status/phase"),
        };
        out.push_str(text(object, "/metadata/name"));
        out.extend(["   ", status, "\n"]);
    }
    Reply::ok(out)
}

/// `{.a.b}`, `{.a[0].b}`, `{.items[*].a}`, `{.a['x.y']}` and `\.` in keys.
fn jsonpath(root: Option<&Value>, path: &str) -> Reply {
    let Some(root) = root else {
        return Reply::ok("");
    };
    let inner = path.trim_start_matches('{').trim_end_matches('}');
    let mut values = vec![root];
    for step in steps(inner) {
        values = match step.as_str() {
            "*" => values
                .iter()
                .filter_map(|value| value.as_array())
                .flatten()
                .collect(),
            key => values
                .iter()
                .filter_map(|value| match key.parse::<usize>() {
                    Ok(index) if value.is_array() => value.get(index),
                    _ => value.get(key),
                })
                .collect(),
        };
    }
    let shown = values.iter().map(|value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    Reply::ok(shown.collect::<Vec<_>>().join(" "))
}

fn steps(path: &str) -> Vec<String> {
    let (mut all, mut word, mut chars) = (Vec::new(), String::new(), path.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            '.' | '[' | ']' => all.push(std::mem::take(&mut word)),
            '\'' => word.extend(chars.by_ref().take_while(|c| *c != '\'')),
            c => word.push(c),
        }
    }
    all.push(word);
    all.retain(|word| !word.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let root =
            json!({"data": {"password": "x"}, "items": [{"a": 1}, {"a": 2}], "m": {"b.c/d": "y"}});
        for (path, wanted) in [
            ("{.data.password}", "x"),
            ("{.items[*].a}", "1 2"),
            ("{.items[1].a}", "2"),
            ("{.m['b.c/d']}", "y"),
            ("{.m.b\\.c/d}", "y"),
            ("{.none}", ""),
        ] {
            let reply = jsonpath(Some(&root), path);
            assert_eq!(String::from_utf8(reply.stdout).unwrap(), wanted, "{path}");
        }
    }
}
