/* The page around a classifier: pictures in, answers drawn. */

const KEPT = 50;
let camera = null;

export const byId = (id) => document.getElementById(id);

export function notice(text) {
  byId("notice").textContent = text;
}

export function greet(name, classes) {
  byId("model").textContent = name;
  document.title = name;
  const names = classes.slice(0, 30).join(", ");
  const more = classes.length > 30 ? `, and ${classes.length - 30} more` : "";
  byId("classes").textContent = `Tells ${classes.length} classes apart: ${names}${more}.`;
}

/* Take pictures from now on. `classify` gives {top, known} or {error} of a file; what it throws is
   told by `complain`, and ends the pictures that were taken together. */
export function start(classify, complain) {
  const take = async (files) => {
    const pictures = [...files].filter((file) => file);
    for (const [place, file] of pictures.entries()) {
      notice(pictures.length > 1 ? `${place + 1} of ${pictures.length} …` : "…");
      try {
        show({ ...(await classify(file)), name: file.name || "pasted picture" }, file);
        notice("");
      } catch (error) {
        complain(error);
        return;
      }
    }
  };
  listen(take);
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

function shoot(take) {
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

function listen(take) {
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
  byId("shoot").addEventListener("click", () => shoot(take));
  byId("clear").addEventListener("click", () => {
    [...byId("history").children].forEach(forget);
    byId("empty").hidden = false;
    byId("clear").hidden = true;
  });
}
