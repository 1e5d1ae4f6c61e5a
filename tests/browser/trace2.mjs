import { Broadcast } from "./lib/broadcast.js";
import { sleep, clock } from "./lib/server.js";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
const b = await Broadcast.open({ publisher: process.argv[2] ?? "chromium", viewers: ["chromium"] });
const pair = (tab) => tab.run(async () => { const s=await window.seen.live().getStats(); const m=new Map([...s.entries()]); for (const r of m.values()) if (r.type==="candidate-pair"&&r.nominated) { const l=m.get(r.localCandidateId), e=m.get(r.remoteCandidateId); return [r.state,l.address,l.port,l.candidateType,e.address,e.port, r.requestsSent]; } });
await sleep(1000);
console.log("pub", await pair(b.publisher), "view", await pair(b.viewers[0]));
const dir=b.server.dir+"/rekindle-state/peers/";
for (const f of fs.readdirSync(dir)) { const t=execFileSync("age",["-d","-i",b.server.dir+"/rekindle-key.txt",dir+f]).toString("latin1"); console.log(f, t.match(/a=candidate[^\r\n]*/g)); }
await b.restart(500);
await sleep(300);
console.log("pub", await pair(b.publisher), "view", await pair(b.viewers[0]));
await b.close();
