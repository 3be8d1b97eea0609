//! One CEL expression: parsed and checked when the file is loaded, evaluated for each call.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::common::ast::operators;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo};
use cel::parser::{Expression as Ast, Parser};
use cel::{Context, Value};

use crate::direct::Direct;
use crate::explanation::ERROR_MAX_CHARS;
use crate::functions::{FUNCTIONS, OWN, WEIGHT_MAX};
use crate::names::{Defined, Scope};
use crate::variables::Variables;

/// Longest expression, in bytes: also the bound of what the parser's and evaluator's recursion can reach.
const LENGTH_MAX: usize = 1_000;
/// Deepest nesting of an expression as written, and of what it is parsed into.
const DEPTH_MAX: u16 = 24;
const TREE_DEPTH_MAX: usize = 100;

const MACROS: &[&str] = &["has", "all", "exists", "exists_one"];

/// A parsed expression and what it reads.
#[derive(Debug)]
pub(crate) struct Expression {
    ast: Ast,
    pub(crate) direct: Direct,
    /// Dotted names of facts, sorted.
    pub(crate) reads: Arc<[String]>,
    /// Texts that `menu.value` is compared with, and their place in the expression.
    pub(crate) menu_values: Vec<(String, usize)>,
}

/// Something wrong in an expression, at a byte offset into it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Expression {
    /// Parses and checks; all faults are reported.
    pub(crate) fn parse(source: &str, scope: Scope, defined: &Defined) -> Result<Self, Vec<Fault>> {
        if source.trim().is_empty() {
            return Err(vec![Fault { at: 0, what: "the expression is empty".to_owned(), hint: None }]);
        }
        if source.len() > LENGTH_MAX {
            let what = format!("an expression holds at most {LENGTH_MAX} bytes");
            return Err(vec![Fault { at: 0, what, hint: Some("split the rule, or use a list".to_owned()) }]);
        }
        let parser = Parser::new().max_recursion_depth(DEPTH_MAX);
        let (ast, positions) =
            parser.parse_with_source_info(source).map_err(|errors| syntax_faults(source, &errors))?;
        let mut lint = Lint {
            source,
            positions: &positions,
            scope,
            defined,
            locals: Vec::new(),
            reads: BTreeSet::new(),
            menu_values: Vec::new(),
            faults: Vec::new(),
        };
        lint.walk(&ast, 0);
        let Lint { reads, menu_values, faults, .. } = lint;
        if !faults.is_empty() {
            return Err(faults);
        }
        let direct = Direct::of(&ast);
        Ok(Self { ast, direct, reads: reads.into_iter().collect(), menu_values })
    }

    pub(crate) fn evaluate(&self, variables: &Variables<'_>) -> Result<Value, String> {
        self.direct.evaluate(variables).map_or_else(|| self.evaluate_in_cel(variables), Ok)
    }

    pub(crate) fn evaluate_in_cel(&self, variables: &Variables<'_>) -> Result<Value, String> {
        self.resolve(variables.context())
    }

    /// In a context of the caller's own.
    pub(crate) fn resolve(&self, context: &Context<'_, '_>) -> Result<Value, String> {
        context.resolve(&self.ast).map_err(|error| error.to_string().chars().take(ERROR_MAX_CHARS).collect())
    }

    pub(crate) fn reads_under(&self, name: &str) -> bool {
        self.reads
            .iter()
            .any(|read| read.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

fn syntax_faults(source: &str, errors: &cel::ParseErrors) -> Vec<Fault> {
    let fault = |error: &cel::ParseError| {
        let (line, column) = (usize::try_from(error.pos.0).unwrap_or(1), usize::try_from(error.pos.1).unwrap_or(1));
        let line_at: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = source.get(line_at..).unwrap_or_default();
        let within = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
        let what = error.msg.split(" expecting").next().unwrap_or_default();
        let what = what.strip_prefix("Syntax error: ").unwrap_or(what);
        let what = if what.ends_with("'<EOF>'") { "it ends too early" } else { what };
        Fault { at: line_at + within, what: format!("not a CEL expression: {what}"), hint: None }
    };
    errors.errors.iter().take(1).map(fault).collect()
}

/// Walks the parsed expression and notes what it reads and what is wrong with it.
struct Lint<'a> {
    source: &'a str,
    positions: &'a SourceInfo,
    scope: Scope,
    defined: &'a Defined,
    /// Variables of the comprehensions around this place.
    locals: Vec<&'a str>,
    reads: BTreeSet<String>,
    menu_values: Vec<(String, usize)>,
    faults: Vec<Fault>,
}

impl<'a> Lint<'a> {
    fn walk(&mut self, node: &'a Ast, depth: usize) {
        if depth > TREE_DEPTH_MAX {
            return self.fault(node, "the expression is nested too deeply", Some("split the rule"));
        }
        let depth = depth + 1;
        match &node.expr {
            Expr::Ident(_) | Expr::Select(_) => self.name(node, depth),
            Expr::Call(call) => self.call(node, call, depth),
            Expr::Comprehension(comprehension) => self.comprehension(node, comprehension, depth),
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element, depth)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            self.walk(&entry.key, depth);
                            self.walk(&entry.value, depth);
                        }
                        EntryExpr::StructField(field) => self.walk(&field.value, depth),
                    }
                }
            }
            Expr::Struct(_) => self.fault(node, "there are no message types here", None),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn call(&mut self, node: &'a Ast, call: &'a CallExpr, depth: usize) {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::IN, [value, list]) if path(list).is_some_and(|path| path[0] == "lists") => {
                self.walk(value, depth);
                return self.list(list);
            }
            (operators::EQUALS | operators::NOT_EQUALS | operators::IN, [left, right]) => {
                self.menu_value(left, right);
                self.menu_value(right, left);
            }
            (operators::INDEX, [_, _]) if path(node).is_some() => return self.name(node, depth),
            ("matches", [.., pattern]) => self.pattern(pattern),
            ("prefix", [_, prefix]) => self.prefix(prefix),
            ("pick", [_, choices]) => self.choices(choices),
            _ => {}
        }
        let name = call.func_name.as_str();
        let operator = name.contains(['_', '@']) && !name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !operator && !FUNCTIONS.contains(&name) {
            let known: Vec<&str> = FUNCTIONS.iter().chain(MACROS).copied().collect();
            let hint = crate::errors::suggestion(name, &known);
            self.fault(node, format!("unknown function {}", crate::errors::quoted(name)), Some(&hint));
        }
        if let Some((_, written, count)) = OWN.iter().find(|(own, ..)| *own == name)
            && (call.target.is_some() || call.args.len() != *count)
        {
            self.fault(node, format!("not how {name} is written"), Some(&format!("write {written}")));
        }
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            self.walk(part, depth);
        }
    }

    /// A pattern is the policy's own, never a caller's, and it is tried here so that it cannot fail when a call waits.
    fn pattern(&mut self, node: &'a Ast) {
        let Expr::Literal(LiteralValue::String(pattern)) = &node.expr else {
            return self.fault(node, "a pattern is constant text", Some("write it between quotes"));
        };
        let mut context = Context::default();
        context.add_variable_from_value("pattern", pattern.inner());
        if let Ok(trial) = Parser::new().parse("''.matches(pattern)")
            && context.resolve(&trial).is_err()
        {
            self.fault(node, "not a regular expression", Some("check its brackets and escapes"));
        }
    }

    fn prefix(&mut self, node: &'a Ast) {
        let Expr::Literal(LiteralValue::String(prefix)) = &node.expr else {
            return self.fault(node, "a prefix is constant text", Some("write it between quotes"));
        };
        let digits = prefix.inner().strip_prefix('+').unwrap_or(prefix.inner());
        if !(1..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            self.fault(node, "not a prefix of numbers", Some("write '+46'"));
        }
    }

    /// Constant, so that a weight cannot be wrong when a call waits.
    fn choices(&mut self, node: &'a Ast) {
        let weight = |entry: &EntryExpr| match entry {
            EntryExpr::MapEntry(entry) => match (&entry.key.expr, &entry.value.expr) {
                (Expr::Literal(LiteralValue::String(_)), Expr::Literal(LiteralValue::Int(weight))) => {
                    Some(*weight.inner()).filter(|weight| (0..=WEIGHT_MAX).contains(weight))
                }
                _ => None,
            },
            EntryExpr::StructField(_) => None,
        };
        let Expr::Map(map) = &node.expr else {
            return self.fault(node, "pick wants choices with weights", Some("write {'a': 70, 'b': 30}"));
        };
        let weights: Option<Vec<i64>> = map.entries.iter().map(|entry| weight(&entry.expr)).collect();
        if weights.is_none_or(|weights| weights.iter().sum::<i64>() == 0) {
            let hint = format!("write {{'a': 70, 'b': 30}}: constant texts, whole numbers up to {WEIGHT_MAX}");
            self.fault(node, "not choices with weights", Some(&hint));
        }
    }

    /// `all`, `exists` and `exists_one` run once over what a callback holds. A loop in a loop, or one that builds a list,
    /// would let a hostile callback keep a worker busy.
    fn comprehension(&mut self, node: &'a Ast, loops: &'a ComprehensionExpr, depth: usize) {
        if matches!(loops.accu_init.expr, Expr::List(_) | Expr::Map(_)) {
            self.fault(node, "map and filter are not available", Some("use all, exists or exists_one"));
        }
        if !self.locals.is_empty() {
            self.fault(node, "a loop inside a loop is not available", Some("split the rule"));
            return;
        }
        self.walk(&loops.iter_range, depth);
        self.locals.push(&loops.iter_var);
        self.locals.extend(loops.iter_var2.as_deref());
        self.locals.push(&loops.accu_var);
        for part in [&loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
            self.walk(part, depth);
        }
        self.locals.clear();
    }

    fn name(&mut self, node: &'a Ast, depth: usize) {
        let named = if let Expr::Select(select) = &node.expr
            && select.test
        {
            path(&select.operand).map(|record| [record, vec![select.field.as_str()]].concat())
        } else {
            path(node)
        };
        let Some(path) = named else {
            return match &node.expr {
                Expr::Select(select) => self.walk(&select.operand, depth),
                Expr::Ident(_)
                | Expr::Call(_)
                | Expr::Comprehension(_)
                | Expr::List(_)
                | Expr::Literal(_)
                | Expr::Map(_)
                | Expr::Struct(_)
                | Expr::Unspecified => {}
            };
        };
        if self.locals.contains(&path[0]) || path[0].starts_with('@') {
            return;
        }
        if path[0] == "lists" {
            return self.fault(
                node,
                "a list can only be asked whether it holds a value",
                Some("write x in lists.name"),
            );
        }
        match self.scope.check(&path, self.defined) {
            Ok(()) => {
                self.reads.insert(path.join("."));
            }
            Err(unknown) => self.fault(base(node), unknown.what, Some(&unknown.hint)),
        }
    }

    fn list(&mut self, node: &'a Ast) {
        let path = path(node).unwrap_or_default();
        match path.as_slice() {
            [_, name] if self.defined.lists.contains_key(*name) => {
                self.reads.insert(path.join("."));
            }
            [_, name] => {
                let known: Vec<&str> = self.defined.lists.keys().map(String::as_str).collect();
                let hint = crate::errors::suggestion(name, &known);
                self.fault(base(node), format!("there is no list {}", crate::errors::quoted(name)), Some(&hint));
            }
            _ => self.fault(node, "name one list", Some("write x in lists.name")),
        }
    }

    fn menu_value(&mut self, name: &'a Ast, value: &'a Ast) {
        if path(name).is_none_or(|path| path != ["menu", "value"]) {
            return;
        }
        let literals =
            if let Expr::List(list) = &value.expr { list.elements.as_slice() } else { std::slice::from_ref(value) };
        for literal in literals {
            if let Expr::Literal(LiteralValue::String(text)) = &literal.expr {
                let at = self.offset(literal);
                self.menu_values.push((text.inner().to_owned(), at));
            }
        }
    }

    fn offset(&self, node: &Ast) -> usize {
        let start = self.positions.offset_for(node.id).map_or(0, |(start, _)| start as usize);
        self.source.char_indices().nth(start).map_or(0, |(at, _)| at)
    }

    fn fault(&mut self, node: &Ast, what: impl Into<String>, hint: Option<&str>) {
        let at = self.offset(node);
        self.faults.push(Fault { at, what: what.into(), hint: hint.map(str::to_owned) });
    }
}

/// `call.to.type` and `call.memory['x']` as segments; `None` for what is no name.
pub(crate) fn path(node: &Ast) -> Option<Vec<&str>> {
    let mut segments = Vec::new();
    let mut node = node;
    loop {
        match &node.expr {
            Expr::Ident(name) => {
                segments.push(name.as_str());
                segments.reverse();
                return Some(segments);
            }
            Expr::Select(select) if !select.test => {
                segments.push(select.field.as_str());
                node = &select.operand;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [operand, index] = call.args.as_slice() else { return None };
                let Expr::Literal(LiteralValue::String(key)) = &index.expr else { return None };
                segments.push(key.inner());
                node = operand;
            }
            Expr::Select(_)
            | Expr::Call(_)
            | Expr::Comprehension(_)
            | Expr::List(_)
            | Expr::Literal(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Unspecified => return None,
        }
    }
}

/// The first name of a dotted one: where a reader looks for it.
fn base(node: &Ast) -> &Ast {
    match &node.expr {
        Expr::Select(select) => base(&select.operand),
        Expr::Call(call) if call.func_name == operators::INDEX && !call.args.is_empty() => base(&call.args[0]),
        Expr::Ident(_)
        | Expr::Call(_)
        | Expr::Comprehension(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Unspecified => node,
    }
}
