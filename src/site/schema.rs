//! Owns the site file's JSON Schema, made from `wire`.

use super::wire::SiteFile;
use serde_json::{Map, Value};
use std::sync::OnceLock;

/// The schema for editors (JSON Schema 2020-12), without the word null, which TOML does not have.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = schemars::schema_for!(SiteFile).to_value();
        tidy(&mut schema);
        schema
    })
}

/// Takes out `null` alternatives and `default`s of null or nothing.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            tidy_object(map);
        }
        _ => {}
    }
}

fn tidy_object(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|t| t != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            map.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(options)) = map.get_mut("anyOf") {
        options.retain(|o| o.get("type").is_none_or(|t| t != "null"));
        if let [Value::Object(one)] = options.as_slice() {
            let one = one.clone();
            map.remove("anyOf");
            for (key, value) in one {
                map.entry(key).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(options)) = map.get_mut("enum") {
        options.retain(|o| !o.is_null());
    }
    let empty = |v: &Value| {
        v.is_null() || v.as_array().is_some_and(Vec::is_empty) || v.as_object().is_some_and(Map::is_empty)
    };
    // "default" as a property's name is a schema with content, so this takes only real defaults.
    if map.get("default").is_some_and(empty) {
        map.remove("default");
    }
}

/// The schema that `schema` refers to, if it is a reference.
pub fn resolve(schema: &'static Value) -> &'static Value {
    let Some(path) = schema.get("$ref").and_then(Value::as_str) else { return schema };
    path.strip_prefix('#').and_then(|p| self::schema().pointer(p)).unwrap_or(schema)
}

/// The names that an enumeration allows, with what each means; empty for anything else.
pub fn choices(schema: &Value) -> Vec<(&str, &str)> {
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        return options.iter().filter_map(Value::as_str).map(|n| (n, "")).collect();
    }
    let options = schema.get("oneOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let about = |o| Value::get(o, "description").and_then(Value::as_str).unwrap_or_default();
    options.iter().filter_map(|o| Some((o.get("const")?.as_str()?, about(o)))).collect()
}
