// Passes a request on to the broker of a queue in the session that has this debug port.
export default {
  async fetch(request, { DEBUG, TOKEN }) {
    // Any web page can send a request to this port.
    if (request.headers.get('authorization') !== TOKEN) return new Response('not allowed', { status: 403 });
    const { address, queue, path, headers, body } = await request.json();
    try {
      const client = await DEBUG.connect(address);
      const broker = client.getEntrypoint(`queues:queue:${queue}`);
      return await broker.fetch(`http://broker${path}`, { method: 'POST', headers, body });
    } catch (error) {
      return new Response(String(error), { status: 502 });
    }
  },
};
