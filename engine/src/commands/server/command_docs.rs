//! What COMMAND DOCS tells of a command's arguments, by which redis-cli shows its syntax, and of its past.
//!
//! Lives here: reading `arguments.txt`, and writing it as Valkey's reply. Not here: summary, group and complexity,
//! which stand in each command's declaration.
//!
//! `arguments.txt` is made by `tests/differential/arguments.py`. A command's name stands at the beginning of a line.
//! Behind it come `!flags deprecated-since replaced-by`, for some, `@version what was new`, and its arguments, indented by one space, parts of
//! an argument by one more: name and type, then what there is of
//!
//! ```text
//! ~text   how it is shown, if not by its name      @1.0.0   since
//! #0      number of its key specification           !1.0.0   deprecated since
//! =TOKEN  the word that stands before it            ? * +    optional, multiple, multiple with its token
//! ```

use crate::resp::Reply;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// An argument, or a choice or block of some.
#[derive(Debug, Default)]
struct Argument {
    name: &'static str,
    kind: &'static str,
    shown: Option<&'static str>,
    key: Option<i64>,
    token: Option<&'static str>,
    since: Option<&'static str>,
    deprecated_since: Option<&'static str>,
    flags: Vec<&'static str>,
    parts: Vec<Argument>,
}

/// What there is to tell of a command besides its declaration.
#[derive(Debug, Default)]
pub(super) struct Docs {
    flags: Vec<&'static str>,
    deprecated_since: Option<&'static str>,
    replaced_by: Option<&'static str>,
    /// Versions, each with what was new.
    history: Vec<(&'static str, &'static str)>,
    arguments: Vec<Argument>,
}

/// Of the command of this full name. The table is read at first use, from a constant alone: no state.
pub(super) fn docs(name: &str) -> Option<&'static Docs> {
    table().get(name)
}

fn table() -> &'static BTreeMap<&'static str, Docs> {
    static TABLE: OnceLock<BTreeMap<&str, Docs>> = OnceLock::new();
    TABLE.get_or_init(|| parse(include_str!("arguments.txt")))
}

impl Docs {
    /// How many fields `write` adds to a command's map.
    pub(super) fn fields(&self) -> usize {
        usize::from(!self.flags.is_empty())
            + usize::from(self.deprecated_since.is_some())
            + usize::from(self.replaced_by.is_some())
            + usize::from(!self.history.is_empty())
            + usize::from(!self.arguments.is_empty())
    }

    pub(super) fn write(&self, reply: &mut Reply) {
        write_flags(reply, "doc_flags", &self.flags);
        write_texts(reply, [("deprecated_since", self.deprecated_since), ("replaced_by", self.replaced_by)]);
        write_history(reply, &self.history);
        write_arguments(reply, &self.arguments);
    }
}

impl Argument {
    fn read(line: &'static str) -> Argument {
        let mut words = line.split_whitespace();
        let mut word = || words.next().expect("an argument has a name and a type");
        let mut argument = Argument { name: word(), kind: word(), ..Argument::default() };
        for word in words {
            let rest = &word[1..];
            match word.as_bytes()[0] {
                b'~' => argument.shown = Some(rest),
                b'#' => argument.key = rest.parse().ok(),
                b'=' => argument.token = Some(rest),
                b'@' => argument.since = Some(rest),
                b'!' => argument.deprecated_since = Some(rest),
                b'?' => argument.flags.push("optional"),
                b'*' => argument.flags.push("multiple"),
                _ => argument.flags.push("multiple_token"),
            }
        }
        argument
    }

    /// Choices and blocks are shown by their parts.
    fn shown(&self) -> Option<&'static str> {
        if matches!(self.kind, "oneof" | "block") { None } else { self.shown.or(Some(self.name)) }
    }

    fn write(&self, reply: &mut Reply) {
        let texts =
            [("token", self.token), ("since", self.since), ("deprecated_since", self.deprecated_since)];
        let fields = 2
            + usize::from(self.shown().is_some())
            + usize::from(self.key.is_some())
            + texts.iter().filter(|(_, text)| text.is_some()).count()
            + usize::from(!self.flags.is_empty())
            + usize::from(!self.parts.is_empty());
        reply.map(fields);
        write_texts(
            reply,
            [("name", Some(self.name)), ("type", Some(self.kind)), ("display_text", self.shown())],
        );
        if let Some(key) = self.key {
            reply.bulk(b"key_spec_index");
            reply.integer(key);
        }
        write_texts(reply, texts);
        write_flags(reply, "flags", &self.flags);
        write_arguments(reply, &self.parts);
    }
}

fn write_arguments(reply: &mut Reply, arguments: &[Argument]) {
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        reply.array(arguments.len());
        arguments.iter().for_each(|argument| argument.write(reply));
    }
}

fn write_history(reply: &mut Reply, history: &[(&str, &str)]) {
    if !history.is_empty() {
        reply.bulk(b"history");
        reply.set(history.len());
        for (version, news) in history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(news.as_bytes());
        }
    }
}

fn write_texts<const N: usize>(reply: &mut Reply, fields: [(&str, Option<&str>); N]) {
    for (name, text) in fields {
        if let Some(text) = text {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
    }
}

fn write_flags(reply: &mut Reply, name: &str, flags: &[&str]) {
    if !flags.is_empty() {
        reply.bulk(name.as_bytes());
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
}

fn parse(text: &'static str) -> BTreeMap<&'static str, Docs> {
    let mut table = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(name) = lines.next() {
        let mut docs = Docs::default();
        if let Some(line) = lines.next_if(|line| line.starts_with('!')) {
            let mut fields =
                line[1..].splitn(3, ' ').map(|field| Some(field).filter(|field| !field.is_empty()));
            let mut field = || fields.next().flatten();
            docs.flags = field().map_or_else(Vec::new, |flags| flags.split(',').collect());
            (docs.deprecated_since, docs.replaced_by) = (field(), field());
        }
        while let Some(line) = lines.next_if(|line| line.starts_with('@')) {
            docs.history.extend(line[1..].split_once(' '));
        }
        while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
            let depth = line.len() - line.trim_start().len();
            let mut place = &mut docs.arguments;
            for _ in 1..depth {
                place = &mut place.last_mut().expect("parts stand behind the whole").parts;
            }
            place.push(Argument::read(line));
        }
        table.insert(name, docs);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn every_command_with_arguments_tells_of_them_and_no_other_is_there() {
        let all = commands::table().iter().flat_map(|it| std::iter::once(it).chain(it.subcommands));
        let mut known = 0;
        for command in all {
            let has_arguments = docs(command.name).is_some_and(|docs| !docs.arguments.is_empty());
            assert_eq!(has_arguments, !command.syntax.is_empty(), "{}", command.name);
            known += usize::from(docs(command.name).is_some());
        }
        assert_eq!(known, table().len(), "each entry is of a command");
    }

    #[test]
    fn a_deprecated_command_and_nested_arguments_are_read() {
        let getset = docs("getset").expect("it is there");
        assert_eq!(getset.flags, ["deprecated"]);
        assert_eq!(getset.deprecated_since, Some("6.2.0"));
        assert_eq!(getset.replaced_by, Some("`SET` with the `!GET` argument"));
        let set = docs("set").expect("it is there");
        assert_eq!(set.history[0], ("2.6.12", "options EX, PX, NX and XX"));
        let set = &set.arguments;
        let expiration = set.last().expect("it ends with the deadline");
        assert_eq!((expiration.kind, expiration.parts.len()), ("oneof", 5));
        assert_eq!(expiration.parts[0].token, Some("EX"));
    }
}
