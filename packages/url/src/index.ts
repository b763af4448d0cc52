export { connectUrl, fromUrl } from "./from-url.ts";
