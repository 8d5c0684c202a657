/* global WebSocket, fetch, location */
// Runs in the browser, inlined into the GraphiQL page. Yoga's own fetcher gives the headers editor to HTTP requests only;
// this one also sends them as a WebSocket's connectionParams, one socket per subscription, so that each tab has its own key.

// oxlint-disable-next-line no-unused-vars -- the page names it
function posthornFetcher({ query, variables, operationName }, { headers = {}, documentAST } = {}) {
  const operations = (documentAST?.definitions ?? []).filter(({ kind }) => kind === 'OperationDefinition');
  const operation = operations.find(({ name }) => !operationName || name?.value === operationName);
  const request = { query, variables: variables ?? undefined, operationName: operationName ?? undefined };
  // The placeholder of the headers editor is no key, not a wrong one: the schema can be read before there is one.
  const filledIn = Object.fromEntries(Object.entries(headers).filter(([, value]) => !/<.*>/.test(value)));
  return operation?.operation === 'subscription' ? overWebSocket(request, filledIn) : overHttp(request, filledIn);
}

async function overHttp(request, headers) {
  const response = await fetch(location.pathname, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify(request),
  });
  return await response.json();
}

function overWebSocket(request, connectionParams) {
  return {
    subscribe(observer) {
      const url = new URL(location.pathname, location.href.replace(/^http/, 'ws'));
      const socket = new WebSocket(url, 'graphql-transport-ws');
      const send = (message) => socket.send(JSON.stringify(message));
      let ended = false;
      const end = (tell) => {
        if (!ended) tell();
        ended = true;
        socket.close(1000);
      };
      const handlers = {
        connection_ack: () => send({ id: '1', type: 'subscribe', payload: request }),
        ping: () => send({ type: 'pong' }),
        next: ({ payload }) => observer.next(payload),
        error: ({ payload }) => end(() => observer.error({ errors: payload })),
        complete: () => end(() => observer.complete()),
      };
      socket.addEventListener('open', () => send({ type: 'connection_init', payload: connectionParams }));
      socket.addEventListener('message', ({ data }) => {
        const message = JSON.parse(data);
        handlers[message.type]?.(message);
      });
      socket.addEventListener('close', ({ code, reason }) =>
        end(() => observer.error({ message: `The connection was closed: ${code} ${reason}` })),
      );
      return { unsubscribe: () => end(() => undefined) };
    },
  };
}
