const data = JSON.parse(document.getElementById("kbit-data").textContent);
const $ = (id) => document.getElementById(id);
const circles = [...document.querySelectorAll("circle")];
const told = $("told"), near = $("near"), key = $("key");
let kept = null;

function place() {
  const points = data.places[$("plane").value];
  circles.forEach((circle, i) => {
    circle.setAttribute("cx", points[i][0]);
    circle.setAttribute("cy", points[i][1]);
  });
  $("axes").textContent = data.axes[$("plane").value].join(" and ");
}

function colour() {
  const groups = data.groups[$("colour").value];
  circles.forEach((circle, i) => circle.setAttribute("fill", data.colours[groups.of[i] % data.colours.length]));
  key.replaceChildren(...groups.names.map((name, i) => {
    const item = document.createElement("li"), mark = document.createElement("span");
    mark.style.background = data.colours[i % data.colours.length];
    const count = groups.of.filter((g) => g === i).length;
    item.append(mark, `${name} (${count})`);
    return item;
  }));
}

function tell(i) {
  const groups = Object.entries(data.groups).map(([name, g]) => `${name}: ${g.names[g.of[i]]}`);
  told.textContent = `${data.names[i]} · ${groups.join(" · ")}\n${data.texts[i]}`;
  near.replaceChildren(...data.neighbours[i].map((j) => {
    const item = document.createElement("li"), go = document.createElement("button");
    go.textContent = data.texts[j];
    go.addEventListener("click", () => keep(j));
    item.append(go);
    return item;
  }));
  circles.forEach((circle, j) => {
    circle.classList.toggle("kept", j === i);
    circle.classList.toggle("near", data.neighbours[i].includes(j));
  });
}

function keep(i) {
  kept = i;
  if (i === null) return;
  tell(i);
  for (const circle of circles) circle.tabIndex = -1;
  circles[i].tabIndex = 0;
}

const sought = () => $("find").value.trim().toLowerCase();
const holds = (i) => data.texts[i].toLowerCase().includes(sought());

function find() {
  circles.forEach((circle, i) => circle.classList.toggle("pale", sought() !== "" && !holds(i)));
}

$("map").addEventListener("pointerover", (event) => {
  const i = event.target.dataset?.i;
  if (i !== undefined && kept === null) tell(Number(i));
});
$("map").addEventListener("click", (event) => {
  const i = event.target.dataset?.i;
  keep(i === undefined ? null : Number(i));
});
// One text can be reached with Tab; arrows go on from there, among those that hold the words sought.
$("map").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  let i = Number(event.target.dataset?.i) + step;
  while (circles[i] && !holds(i)) i += step;
  if (!circles[i]) return;
  keep(i);
  circles[i].focus();
  event.preventDefault();
});
// Not on the picture itself: one that listens to focus can be focused.
document.addEventListener("focusin", (event) => {
  if (event.target.dataset.i !== undefined) keep(Number(event.target.dataset.i));
});
$("find").addEventListener("keydown", (event) => {
  const first = event.key === "Enter" ? circles.findIndex((_, i) => holds(i)) : -1;
  if (first >= 0) keep(first);
});
$("plane").addEventListener("change", place);
$("colour").addEventListener("change", colour);
$("find").addEventListener("input", find);
for (const circle of circles) circle.tabIndex = -1;
circles[0].tabIndex = 0;
place();
colour();
document.documentElement.dataset.drawn = "";
