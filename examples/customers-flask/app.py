"""A small REST service for customers on a Redis-compatible database.

Each customer is a hash `customer:<uuid>`. Run it with `flask run`; REDIS_HOST, REDIS_PORT and
REDIS_PASSWORD say where the database is.
"""

import os
import uuid

import redis
from flask import Flask, abort, jsonify, request

app = Flask(__name__)
database = redis.Redis(
    host=os.environ.get("REDIS_HOST", "127.0.0.1"),
    port=int(os.environ.get("REDIS_PORT", "6379")),
    password=os.environ.get("REDIS_PASSWORD"),
    decode_responses=True,
)

FIELDS = ("name", "email", "balance")


def key_of(customer_id):
    return f"customer:{customer_id}"


def fields_of(body, required):
    """The known fields of a request's body as text; 400 if one is missing or unknown."""
    if not isinstance(body, dict) or not body:
        abort(400, "a JSON object with fields is needed")
    unknown = set(body) - set(FIELDS)
    missing = set(required) - set(body)
    if unknown or missing:
        abort(400, f"unknown fields: {sorted(unknown)}, missing fields: {sorted(missing)}")
    return {name: str(value) for name, value in body.items()}


def with_id(customer_id, fields):
    return {"id": str(customer_id), **fields}


@app.errorhandler(400)
@app.errorhandler(404)
def say_why(error):
    return jsonify(error=error.description), error.code


@app.post("/customers")
def create():
    fields = fields_of(request.get_json(silent=True), required=("name",))
    customer_id = uuid.uuid4()
    database.hset(key_of(customer_id), mapping=fields)
    return jsonify(with_id(customer_id, fields)), 201


@app.get("/customers")
def list_all():
    customers = []
    # SCAN may show a key twice; a dict keeps each once.
    for key in dict.fromkeys(database.scan_iter(match="customer:*", count=100)):
        fields = database.hgetall(key)
        if fields:  # deleted between SCAN and HGETALL otherwise
            customers.append(with_id(key.removeprefix("customer:"), fields))
    return jsonify(sorted(customers, key=lambda customer: customer["id"]))


@app.get("/customers/<uuid:customer_id>")
def get(customer_id):
    fields = database.hgetall(key_of(customer_id))
    if not fields:
        abort(404, "no such customer")
    return jsonify(with_id(customer_id, fields))


@app.put("/customers/<uuid:customer_id>")
def update(customer_id):
    changes = fields_of(request.get_json(silent=True), required=())
    key = key_of(customer_id)

    def change(pipe):
        # A customer deleted meanwhile must not come back as a hash of a few fields.
        if not pipe.exists(key):
            abort(404, "no such customer")
        pipe.multi()
        pipe.hset(key, mapping=changes)
        pipe.hgetall(key)

    fields = database.transaction(change, key)[1]
    return jsonify(with_id(customer_id, fields))


@app.delete("/customers/<uuid:customer_id>")
def delete(customer_id):
    if not database.delete(key_of(customer_id)):
        abort(404, "no such customer")
    return "", 204
