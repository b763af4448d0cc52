/** What the queue of the evidence test carries. */
export type Task = { readonly number: number; readonly poisoned: boolean };
