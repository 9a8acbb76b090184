#!/usr/bin/env python3
"""Writes engine/src/commands/server/arguments.txt: the arguments of our commands as a running Valkey tells of them.

    valkey-server --port 7999 & tests/differential/arguments.py 7999 > engine/src/commands/server/arguments.txt

The form of the file is described in engine/src/commands/server/command_docs.rs. Commands of our own stand in
OURS. The history of commands is Valkey's, in words of our own (HISTORY).
"""

import pathlib
import re
import socket
import sys

OURS = """\
client|read-consistency
 level oneof
  linearizable pure-token =LINEARIZABLE
  milliseconds integer =BOUNDED
  eventual pure-token =EVENTUAL
ramkeep|failover
 node string =TO ?
ramkeep|member
 action oneof
  list pure-token =LIST
  add-block block =ADD
   name string
   zone string
   role string
   peer-address string
   client-address string
  remove string ~name =REMOVE
  replace-block block =REPLACE
   name string
   with-block block ?
    name string
    zone string
    role string
    peer-address string
    client-address string
"""
HISTORY = """\
auth 6.0.0 a user's name may stand before the password
bgsave 3.2.2 option SCHEDULE
bitcount 7.0.0 options BYTE and BIT
bitcount 8.0.0 the end may be left out: then it is the last byte
bitpos 7.0.0 options BYTE and BIT
client|kill 2.8.12 filters, ID among them, beside the address alone
client|kill 3.2.0 type master
client|kill 5.0.0 type replica for slave, which is still understood
client|kill 6.2.0 filter LADDR
client|kill 8.0.0 filter MAXAGE; type primary for master, which is still understood
client|list 2.8.12 field id
client|list 5.0.0 filter TYPE
client|list 6.0.0 field user
client|list 6.2.0 filter ID; fields argv-mem, tot-mem, laddr and redir
client|list 7.0.0 fields resp, multi-mem, rbs and rbp
client|list 7.0.3 field ssub
client|list 8.0.0 type primary for master, which is still understood
client|pause 6.2.0 modes WRITE and ALL
command|info 7.0.0 without a name it tells of all commands
config|get 7.0.0 several patterns
config|set 7.0.0 several parameters
exists 3.0.3 several keys
expire 7.0.0 options NX, XX, GT and LT
expireat 7.0.0 options NX, XX, GT and LT
flushall 4.0.0 option ASYNC
flushall 6.2.0 option SYNC
flushdb 4.0.0 option ASYNC
flushdb 6.2.0 option SYNC
hdel 2.4.0 several fields
hello 6.2.0 without a protocol it tells of the connection as it is
hset 4.0.0 several fields with their values
info 7.0.0 several sections
pexpire 7.0.0 options NX, XX, GT and LT
pexpireat 7.0.0 options NX, XX, GT and LT
pttl 2.8.0 the reply -2 for a key that does not exist
renamenx 3.2.0 a key may be renamed to itself
scan 6.0.0 option TYPE
set 2.6.12 options EX, PX, NX and XX
set 6.0.0 option KEEPTTL
set 6.2.0 options GET, EXAT and PXAT
set 7.0.0 NX and GET together
shutdown 7.0.0 options NOW, FORCE and ABORT
slowlog|get 4.0.0 the client's address and name in the reply
ttl 2.8.0 the reply -2 for a key that does not exist
"""
FLAGS = {"optional": "?", "multiple": "*", "multiple_token": "+"}


def ask(port, *words):
    file = socket.create_connection(("127.0.0.1", port)).makefile("rwb")
    for request in (("HELLO", "3"), words):
        file.write(b"*%d\r\n" % len(request))
        for word in request:
            file.write(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
    file.flush()
    read(file)
    return read(file)


def read(file):
    kind, rest = (line := file.readline().decode().rstrip("\r\n"))[0], line[1:]
    if kind == "$":
        text = file.read(int(rest) + 2)[:-2].decode()
        return text
    if kind in "*~":
        return [read(file) for _ in range(int(rest))]
    if kind == "%":
        return {read(file): read(file) for _ in range(int(rest))}
    return int(rest) if kind == ":" else rest


def line(depth, argument):
    words = [argument["name"], argument["type"]]
    if argument.get("display_text", argument["name"]) != argument["name"]:
        words.append("~" + argument["display_text"])
    if "key_spec_index" in argument:
        words.append("#%d" % argument["key_spec_index"])
    if "token" in argument:
        words.append("=" + argument["token"])
    if "since" in argument:
        words.append("@" + argument["since"])
    if "deprecated_since" in argument:
        words.append("!" + argument["deprecated_since"])
    words += [FLAGS[flag] for flag in argument.get("flags", [])]
    assert all(word and " " not in word for word in words), words
    print(" " * depth + " ".join(words))
    for part in argument.get("arguments", []):
        line(depth + 1, part)


def command(name, facts):
    history = [entry.split(" ", 1)[1] for entry in HISTORY.splitlines() if entry.split(" ")[0] == name]
    has_more = history or "arguments" in facts or "deprecated_since" in facts or "doc_flags" in facts
    if name in ours and has_more:
        print(name)
        if "deprecated_since" in facts or "doc_flags" in facts:
            flags = ",".join(facts.get("doc_flags", []))
            print("!%s %s %s" % (flags, facts.get("deprecated_since", ""), facts.get("replaced_by", "")))
        versions = {version for version, _ in facts.get("history", [])}
        assert {entry.split(" ")[0] for entry in history} == versions, (name, versions)
        for entry in history:
            print("@" + entry)
        for argument in facts.get("arguments", []):
            line(1, argument)
    for subcommand, more in facts.get("subcommands", {}).items():
        command(subcommand, more)


root = pathlib.Path(__file__).resolve().parents[2] / "engine/src/commands"
ours = set()
for source in root.rglob("*.rs"):
    ours |= set(re.findall(r'(?:Command::(?:node|read|write)|sub|help_of)\(\s*"([a-z_|-]+)"', source.read_text()))
for name, facts in sorted(ask(int(sys.argv[1]), "COMMAND", "DOCS").items()):
    command(name, facts)
print(OURS, end="")
