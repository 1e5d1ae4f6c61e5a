// Hosts with network namespaces of their own, and one etcd: the host of a broadcast refuses, falls silent, or its address goes to another host.
// REKINDLE_LOSSES names which of these are tried, REKINDLE_ROUNDS how often. Two more only measure who leaves a host that is there: one that stands
// still (frozen), and a network that is gone for all (hiccup), each for REKINDLE_PAUSE_MS.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Broadcast } from "./lib/broadcast.js";
import { Cluster, clusterIsMissing } from "./lib/cluster.js";
import { connect, hostsAreMissing, runAmong, takeAddress } from "./lib/hosts.js";
import { median } from "./lib/numbers.js";
import { until } from "./lib/pages.js";
import { PUBLISHERS } from "./lib/publishers.js";
import { record } from "./lib/report.js";
import { Server, clock, sleep } from "./lib/server.js";

const LOSSES = (process.env.REKINDLE_LOSSES || "refuses,silent,moved").split(",");
const ROUNDS = Number(process.env.REKINDLE_ROUNDS || 3);
/** Machines that tests share with others get more than the aim. */
const LIMIT_MS = Number(process.env.REKINDLE_FRAME_LIMIT ?? 8000);
const PAUSE_MS = Number(process.env.REKINDLE_PAUSE_MS || 1200);
const NODES = ["node-0", "node-1", "node-2"];

/** A cluster with a broadcast, on hosts that can be lost. */
class Stage {
  /** Where each node is, by its place among the cluster's. */
  hosts;
  /** The place of the node that has the broadcast. */
  at = 0;
  /** What each page had survived before the last loss, and how many went by way of a node that the publisher was not with. */
  survived = [];
  detours = 0;

  static async open(publisher) {
    const stage = new Stage();
    stage.told = JSON.parse(process.env.REKINDLE_HOSTS);
    stage.hosts = NODES.map((name) => stage.told[name]);
    stage.spare = stage.told.spare;
    stage.cluster = await Cluster.open({ hosts: stage.hosts, store: stage.told.store });
    try {
      const trusted = stage.cluster.nodes[0].url;
      stage.broadcast = await Broadcast.join(stage.cluster.nodes[0], { publisher, viewers: ["chromium", "firefox"], launch: () => ({ trusted }) });
      stage.before = await stage.broadcast.identities();
      stage.survived = await stage.restarts();
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  get node() {
    return this.cluster.nodes[this.at];
  }

  /** How many restarts each page has survived, by its own count. */
  restarts() {
    return Promise.all(this.broadcast.tabs.map(async (tab) => Number(await tab.fact("restarts"))));
  }

  /** Every viewer has new frames, on the connection, the track and the join that it had. Resolves with how long that took. */
  async goesOn(since, what) {
    const frames = await this.broadcast.firstFrames(since, LIMIT_MS);
    if (!frames.every((ms) => ms !== null)) assert.fail(await this.broadcast.story(`${what}: first frames after ${frames} ms`));
    // On a machine with much else to do the node that is asked first may answer some too late, and they follow the publisher there.
    let now;
    await until(async () => (now = await this.restarts()).every((count, i) => count > this.survived[i]), () => this.broadcast.story(`${what}: survived by all`));
    await Promise.all(this.broadcast.tabs.map((tab) => tab.words("Connected")));
    this.detours += now.filter((count, i) => count > this.survived[i] + 1).length;
    // It counts the POSTs to /whip and /whep too.
    assert.deepEqual(await this.broadcast.identities(), this.before, "connections, tracks and joins");
    return frames;
  }

  /** All have gone to one node, which is another one than before. */
  async hasMoved() {
    const down = this.at;
    await until(async () => {
      const found = await this.cluster.where(2, [down]);
      if (found >= 0) this.at = found;
      return found >= 0;
    }, "all are at one node");
    this.broadcast.server = this.node;
    this.survived = await this.restarts();
  }

  /** The process is killed, so that its host refuses. */
  async refuses() {
    const node = this.node;
    const killedAt = await node.kill();
    const frames = await this.goesOn(killedAt, "killed");
    await this.hasMoved();
    await node.start();
    return frames;
  }

  /** The host's cable is pulled: it says nothing. When it is back, with its process and all that it had, it disturbs nobody. */
  async silent() {
    const [node, host] = [this.node, this.hosts[this.at]];
    const since = clock();
    connect(host, false);
    const frames = await this.goesOn(since, "silent");
    await this.hasMoved();
    connect(host, true);
    await until(() => node.get("/healthz").then(({ status }) => status === 200), "it is back");
    const back = clock();
    await sleep(1500);
    const gaps = await Promise.all(this.broadcast.viewers.map((tab) => tab.gap(back)));
    assert.ok(gaps.every(({ ms }) => ms < 1500), `gaps of ${gaps.map(({ ms }) => Math.round(ms))} ms when it is back`);
    assert.deepEqual(await this.restarts(), this.survived);
    await node.kill();
    await node.start();
    return frames;
  }

  /** The host's cable is pulled, and another host has its address, its node's name and the vault: for the browsers it is a restart. */
  async moved() {
    const [node, host] = [this.node, this.hosts[this.at]];
    const spare = await Server.make({ host: node.host, udpHost: node.host, words: this.spare.words });
    Object.assign(spare, { port: node.port, udpPort: node.udpPort, args: node.args });
    this.cluster.nodes[this.at] = spare;
    this.hosts[this.at] = this.spare;
    const since = clock();
    connect(host, false);
    takeAddress(this.spare, host.address);
    spare.spawn();
    const frames = await this.goesOn(since, "moved");
    const { at } = this;
    await until(async () => (await this.cluster.where(2)) === at, "all are at the same node");
    this.broadcast.server = spare;
    this.survived = await this.restarts();
    // What is left of the other one has no network, and does not get the address back.
    await node.close();
    this.spare = undefined;
    return frames;
  }

  /** How many pages are not where they were, after a time in which they could not know. */
  async #leave(pause, resume) {
    const before = await this.restarts();
    await pause();
    await sleep(PAUSE_MS);
    await resume();
    await sleep(4000);
    const after = await this.restarts();
    this.at = Math.max(0, await this.cluster.where(2));
    this.survived = after;
    return after.map((count, i) => count - before[i]);
  }

  frozen() {
    const { pid } = this.node.process;
    return this.#leave(() => process.kill(pid, "SIGSTOP"), () => process.kill(pid, "SIGCONT"));
  }

  hiccup() {
    const all = (up) => this.hosts.forEach((host) => connect(host, up));
    return this.#leave(() => all(false), () => all(true));
  }

  async close() {
    await this.broadcast?.close();
    await this.cluster.close();
  }
}

if (process.env.REKINDLE_HOSTS) {
  for (const publisher of PUBLISHERS) {
    test(`hosts that are lost, published by ${publisher}, watched in Chromium and Firefox`, { timeout: 60_000 + ROUNDS * 120_000 }, async () => {
      const stage = await Stage.open(publisher);
      const measured = {};
      try {
        for (const loss of LOSSES) {
          // There is one host to spare.
          const rounds = loss === "moved" ? 1 : ROUNDS;
          measured[loss] = [];
          for (let round = 0; round < rounds; round++) {
            // Until pages know of the nodes that there are.
            await sleep(1500);
            measured[loss].push(await stage[loss]());
          }
        }
        stage.broadcast.assertNoProblems();
      } finally {
        const of = (rounds, i) => rounds.map((frames) => frames[i]);
        const figures = Object.entries(measured).map(([loss, rounds]) => [
          loss,
          { first_frame_ms: Object.fromEntries((stage.broadcast?.viewers ?? []).map((tab, i) => [tab.browser.name, { median: median(of(rounds, i)), max: Math.max(...of(rounds, i)) }])), rounds },
        ]);
        record(`hosts lost, publisher ${publisher}`, { ...Object.fromEntries(figures), detours: stage.detours });
        await stage.close();
      }
    });
  }
} else {
  const missing = hostsAreMissing() ?? clusterIsMissing();
  const skip = missing && !process.env.CI ? missing : false;
  for (const publisher of PUBLISHERS) {
    test(`on networks of their own, hosts are lost, published by ${publisher}`, { skip, timeout: 120_000 + ROUNDS * 120_000 }, async () => {
      assert.equal(missing, null);
      const others = [...NODES, "spare", "store"];
      assert.equal(await runAmong(others, fileURLToPath(import.meta.url), { REKINDLE_PUBLISHERS: publisher }), 0);
    });
  }
}
