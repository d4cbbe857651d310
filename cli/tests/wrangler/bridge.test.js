// Messages between Workers under `wrangler dev` and programs outside, in both directions.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEmulator } from 'cf-queues';

const WRANGLER = join('node_modules', 'wrangler', 'bin', 'wrangler.js');
const CF_QUEUES = process.env.CF_QUEUES ?? join('node_modules', '.bin', 'cf-queues');
const home = mkdtempSync(join(tmpdir(), 'wrangler-'));
const registry = join(home, 'registry');
// By the second name for older versions of wrangler.
Object.assign(process.env, { CLOUDFLARE_DEV_REGISTRY_PATH: registry, WRANGLER_REGISTRY_PATH: registry });
process.env.XDG_CONFIG_HOME = home;
Object.assign(process.env, { CI: '1', NO_COLOR: '1', WRANGLER_SEND_METRICS: 'false' });

let emulator, producer, consumer;

async function start() {
  const queues = ['jobs', 'orders,max_retries=9', 'orders-dead'];
  return startEmulator({ queues, frozen: false, args: ['--wrangler', '--deliver', 'orders'] });
}

// A session of `wrangler dev`, and the address of its Worker. While it starts, `meanwhile` is carried out.
async function dev(name, meanwhile = async () => {}) {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  const args = [WRANGLER, 'dev', '--config', join(name, 'wrangler.jsonc'), '--port', port, '--inspector-port', '0'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const session = { child, log: '', url: `http://127.0.0.1:${port}` };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (session.log += data));
  await eventually(() => session.log.includes('Starting local server'), () => session.log);
  await meanwhile();
  await eventually(() => session.log.includes('Ready on'), () => session.log);
  return session;
}

// With its workerd, and without a word if it is killed.
async function end({ child }, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  process.kill(-child.pid, signal);
  await once(child, 'exit');
}

async function eventually(condition, explain = () => '') {
  for (const last = Date.now() + 60_000; Date.now() < last; await sleep(20)) {
    const value = await condition();
    if (value) return value;
  }
  return assert.fail(`not in time: ${explain()}`);
}

async function send(path) {
  const response = await fetch(`${producer.url}${path}`);
  return { status: response.status, text: await response.text() };
}

// Content types and bodies, as a consumer of the library gets them.
function consume(count) {
  const program = `
    const body = require('fs').readFileSync(0).toString('base64');
    console.log(JSON.stringify([process.env.CF_QUEUES_CONTENT_TYPE, body]))`;
  const args = ['consume', 'jobs', '--limit', count, '--concurrency', 1, '--', process.execPath, '-e', program];
  const env = {
    ...process.env,
    CLOUDFLARE_BASE_URL: emulator.baseURL,
    CLOUDFLARE_API_TOKEN: emulator.apiToken,
    CLOUDFLARE_ACCOUNT_ID: emulator.accountId,
  };
  const lines = execFileSync(CF_QUEUES, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).split('\n');
  const arrays = lines.filter((line) => line.startsWith('[')).map((line) => JSON.parse(line));
  const messages = arrays.map(([type, body]) => [type, Buffer.from(body, 'base64')]);
  // They arrive in any order.
  return messages.sort((one, other) => (`${one}` < `${other}` ? -1 : 1));
}

async function push(body, contentType = 'json') {
  const { baseURL, accountId, apiToken, queues } = emulator;
  const response = await fetch(`${baseURL}/accounts/${accountId}/queues/${queues.orders}/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ body, content_type: contentType }),
  });
  assert.equal(response.status, 200);
}

async function handled(matches) {
  return eventually(async () => {
    const all = await (await fetch(consumer.url)).json();
    const found = all.filter(matches);
    return found.length > 0 && found;
  }, () => consumer.log);
}

before(async () => {
  emulator = await start();
  [producer, consumer] = await Promise.all([dev('producer'), dev('consumer')]);
});
beforeEach(() => emulator.reset());
after(async () => {
  await Promise.all([producer, consumer].filter(Boolean).map((session) => end(session)));
  await emulator?.stop();
  rmSync(home, { recursive: true, force: true });
});

test('a consumer gets every content type that a Worker sends', async () => {
  for (const path of ['/text', '/json', '/string', '/bytes', '/v8']) assert.equal((await send(path)).text, 'sent');
  assert.equal((await send('/batch')).text, 'sent');
  const [bytes, string, json, text, [type, v8], ...others] = consume(5);
  assert.deepEqual(bytes, ['bytes', Buffer.from([0, 1, 2, 255, 254])]);
  assert.deepEqual(string, ['json', Buffer.from('"a string"')]);
  assert.deepEqual(json, ['json', Buffer.from('{"hello":"wörld"}')]);
  assert.deepEqual(text, ['text', Buffer.from('plain words')]);
  assert.equal(type, 'v8');
  assert.ok(Buffer.from(String(v8), 'base64').includes('when'));
  assert.deepEqual(others, []);
  assert.deepEqual(consume(5), [bytes, string, json, text, [type, v8]], 'those of the batch');
});

test('a delay of a Worker is kept', async () => {
  await send('/text?delay=60');
  const [{ state, visible_at_ms, timestamp_ms }] = await emulator.messages('jobs');
  assert.deepEqual([state, visible_at_ms - timestamp_ms], ['delayed', 60_000]);
});

test('queue() gets what is pushed, with its id, and can retry it', async () => {
  await push({ retry: 1 });
  await push('words', 'text');
  const [{ attempts, id }] = await handled(({ body, attempts }) => body.retry === 1 && attempts === 2);
  assert.equal(attempts, 2);
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.equal((await handled(({ body }) => body === 'words'))[0].attempts, 1);
  await eventually(async () => (await emulator.messages('orders')).length === 0);
});

test('a message that a Worker gives up comes back as a dead letter', async () => {
  await push({ fail: 1 });
  const [{ body }] = await eventually(async () => {
    const messages = await emulator.messages('orders-dead');
    return messages.length > 0 && messages;
  });
  assert.deepEqual(JSON.parse(body), { fail: 1 });
});

test('a session that reloads its Worker goes on', async () => {
  await push({ before: 1 });
  await handled(({ body }) => body.before);
  const count = () => consumer.log.split('server updated').length;
  const reloads = count();
  appendFileSync(join('consumer', 'index.js'), '\n// Reloaded.\n');
  await eventually(() => count() > reloads, () => consumer.log);
  await push({ after: 1 });
  await handled(({ body }) => body.after);
});

test('messages wait for a session that was killed, and use up no attempt', async () => {
  await end(consumer, 'SIGKILL');
  await push({ late: 1 });
  consumer = await dev('consumer', async () => {
    // By now, the bridge has looked many times.
    const [{ state, attempts }] = await emulator.messages('orders');
    assert.deepEqual([state, attempts], ['visible', 0]);
    // Another session does not take the place of one that may live.
    rmSync(join(registry, 'consumer'));
  });
  await handled(({ body }) => body.late);
});

test('send() fails when the emulator was killed, and works with the next one', async () => {
  const [entry] = readdirSync(registry).filter((name) => name.startsWith('cf-queues'));
  process.kill(emulator.pid, 'SIGKILL');
  const failed = await eventually(async () => {
    const sent = await send('/text');
    return sent.status === 500 && sent;
  });
  assert.match(failed.text, /the emulator of cf-queues cannot be reached/);
  rmSync(join(registry, entry));
  emulator = await start();
  await eventually(async () => (await send('/text')).status === 200 && (await emulator.messages('jobs')).length > 0);
});

test('an emulator that ends leaves the dev registry', async () => {
  await emulator.stop();
  assert.deepEqual(readdirSync(registry).filter((name) => name.startsWith('cf-queues')), []);
  emulator = await start();
});
