/**
 * What calls cost on a store when nothing is in their way: how often the client has to speak after the store has, so how
 * many round trips a caller waits for. What is sent at once is one.
 */
export interface Costs {
  readonly get: number;
  readonly list: number;
  /** A commit of a put, without conditions. */
  readonly put: number;
  /** A commit that creates a key if it is absent. */
  readonly create: number;
  /** A commit that writes a key if it is unchanged. */
  readonly compareAndSet: number;
  /** A commit whose condition fails, which reads instead. */
  readonly refusal: number;
  /** A commit that only reads, under a condition that holds. */
  readonly snapshot: number;
  /** A commit of a put on a lease. */
  readonly leasedPut: number;
  readonly grant: number;
  readonly keepAlive: number;
  readonly revoke: number;
  /** Another watch, where one is open. */
  readonly watch: number;
}

/** Of a store that does each in one step, which is what the ports are made for. */
export const oneRoundTripEach: Costs = {
  get: 1,
  list: 1,
  put: 1,
  create: 1,
  compareAndSet: 1,
  refusal: 1,
  snapshot: 1,
  leasedPut: 1,
  grant: 1,
  keepAlive: 1,
  revoke: 1,
  watch: 1,
};
