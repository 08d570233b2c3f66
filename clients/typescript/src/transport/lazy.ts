// A transport whose code is loaded when it is first used.

import type { Link, Transport } from '../api.ts';

/** What `load` brings, or `otherwise` when it cannot be loaded. */
export const lazy = (load: () => Promise<Transport>, otherwise: Transport): Transport => ({
  open(target, handler) {
    let link: Link | undefined;
    let isClosed = false;
    load()
      .catch(() => otherwise)
      .then(transport => {
        if (!isClosed) link = transport.open(target, handler);
      });
    return {
      get streams() {
        return link?.streams ?? 1;
      },
      get buffered() {
        return link?.buffered ?? 0;
      },
      send: (bytes, stream) => link?.send(bytes, stream),
      close(code, reason) {
        isClosed = true;
        link?.close(code, reason);
      },
    };
  },
});
