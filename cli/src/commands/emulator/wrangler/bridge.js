// Connects the queues of an emulator with those of `wrangler dev`. It reads its settings from the first line of standard
// input, writes a line when messages pass or when it fails, and ends with the second line.
//
// A session of wrangler looks for the consumer of a queue in the dev registry, a folder with a file for each session, and
// sends messages to the debug port that it finds there. This registers a `workerd` of its own.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

// Wrangler ignores an entry that was not refreshed for so long.
const STALE = 90_000;
const REFRESH = 10_000;
const POLL = 50;
// A session answers at once, unless it hangs.
const TIMEOUT = 10_000;

const { env, platform } = process;
const commands = createInterface({ input: process.stdin });
const { url, base, token, account, queues, deliver, inbox, outbox } = JSON.parse(await line(commands));
const instanceId = randomUUID();
const registries = folders();
const entries = registries.map((registry) => join(registry, `cf-queues-emulator-${new URL(url).port}`));
const folder = mkdtempSync(join(tmpdir(), 'cf-queues-'));
const text = JSON.stringify;
let child;
let refreshing;

commands.on('line', () => end(0));
// Without a word, the emulator was killed. As long as sessions take the entry for live, `send()` must fail.
commands.on('close', async () => {
  if (!refreshing) end(1);
  clearInterval(refreshing);
  refreshing = undefined;
  const last = Date.now() + STALE + REFRESH;
  while (Date.now() < last && entries.some(isOwn)) await sleep(1000);
  end(1);
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => end(0));

function line(lines) {
  return new Promise((resolve) => lines.once('line', resolve));
}

function end(code) {
  for (const path of entries.filter(isOwn)) rmSync(path, { force: true });
  child?.kill();
  rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}

function fail(error) {
  process.stdout.write(`${text({ error })}\n`, () => end(1));
  return new Promise(() => {});
}

// Where sessions of wrangler register, and of tools that use miniflare without it.
function folders() {
  // Older versions of wrangler, such as 4.124.0, know only the second one.
  const named = [env.CLOUDFLARE_DEV_REGISTRY_PATH, env.WRANGLER_REGISTRY_PATH].filter(Boolean);
  if (env.CLOUDFLARE_DEV_REGISTRY_PATH) return [...new Set(named)];
  const roots = { darwin: ['Library', 'Preferences'], win32: ['AppData', 'Roaming', 'xdg.config'] };
  const config = env.XDG_CONFIG_HOME || join(homedir(), ...(roots[platform] ?? ['.config']));
  const old = join(homedir(), '.wrangler');
  const wrangler = statSync(old, { throwIfNoEntry: false })?.isDirectory() ? old : join(config, '.wrangler');
  return [env.WRANGLER_REGISTRY_PATH || join(wrangler, 'registry'), join(config, 'cloudflare', 'dev-registry', 'v5')];
}

function read(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function isOwn(path) {
  return read(path)?.instanceId === instanceId;
}

function workerd() {
  if (env.MINIFLARE_WORKERD_PATH) return { program: env.MINIFLARE_WORKERD_PATH, version: 'of MINIFLARE_WORKERD_PATH' };
  const here = createRequire(join(process.cwd(), 'package.json'));
  // Some package managers show only the direct dependencies.
  for (const find of [() => here, () => createRequire(here.resolve('wrangler/package.json'))]) {
    try {
      const { default: program, version } = find()('workerd');
      return { program, version };
    } catch {
      // The next one may have it.
    }
  }
  throw new Error(
    `workerd, a part of wrangler, is not in the node_modules of ${process.cwd()} or above: run ` +
      '`npm install --save-dev wrangler` in the folder of your Worker, and start the emulator there',
  );
}

async function api(path, options = {}) {
  const { body, method = body ? 'POST' : 'GET' } = options;
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const response = await fetch(`${base}/accounts/${account}/queues${path}`, { method, headers, body: body && text(body) });
  const { success, errors, result } = await response.json();
  if (!success) throw new Error(errors[0]?.message ?? `status ${response.status}`);
  return result;
}

async function control(path) {
  return (await (await fetch(`${url}/_emulator${path}`)).json()).result;
}

// Starts workerd, with a service for each queue that Workers send to.
async function start(program, names) {
  const service = (name) => `(name = ${text(`queues:queue:${name}`)}, worker = (
    modules = [(name = "inbox.js", esModule = .inbox)], compatibilityDate = "2026-01-01", globalOutbound = "emulator",
    bindings = [(name = "BROKER", text = ${text(`${url}/_emulator/queues/${name}/broker`)})]))`;
  const config = `using Workerd = import "/workerd/workerd.capnp";
const inbox :Text = ${text(inbox)};
const outbox :Text = ${text(outbox)};
const config :Workerd.Config = (
  services = [
    (name = "emulator", network = (allow = ["local", "private", "public"])),
    (name = "outbox", worker = (
      modules = [(name = "outbox.js", esModule = .outbox)], compatibilityDate = "2026-01-01",
      compatibilityFlags = ["experimental"],
      bindings = [(name = "DEBUG", workerdDebugPort = void), (name = "TOKEN", text = "${instanceId}")])),
    ${names.map(service).join(',\n    ')}],
  sockets = [(name = "outbox", address = "127.0.0.1:0", http = (), service = "outbox")]);`;
  writeFileSync(join(folder, 'config.capnp'), config);
  const args = ['serve', '--experimental', '--control-fd=1', '--debug-port=127.0.0.1:0', join(folder, 'config.capnp')];
  child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  child.once('error', (error) => fail(`${program}: ${error.message}`));
  // Ctrl-c in a terminal ends it too.
  child.once('exit', (code, signal) => (signal === 'SIGINT' ? end(0) : fail(`workerd ended with ${code ?? signal}`)));
  const ports = {};
  for await (const event of createInterface({ input: child.stdout })) {
    const { socket, port } = JSON.parse(event);
    ports[socket] = `127.0.0.1:${port}`;
    if (ports.outbox && ports['debug-port']) break;
  }
  return { address: ports.outbox, debugPort: ports['debug-port'] };
}

function register(debugPortAddress) {
  const names = { defaultEntrypointService: 'outbox', userWorkerService: 'outbox' };
  const definition = text({ debugPortAddress, ...names, queueConsumers: queues, instanceId });
  const refresh = () => {
    for (const path of entries) {
      try {
        if (isOwn(path)) utimesSync(path, new Date(), new Date());
        else {
          mkdirSync(dirname(path), { recursive: true });
          writeFileSync(path, definition);
        }
      } catch (error) {
        fail(`the dev registry: ${error.message}`);
      }
    }
  };
  refresh();
  return setInterval(refresh, REFRESH);
}

// The debug ports of the sessions with a Worker that consumes the queue.
function consumers(queue) {
  const files = registries.flatMap((registry) => {
    try {
      return readdirSync(registry).map((name) => join(registry, name));
    } catch {
      return [];
    }
  });
  const isLive = (path) => (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) > Date.now() - STALE;
  const sessions = files.filter(isLive).map(read).filter((session) => session?.queueConsumers?.includes?.(queue));
  return sessions.filter((session) => session.instanceId !== instanceId).map((session) => session.debugPortAddress);
}

// A request to the broker of a queue in a session.
async function ask(outboxAddress, address, queue, path, body, headers = {}) {
  const response = await fetch(`http://${outboxAddress}/`, {
    method: 'POST',
    headers: { authorization: instanceId },
    body: text({ address, queue, path, headers, body }),
    signal: AbortSignal.timeout(TIMEOUT),
  });
  if (!response.ok) throw new Error(`status ${response.status}: ${(await response.text()).slice(0, 200)}`);
}

function isJson(body) {
  try {
    JSON.parse(body);
    return true;
  } catch {
    return false;
  }
}

// A message of a pull, as a broker takes it.
function handed({ id, timestamp_ms: timestamp, body, metadata }) {
  const contentType = metadata?.['CF-Content-Type'] ?? 'text';
  // The emulator returns JSON as text or in base64, as it is told to.
  const isText = contentType === 'text' || (contentType === 'json' && isJson(body));
  return { id, timestamp, contentType, body: isText ? Buffer.from(body).toString('base64') : body };
}

// Hands what waits in a queue over to a session, and returns how many messages it took. The session may have ended
// without a word, and a pull is an attempt, so it is asked before.
async function handOver(outboxAddress, queue) {
  const waiting = (await control('')).queues.find(({ queue_name: name }) => name === queue);
  if (!waiting || waiting.visible === 0 || waiting.settings.delivery_paused) return 0;
  const batch = (address, messages) => ask(outboxAddress, address, queue, '/batch', text({ messages }));
  for (const address of consumers(queue)) {
    try {
      await batch(address, []);
    } catch {
      continue;
    }
    const path = `/${waiting.queue_id}/messages`;
    const { messages = [] } = await api(`${path}/pull`, { body: { batch_size: 100 } });
    if (messages.length === 0) return 0;
    const leases = messages.map(({ lease_id }) => ({ lease_id }));
    try {
      await batch(address, messages.map(handed));
    } catch (error) {
      await api(`${path}/ack`, { body: { retries: leases } });
      throw error;
    }
    await api(`${path}/ack`, { body: { acks: leases } });
    return messages.length;
  }
  return 0;
}

async function deliverAll(outboxAddress, queue) {
  let failed;
  while (refreshing) {
    let count = 0;
    try {
      count = await handOver(outboxAddress, queue);
      failed = undefined;
    } catch (error) {
      const message = String(error.cause ?? error.message);
      if (message !== failed) process.stderr.write(`cf-queues: --deliver ${queue}: ${message}\n`);
      failed = message;
    }
    if (count === 0) await sleep(POLL);
  }
}

// Sends a message to a queue of its own, by the way that a session takes.
async function check(outboxAddress, debugPort, queue, id) {
  const body = text({ sent: 'by the check of --wrangler' });
  await ask(outboxAddress, debugPort, queue, '/message', body, { 'x-msg-fmt': 'json' });
  const messages = await control(`/queues/${id}/messages`);
  if (messages.length !== 1 || messages[0].body !== body) throw new Error(`a message arrived as ${text(messages)}`);
}

const checked = `wrangler-check-${instanceId.slice(0, 8)}`;
try {
  const { program, version } = workerd();
  const { queue_id: id } = await api('', { body: { queue_name: checked } });
  const { address, debugPort } = await start(program, [...queues, checked]);
  await check(address, debugPort, checked, id);
  await api(`/${id}`, { method: 'DELETE' });
  refreshing = register(debugPort);
  for (const queue of deliver) deliverAll(address, queue);
  process.stdout.write(`${text({ workerd: version })}\n`);
} catch (error) {
  await fail(String(error.cause ?? error.message));
}
