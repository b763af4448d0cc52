export { etcd } from "./etcd.ts";
export type { EtcdOptions, EtcdTls } from "./options.ts";
//# sourceMappingURL=index.d.ts.map
