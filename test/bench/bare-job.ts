/** The queue of the bare loop. */
export const bareQueueName = 'bare';

/** A job of the bare loop: everything that is sent, since there is no database to read it from. */
export interface BareJob {
  id: string;
  path: string;
  body: string;
}
