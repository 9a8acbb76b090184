#!/usr/bin/env python3
"""Measures what a snapshot costs those who are being served meanwhile, and how long a restart takes.

    tests/bench/snapshot.py target/release/ramkeep [--gib 2] [--rate 3000] [--before 5] [--port 7360] [--dir FOLDER]

Fills the server with values of 1000 bytes, then sends --rate requests a second, 80 GET to 20 SET, over 50 connections,
at times fixed beforehand: a stall is charged to every request that was due in it. After --before seconds BGSAVE. At the
end the process is killed and started again on the same folder. Every SET is answered when it is on the disk.

Prints p99 before, p99 of the median and of the worst second during the snapshot, p99.9 and maximum over all of it, the
same for reads and writes alone, growth of resident memory, and the restart.
"""
import argparse, collections, gc, os, random, selectors, shutil, socket, tempfile, time

from common import Server, call, encode, fill

VALUE_BYTES, CONNECTIONS, READS = 1000, 50, 0.8


def info(port, field):
    for line in call(port, "INFO", "persistence").split("\r\n"):
        if line.startswith(field + ":"):
            return line.split(":")[1]
    return ""


def value():
    return random.Random(1).randbytes(VALUE_BYTES // 2).hex()


class Load:
    """Requests at fixed times; notes (time due, seconds until its reply, is a read)."""

    def __init__(self, port, keys, rate):
        self.keys, self.rate, self.done = keys, rate, []
        self.random = random.Random(2)
        self.value = self.random.randbytes(VALUE_BYTES // 2).hex()
        self.selector = selectors.DefaultSelector()
        self.connections = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            # Due times of what was asked, bytes of the reply that have come, and bytes not yet taken by the socket.
            state = [connection, collections.deque(), bytearray(), bytearray()]
            self.selector.register(connection, selectors.EVENT_READ, state)
            self.connections.append(state)

    def run(self, until):
        """Goes on until the function says so; it is asked about every 50 ms."""
        started, sent, asked_at = time.perf_counter(), 0, 0
        while True:
            now = time.perf_counter()
            if now - asked_at > 0.05:
                asked_at = now
                if until(now):
                    return
            while started + sent / self.rate <= now:
                self.send(started + sent / self.rate, sent)
                sent += 1
            wait = max(0, started + sent / self.rate - time.perf_counter())
            for key, _ in self.selector.select(wait):
                self.receive(key.data)

    def send(self, due, number):
        state = self.connections[number % CONNECTIONS]
        name, is_read = f"key:{self.random.randrange(self.keys):012}", self.random.random() < READS
        state[3] += encode("GET", name) if is_read else encode("SET", name, self.value)
        state[1].append((due, is_read))
        try:
            del state[3][:state[0].send(state[3])]
        except BlockingIOError:
            pass

    def receive(self, state):
        state[2] += state[0].recv(1 << 18)
        now = time.perf_counter()
        while state[2]:
            end = state[2].find(b"\r\n")
            if end < 0:
                return
            length = end + 2 + (int(state[2][1:end]) + 2 if state[2][:1] == b"$" else 0)
            if len(state[2]) < length:
                return
            if state[2][:1] == b"-":
                raise SystemExit(state[2].decode())
            del state[2][:length]
            due, is_read = state[1].popleft()
            self.done.append((due, now - due, is_read))


def share(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))] * 1e3 if values else float("nan")


def seconds(rows):
    buckets = collections.defaultdict(list)
    for due, took, _ in rows:
        buckets[int(due)].append(took)
    return sorted(share(bucket, 0.99) for bucket in buckets.values() if len(bucket) > 100)


def show(name, before, during):
    p99 = seconds(during)
    print(f"{name:7} p99 before {share([row[1] for row in before], 0.99):6.2f} ms;"
          f" during: p99 of the median second {p99[len(p99) // 2]:6.2f}, of the worst {p99[-1]:6.2f},"
          f" p99.9 {share([row[1] for row in during], 0.999):6.2f}, most {share([row[1] for row in during], 1):6.2f} ms")


def start(options, folder, arguments):
    command = [options.binary, "--port", str(options.port), "--dir", folder, "--snapshot-log-bytes", "0", *arguments]
    return Server(command, options.port)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rate", type=int, default=3000)
    parser.add_argument("--before", type=float, default=5)
    parser.add_argument("--port", type=int, default=7360)
    parser.add_argument("--dir")
    parser.add_argument("--keep", action="store_true", help="leave the folder, and use it if it is filled")
    parser.add_argument("--seconds", action="store_true", help="also print p99 and the most of each second")
    options, arguments = parser.parse_known_args()
    folder = options.dir or tempfile.mkdtemp(prefix="ramkeep-bench-")
    os.makedirs(folder, exist_ok=True)
    keys = int(options.gib * 2**30 / (VALUE_BYTES + 90))
    server = start(options, folder, arguments)
    try:
        server.wait()
        if ":0\r" in call(options.port, "DBSIZE"):
            fill(options.port, keys, value())
        time.sleep(2)
        gc.disable()
        load = Load(options.port, keys, options.rate)
        begins = time.perf_counter() + options.before
        load.run(lambda now: now > begins)
        load.done = [row for row in load.done if row[0] > begins - options.before + 0.5]
        base = peak = server.resident_bytes() >> 20
        begun = time.perf_counter()
        answer = call(options.port, "BGSAVE")
        checked_at, ended = begun, None

        def until(now):
            nonlocal peak, checked_at, ended
            peak = max(peak, server.resident_bytes() >> 20)
            if ended is None and now - checked_at > 0.5:
                checked_at = now
                if info(options.port, "rdb_bgsave_in_progress") == "0":
                    ended = now
            return ended is not None and now > ended + 1

        load.run(until)
        before = [row for row in load.done if row[0] < begun]
        during = [row for row in load.done if begun <= row[0] <= ended + 1]
        print(f"{keys} keys of {VALUE_BYTES} bytes, {options.rate} requests a second, 80 % reads: {answer.strip()},"
              f" {info(options.port, 'rdb_last_bgsave_status')}")
        show("all", before, during)
        show("reads", [row for row in before if row[2]], [row for row in during if row[2]])
        show("writes", [row for row in before if not row[2]], [row for row in during if not row[2]])
        if options.seconds:
            buckets = collections.defaultdict(list)
            for due, took, _ in load.done:
                buckets[int(due - begun + 1000) - 1000].append(took)
            for second, bucket in sorted(buckets.items()):
                print(f"  {second:4} s  p50 {share(bucket, 0.5):6.2f}  p99 {share(bucket, 0.99):6.2f}  most {share(bucket, 1):6.2f}")
        print(f"snapshot took {ended - begun:.1f} s; resident memory {base} MiB, at most {peak - base} MiB more"
              f" ({100 * (peak - base) / base:.1f} %)")
        size = call(options.port, "DBSIZE")
        server.kill()
        started = time.perf_counter()
        server = start(options, folder, arguments)
        server.wait()
        while call(options.port, "DBSIZE") != size:
            time.sleep(0.02)
        print(f"restart after kill -9: {time.perf_counter() - started:.1f} s")
    finally:
        server.kill()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
