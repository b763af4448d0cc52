import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Where a certificate and its key are, and what is in them. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** A private authority, a certificate for a server on loopback, and one for a client named `common name`. */
export interface Certificates extends Disposable {
  readonly caFile: string;
  readonly ca: Buffer;
  readonly server: Certificate;
  readonly client: Certificate;
}

/** Makes throw-away certificates with the `openssl` command, in a temporary folder that disposing removes. */
export function makeCertificates({ clientName = "root" }: { clientName?: string } = {}): Certificates {
  const folder = mkdtempSync(join(tmpdir(), "conclave-tls-"));
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

  openssl(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-days",
    "2",
    "-subj",
    "/CN=test authority",
  );
  function sign(name: string, commonName: string, extensions: string): Certificate {
    writeFileSync(at(`${name}.ext`), extensions);
    openssl("req", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${commonName}`);
    const authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    openssl("x509", "-req", "-in", `${name}.csr`, ...authority, "-extfile", `${name}.ext`, "-out", `${name}.pem`);
    const [certFile, keyFile] = [at(`${name}.pem`), at(`${name}.key`)];
    return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
  }
  const names = "subjectAltName=IP:127.0.0.1,DNS:localhost\n";
  return {
    caFile: at("ca.pem"),
    ca: readFileSync(at("ca.pem")),
    server: sign("server", "localhost", `${names}extendedKeyUsage=serverAuth,clientAuth\n`),
    client: sign("client", clientName, "extendedKeyUsage=clientAuth\n"),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
