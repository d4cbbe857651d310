const handled = [];

// Keeps what it gets. A message with `fail` fails always, and one with `retry` at the first attempt.
export default {
  async queue({ messages }) {
    for (const message of messages) {
      const { id, body, attempts } = message;
      const isBytes = body instanceof ArrayBuffer || ArrayBuffer.isView(body);
      handled.push({ id, attempts, body: isBytes ? { bytes: [...new Uint8Array(body)] } : body });
      if (body.fail || (body.retry && attempts === 1)) message.retry();
      else message.ack();
    }
  },
  fetch: () => Response.json(handled),
};
