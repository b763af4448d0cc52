import type { Settings } from "./options.ts";

/** Where the primary is, as far as one client knows; its connections share it. */
export class Route {
  readonly settings: Settings;

  constructor(settings: Settings) {
    this.settings = settings;
  }
}
