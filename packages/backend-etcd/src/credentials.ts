import { hasDetails } from "./outcome.ts";

/** The login of one client: a single token that every call shares, and a single request for it however many wait. */
export class Credentials {
  readonly #login: () => Promise<{ readonly token: string }>;
  #pending: Promise<string | undefined> | undefined;
  /** What the last login gave; null while there is no login to refuse. */
  #current: string | undefined | null = null;

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
    if (token !== this.#current) return;
    this.#current = null;
    this.#pending = undefined;
  }

  async #ask(): Promise<string | undefined> {
    try {
      const { token } = await this.#login();
      this.#current = token;
      return token;
    } catch (error) {
      if (hasDetails((error as Error).cause, /authentication is not enabled/)) {
        this.#current = undefined;
        return undefined;
      }
      this.#pending = undefined;
      throw error;
    }
  }
}
