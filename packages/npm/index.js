import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { program } from './program.js';

export async function startEmulator({ queues = [], frozen = true, args = [] } = {}) {
  const chosen = [...(frozen ? ['--frozen'] : []), ...queues.flatMap((queue) => ['--queue', queue]), ...args];
  // Its standard input ends with this process, however that ends.
  const fixed = ['emulator', '--port', '0', '--output', 'ndjson', '--exit-with-stdin'];
  const child = spawn(program(), [...fixed, ...chosen], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const failed = exited.then(([code]) => Promise.reject(new Error(`cf-queues emulator ended with ${code}`)));
  failed.catch(() => {});
  const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), failed]);
  const announced = JSON.parse(line);
  // It does not keep a program running that forgets to stop it.
  child.unref();
  child.stdin.unref();
  child.stdout.unref();

  async function control(method, path, body) {
    const options = { method, body: body && JSON.stringify(body) };
    const response = await fetch(`${announced.url}/_emulator${path}`, options);
    const { success, errors, result } = await response.json();
    if (!success) throw new Error(errors[0].message);
    return result;
  }

  return {
    pid: child.pid,
    url: announced.url,
    baseURL: announced.base_url,
    apiToken: announced.api_token,
    accountId: announced.account_id,
    queues: announced.queues,
    messages: (queue) => control('GET', `/queues/${encodeURIComponent(queue)}/messages`),
    seed: (queue, ...messages) => control('POST', `/queues/${encodeURIComponent(queue)}/messages`, { messages }),
    advance: (seconds) => control('POST', '/advance', { seconds }),
    fault: (fault) => control('POST', '/faults', fault),
    reset: () => control('POST', '/reset'),
    stop: async () => {
      child.ref();
      child.kill();
      await exited;
    },
  };
}
