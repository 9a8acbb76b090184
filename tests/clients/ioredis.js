// Uses ioredis as applications do. node ioredis.js PORT; ends with an error at the first surprise.
'use strict';

const assert = require('node:assert/strict');
const ioredis = require('ioredis');
const Redis = ioredis.default ?? ioredis.Redis ?? ioredis;

async function plain(client) {
  assert.equal(await client.set('greeting', 'hello'), 'OK');
  assert.equal(await client.get('greeting'), 'hello');
  assert.equal(await client.get('nothing'), null);
  assert.equal(await client.set('greeting', 'x', 'EX', 100, 'NX'), null);
  assert.equal(await client.incrbyfloat('float', 0.1), '0.1');
  assert.equal(await client.incrbyfloat('float', 0.2), '0.3');
  assert.deepEqual(await client.mget('greeting', 'nothing'), ['hello', null]);
  const bytes = Buffer.from([0, 255, 13, 10]);
  await client.set('bytes', bytes);
  assert.ok((await client.getBuffer('bytes')).equals(bytes));
  await assert.rejects(client.hset('greeting', 'f', 'v'), /WRONGTYPE/);
}

async function hashes(client) {
  assert.equal(await client.hset('customer', { name: 'Ada', balance: 10 }), 2);
  assert.deepEqual(await client.hgetall('customer'), { name: 'Ada', balance: '10' });
  assert.equal(await client.hincrby('customer', 'balance', -3), 7);
  assert.deepEqual(await client.hmget('customer', 'name', 'nothing'), ['Ada', null]);
}

async function pipelines(client) {
  const pipeline = client.pipeline();
  for (let number = 0; number < 1000; number += 1) pipeline.set(`pipe:${number}`, number);
  const replies = await pipeline.exec();
  assert.ok(replies.length === 1000 && replies.every(([error, reply]) => error === null && reply === 'OK'));
  const found = new Set();
  for await (const keys of client.scanStream({ match: 'pipe:*', count: 50 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 1000);
  assert.deepEqual(await client.multi().incr('pipe:7').get('pipe:7').exec(), [[null, 8], [null, '8']]);
}

async function watch(client, other) {
  await client.set('stock', 5);
  await client.watch('stock');
  await other.set('stock', 4);
  assert.equal(await client.multi().decr('stock').exec(), null);
  assert.equal(await client.get('stock'), '4');
}

async function main() {
  const port = Number(process.argv[2]);
  const [client, other] = [new Redis(port), new Redis(port)];
  await client.flushall();
  await plain(client);
  await hashes(client);
  await pipelines(client);
  await watch(client, other);
  assert.equal(await client.quit(), 'OK');
  other.disconnect();
  console.log('ioredis: fine');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
