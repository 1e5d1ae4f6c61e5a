// Two servers that know of each other. What one has on disk is copied to the other while neither runs: a store that both have.
import fs from "node:fs";
import path from "node:path";
import { Server, clock } from "./server.js";

const STATE = "rekindle-state";
const KEY = "rekindle-key.txt";
/** The folder of the sessions' records in it. */
const PEERS = "peers";

export class Places {
  /** Where the broadcast is. @type {Server} */
  here;
  /** @type {Server} */
  there;

  static async make() {
    const places = new Places();
    [places.here, places.there] = [await Server.make(), await Server.make()];
    places.here.args.push("--other-node", places.there.url);
    places.there.args.push("--other-node", places.here.url);
    return places;
  }

  /** The other server gets what this one has on disk: all of it, or all but the sessions. */
  copy({ sessions = true } = {}) {
    for (const name of [STATE, KEY]) {
      const [from, to] = [this.here, this.there].map(({ dir }) => path.join(dir, name));
      fs.rmSync(to, { recursive: true, force: true });
      fs.cpSync(from, to, { recursive: true, filter: (each) => sessions || path.extname(each) === "" || path.basename(path.dirname(each)) !== PEERS });
    }
  }

  /** The other server is told everything and is started: from now on the broadcast is there. */
  move() {
    this.copy();
    this.there.spawn();
    [this.here, this.there] = [this.there, this.here];
  }

  /**
   * The server where the broadcast is falls silent, as a host whose power fails: its ports take what comes, and nothing is answered. Returns
   * the time.
   */
  silence() {
    const { pid } = this.here.process;
    process.kill(pid, "SIGSTOP");
    return clock();
  }

  async close() {
    for (const server of [this.here, this.there]) await server.close();
  }
}
