//! Carries a template out.

use super::functions::Function;
use super::lex::Fault;
use super::parse::{Base, Command, Node, Operand, Pipeline};
use super::value::Value;
use super::{OUTPUT_BYTES_MAX, STEPS_MAX};

/// What comes of a list of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Gives the text that a template makes of some data.
pub(super) fn run(nodes: &[Node], data: &Value) -> Result<String, Fault> {
    let variables = vec![(String::new(), data.clone())];
    let mut run = Run { out: String::new(), variables, steps: 0 };
    run.list(nodes, data)?;
    Ok(run.out)
}

struct Run {
    out: String,
    /// The innermost last. The first one has no name: it is all the data.
    variables: Vec<(String, Value)>,
    steps: usize,
}

impl Run {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            self.steps += 1;
            if self.steps > STEPS_MAX || self.out.len() > OUTPUT_BYTES_MAX {
                return Err((0, "the template does more than is allowed".to_owned()));
            }
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Fault> {
        let kept = self.variables.len();
        let flow = match node {
            Node::Text(text) => {
                self.out.push_str(text);
                return Ok(Flow::On);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Print(line, pipeline) => {
                let value = self.pipeline(pipeline, dot).map_err(|text| (*line, text))?;
                if pipeline.variables.is_empty() {
                    value.print(&mut self.out);
                }
                // A variable lives until its list ends.
                return Ok(Flow::On);
            }
            Node::If { line, test, then, otherwise } => {
                let value = self.pipeline(test, dot).map_err(|text| (*line, text))?;
                self.list(if value.is_true() { then } else { otherwise }, dot)
            }
            Node::With { line, test, then, otherwise } => {
                let value = self.pipeline(test, dot).map_err(|text| (*line, text))?;
                if value.is_true() { self.list(then, &value) } else { self.list(otherwise, dot) }
            }
            Node::Range { line, over, each, otherwise } => self.range(*line, over, each, otherwise, dot),
        };
        self.variables.truncate(kept);
        flow
    }

    fn range(
        &mut self,
        line: usize,
        over: &Pipeline,
        each: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let told = |text: String| (line, text);
        let value = self.commands(&over.commands, dot).map_err(told)?;
        let entries: Vec<(Value, Value)> = match value {
            Value::List(items) => {
                let number = |at| Value::Integer(i64::try_from(at).unwrap_or(i64::MAX));
                items.into_iter().enumerate().map(|(at, item)| (number(at), item)).collect()
            }
            Value::Map(entries, _) => {
                entries.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()
            }
            Value::Nil | Value::Absent => Vec::new(),
            other => return Err(told(format!("range can't iterate over a {}", other.kind()))),
        };
        if entries.is_empty() {
            return self.list(otherwise, dot);
        }
        let kept = self.variables.len();
        for (key, item) in entries {
            match over.variables.as_slice() {
                [one] => self.set(one, item.clone(), over.declares).map_err(told)?,
                [first, second] => {
                    self.set(first, key, over.declares).map_err(told)?;
                    self.set(second, item.clone(), over.declares).map_err(told)?;
                }
                _ => {}
            }
            let flow = self.list(each, &item)?;
            self.variables.truncate(kept);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(&pipeline.commands, dot)?;
        if let [variable] = pipeline.variables.as_slice() {
            self.set(variable, value.clone(), pipeline.declares)?;
        } else if !pipeline.variables.is_empty() {
            return Err("two variables are for range alone".to_owned());
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, value: Value, declares: bool) -> Result<(), String> {
        if declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        let known = known.ok_or_else(|| format!("undefined variable \"${name}\""))?;
        known.1 = value;
        Ok(())
    }

    fn commands(&mut self, commands: &[Command], dot: &Value) -> Result<Value, String> {
        let mut value = None;
        for command in commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        self.steps += 1;
        let Some((first, rest)) = command.words.split_first() else { return Ok(Value::Nil) };
        let Base::Function(function) = first.base else {
            if !rest.is_empty() || piped.is_some() {
                return Err("can't give argument to non-function".to_owned());
            }
            return self.operand(first, dot);
        };
        if !first.fields.is_empty() {
            return Err("a function has no fields".to_owned());
        }
        if let Function::And | Function::Or = function {
            return self.decide(function, rest, dot, piped);
        }
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        function.call(&arguments)
    }

    /// `and` gives the first that is not true, `or` the first that is; else the last. What is behind it is not looked at.
    fn decide(
        &mut self,
        function: Function,
        operands: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let mut last = None;
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if value.is_true() == (function == Function::Or) {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| format!("wrong number of args for {function:?}: want at least 1 got 0"))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                known
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| format!("undefined variable \"${name}\""))?
            }
            Base::Function(function) => function.call(&[])?,
            Base::Nil => Value::Nil,
            Base::Bool(is) => Value::Bool(*is),
            Base::Integer(number) => Value::Integer(*number),
            Base::Text(text) => Value::Text(text.clone()),
            Base::Inner(pipeline) => self.pipeline(pipeline, dot)?,
        };
        operand.fields.iter().try_fold(base, |value, name| value.field(name))
    }
}
