// The real server: started, killed with SIGKILL by its process id, started again on the same state.
import { spawn, spawnSync } from "node:child_process";
import dgram from "node:dgram";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
export const BINARY = process.env.REKINDLE_BIN ?? path.join(ROOT, "target/release/rekindle");

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** The same clock as in the pages: ms since 1970, with fractions. */
export const clock = () => performance.timeOrigin + performance.now();

/** An address of this machine that is not loopback, where there is one: Firefox offers no loopback candidate. */
export function ownAddress() {
  for (const addresses of Object.values(os.networkInterfaces())) {
    for (const { family, internal, address } of addresses) if (family === "IPv4" && !internal) return address;
  }
  return "127.0.0.1";
}

export async function freeTcpPort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  await new Promise((resolve) => server.close(() => resolve(null)));
  return port;
}

/** A UDP port that nobody has at this moment. */
export async function freeUdpPort() {
  const socket = dgram.createSocket("udp4");
  await new Promise((resolve) => socket.bind(0, "0.0.0.0", () => resolve(null)));
  const { port } = socket.address();
  await new Promise((resolve) => socket.close(() => resolve(null)));
  return port;
}

export class Server {
  /** The folder that it runs in. @type {string} */
  dir;
  /** @type {string} */
  host;
  /** Where HTTP listens, if that is not the host of its URL. @type {string | undefined} */
  listen;
  /** @type {number} */
  port;
  /** @type {string} */
  udpHost;
  /** @type {number} */
  udpPort;
  /** What runs a command on its host. @type {string[]} */
  words;
  /** @type {string[]} */
  args;
  /** `rekindle supervise` holds the ports and starts the server again. */
  supervised = false;
  /** `rekindle demo`, which has a folder of its own below this one. */
  demo = false;
  /** HTTPS, with a certificate that nobody has signed. */
  tls = false;
  /** When each process was started. @type {number[]} */
  starts = [];
  /** The last one. @type {import("node:child_process").ChildProcess} */
  process;
  /** Resolves when that one has ended. @type {Promise<{ code: number | null, signal: string | null }>} */
  exited;

  /**
   * @param {{ args?: string[], udpHost?: string, host?: string, listen?: string, words?: string[], supervised?: boolean, demo?: boolean, tls?: boolean }} [options] `words`: what runs a command on
   *   another host; `listen`: where HTTP listens, if that is not the host of its URL; `supervised`: whether `rekindle supervise` holds the ports and starts the server again; `tls`: whether it speaks HTTPS
   */
  static async make(options = {}) {
    const server = new Server();
    server.dir = fs.mkdtempSync(path.join(os.tmpdir(), "rekindle-browser-"));
    server.port = await freeTcpPort();
    server.udpPort = await freeUdpPort();
    server.udpHost = options.udpHost ?? "0.0.0.0";
    server.host = options.host ?? "127.0.0.1";
    server.listen = options.listen;
    server.words = options.words ?? [];
    server.supervised = options.supervised ?? false;
    // Options for all servers of a run, such as "--mode full-state".
    const common = (process.env.REKINDLE_SERVE_ARGS ?? "").split(" ").filter(Boolean);
    server.args = [...common, ...(options.args ?? [])];
    server.demo = options.demo ?? false;
    server.tls = options.tls ?? false;
    if (server.tls) server.args.push("--tls-cert", "tls/cert.pem", "--tls-key", "tls/key.pem");
    if (server.tls) server.certify();
    return server;
  }

  /** Makes a certificate and its key, in the folder `tls`. */
  certify() {
    fs.mkdirSync(path.join(this.dir, "tls"));
    const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost"];
    const files = ["-keyout", "tls/key.pem", "-out", "tls/cert.pem"];
    const names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    const made = spawnSync("openssl", ["req", ...kind, ...files, ...names], { cwd: this.dir, encoding: "utf8" });
    if (made.status !== 0) throw new Error(`openssl makes no certificate: ${made.error?.message ?? made.stderr}`);
    fs.chmodSync(path.join(this.dir, "tls/key.pem"), 0o600);
  }

  get url() {
    return `${this.tls ? "https" : "http"}://${this.host}:${this.port}`;
  }

  get logFile() {
    return path.join(this.dir, "server.log");
  }

  /** Starts the process; does not wait until it serves. */
  spawn() {
    const runs = this.process && this.process.exitCode === null && this.process.signalCode === null;
    if (this.supervised && runs) return clock();
    const log = fs.openSync(this.logFile, "a");
    const args = [...(this.supervised ? ["supervise", "--"] : []), "serve", "--http", `${this.listen ?? this.host}:${this.port}`, "--udp", `${this.udpHost}:${this.udpPort}`];
    // State folder and key file are made in the working folder on the first start.
    args.push(...this.args);
    const startedAt = clock();
    if (this.demo) args.splice(0, args.length, "demo", "--http", `${this.host}:${this.port}`);
    const [program, ...words] = [...this.words, BINARY, ...args];
    this.process = spawn(program, words, { cwd: this.dir, stdio: ["ignore", log, log], env: { ...process.env, REKINDLE_JOIN_RATE: "0", REKINDLE_LOG_FORMAT: "text", ...(this.demo && { TMPDIR: this.dir }) } });
    fs.closeSync(log);
    this.process.on("error", (error) => console.error(`cannot start ${BINARY}: ${error.message}`));
    this.exited = new Promise((resolve) => this.process.once("exit", (code, signal) => resolve({ code, signal })));
    this.starts.push(startedAt);
    return startedAt;
  }

  async start() {
    const startedAt = this.spawn();
    await this.ready();
    return startedAt;
  }

  /** Waits until HTTP is answered. */
  async ready(timeout = 10_000) {
    const end = clock() + timeout;
    for (;;) {
      if (this.process.exitCode !== null) throw new Error(`the server stopped (${this.process.exitCode}):\n${this.log()}`);
      const status = await this.get("/healthz").then((answer) => answer.status, () => 0);
      if (status === 200) return;
      if (clock() > end) throw new Error(`the server does not answer:\n${this.log()}`);
      await sleep(5);
    }
  }

  /** The server behind a supervisor, by the supervisor's log. */
  #supervisedPid() {
    const line = fs.readFileSync(this.logFile, "utf8").split("\n").findLast((text) => text.includes("the server is up"));
    return Number(/pid=(\d+)/.exec(line)[1]);
  }

  /** Has the supervisor put a new process in the server's place. */
  async handOver() {
    this.process.kill("SIGHUP");
    return clock();
  }

  /** SIGKILL, by process id. Resolves when the process is gone; at once where a supervisor starts the next one. */
  async kill() {
    if (this.supervised) {
      process.kill(this.#supervisedPid(), "SIGKILL");
      return clock();
    }
    return this.#killProcess();
  }

  async #killProcess() {
    process.kill(this.process.pid, "SIGKILL");
    const killedAt = clock();
    await this.exited;
    return killedAt;
  }

  /** @returns {Promise<{ status: number, headers: http.IncomingHttpHeaders, text: string }>} */
  get(pathname) {
    return new Promise((resolve, reject) => {
      const options = { timeout: 2000, agent: new (this.tls ? https : http).Agent({ rejectUnauthorized: false }) };
      const request = (this.tls ? https : http).get(this.url + pathname, options, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk) => (text += chunk));
        response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }));
      });
      request.on("timeout", () => request.destroy(new Error("no answer")));
      request.on("error", reject);
    });
  }

  /**
   * When the process that runs now began to serve, by its own log; null if it does not say. A machine that is shared with others may
   * take its time to run a program at all.
   */
  upAt() {
    const line = this.log(40).split("\n").findLast((text) => /are awaited/.test(text));
    const time = line && Date.parse(line.slice(0, line.indexOf("Z") + 1));
    return time && time >= this.starts.at(-1) - 1 ? time : null;
  }

  log(lines = 30) {
    return fs.readFileSync(this.logFile, "utf8").split("\n").slice(-lines).join("\n");
  }

  /**
   * Ends the server by SIGKILL and looks at what it has left: the auditor's report, and what the independent decoder in Python says of it
   * (null without a Python that has its packages, as target/venv has).
   */
  async left() {
    await this.kill();
    const run = (program, args, input) => spawnSync(program, args, { cwd: this.dir, input, encoding: "utf8", maxBuffer: 1 << 28 });
    const key = ["--key-file", "rekindle-key.txt"];
    const audit = run(BINARY, ["audit", "rekindle-state", ...key, "--json"]);
    const python = process.env.REKINDLE_PYTHON ?? path.join(ROOT, "target/venv/bin/python");
    const decoder = path.join(ROOT, "tests/persisted_format/decode.py");
    const decoded = fs.existsSync(python) ? run(python, [decoder, ...key, "--report", "-", "rekindle-state"], audit.stdout) : null;
    return { report: JSON.parse(audit.stdout), decoder: decoded && { code: decoded.status, said: decoded.stdout + decoded.stderr } };
  }

  async close() {
    if (this.process && this.process.exitCode === null && this.process.signalCode === null) await this.#killProcess();
    if (!process.env.REKINDLE_KEEP) fs.rmSync(this.dir, { recursive: true, force: true });
  }
}
