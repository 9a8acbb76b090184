#!/usr/bin/env python3
"""Measures three zones on this machine: durable writes, failover, hand-over, a follower that is dead or stands still,
and zones a millisecond apart.

    tests/bench/three.py target/release/ramkeep [cells] [--port 7500] [--kills 50] [--peer valkey-server] [--loadgen PROGRAM]

Cells, separated by commas: durable, failover, handover, follower, apart; all of them if none is named. Works in a
temporary folder on the loopback and ends what it started. `durable` compares with the peer: a primary with two
replicas, each syncing every write, and WAITAOF 1 1 after each SET; it alternates, and needs --loadgen, a program that takes
`-p PORT -c CONNECTIONS -P PIPELINE -d SECONDS -w WARM -s BYTES -k KEYS -m MIX` and prints a line of JSON with rps,
p50, p99 (µs) and err. The others write with threads of this script, or with redis-benchmark.

Without writes: the longest time between two acknowledgements of any writer around the event.
"""
import argparse, asyncio, json, os, selectors, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time

from common import encode

ZONES = "abc"


def call(port, *words, timeout=5):
    """One call on a connection of its own; the raw reply."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(encode(*words))
        return connection.recv(1 << 20).decode()


def wait_until(holds, seconds=10):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit("waited in vain")


class Link:
    """Passes bytes from `port` to `upstream`, each way later by `seconds`. Runs in a process of its own.

    It waits by `select`, whose time-out counts microseconds: that of `epoll` is rounded up to whole milliseconds."""

    @staticmethod
    def serve(links, seconds):
        async def run():
            loop = asyncio.get_running_loop()

            class Half(asyncio.Protocol):
                other, waiting = None, b""

                def connection_made(self, transport):
                    self.transport = transport
                    transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

                def data_received(self, data):
                    loop.call_later(seconds, self.give, data)

                def give(self, data):
                    if self.other is None:
                        self.waiting += data
                    elif not self.other.transport.is_closing():
                        self.other.transport.write(data)

                def connection_lost(self, _):
                    if self.other is not None:
                        self.other.transport.close()

            class Front(Half):
                def __init__(self, upstream):
                    self.upstream = upstream

                def connection_made(self, transport):
                    super().connection_made(transport)
                    loop.create_task(self.open())

                async def open(self):
                    try:
                        _, back = await loop.create_connection(Half, "127.0.0.1", self.upstream)
                    except OSError:
                        return self.transport.close()
                    back.other, self.other = self, back
                    if self.waiting:
                        back.transport.write(self.waiting)

            for port, upstream in links:
                await loop.create_server(lambda upstream=upstream: Front(upstream), "127.0.0.1", port)
            await asyncio.Event().wait()

        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
            runner.run(run())

    @staticmethod
    def start(links, seconds):
        code = f"import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r}); " \
               f"import three; three.Link.serve({links!r}, {seconds!r})"
        return subprocess.Popen([sys.executable, "-c", code])

    @staticmethod
    def there_and_back(port, seconds, times=2000):
        """Milliseconds that a byte takes through a link to somebody who returns it at once: median and p99."""
        with socket.create_server(("127.0.0.1", port + 1)) as listener:
            link, taken = Link.start([(port, port + 1)], seconds), []
            try:
                wait_until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True)
                listener.accept()[0].close()
                with socket.create_connection(("127.0.0.1", port), 5) as near, listener.accept()[0] as far:
                    for end in (near, far):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=Link.echo, args=(far,), daemon=True).start()
                    for _ in range(times):
                        begun = time.perf_counter()
                        near.sendall(b"x")
                        near.recv(1)
                        taken.append((time.perf_counter() - begun) * 1e3)
            finally:
                link.kill()
                link.wait()
        return statistics.median(taken), quantile(taken, 0.99)

    @staticmethod
    def echo(connection):
        while data := connection.recv(4096):
            connection.sendall(data)


class Trio:
    """Three nodes of ours in zones a, b, c; clients at port, port + 1, port + 2. With `apart` a link lies between."""

    def __init__(self, binary, folder, port, apart=0.0):
        self.binary, self.folder, self.port, self.processes, self.link = binary, folder, port, {}, None
        peer = lambda zone: port + 10 + ZONES.index(zone)
        between = lambda one, other: port + 20 + 3 * ZONES.index(one) + ZONES.index(other)
        for zone in ZONES:
            lines = [f"node-name {zone}", "cluster-id bench", f"port {self.client(zone)}", f"dir {folder}/{zone}",
                     "bind 127.0.0.1", "enable-debug-command local"]
            for other in ZONES:
                at = between(zone, other) if apart and other != zone else peer(other)
                lines.append(f"member {other} z{other} engine 127.0.0.1:{at} 127.0.0.1:{self.client(other)}")
            with open(f"{folder}/{zone}.conf", "w") as file:
                file.write("\n".join(lines) + "\n")
        if apart:
            links = [(between(one, other), peer(other)) for one in ZONES for other in ZONES if one != other]
            self.link = Link.start(links, apart)
        for zone in ZONES:
            self.start(zone)
        self.primary()

    def client(self, zone):
        return self.port + ZONES.index(zone)

    def start(self, zone):
        log = open(f"{self.folder}/{zone}.log", "ab")
        self.processes[zone] = subprocess.Popen([self.binary, f"{self.folder}/{zone}.conf"], stdout=log, stderr=log)

    def primary(self, seconds=30):
        """The zone whose node serves writes, once there is one and all nodes that run follow it."""
        end = time.time() + seconds
        while time.time() < end:
            for zone, process in self.processes.items():
                try:
                    if process.poll() is None and call(self.client(zone), "ROLE", timeout=1).startswith("*3\r\n$6\r\nmaster"):
                        if "+OK" in call(self.client(zone), "SET", "ready", "1", timeout=1):
                            return zone
                except OSError:
                    pass
            time.sleep(0.02)
        raise SystemExit("nobody serves")

    def settled(self, seconds=60):
        """Waits until all three replicas are at the same position."""
        end = time.time() + seconds
        while time.time() < end:
            command = [self.binary, "status", "--json", "--port", str(self.client(self.primary()))]
            status = json.loads(subprocess.run(command, capture_output=True, text=True).stdout or "{}")
            applied = [node["applied_position"] for node in status.get("nodes", []) if node.get("is_reachable")]
            if len(applied) == 3 and max(applied) - min(applied) < 200:
                return
            time.sleep(0.05)
        raise SystemExit("a replica does not catch up: " + json.dumps(status))

    def kill(self, zone):
        self.processes[zone].kill()
        self.processes[zone].wait()

    def cpu_seconds(self):
        tick = os.sysconf("SC_CLK_TCK")
        used = 0.0
        for process in self.processes.values():
            fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
            used += (int(fields[11]) + int(fields[12])) / tick
        return used

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        if self.link:
            self.link.kill()
            self.link.wait()


class PeerTrio:
    """A primary with two replicas of a Redis-compatible server, AOF synced with every write on all of them."""

    def __init__(self, binary, folder, port):
        self.port, self.processes = port, []
        for number in range(3):
            place = f"{folder}/{number}"
            os.mkdir(place)
            command = [binary, "--port", str(port + number), "--dir", place, "--bind", "127.0.0.1", "--save", "",
                       "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"]
            if number:
                command += ["--replicaof", "127.0.0.1", str(port)]
            self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        end = time.time() + 30
        while time.time() < end:
            try:
                if call(port, "WAITAOF", 1, 2, 100) == "*2\r\n:1\r\n:2\r\n" and "+OK" in call(port, "SET", "ready", "1"):
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("the peer's replicas do not follow")

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


class Writers:
    """Threads that write keys of their own, each through a node of its choice, and go to another when it fails."""

    def __init__(self, ports, threads=6):
        self.ports, self.goes_on, self.acknowledged = ports, True, [[] for _ in range(threads)]
        self.threads = [threading.Thread(target=self.write, args=(number,), daemon=True) for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def write(self, number):
        at, connection, count = number, None, 0
        while self.goes_on:
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self.ports[at % len(self.ports)]), 0.3)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.settimeout(1.0)
                connection.sendall(encode("SET", f"w{number}:{count}", count))
                reply = connection.recv(1 << 12)
                if reply == b"+OK\r\n":
                    self.acknowledged[number].append((time.time(), count))
                    count += 1
                    time.sleep(0.003)
                    continue
            except OSError:
                pass
            if connection:
                connection.close()
            connection, at, count = None, at + 1, count + 1
            time.sleep(0.005)

    def longest_gap(self, since, until):
        """Seconds, over all writers together."""
        times = sorted(when for part in self.acknowledged for when, _ in part if since <= when <= until)
        return max((b - a for a, b in zip(times, times[1:])), default=until - since)

    def wait_after(self, when, seconds=20):
        """Until something was acknowledged half a second after that time."""
        end = time.time() + seconds
        while time.time() < end:
            if any(part and part[-1][0] > when + 0.5 for part in self.acknowledged):
                return
            time.sleep(0.02)
        raise SystemExit("no write is acknowledged any more")

    def stop(self):
        self.goes_on = False
        for thread in self.threads:
            thread.join()
        return [(number, count) for number, part in enumerate(self.acknowledged) for _, count in part]


def lost(port, written):
    missing = 0
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        file = connection.makefile("rb")
        for start in range(0, len(written), 500):
            part = written[start:start + 500]
            connection.sendall(b"".join(encode("EXISTS", f"w{number}:{count}") for number, count in part))
            missing += sum(file.readline() != b":1\r\n" for _ in part)
    return missing


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def redis_benchmark(port, connections, pipeline, requests, value=64):
    command = ["redis-benchmark", "-p", str(port), "-t", "set", "-c", str(connections), "-P", str(pipeline), "-n",
               str(requests), "-d", str(value), "-r", "100000", "--csv"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    names, values = (line.replace('"', "").split(",") for line in lines[-2:])
    return dict(zip(names, values))


class Bench:
    def __init__(self, options):
        self.options, self.folder, self.running = options, tempfile.mkdtemp(prefix="ramkeep-three-"), []
        self.number = 0

    def place(self):
        self.number += 1
        place = f"{self.folder}/{self.number}"
        os.mkdir(place)
        return place

    def ours(self, **more):
        trio = Trio(self.options.binary, self.place(), self.options.port, **more)
        self.running.append(trio)
        return trio

    def end(self, trio):
        trio.stop()
        self.running.remove(trio)

    def close(self):
        for trio in list(self.running):
            self.end(trio)
        shutil.rmtree(self.folder, ignore_errors=True)

    def durable(self):
        def load(port, connections, mix):
            command = [self.options.loadgen, "-p", str(port), "-c", str(connections), "-P", "1", "-d", "2.5", "-w", "0.5",
                       "-s", "64", "-k", "100000", "-m", mix]
            line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]
            result = json.loads(line)
            if result["err"] or result["unsat"]:
                raise SystemExit(f"refused: {line}")
            return result

        print("\ndurable SET of 64 bytes on two of three (writes/s, p50 ms, p99 ms)")
        for connections in (1, 10, 50, 200):
            rows = {"peer": [], "ramkeep": []}
            for _ in range(self.options.rounds):
                peer = PeerTrio(self.options.peer, self.place(), self.options.port)
                self.running.append(peer)
                rows["peer"].append(load(peer.port, connections, "SET k{k} {v} + WAITAOF 1 1 0"))
                self.end(peer)
                trio = self.ours()
                rows["ramkeep"].append(load(trio.client(trio.primary()), connections, "SET k{k} {v}"))
                self.end(trio)
            medians = {name: [statistics.median(row[what] for row in found) for what in ("rps", "p50", "p99")]
                       for name, found in rows.items()}
            for name, (rate, p50, p99) in medians.items():
                print(f"  c={connections:<4} {name:8} {rate:10.0f} {p50 / 1e3:10.2f} {p99 / 1e3:10.2f}")
            if medians["peer"][0]:
                print(f"  c={connections:<4} ratio    {medians['ramkeep'][0] / medians['peer'][0]:10.2f}", flush=True)

    def failover(self):
        trio, gaps = self.ours(), []
        writers = Writers([trio.client(zone) for zone in ZONES])
        for _ in range(self.options.kills):
            trio.settled()
            # A node that has just started may not vote yet.
            time.sleep(2.0)
            zone, when = trio.primary(), time.time()
            trio.kill(zone)
            writers.wait_after(when + 0.2)
            while writers.longest_gap(when - 0.1, time.time()) < 0.1:
                writers.wait_after(time.time())
            gaps.append(writers.longest_gap(when - 0.1, time.time()))
            trio.start(zone)
        trio.settled()
        written = writers.stop()
        missing = lost(trio.client(trio.primary()), written)
        print(f"\n{len(gaps)} kills of the primary: seconds without writes median {statistics.median(gaps):.2f}, "
              f"p99 {quantile(gaps, 0.99):.2f}, worst {max(gaps):.2f}; acknowledged {len(written)}, lost {missing}", flush=True)
        self.end(trio)

    def handover(self):
        trio, gaps = self.ours(), []
        writers = Writers([trio.client(zone) for zone in ZONES])
        for _ in range(20):
            trio.settled()
            time.sleep(0.3)
            zone, when = trio.primary(), time.time()
            subprocess.run([self.options.binary, "failover", "--port", str(trio.client(zone))], check=True,
                           stdout=subprocess.DEVNULL)
            writers.wait_after(time.time())
            gaps.append(writers.longest_gap(when - 0.1, time.time()))
        written = writers.stop()
        missing = lost(trio.client(trio.primary()), written)
        print(f"\n{len(gaps)} hand-overs: ms without writes median {statistics.median(gaps) * 1e3:.0f}, "
              f"worst {max(gaps) * 1e3:.0f}; acknowledged {len(written)}, lost {missing}", flush=True)
        self.end(trio)

    def follower(self):
        trio, rows = self.ours(), {"healthy": [], "dead": [], "stands still": []}
        for _ in range(self.options.rounds):
            primary = trio.primary()
            victim = next(zone for zone in ZONES if zone != primary)
            measure = lambda name: rows[name].append(redis_benchmark(trio.client(primary), 50, 1, 60_000))
            trio.settled()
            measure("healthy")
            trio.kill(victim)
            measure("dead")
            trio.start(victim)
            trio.settled()
            trio.processes[victim].send_signal(signal.SIGSTOP)
            measure("stands still")
            trio.processes[victim].send_signal(signal.SIGCONT)
        print("\nSET, 50 connections, one follower (writes/s, p50 ms, p99 ms)")
        for name, found in rows.items():
            values = [statistics.median(float(row[what]) for row in found)
                      for what in ("rps", "p50_latency_ms", "p99_latency_ms")]
            print(f"  {name:14}" + "".join(f"{value:12.2f}" for value in values), flush=True)
        self.end(trio)

    def apart(self):
        median, p99 = Link.there_and_back(self.options.port + 40, 0.001)
        print(f"\nthe link itself, there and back: median {median:.2f} ms, p99 {p99:.2f} ms")
        trio = self.ours(apart=0.001)
        port = trio.client(trio.primary())
        small = [redis_benchmark(port, 50, 1, 60_000) for _ in range(self.options.rounds)]
        large = [redis_benchmark(port, 50, 16, 300_000, value=1024) for _ in range(self.options.rounds)]
        middle = lambda rows, what: statistics.median(float(row[what]) for row in rows)
        print("\nzones 1 ms apart (each way), 50 connections")
        print(f"  SET of 64 bytes: {middle(small, 'rps'):.0f}/s, p50 {middle(small, 'p50_latency_ms'):.2f} ms, "
              f"p99 {middle(small, 'p99_latency_ms'):.2f} ms")
        print(f"  SET of 1024 bytes, 16 in a batch: {middle(large, 'rps') * 1024 / 1e6:.0f} MB/s", flush=True)
        self.end(trio)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("cells", nargs="?", default="durable,failover,handover,follower,apart")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=7500)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--peer", default="valkey-server")
    parser.add_argument("--loadgen", default="")
    options = parser.parse_args()
    for cell in options.cells.split(","):
        bench = Bench(options)
        print(f"\n[{cell}] load {os.getloadavg()[0]:.1f}", flush=True)
        try:
            getattr(bench, cell)()
        finally:
            bench.close()


if __name__ == "__main__":
    main()
