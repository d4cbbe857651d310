// A Worker that consumes a queue in miniflare, and passes the messages on to the emulator.
function encoded(body) {
  const isBytes = body instanceof ArrayBuffer || ArrayBuffer.isView(body);
  const [contentType, bytes] = isBytes
    ? ['bytes', new Uint8Array(body.buffer ?? body)]
    : typeof body === 'string'
      ? ['text', new TextEncoder().encode(body)]
      : ['json', new TextEncoder().encode(JSON.stringify(body))];
  return { contentType, body: btoa(String.fromCharCode(...bytes)) };
}

export default {
  async queue({ queue, messages }, { EMULATOR }) {
    const entries = messages.map(({ id, timestamp, body }) => ({ id, timestamp: timestamp.getTime(), ...encoded(body) }));
    const request = { method: 'POST', body: JSON.stringify({ messages: entries }) };
    const response = await fetch(`${EMULATOR}/_emulator/queues/${queue}/broker/batch`, request);
    if (!response.ok) throw new Error(await response.text());
  },
};
