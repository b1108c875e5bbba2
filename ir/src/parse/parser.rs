//! Functions, regions and statements.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use super::WeightSource;
use super::lexer::{Lexer, Pos, Token};
use crate::attrs::{Attr, AttrReader, Written, op_from_text};
use crate::diagnostic::{Diagnostic, Location};
use crate::graph::{Graph, Value};
use crate::module::{Func, FuncParam, FuncResult, ParamKind};
use crate::ops::{Op, TABLE};
use crate::types::TensorType;
use crate::verify::MAX_REGION_DEPTH;

/// After this many faults the rest of the text is not read.
const MAX_FAULTS: usize = 100;
/// No op has more attributes.
const MAX_ATTRS: usize = 16;

/// What a rule gives: what it read, or the fault that ends it.
pub(super) type Parse<T> = Result<T, Diagnostic>;

/// A reader of one text, one token ahead.
pub(super) struct Parser<'t> {
    text: &'t str,
    file: Arc<str>,
    lexer: Lexer<'t>,
    /// The token at hand; the lexer stands behind it.
    ahead: (Pos, Token<'t>),
    faults: Vec<Diagnostic>,
    weights: &'t WeightSource,
    /// The last column that was counted: start of line, offset, column.
    counted: Cell<(usize, usize, u32)>,
}

/// Tokens, places and faults.
impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str, file_name: &str, weights: &'t WeightSource) -> Self {
        Self::with_lexer(text, Lexer::new(text), file_name, weights)
    }

    /// A parser for text that stands inside square brackets.
    pub(super) fn in_brackets(text: &'t str, file_name: &str, weights: &'t WeightSource) -> Self {
        Self::with_lexer(text, Lexer::in_brackets(text), file_name, weights)
    }

    fn with_lexer(text: &'t str, mut lexer: Lexer<'t>, file_name: &str, weights: &'t WeightSource) -> Self {
        let ahead = lexer.next();
        Self { text, file: file_name.into(), lexer, ahead, faults: Vec::new(), weights, counted: Cell::default() }
    }

    pub(super) fn weights(&self) -> &'t WeightSource {
        self.weights
    }

    /// Place of the token at hand.
    pub(super) fn pos(&self) -> Pos {
        self.ahead.0
    }

    pub(super) fn peek(&self) -> (Pos, Token<'t>) {
        self.ahead.clone()
    }

    fn at(&self, punct: char) -> bool {
        self.ahead.1 == Token::Punct(punct)
    }

    /// The token after the one at hand.
    pub(super) fn peek_second(&self) -> Token<'t> {
        let mut lexer = self.lexer;
        lexer.next().1
    }

    pub(super) fn next(&mut self) -> (Pos, Token<'t>) {
        let following = self.lexer.next();
        std::mem::replace(&mut self.ahead, following)
    }

    pub(super) fn eat(&mut self, punct: char) -> bool {
        let found = self.at(punct);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expect(&mut self, punct: char) -> Parse<Pos> {
        if self.at(punct) {
            return Ok(self.next().0);
        }
        let (pos, token) = self.peek();
        Err(self.unexpected(pos, &token, &format!("`{punct}`")))
    }

    fn skip_newlines(&mut self) {
        while self.ahead.1 == Token::Newline {
            self.next();
        }
    }

    /// Items with commas between up to `close`, whose opening counterpart is read. Lines may end between items.
    pub(super) fn list(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Parse<()>) -> Parse<()> {
        loop {
            self.skip_newlines();
            if self.eat(close) {
                return Ok(());
            }
            item(self)?;
            let (lexer, ahead) = (self.lexer, self.ahead.clone());
            self.skip_newlines();
            if !self.eat(',') && !self.at(close) {
                // An open list ends with its line.
                (self.lexer, self.ahead) = (lexer, ahead);
                let (pos, token) = self.peek();
                return Err(self.unexpected(pos, &token, &format!("`,` or `{close}`")));
            }
        }
    }

    /// Like [`Parser::list`], but a faulty item is reported and skipped. Gives whether all were sound.
    fn recovering_list(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Parse<()>) -> Parse<bool> {
        let n_faults = self.faults.len();
        self.list(close, |parser| {
            if let Err(fault) = item(parser) {
                parser.report(fault);
                while !matches!(parser.ahead.1, Token::Punct(',') | Token::Newline | Token::End)
                    && !parser.at(close)
                    && !parser.at('{')
                {
                    parser.next();
                }
            }
            Ok(())
        })?;
        Ok(self.faults.len() == n_faults)
    }

    /// The place as a location.
    pub(super) fn location(&self, pos: Pos) -> Location {
        let (line_start, offset, column) = self.counted.get();
        let (from, column) =
            if line_start == pos.line_start && offset <= pos.offset { (offset, column) } else { (pos.line_start, 0) };
        let column = column + self.text[from..pos.offset].chars().count() as u32;
        self.counted.set((pos.line_start, pos.offset, column));
        Location { file: Some(self.file.clone()), line: pos.line, column: column + 1, scope: None }
    }

    pub(super) fn fault(&self, pos: Pos, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.location(pos), message)
    }

    pub(super) fn unexpected(&self, pos: Pos, found: &Token<'_>, expected: &str) -> Diagnostic {
        match found {
            Token::Bad("unexpected character") => {
                let c = self.text[pos.offset..].chars().next().unwrap_or(' ');
                self.fault(pos, format!("unexpected character {c:?}, expected {expected}"))
            }
            Token::Bad(message) => self.fault(pos, *message),
            _ => self.fault(pos, format!("found {}, expected {expected}", found.describe())),
        }
    }

    /// Records a fault. After very many the rest of the text is not read.
    fn report(&mut self, fault: Diagnostic) {
        if self.faults.len() > MAX_FAULTS {
            return;
        }
        self.faults.push(fault);
        if self.faults.len() == MAX_FAULTS {
            let pos = self.pos();
            self.faults.push(self.fault(pos, "too many faults: the rest of the text is not read"));
            self.ahead = (pos, Token::End);
            self.lexer = Lexer::new("");
        }
    }

    /// After a fault in the statement that starts at `start`: goes on behind the line where the fault is, and behind
    /// the block that the line opens, if it does. Stops before a brace that closes an outer block.
    fn recover(&mut self, start: (Lexer<'t>, (Pos, Token<'t>))) {
        if self.ahead.1 == Token::End {
            return;
        }
        let fault_offset = self.pos().offset;
        // From the start, so that every brace is seen.
        (self.lexer, self.ahead) = start;
        let (mut n_blocks, mut n_inline, mut after_brace) = (0usize, 0usize, false);
        loop {
            let opens = self.at('{');
            let may_stop = self.pos().offset >= fault_offset;
            match self.ahead.1 {
                Token::End => return,
                Token::Newline => {
                    n_blocks += usize::from(after_brace);
                    n_inline = 0;
                    if n_blocks == 0 && may_stop {
                        return;
                    }
                }
                Token::Punct('{') => n_inline += 1,
                Token::Punct('}') if n_inline > 0 => n_inline -= 1,
                Token::Punct('}') if n_blocks > 0 => n_blocks -= 1,
                Token::Punct('}') if may_stop => return,
                _ => {}
            }
            after_brace = opens;
            self.next();
        }
    }
}

/// The name of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name<'t> {
    Number(u32),
    Text(Cow<'t, str>),
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "%{number}"),
            Self::Text(name) => crate::names::write_param(f, name),
        }
    }
}

/// The values that can be named. One without a value was defined by a faulty statement, and whoever uses it is
/// dropped without a further word.
#[derive(Default)]
struct Scope<'t> {
    values: HashMap<Name<'t>, (Pos, Option<Value>)>,
    /// Whether a parameter could not be read, so that unknown names may be sound.
    incomplete: bool,
}

/// A result in a signature.
struct ResultDecl<'t> {
    pos: Pos,
    name: Option<Cow<'t, str>>,
    ty: Option<TensorType>,
    into: Option<(Pos, Name<'t>)>,
}

/// The head of a function.
#[derive(Default)]
struct Signature<'t> {
    params: Vec<FuncParam>,
    results: Option<Vec<ResultDecl<'t>>>,
}

impl<'t> Parser<'t> {
    /// All functions that could be read, and all faults.
    pub(super) fn module(mut self) -> (Vec<Func>, Vec<Diagnostic>) {
        let mut funcs = Vec::new();
        loop {
            match self.peek() {
                (_, Token::End) => return (funcs, self.faults),
                (_, Token::Newline) => {
                    self.next();
                }
                (_, Token::Word("func")) => {
                    self.next();
                    funcs.extend(self.func());
                }
                (pos, token) => {
                    let fault = self.unexpected(pos, &token, "`func`");
                    self.report(fault);
                    // A stray brace would stop the recovery.
                    self.next();
                    self.recover((self.lexer, self.ahead.clone()));
                }
            }
        }
    }

    /// A function behind its keyword; `None` if it has faults, which are then recorded.
    fn func(&mut self) -> Option<Func> {
        let (mut scope, mut graph, mut signature) = (Scope::default(), Graph::new(), Signature::default());
        let name = self.signature(&mut scope, &mut graph, &mut signature).unwrap_or_else(|fault| {
            self.report(fault);
            scope.incomplete = true;
            None
        });
        // Whatever the head was, its body is worth reading.
        while !self.eat('{') {
            match self.peek() {
                (_, Token::End | Token::Word("func")) => return None,
                _ => self.next(),
            };
        }
        let (pos, returned) = self.block(&mut scope, &mut graph, 0)?;
        let n_faults = self.faults.len();
        let results = self.results(signature.results, pos, &returned, &scope, &graph);
        graph.set_results(returned);
        let name = name?;
        (self.faults.len() == n_faults).then(|| Func {
            name: name.into_owned(),
            params: signature.params,
            results,
            graph,
        })
    }

    /// `@name(params) -> (results)`, up to the brace. The name is `None` if a parameter or result was faulty.
    fn signature(
        &mut self,
        scope: &mut Scope<'t>,
        graph: &mut Graph,
        signature: &mut Signature<'t>,
    ) -> Parse<Option<Cow<'t, str>>> {
        let (pos, token) = self.next();
        let Token::Global(name) = token else { return Err(self.unexpected(pos, &token, "the function's @name")) };
        self.expect('(')?;
        let mut sound = self.recovering_list(')', |parser| {
            let param = parser.func_param(scope, graph)?;
            signature.params.push(param);
            Ok(())
        })?;
        scope.incomplete |= !sound;
        if self.ahead.1 == Token::Arrow {
            self.next();
            let mut results = Vec::new();
            if self.eat('(') {
                sound &= self.recovering_list(')', |parser| {
                    results.push(parser.result_decl()?);
                    Ok(())
                })?;
            } else {
                results.push(self.result_decl()?);
            }
            // With a faulty result, the number of results says nothing.
            signature.results = sound.then_some(results);
        }
        if !self.at('{') {
            let (pos, token) = self.peek();
            return Err(self.unexpected(pos, &token, "`{`"));
        }
        Ok(sound.then_some(name))
    }

    /// `[param | state] %name: type [= @weight]`.
    fn func_param(&mut self, scope: &mut Scope<'t>, graph: &mut Graph) -> Parse<FuncParam> {
        let kind = match self.ahead.1 {
            Token::Word("param") => ParamKind::Param,
            Token::Word("state") => ParamKind::State,
            _ => ParamKind::Input,
        };
        if kind != ParamKind::Input {
            self.next();
        }
        let name = match self.param(scope, graph)? {
            Name::Text(name) => name.into_owned(),
            Name::Number(number) => number.to_string(),
        };
        let weight = if self.eat('=') {
            match self.next() {
                (pos, Token::Global(weight)) => {
                    if let Err(message) = self.weights.check_param(&weight) {
                        // The parameter is sound otherwise.
                        let fault = self.fault(pos, message);
                        self.report(fault);
                    }
                    Some(weight.into())
                }
                (pos, token) => return Err(self.unexpected(pos, &token, "a weight's @name")),
            }
        } else {
            None
        };
        Ok(FuncParam { name, kind, weight })
    }

    /// `%name: type`.
    fn param(&mut self, scope: &mut Scope<'t>, graph: &mut Graph) -> Parse<Name<'t>> {
        let (pos, name) = self.value_name("a parameter's %name")?;
        let ty = self.expect(':').and_then(|_| self.ty());
        let value = ty.as_ref().ok().map(|ty| graph.param(ty.clone(), self.location(pos)));
        self.define(scope, pos, name.clone(), value);
        ty.map(|_| name)
    }

    /// `[name:] [type] [into %param]`, at least one of name and type.
    fn result_decl(&mut self) -> Parse<ResultDecl<'t>> {
        let mut decl = ResultDecl { pos: self.pos(), name: None, ty: None, into: None };
        if self.at_type() {
            decl.ty = Some(self.ty()?);
        } else {
            match self.next() {
                (_, Token::Word(name)) => decl.name = Some(Cow::Borrowed(name)),
                (_, Token::Quoted(name)) => decl.name = Some(name),
                (pos, token) => return Err(self.unexpected(pos, &token, "a result's name or type")),
            }
            if self.eat(':') {
                decl.ty = Some(self.ty()?);
            }
        }
        if self.ahead.1 == Token::Word("into") {
            self.next();
            decl.into = Some(self.value_name("the %name of a parameter")?);
        }
        Ok(decl)
    }

    /// Meets what the signature says of the results with what is returned.
    fn results(
        &mut self,
        decls: Option<Vec<ResultDecl<'t>>>,
        return_pos: Pos,
        returned: &[Value],
        scope: &Scope<'t>,
        graph: &Graph,
    ) -> Vec<FuncResult> {
        let nth_name = |idx: usize| format!("r{idx}");
        let Some(decls) = decls else {
            return (0..returned.len()).map(|idx| FuncResult { name: nth_name(idx), donates: None }).collect();
        };
        if decls.len() != returned.len() {
            let fault = self.fault(
                return_pos,
                format!("return: {} values, expected {} as the signature has", returned.len(), decls.len()),
            );
            self.report(fault);
        }
        let mut results = Vec::with_capacity(decls.len());
        for (idx, decl) in decls.into_iter().enumerate() {
            let name = decl.name.map_or_else(|| nth_name(idx), Cow::into_owned);
            if let (Some(declared), Some(&value)) = (&decl.ty, returned.get(idx))
                && graph.ty(value) != declared
            {
                let found = graph.ty(value);
                let fault = self
                    .fault(return_pos, format!("return: result `{name}` has type {found}, expected {declared}"))
                    .note_at(self.location(decl.pos), "declared here");
                self.report(fault);
            }
            let donates = decl.into.and_then(|(pos, target)| {
                let value = scope.values.get(&target).and_then(|(_, value)| *value);
                let param = value.and_then(|value| graph.params().iter().position(|&param| param == value));
                if param.is_none() {
                    let fault =
                        self.fault(pos, format!("result `{name}` donates into {target}, which is no parameter"));
                    self.report(fault);
                }
                param.map(|param| param as u32)
            });
            results.push(FuncResult { name, donates });
        }
        results
    }

    /// Statements behind `{`, up to and with `}`. Gives what is returned and where, unless there were faults.
    fn block(&mut self, scope: &mut Scope<'t>, graph: &mut Graph, depth: usize) -> Option<(Pos, Vec<Value>)> {
        let n_faults = self.faults.len();
        let mut returned: Option<(Pos, Option<Vec<Value>>)> = None;
        loop {
            self.skip_newlines();
            let (pos, token) = self.peek();
            let start = (self.lexer, self.ahead.clone());
            let result = match token {
                Token::Punct('}') => {
                    self.next();
                    if returned.is_none() {
                        let fault = self.fault(pos, "the block ends without `return`");
                        self.report(fault);
                    }
                    break;
                }
                Token::End | Token::Word("func") => {
                    let fault = self.unexpected(pos, &token, "`}`");
                    self.report(fault);
                    break;
                }
                _ if returned.is_some() => Err(self.fault(pos, "statement after `return`")),
                Token::Word("return") => {
                    self.next();
                    self.operands(scope).map(|values| returned = Some((pos, values)))
                }
                _ => self.statement(scope, graph, depth),
            };
            let ended = result.and_then(|()| match self.peek() {
                (_, Token::Newline | Token::End | Token::Punct('}')) => Ok(()),
                (pos, token) => Err(self.unexpected(pos, &token, "the end of the line")),
            });
            if let Err(fault) = ended {
                self.report(fault);
                self.recover(start);
                // A faulty `return` still returns.
                if token == Token::Word("return") {
                    returned.get_or_insert((pos, None));
                }
            }
        }
        let (pos, values) = returned?;
        values.filter(|_| self.faults.len() == n_faults).map(|values| (pos, values))
    }

    /// `%results = mnemonic literal? operands {attributes} (regions) : types`. The results are defined in any case.
    fn statement(&mut self, scope: &mut Scope<'t>, graph: &mut Graph, depth: usize) -> Parse<()> {
        let start = self.pos();
        let mut names = Vec::new();
        let parsed =
            self.result_names(&mut names).and_then(|()| self.operation(scope, graph, start, names.len(), depth));
        let (results, parsed) = match parsed {
            Ok(results) => (results, Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        for (idx, (pos, name)) in names.into_iter().enumerate() {
            self.define(scope, pos, name, results.as_ref().map(|results| results[idx]));
        }
        parsed
    }

    fn result_names(&mut self, names: &mut Vec<(Pos, Name<'t>)>) -> Parse<()> {
        loop {
            names.push(self.value_name("`%name = op`, `return` or `}`")?);
            if !self.eat(',') {
                return self.expect('=').map(|_| ());
            }
        }
    }

    /// What stands right of `=`. Gives the results, `n_results` of them, or `None` if the fault is known.
    fn operation(
        &mut self,
        scope: &mut Scope<'t>,
        graph: &mut Graph,
        start: Pos,
        n_results: usize,
        depth: usize,
    ) -> Parse<Option<Vec<Value>>> {
        let (pos, token) = self.next();
        let Token::Word(mnemonic) = token else { return Err(self.unexpected(pos, &token, "an op")) };
        if !TABLE.iter().any(|info| info.mnemonic == mnemonic) || mnemonic == "param" {
            return Err(self.unknown_op(pos, mnemonic));
        }
        let literal = if mnemonic == "constant" { Some(self.literal()?) } else { None };
        let operands = self.operands(scope)?;
        let attrs = self.attrs()?;
        let mut regions = Some(Vec::new());
        while self.eat('(') {
            let region = self.region(depth + 1)?;
            regions = regions.and_then(|mut regions| {
                regions.push(region?);
                Some(regions)
            });
        }
        let types_pos = self.pos();
        let types = if self.eat(':') { Some(self.types()?) } else { None };
        if let Some(types) = &types
            && types.len() != n_results
        {
            return Err(self.fault(types_pos, format!("{mnemonic}: {} types for {n_results} results", types.len())));
        }
        let (Some(operands), Some(regions)) = (operands, regions) else { return Ok(None) };

        let written = types.as_ref().and_then(|types| types.first());
        let op = match literal {
            Some(literal) => {
                AttrReader::new(attrs).finish().map_err(|fault| self.fault(fault.pos.unwrap_or(pos), fault.message))?;
                Op::Constant(self.constant(pos, literal, written)?)
            }
            None => {
                let operand_types: Vec<&TensorType> = operands.iter().map(|&operand| graph.ty(operand)).collect();
                op_from_text(mnemonic, &AttrReader::new(attrs), &operand_types, written)
                    .map_err(|fault| self.fault(fault.pos.unwrap_or(pos), format!("{mnemonic}: {}", fault.message)))?
                    .ok_or_else(|| self.unknown_op(pos, mnemonic))?
            }
        };
        let location = self.location(start);
        let node = match types {
            Some(types) => graph.push_typed(op, &operands, regions, types, location),
            None => graph.push_with_regions(op, &operands, regions, location)?,
        };
        let results: Vec<Value> = graph.node(node).results().collect();
        for &result in &results {
            graph.ty(result).check_size().map_err(|message| self.fault(start, format!("{mnemonic}: {message}")))?;
        }
        if results.len() != n_results {
            return Err(self.fault(start, format!("{mnemonic}: {} results for {n_results} names", results.len())));
        }
        Ok(Some(results))
    }

    /// Values with commas between. `None` if one of them is not known, which is recorded if it is news.
    fn operands(&mut self, scope: &Scope<'t>) -> Parse<Option<Vec<Value>>> {
        let mut operands = Some(Vec::new());
        if !matches!(self.ahead.1, Token::Value(_) | Token::Numbered(_)) {
            return Ok(operands);
        }
        loop {
            let (pos, name) = self.value_name("a value")?;
            let known = scope.values.get(&name);
            if known.is_none() && !scope.incomplete {
                let fault = self.undefined(scope, pos, &name);
                self.report(fault);
            }
            operands = operands.and_then(|mut operands| {
                operands.push(known?.1?);
                Some(operands)
            });
            if !self.eat(',') {
                return Ok(operands);
            }
        }
    }

    /// `{name = value, ...}`, or nothing.
    fn attrs(&mut self) -> Parse<Vec<Written<'t, Pos>>> {
        let mut attrs: Vec<Written<'t, Pos>> = Vec::new();
        if !self.eat('{') {
            return Ok(attrs);
        }
        self.list('}', |parser| {
            let (pos, token) = parser.next();
            let Token::Word(name) = token else { return Err(parser.unexpected(pos, &token, "an attribute's name")) };
            parser.expect('=')?;
            let attr = match (&parser.ahead.1, parser.peek_second()) {
                // Otherwise a symbol begins an expression.
                (&Token::Word(word), Token::Punct(',' | '}')) => {
                    parser.next();
                    Attr::Word(word)
                }
                _ => parser.attr(0)?,
            };
            if attrs.iter().any(|(written, ..)| *written == name) {
                return Err(parser.fault(pos, format!("attribute `{name}` is written twice")));
            }
            if attrs.len() == MAX_ATTRS {
                return Err(parser.fault(pos, format!("more than {MAX_ATTRS} attributes")));
            }
            attrs.push((name, attr, pos));
            Ok(())
        })?;
        Ok(attrs)
    }

    /// A number, a dimension, or a list of such, at most two deep.
    fn attr(&mut self, depth: usize) -> Parse<Attr<'t>> {
        if depth < 2 && self.eat('[') {
            let mut items = Vec::new();
            self.list(']', |parser| {
                items.push(parser.attr(depth + 1)?);
                Ok(())
            })?;
            return Ok(Attr::List(items));
        }
        Ok(Attr::Dim(self.dim_expr(0)?))
    }

    /// A region behind its `(`; `None` if it had faults, which are then recorded.
    fn region(&mut self, depth: usize) -> Parse<Option<Graph>> {
        if depth > MAX_REGION_DEPTH {
            return Err(self.fault(self.pos(), format!("regions are nested more than {MAX_REGION_DEPTH} deep")));
        }
        let (mut scope, mut graph) = (Scope::default(), Graph::new());
        let sound = self.recovering_list(')', |parser| parser.param(&mut scope, &mut graph).map(|_| ()))?;
        scope.incomplete = !sound;
        self.expect('{')?;
        let Some((_, results)) = self.block(&mut scope, &mut graph, depth) else { return Ok(None) };
        graph.set_results(results);
        Ok(sound.then_some(graph))
    }

    fn types(&mut self) -> Parse<Vec<TensorType>> {
        let mut types = vec![self.ty()?];
        while self.eat(',') {
            types.push(self.ty()?);
        }
        Ok(types)
    }

    fn value_name(&mut self, expected: &str) -> Parse<(Pos, Name<'t>)> {
        match self.next() {
            (pos, Token::Value(name)) => Ok((pos, Name::Text(name))),
            (pos, Token::Numbered(digits)) => match digits.parse() {
                Ok(number) => Ok((pos, Name::Number(number))),
                Err(_) => Err(self.fault(pos, format!("value number {digits} is too large"))),
            },
            (pos, token) => Err(self.unexpected(pos, &token, expected)),
        }
    }

    fn define(&mut self, scope: &mut Scope<'t>, pos: Pos, name: Name<'t>, value: Option<Value>) {
        if let Some(&(first, _)) = scope.values.get(&name) {
            let fault = self
                .fault(pos, format!("value `{name}` is defined twice"))
                .note_at(self.location(first), "first defined here");
            self.report(fault);
            return;
        }
        scope.values.insert(name, (pos, value));
    }

    fn undefined(&self, scope: &Scope<'t>, pos: Pos, name: &Name<'t>) -> Diagnostic {
        let fault = self.fault(pos, format!("undefined value `{name}`"));
        let Name::Text(text) = name else { return fault };
        // In order of the text, so that the hint does not depend on a hash.
        let near = scope.values.iter().filter_map(|(other, (pos, _))| match other {
            Name::Text(other) => {
                let distance = edit_distance(other, text);
                (distance <= text.len().min(9) / 3).then_some((distance, pos.offset, other))
            }
            Name::Number(_) => None,
        });
        match near.min() {
            Some((_, _, nearest)) => fault.note(format!("did you mean `{}`?", Name::Text(nearest.clone()))),
            None => fault,
        }
    }

    fn unknown_op(&self, pos: Pos, mnemonic: &str) -> Diagnostic {
        let fault = self.fault(pos, format!("unknown op `{mnemonic}`"));
        let nearest = TABLE
            .iter()
            .filter(|info| info.mnemonic != "param")
            .map(|info| (edit_distance(info.mnemonic, mnemonic), info.mnemonic))
            .min();
        match nearest {
            Some((distance, nearest)) if distance <= 1 + mnemonic.len().min(30) / 4 => {
                fault.note(format!("did you mean `{nearest}`?"))
            }
            _ => fault,
        }
    }
}

/// Number of insertions, deletions and replacements that turn one word into the other (Wagner and Fischer, 1974).
fn edit_distance(lhs: &str, rhs: &str) -> usize {
    // Words of very different lengths are far apart, and nobody mistypes a very long one.
    if lhs.len().abs_diff(rhs.len()) > 8 || rhs.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=rhs.len()).collect();
    for (lhs_idx, lhs_byte) in lhs.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], lhs_idx + 1);
        for (rhs_idx, rhs_byte) in rhs.bytes().enumerate() {
            let replaced = diagonal + usize::from(lhs_byte != rhs_byte);
            diagonal = row[rhs_idx + 1];
            row[rhs_idx + 1] = replaced.min(diagonal + 1).min(row[rhs_idx] + 1);
        }
    }
    row[rhs.len()]
}
