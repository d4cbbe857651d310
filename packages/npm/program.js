import { createRequire } from 'node:module';

const platform = `${process.platform}-${process.arch}`;

// Where the program is: $CF_QUEUES, or the package for this platform.
export function program() {
  if (process.env.CF_QUEUES) return process.env.CF_QUEUES;
  const name = process.platform === 'win32' ? 'cf-queues.exe' : 'cf-queues';
  try {
    return createRequire(import.meta.url).resolve(`@cf-queues/${platform}/${name}`);
  } catch {
    throw new Error(
      `the package @cf-queues/${platform} is not installed. Either there is none for this platform, or it was left ` +
        'out (npm install --omit=optional, or node_modules of another platform). Set CF_QUEUES to a program to use.',
    );
  }
}
