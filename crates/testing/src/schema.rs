//! Validates reports of `rekindle audit --json` against `threat-model/audit-report.schema.json`. It
//! implements the part of JSON Schema (draft 2020-12) that this file uses; an unknown keyword is a
//! fault, so that none is ignored.

use serde_json::Value;

/// The schema.
pub fn schema() -> Value {
    let path = crate::file("threat-model/audit-report.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the schema")).expect("JSON")
}

/// Panics unless the report matches the schema.
#[track_caller]
pub fn must_fit(report: &Value) {
    let faults = faults(&schema(), report);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The places where a value does not match the schema.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, value, "report", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    for (keyword, wanted) in schema.as_object().expect("a schema") {
        let fits = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let name = wanted
                    .as_str()
                    .and_then(|text| text.strip_prefix("#/$defs/"));
                check(
                    root,
                    &root["$defs"][name.expect("a local name")],
                    value,
                    at,
                    faults,
                );
                true
            }
            "type" => match wanted.as_array() {
                Some(types) => types.iter().any(|one| is_a(value, one)),
                None => is_a(value, wanted),
            },
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => value
                .as_i64()
                .is_none_or(|number| number >= wanted.as_i64().expect("a number")),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{at}[{index}]"), faults);
                }
                true
            }
            "properties" => {
                for (name, property) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(name) {
                        check(root, schema, property, &format!("{at}.{name}"), faults);
                    }
                }
                true
            }
            "required" => value.as_object().is_none_or(|object| {
                let mut names = wanted.as_array().expect("a list").iter();
                names.all(|name| object.contains_key(name.as_str().expect("a name")))
            }),
            "additionalProperties" => {
                assert_eq!(wanted, false);
                let known = &schema["properties"];
                value
                    .as_object()
                    .is_none_or(|object| object.keys().all(|name| known.get(name).is_some()))
            }
            unknown => panic!("the keyword {unknown} is not known here"),
        };
        if !fits {
            faults.push(format!("{at}: {keyword}"));
        }
    }
}

fn is_a(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        unknown => panic!("the type {unknown} is not known here"),
    }
}
