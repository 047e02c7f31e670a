//! nft's language: tokens and statements.

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Quoted(String),
    Open,
    Close,
    /// A newline or `;`.
    End,
    Comma,
}

impl Token {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Quoted(text) => text,
            Self::Open => "{",
            Self::Close => "}",
            Self::End => ";",
            Self::Comma => ",",
        }
    }

    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text == word)
    }
}

/// Splits a script; the error is nft's.
pub(super) fn tokens(script: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        let single = match c {
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            ';' | '\n' => Some(Token::End),
            ',' => Some(Token::Comma),
            _ => None,
        };
        let separates = single.is_some() || c.is_whitespace() || matches!(c, '"' | '#' | '\\');
        if !separates {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            found.push(Token::Word(std::mem::take(&mut word)));
        }
        match c {
            '"' => {
                let text: String = chars.by_ref().take_while(|c| *c != '"').collect();
                found.push(Token::Quoted(text));
            }
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '\\' => match chars.next() {
                Some('\n') => {}
                _ => return Err(syntax("unexpected junk")),
            },
            _ => found.extend(single),
        }
    }
    if !word.is_empty() {
        found.push(Token::Word(word));
    }
    Ok(found)
}

/// A syntax error in nft's words.
pub(super) fn syntax(what: &str) -> String {
    format!("Error: syntax error, {what}\n")
}

/// Reads tokens from front to back.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [Token],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [Token]) -> Self {
        Self { rest }
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.rest.first()
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next token if it is this word.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|token| token.is(word));
        if is {
            self.next();
        }
        is
    }

    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let is = self.peek() == Some(token);
        if is {
            self.next();
        }
        is
    }

    /// The next word or quoted text.
    pub(super) fn word(&mut self) -> Result<&'a str, String> {
        match self.next() {
            Some(Token::Word(text) | Token::Quoted(text)) => Ok(text),
            Some(other) => Err(syntax(&format!("unexpected `{}`", other.text()))),
            None => Err(syntax("unexpected end of file")),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, String> {
        let text = self.word()?;
        text.parse()
            .map_err(|_| syntax(&format!("unexpected string {text}, expecting number")))
    }

    pub(super) fn skip_ends(&mut self) {
        while self.take_token(&Token::End) {}
    }

    /// The tokens up to the end of the statement (newline, `;` or a closing brace of an outer block).
    pub(super) fn statement(&mut self) -> &'a [Token] {
        let mut depth = 0_usize;
        let end = self.rest.iter().position(|token| {
            match token {
                Token::Open => depth += 1,
                Token::Close if depth == 0 => return true,
                Token::Close => depth -= 1,
                Token::End => return depth == 0,
                _ => {}
            }
            false
        });
        let (statement, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        statement
    }
}
