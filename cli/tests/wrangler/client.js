// What a program outside Workers does with a queue of the emulator.
export class Queue {
  constructor({ baseURL, apiToken, accountId, queues }, name) {
    this.url = `${baseURL}/accounts/${accountId}/queues/${queues[name]}/messages`;
    this.headers = { authorization: `Bearer ${apiToken}`, 'content-type': 'application/json' };
  }

  async #post(path, body) {
    const response = await fetch(this.url + path, { method: 'POST', headers: this.headers, body: JSON.stringify(body) });
    const { success, errors, result } = await response.json();
    if (!success) throw new Error(errors[0].message);
    return result;
  }

  push = (body, content_type = 'json') => this.#post('', { body, content_type });
  pull = async () => (await this.#post('/pull', { batch_size: 100 })).messages;
  ack = (acks, retries = []) => this.#post('/ack', { acks, retries });

  // Pulls, and settles what `handle` says: it takes messages as `queue()` does, and returns the ids to retry with delays.
  async deliver(handle) {
    const pulled = await this.pull();
    const messages = pulled.map(({ id, timestamp_ms, attempts, body, metadata }) => {
      const isJson = metadata['CF-Content-Type'] === 'json';
      return { id, timestamp: new Date(timestamp_ms), attempts, body: isJson ? JSON.parse(body) : body };
    });
    const retries = await handle(messages);
    const lease = ({ id, lease_id }) => ({ lease_id, ...(retries.has(id) && { delay_seconds: retries.get(id) ?? 0 }) });
    const [failed, done] = [true, false].map((fails) => pulled.filter(({ id }) => retries.has(id) === fails).map(lease));
    return this.ack(done, failed);
  }
}
