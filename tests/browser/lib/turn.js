// A TURN server (RFC 8656): coturn, on loopback, with a long-term credential, as a process of the test's own.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { freeTcpPort, sleep } from "./server.js";

/** Where test.sh unpacks it: Debian's package would start a service. */
const UNPACKED = fileURLToPath(new URL("../../../target/tools/bin/turnserver", import.meta.url));
const USER = { username: "viewer", credential: "a credential for tests" };

/** The program, or null where there is none. */
export function turnProgram() {
  const found = [UNPACKED, "turnserver"].find((program) => spawnSync(program, ["--version"]).status === 0);
  return found ?? null;
}

export class TurnServer {
  #process;
  #dir;
  #port;

  /** @param {string} program */
  static async start(program) {
    const turn = new TurnServer();
    turn.#dir = fs.mkdtempSync(path.join(os.tmpdir(), "rekindle-turn-"));
    turn.#port = await freeTcpPort();
    const log = fs.openSync(turn.logFile, "a");
    // Nothing of the machine's own configuration, and no addresses but loopback.
    const args = ["-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", `${turn.#port}`, "--allow-loopback-peers"];
    args.push("--lt-cred-mech", "--realm", "test", "--user", `${USER.username}:${USER.credential}`);
    args.push("--no-cli", "--no-tls", "--no-dtls", "--log-file", "stdout", "--verbose", "--pidfile", path.join(turn.#dir, "pid"), "--userdb", path.join(turn.#dir, "users"));
    turn.#process = spawn(program, args, { cwd: turn.#dir, stdio: ["ignore", log, log] });
    fs.closeSync(log);
    for (let tries = 0; !/listener opened on : 127\.0\.0\.1/.test(turn.log()); tries++) {
      if (tries > 200 || turn.#process.exitCode !== null) {
        const said = turn.log();
        await turn.close();
        throw new Error(`turnserver does not start:\n${said}`);
      }
      await sleep(50);
    }
    return turn;
  }

  get logFile() {
    return path.join(this.#dir, "log");
  }

  log() {
    return fs.readFileSync(this.logFile, "utf8");
  }

  /** For `iceServers`. @param {"udp" | "tcp"} transport how the browser reaches the relay */
  server(transport) {
    return { urls: `turn:127.0.0.1:${this.#port}?transport=${transport}`, ...USER };
  }

  async close() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = new Promise((resolve) => this.#process.once("exit", resolve));
      this.#process.kill("SIGKILL");
      await ended;
    }
    if (!process.env.REKINDLE_KEEP) fs.rmSync(this.#dir, { recursive: true, force: true });
  }
}
