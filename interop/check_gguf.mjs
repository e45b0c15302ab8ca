// Checks GGUF files against llama.cpp, through node-llama-cpp: what is written here loads there, its text becomes the same tokens, the
// most probable next tokens are the same, and the perplexity by llama.cpp's protocol agrees.
//
// usage: node check_gguf.mjs BINARY SHARED PACKAGES [FOLDER...]
//   BINARY    the neuroquant program
//   SHARED    folder of the shared material
//   PACKAGES  folder with the node_modules of llamacpp/package.json
//   FOLDER    Hugging Face folders to convert and compare in the place of the trained models, on tokens at random, and to read back
//
// Prints every figure with its limit; the exit status is 1 if one is missed.

import {execFileSync} from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [binary, shared, packages, ...folders] = process.argv.slice(2);
if (packages === undefined) {
    console.error("usage: node check_gguf.mjs BINARY SHARED PACKAGES [FOLDER...]");
    process.exit(2);
}
const entry = path.resolve(packages, "node_modules/node-llama-cpp/dist/index.js");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: os.availableParallelism()});
const work = fs.mkdtempSync(path.join(os.tmpdir(), "check-gguf-"));
let failed = 0, checked = 0;

function report(what, figure, limit, good) {
    checked++;
    if (!good)
        failed++;
    console.log(`${good ? "ok  " : "FAIL"}  ${what.padEnd(58)} ${String(figure).padEnd(28)} ${limit}`);
}

function run(...args) {
    return execFileSync(binary, [...args, "--quiet"], {maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "pipe"]}).toString();
}

// writeIDs writes a row of ids as a numpy array.
function writeIDs(file, ids) {
    let header = `{'descr': '<i8', 'fortran_order': False, 'shape': (1, ${ids.length}), }`;
    header = header.padEnd(117) + "\n";
    const out = Buffer.alloc(10 + header.length + 8 * ids.length);
    out.write("\x93NUMPY\x01\x00", 0, "latin1");
    out.writeUInt16LE(header.length, 8);
    out.write(header, 10, "latin1");
    ids.forEach((id, i) => out.writeBigInt64LE(BigInt(id), 10 + header.length + 8 * i));
    fs.writeFileSync(file, out);
}

// readRows reads a float32 array [1, rows, cols] as rows.
function readRows(file) {
    const b = fs.readFileSync(file);
    const length = b.readUInt16LE(8);
    const shape = /'shape': \(([^)]*)\)/.exec(b.toString("latin1", 10, 10 + length))[1].split(",").map(Number);
    const values = new Float32Array(new Uint8Array(b.subarray(10 + length)).buffer);
    const [rows, cols] = [shape[1], shape[2]];
    return Array.from({length: rows}, (_, r) => values.subarray(r * cols, (r + 1) * cols));
}

// logits are those of this program.
function logits(file, ids) {
    const input = path.join(work, "ids.npy");
    writeIDs(input, ids);
    run("run", file, "--input", `input_ids=${input}`, "--out", work);
    return readRows(path.join(work, "logits.npy"));
}

function nll(row, id) {
    let most = -Infinity, sum = 0;
    for (const v of row)
        most = Math.max(most, v);
    for (const v of row)
        sum += Math.exp(v - most);
    return Math.log(sum) + most - row[id];
}

// perplexities compares the second halves of windows, each begun anew, as llama.cpp's perplexity program does.
async function perplexities(file, sequence, windows) {
    let ours = 0, theirs = 0, count = 0;
    for (const ids of windows) {
        await sequence.clearHistory();
        const from = ids.length >> 1;
        const got = await sequence.controlledEvaluate(ids.map((id, i) => i >= from - 1 && i < ids.length - 1 ? [id, {generateNext: {probabilities: true}}] : id));
        const rows = logits(file, ids);
        for (let i = from - 1; i < ids.length - 1; i++) {
            theirs -= Math.log(got[i].next.probabilities.get(ids[i + 1]));
            ours += nll(rows[i], ids[i + 1]);
            count++;
        }
    }
    return [Math.exp(ours / count), Math.exp(theirs / count)];
}

async function greedy(sequence, ids, n) {
    await sequence.clearHistory();
    const out = [];
    for await (const id of sequence.evaluate(ids, {temperature: 0})) {
        out.push(id);
        if (out.length === n)
            break;
    }
    return out;
}

// compare holds one file against llama.cpp. Where weights are quantized llama.cpp rounds what they are multiplied by to 8 bits, so that
// among tokens of nearly the same logit either may come first.
async function compare(name, file, prompts, windows, quantized, limit = 0.005) {
    const model = await llama.loadModel({modelPath: file, gpuLayers: 0});
    const context = await model.createContext({contextSize: Math.max(64, ...windows.map((w) => w.length)), sequences: 1, threads: 0});
    const sequence = context.getSequence();
    let same = 0, total = 0, worst = 0;
    for (const p of prompts) {
        if (p.text !== undefined) {
            const ids = model.tokenize(p.text, false);
            report(`${name}: tokens of ${JSON.stringify(p.text).slice(0, 24)}`, ids.length, "equal", ids.join() === p.tokens.join());
        }
        const theirs = await greedy(sequence, p.ids, p.n);
        const rows = logits(file, [...p.ids, ...theirs.slice(0, -1)]);
        theirs.forEach((id, i) => {
            const row = rows[p.ids.length - 1 + i];
            const best = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
            total++;
            same += best === id;
            worst = Math.max(worst, (row[best] - row[id]) / (row[best] - row.reduce((a, b) => Math.min(a, b))));
        });
    }
    report(`${name}: greedy tokens`, `${same} of ${total}, gap ${worst.toExponential(1)}`, quantized ? "gap below 0.01" : "all, or gap below 1e-4", worst < (quantized ? 0.01 : 1e-4));
    const [ours, theirs] = await perplexities(file, sequence, windows);
    const off = Math.abs(ours / theirs - 1);
    report(`${name}: perplexity`, `${ours.toFixed(4)}, ${theirs.toFixed(4)}`, `within ${100 * limit} %`, off < limit);
    await context.dispose();
    await model.dispose();
}

// take cuts n windows out of ids.
function take(ids, n, size) {
    return Array.from({length: n}, (_, i) => ids.slice(i * size, (i + 1) * size)).filter((w) => w.length === size);
}

const trained = {
    "golm-15m": {text: "eval/wikitext2-test-part1.txt", calibration: "eval/calib-train-mix.txt", first: [0]},
    "stories260k": {text: "eval/tinystories-eval.json", calibration: "eval/tinystories-calib.json", first: [1]}
};
const types = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_NL"];
for (const [name, m] of Object.entries(folders.length ? {} : trained)) {
    const dir = path.join(shared, "data", name);
    const expected = JSON.parse(fs.readFileSync(path.join(dir, "expected/llamacpp_greedy.json")));
    const known = Object.entries(expected).find(([k]) => k.includes("f16.gguf"))[1];
    const prompts = known.map((a) => ({text: a.prompt, tokens: a.ids[0] === m.first[0] ? a.ids.slice(1) : a.ids, ids: a.ids, n: a.greedy.length}));
    let text = fs.readFileSync(path.join(dir, m.text)).toString();
    if (m.text.endsWith(".json"))
        text = JSON.parse(text).join("\n");
    let windows;
    for (const type of types) {
        const file = path.join(work, `${name}-${type}.gguf`);
        run("convert", dir, file, "--type", type);
        if (windows === undefined) {
            const model = await llama.loadModel({modelPath: file, gpuLayers: 0});
            windows = take(model.tokenize(text.slice(0, 12000), false), 3, 512);
            await model.dispose();
        }
        await compare(`${name} ${type}`, file, prompts, windows, !["F16", "BF16"].includes(type));
    }
    // Blocks whose scales were chosen for the columns that matter in the texts of the calibration.
    const importance = path.join(work, `${name}-importance.gguf`), calibration = path.join(work, `${name}-calibration.txt`);
    let seen = fs.readFileSync(path.join(dir, m.calibration)).toString();
    if (m.calibration.endsWith(".json"))
        seen = JSON.parse(seen).join("\n");
    fs.writeFileSync(calibration, seen.slice(0, 30000));
    for (const [i, type] of ["Q2_K", "Q3_K_M", "Q4_K_M", "Q4_0", "IQ4_NL"].entries()) {
        const file = path.join(work, `${name}-${type}-importance.gguf`);
        const from = i ? ["--importance", importance] : ["--importance-text", calibration, "--save-importance", importance];
        run("convert", dir, file, "--type", type, ...from);
        const plain = fs.readFileSync(path.join(work, `${name}-${type}.gguf`));
        report(`${name} ${type} with importance: file`, `${plain.length} bytes`, "other than without", !plain.equals(fs.readFileSync(file)));
        await compare(`${name} ${type} with importance`, file, prompts, windows, true);
    }
    // A model in several files, of which the first is opened. The smallest part is a MiB, so that a very small model stays one file.
    for (const type of fs.statSync(path.join(work, `${name}-F16.gguf`)).size > 4 << 20 ? ["F16", "Q4_K_M"] : []) {
        const parts = `${name}-${type}-parts-`;
        run("convert", dir, path.join(work, parts.slice(0, -1) + ".gguf"), "--type", type, "--split-mb", "2");
        const files = fs.readdirSync(work).filter((f) => f.startsWith(parts)).sort();
        report(`${name} ${type} in parts: files`, files.length, "several", files.length > 1);
        await compare(`${name} ${type} in parts`, path.join(work, files[0]), prompts, windows, type !== "F16");
    }
    // The codes of GPTQ and AWQ as blocks that decode to the same values.
    for (const method of ["gptq", "awq"]) {
        const folder = path.join(work, `${name}-${method}`), file = `${folder}.gguf`;
        run("quantize", dir, folder, "--method", method, "--group-size", "32", "--data", path.join(dir, m.calibration), "--num-calibration-samples", "16");
        run("convert", folder, file);
        await compare(`${name} ${method} as GGUF`, file, prompts, windows, true);
    }
    const half = path.join(work, `${name}-F16.gguf`);
    for (const a of known) {
        const model = await llama.loadModel({modelPath: half, gpuLayers: 0});
        const context = await model.createContext({contextSize: 512});
        const got = await greedy(context.getSequence(), a.ids, a.greedy.length);
        report(`${name} F16: stored greedy tokens`, a.greedy.length, "equal", got.join() === a.greedy.join());
        await context.dispose();
        await model.dispose();
    }
}

// furthest is by how much of their range two tables of logits differ at most.
function furthest(a, b) {
    let off = 0, low = Infinity, high = -Infinity;
    a.forEach((row, r) => row.forEach((v, i) => {
        off = Math.max(off, Math.abs(v - b[r][i]));
        low = Math.min(low, v);
        high = Math.max(high, v);
    }));
    return off / (high - low);
}

// why is the last line of what this program complained of.
function why(e) {
    return e.stderr?.toString().trim().split("\n").pop() ?? e.message;
}

for (const [number, dir] of folders.entries()) {
    const config = JSON.parse(fs.readFileSync(path.join(dir, "config.json")));
    let seed = 1;
    const random = () => seed = seed * 48271 % 2147483647;
    const ids = Array.from({length: 256}, () => random() % config.vocab_size);
    const name = path.basename(dir);
    // llama.cpp looks for certain tokens in models that are called like certain others.
    const source = path.join(work, `case-${number}`);
    fs.symlinkSync(path.resolve(dir), source);
    for (const type of config.hidden_size % 32 ? ["F32"] : ["F32", "Q8_0"]) {
        const file = path.join(work, `case-${number}-${type}.gguf`);
        let most = 64; // tokens: of a window that llama.cpp does not know, as many as the file says
        try {
            run("convert", source, file, "--type", type);
            if (JSON.parse(run("convert", source, file, "--type", type, "--dry-run", "--json")).notes)
                most = Math.min(most, config.sliding_window);
        } catch (e) {
            report(name, "refused", why(e).replace(/^.*config: /, ""), /cannot say|cannot be (said|written)|has no form in GGUF/.test(why(e)));
            break;
        }
        try {
            // a random model is wild
            await compare(`${name} ${type}`, file, [{ids: ids.slice(0, Math.min(16, most >> 1)), n: Math.min(24, most - (most >> 1))}], take(ids, 2, most), type !== "F32", type === "F32" ? 0.005 : 0.02);
        } catch (e) {
            report(`${name} ${type}`, "llama.cpp", e.message, false);
        }
        if (type !== "F32")
            continue;
        const text = ids.slice(0, 48), back = path.join(work, `case-${number}-back`);
        for (const [what, model] of [["read back", () => file], ["a folder again", () => (run("convert", file, back), back)]]) {
            let off = "";
            try {
                off = furthest(logits(source, text), logits(model(), text));
            } catch (e) {
                off = why(e);
            }
            report(`${name}: ${what}`, typeof off === "string" ? off : off.toExponential(1), "below 1e-5", off < 1e-5);
        }
    }
}
fs.rmSync(work, {recursive: true});
console.log(`${checked - failed} of ${checked} checks passed`);
process.exit(failed || !checked ? 1 : 0);
