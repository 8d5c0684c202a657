import type { Actor } from '../../src/store/audit.ts';

/** Who makes the changes that a test makes without the API. */
export const testActor: Actor = { kind: 'ADMINISTRATOR', apiKeyId: null, requestId: null };
