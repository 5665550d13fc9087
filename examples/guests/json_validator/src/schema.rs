//! The part of JSON Schema that is understood. A keyword that is not is refused, never skipped: a skipped
//! constraint would call an invalid document valid.
//!
//! Understood: `true`/`false`, `type`, `enum`, `const`, the number, string, array and object bounds, `pattern`,
//! `items`, `prefixItems`, `contains` (with `minContains`, `maxContains`), `uniqueItems`, `properties`,
//! `patternProperties`, `additionalProperties`, `propertyNames`, `required`, `dependentRequired`,
//! `dependentSchemas`, `allOf`, `anyOf`, `oneOf`, `not`, `if`/`then`/`else`, and `$ref` within the document
//! (`#` and `#/…`). `format` and the other annotations say nothing about validity, as the standard has it.
//! Not understood: `$ref` elsewhere, `$dynamicRef`, `$anchor`, `unevaluated…`, Unicode classes in patterns.

use regex_lite::Regex;
use serde::Serialize;
use serde_json::{Map, Number, Value};

/// One place where the document does not fit.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// JSON Pointer (RFC 6901) into the document.
    pub path: String,
    /// What is expected there.
    pub message: String,
}

/// How deep schemas may go into each other: enough for a `$ref` at each of the 127 levels that a document can
/// have. A `$ref` to itself never ends.
const MAX_DEPTH: usize = 300;

const ANNOTATIONS: [&str; 16] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
];

type Checked = Result<(), String>;

/// A schema to validate against.
pub struct Validator<'a> {
    root: &'a Value,
}

struct Run<'a> {
    root: &'a Value,
    findings: Vec<Finding>,
}

impl<'a> Validator<'a> {
    /// Takes a schema document.
    pub fn new(root: &'a Value) -> Result<Self, String> {
        if root.is_object() || root.is_boolean() {
            Ok(Self { root })
        } else {
            Err("`schema` must be an object or a boolean".to_owned())
        }
    }

    /// Where `document` does not fit. An error is a schema that cannot be understood.
    pub fn validate(&self, document: &Value) -> Result<Vec<Finding>, String> {
        let mut run = Run { root: self.root, findings: Vec::new() };
        run.check(self.root, document, "", 0)?;
        Ok(run.findings)
    }
}

impl<'a> Run<'a> {
    fn check(&mut self, schema: &'a Value, value: &Value, path: &str, depth: usize) -> Checked {
        if depth > MAX_DEPTH {
            return Err("the schema refers to itself too deeply".to_owned());
        }
        let schema = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => {
                self.find(path, "nothing is allowed here");
                return Ok(());
            }
            Value::Object(schema) => schema,
            _ => return Err("a schema must be an object or a boolean".to_owned()),
        };
        for (keyword, rule) in schema {
            self.keyword(schema, keyword, rule, value, path, depth + 1)?;
        }
        Ok(())
    }

    fn keyword(
        &mut self,
        schema: &'a Map<String, Value>,
        keyword: &str,
        rule: &'a Value,
        value: &Value,
        path: &str,
        depth: usize,
    ) -> Checked {
        match keyword {
            "$ref" => self.check(self.resolve(rule)?, value, path, depth),
            "type" => self.kind(rule, value, path),
            "enum" => {
                let fits = list(keyword, rule)?.iter().any(|allowed| equal(allowed, value));
                self.expect(fits, path, || format!("must be one of {rule}"));
                Ok(())
            }
            "const" => {
                self.expect(equal(rule, value), path, || format!("must be {rule}"));
                Ok(())
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                self.number(keyword, rule, value, path)
            }
            "minLength" | "maxLength" | "pattern" => self.text(keyword, rule, value, path),
            "items" | "prefixItems" | "contains" | "minItems" | "maxItems" | "uniqueItems" => {
                self.array(schema, keyword, rule, value, path, depth)
            }
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "propertyNames"
            | "required"
            | "minProperties"
            | "maxProperties"
            | "dependentRequired"
            | "dependentSchemas" => self.object(schema, keyword, rule, value, path, depth),
            "allOf" | "anyOf" | "oneOf" | "not" | "if" => {
                self.combined(schema, keyword, rule, value, path, depth)
            }
            "then" | "else" | "minContains" | "maxContains" => Ok(()),
            annotation if ANNOTATIONS.contains(&annotation) => Ok(()),
            unknown => Err(format!("the schema keyword `{unknown}` is not supported")),
        }
    }

    fn kind(&mut self, rule: &Value, value: &Value, path: &str) -> Checked {
        let fits = match rule {
            Value::String(name) => has_type(name, value)?,
            Value::Array(names) => {
                let mut fits = false;
                for name in names {
                    fits |= has_type(name.as_str().ok_or("`type` must name types")?, value)?;
                }
                fits
            }
            _ => return Err("`type` must name types".to_owned()),
        };
        self.expect(fits, path, || format!("must be of type {rule}"));
        Ok(())
    }

    fn number(&mut self, keyword: &str, rule: &Value, value: &Value, path: &str) -> Checked {
        let Value::Number(bound) = rule else { return Err(format!("`{keyword}` must be a number")) };
        let Value::Number(number) = value else { return Ok(()) };
        let order = compare(number, bound);
        let fits = match keyword {
            "minimum" => order.is_ge(),
            "maximum" => order.is_le(),
            "exclusiveMinimum" => order.is_gt(),
            "exclusiveMaximum" => order.is_lt(),
            _ => is_multiple(number, bound)?,
        };
        self.expect(fits, path, || format!("{value} does not keep `{keyword}` {bound}"));
        Ok(())
    }

    fn text(&mut self, keyword: &str, rule: &Value, value: &Value, path: &str) -> Checked {
        let fits = match (keyword, value) {
            ("pattern", _) => {
                let pattern = regex(rule)?;
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            (_, Value::String(text)) => within(keyword, rule, text.chars().count())?,
            _ => true,
        };
        self.expect(fits, path, || format!("does not keep `{keyword}` {rule}"));
        Ok(())
    }

    fn array(
        &mut self,
        schema: &'a Map<String, Value>,
        keyword: &str,
        rule: &'a Value,
        value: &Value,
        path: &str,
        depth: usize,
    ) -> Checked {
        let Value::Array(items) = value else { return Ok(()) };
        match keyword {
            "items" if rule.is_array() => {
                Err("`items` as a list is not supported: use `prefixItems`".to_owned())
            }
            "items" => {
                let given = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                for (index, item) in items.iter().enumerate().skip(given) {
                    self.check(rule, item, &format!("{path}/{index}"), depth)?;
                }
                Ok(())
            }
            "prefixItems" => {
                for (index, (schema, item)) in list(keyword, rule)?.iter().zip(items).enumerate() {
                    self.check(schema, item, &format!("{path}/{index}"), depth)?;
                }
                Ok(())
            }
            "contains" => {
                let mut count = 0;
                for item in items {
                    count += usize::from(self.fits(rule, item, depth)?);
                }
                let least = schema.get("minContains").map_or(Ok(1), |rule| size("minContains", rule))?;
                let most =
                    schema.get("maxContains").map_or(Ok(usize::MAX), |rule| size("maxContains", rule))?;
                self.expect((least..=most).contains(&count), path, || {
                    format!("has {count} items that `contains` describes, which is not the number it wants")
                });
                Ok(())
            }
            "uniqueItems" => {
                let twice =
                    items.iter().enumerate().any(|(at, item)| items[..at].iter().any(|x| equal(x, item)));
                self.expect(rule != &Value::Bool(true) || !twice, path, || "has an item twice".to_owned());
                Ok(())
            }
            _ => {
                let fits = within(keyword, rule, items.len())?;
                self.expect(fits, path, || format!("does not keep `{keyword}` {rule}"));
                Ok(())
            }
        }
    }

    fn object(
        &mut self,
        schema: &'a Map<String, Value>,
        keyword: &str,
        rule: &'a Value,
        value: &Value,
        path: &str,
        depth: usize,
    ) -> Checked {
        let Value::Object(members) = value else { return Ok(()) };
        match keyword {
            "properties" => {
                for (name, schema) in table(keyword, rule)? {
                    if let Some(member) = members.get(name) {
                        self.check(schema, member, &step(path, name), depth)?;
                    }
                }
            }
            "patternProperties" => {
                for (pattern, schema) in table(keyword, rule)? {
                    let pattern = compile(pattern)?;
                    for (name, member) in members.iter().filter(|(name, _)| pattern.is_match(name)) {
                        self.check(schema, member, &step(path, name), depth)?;
                    }
                }
            }
            "additionalProperties" => {
                for (name, member) in members {
                    if !is_named(schema, name)? {
                        if rule == &Value::Bool(false) {
                            self.find(&step(path, name), "is not a known property");
                        } else {
                            self.check(rule, member, &step(path, name), depth)?;
                        }
                    }
                }
            }
            "propertyNames" => {
                for name in members.keys() {
                    self.check(rule, &Value::String(name.clone()), &step(path, name), depth)?;
                }
            }
            "required" => self.required(list(keyword, rule)?, members, path)?,
            "dependentRequired" => {
                for (name, wanted) in
                    table(keyword, rule)?.iter().filter(|(name, _)| members.contains_key(*name))
                {
                    self.required(list(name, wanted)?, members, path)?;
                }
            }
            "dependentSchemas" => {
                for (_, schema) in
                    table(keyword, rule)?.iter().filter(|(name, _)| members.contains_key(*name))
                {
                    self.check(schema, value, path, depth)?;
                }
            }
            _ => {
                let fits = within(keyword, rule, members.len())?;
                self.expect(fits, path, || format!("does not keep `{keyword}` {rule}"));
            }
        }
        Ok(())
    }

    fn required(&mut self, names: &[Value], members: &Map<String, Value>, path: &str) -> Checked {
        for name in names {
            let name = name.as_str().ok_or("`required` must name properties")?;
            self.expect(members.contains_key(name), path, || format!("the property `{name}` is missing"));
        }
        Ok(())
    }

    fn combined(
        &mut self,
        schema: &'a Map<String, Value>,
        keyword: &str,
        rule: &'a Value,
        value: &Value,
        path: &str,
        depth: usize,
    ) -> Checked {
        match keyword {
            "allOf" => {
                for schema in list(keyword, rule)? {
                    self.check(schema, value, path, depth)?;
                }
            }
            "anyOf" | "oneOf" => {
                let mut count = 0;
                for schema in list(keyword, rule)? {
                    count += usize::from(self.fits(schema, value, depth)?);
                }
                let fits = if keyword == "anyOf" { count > 0 } else { count == 1 };
                self.expect(fits, path, || format!("fits {count} of the schemas in `{keyword}`"));
            }
            "not" => {
                let fits = self.fits(rule, value, depth)?;
                self.expect(!fits, path, || "fits the schema in `not`".to_owned());
            }
            _ => {
                let branch = if self.fits(rule, value, depth)? { "then" } else { "else" };
                if let Some(schema) = schema.get(branch) {
                    self.check(schema, value, path, depth)?;
                }
            }
        }
        Ok(())
    }

    /// Whether `value` fits, without reporting where it does not.
    fn fits(&self, schema: &'a Value, value: &Value, depth: usize) -> Result<bool, String> {
        let mut run = Run { root: self.root, findings: Vec::new() };
        run.check(schema, value, "", depth)?;
        Ok(run.findings.is_empty())
    }

    fn resolve(&self, reference: &Value) -> Result<&'a Value, String> {
        let reference = reference.as_str().ok_or("`$ref` must be a string")?;
        reference
            .strip_prefix('#')
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| format!("`$ref` to `{reference}` cannot be followed"))
    }

    fn expect(&mut self, fits: bool, path: &str, message: impl FnOnce() -> String) {
        if !fits {
            self.find(path, &message());
        }
    }

    fn find(&mut self, path: &str, message: &str) {
        // Bounded, so that a large document with a strict schema cannot fill the memory.
        if self.findings.len() <= crate::MAX_FINDINGS {
            self.findings
                .push(Finding { path: path.to_owned(), message: message.chars().take(300).collect() });
        }
    }
}

fn has_type(name: &str, value: &Value) -> Result<bool, String> {
    Ok(match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_number().is_some_and(|number| {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }),
        _ => return Err(format!("the type `{name}` does not exist")),
    })
}

/// JSON Schema's equality: numbers by value (1 is 1.0), everything else by structure.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare(left, right).is_eq(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

/// Exact for integers of 64 bits, as floating point otherwise.
fn compare(left: &Number, right: &Number) -> std::cmp::Ordering {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
            // JSON has no NaN, so the two always compare.
            float(left).partial_cmp(&float(right)).unwrap_or(std::cmp::Ordering::Less)
        }
    }
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn is_multiple(number: &Number, of: &Number) -> Result<bool, String> {
    let zero = || "`multipleOf` must be greater than 0".to_owned();
    if let (Some(number), Some(of)) = (integer(number), integer(of)) {
        return if of > 0 { Ok(number % of == 0) } else { Err(zero()) };
    }
    match (number.as_f64(), of.as_f64()) {
        (Some(number), Some(of)) if of > 0.0 => {
            let quotient = number / of;
            Ok((quotient - quotient.round()).abs() < 1e-9)
        }
        _ => Err(zero()),
    }
}

fn within(keyword: &str, rule: &Value, count: usize) -> Result<bool, String> {
    let bound = size(keyword, rule)?;
    Ok(if keyword.starts_with("min") { count >= bound } else { count <= bound })
}

fn size(keyword: &str, rule: &Value) -> Result<usize, String> {
    let whole =
        rule.as_u64().or_else(|| rule.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0).map(|n| n as u64));
    whole
        .map(|bound| usize::try_from(bound).unwrap_or(usize::MAX))
        .ok_or_else(|| format!("`{keyword}` must be a whole number"))
}

fn is_named(schema: &Map<String, Value>, name: &str) -> Result<bool, String> {
    if schema.get("properties").and_then(Value::as_object).is_some_and(|named| named.contains_key(name)) {
        return Ok(true);
    }
    for pattern in schema.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(Map::keys)
    {
        if compile(pattern)?.is_match(name) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn regex(rule: &Value) -> Result<Regex, String> {
    compile(rule.as_str().ok_or("`pattern` must be a string")?)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|_| format!("the pattern `{pattern}` is not supported"))
}

fn list<'a>(keyword: &str, rule: &'a Value) -> Result<&'a [Value], String> {
    rule.as_array().map(Vec::as_slice).ok_or_else(|| format!("`{keyword}` must be a list"))
}

fn table<'a>(keyword: &str, rule: &'a Value) -> Result<&'a Map<String, Value>, String> {
    rule.as_object().ok_or_else(|| format!("`{keyword}` must be an object"))
}

/// One step down in a JSON Pointer.
fn step(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
