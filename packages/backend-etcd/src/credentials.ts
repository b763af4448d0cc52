import { hasDetails } from "./outcome.ts";

/** The login of one client: a single token that every call shares, and a single request for it however many wait. */
export class Credentials {
  readonly #login: () => Promise<{ readonly token: string }>;
  #pending: Promise<string | undefined> | undefined;
  #current: string | undefined;

  constructor(login: () => Promise<{ readonly token: string }>) {
    this.#login = login;
  }

  /** The token to send; undefined on a server that has authentication turned off. */
  token(): Promise<string | undefined> {
    this.#pending ??= this.#ask();
    return this.#pending;
  }

  /** Tells that a server no longer takes this token. Unless that is old news, the next `token()` logs in anew. */
  refused(token: string | undefined): void {
    if (token === this.#current) this.#pending = undefined;
  }

  async #ask(): Promise<string | undefined> {
    try {
      this.#current = (await this.#login()).token;
    } catch (error) {
      this.#current = undefined;
      if (!hasDetails((error as Error).cause, /authentication is not enabled/)) {
        this.#pending = undefined;
        throw error;
      }
    }
    return this.#current;
  }
}
