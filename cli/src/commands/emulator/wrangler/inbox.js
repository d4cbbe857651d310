// Stands for the broker of a queue: what Workers send goes to the emulator.
export default {
  async fetch(request, { BROKER }) {
    try {
      return await fetch(BROKER + new URL(request.url).pathname, request);
    } catch (error) {
      // With 503, wrangler would drop the message, and the Worker's `send()` would succeed.
      const cause = `the emulator of cf-queues cannot be reached: ${error.message}`;
      const headers = { 'cf-queues-error-code': '15000', 'cf-queues-error-cause': cause };
      return new Response(cause, { status: 502, headers });
    }
  },
};
