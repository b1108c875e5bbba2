//! Text to tokens.
//!
//! Line ends are tokens, since a statement is a line. `//` starts a comment, except inside square brackets, where it
//! is floor division and where words are [symbols](names::is_symbol_char). Any text gives tokens: what fits nothing
//! becomes [`Token::Bad`].

use std::borrow::Cow;

use crate::names;

/// A piece of text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    /// A keyword, mnemonic, type or attribute name.
    Word(&'t str),
    /// An unsigned number as written.
    Number(&'t str),
    /// A quoted name.
    Quoted(Cow<'t, str>),
    /// `%name`.
    Value(Cow<'t, str>),
    /// `%7`: a value by number.
    Numbered(&'t str),
    /// `@name`.
    Global(Cow<'t, str>),
    /// `( ) [ ] { } , : = + - *`.
    Punct(char),
    /// `->`.
    Arrow,
    /// `//` inside square brackets.
    FloorDiv,
    /// End of a line.
    Newline,
    /// End of the text.
    End,
    /// What is no token, and why.
    Bad(&'static str),
}

/// Where a token starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pos {
    /// Byte offset of the token.
    pub(super) offset: usize,
    /// Byte offset of its line.
    pub(super) line_start: usize,
    /// Line, from 1.
    pub(super) line: u32,
}

/// Reads tokens one by one. A copy is a bookmark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    pos: Pos,
    bracket_depth: u32,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, pos: Pos { offset: 0, line_start: 0, line: 1 }, bracket_depth: 0 }
    }

    /// A lexer for text that stands inside square brackets.
    pub(super) fn in_brackets(text: &'t str) -> Self {
        Self { bracket_depth: 1, ..Self::new(text) }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.pos.offset..]
    }

    fn peek_char(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The longest run of characters from here that satisfies `belongs`, which sees what follows the character.
    fn take_while(&mut self, belongs: impl Fn(char, &str) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|&(at, c)| !belongs(c, &rest[at + c.len_utf8()..]))
            .map_or(rest.len(), |(at, _)| at);
        self.pos.offset += end;
        &rest[..end]
    }

    fn take_name(&mut self) -> &'t str {
        self.take_while(|c, after| names::is_name_char(c) && !(c == '-' && after.starts_with('>')))
    }

    fn take_word(&mut self) -> &'t str {
        if self.bracket_depth > 0 { self.take_while(|c, _| names::is_symbol_char(c)) } else { self.take_name() }
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> (Pos, Token<'t>) {
        self.take_while(|c, _| c.is_whitespace() && c != '\n');
        if self.bracket_depth == 0 && self.rest().starts_with("//") {
            self.take_while(|c, _| c != '\n');
        }
        let start = self.pos;
        let Some(c) = self.peek_char() else { return (start, Token::End) };
        let token = match c {
            '\n' => {
                let line_start = self.pos.offset + 1;
                self.pos = Pos { offset: line_start, line_start, line: self.pos.line.saturating_add(1) };
                self.bracket_depth = 0;
                Token::Newline
            }
            '%' | '@' => {
                self.pos.offset += 1;
                self.sigil(c)
            }
            '"' => match self.quoted() {
                Ok(name) => Token::Quoted(name),
                Err(message) => Token::Bad(message),
            },
            '-' if self.rest().starts_with("->") => {
                self.pos.offset += 2;
                Token::Arrow
            }
            '/' if self.bracket_depth > 0 && self.rest().starts_with("//") => {
                self.pos.offset += 2;
                Token::FloorDiv
            }
            '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' | '=' | '+' | '-' | '*' => {
                self.pos.offset += 1;
                match c {
                    '[' => self.bracket_depth = self.bracket_depth.saturating_add(1),
                    ']' => self.bracket_depth = self.bracket_depth.saturating_sub(1),
                    _ => {}
                }
                Token::Punct(c)
            }
            c if c.is_ascii_digit() => self.number(),
            c if c.is_alphabetic() || c == '_' => Token::Word(self.take_word()),
            c => {
                self.pos.offset += c.len_utf8();
                Token::Bad("unexpected character")
            }
        };
        (start, token)
    }

    fn sigil(&mut self, sigil: char) -> Token<'t> {
        let name = if self.peek_char() == Some('"') {
            match self.quoted() {
                Ok(name) => name,
                Err(message) => return Token::Bad(message),
            }
        } else {
            let name = self.take_name();
            if name.is_empty() {
                return Token::Bad("a name must follow the sigil");
            }
            if sigil == '%' && name.bytes().all(|byte| byte.is_ascii_digit()) {
                return Token::Numbered(name);
            }
            Cow::Borrowed(name)
        };
        if sigil == '%' { Token::Value(name) } else { Token::Global(name) }
    }

    /// A number, or a word that starts with a digit, such as the result name `0.weight`.
    fn number(&mut self) -> Token<'t> {
        let start = *self;
        let digits = |c: char, _: &str| c.is_ascii_digit();
        self.take_while(digits);
        if self.rest().starts_with('.') {
            self.pos.offset += 1;
            self.take_while(digits);
        }
        if self.rest().starts_with(['e', 'E']) {
            let exponent = &self.rest()[1..];
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
                self.pos.offset += 1 + exponent.len() - unsigned.len();
                self.take_while(digits);
            }
        }
        if self.rest().starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.')) {
            *self = start;
            return Token::Word(self.take_word());
        }
        Token::Number(&start.text[start.pos.offset..self.pos.offset])
    }

    fn quoted(&mut self) -> Result<Cow<'t, str>, &'static str> {
        self.pos.offset += 1;
        let plain = self.take_while(|c, _| !matches!(c, '"' | '\\' | '\n'));
        if self.rest().starts_with('"') {
            self.pos.offset += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let mut name = plain.to_string();
        loop {
            match self.peek_char() {
                None | Some('\n') => return Err("the quoted name does not end on its line"),
                Some('"') => {
                    self.pos.offset += 1;
                    return Ok(Cow::Owned(name));
                }
                Some('\\') => {
                    self.pos.offset += 1;
                    name.push(self.escape()?);
                }
                Some(c) => {
                    self.pos.offset += c.len_utf8();
                    name.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, &'static str> {
        const UNKNOWN: &str = "unknown escape, expected one of \\\" \\\\ \\n \\t \\u{...}";
        let c = self.peek_char().ok_or(UNKNOWN)?;
        if c == '\n' {
            return Err(UNKNOWN);
        }
        self.pos.offset += c.len_utf8();
        match c {
            '"' | '\\' => Ok(c),
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'u' => {
                let digits = self
                    .rest()
                    .strip_prefix('{')
                    .and_then(|rest| rest.split_once('}'))
                    .map(|(digits, _)| digits)
                    .filter(|digits| digits.len() <= 6)
                    .ok_or(UNKNOWN)?;
                self.pos.offset += digits.len() + 2;
                u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or("the escape names no character")
            }
            _ => Err(UNKNOWN),
        }
    }
}

/// Whether `text` is one word, outside of brackets.
pub(crate) fn is_word(text: &str) -> bool {
    Lexer::new(text).next().1 == Token::Word(text) && !text.ends_with('-')
}

impl Token<'_> {
    /// The token in a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(text) | Self::Number(text) => format!("`{text}`"),
            Self::Quoted(name) => format!("{name:?}"),
            Self::Value(name) => format!("`%{name}`"),
            Self::Numbered(name) => format!("`%{name}`"),
            Self::Global(name) => format!("`@{name}`"),
            Self::Punct(c) => format!("`{c}`"),
            Self::Arrow => "`->`".to_string(),
            Self::FloorDiv => "`//`".to_string(),
            Self::Newline => "the end of the line".to_string(),
            Self::End => "the end of the text".to_string(),
            Self::Bad(message) => (*message).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text);
        std::iter::from_fn(|| Some(lexer.next().1).filter(|token| *token != Token::End)).collect()
    }

    #[test]
    fn slashes_divide_inside_brackets_only() {
        use Token::*;
        assert_eq!(tokens("[N // 2] // note"), [Punct('['), Word("N"), FloorDiv, Number("2"), Punct(']')]);
        assert_eq!(
            tokens("[N-1] a-b->c"),
            [Punct('['), Word("N"), Punct('-'), Number("1"), Punct(']'), Word("a-b"), Arrow, Word("c")]
        );
    }

    #[test]
    fn numbers_and_words_that_start_with_digits() {
        use Token::*;
        assert_eq!(
            tokens("1 1.5 2e-3 0.weight 10.0.bias 0x7f 3."),
            [
                Number("1"),
                Number("1.5"),
                Number("2e-3"),
                Word("0.weight"),
                Word("10.0.bias"),
                Word("0x7f"),
                Number("3."),
            ]
        );
    }

    #[test]
    fn names_after_sigils() {
        use Token::*;
        assert_eq!(
            tokens(r#"%x->%0 %0.w' @"a\"\u{e9}" %"#),
            [
                Value("x".into()),
                Arrow,
                Numbered("0"),
                Value("0.w'".into()),
                Global("a\"é".into()),
                Bad("a name must follow the sigil"),
            ]
        );
    }
}
