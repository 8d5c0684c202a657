import type { OperationScope } from './operation-scope.ts';

/** What the gateway tells of what goes on at its edge; every call is cheap and never throws. */
export interface GatewayMeter {
  /** An operation's last answer is out. */
  operationEnded(operation: EndedOperation): void;
  /** A WebSocket or an event stream has come; the function is to be called when it is gone. */
  connectionOpened(transport: 'websocket' | 'sse'): () => void;
  /** A reader was closed because it takes nothing. */
  slowReaderClosed(): void;
}

/** An operation as it ended. */
export interface EndedOperation extends Pick<OperationScope, 'transport' | 'operationType' | 'errorCodes'> {
  durationMs: number;
}
