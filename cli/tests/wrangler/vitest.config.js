import { readFileSync } from 'node:fs';
import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { startEmulator } from 'cf-queues';
import { defineConfig } from 'vitest/config';

// It ends with the run.
const { url, baseURL, apiToken, accountId, queues } = await startEmulator({ queues: ['jobs', 'orders,max_retries=1'] });

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: './producer/wrangler.jsonc' },
      miniflare: {
        bindings: { EMULATOR: { baseURL, apiToken, accountId, queues } },
        workers: [
          {
            name: 'forward',
            modules: true,
            script: readFileSync('forward.js', 'utf8'),
            compatibilityDate: '2026-10-01',
            queueConsumers: { jobs: { maxBatchTimeout: 0, maxRetries: 100 } },
            bindings: { EMULATOR: url },
          },
        ],
      },
    }),
  ],
  test: { include: ['vitest.spec.js'] },
});
