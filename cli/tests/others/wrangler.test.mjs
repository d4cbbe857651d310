import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const env = { ...process.env, CI: '1', NO_COLOR: '1', WRANGLER_SEND_METRICS: 'false' };

function queues(...args) {
  const command = [join('node_modules', 'wrangler', 'bin', 'wrangler.js'), 'queues', ...args];
  return execFileSync(process.execPath, command, { env, encoding: 'utf8' });
}

test('wrangler manages queues, consumers and subscriptions', () => {
  queues('create', 'jobs-dead');
  queues('create', 'jobs', '--delivery-delay-secs', '5');
  queues('consumer', 'http', 'add', 'jobs', '--batch-size', '7', '--dead-letter-queue', 'jobs-dead');
  queues('update', 'jobs', '--message-retention-period-secs', '3600');
  queues('pause-delivery', 'jobs');
  queues('resume-delivery', 'jobs');
  queues('purge', 'jobs', '--force');
  const subscription = ['--source', 'workersBuilds.worker', '--events', 'build.started', '--worker-name', 'shop'];
  queues('subscription', 'create', 'jobs', ...subscription);
  assert.match(queues('subscription', 'list', 'jobs'), /build\.started/);
  assert.match(queues('list'), /jobs-dead/);
  assert.match(queues('info', 'jobs'), /Number of Consumers: 1/i);
  queues('consumer', 'http', 'remove', 'jobs');
  queues('delete', 'jobs');
  assert.doesNotMatch(queues('list'), /\bjobs\s/);
});
