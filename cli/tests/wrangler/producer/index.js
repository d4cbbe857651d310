// One body of each content type; `string` is sent with the default type. Each is new, since bytes that were sent are gone.
const bodies = () => ({
  text: ['plain words', 'text'],
  json: [{ hello: 'wörld' }, 'json'],
  string: ['a string', undefined],
  bytes: [new Uint8Array([0, 1, 2, 255, 254]), 'bytes'],
  v8: [new Map([['when', new Date(0)]]), 'v8'],
});

export default {
  async fetch(request, { JOBS }) {
    const { pathname, searchParams } = new URL(request.url);
    const delaySeconds = Number(searchParams.get('delay') ?? 0);
    try {
      if (pathname === '/batch') {
        await JOBS.sendBatch(Object.values(bodies()).map(([body, contentType]) => ({ body, contentType })), { delaySeconds });
      } else {
        const [body, contentType] = bodies()[pathname.slice(1)];
        await JOBS.send(body, { contentType, delaySeconds });
      }
      return new Response('sent');
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  },
};
