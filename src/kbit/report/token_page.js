// Colours follow the chosen scale; the figures of a token are told where it is pointed at or focused.
const { scales, documents } = JSON.parse(document.getElementById("kbit-data").textContent);
const FULL = { cost: 4, gain: 8, model: 12, against: 12 };
const select = document.getElementById("scale");
const told = document.getElementById("told");

function value(figures, i, scale) {
  if (scale === "cost") return figures.model[i] - figures.against[i];
  if (scale === "gain") return figures.model[i] - figures.baseline[i];
  return figures[scale][i];
}

function paint() {
  for (const text of document.querySelectorAll(".text")) {
    const figures = documents[text.dataset.document];
    for (const token of text.children) {
      const bits = value(figures, token.dataset.i, select.value) / FULL[select.value];
      token.style.setProperty("--v", Math.max(-1, Math.min(1, bits)).toFixed(2));
    }
  }
  document.documentElement.dataset.scale = select.value;
}

function tell(event) {
  const token = event.target.closest?.(".t");
  if (!token) return;
  const figures = documents[token.parentElement.dataset.document];
  const i = token.dataset.i;
  const words = ["model", "against", "baseline"].filter((name) => figures[name])
    .map((name) => `${name} ${figures[name][i].toFixed(2)}`);
  told.value = `${JSON.stringify(token.textContent)}: ${words.join(", ")} bits`;
}

for (const token of document.querySelectorAll(".t")) token.tabIndex = -1;
// One token of each text can be reached with Tab; arrows go on from there.
for (const text of document.querySelectorAll(".text")) if (text.firstElementChild) text.firstElementChild.tabIndex = 0;
document.addEventListener("keydown", (event) => {
  const token = event.target.closest?.(".t");
  const next = token && { ArrowRight: token.nextElementSibling, ArrowLeft: token.previousElementSibling }[event.key];
  if (next) { token.tabIndex = -1; next.tabIndex = 0; next.focus(); event.preventDefault(); }
});
document.addEventListener("pointerover", tell);
document.addEventListener("focusin", tell);
select.addEventListener("change", paint);
paint();
document.documentElement.dataset.drawn = scales.length;
