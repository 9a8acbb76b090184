#!/usr/bin/env python3
"""Measures what docs/src/benchmarks.md records: Ramkeep beside redis-server, in alternating rounds, medians.

    tests/bench/speed.py target/release/ramkeep [cells] [--rounds 3] [--port 7300] [--peer redis-server]

Cells, separated by commas: get, set, durable, beside, memory, growth, replay; all of them if none is named.
Needs redis-server and redis-benchmark. Works in a temporary folder on the loopback and ends what it started.

`cpu` is the server's CPU time per request, read from the scheduler's account of each thread; of Ramkeep the thread
that writes the log stands apart, because the peer that it is compared with in `set` writes none.
"""
import argparse, csv, io, multiprocessing, os, shutil, socket, statistics, subprocess, tempfile, threading, time

from common import Server, call, encode, fill

VALUE_BYTES, KEYS = 64, 1_000_000
VALUE = "v" * VALUE_BYTES


class Served(Server):
    """One that serves, on a folder."""

    def __init__(self, command, port, folder):
        super().__init__(command, port)
        self.folder = folder
        self.wait()

    def cpu_seconds(self):
        """CPU of the threads, and of those among them that write the log."""
        total = writer = 0
        tasks = f"/proc/{self.process.pid}/task"
        for thread in os.listdir(tasks):
            seconds = int(open(f"{tasks}/{thread}/schedstat").read().split()[0]) / 1e9
            total += seconds
            if open(f"{tasks}/{thread}/comm").read().strip() == "log-writer":
                writer += seconds
        return total, writer


def load(port, test, clients, pipeline, requests, keys=KEYS):
    """Runs redis-benchmark; gives requests per second and p99 in ms."""
    command = ["redis-benchmark", "-p", str(port), "-t", test, "-c", str(clients), "-P", str(pipeline), "-n",
               str(requests), "-r", str(keys), "-d", str(VALUE_BYTES), "--csv"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    row = list(csv.DictReader(io.StringIO(text)))[-1]
    return float(row["rps"]), float(row["p99_latency_ms"])


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = tempfile.mkdtemp(prefix="ramkeep-bench-")
        self.running = []

    def start(self, kind, folder=None):
        port = self.options.port + len(self.running) % 50
        folder = folder or tempfile.mkdtemp(dir=self.folder)
        peer = [self.options.peer, "--port", str(port), "--dir", folder, "--bind", "127.0.0.1", "--save", ""]
        commands = {
            "ramkeep": [self.options.binary, "--port", str(port), "--dir", folder, "--bind", "127.0.0.1"],
            "peer": peer + ["--appendonly", "no"],
            "peer, AOF always": peer + ["--appendonly", "yes", "--appendfsync", "always"],
        }
        server = Served(commands[kind], port, folder)
        self.running.append(server)
        return server

    def close(self):
        for server in self.running:
            server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pair(self, peer):
        return {peer: self.start(peer), "ramkeep": self.start("ramkeep")}

    def in_memory(self, test):
        servers = self.pair("peer")
        for server in servers.values():
            fill(server.port, KEYS, VALUE)
        for pipeline, requests in ((1, 100_000), (16, 600_000), (64, 1_200_000)):
            rows = {name: [] for name in servers}
            for _ in range(self.options.rounds):
                for name, server in servers.items():
                    before = server.cpu_seconds()
                    rate, p99 = load(server.port, test, 50, pipeline, requests)
                    after = server.cpu_seconds()
                    total, writer = after[0] - before[0], after[1] - before[1]
                    rows[name].append(((total - writer) / requests * 1e6, total / requests * 1e6, rate, p99))
            self.show(f"{test.upper()} P={pipeline} c=50", rows, "cpu us without log writer, with, req/s, p99 ms")

    def durable(self):
        for clients, pipeline, requests in ((1, 1, 5_000), (10, 1, 20_000), (50, 1, 60_000), (200, 1, 100_000), (50, 16, 300_000)):
            rows = {}
            for _ in range(self.options.rounds):
                for name in ("peer, AOF always", "ramkeep"):
                    server = self.start(name)
                    rate, p99 = load(server.port, "set", clients, pipeline, requests, keys=100_000)
                    rows.setdefault(name, []).append((rate, p99))
                    server.kill()
            self.show(f"durable SET c={clients} P={pipeline}", rows, "req/s, p99 ms")

    def beside(self):
        """GET beside 50 connections that write as fast as they can."""
        rows = {}
        for _ in range(self.options.rounds):
            for name in ("peer, AOF always", "ramkeep"):
                server = self.start(name)
                fill(server.port, 10_000, VALUE)
                writers = threading.Thread(target=load, args=(server.port, "set", 50, 1, 60_000))
                writers.start()
                time.sleep(0.2)
                rows.setdefault(name, []).append(probe(server.port, writers.is_alive))
                writers.join()
                server.kill()
        self.show("GET beside 50 durable writers", rows, "p50 ms, p99 ms")

    def memory(self):
        rows = {}
        for name in ("peer", "ramkeep"):
            server = self.start(name)
            before = server.resident_bytes()
            fill(server.port, KEYS, VALUE)
            time.sleep(0.5)
            rows[name] = [((server.resident_bytes() - before) / KEYS,)]
            server.kill()
        self.show("resident memory, 1 M keys of 16 + 64 bytes", rows, "bytes per key")

    def growth(self):
        rows = {}
        for name in ("peer", "ramkeep"):
            server = self.start(name)
            # A process of its own: threads of one interpreter hold each other up for milliseconds.
            writer = multiprocessing.Process(target=fill, args=(server.port, self.options.growth_keys, VALUE))
            writer.start()
            rows[name] = [probe(server.port, writer.is_alive, server)]
            writer.join()
            server.kill()
        self.show(f"GET while growing to {self.options.growth_keys} keys", rows,
                  "p50 ms, p99 ms, worst ms, worst ms of the serving thread's CPU within one GET")

    def replay(self):
        requests = 5_000_000
        server = self.start("ramkeep")
        load(server.port, "set", 50, 16, requests)
        time.sleep(0.5)
        server.kill()
        before = time.time()
        again = self.start("ramkeep", server.folder)
        while call(again.port, "DBSIZE").startswith("-LOADING"):
            time.sleep(0.01)
        seconds = time.time() - before
        self.show("replay of 5 M SETs", {"ramkeep": [(requests / seconds / 1e6, seconds)]}, "M/s, seconds")

    def show(self, what, rows, columns):
        medians = {name: [statistics.median(column) for column in zip(*row)] for name, row in rows.items()}
        print(f"\n{what} ({columns}); load {os.getloadavg()[0]:.1f}")
        for name, values in medians.items():
            print(f"  {name:18}" + "".join(f"{value:12.3f}" for value in values), flush=True)
        if len(medians) == 2:
            peer, ours = medians.values()
            print("  ramkeep / peer    " + "".join(f"{b / a if a else 0:12.2f}" for a, b in zip(peer, ours)), flush=True)


def probe(port, goes_on, server=None):
    """Reads one key about a thousand times a second while `goes_on`, one read at a time. With a server also the most
    that it took, and the most CPU that the server's main thread, which serves, had meanwhile: what it made others wait
    for itself, where the machine's other programs make them wait too."""
    times, cpu, step = [], [], 0.001
    account = open(f"/proc/{server.process.pid}/schedstat") if server else None

    def used():
        account.seek(0)
        return int(account.read().split()[0]) / 1e6

    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = encode("GET", "key:000000000001")
        while goes_on():
            time.sleep(step)
            before = used() if server else 0
            started = time.time()
            connection.sendall(request)
            connection.recv(1 << 12)
            times.append((time.time() - started) * 1e3)
            cpu.append(used() - before if server else 0)
    times.sort()
    at = lambda share: times[int(len(times) * share)]
    return (at(0.5), at(0.99)) + ((times[-1], max(cpu)) if server else ())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("cells", nargs="?", default="get,set,durable,beside,memory,growth,replay")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=7300)
    parser.add_argument("--peer", default="redis-server")
    parser.add_argument("--growth-keys", type=int, default=10_000_000)
    options = parser.parse_args()
    for cell in options.cells.split(","):
        bench = Bench(options)
        try:
            {"get": lambda: bench.in_memory("get"), "set": lambda: bench.in_memory("set")}.get(
                cell, getattr(bench, cell, None))()
        finally:
            bench.close()


if __name__ == "__main__":
    main()
