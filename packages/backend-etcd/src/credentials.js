import { hasDetails } from "./outcome.js";
/** The login of one client: a single token that every call shares, and a single request for it however many wait. */
export class Credentials {
  #login;
  #pending;
  #current;
  constructor(login) {
    this.#login = login;
  }
  /** The token to send; undefined on a server that has authentication turned off. */
  token() {
    this.#pending ??= this.#ask();
    return this.#pending;
  }
  /** Tells that a server no longer takes this token. Unless that is old news, the next `token()` logs in anew. */
  refused(token) {
    if (token === this.#current) this.#pending = undefined;
  }
  async #ask() {
    try {
      this.#current = (await this.#login()).token;
    } catch (error) {
      this.#current = undefined;
      if (!hasDetails(error.cause, /authentication is not enabled/)) {
        this.#pending = undefined;
        throw error;
      }
    }
    return this.#current;
  }
}
//# sourceMappingURL=credentials.js.map
