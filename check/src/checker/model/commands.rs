//! The commands that the models know, as a small interpreter over one key.
//!
//! Lives here: strings (registers and counters) and hashes, without deadlines.
//! Not here: several keys (`transaction`), deadlines (`expiry`).
//!
//! Written apart from the engine on purpose: a mistake must not be able to stand on both sides.

use std::collections::BTreeMap;

use super::ModelError;
use crate::history::Value;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

/// What a command answered and whether it touched the key in the sense of WATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub result: Value,
    pub is_changed: bool,
}

impl Ran {
    fn read(result: Value) -> Ran {
        Ran { result, is_changed: false }
    }

    fn changed(result: Value) -> Ran {
        Ran { result, is_changed: true }
    }
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const HASH_NOT_AN_INTEGER: &str = "ERR hash value is not an integer";
const OVERFLOW: &str = "ERR increment or decrement would overflow";

pub fn is_read(command: &str) -> bool {
    matches!(
        command,
        "GET"
            | "MGET"
            | "EXISTS"
            | "STRLEN"
            | "HGET"
            | "HGETALL"
            | "HLEN"
            | "HEXISTS"
            | "TTL"
            | "PTTL"
            | "WATCH"
    )
}

/// Runs one command on what its key holds.
pub fn run(cell: &mut Option<Cell>, command: &str, args: &[Vec<u8>]) -> Result<Ran, ModelError> {
    match command {
        "DEL" | "UNLINK" => Ok(delete(cell)),
        "EXISTS" => Ok(Ran::read(Value::Integer(i64::from(cell.is_some())))),
        "SET" => set(cell, args),
        "GET" | "STRLEN" | "SETNX" | "GETSET" | "GETDEL" | "APPEND" | "INCR" | "DECR" | "INCRBY"
        | "DECRBY" => string(cell, command, args),
        "HSET" | "HSETNX" | "HGET" | "HDEL" | "HGETALL" | "HINCRBY" | "HLEN" | "HEXISTS" => {
            hash(cell, command, args)
        }
        _ => Err(ModelError::Command(command.to_string())),
    }
}

fn delete(cell: &mut Option<Cell>) -> Ran {
    match cell.take() {
        Some(_) => Ran::changed(Value::Integer(1)),
        None => Ran::read(Value::Integer(0)),
    }
}

/// SET value [NX | XX] [GET].
fn set(cell: &mut Option<Cell>, args: &[Vec<u8>]) -> Result<Ran, ModelError> {
    let unknown = || ModelError::Command("SET with these arguments".to_string());
    let (value, options) = args.split_first().ok_or_else(unknown)?;
    let (mut is_allowed, mut is_get) = (true, false);
    for option in options {
        match option.as_slice() {
            b"NX" => is_allowed = cell.is_none(),
            b"XX" => is_allowed = cell.is_some(),
            b"GET" => is_get = true,
            _ => return Err(unknown()),
        }
    }
    let before = match cell {
        Some(Cell::Hash(_)) if is_get => return Ok(Ran::read(Value::Error(WRONG_TYPE.into()))),
        Some(Cell::String(bytes)) if is_get => Value::Bytes(bytes.clone()),
        _ => Value::Null,
    };
    let result = if is_get || !is_allowed { before } else { Value::ok() };
    if !is_allowed {
        return Ok(Ran::read(result));
    }
    *cell = Some(Cell::String(value.clone()));
    Ok(Ran::changed(result))
}

fn string(cell: &mut Option<Cell>, command: &str, args: &[Vec<u8>]) -> Result<Ran, ModelError> {
    let unknown = || ModelError::Command(format!("{command} with these arguments"));
    let argument = || args.first().cloned().ok_or_else(unknown);
    if command == "SETNX" {
        // Does not care for the type.
        let is_new = cell.is_none();
        if is_new {
            *cell = Some(Cell::String(argument()?));
        }
        return Ok(Ran { result: Value::Integer(i64::from(is_new)), is_changed: is_new });
    }
    let before = match cell {
        None => None,
        Some(Cell::String(bytes)) => Some(bytes.clone()),
        Some(Cell::Hash(_)) => return Ok(Ran::read(Value::Error(WRONG_TYPE.into()))),
    };
    let answer = before.clone().map_or(Value::Null, Value::Bytes);
    let delta = match command {
        "GET" => return Ok(Ran::read(answer)),
        "STRLEN" => return Ok(Ran::read(Value::Integer(before.map_or(0, |bytes| bytes.len() as i64)))),
        "GETSET" => {
            *cell = Some(Cell::String(argument()?));
            return Ok(Ran::changed(answer));
        }
        "GETDEL" => return Ok(Ran { result: answer, is_changed: delete(cell).is_changed }),
        "APPEND" => {
            let mut bytes = before.unwrap_or_default();
            bytes.extend(argument()?);
            let length = bytes.len() as i64;
            *cell = Some(Cell::String(bytes));
            return Ok(Ran::changed(Value::Integer(length)));
        }
        "INCR" => 1,
        "DECR" => -1,
        "INCRBY" => integer(&argument()?).ok_or_else(unknown)?,
        _ => integer(&argument()?).and_then(i64::checked_neg).ok_or_else(unknown)?,
    };
    let sum = match before.as_deref().map_or(Some(0), integer) {
        None => return Ok(Ran::read(Value::Error(NOT_AN_INTEGER.into()))),
        Some(number) => number.checked_add(delta),
    };
    let Some(sum) = sum else { return Ok(Ran::read(Value::Error(OVERFLOW.into()))) };
    *cell = Some(Cell::String(sum.to_string().into_bytes()));
    Ok(Ran::changed(Value::Integer(sum)))
}

fn hash(cell: &mut Option<Cell>, command: &str, args: &[Vec<u8>]) -> Result<Ran, ModelError> {
    let unknown = || ModelError::Command(format!("{command} with these arguments"));
    let mut map = match cell {
        None => BTreeMap::new(),
        Some(Cell::Hash(map)) => std::mem::take(map),
        Some(Cell::String(_)) => return Ok(Ran::read(Value::Error(WRONG_TYPE.into()))),
    };
    let ran = hash_map(&mut map, command, args);
    // An empty hash is no key.
    *cell = (!map.is_empty()).then_some(Cell::Hash(map));
    ran.ok_or_else(unknown)
}

/// `None` for arguments that no workload sends.
fn hash_map(map: &mut BTreeMap<Vec<u8>, Vec<u8>>, command: &str, args: &[Vec<u8>]) -> Option<Ran> {
    Some(match command {
        "HSET" => {
            let mut added = 0;
            for pair in args.chunks(2) {
                added += i64::from(map.insert(pair[0].clone(), pair.get(1)?.clone()).is_none());
            }
            Ran::changed(Value::Integer(added))
        }
        "HSETNX" => {
            let is_new = !map.contains_key(args.first()?);
            if is_new {
                map.insert(args[0].clone(), args.get(1)?.clone());
            }
            Ran { result: Value::Integer(i64::from(is_new)), is_changed: is_new }
        }
        "HGET" => Ran::read(map.get(args.first()?).cloned().map_or(Value::Null, Value::Bytes)),
        "HDEL" => {
            let removed = args.iter().filter(|&field| map.remove(field).is_some()).count();
            Ran { result: Value::Integer(removed as i64), is_changed: removed > 0 }
        }
        "HGETALL" => {
            let pairs = map.iter().map(|(field, value)| (field.clone(), Value::Bytes(value.clone())));
            Ran::read(Value::Map(pairs.collect()))
        }
        "HLEN" => Ran::read(Value::Integer(map.len() as i64)),
        "HEXISTS" => Ran::read(Value::Integer(i64::from(map.contains_key(args.first()?)))),
        "HINCRBY" => {
            let delta = integer(args.get(1)?)?;
            let Some(number) = map.get(args.first()?).map_or(Some(0), |text| integer(text)) else {
                return Some(Ran::read(Value::Error(HASH_NOT_AN_INTEGER.into())));
            };
            let Some(sum) = number.checked_add(delta) else {
                return Some(Ran::read(Value::Error(OVERFLOW.into())));
            };
            map.insert(args[0].clone(), sum.to_string().into_bytes());
            Ran::changed(Value::Integer(sum))
        }
        _ => return None,
    })
}

pub fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// True when `answered` is what the model says. Of an error only the code must agree.
pub fn is_same(answered: &Value, model: &Value) -> bool {
    match (answered, model) {
        (Value::Error(answered), Value::Error(model)) => {
            answered.split(' ').next() == model.split(' ').next()
        }
        _ => answered == model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `command; command …` on one key and gives the results.
    fn results(script: &str) -> String {
        let mut cell = None;
        let mut texts = Vec::new();
        for line in script.split(';') {
            let mut words = line.split_whitespace();
            let command = words.next().unwrap();
            let args: Vec<Vec<u8>> = words.map(|word| word.as_bytes().to_vec()).collect();
            texts.push(run(&mut cell, command, &args).unwrap().result.to_string());
        }
        texts.join("; ")
    }

    #[test]
    fn strings_follow_redis() {
        assert_eq!(results("GET; SET a; GET; SET b NX; SET b XX GET; GET"), "nil; OK; a; nil; a; b");
        assert_eq!(
            results("SETNX a; SETNX b; GETSET c; GETDEL; GETDEL; DEL; EXISTS"),
            "1; 0; a; c; nil; 0; 0"
        );
        assert_eq!(results("INCR; DECRBY 5; GET; APPEND 0; STRLEN; INCRBY 2"), "1; -4; -4; 3; 3; -38");
        assert_eq!(results("SET x; INCR; SET 9223372036854775807; INCR").matches("ERR").count(), 2);
    }

    #[test]
    fn hashes_follow_redis() {
        assert_eq!(results("HSET f 1 g 2; HSET f 3; HGETALL; HLEN"), "2; 0; {f: 3, g: 2}; 2");
        assert_eq!(results("HINCRBY f 2; HGET f; HDEL f g; EXISTS; HGET f; HLEN"), "2; 2; 1; 0; nil; 0");
        assert_eq!(
            results("HSETNX f x; HSETNX f y; HEXISTS f; HINCRBY f 1"),
            format!("1; 0; 1; ({HASH_NOT_AN_INTEGER})")
        );
        assert!(results("SET a; HGET f").ends_with("value)"));
        assert!(results("HSET f 1; GET").ends_with("value)"));
    }

    #[test]
    fn an_unknown_command_is_said_so() {
        assert_eq!(run(&mut None, "LPUSH", &[]), Err(ModelError::Command("LPUSH".into())));
        assert!(run(&mut None, "SET", &[b"a".to_vec(), b"EX".to_vec()]).is_err());
        assert!(run(&mut None, "HSET", &[b"a".to_vec()]).is_err());
    }
}
