// Servers that share one vault in a real etcd.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { BINARY, Server, clock, freeTcpPort, sleep } from "./server.js";

/** As the shell finds it. */
const ETCD = "etcd";

/** Why there can be no cluster here, if so. */
export function clusterIsMissing() {
  if (spawnSync(ETCD, ["--version"]).error) return "there is no etcd (Debian: etcd-server)";
  const said = spawnSync(BINARY, ["serve", "--vault", "etcd://127.0.0.1:1/x", "--mode", "full-state"], { encoding: "utf8" }).stderr;
  return /--features etcd/.test(said) ? `${BINARY} is built without etcd` : null;
}

/** One member of etcd, with a folder of its own. */
export class Etcd {
  /** @type {string} */
  dir;
  /** @type {string} */
  host;
  /** What runs a command on its host. @type {string[]} */
  words;
  /** @type {number} */
  port;
  /** For members among themselves. @type {number} */
  peerPort;
  /** @type {import("node:child_process").ChildProcess} */
  process;

  /** @param {string} dir @param {{ host?: string, words?: string[] }} [options] */
  static async start(dir, { host = "127.0.0.1", words = [] } = {}) {
    const etcd = new Etcd();
    etcd.dir = dir;
    etcd.host = host;
    etcd.words = words;
    etcd.port = await freeTcpPort();
    etcd.peerPort = await freeTcpPort();
    await etcd.start();
    return etcd;
  }

  async start() {
    const [client, peer] = [this.port, this.peerPort].map((port) => `http://${this.host}:${port}`);
    const log = fs.openSync(path.join(this.dir, "etcd.log"), "a");
    const args = ["--name", "one", "--data-dir", path.join(this.dir, "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client];
    args.push("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", `one=${peer}`);
    const [program, ...words] = [...this.words, ETCD, ...args];
    this.process = spawn(program, words, { stdio: ["ignore", log, log] });
    fs.closeSync(log);
    const end = clock() + 20_000;
    while (!(await this.#isUp())) {
      if (clock() > end || this.process.exitCode !== null) throw new Error(`etcd does not start:\n${fs.readFileSync(path.join(this.dir, "etcd.log"), "utf8").slice(-2000)}`);
      await sleep(50);
    }
  }

  /** @returns {Promise<boolean>} */
  #isUp() {
    return new Promise((resolve) => {
      const request = http.get(`http://${this.host}:${this.port}/health`, { timeout: 500 }, (response) => resolve(response.resume().statusCode === 200));
      request.on("timeout", () => request.destroy());
      request.on("error", () => resolve(false));
    });
  }

  /** @param {NodeJS.Signals} [signal] */
  async kill(signal = "SIGKILL") {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill(signal);
    await ended;
  }
}

export class Cluster {
  /** @type {string} */
  dir;
  /** @type {Etcd} */
  etcd;
  /** @type {Server[]} */
  nodes = [];

  /** Where operators ask each node, if they do. @type {number[]} */
  admin = [];

  /**
   * @param {{ nodes?: number, args?: string[], admin?: boolean, hosts?: Host[], store?: Host }} [options] `hosts`: where each node runs, and `store`: where
   *   etcd does, if not on this one
   *
   * @typedef {{ address: string, words: string[] }} Host
   */
  static async open({ nodes = 3, args = [], admin = false, hosts = [], store } = {}) {
    const cluster = new Cluster();
    cluster.dir = fs.mkdtempSync(path.join(os.tmpdir(), "rekindle-cluster-"));
    const made = spawnSync(BINARY, ["keygen", "--output", path.join(cluster.dir, "key.txt")], { encoding: "utf8" });
    if (made.status !== 0) throw new Error(`no key file: ${made.stderr}`);
    try {
      cluster.etcd = await Etcd.start(cluster.dir, { host: store?.address, words: store?.words });
      for (let i = 0; i < nodes; i++) {
        const host = hosts[i];
        const node = await Server.make(host && { host: host.address, udpHost: host.address, words: host.words, args: ["--open", "--advertise", host.address] });
        const vault = ["--vault", `etcd://${cluster.etcd.host}:${cluster.etcd.port}/test`, "--key-file", path.join(cluster.dir, "key.txt")];
        node.args.push(...vault, "--node", `node-${i}`, "--node-url", node.url, ...args);
        if (admin) {
          cluster.admin.push(await freeTcpPort());
          node.args.push("--admin", `127.0.0.1:${cluster.admin[i]}`);
        }
        cluster.nodes.push(node);
        await node.start();
      }
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** Has a node give its peers away. Resolves with the command's exit code and what it has said. @param {number} node @returns {Promise<{ code: number, said: string }>} */
  drain(node) {
    const command = spawn(BINARY, ["drain", "--admin", `${this.admin[node]}`], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    command.stdout.setEncoding("utf8").on("data", (text) => (said += text));
    return new Promise((resolve) => command.once("close", (code) => resolve({ code, said })));
  }

  /**
   * The node where the channel is live with so many viewers; -1 where there is none.
   *
   * @param {number} viewers
   * @param {number[]} [apart] nodes that are not asked
   */
  async where(viewers, apart = []) {
    const standings = this.nodes.map(async (node, i) => {
      if (apart.includes(i)) return {};
      const text = await node.get("/channel/test").then((answer) => answer.text, () => "{}");
      return JSON.parse(text);
    });
    return (await Promise.all(standings)).findIndex((standing) => standing.live && standing.viewers === viewers);
  }

  async close() {
    for (const node of this.nodes) await node.close();
    if (this.etcd?.process.exitCode === null) await this.etcd.kill();
    if (!process.env.REKINDLE_KEEP) fs.rmSync(this.dir, { recursive: true, force: true });
  }
}
