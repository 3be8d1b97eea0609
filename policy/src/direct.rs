//! Expressions of simple shape, evaluated on the facts themselves.
//!
//! CEL wants the facts as values of its own, and looks names, functions and overloads up anew each time; a rule that asks
//! `call.to.type == 'did'` needs none of it, and is settled here. What is not settled here, CEL decides, and what goes
//! wrong is never settled here: so there is one place that knows what an error is, and none knows it twice.

use cel::Value;
use cel::common::ast::operators;
use cel::common::ast::{CallExpr, Expr, LiteralValue};
use cel::parser::Expression as Ast;
use serde_json::Value as Json;

use crate::expression::path;
use crate::functions::{begins, country_of, micros_of, percent_of};
use crate::variables::Variables;

/// An expression as far as it is simple.
#[derive(Debug)]
pub(crate) enum Direct {
    Truth(bool),
    Number(i64),
    Text(String),
    Fact(Vec<String>),
    /// `has(call.to.type)`: the record, and the field it may have.
    Has(Vec<String>, String),
    Not(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    /// `a ? b : c`.
    Choice(Box<[Self; 3]>),
    Compare(Comparison, Box<[Self; 2]>),
    Search(Search, Box<[Self; 2]>),
    /// `x in ['a', 'b']`.
    Among(Box<Self>, Vec<String>),
    /// `x in lists.name`.
    OnList(Box<Self>, String),
    Country(Box<Self>),
    Percent(Box<Self>),
    /// CEL's to say.
    Unsettled,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is looked for in a text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Search {
    Start,
    End,
    Anywhere,
    /// `prefix(number, '+46')`.
    Prefix,
}

/// A value that needs no room of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain<'a> {
    Truth(bool),
    Number(i64),
    Text(&'a str),
}

impl Direct {
    pub(crate) fn of(node: &Ast) -> Self {
        let settled = match &node.expr {
            Expr::Literal(literal) => Self::literal(literal),
            Expr::Select(select) if select.test => {
                path(&select.operand).map(|record| Self::Has(owned(&record), select.field.clone()))
            }
            Expr::Ident(_) | Expr::Select(_) => path(node).map(|path| Self::Fact(owned(&path))),
            Expr::Call(call) => Self::call(node, call),
            Expr::Comprehension(_) | Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => None,
        };
        settled.unwrap_or(Self::Unsettled)
    }

    fn literal(literal: &LiteralValue) -> Option<Self> {
        match literal {
            LiteralValue::Boolean(truth) => Some(Self::Truth(*truth.inner())),
            LiteralValue::Int(number) => Some(Self::Number(*number.inner())),
            LiteralValue::String(text) => Some(Self::Text(text.inner().to_owned())),
            LiteralValue::Bytes(_) | LiteralValue::Double(_) | LiteralValue::Null | LiteralValue::UInt(_) => None,
        }
    }

    fn call(node: &Ast, call: &CallExpr) -> Option<Self> {
        let of = |node| Box::new(Self::of(node));
        let pair = |left, right| Box::new([Self::of(left), Self::of(right)]);
        let compare = |comparison, left, right| Some(Self::Compare(comparison, pair(left, right)));
        let search = |search, text, sought| Some(Self::Search(search, pair(text, sought)));
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, None, [truth]) => Some(Self::Not(of(truth))),
            (operators::LOGICAL_AND, None, [left, right]) => Some(Self::And(pair(left, right))),
            (operators::LOGICAL_OR, None, [left, right]) => Some(Self::Or(pair(left, right))),
            (operators::CONDITIONAL, None, [condition, then, otherwise]) => {
                Some(Self::Choice(Box::new([Self::of(condition), Self::of(then), Self::of(otherwise)])))
            }
            (operators::EQUALS, None, [left, right]) => compare(Comparison::Equal, left, right),
            (operators::NOT_EQUALS, None, [left, right]) => compare(Comparison::NotEqual, left, right),
            (operators::LESS, None, [left, right]) => compare(Comparison::Less, left, right),
            (operators::LESS_EQUALS, None, [left, right]) => compare(Comparison::LessOrEqual, left, right),
            (operators::GREATER, None, [left, right]) => compare(Comparison::Greater, left, right),
            (operators::GREATER_EQUALS, None, [left, right]) => compare(Comparison::GreaterOrEqual, left, right),
            (operators::IN, None, [value, set]) => match (path(set).as_deref(), &set.expr) {
                (Some(["lists", list]), _) => Some(Self::OnList(of(value), (*list).to_owned())),
                (_, Expr::List(list)) if list.optional_indices.is_empty() => {
                    Some(Self::Among(of(value), list.elements.iter().map(text).collect::<Option<_>>()?))
                }
                _ => None,
            },
            (operators::INDEX, None, _) => path(node).map(|path| Self::Fact(owned(&path))),
            ("startsWith", Some(text), [sought]) => search(Search::Start, text, sought),
            ("endsWith", Some(text), [sought]) => search(Search::End, text, sought),
            ("contains", Some(text), [sought]) => search(Search::Anywhere, text, sought),
            ("prefix", None, [number, prefix]) => search(Search::Prefix, number, prefix),
            ("money", None, [amount]) => micros_of(&text(amount)?).map(Self::Number),
            ("country", None, [number]) => Some(Self::Country(of(number))),
            ("percent", None, [text]) => Some(Self::Percent(of(text))),
            _ => None,
        }
    }

    /// The value, where it can be told. CEL gives the same, or this gives none.
    pub(crate) fn evaluate(&self, variables: &Variables<'_>) -> Option<Value> {
        self.plain(variables).map(|plain| match plain {
            Plain::Truth(truth) => Value::Bool(truth),
            Plain::Number(number) => Value::Int(number),
            Plain::Text(text) => Value::from(text),
        })
    }

    fn plain<'v>(&'v self, variables: &'v Variables<'_>) -> Option<Plain<'v>> {
        Some(match self {
            Self::Truth(truth) => Plain::Truth(*truth),
            Self::Number(number) => Plain::Number(*number),
            Self::Text(text) => Plain::Text(text),
            Self::Fact(path) => match variables.fact(path)? {
                Json::Bool(truth) => Plain::Truth(*truth),
                Json::Number(number) => Plain::Number(number.as_i64()?),
                Json::String(text) => Plain::Text(text),
                Json::Null | Json::Array(_) | Json::Object(_) => return None,
            },
            Self::Has(record, field) => Plain::Truth(variables.fact(record)?.as_object()?.contains_key(field)),
            Self::Not(truth) => Plain::Truth(!truth.truth(variables)?),
            Self::And(both) => Plain::Truth(both[0].truth(variables)? && both[1].truth(variables)?),
            Self::Or(either) => Plain::Truth(either[0].truth(variables)? || either[1].truth(variables)?),
            Self::Choice(choice) => {
                let [condition, then, otherwise] = &**choice;
                return if condition.truth(variables)? { then.plain(variables) } else { otherwise.plain(variables) };
            }
            Self::Compare(comparison, pair) => {
                Plain::Truth(comparison.holds(pair[0].plain(variables)?, pair[1].plain(variables)?)?)
            }
            Self::Search(search, pair) => {
                // CEL works out arguments before what a method is called on; lists note who asked first.
                let sought = pair[1].text(variables)?;
                Plain::Truth(search.finds(pair[0].text(variables)?, sought))
            }
            Self::Among(value, texts) => {
                let value = value.text(variables)?;
                Plain::Truth(texts.iter().any(|text| text == value))
            }
            Self::OnList(value, list) => Plain::Truth(variables.on_list(list, value.text(variables)?)?),
            Self::Country(number) => Plain::Text(country_of(number.text(variables)?)),
            Self::Percent(text) => Plain::Number(percent_of(text.text(variables)?)),
            Self::Unsettled => return None,
        })
    }

    fn truth(&self, variables: &Variables<'_>) -> Option<bool> {
        match self.plain(variables)? {
            Plain::Truth(truth) => Some(truth),
            Plain::Number(_) | Plain::Text(_) => None,
        }
    }

    fn text<'v>(&'v self, variables: &'v Variables<'_>) -> Option<&'v str> {
        match self.plain(variables)? {
            Plain::Text(text) => Some(text),
            Plain::Truth(_) | Plain::Number(_) => None,
        }
    }
}

impl Comparison {
    /// Values of two kinds are not compared here, nor is the order of truth values.
    fn holds(self, left: Plain<'_>, right: Plain<'_>) -> Option<bool> {
        let order = match (left, right) {
            (Plain::Number(left), Plain::Number(right)) => left.cmp(&right),
            (Plain::Text(left), Plain::Text(right)) => left.cmp(right),
            (Plain::Truth(left), Plain::Truth(right)) if matches!(self, Self::Equal | Self::NotEqual) => {
                left.cmp(&right)
            }
            (Plain::Truth(_) | Plain::Number(_) | Plain::Text(_), _) => return None,
        };
        Some(match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

impl Search {
    fn finds(self, text: &str, sought: &str) -> bool {
        match self {
            Self::Start => text.starts_with(sought),
            Self::End => text.ends_with(sought),
            Self::Anywhere => text.contains(sought),
            Self::Prefix => begins(text, sought),
        }
    }
}

fn text(node: &Ast) -> Option<String> {
    if let Expr::Literal(LiteralValue::String(text)) = &node.expr { Some(text.inner().to_owned()) } else { None }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|segment| (*segment).to_owned()).collect()
}

#[cfg(test)]
mod tests;
