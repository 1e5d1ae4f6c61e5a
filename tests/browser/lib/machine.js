// A machine of its own with systemd as its first process, and the server of the Debian package on it. Needs root, and systemd-nspawn.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./pages.js";
import { Server, clock } from "./server.js";

const DEB = fileURLToPath(new URL("../../../packaging/deb/", import.meta.url));

export class Machine {
  /** systemd-nspawn. @type {import("node:child_process").ChildProcess} */
  process;
  /** The machine's first process, as it is numbered here. @type {number} */
  first;
  /** Resolves when it has ended. @type {Promise<unknown>} */
  exited;

  /** @param {string} root a Debian system @param {string} packages a folder that the machine sees as /packages */
  static async boot(root, packages) {
    const machine = new Machine();
    machine.process = spawn(path.join(DEB, "boot.sh"), [root, packages], { stdio: ["ignore", "inherit", "inherit"] });
    machine.exited = new Promise((resolve) => machine.process.once("exit", resolve));
    try {
      await until(() => (machine.first = machine.#children(machine.process.pid)[0]) && machine.try("systemctl", "is-system-running").out === "running", "the machine runs", 60_000, 200);
    } catch (error) {
      await machine.close();
      throw error;
    }
    return machine;
  }

  #children(pid) {
    if (this.process.exitCode !== null) throw new Error(`the machine has ended (${this.process.exitCode})`);
    return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  }

  #inside(words) {
    return ["--target", `${this.first}`, "--mount", "--pid", "--ipc", "--uts", ...words];
  }

  /** Runs a command on it. @returns {{ code: number | null, out: string, err: string }} */
  try(...words) {
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
    const { status, stdout, stderr } = spawnSync("nsenter", this.#inside(words), { encoding: "utf8", env });
    return { code: status, out: stdout.trim(), err: stderr.trim() };
  }

  /** The same; it must succeed. Resolves with what it printed. */
  run(...words) {
    const { code, out, err } = this.try(...words);
    if (code !== 0) throw new Error(`${words.join(" ")} ends with ${code}: ${err} ${out}`);
    return out;
  }

  /** The same beside what is done here. @returns {Promise<void>} */
  async runBeside(...words) {
    const child = spawn("nsenter", this.#inside(words), { stdio: ["ignore", "pipe", "inherit"] });
    const code = await new Promise((resolve) => child.once("exit", resolve));
    if (code !== 0) throw new Error(`${words.join(" ")} ends with ${code}`);
  }

  /** Whether it has this file. */
  has(file) {
    return this.try("test", "-e", file).code === 0;
  }

  async close() {
    const ended = () => this.process.exitCode !== null || this.process.signalCode !== null;
    for (let i = 0; i < 2 && !ended(); i++) {
      this.process.kill("SIGTERM");
      await until(ended, "the machine is shut down", 10_000).catch(() => {});
    }
    if (!ended()) this.process.kill("SIGKILL");
    await this.exited;
  }
}

/** The server that the package has installed on a machine, behind its sockets. */
export class InstalledServer extends Server {
  /** @type {Machine} */
  machine;

  static on(machine) {
    const server = new InstalledServer();
    server.machine = machine;
    server.dir = fs.mkdtempSync(path.join(os.tmpdir(), "rekindle-installed-"));
    server.host = "127.0.0.1";
    server.port = 8080;
    server.udpPort = 8189;
    return server;
  }

  /** systemd starts it again. */
  spawn() {
    return clock();
  }

  async ready(timeout = 20_000) {
    await until(async () => (await this.get("/healthz")).status === 200, () => `the server answers:\n${this.log()}`, timeout);
  }

  async kill() {
    this.machine.run("sh", "-c", `kill -KILL ${this.property("MainPID")}`);
    return clock();
  }

  /** What systemd says of the service. */
  property(name) {
    return this.machine.run("systemctl", "show", "--value", "--property", name, "rekindle.service");
  }

  log(lines = 30) {
    return this.machine.try("journalctl", "--no-pager", "--unit", "rekindle", "--lines", `${lines}`).out;
  }

  async close() {
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}
