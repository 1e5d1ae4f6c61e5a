// A client that runs as a program of its own, and what it says.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { clock, sleep } from "../../browser/lib/server.js";

// Nothing outlives a run that breaks off.
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts a process that ends with this one. */
export function tied(child) {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

const LOST = ["disconnected", "failed", "closed"];

export class Program {
  /**
   * @param {string[]} words
   * @param {string[][]} helpers programs that feed it
   */
  constructor(words, helpers = []) {
    this.words = words;
    this.events = [];
    this.noise = [];
    this.helpers = helpers.map(([program, ...args]) => tied(spawn(program, args, { stdio: "ignore" })));
    const [program, ...args] = words;
    this.process = tied(spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] }));
    createInterface({ input: this.process.stdout }).on("line", (line) => {
      if (line.startsWith("{")) this.events.push(JSON.parse(line));
      else this.noise.push(line);
    });
    createInterface({ input: this.process.stderr }).on("line", (line) => this.noise.push(line));
    this.process.on("error", (error) => this.noise.push(error.message));
    this.exited = new Promise((resolve) => {
      this.process.once("exit", (code, signal) => {
        this.exit = { at: clock(), code, signal };
        resolve(this.exit);
      });
      this.process.once("error", resolve);
    });
  }

  last(event) {
    return this.events.findLast((one) => one.event === event);
  }

  /** The frames that a viewer has got so far, of both kinds. */
  get frames() {
    return this.last("frames") ?? { video: 0, audio: 0 };
  }

  /** What the client itself said first, or did first, that means its session is over. */
  lost(since) {
    const state = this.events.find(({ event, at, state }) => event === "state" && at >= since && LOST.includes(state));
    if (state) return { at: state.at, how: state.state };
    return this.exit && this.exit.at >= since ? { at: this.exit.at, how: "ended" } : null;
  }

  /** Waits for something; null if it does not come in time, or if the program has ended without it. */
  async until(check, timeout) {
    for (const end = clock() + timeout; clock() < end; await sleep(20)) {
      const found = await check();
      if (found) return found;
      if (this.exit) return (await check()) || null;
    }
    return null;
  }

  /** What it said, in short, for the story of a failure. */
  story() {
    const events = this.events.filter(({ event }) => event !== "frames").map((one) => JSON.stringify(one));
    return [this.words.join(" "), ...events, JSON.stringify(this.frames), ...this.noise.slice(-15), JSON.stringify(this.exit ?? "runs")].join("\n  ");
  }

  /** Ends it as a user would, with a DELETE where the client knows that. */
  async end() {
    if (!this.exit) this.process.kill("SIGTERM");
    await Promise.race([this.exited, sleep(4000)]);
    await this.kill();
  }

  async kill() {
    for (const helper of this.helpers) helper.kill("SIGKILL");
    if (!this.exit) {
      this.process.kill("SIGKILL");
      await Promise.race([this.exited, sleep(1000)]);
    }
  }
}
