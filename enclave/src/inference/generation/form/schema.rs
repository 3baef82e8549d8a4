//! A JSON schema (draft 2020-12) that an answer can be held to.
//!
//! Keywords that are not held to are refused by their names: an answer that passes a schema of which a part was left out would be worse
//! than none. A keyword of nobody's is refused too, since it is likely one that is mistyped.

use core::fmt;
use serde_json::{Value, json};
use strongroom_wire::{Code, Refusal, Result, limits};

/// Keywords that are held to and have no schemas in them, and those that only describe.
const PLAIN: [&str; 19] = [
    "type",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "$anchor",
    "$comment",
    "title",
    "description",
    "default",
    "readOnly",
    "writeOnly",
    "examples",
    "contentMediaType",
    "contentEncoding",
];
/// Keywords of JSON Schema, or of what goes by its name, that are not held to.
const NOT_HELD_TO: [&str; 24] = [
    "$schema",
    "$id",
    "id",
    "additionalItems",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "nullable",
    "discriminator",
];
/// The draft that schemas are of, where they say it.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// 2^53: from here on, binary64 does not have each whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// The digits of `multipleOf`, as a number, at the most.
const MULTIPLE: u32 = 100;

/// A schema all of whose keywords are held to. `Debug` does not print it.
pub struct Schema {
    pub(super) value: Value,
    parts: usize,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Any object.
    pub fn object() -> Self {
        Self { value: json!({"type": "object"}), parts: 1 }
    }

    /// Reads a schema. That something follows it is not looked at.
    ///
    /// # Errors
    /// `request-invalid` it has a keyword that is not held to, which is named, or is no schema; `too-large` it is over
    /// [`limits::SCHEMA`], [`limits::SCHEMA_DEPTH`] or [`limits::SCHEMA_PARTS`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > limits::SCHEMA {
            return Err(Refusal::too_large("bytes of a schema", text.len(), limits::SCHEMA));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| invalid("schema", "an object or a boolean"))?;
        let mut walk = Walk::default();
        walk.verify(&value, 0)?;
        Ok(Self { value, parts: walk.parts })
    }
}

impl Schema {
    /// How many schemas it is made of.
    pub const fn parts(&self) -> usize {
        self.parts
    }

    /// Whether it says by itself that what follows it is an object.
    pub fn is_of_objects(&self) -> bool {
        self.value.get("type").is_some_and(|name| name == "object")
    }
}

fn invalid(what: &str, want: &str) -> Refusal {
    Refusal::new(Code::RequestInvalid, what).want(want)
}

/// What was met on the way through a schema.
#[derive(Default)]
struct Walk {
    parts: usize,
    values: usize,
    multiple: Option<String>,
}

impl Walk {
    fn verify(&mut self, schema: &Value, depth: usize) -> Result<()> {
        if depth > limits::SCHEMA_DEPTH {
            return Err(Refusal::too_large("schemas in one another", depth, limits::SCHEMA_DEPTH));
        }
        self.count(1)?;
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(members) => {
                members.iter().try_for_each(|(keyword, value)| self.member(keyword, value, depth.saturating_add(1)))
            }
            _ => Err(invalid("schema", "an object or a boolean")),
        }
    }

    fn member(&mut self, keyword: &str, value: &Value, depth: usize) -> Result<()> {
        match (keyword, value) {
            ("prefixItems" | "anyOf" | "oneOf" | "allOf", Value::Array(schemas)) => {
                schemas.iter().try_for_each(|schema| self.verify(schema, depth))
            }
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| self.verify(schema, depth))
            }
            ("items" | "additionalProperties", schema) => self.verify(schema, depth),
            // Of another draft, keywords mean something else, or nothing.
            ("$schema", Value::String(draft)) if draft.trim_end_matches('#') == DRAFT => Ok(()),
            // Further in, it would change what references mean.
            ("$id", Value::String(_)) if depth == 1 => Ok(()),
            ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", number) => exact(number),
            ("multipleOf", number) => self.multiple(number),
            ("required", Value::Array(names)) => self.count(names.len()),
            ("const" | "enum", wanted) => {
                exact(wanted)?;
                let (parts, values) = members(wanted);
                self.values = self.values.saturating_add(values);
                if self.values > limits::SCHEMA_VALUES {
                    return Err(Refusal::too_large("values of a schema", self.values, limits::SCHEMA_VALUES));
                }
                self.count(parts)
            }
            // What is not walked through is not referred to: it would be held to unseen.
            ("$ref", Value::String(to)) => {
                let name = to.strip_prefix("#/$defs/").or_else(|| to.strip_prefix("#/definitions/"));
                if to == "#" || name.is_some_and(|name| !name.contains('/')) {
                    return Ok(());
                }
                Err(invalid("$ref", "`#`, or `#/$defs/…` of a name without slashes"))
            }
            (keyword, _) if PLAIN.contains(&keyword) => Ok(()),
            // Only names that are everybody's are told: others are of the caller's text.
            (keyword, _) => Err(NOT_HELD_TO.iter().find(|name| **name == keyword).map_or_else(
                || invalid("keyword of a schema", "one of JSON Schema, with the value that it wants"),
                |name| invalid(name, "nothing: it is not held to"),
            )),
        }
    }

    fn count(&mut self, parts: usize) -> Result<()> {
        self.parts = self.parts.saturating_add(parts);
        if self.parts > limits::SCHEMA_PARTS {
            return Err(Refusal::too_large("parts of a schema", "more", limits::SCHEMA_PARTS));
        }
        Ok(())
    }

    /// One number alone, of few digits: each remainder is a state, and of two numbers each pair of remainders.
    fn multiple(&mut self, number: &Value) -> Result<()> {
        let written = number.as_number().map(ToString::to_string).unwrap_or_default();
        let digits: String = written.split(['e', 'E']).next().unwrap_or_default().replace('.', "");
        let is_short = digits.trim_matches('0').parse::<u32>().is_ok_and(|digits| digits <= MULTIPLE);
        if !is_short || self.multiple.get_or_insert_with(|| written.clone()) != &written {
            return Err(invalid("multipleOf", "one number in all of a schema, whose digits make 100 at most"));
        }
        Ok(())
    }
}

/// The lists, objects and their members in `value`, and the texts, numbers and others, which are alternatives of letters alone.
fn members(value: &Value) -> (usize, usize) {
    let add = |(parts, values): (usize, usize), (more, others): (usize, usize)| {
        (parts.saturating_add(more), values.saturating_add(others))
    };
    match value {
        Value::Array(list) => list
            .iter()
            .map(|member| match member {
                Value::Array(_) | Value::Object(_) => add((1, 0), members(member)),
                _ => (0, 1),
            })
            .fold((0, 0), add),
        Value::Object(map) => map.values().map(members).fold((map.len(), 0), add),
        _ => (0, 1),
    }
}

/// That all numbers in `value` are the same as binary64, which is what they are held to as.
fn exact(value: &Value) -> Result<()> {
    match value {
        Value::Number(number) if number.as_f64().is_none_or(|number| number.abs() >= EXACT) => {
            Err(invalid("number in a schema", "one below 2^53, which binary64 has exactly"))
        }
        Value::Array(list) => list.iter().try_for_each(exact),
        Value::Object(map) => map.values().try_for_each(exact),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
