//! Results and arguments as a history keeps them.
//!
//! Lives here: the recorded form of a reply and its JSON form.
//! Not here: the wire form (`reply`).
//!
//! Invariant: `from_json(to_json(value)) == value` for every value, binary ones included.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::base64;

/// What a command answered, without the differences that only the wire knows (simple or bulk string).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Json", try_from = "Json")]
pub enum Value {
    #[default]
    Null,
    Integer(i64),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(BTreeMap<Vec<u8>, Value>),
    /// The whole text of an error reply, its code first.
    Error(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the JSON form of a recorded value")]
pub struct NotAValue;

impl Value {
    pub fn ok() -> Value {
        Value::Bytes(b"OK".to_vec())
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Integer(number) => json!(number),
            Value::Bytes(bytes) => bytes_to_json(&bytes),
            Value::Array(items) => Json::Array(items.into_iter().map(Json::from).collect()),
            Value::Error(text) => json!({ "err": text }),
            Value::Map(map) => map_to_json(map),
        }
    }
}

/// A map is an object unless that object could be taken for one of the escapes `b64`, `err`, `map`.
fn map_to_json(map: BTreeMap<Vec<u8>, Value>) -> Json {
    let is_escape = map.len() == 1 && map.keys().all(|key| [&b"b64"[..], b"err", b"map"].contains(&&key[..]));
    let is_text = map.keys().all(|key| std::str::from_utf8(key).is_ok());
    if is_text && !is_escape {
        let text = |key: Vec<u8>| String::from_utf8(key).expect("checked above");
        return Json::Object(map.into_iter().map(|(key, value)| (text(key), Json::from(value))).collect());
    }
    let pairs: Vec<Json> =
        map.into_iter().map(|(key, value)| json!([bytes_to_json(&key), Json::from(value)])).collect();
    json!({ "map": pairs })
}

impl TryFrom<Json> for Value {
    type Error = NotAValue;

    fn try_from(json: Json) -> Result<Value, NotAValue> {
        Ok(match json {
            Json::Null => Value::Null,
            Json::Number(number) => Value::Integer(number.as_i64().ok_or(NotAValue)?),
            Json::String(text) => Value::Bytes(text.into_bytes()),
            Json::Array(items) => {
                Value::Array(items.into_iter().map(Value::try_from).collect::<Result<_, _>>()?)
            }
            Json::Object(object) => return object_from_json(object),
            Json::Bool(_) => return Err(NotAValue),
        })
    }
}

fn object_from_json(object: serde_json::Map<String, Json>) -> Result<Value, NotAValue> {
    if object.len() == 1 {
        let (key, inner) = object.iter().next().expect("one entry");
        match (key.as_str(), inner) {
            ("b64", _) => return Ok(Value::Bytes(bytes_from_json(&Json::Object(object))?)),
            ("err", Json::String(text)) => return Ok(Value::Error(text.clone())),
            ("err", _) => return Err(NotAValue),
            ("map", Json::Array(pairs)) => {
                let mut map = BTreeMap::new();
                for pair in pairs {
                    let [key, value] = pair.as_array().ok_or(NotAValue)?.as_slice() else {
                        return Err(NotAValue);
                    };
                    map.insert(bytes_from_json(key)?, Value::try_from(value.clone())?);
                }
                return Ok(Value::Map(map));
            }
            _ => {}
        }
    }
    let pairs = object.into_iter().map(|(key, value)| Ok((key.into_bytes(), Value::try_from(value)?)));
    Ok(Value::Map(pairs.collect::<Result<_, NotAValue>>()?))
}

/// Text as a string, anything else as `{"b64": …}`.
pub(super) fn bytes_to_json(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "b64": base64::encode(bytes) }),
    }
}

pub(super) fn bytes_from_json(json: &Json) -> Result<Vec<u8>, NotAValue> {
    match json {
        Json::String(text) => Ok(text.clone().into_bytes()),
        Json::Object(object) if object.len() == 1 => {
            let text = object.get("b64").and_then(Json::as_str).ok_or(NotAValue)?;
            base64::decode(text).ok_or(NotAValue)
        }
        _ => Err(NotAValue),
    }
}

/// Bytes for a person: printable, and long ones only by their beginning.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 48;
    match bytes.get(..SHOWN_BYTES_MAX) {
        Some(beginning) if bytes.len() > SHOWN_BYTES_MAX => {
            format!("{}… ({} bytes)", beginning.escape_ascii(), bytes.len())
        }
        _ => bytes.escape_ascii().to_string(),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("nil"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Bytes(bytes) => write!(f, "{}", shown(bytes)),
            Value::Error(text) => write!(f, "({text})"),
            Value::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Map(map) => {
                f.write_str("{")?;
                for (index, (key, value)) in map.iter().enumerate() {
                    write!(f, "{}{}: {value}", if index == 0 { "" } else { ", " }, key.escape_ascii())?;
                }
                f.write_str("}")
            }
        }
    }
}

/// serde's form of one argument list.
pub(super) mod argument_list {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|bytes| bytes_to_json(bytes)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<Json>::deserialize(deserializer)?;
        list.iter().map(|json| bytes_from_json(json).map_err(D::Error::custom)).collect()
    }
}

/// serde's form of a key that may be missing.
pub(super) mod optional_key {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(key: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        key.as_deref().map(bytes_to_json).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let json = Option::<Json>::deserialize(deserializer)?;
        json.map(|json| bytes_from_json(&json).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let bytes = || {
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..6),
                prop::sample::select(vec![b"b64".to_vec(), b"err".to_vec(), b"map".to_vec()])
            ]
        };
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Integer),
            bytes().prop_map(Value::Bytes),
            ".{0,6}".prop_map(Value::Error),
        ];
        leaf.prop_recursive(3, 16, 4, move |item| {
            prop_oneof![
                prop::collection::vec(item.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(bytes(), item, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_survives_its_json_form(value in any_value()) {
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn values_have_the_documented_json_form() {
        let form = |value: Value| serde_json::to_string(&value).unwrap();
        assert_eq!(form(Value::ok()), r#""OK""#);
        assert_eq!(form(Value::Bytes(vec![0xff, 0, 1])), r#"{"b64":"/wAB"}"#);
        assert_eq!(form(Value::Error("ERR no".into())), r#"{"err":"ERR no"}"#);
        let map = BTreeMap::from([(b"b".to_vec(), Value::Integer(1)), (b"a".to_vec(), Value::Null)]);
        assert_eq!(form(Value::Map(map)), r#"{"a":null,"b":1}"#);
        let map = BTreeMap::from([(b"err".to_vec(), Value::Integer(1))]);
        assert_eq!(form(Value::Map(map)), r#"{"map":[["err",1]]}"#);
    }
}
