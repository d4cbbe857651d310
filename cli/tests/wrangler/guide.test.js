// The example of the guide's chapter on Workers, as it is printed there.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

const guide = readFileSync('workers.md', 'utf8');
const block = (language) => guide.split(`\`\`\`${language}\n`)[1].split('```')[0];

test('the lines of the guide pass messages in both directions', async () => {
  mkdirSync('shop', { recursive: true });
  writeFileSync(join('shop', 'wrangler.jsonc'), block('jsonc'));
  writeFileSync(join('shop', 'shop.js'), block('js'));
  rmSync(join('shop', 'emulator.env'), { force: true });
  const [emulator, wrangler, ...rest] = block('sh').trim().replaceAll(' &\n', '\n').split('\n');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  const home = mkdtempSync(join(tmpdir(), 'wrangler-'));
  const env = { ...process.env, XDG_CONFIG_HOME: home, CI: '1', NO_COLOR: '1', WRANGLER_SEND_METRICS: 'false' };
  const options = { cwd: 'shop', env, shell: true, detached: true };
  let log = '';
  const run = (command) => {
    const child = spawn(command, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (log += data));
    return child;
  };
  const children = [run(`${emulator} --port 0`)];
  const eventually = async (condition) => {
    for (const last = Date.now() + 60_000; Date.now() < last; await sleep(20)) {
      if (condition()) return;
      if (children.some((child) => child.exitCode !== null)) break;
    }
    assert.fail(`ended, or not in time: ${log}`);
  };
  try {
    await eventually(() => existsSync(join('shop', 'emulator.env')));
    children.push(run(`${wrangler} --port ${port} --inspector-port 0`));
    await eventually(() => log.includes('Ready on'));
    const script = rest.join('\n').replace('localhost:8787', `127.0.0.1:${port}`);
    const output = execFileSync('sh', ['-e', '-c', script], { cwd: 'shop', env, encoding: 'utf8', timeout: 60_000 });
    assert.match(output, /^sent\n/);
    assert.match(output, /\{"job":"invoice"\}/);
    await eventually(() => log.includes('an order: 7'));
  } finally {
    const running = children.filter((child) => child.exitCode === null && child.signalCode === null);
    for (const child of running) process.kill(-child.pid);
    await Promise.all(running.map((child) => once(child, 'exit')));
    rmSync(home, { recursive: true, force: true });
  }
});
