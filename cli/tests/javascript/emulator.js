import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

// Starts an emulator on a free port, whose clock stands still. CF_QUEUES is where the program is, if not on the path.
export async function startEmulator(...options) {
  const program = process.env.CF_QUEUES ?? 'cf-queues';
  const child = spawn(program, ['emulator', '--port', '0', '--frozen', '--output', 'ndjson', ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const failed = exited.then(([code]) => Promise.reject(new Error(`${program} ended with ${code}`)));
  failed.catch(() => {});
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), failed]);
  const emulator = JSON.parse(line);

  async function control(method, path, body) {
    const response = await fetch(`${emulator.url}/_emulator${path}`, { method, body: body && JSON.stringify(body) });
    const { success, errors, result } = await response.json();
    if (!success) throw new Error(errors[0].message);
    return result;
  }

  return {
    ...emulator,
    messages: (queue) => control('GET', `/queues/${queue}/messages`),
    advance: (seconds) => control('POST', '/advance', { seconds }),
    inject: (fault) => control('POST', '/faults', fault),
    reset: () => control('POST', '/reset'),
    stop: () => child.kill() && exited,
  };
}
