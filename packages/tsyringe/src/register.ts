import {
  type Backend,
  Conclave,
  type ConnectOptions,
  type Connector,
  CoordinationError,
  connect,
} from "@conclave/core";
import type { DependencyContainer } from "tsyringe";
import { BackendToken, ConclaveToken } from "./tokens.ts";

/** The options of `connect`, and what to connect to. */
export interface RegisterConclaveOptions extends ConnectOptions {
  /** What `connect` connects to: in production a connector such as `etcd({ … })`, in tests `memory()`. */
  readonly store: Connector | Backend;
}

/** A conclave in a container. Dispose it, or the container, to close the conclave. */
export interface ConclaveRegistration extends AsyncDisposable {
  /** What the container resolves `ConclaveToken` to; after disposal asking for it throws `CLOSED`. */
  readonly conclave: Conclave;
}

/** The containers that have a conclave, or soon will. */
const taken = new WeakSet<DependencyContainer>();

/**
 * Connects to a store and registers the conclave in a container: under `ConclaveToken`, under its class, and for the
 * tokens of its backend and recipes, in this container and its children. A failure to connect rejects as `connect` does
 * and leaves the container as it was.
 *
 * The conclave is closed when the registration or the container is disposed. What was injected then rejects with
 * `CLOSED`, and resolving more throws that. A container has one conclave at a time, and a second one is a `TypeError`; for
 * another, make a child container.
 *
 * tsyringe itself refuses to load without a reflect polyfill: let the program's first import be `reflect-metadata`.
 */
export async function registerConclave(
  container: DependencyContainer,
  { store, ...options }: RegisterConclaveOptions,
): Promise<ConclaveRegistration> {
  if (taken.has(container)) throw new TypeError("this container has a conclave: dispose it first, or use a child");
  taken.add(container);
  try {
    const conclave = await connect(store, options);
    try {
      return register(container, conclave);
    } catch (error) {
      await conclave.close();
      throw error;
    }
  } catch (error) {
    taken.delete(container);
    throw error;
  }
}

function register(container: DependencyContainer, conclave: Conclave): ConclaveRegistration {
  let closed = false;
  class Registration implements ConclaveRegistration {
    get conclave(): Conclave {
      if (closed) throw new CoordinationError("CLOSED", "the conclave of this container was closed");
      return conclave;
    }

    async dispose(): Promise<void> {
      const first = !closed;
      closed = true;
      await conclave.close();
      if (first) taken.delete(container);
    }

    [Symbol.asyncDispose](): Promise<void> {
      return this.dispose();
    }
  }
  // Made by the container, which therefore calls `dispose` when it is disposed itself.
  const registration = container.resolve(Registration);
  container.register(ConclaveToken, { useFactory: () => registration.conclave });
  container.register(Conclave, { useToken: ConclaveToken });
  container.register(BackendToken, { useFactory: () => registration.conclave.backend });
  return registration;
}
