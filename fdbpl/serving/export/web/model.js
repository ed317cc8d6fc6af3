/* The model: its graph, run by ONNX Runtime Web in this browser. */

import * as ort from "./ort/ort.js";
import { decoded, prepared } from "./pixels.js";

const SHOWN = 5;
const KEEP = "95"; // of 100 pictures that show one of the classes count as known

ort.env.wasm.numThreads = 1; // more need headers that a plain static server does not send

async function got(path) {
  const answer = await fetch(new URL(path, import.meta.url));
  if (!answer.ok) {
    throw new Error(`${path} cannot be loaded: ${answer.status} ${answer.statusText}.`);
  }
  return answer;
}

/* Load the model: everything comes from beside this page. */
export async function load() {
  const [labels, about, graph, wasm] = await Promise.all([
    got("labels.json").then((answer) => answer.json()),
    got("preprocessing.json").then((answer) => answer.json()),
    got("model.onnx").then((answer) => answer.arrayBuffer()),
    got("ort/ort.wasm").then((answer) => answer.arrayBuffer()),
  ]);
  ort.env.wasm.wasmBinary = wasm; // as bytes, so that no server need know its type
  ort.env.wasm.wasmPaths = { mjs: new URL("ort/ort-wasm.js", import.meta.url).href };
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  return { labels, about, session };
}

/* Return the logits and the score of a picture. */
export async function logitsOf({ about, session }, file) {
  const shape = [1, 3, about.image_size, about.image_size];
  const pixels = new ort.Tensor("float32", prepared(await decoded(file), about), shape);
  const { logits, score } = await session.run({ pixels });
  return { logits: [...logits.data], score: score.data[0] };
}

/* Return what a picture shows: the likeliest classes as [name, probability], and if it is known. */
export async function classify(model, file) {
  const { logits, score } = await logitsOf(model, file);
  const shares = softmax(logits, model.about.temperature);
  const top = shares
    .map((share, label) => [model.labels[label], share])
    .sort((one, other) => other[1] - one[1])
    .slice(0, SHOWN);
  return { top, known: score >= model.about.thresholds[KEEP] };
}

function softmax(logits, temperature) {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp((logit - most) / temperature));
  const sum = powers.reduce((one, other) => one + other, 0);
  return powers.map((power) => power / sum);
}
