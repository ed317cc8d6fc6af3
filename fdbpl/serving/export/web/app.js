import { byId, greet, notice, start } from "./answers.js";
import { classify, load } from "./model.js";

function complain(error) {
  notice(`The model cannot be used: ${error.message}`);
}

const loading = load();
byId("empty").textContent = "None yet. Pictures stay in this browser.";
notice("Loading the model …");
loading.then(({ about, labels }) => {
  greet(about.name, labels);
  notice("");
}, complain);

start(async (file) => {
  const model = await loading;
  return classify(model, file).catch((error) => ({ error: error.message }));
}, complain);
