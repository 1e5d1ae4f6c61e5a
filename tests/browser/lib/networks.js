// Networks of this machine's own: hosts and routers (network namespaces, ip-netns(8)) with links between them. Needs root.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { hostsAreMissing } from "./hosts.js";

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "pipe"] });

/** Where the server and the test itself are. */
export const SERVER = "server";

export class Networks {
  /** What all namespaces' names begin with. @type {string} */
  prefix;
  /** @type {string[]} */
  names = [];

  /** @param {string} [prefix] */
  constructor(prefix = `rk${process.pid}`) {
    this.prefix = prefix;
  }

  /** @param {string} name */
  #namespace(name) {
    return `${this.prefix}-${name}`;
  }

  /** The words that run a command on this host. @param {string} name */
  on(name) {
    return ["ip", "netns", "exec", this.#namespace(name)];
  }

  /** Runs a command on this host. @param {string} name @param {string[]} command @param {string} [input] */
  run(name, command, input) {
    const [program, ...words] = [...this.on(name), ...command];
    return execFileSync(program, words, { input, encoding: "utf8", stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"] });
  }

  /** ip(8) in this host's network. @param {string} name @param {string[]} words */
  ip(name, ...words) {
    return ip("-n", this.#namespace(name), ...words);
  }

  /** @param {string[]} names */
  hosts(...names) {
    for (const name of names) {
      ip("netns", "add", this.#namespace(name));
      this.names.push(name);
      this.ip(name, "link", "set", "lo", "up");
    }
  }

  /** Hosts that pass on what is not for them. @param {string[]} names */
  routers(...names) {
    this.hosts(...names);
    for (const name of names) this.run(name, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"]);
  }

  /**
   * A link between two hosts; at each of them the device has the other one's name. The first has the address 1 of these networks, the second has 2.
   *
   * @param {string} one
   * @param {string} other
   * @param {{ v4?: string, v6?: string, mtu?: number }} of the networks, such as 10.77.1 and 2001:db8:1
   */
  link(one, other, { v4, v6, mtu = 1500 }) {
    ip("-n", this.#namespace(one), "link", "add", other, "mtu", `${mtu}`, "type", "veth", "peer", "name", one, "mtu", `${mtu}`, "netns", this.#namespace(other));
    [[one, other], [other, one]].forEach(([host, device], i) => {
      if (v4) this.ip(host, "address", "add", `${v4}.${i + 1}/24`, "dev", device);
      this.ip(host, "link", "set", device, "up");
      if (v6) this.ip(host, "address", "add", `${v6}::${i + 1}/64`, "dev", device, "nodad");
    });
  }

  /** What this host sends elsewhere goes by way of that address. @param {string} name @param {string[]} gateways */
  gateway(name, ...gateways) {
    for (const gateway of gateways) this.ip(name, ...(gateway.includes(":") ? ["-6"] : []), "route", "replace", "default", "via", gateway);
  }

  /** Pulls a cable out of a host, or puts it back. @param {string} name @param {string} device @param {boolean} up */
  plug(name, device, up) {
    this.ip(name, "link", "set", device, up ? "up" : "down");
  }

  /**
   * A host takes an address at this device, which it has just plugged in, and sends everything by way of the other end.
   *
   * @param {string} name
   * @param {string} device
   * @param {string} network such as 10.77.1
   */
  attach(name, device, network) {
    this.plug(name, device, true);
    this.ip(name, "address", "replace", `${network}.2/24`, "dev", device);
    this.gateway(name, `${network}.1`);
  }

  /** Rules of nft(8) at a router. @param {string} name @param {string} rules */
  filter(name, rules) {
    this.run(name, ["nft", "-f", "-"], rules);
  }

  /** A router hides what is behind it: what leaves by that device has the router's own address and a port of its choice. @param {string} name @param {string} device */
  masquerade(name, device) {
    this.filter(name, `table ip hides {\n chain out {\n type nat hook postrouting priority srcnat\n oifname "${device}" masquerade random\n }\n }\n`);
  }

  /** A router that hides hosts forgets who they are, as after a restart of its own: their next packets leave by other ports. @param {string} name @param {string} device @param {string} gateway */
  forget(name, device, gateway) {
    this.plug(name, device, false);
    this.plug(name, device, true);
    this.gateway(name, gateway);
  }

  /** The test is over. */
  remove() {
    for (const name of this.names) {
      try {
        ip("netns", "delete", this.#namespace(name));
      } catch {
        // It was not made.
      }
    }
  }
}

/**
 * @typedef {object} Case
 * @property {(networks: Networks) => void} build the networks, with a host of the name `server`
 * @property {(networks: Networks) => Promise<void>} run on that host
 * @property {boolean} [short] whether CI has it too
 * @property {boolean} [filters] whether it needs nft(8)
 */

/** What this machine lacks. @param {boolean} filters */
function missing(filters) {
  const hosts = hostsAreMissing();
  if (hosts || !filters) return hosts;
  try {
    execFileSync("nft", ["--version"], { stdio: "ignore" });
    return null;
  } catch {
    return "there is no nft: apt install nftables";
  }
}

/**
 * Tests on networks of their own: each builds its own, and runs its file once more on the server's host. REKINDLE_CASES names those wanted, by a part of
 * their names.
 *
 * @param {string} url the test file's
 * @param {Record<string, Case>} cases by name
 */
export function onNetworks(url, cases) {
  const here = process.env.REKINDLE_NETWORKS;
  if (here) {
    const { name, prefix, names } = JSON.parse(here);
    const networks = new Networks(prefix);
    networks.names = names;
    test(name, { timeout: 300_000 }, () => cases[name].run(networks));
    return;
  }
  const wanted = process.env.REKINDLE_CASES ?? "";
  for (const [name, { build, short = false, filters = false }] of Object.entries(cases)) {
    if (!name.includes(wanted) || (process.env.CI && !short)) continue;
    const lacks = missing(filters);
    test(`on networks of their own: ${name}`, { skip: lacks && !process.env.CI ? lacks : false, timeout: 330_000 }, async () => {
      assert.equal(lacks, null);
      const networks = new Networks();
      try {
        networks.hosts(SERVER);
        build(networks);
        assert.equal(await runOn(networks, fileURLToPath(url), name), 0);
      } finally {
        networks.remove();
      }
    });
  }
}

/** @param {Networks} networks @param {string} file @param {string} name */
function runOn(networks, file, name) {
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, REKINDLE_NETWORKS: JSON.stringify({ name, prefix: networks.prefix, names: networks.names }) };
  // Else the test runner there takes itself for a part of this one.
  delete env.NODE_TEST_CONTEXT;
  const [program, ...args] = [...networks.on(SERVER), process.execPath, "--test", file];
  const child = spawn(program, args, { env, stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
}
