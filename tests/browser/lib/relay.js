// Two relays between browser and server: one for UDP, with delay and loss, and one for TCP, whose connections can be cut.
import dgram from "node:dgram";
import net from "node:net";

/**
 * A UDP relay on `host:port` (what the server advertises) to the server's socket. Every browser port gets a port of its own, so
 * that the server tells peers apart as it would without the relay.
 */
export class UdpRelay {
  /** Where it listens. @type {string} */
  host;
  /** @type {number} */
  port;
  /** @type {{ host: string, port: number }} */
  upstream;
  delayMs = 0;
  loss = 0;
  /** What is lost on the way to the server and to the browsers, where that differs. @type {number | undefined} */
  lossUp;
  /** @type {number | undefined} */
  lossDown;
  random = Math.random;
  /** @type {(whose: string, data: Buffer, up: boolean) => void} */
  watch = () => {};
  /** What browsers send to. */
  front = dgram.createSocket("udp4");
  /** What the server is sent from, by the browser's address. @type {Map<string, dgram.Socket>} */
  paths = new Map();
  closed = false;

  /**
   * @param {{ host: string, port: number, upstream: { host: string, port: number }, delayMs?: number, loss?: number, lossUp?: number, lossDown?: number, random?: () => number, watch?: UdpRelay["watch"] }} options
   *   `watch`: is shown every datagram at the browser's end, with whose it is, and whether it comes from the browser
   */
  static async open(options) {
    const relay = new UdpRelay();
    Object.assign(relay, options);
    relay.front.on("message", (data, from) => relay.#up(data, from));
    relay.front.on("error", () => {});
    await new Promise((resolve, reject) => {
      relay.front.once("error", reject);
      relay.front.bind(relay.port, relay.host, () => resolve(null));
    });
    return relay;
  }

  #up(data, from) {
    const key = `${from.address}:${from.port}`;
    this.watch(key, data, true);
    let back = this.paths.get(key);
    if (!back) {
      back = dgram.createSocket("udp4");
      // While the server is down the system reports refused ports here.
      back.on("error", () => {});
      const down = (answer) => {
        this.watch(key, answer, false);
        this.front.send(answer, from.port, from.address, () => {});
      };
      back.on("message", (answer) => this.#later(() => down(answer), this.lossDown));
      this.paths.set(key, back);
      back.bind(0, this.upstream.host);
    }
    this.#later(() => back.send(data, this.upstream.port, this.upstream.host, () => {}), this.lossUp);
  }

  #later(send, loss = this.loss) {
    if (loss > 0 && this.random() < loss) return;
    const guarded = () => {
      if (!this.closed) send();
    };
    if (this.delayMs > 0) setTimeout(guarded, this.delayMs);
    else guarded();
  }

  close() {
    this.closed = true;
    this.front.close();
    for (const back of this.paths.values()) back.close();
  }
}

/** A TCP relay in front of the server's HTTP, so that a page can lose its event stream while the server lives. */
export class TcpRelay {
  /** @type {Set<{ down: net.Socket, up: net.Socket }>} */
  sockets = new Set();
  delayMs = 0;
  /** New connections are cut at once. */
  refuse = false;
  /** @type {net.Server} */
  server;
  /** @type {number} */
  port;

  /** @param {number} port the server's @param {{ delayMs?: number }} [options] */
  static async open(port, options = {}) {
    const relay = new TcpRelay();
    relay.delayMs = options.delayMs ?? 0;
    relay.server = net.createServer((down) => {
      if (relay.refuse) return down.destroy();
      const up = net.connect(port, "127.0.0.1");
      const pair = { down, up };
      relay.sockets.add(pair);
      const end = () => {
        relay.sockets.delete(pair);
        relay.#later(() => down.destroy());
        relay.#later(() => up.destroy());
      };
      for (const socket of [down, up]) {
        socket.setNoDelay(true);
        socket.on("close", end);
        socket.on("error", () => {});
      }
      down.on("data", (data) => relay.#later(() => up.writable && up.write(data)));
      up.on("data", (data) => relay.#later(() => down.writable && down.write(data)));
    });
    await new Promise((resolve) => relay.server.listen(0, "127.0.0.1", () => resolve(null)));
    relay.port = /** @type {net.AddressInfo} */ (relay.server.address()).port;
    return relay;
  }

  #later(action) {
    if (this.delayMs > 0) setTimeout(action, this.delayMs);
    else action();
  }

  /** Cuts every connection that is open now. */
  cut() {
    for (const { down, up } of this.sockets) {
      down.resetAndDestroy();
      up.destroy();
    }
    this.sockets.clear();
  }

  close() {
    this.cut();
    this.server.close();
  }
}
