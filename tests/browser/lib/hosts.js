// Hosts of a network of their own on this machine: network namespaces (ip-netns(8)) that a bridge in another one joins. Needs root.
import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ANNOUNCE = fileURLToPath(new URL("../../hosts/announce.py", import.meta.url));
const ATTACKER = fileURLToPath(new URL("../../spoofing/attacker.py", import.meta.url));

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "pipe"] });

/** The host on which tests and browsers run. */
const BROWSERS = "browsers";

/** Whether this machine lets us have them; else why not. */
export function hostsAreMissing() {
  if (process.getuid() !== 0) return "network namespaces need root";
  try {
    ip("netns", "list");
    return null;
  } catch (error) {
    return `ip netns does not work: ${error.message}`;
  }
}

export class Hosts {
  /** @type {string} */
  prefix;
  /** @type {string[]} */
  names;
  /** @type {Record<string, string>} */
  addresses;

  /** Makes hosts of these names. @param {string[]} names */
  static make(names) {
    const hosts = new Hosts();
    hosts.prefix = `rk${process.pid}`;
    hosts.names = names;
    hosts.addresses = Object.fromEntries(names.map((name, i) => [name, `10.77.0.${i + 1}`]));
    try {
      hosts.#build();
    } catch (error) {
      hosts.remove();
      throw error;
    }
    return hosts;
  }

  #namespace(name) {
    return `${this.prefix}-${name}`;
  }

  #build() {
    const middle = this.#namespace("switch");
    ip("netns", "add", middle);
    ip("-n", middle, "link", "add", "bridge", "type", "bridge");
    ip("-n", middle, "link", "set", "bridge", "up");
    for (const name of this.names) {
      const namespace = this.#namespace(name);
      ip("netns", "add", namespace);
      ip("-n", middle, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", namespace);
      ip("-n", middle, "link", "set", name, "master", "bridge", "up");
      ip("-n", namespace, "address", "add", `${this.addresses[name]}/24`, "dev", "eth0");
      for (const device of ["lo", "eth0"]) ip("-n", namespace, "link", "set", device, "up");
    }
  }

  /** The words in front of a command that runs on this host. */
  on(name) {
    return ["ip", "netns", "exec", this.#namespace(name)];
  }

  /** What a test that runs on one of them has to know of each. @returns {Record<string, { address: string, words: string[], link: string[] }>} */
  told() {
    const link = (name) => ["-n", this.#namespace("switch"), "link", "set", name];
    return Object.fromEntries(this.names.map((name) => [name, { address: this.addresses[name], words: this.on(name), link: link(name) }]));
  }

  remove() {
    for (const name of ["switch", ...this.names]) {
      try {
        ip("netns", "delete", this.#namespace(name));
      } catch {
        // It was not made.
      }
    }
  }
}

/**
 * Makes hosts, runs a test file once more on the one with the browsers, and removes the hosts. Resolves with its exit code.
 *
 * @param {string[]} names the hosts beside that one
 * @param {string} file
 * @param {Record<string, string>} [more] what its environment has besides
 */
export async function runAmong(names, file, more = {}) {
  const hosts = Hosts.make([...names, BROWSERS]);
  try {
    return await runOn(hosts, file, more);
  } finally {
    hosts.remove();
  }
}

/** @param {Hosts} hosts @param {string} file @param {Record<string, string>} more */
function runOn(hosts, file, more) {
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, ...more, REKINDLE_HOSTS: JSON.stringify(hosts.told()) };
  // Else the test runner there takes itself for a part of this one.
  delete env.NODE_TEST_CONTEXT;
  const [program, ...args] = [...hosts.on(BROWSERS), process.execPath, "--test", file];
  const child = spawn(program, args, { env, stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
}

/** Pulls a host's cable, or puts it back. @param {{ link: string[] }} host @param {boolean} up */
export const connect = ({ link }, up) => ip(...link, up ? "up" : "down");

/** A host has another address besides its own, and says so. @param {{ words: string[] }} host @param {string} address */
export function takeAddress({ words: [program, ...words] }, address) {
  execFileSync(program, [...words, "ip", "address", "add", `${address}/24`, "dev", "eth0"]);
  execFileSync(program, [...words, "python3", ANNOUNCE, "eth0", address]);
}

/** The host that sends in other hosts' names. */
export class Attacker {
  /** @param {string[]} words the words that run a command on its host */
  constructor(words) {
    const [program, ...args] = [...words, "python3", ATTACKER];
    this.process = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  tell(order) {
    this.process.stdin.write(`${JSON.stringify(order)}\n`);
  }

  /** Ends the flood; resolves with how many datagrams it was. */
  async stop() {
    this.tell({ do: "stop" });
    const { value } = await this.lines.next();
    return JSON.parse(value).sent;
  }

  close() {
    this.process.kill("SIGKILL");
  }
}
