import type { Backend, Conclave, Election, Mutex, Name, Service } from "@conclave/core";
import { type InjectionToken, inject, injectable } from "tsyringe";

/** The `Conclave` that `registerConclave` connected; its class resolves to the same. */
export const ConclaveToken: InjectionToken<Conclave> = Symbol("Conclave");

/** The conclave's namespace seen through the ports: `conclave.backend`. */
export const BackendToken: InjectionToken<Backend> = Symbol("Conclave's backend");

const mutexes = new Map<string, InjectionToken<Mutex>>();
const elections = new Map<string, InjectionToken<Election>>();
const services = new Map<string, InjectionToken<Service>>();

/**
 * The token of a mutex, the same one for the same name. It needs no registration of its own: any container that finds a
 * conclave resolves it, and a test may register something else for it. A name that cannot be one throws when the token is
 * resolved.
 *
 * Tokens are kept for as long as the program runs, so they are for names that are written in it. For a name made up as
 * it goes, one for each order, inject the conclave and call `conclave.mutex(name)`.
 */
export function mutexToken(name: Name): InjectionToken<Mutex> {
  return sameFor(mutexes, "mutex", name, (conclave) => conclave.mutex(name));
}

/** The token of an election, as `mutexToken` gives that of a mutex. */
export function electionToken(name: Name): InjectionToken<Election> {
  return sameFor(elections, "election", name, (conclave) => conclave.election(name));
}

/** The token of a service in the directory, as `mutexToken` gives that of a mutex. */
export function serviceToken(name: Name): InjectionToken<Service> {
  return sameFor(services, "service", name, (conclave) => conclave.service(name));
}

/**
 * A new token for anything else that a conclave hands out: give it a name for error messages, and how to make it. Each
 * resolution makes another.
 */
export function recipeToken<T extends object>(description: string, make: (conclave: Conclave) => T): InjectionToken<T> {
  // A token that is a class resolves in a container that never heard of it, and so in its children and in every test.
  function Recipe(conclave: Conclave): T {
    return make(conclave);
  }
  Object.defineProperty(Recipe, "name", { value: description });
  const token = Recipe as unknown as new (conclave: Conclave) => T;
  // What the compiler makes of decorators; done by hand it needs neither its flags nor metadata of types.
  inject(ConclaveToken)(token, undefined, 0);
  injectable<T>()(token);
  return token;
}

function sameFor<T extends object>(
  known: Map<string, InjectionToken<T>>,
  kind: string,
  name: Name,
  make: (conclave: Conclave) => T,
): InjectionToken<T> {
  const description = `${kind} ${JSON.stringify(name)}`;
  const token = known.get(description) ?? recipeToken(description, make);
  known.set(description, token);
  return token;
}
