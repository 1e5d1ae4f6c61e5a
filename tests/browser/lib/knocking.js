// Whether a port is open all the time.
import net from "node:net";
import { sleep } from "./server.js";

/** Between two connections, in ms. */
const APART_MS = 2;

/** Makes connections to a port all the time, and counts those that are refused. */
export class Knocking {
  #over = false;
  made = 0;
  refused = 0;

  /** @param {number} port @param {string} [host] */
  constructor(port, host = "127.0.0.1") {
    this.done = this.#run(port, host);
  }

  /** @param {number} port @param {string} host @returns {Promise<void>} */
  async #run(port, host) {
    while (!this.#over) {
      await new Promise((resolve) => {
        const socket = net.connect(port, host, () => {
          this.made += 1;
          socket.destroy();
        });
        socket.on("error", () => (this.refused += 1));
        socket.on("close", resolve);
      });
      await sleep(APART_MS);
    }
  }

  async stop() {
    this.#over = true;
    await this.done;
    return { made: this.made, refused: this.refused };
  }
}
