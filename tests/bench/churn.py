#!/usr/bin/env python3
"""Measures what memory costs after churn, for one server program after the other.

    tests/bench/churn.py PROGRAM [PROGRAM ...] [--keys 1000000] [--rounds 3] [--port 7400]

Fills with keys of 16 bytes and values of 64, then in each round deletes half of the keys at random and writes as many
again with values of other sizes (16 to 600 bytes, another spread each round), and prints resident memory beside the
server's own account, `used_memory`. Last GET and SET of 64 bytes, pipelined 16 deep over 50 connections, in alternating
turns. Needs redis-benchmark. Works in a temporary folder on the loopback and ends what it started.
"""
import argparse, functools, random, re, shutil, socket, subprocess, tempfile

from common import Server, encode

print = functools.partial(print, flush=True)
SPREADS = [(16, 100), (100, 300), (200, 600)]


class Churned(Server):
    """With one connection that stays."""

    def __init__(self, program, port):
        self.folder = tempfile.mkdtemp()
        super().__init__([program, "--port", str(port), "--dir", self.folder], port)
        self.wait()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def send(self, commands):
        """Sends encoded commands, a thousand at a time, each answered in one line."""
        batch = []
        for command in commands:
            batch.append(command)
            if len(batch) == 1000:
                self.flush(batch)
                batch = []
        self.flush(batch)

    def flush(self, batch):
        self.socket.sendall(b"".join(batch))
        for _ in batch:
            line = self.file.readline()
            if line[:1] not in b"+:":
                raise SystemExit(f"unexpected: {line}")

    def fact(self, name):
        self.socket.sendall(encode("INFO", "memory"))
        length = int(self.file.readline()[1:])
        text = self.file.read(length + 2).decode()
        return int(re.search(rf"^{name}:(\d+)", text, re.M).group(1))

    def stop(self):
        self.kill()
        shutil.rmtree(self.folder)


def churn(server, keys, rounds):
    rng = random.Random(1)
    empty = server.resident_bytes()
    live = [b"key:%012d" % number for number in range(keys)]
    server.send(encode("SET", key, b"v" * 64) for key in live)
    rows = [("filled", server.resident_bytes() - empty, server.fact("used_memory"))]
    number = keys
    for turn in range(rounds):
        rng.shuffle(live)
        gone, live = live[: keys // 2], live[keys // 2 :]
        server.send(encode("DEL", *gone[at : at + 100]) for at in range(0, len(gone), 100))
        rows.append((f"{turn + 1}: half deleted", server.resident_bytes() - empty, server.fact("used_memory")))
        new = [b"key:%012d" % (number + index) for index in range(len(gone))]
        number += len(gone)
        low, high = SPREADS[turn % len(SPREADS)]
        server.send(encode("SET", key, b"v" * rng.randint(low, high)) for key in new)
        live += new
        rows.append((f"{turn + 1}: refilled, {low} to {high} B", server.resident_bytes() - empty, server.fact("used_memory")))
    return rows


def speed(port, test):
    command = ["redis-benchmark", "-p", str(port), "-t", test, "-n", "1000000", "-r", "1000000", "-d", "64", "-P", "16", "--csv"]
    text = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[-1]
    return float(text.split(",")[1].strip('"'))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--port", type=int, default=7400)
    options = parser.parse_args()
    for program in options.programs:
        server = Churned(program, options.port)
        print(program)
        for name, resident, used in churn(server, options.keys, options.rounds):
            print(f"  {name:28} RSS {resident / 1e6:8.1f} MB  account {used / 1e6:8.1f} MB  {resident / used:5.2f}")
        server.stop()
    servers = [Churned(program, options.port + 1 + index) for index, program in enumerate(options.programs)]
    for test in ["set", "get"]:
        seen = {program: [] for program in options.programs}
        for _ in range(options.turns):
            for program, server in zip(options.programs, servers):
                seen[program].append(speed(server.port, test))
        for program, rates in seen.items():
            print(f"  {test} {program}: {sorted(rates)[len(rates) // 2]:,.0f}/s of {[round(rate) for rate in rates]}")
    for server in servers:
        server.stop()


main()
