//! One rule of nftables: from tokens to nft's JSON expressions and its canonical text.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::entity::Rule;
use super::nft_text::{Reader, Token, syntax};

/// Reads a rule without a handle.
pub(super) fn parse(tokens: &[Token]) -> Result<Rule, String> {
    let mut reader = Reader::new(tokens);
    let mut rule = Rule {
        handle: 0,
        text: String::new(),
        comment: None,
        expr: Vec::new(),
    };
    let mut words: Vec<String> = Vec::new();
    while let Some(token) = reader.peek() {
        if token.is("comment") {
            reader.next();
            let comment = reader.word()?.to_owned();
            words.push(format!("comment \"{comment}\""));
            rule.comment = Some(comment);
            continue;
        }
        let (expr, text) = match statement(&mut reader)? {
            Some(found) => found,
            None => matching(&mut reader)?,
        };
        rule.expr.push(expr);
        words.push(text);
    }
    if rule.expr.is_empty() {
        return Err(syntax("unexpected newline"));
    }
    rule.text = words.join(" ");
    Ok(rule)
}

type Part = (Value, String);

/// A statement that is not a match; `None` leaves the reader as it was.
fn statement(reader: &mut Reader<'_>) -> Result<Option<Part>, String> {
    let Some(first) = reader.peek().map(Token::text) else {
        return Ok(None);
    };
    let part = match first {
        "accept" | "drop" | "return" | "continue" | "masquerade" => {
            reader.next();
            (json!({ first: null }), first.to_owned())
        }
        "counter" => {
            reader.next();
            let mut counts = [0, 0];
            for (slot, name) in counts.iter_mut().zip(["packets", "bytes"]) {
                if reader.take(name) {
                    *slot = reader.number()?;
                }
            }
            let [packets, bytes] = counts;
            // Nobody sends packets through a simulated machine.
            (
                json!({"counter": {"packets": packets, "bytes": bytes}}),
                format!("counter packets {packets} bytes {bytes}"),
            )
        }
        "jump" | "goto" => {
            reader.next();
            let target = reader.word()?;
            (
                json!({ first: {"target": target} }),
                format!("{first} {target}"),
            )
        }
        "log" => {
            reader.next();
            if reader.take("prefix") {
                let prefix = reader.word()?;
                (
                    json!({"log": {"prefix": prefix}}),
                    format!("log prefix \"{prefix}\""),
                )
            } else {
                (json!({"log": null}), "log".to_owned())
            }
        }
        "limit" => {
            reader.next();
            limit(reader)?
        }
        "reject" => {
            reader.next();
            (json!({"reject": null}), "reject".to_owned())
        }
        "dnat" | "snat" => {
            reader.next();
            translate(reader, first)?
        }
        _ => return Ok(None),
    };
    Ok(Some(part))
}

/// `limit rate 5/minute`.
fn limit(reader: &mut Reader<'_>) -> Result<Part, String> {
    if !reader.take("rate") {
        return Err(syntax("unexpected string, expecting rate"));
    }
    let text = reader.word()?;
    let (rate, per) = text.split_once('/').unwrap_or((text, ""));
    let rate: u64 = rate.parse().map_err(|_| syntax("unexpected string"))?;
    if !matches!(per, "second" | "minute" | "hour" | "day") {
        return Err(syntax("unexpected string, expecting a unit of time"));
    }
    Ok((
        json!({"limit": {"rate": rate, "burst": 5, "per": per}}),
        format!("limit rate {text}"),
    ))
}

/// `tcp flags & (fin | syn) != syn`, after the words `tcp flags`.
fn masked(reader: &mut Reader<'_>, flags: &Value) -> Result<(Value, String), String> {
    let mut names = Vec::new();
    loop {
        let word = reader.word()?;
        let last = word.ends_with(')');
        let name = word.trim_matches(['(', ')']);
        if !matches!(name, "|" | "") {
            names.push(name.to_owned());
        }
        if last {
            break;
        }
    }
    let text = format!("tcp flags & ({})", names.join(" | "));
    Ok((json!({"&": [flags, names]}), text))
}

/// `dnat to ADDRESS[:PORT]` or `dnat to numgen random mod N map { … }[:PORT]`.
fn translate(reader: &mut Reader<'_>, verb: &str) -> Result<Part, String> {
    reader.take("ip");
    if !reader.take("to") {
        return Err(syntax("unexpected string, expecting to"));
    }
    if !reader.take("numgen") {
        let target = reader.word()?;
        let (address, port) = target.split_once(':').unwrap_or((target, ""));
        let mut body = json!({ "addr": address });
        if let (Some(map), Ok(port)) = (body.as_object_mut(), port.parse::<u16>()) {
            map.insert("port".to_owned(), json!(port));
        }
        return Ok((json!({ verb: body }), format!("{verb} to {target}")));
    }
    let mode = reader.word()?;
    if !reader.take("mod") {
        return Err(syntax("unexpected string, expecting mod"));
    }
    let modulus = reader.number()?;
    if !reader.take("map") || !reader.take_token(&Token::Open) {
        return Err(syntax("unexpected string, expecting map"));
    }
    let (mut pairs, mut texts) = (Vec::new(), Vec::new());
    while !reader.take_token(&Token::Close) {
        if reader.take_token(&Token::Comma) || reader.take_token(&Token::End) {
            continue;
        }
        let key = reader.word()?.trim_end_matches(':');
        reader.take(":");
        let value = reader.word()?;
        pairs.push(json!([key.parse::<u64>().unwrap_or_default(), value]));
        texts.push(format!("{key} : {value}"));
    }
    let mut body = json!({"addr": {"map": {
        "key": {"numgen": {"mode": mode, "mod": modulus, "offset": 0}},
        "data": {"set": pairs},
    }}});
    let mut text = format!(
        "{verb} to numgen {mode} mod {modulus} map {{ {} }}",
        texts.join(", ")
    );
    let port = match reader.peek() {
        Some(Token::Word(word)) => word.strip_prefix(':').map(str::to_owned),
        _ => None,
    };
    if let (Some(port), Some(map)) = (port, body.as_object_mut()) {
        reader.next();
        map.insert(
            "port".to_owned(),
            json!(port.parse::<u16>().unwrap_or_default()),
        );
        let _ = write!(text, ":{port}");
    }
    Ok((json!({ verb: body }), text))
}

/// What is compared: nft's JSON and its text.
fn left(reader: &mut Reader<'_>) -> Result<(Value, String), String> {
    let first = reader.word()?;
    let meta = matches!(first, "iifname" | "oifname" | "iif" | "oif");
    if meta {
        return Ok((json!({"meta": {"key": first}}), first.to_owned()));
    }
    let second = reader.word()?;
    let text = format!("{first} {second}");
    let value = match (first, second) {
        ("meta", key @ ("iifname" | "oifname")) => {
            return Ok((json!({"meta": {"key": key}}), key.to_owned()));
        }
        ("meta", key) => json!({"meta": {"key": key}}),
        ("ct", key @ ("state" | "status" | "mark")) => json!({"ct": {"key": key}}),
        ("ip", field @ ("saddr" | "daddr" | "protocol"))
        | ("tcp" | "udp", field @ ("dport" | "sport"))
        | ("ip6", field @ ("saddr" | "daddr"))
        | ("icmp" | "icmpv6", field @ "type") => {
            json!({"payload": {"protocol": first, "field": field}})
        }
        ("tcp", "flags") => {
            let flags = json!({"payload": {"protocol": "tcp", "field": "flags"}});
            return if reader.take("&") {
                masked(reader, &flags)
            } else {
                Ok((flags, text))
            };
        }
        ("fib", flag @ ("daddr" | "saddr")) => {
            let result = reader.word()?;
            return Ok((
                json!({"fib": {"result": result, "flags": [flag]}}),
                format!("{text} {result}"),
            ));
        }
        _ => return Err(syntax(&format!("unexpected string {first}"))),
    };
    Ok((value, text))
}

fn scalar(token: &Token) -> Result<Part, String> {
    let text = match token {
        Token::Quoted(text) => return Ok((json!(text), format!("\"{text}\""))),
        Token::Word(text) => text,
        other => return Err(syntax(&format!("unexpected `{}`", other.text()))),
    };
    if let Some((address, length)) = text.split_once('/') {
        let length: u8 = length.parse().map_err(|_| syntax("unexpected string"))?;
        let value = json!({"prefix": {"addr": address, "len": length}});
        return Ok((value, text.clone()));
    }
    if let Some((from, to)) = text.split_once('-')
        && let (Ok(from), Ok(to)) = (from.parse::<u64>(), to.parse::<u64>())
    {
        return Ok((json!({"range": [from, to]}), text.clone()));
    }
    match text.parse::<u64>() {
        Ok(number) => Ok((json!(number), text.clone())),
        Err(_) => Ok((json!(text), text.clone())),
    }
}

fn right(reader: &mut Reader<'_>) -> Result<Part, String> {
    let token = reader.next().ok_or_else(|| syntax("unexpected newline"))?;
    if *token != Token::Open {
        let first = scalar(token)?;
        if reader.peek() != Some(&Token::Comma) {
            return Ok(first);
        }
        let (mut values, mut texts) = (vec![first.0], vec![first.1]);
        while reader.take_token(&Token::Comma) {
            let (value, text) = scalar(reader.next().ok_or_else(|| syntax("unexpected newline"))?)?;
            values.push(value);
            texts.push(text);
        }
        return Ok((Value::Array(values), texts.join(",")));
    }
    let (mut values, mut texts) = (Vec::new(), Vec::new());
    loop {
        match reader.next() {
            Some(Token::Close) => break,
            Some(Token::Comma | Token::End) => {}
            Some(token) => {
                let (value, text) = scalar(token)?;
                values.push(value);
                texts.push(text);
            }
            None => return Err(syntax("unexpected end of file")),
        }
    }
    Ok((
        json!({ "set": values }),
        format!("{{ {} }}", texts.join(", ")),
    ))
}

fn matching(reader: &mut Reader<'_>) -> Result<Part, String> {
    let (left, left_text) = left(reader)?;
    let flags = left_text == "ct status" || left_text == "ct state";
    let given = ["!=", "==", ">=", "<=", ">", "<"]
        .into_iter()
        .find(|op| reader.take(op));
    let (mut right, mut right_text) = right(reader)?;
    if left_text.ends_with("ifname") {
        // nft prints interface names in quotes, however they were given.
        right_text = quote_names(&right, &right_text);
        if let Value::Number(number) = &right {
            right = json!(number.to_string());
        }
    }
    let op = match given {
        Some(op) => op,
        None if flags => "in",
        None => "==",
    };
    let shown = match given {
        Some(op) if op != "==" => format!("{op} "),
        _ => String::new(),
    };
    Ok((
        json!({"match": {"op": op, "left": left, "right": right}}),
        format!("{left_text} {shown}{right_text}"),
    ))
}

fn quote_names(value: &Value, text: &str) -> String {
    match value.get("set").and_then(Value::as_array) {
        Some(set) => {
            let names: Vec<String> = set
                .iter()
                .filter_map(Value::as_str)
                .map(|name| format!("\"{name}\""))
                .collect();
            format!("{{ {} }}", names.join(", "))
        }
        None if text.starts_with('@') => text.to_owned(),
        None => format!("\"{}\"", text.trim_matches('"')),
    }
}
