"""Writes growing numbers through redis-py and prints each one that the server has acknowledged.

durable_writer.py PORT FIRST: sets python:FIRST, python:FIRST+1, ... until the connection breaks.
"""

import sys

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def main(port, number):
    # Without retries: an unanswered write must not be sent twice, or counted as acknowledged.
    client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0), socket_timeout=30)
    try:
        while True:
            if client.set(f"python:{number}", number):
                print(number, flush=True)
                number += 1
    except redis.exceptions.ConnectionError:
        return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
