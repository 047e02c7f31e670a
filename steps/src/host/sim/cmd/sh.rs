//! `sh -c` for simple lines: words with quotes, `&&`, `||`, `;`, `exit N`, `> FILE`, positional parameters.

use super::super::entity::File;
use super::super::files;
use super::super::state::Draft;
use super::{Call, QUICK_MS, Reply};

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Op(&'static str),
}

/// Where a line runs: how its commands run there, and where its redirections write to.
pub(super) trait Place {
    /// Runs one command.
    fn exec(&mut self, draft: &mut Draft<'_>, argv: &[&str]) -> Reply;
    /// Writes, or appends, what a command said; the error is the system's.
    fn write(
        &mut self,
        draft: &mut Draft<'_>,
        path: &str,
        bytes: Vec<u8>,
        append: bool,
    ) -> Result<(), &'static str>;
}

/// The simulated machine itself.
struct Here<'a>(&'a Call<'a>);

impl Place for Here<'_> {
    fn exec(&mut self, draft: &mut Draft<'_>, argv: &[&str]) -> Reply {
        let call = self.0;
        super::run(draft, argv, call.stdin, call.root, call.mounts)
            .unwrap_or_else(|program| Reply::fail(127, format!("sh: 1: {program}: not found\n")))
    }

    fn write(
        &mut self,
        draft: &mut Draft<'_>,
        path: &str,
        bytes: Vec<u8>,
        append: bool,
    ) -> Result<(), &'static str> {
        let full = self.0.path(draft, path);
        if let Some(why) = files::refuses(draft, &full, self.0.root) {
            return Err(why);
        }
        let old = files::at(draft, &full);
        let owner = files::actor(draft, self.0.root);
        let mut file = old.clone().unwrap_or_else(|| File::new(b"", 0o644, &owner));
        let mut all = match (append, old) {
            (true, Some(old)) => old.text().into_bytes(),
            _ => Vec::new(),
        };
        all.extend(bytes);
        file.data = super::super::entity::Data::of(&all);
        draft.put(&full, &file);
        Ok(())
    }
}

pub(super) fn run(draft: &mut Draft<'_>, call: &Call<'_>) -> Reply {
    let (script, params) = match call.args.as_slice() {
        ["-c" | "-ec" | "-euc", script, params @ ..] => (*script, params),
        _ => return call.complain(2, "only `sh -c LINE` is simulated"),
    };
    line(draft, &mut Here(call), script, params)
        .unwrap_or_else(|| call.complain(2, "1: Syntax error: this line is not simulated"))
}

/// Runs a line; `None` if it is of a kind that is not simulated.
pub(super) fn line(
    draft: &mut Draft<'_>,
    place: &mut dyn Place,
    script: &str,
    params: &[&str],
) -> Option<Reply> {
    let tokens = tokens(script, params)?;
    let mut all = Reply::ok("").took(QUICK_MS);
    let mut skip = false;
    for (index, part) in tokens
        .split(|token| matches!(token, Token::Op("&&" | "||" | ";")))
        .enumerate()
    {
        if skip || part.is_empty() {
            skip = next_skipped(&tokens, index, all.code, skip);
            continue;
        }
        let ends = part.first() == Some(&Token::Word("exit".to_owned()));
        if ends {
            if let Some(Token::Word(code)) = part.get(1) {
                all.code = code.parse().unwrap_or(2);
            }
            return Some(all);
        }
        let reply = simple(draft, place, part);
        draft.mark_half();
        all.code = reply.code;
        all.stdout.extend_from_slice(&reply.stdout);
        all.stderr.extend_from_slice(&reply.stderr);
        all.took_ms += reply.took_ms;
        skip = next_skipped(&tokens, index, all.code, false);
    }
    Some(all)
}

/// Whether the part after the separator of number `index` is skipped.
fn next_skipped(tokens: &[Token], index: usize, code: i32, skipped: bool) -> bool {
    let separator = tokens
        .iter()
        .filter(|token| matches!(token, Token::Op("&&" | "||" | ";")))
        .nth(index);
    match separator {
        Some(Token::Op("&&")) => code != 0,
        Some(Token::Op("||")) => code == 0,
        Some(_) => false,
        None => skipped,
    }
}

/// One command with an optional redirection.
fn simple(draft: &mut Draft<'_>, place: &mut dyn Place, part: &[Token]) -> Reply {
    let redirect = part
        .iter()
        .position(|token| matches!(token, Token::Op(">" | ">>" | "2>")));
    let (words, rest) = part.split_at(redirect.unwrap_or(part.len()));
    let argv: Vec<&str> = words
        .iter()
        .filter_map(|token| match token {
            Token::Word(word) => Some(word.as_str()),
            Token::Op(_) => None,
        })
        .collect();
    let mut reply = match argv.as_slice() {
        ["set" | ":", ..] => Reply::ok(""),
        _ => place.exec(draft, &argv),
    };
    if let [Token::Op(op), Token::Word(path), ..] = rest {
        if *op == "2>" {
            reply.stderr.clear();
        } else if path == "/dev/null" {
            reply.stdout.clear();
        } else {
            let bytes = std::mem::take(&mut reply.stdout);
            if let Err(why) = place.write(draft, path, bytes, *op == ">>") {
                return Reply::fail(2, format!("sh: 1: cannot create {path}: {why}\n"));
            }
        }
    }
    reply
}

fn parameter(params: &[&str], name: char) -> Option<String> {
    let index = usize::try_from(name.to_digit(10)?).ok()?;
    Some(params.get(index).copied().unwrap_or_default().to_owned())
}

fn tokens(script: &str, params: &[&str]) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = script.trim().chars().peekable();
    while let Some(c) = chars.next() {
        let op = match (c, chars.peek()) {
            ('&', Some('&')) => Some("&&"),
            ('|', Some('|')) => Some("||"),
            ('>', Some('>')) => Some(">>"),
            ('>', _) if word.as_deref() == Some("2") => Some("2>"),
            ('>', _) => Some(">"),
            (';' | '\n', _) => Some(";"),
            ('&' | '|' | '(' | ')' | '`' | '<', _) => return None,
            _ => None,
        };
        if let Some(op) = op {
            if matches!(op, "&&" | "||" | ">>") {
                chars.next();
            }
            let kept = word.take().filter(|_| op != "2>");
            found.extend(kept.map(Token::Word));
            found.push(Token::Op(op));
            continue;
        }
        match c {
            ' ' | '\t' => found.extend(word.take().map(Token::Word)),
            '\'' => {
                let text = word.get_or_insert_default();
                text.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => quoted(&mut chars, word.get_or_insert_default(), params)?,
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '$' => {
                let value = parameter(params, chars.next()?)?;
                word.get_or_insert_default().push_str(&value);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word.take().map(Token::Word));
    Some(found)
}

fn quoted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    word: &mut String,
    params: &[&str],
) -> Option<()> {
    loop {
        match chars.next()? {
            '"' => return Some(()),
            '\\' => word.push(chars.next()?),
            '$' => word.push_str(&parameter(params, chars.next()?)?),
            '`' => return None,
            c => word.push(c),
        }
    }
}
