// Runs llama.cpp, from the compiled part of the npm package node-llama-cpp, for the benchmark beside it: commands come as lines of JSON on
// standard input, answers go as lines of JSON to standard output. Its functions are called directly, so that what is measured is
// llama.cpp and not the package around it.
//
// usage: node llamacpp_peer.cjs PACKAGES
//   PACKAGES  folder with the node_modules in which node-llama-cpp was installed

"use strict";
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");

const packages = path.resolve(process.argv[2]);

// bins finds the folder of the compiled libraries.
function bins() {
    const scope = path.join(packages, "node_modules", "@node-llama-cpp");
    for (const name of fs.readdirSync(scope)) {
        const folder = path.join(scope, name, "bins", name);
        if (fs.existsSync(path.join(folder, "llama-addon.node")))
            return folder;
    }
    throw new Error(`${scope}: no llama-addon.node`);
}

const folder = bins();
const addon = require(path.join(folder, "llama-addon.node"));
const contextSize = 1024, batchSize = 512;
let model = null, context = null;

async function load(file, threads) {
    await unload();
    model = new addon.AddonModel(file, {useMmap: true});
    if (!await model.init())
        throw new Error(`${file}: llama.cpp cannot load it`);
    context = new addon.AddonContext(model, {contextSize, batchSize, sequences: 1, flashAttention: "auto", threads});
    if (!await context.init())
        throw new Error(`${file}: llama.cpp cannot make a context`);
    context.setThreads(threads);
}

async function unload() {
    if (context)
        await context.dispose();
    if (model)
        await model.dispose();
    context = model = null;
}

// feed appends tokens; logits are computed of the last.
async function feed(ids, at) {
    context.initBatch(ids.length);
    context.addToBatch(0, at, Uint32Array.from(ids), Uint32Array.from([ids.length - 1]));
    await context.decodeBatch();
}

const forget = () => context.disposeSequence(0);
const now = () => Number(process.hrtime.bigint());
const ids = (n) => Array.from({length: n}, (_, i) => i * 79 % 255 + 1);

const commands = {
    // first is the time from nothing to the logits after a short prompt.
    async first({model, threads, count}) {
        const start = now();
        await load(model, threads);
        await feed(ids(count), 0);
        const ns = now() - start;
        await unload();
        return {ns: [ns]};
    },
    async load({model, threads}) {
        await load(model, threads);
        return {};
    },
    async prefill({count}) {
        forget();
        const start = now();
        await feed(ids(count), 0);
        return {ns: [now() - start]};
    },
    // decode is the times of count tokens after the first.
    async decode({count}) {
        forget();
        await feed([1], 0);
        const ns = [], list = ids(count);
        for (let i = 0; i < count; i++) {
            const start = now();
            await feed([list[i]], i + 1);
            ns.push(now() - start);
        }
        return {ns};
    },
    async version() {
        const data = JSON.parse(fs.readFileSync(path.join(folder, "_nlcBuildMetadata.json")));
        return {version: `llama.cpp ${data.buildOptions.llamaCpp.release}`};
    }
};

(async () => {
    addon.loadBackends();
    addon.loadBackends(folder);
    await addon.init();
    addon.setLogger(() => undefined);
    for await (const line of readline.createInterface({input: process.stdin})) {
        let answer;
        try {
            const command = JSON.parse(line);
            answer = await commands[command.do](command);
        } catch (e) {
            answer = {error: String(e)};
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    }
    await unload();
})();
