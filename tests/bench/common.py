"""What the benchmarks of this folder share: requests, a server process, filling it."""
import socket, subprocess, time


def encode(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def call(port, *words):
    """One call on a connection of its own; the whole reply as it comes, a line or a text."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(encode(*words))
        text = connection.recv(1 << 20)
        while text[:1] == b"$" and len(text) < int(text[1:text.index(b"\r\n")]) + text.index(b"\r\n") + 4:
            text += connection.recv(1 << 20)
        return text.decode()


class Server:
    """A process that is told where to listen by `command`."""

    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self):
        """Waits for PONG."""
        while True:
            try:
                if "PONG" in call(self.port, "PING"):
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise SystemExit("the server has ended")
            time.sleep(0.01)

    def resident_bytes(self):
        return int(open(f"/proc/{self.process.pid}/statm").read().split()[1]) * 4096

    def kill(self):
        self.process.kill()
        self.process.wait()


def fill(port, keys, value):
    """Sets keys in order: key:000000000000 and on, 16 bytes each."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        for start in range(0, keys, 5000):
            count = min(5000, keys - start)
            connection.sendall(b"".join(encode("SET", f"key:{start + i:012}", value) for i in range(count)))
            missing = 5 * count
            while missing > 0:
                missing -= len(connection.recv(1 << 16))
