export { etcd } from "./etcd.js";
//# sourceMappingURL=index.js.map
