import { byId, greet, notice, start } from "./answers.js";

const SHOWN = 5;
let token = null;

function complain(error) {
  notice(error instanceof TypeError ? "The server cannot be reached." : error.message);
}

async function welcome() {
  notice("");
  try {
    const about = await asked("model");
    greet(about.name, about.classes);
  } catch (error) {
    complain(error);
  }
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

function classify(file) {
  const headers = { "Content-Type": "application/octet-stream" };
  return asked(`predict?top=${SHOWN}`, { method: "POST", headers, body: file });
}

byId("empty").textContent = "None yet. Pictures go to this server alone, and are not kept there.";
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = new FormData(event.target).get("token");
  event.target.hidden = true;
  welcome();
});
start(classify, complain);
welcome();
