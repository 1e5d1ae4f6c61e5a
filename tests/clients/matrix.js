// Runs the matrix: every client as publisher and as viewer, each with its codecs, and through a restart. `node matrix.js [CLIENT]...`
// Results go to docs/clients.json; docs/clients.md is made from all that is there.
import fs from "node:fs";
import { fileURLToPath } from "node:url";
import { CLIENTS } from "./lib/clients.js";
import { page } from "./lib/page.js";
import { follows, publishes, restarted, watches } from "./lib/trial.js";

const RESULTS = fileURLToPath(new URL("../../docs/clients.json", import.meta.url));
const PAGE = fileURLToPath(new URL("../../docs/clients.md", import.meta.url));

fs.mkdirSync(fileURLToPath(new URL("../../docs", import.meta.url)), { recursive: true });
const read = () => (fs.existsSync(RESULTS) ? JSON.parse(fs.readFileSync(RESULTS, "utf8")) : {});

/** Tries all codecs of one role, and a restart with the first one that works. */
async function role(client, which, codecs, tries) {
  const results = {};
  let works = null;
  for (const wanted of codecs) {
    const name = [wanted.video, wanted.audio].filter((codec) => codec !== "none").join(" + ");
    const { story, ...result } = await tries(client, wanted).catch((error) => ({ works: false, fault: error.message, story: error.stack }));
    console.log(`  ${which} ${name}: ${JSON.stringify(result)}`);
    if (story && process.env.REKINDLE_KEEP) console.log(story);
    results[name] = result;
    if (result.works) works ??= wanted;
  }
  const restart = works && (await restarted(client, which, works).catch((error) => ({ fault: error.message })));
  console.log(`  ${which} over a restart: ${JSON.stringify(restart)}`);
  return { codecs: results, restart };
}

const names = process.argv.slice(2);
for (const [name, client] of Object.entries(CLIENTS)) {
  if (names.length > 0 && !names.includes(name)) continue;
  console.log(`${name} ${client.version()}`);
  const result = { version: client.version(), note: client.note, publish: await role(client, "publish", client.publishes, publishes) };
  if (client.watch) {
    result.watch = await role(client, "watch", client.watches, watches);
    if (result.watch.restart) result.follows = await follows(client, client.watches[0]).catch((error) => ({ works: false, fault: error.message }));
    console.log(`  watch another publisher: ${JSON.stringify({ ...result.follows, story: undefined })}`);
    if (result.follows) delete result.follows.story;
  }
  // Read anew: another run may have written meanwhile.
  fs.writeFileSync(RESULTS, `${JSON.stringify({ ...read(), [name]: result }, null, 2)}\n`);
}
fs.writeFileSync(PAGE, page(read()));
