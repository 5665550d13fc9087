use serde_json::{Value, json};

use super::Validator;

fn paths(schema: &Value, document: &Value) -> Result<Vec<String>, String> {
    Ok(Validator::new(schema)?.validate(document)?.into_iter().map(|finding| finding.path).collect())
}

#[test]
fn each_keyword_allows_and_refuses() {
    let cases = [
        (json!({"type": "integer"}), json!(1.0), json!(1.5)),
        (json!({"type": ["string", "null"]}), json!(null), json!(1)),
        (json!({"enum": [1, "a"]}), json!(1.0), json!("b")),
        (json!({"const": {"a": [1]}}), json!({"a": [1.0]}), json!({"a": []})),
        (json!({"minimum": 0}), json!(-0.0), json!(-1)),
        (json!({"maximum": 18446744073709551614_u64}), json!(5), json!(18446744073709551615_u64)),
        (json!({"exclusiveMinimum": 0}), json!(1), json!(0)),
        (json!({"exclusiveMaximum": 1}), json!(0), json!(1)),
        (json!({"multipleOf": 0.1}), json!(0.3), json!(0.35)),
        (json!({"minLength": 2}), json!("éé"), json!("é")),
        (json!({"maxLength": 1}), json!("é"), json!("ab")),
        (json!({"pattern": "^a+$"}), json!("aa"), json!("ab")),
        (json!({"items": {"type": "string"}}), json!(["a"]), json!([1])),
        (json!({"prefixItems": [true], "items": false}), json!([1]), json!([1, 2])),
        (json!({"contains": {"const": 1}}), json!([2, 1]), json!([2])),
        (json!({"contains": {"const": 1}, "maxContains": 1}), json!([1]), json!([1, 1])),
        (json!({"minItems": 1}), json!([1]), json!([])),
        (json!({"maxItems": 0}), json!([]), json!([1])),
        (json!({"uniqueItems": true}), json!([1, "1"]), json!([1, 1.0])),
        (json!({"properties": {"a": {"type": "string"}}}), json!({"b": 1}), json!({"a": 1})),
        (json!({"patternProperties": {"^a": {"type": "string"}}}), json!({"ab": "x"}), json!({"ab": 1})),
        (json!({"properties": {"a": true}, "additionalProperties": false}), json!({"a": 1}), json!({"b": 1})),
        (json!({"propertyNames": {"maxLength": 1}}), json!({"a": 1}), json!({"ab": 1})),
        (json!({"required": ["a"]}), json!({"a": 1}), json!({})),
        (json!({"minProperties": 1}), json!({"a": 1}), json!({})),
        (json!({"maxProperties": 0}), json!({}), json!({"a": 1})),
        (json!({"dependentRequired": {"a": ["b"]}}), json!({"b": 1}), json!({"a": 1})),
        (json!({"dependentSchemas": {"a": {"required": ["b"]}}}), json!({}), json!({"a": 1})),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(1), json!(3)),
        (json!({"anyOf": [{"const": 1}, {"const": 2}]}), json!(2), json!(3)),
        (json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}), json!(1), json!(2)),
        (json!({"not": {"const": 1}}), json!(2), json!(1)),
        (json!({"if": {"const": 1}, "then": false}), json!(2), json!(1)),
        (json!({"if": {"const": 1}, "else": false}), json!(1), json!(2)),
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}), json!(1), json!(2)),
        (json!(true), json!(1), json!(null)),
    ];
    for (schema, good, bad) in cases {
        assert_eq!(paths(&schema, &good).unwrap(), Vec::<String>::new(), "{schema} allows {good}");
        if schema != json!(true) {
            assert!(!paths(&schema, &bad).unwrap().is_empty(), "{schema} refuses {bad}");
        }
    }
}

#[test]
fn a_finding_names_its_place() {
    let schema = json!({"properties": {"a/b": {"items": {"type": "string"}}}});
    assert_eq!(paths(&schema, &json!({"a/b": ["x", 1]})).unwrap(), ["/a~1b/1"]);
}

#[test]
fn what_is_not_understood_is_refused() {
    let cases = [
        json!(1),
        json!({"unevaluatedProperties": false}),
        json!({"requried": ["a"]}),
        json!({"$ref": "https://example.com/schema"}),
        json!({"$ref": "#/missing"}),
        json!({"$ref": "#"}),
        json!({"type": "text"}),
        json!({"pattern": "(?<a>"}),
        json!({"items": [true]}),
        json!({"multipleOf": 0}),
        json!({"minLength": -1}),
    ];
    for schema in cases {
        let document = if schema.get("items").is_some() { json!([1]) } else { json!(1) };
        let document = if schema.get("minLength").is_some() { json!("a") } else { document };
        assert!(paths(&schema, &document).is_err(), "{schema}");
    }
}
