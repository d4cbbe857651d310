import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

const launcher = join('node_modules', 'cf-queues', 'launcher.js');

// Starts an emulator in the background, and gives its address once it is ready.
async function start(command, args, options) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options });
  const failed = once(child, 'exit').then(([code]) => assert.fail(`it ended with ${code}`));
  failed.catch(() => {});
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), failed]);
  return { child, url: JSON.parse(line).url };
}

// Waits until nothing accepts connections there.
async function ended(url) {
  const { hostname, port } = new URL(url);
  for (const last = Date.now() + 30_000; Date.now() < last; ) {
    const socket = connect(port, hostname);
    try {
      await once(socket, 'connect');
    } catch {
      return;
    }
    socket.destroy();
  }
  assert.fail('it still runs');
}

test('the launcher returns the exit code of the program', () => {
  assert.equal(spawnSync(process.execPath, [launcher, '--version']).status, 0);
  assert.equal(spawnSync(process.execPath, [launcher, 'no-such-command']).status, 2);
});

test('a signal to the launcher ends the program', { skip: process.platform === 'win32' }, async () => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    const { child } = await start(process.execPath, [launcher, 'emulator', '--port', '0']);
    child.kill(signal);
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  }
});

test('npx that is killed leaves no program', { skip: process.platform === 'win32' }, async () => {
  const { child, url } = await start('npx', ['cf-queues', 'emulator', '--port', '0']);
  child.kill();
  await ended(url);
});

test('an emulator ends with the process that started it', async () => {
  for (const end of ['', 'process.exit()', "process.kill(process.pid, 'SIGKILL')"]) {
    const script = `import { startEmulator } from 'cf-queues';
      const { url } = await startEmulator();
      console.log(JSON.stringify({ url }));
      ${end}`;
    const { url } = await start(process.execPath, ['--input-type=module', '--eval', script]);
    await ended(url);
  }
});

test('a program that is missing is named, with what to do', () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'cf-queues-')));
  cpSync(join('node_modules', 'cf-queues'), folder, { recursive: true });
  const options = { encoding: 'utf8', env: { ...process.env, CF_QUEUES: '' } };
  const { status, stderr } = spawnSync(process.execPath, [join(folder, 'launcher.js')], options);
  rmSync(folder, { recursive: true });
  assert.equal(status, 1);
  assert.match(stderr, /^cf-queues: the package @cf-queues\/\S+ is not installed\. .*CF_QUEUES/);
});
