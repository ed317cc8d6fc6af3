"use strict";

const SHOWN = 5;
const KEPT = 50;
const byId = (id) => document.getElementById(id);
let token = null;
let camera = null;

async function greet() {
  const about = await asked("model");
  byId("model").textContent = about.name;
  document.title = about.name;
  const names = about.classes.slice(0, 30).join(", ");
  const more = about.classes.length > 30 ? `, and ${about.classes.length - 30} more` : "";
  byId("classes").textContent = `Tells ${about.classes.length} classes apart: ${names}${more}.`;
}

function complain(error) {
  notice(error instanceof TypeError ? "The server cannot be reached." : error.message);
}

function welcome() {
  notice("");
  greet().catch(complain);
}

function notice(text) {
  byId("notice").textContent = text;
}

async function asked(path, options = {}) {
  const headers = { ...options.headers };
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) {
    byId("token").hidden = false;
    throw new Error(token ? "That was not the token." : "This server wants a token.");
  }
  if (answer.status === 503) {
    throw new Error("The server is busy: try again in a moment.");
  }
  const said = await answer.json().catch(() => ({ detail: answer.statusText }));
  return answer.ok ? said : { error: said.detail };
}

async function classify(file, name) {
  const headers = { "Content-Type": "application/octet-stream" };
  const said = await asked(`predict?top=${SHOWN}`, { method: "POST", headers, body: file });
  return { ...said, name };
}

async function take(files) {
  const pictures = [...files].filter((file) => file);
  for (const [place, file] of pictures.entries()) {
    notice(pictures.length > 1 ? `${place + 1} of ${pictures.length} …` : "…");
    try {
      show(await classify(file, file.name || "pasted picture"), file);
      notice("");
    } catch (error) {
      complain(error);
      return;
    }
  }
}

function show(said, file) {
  const answer = byId("answer").content.cloneNode(true);
  const picture = answer.querySelector("img");
  picture.src = URL.createObjectURL(file);
  picture.alt = said.name;
  const card = answer.querySelector(".answer");
  picture.addEventListener("error", () => card.classList.add("bare"), { once: true });
  answer.querySelector(".name").textContent = said.name;
  const verdict = answer.querySelector(".verdict");
  if (said.error) {
    verdict.textContent = "no picture that can be read";
    answer.querySelector(".why").textContent = said.error;
    card.classList.add("unsure");
  } else if (said.known === false) {
    verdict.textContent = "none of these";
    card.classList.add("unsure");
  } else {
    verdict.textContent = said.top[0][0];
  }
  for (const [name, share] of said.top || []) {
    answer.querySelector(".bars").append(bar(name, share));
  }
  const history = byId("history");
  history.prepend(answer);
  while (history.children.length > KEPT) {
    forget(history.lastElementChild);
  }
  byId("empty").hidden = true;
  byId("clear").hidden = false;
}

function bar(name, share) {
  const line = document.createElement("li");
  const parts = { label: name, share: `${Math.round(100 * share)} %` };
  for (const [kind, text] of Object.entries(parts)) {
    const part = document.createElement("span");
    part.className = kind;
    part.textContent = text;
    line.append(part);
  }
  const track = document.createElement("span");
  track.className = "track";
  const fill = document.createElement("span");
  fill.className = "fill";
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  line.append(track);
  return line;
}

function forget(answer) {
  URL.revokeObjectURL(answer.querySelector("img").src);
  answer.remove();
}

async function openCamera() {
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    byId("video").srcObject = camera;
    byId("viewer").hidden = false;
  } catch {
    notice("No camera: none is there, or the page may not use it (it may at https or localhost).");
  }
}

function closeCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  byId("viewer").hidden = true;
}

function shoot() {
  const video = byId("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((picture) => {
    if (picture) {
      take([new File([picture], "from the camera", { type: picture.type })]);
    }
  }, "image/png");
}

const drop = byId("drop");
byId("files").addEventListener("change", async (event) => {
  await take(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragover", "dragenter"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) {
    drop.classList.remove("over");
  }
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const files = event.clipboardData.files;
  if (files.length) {
    event.preventDefault();
    take(files);
  }
});
byId("camera").addEventListener("click", openCamera);
byId("stop").addEventListener("click", closeCamera);
byId("shoot").addEventListener("click", shoot);
byId("clear").addEventListener("click", () => {
  [...byId("history").children].forEach(forget);
  byId("empty").hidden = false;
  byId("clear").hidden = true;
});
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = new FormData(event.target).get("token");
  event.target.hidden = true;
  welcome();
});
welcome();
