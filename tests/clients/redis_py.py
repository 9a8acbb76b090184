"""Uses redis-py as applications do. redis_py.py PORT PROTOCOL; any failed assertion ends with a traceback."""

import sys

import redis


def plain(client):
    assert client.ping()
    assert client.set("greeting", "hello") is True
    assert client.get("greeting") == "hello"
    assert client.get("nothing") is None
    assert client.set("greeting", "again", nx=True) is None
    assert client.set("greeting", "last", get=True) == "hello"
    assert client.mset({"a": 1, "b": 2}) and client.mget("a", "b", "c") == ["1", "2", None]
    assert client.incrby("a", 41) == 42 and client.decr("a") == 41
    assert client.incrbyfloat("float", 0.1) == 0.1 and client.incrbyfloat("float", 0.2) == 0.3
    assert client.append("greeting", "!") == 5 and client.getrange("greeting", 0, 2) == "las"
    assert client.setbit("bits", 7, 1) == 0 and client.bitcount("bits") == 1
    assert client.bitfield("field").set("u8", 0, 255).incrby("u8", 0, 10, "SAT").get("u8", 0).execute() == [0, 255, 255]
    assert client.type("a") == "string" and client.exists("a", "b", "nothing") == 2
    assert client.delete("a", "nothing") == 1


def expiry(client):
    assert client.setex("short", 100, "v") and 98 <= client.ttl("short") <= 100
    assert client.expire("short", 200, gt=True) and not client.expire("short", 100, gt=True)
    assert client.persist("short") and client.ttl("short") == -1
    assert client.getex("short", ex=50) == "v" and client.pttl("short") > 49000


def hashes(client):
    assert client.hset("customer", mapping={"name": "Ada", "balance": 10, "note": ""}) == 3
    assert client.hgetall("customer") == {"name": "Ada", "balance": "10", "note": ""}
    assert client.hincrby("customer", "balance", -3) == 7
    assert client.hincrbyfloat("customer", "rate", 1.5) == 1.5
    assert client.hmget("customer", "name", "nothing") == ["Ada", None]
    assert sorted(client.hkeys("customer")) == ["balance", "name", "note", "rate"]
    assert dict(client.hscan_iter("customer", match="n*")) == {"name": "Ada", "note": ""}
    assert client.hdel("customer", "note", "nothing") == 1 and client.hexists("customer", "name")
    try:
        client.incr("customer")
        raise AssertionError("INCR of a hash should fail")
    except redis.exceptions.ResponseError as error:
        assert str(error).startswith("WRONGTYPE"), error


def pipelines(client):
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"pipe:{number}", number)
        assert pipe.execute() == [True] * 1000
    with client.pipeline(transaction=True) as pipe:
        pipe.get("pipe:7").incr("pipe:7").hset("pipe", "f", "v")
        assert pipe.execute() == ["7", 8, 1]
    found = set(client.scan_iter(match="pipe:*", count=50))
    assert found == {f"pipe:{number}" for number in range(1000)}, len(found)
    assert set(client.scan_iter(match="pip*", _type="hash")) == {"pipe"}


def watch(client):
    client.set("stock", 5)
    with client.pipeline() as pipe:
        pipe.watch("stock")
        client.set("stock", 4)  # another connection of the pool
        pipe.multi()
        pipe.decr("stock")
        try:
            pipe.execute()
            raise AssertionError("a watched key has changed")
        except redis.exceptions.WatchError:
            pass
    client.transaction(lambda pipe: (pipe.multi(), pipe.decr("stock")), "stock")
    assert client.get("stock") == "3"


def around(client, protocol):
    assert client.client_setname("tester") and client.client_getname() == "tester"
    assert client.client_setinfo("LIB-NAME", "our-tests")
    assert client.client_id() > 0 and any(entry["name"] == "tester" for entry in client.client_list())
    info = client.info()
    assert info["role"] == "master" and info["loading"] == 0 and info["redis_version"].split(".")[0] == "7"
    assert client.info("keyspace")["db0"]["keys"] == client.dbsize()
    assert "maxmemory" in client.config_get("maxmemory*")
    assert client.command_count() > 50 and "get" in client.command()
    assert client.memory_usage("stock") > 0 and client.object("encoding", "stock") == "int"
    hello = client.execute_command("HELLO", protocol)
    hello = hello if isinstance(hello, dict) else dict(zip(hello[::2], hello[1::2]))
    assert hello.get("proto", hello.get(b"proto")) == protocol


def main(port, protocol):
    client = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    client.flushall()
    plain(client)
    expiry(client)
    hashes(client)
    pipelines(client)
    watch(client)
    # One connection, or the name is set on one of the pool and read from another.
    around(redis.Redis(port=port, protocol=protocol, decode_responses=True, single_connection_client=True), protocol)
    print("redis-py: fine")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
