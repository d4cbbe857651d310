#!/usr/bin/env node
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { program } from './program.js';

function fail(error) {
  console.error(`cf-queues: ${error.message}`);
  process.exit(1);
}

let child;
try {
  child = spawn(program(), process.argv.slice(2), { stdio: 'inherit' });
} catch (error) {
  fail(error);
}
child.on('error', fail);
child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));

for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
// A terminal sends ctrl-c to both, and the program takes a second one as "at once".
process.on('SIGINT', () => process.stderr.isTTY || child.kill('SIGINT'));

// npx runs this in a shell that forwards no signal. When the shell is gone, so is whoever wanted the program.
if (process.env.npm_command === 'exec' && process.platform !== 'win32') {
  const { ppid } = process;
  setInterval(() => process.ppid === ppid || child.kill(), 200).unref();
}
